"""The checker checked: planted mistakes are found and named, and right code raises no alarm.

    python -m handgrad.checking.selftest [PART...] [DTYPE...] [--names NAME] [--jobs N] [--report FILE]

PART: open (read while the checker was designed), held_out and attacks (each written without a look at the
checker), public (published autograd Functions). Without one: all, in every dtype. Needs PyTorch.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import click

PARTS = ("open", "held_out", "attacks", "public")
DTYPES = ("float64", "float32", "bfloat16", "float16")


@dataclass
class Outcome:
    """One case: ``expected`` kinds (none for right code), and the kinds that the check found."""

    name: str
    expected: tuple[str, ...]
    found: tuple[str, ...] = ()
    text: str = ""

    @property
    def right(self) -> bool:
        return bool(self.found) == bool(self.expected)

    @property
    def named(self) -> bool:
        return bool(self.found) and self.found[0] in self.expected

    @property
    def verdict(self) -> str:
        """ "" where all is as it should be."""
        if self.expected:
            return "" if self.named else "misnamed" if self.found else "MISSED"
        return "ALARM" if self.found else ""


# some of their mistakes are another subgradient, wrong by a reference's convention alone
_BY_CONVENTION = ("amax", "relu", "clamp")


@dataclass
class Score:
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def planted(self) -> list[Outcome]:
        return [o for o in self.outcomes if o.expected]

    @property
    def correct(self) -> list[Outcome]:
        return [o for o in self.outcomes if not o.expected]

    @property
    def found(self) -> int:
        return sum(o.right for o in self.planted)

    @property
    def named(self) -> int:
        return sum(o.named for o in self.planted)

    @property
    def alarms(self) -> int:
        return sum(not o.right for o in self.correct)

    def of(self, dtype: str) -> Score:
        return Score([o for o in self.outcomes if o.name.endswith(f" / {dtype}")])

    def __str__(self) -> str:
        planted = len(self.planted)
        share = f" ({100 * self.named / planted:.1f} %)" if planted else ""
        return (
            f"{self.found} of {planted} planted mistakes found, {self.named}{share} named rightly by the "
            f"first finding; {self.alarms} false alarms in {len(self.correct)} correct cases"
        )


Case = tuple[str, tuple[str, ...], Any, tuple[Any, ...], Any]


def cases(operations: Sequence[Any], seed: int = 0) -> Iterator[Case]:
    """(name, expected kinds, target, inputs, reference) of every mistake and every correct case."""
    for n, op in enumerate(operations):
        yield from _published(op, seed) if hasattr(op, "wrong") else _planted(op, n, seed)


def _planted(op: Any, n: int, seed: int) -> Iterator[Case]:
    import torch

    for i, mistake in enumerate(op.mistakes):
        for dtype in mistake.dtypes:
            g = torch.Generator().manual_seed(1000 * seed + i)
            make = mistake.hidden or op.inputs
            # half as a pair, half as a Function; half with a reference, half without
            target = op.pair(mistake) if (n + i) % 2 else op.function(mistake)
            reference = op.reference if (i % 2 or mistake.kind == "forward") else None
            if op.convention or op.name in _BY_CONVENTION:
                reference = op.reference
            expected = (mistake.kind, *mistake.also)
            inputs = make(g, getattr(torch, dtype))
            yield f"{op.name} / {mistake.what} / {dtype}", expected, target, inputs, reference
    for j, (label, make) in enumerate({"usual": op.inputs, **op.further}.items()):
        for k, dtype in enumerate(op.dtypes):
            g = torch.Generator().manual_seed(1000 * seed + j)
            target = op.pair() if (n + j + k) % 2 else op.function()
            reference = op.reference if (j + k) % 2 or getattr(op, "convention", False) else None
            yield f"{op.name} / {label} / {dtype}", (), target, make(g, getattr(torch, dtype)), reference


def _published(f: Any, seed: int) -> Iterator[Case]:
    import torch

    for wrong in f.wrong:
        for dtype in wrong.dtypes:
            g = torch.Generator().manual_seed(seed)
            expected = (wrong.kind, *wrong.also)
            inputs = f.inputs(g, getattr(torch, dtype))
            yield f"{f.name} / {wrong.what} / {dtype}", expected, wrong.apply, inputs, f.reference
    for j, (label, make) in enumerate({"usual": f.inputs, **f.further}.items()):
        for k, dtype in enumerate(f.dtypes):
            g = torch.Generator().manual_seed(seed)
            reference = f.reference if (j + k) % 2 or f.convention else None
            yield f"{f.name} / {label} / {dtype}", (), f.right, make(g, getattr(torch, dtype)), reference


def run(operations: Sequence[Any], seed: int = 0, show: bool = False, dtypes: Sequence[str] = ()) -> Score:
    """Check every case; with ``show``, print what was not as it should be."""
    score = Score()
    for case in cases(operations, seed):
        if dtypes and case[0].rsplit(" / ", maxsplit=1)[-1] not in dtypes:
            continue
        score.outcomes.append(outcome(case, seed))
        if show:
            _shown(score.outcomes[-1])
    return score


def outcome(case: Case, seed: int = 0) -> Outcome:
    """What the checker says of one case."""
    from torch_ext.checker import check

    name, expected, target, inputs, reference = case
    made = Outcome(name, expected)
    try:
        report = check(target, inputs, reference, seed=seed)
        made.found = tuple(f.kind for f in report.findings)
        made.text = str(report) if made.verdict else ""
    except Exception as error:
        made.found = () if expected else ("error",)
        made.text = f"{type(error).__name__}: {error}"
    return made


def _shown(o: Outcome) -> None:
    if o.verdict:
        print(f"{o.verdict} {o.name}: expected {o.expected}, found {o.found}")
        if o.verdict != "misnamed":
            print("    " + o.text.replace("\n", "\n    ")[:1200])


def operations(part: str, names: Sequence[str] = ()) -> list[Any]:
    """The operations, or the Functions, of a part of the corpus."""
    module = import_module(f"torch_ext.corpus.{part}")
    found = module.FUNCTIONS if part == "public" else module.OPERATIONS
    return [op for op in found if not names or op.name in names]


def _share(part: str, number: int, of: int, dtypes: Sequence[str], names: Sequence[str]) -> list[Outcome]:
    chosen = (c for c in cases(operations(part, names)) if not dtypes or c[0].endswith(tuple(dtypes)))
    return [outcome(case) for i, case in enumerate(chosen) if i % of == number]


def scored(
    parts: Sequence[str], dtypes: Sequence[str] = (), names: Sequence[str] = (), jobs: int = 1
) -> dict[str, Score]:
    """The score of each part, its cases dealt out to ``jobs`` processes."""
    from joblib import Parallel, delayed

    shares = 8 * jobs if jobs > 1 else 1
    tasks = [(part, i) for part in parts for i in range(shares)]
    made = Parallel(n_jobs=jobs)(delayed(_share)(part, i, shares, dtypes, names) for part, i in tasks)
    scores = {part: Score() for part in parts}
    for (part, _), outcomes in zip(tasks, made, strict=True):
        scores[part].outcomes += outcomes
    return scores


def markdown(scores: dict[str, Score]) -> str:
    """The figures as a report: by part and dtype, by kind, and every case that is not as it should be."""
    from tabulate import tabulate

    rows = [
        [part, dtype, len(s.planted), s.found, s.named, _percent(s), len(s.correct), s.alarms]
        for part, score in scores.items()
        for dtype in DTYPES
        if (s := score.of(dtype)).outcomes
    ]
    head = ["part", "dtype", "planted", "found", "named rightly", "share", "correct cases", "false alarms"]
    every = [o for score in scores.values() for o in score.outcomes]
    kinds = Counter((o.expected[0], o.named) for o in every if o.expected)
    by_kind = [
        [kind, kinds[kind, True] + kinds[kind, False], kinds[kind, True]]
        for kind in sorted({kind for kind, _ in kinds})
    ]
    lines = [
        "# The checker checked",
        "",
        "Made by `python -m handgrad.checking.selftest --report reports/selftest.md`. A mistake is named",
        "rightly where the first finding has its kind, or another that an expert accepts for it.",
        "",
        tabulate(rows, head, tablefmt="github"),
        "",
        f"In all: {Score(every)}.",
        "",
        tabulate(by_kind, ["kind", "planted", "named rightly"], tablefmt="github"),
        "",
        "## Not as it should be",
        "",
    ]
    for part, score in scores.items():
        for o in sorted(score.outcomes, key=lambda o: o.name):
            if o.verdict:
                expected = " or ".join(o.expected) or "nothing"
                lines.append(
                    f"- {o.verdict}: {part} / {o.name}: {expected} was due, "
                    f"{', '.join(o.found) or 'nothing'} was found"
                )
    return "\n".join(lines) + "\n"


def _percent(score: Score) -> str:
    return f"{100 * score.named / len(score.planted):.1f} %" if score.planted else ""


@click.command(help=__doc__.split("\n")[0] if __doc__ else None)
@click.argument("chosen", metavar="[PART or DTYPE]...", nargs=-1, type=click.Choice([*PARTS, *DTYPES]))
@click.option("--names", multiple=True, help="Only the operation of this name; may be repeated.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option("--report", type=click.Path(path_type=Path), help="Write the figures to this Markdown file.")
def main(chosen: Sequence[str], names: Sequence[str], jobs: int, report: Path | None) -> None:
    """Run the corpus of planted mistakes, and exit 1 where one is missed or right code raises an alarm."""
    parts = [p for p in PARTS if p in chosen] or list(PARTS)
    scores = scored(parts, [d for d in DTYPES if d in chosen], names, jobs)
    for part, score in scores.items():
        for o in score.outcomes:
            _shown(o)
        print(f"{part}: {score}")
    if report is not None:
        from handgrad.report.write import write_atomically

        write_atomically(report, markdown(scores))
    sys.exit(int(any(not o.right for score in scores.values() for o in score.outcomes)))


if __name__ == "__main__":
    main()
