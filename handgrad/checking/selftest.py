"""The checker checked: every planted mistake of the corpus is found and named, and no right code alarms.

Run it by ``python -m handgrad.checking.selftest [open|held_out] [NAME...]`` (needs PyTorch).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any


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


# some of their mistakes are another subgradient, wrong by a reference's convention alone
_BY_CONVENTION = ("amax", "relu", "clamp")


@dataclass
class Score:
    outcomes: list[Outcome] = field(default_factory=list)

    def __str__(self) -> str:
        planted = [o for o in self.outcomes if o.expected]
        correct = [o for o in self.outcomes if not o.expected]
        found = sum(o.right for o in planted)
        named = sum(o.named for o in planted)
        alarms = sum(not o.right for o in correct)
        share = f" ({100 * named / len(planted):.1f} %)" if planted else ""
        return (
            f"{found} of {len(planted)} planted mistakes found, {named}{share} named rightly by the first "
            f"finding; {alarms} false alarms in {len(correct)} correct cases"
        )


def cases(
    operations: Sequence[Any], seed: int = 0
) -> Iterator[tuple[str, tuple[str, ...], Any, tuple[Any, ...], Any]]:
    """(name, expected kinds, target, inputs, reference) of every mistake and every correct case."""
    import torch

    for n, op in enumerate(operations):
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
                yield (
                    f"{op.name} / {mistake.what} / {dtype}",
                    expected,
                    target,
                    make(g, getattr(torch, dtype)),
                    reference,
                )
        for j, (label, make) in enumerate({"usual": op.inputs, **op.further}.items()):
            for k, dtype in enumerate(op.dtypes):
                g = torch.Generator().manual_seed(1000 * seed + j)
                target = op.pair() if (n + j + k) % 2 else op.function()
                reference = op.reference if (j + k) % 2 or getattr(op, "convention", False) else None
                yield f"{op.name} / {label} / {dtype}", (), target, make(g, getattr(torch, dtype)), reference


def run(operations: Sequence[Any], seed: int = 0, show: bool = False, dtypes: Sequence[str] = ()) -> Score:
    """Check every case; with ``show``, print what was not as it should be."""
    from torch_ext.checker import check

    score = Score()
    for name, expected, target, inputs, reference in cases(operations, seed):
        if dtypes and name.rsplit(" / ", maxsplit=1)[-1] not in dtypes:
            continue
        outcome = Outcome(name, expected)
        try:
            report = check(target, inputs, reference, seed=seed)
            outcome.found = tuple(f.kind for f in report.findings)
            outcome.text = str(report)
        except Exception as error:
            outcome.found = () if expected else ("error",)
            outcome.text = f"{type(error).__name__}: {error}"
        score.outcomes.append(outcome)
        if show and (not outcome.right or (expected and not outcome.named)):
            what = "MISSED" if expected and not outcome.found else "ALARM" if not expected else "misnamed"
            print(f"{what} {name}: expected {expected}, found {outcome.found}")
            if what != "misnamed":
                print("    " + outcome.text.replace("\n", "\n    ")[:1200])
    return score


def main(arguments: Sequence[str]) -> int:
    parts = [a for a in arguments if a in ("open", "held_out")] or ["open", "held_out"]
    dtypes = [a for a in arguments if a in ("float64", "float32", "bfloat16", "float16")]
    arguments = [a for a in arguments if a not in dtypes]
    names = [a for a in arguments if a not in ("open", "held_out")]
    missed = 0
    for part in parts:
        operations = import_module(f"torch_ext.corpus.{part}").OPERATIONS
        chosen = [op for op in operations if not names or op.name in names]
        score = run(chosen, show=True, dtypes=dtypes)
        print(f"{part}: {score}")
        kinds = Counter((o.expected[0], o.named) for o in score.outcomes if o.expected)
        for kind in sorted({k for k, _ in kinds}):
            print(f"  {kind}: {kinds[kind, True]} of {kinds[kind, True] + kinds[kind, False]} named")
        missed += sum(not o.right for o in score.outcomes)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
