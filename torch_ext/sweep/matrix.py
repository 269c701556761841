"""The composability matrix: every layer under every transform, hand against native.

    python -m torch_ext.sweep.matrix [ENTRY]... [--jobs N] [--report FILE] [--json FILE]

A cell is "yes" (the same result as PyTorch's), "neither" (PyTorch's own raises, and so does ours), "ours
alone" (PyTorch's own raises), "PyTorch's own wrong" (differences of its first derivatives say so, and ours
agrees with them), "-" (says nothing about this layer: no gradient, no such input) or "no: ..." with the
reason.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from joblib import Parallel, delayed
from rich.progress import Progress
from tabulate import tabulate
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from handgrad.report import write_atomically
from torch_ext.sweep.run import select
from torch_ext.sweep.samples import HAND, SEED, TRUTH, Entry, Sample, entries
from torch_ext.sweep.transforms import SECOND_OPINIONS, TRANSFORMS, Function, NotApplicable, copies

COLUMNS = [*TRANSFORMS, "copies"]
_WORDS = ("yes", "neither", "ours alone", "PyTorch's own wrong", "no", "-")
# Whether a transform composes is asked here, not what rounding may do: that is the sweep's matter.
CLOSE = 2.0**-30
DIFFERENCES = 2.0**-18  # a central difference of step 1e-5: about 1e-10 of truncation, 1e-11 of rounding
_LARGE = 2000  # elements of a sample, which costs time and says no more


def usual(entry: Entry) -> Sample | None:
    """The entry's sample to transform: the first with several elements and a gradient, not too large."""
    best: tuple[float, Sample] | None = None
    for sample in entry.samples(torch.float64)[:200]:
        tensors = [v for v in tree_flatten(sample.given)[0] if isinstance(v, Tensor)]
        sizes = [v.numel() for v in tensors if v.requires_grad]
        if not sizes or min(sizes) == 0:
            continue
        total = sum(sizes)
        cost = abs(total - 40) if total <= _LARGE else total * 10
        if max(sizes) < 4:
            cost += 1000
        if best is None or cost < best[0]:
            best = (cost, sample)
    return None if best is None else best[1]


def pure(sample: Sample, side: str) -> tuple[Function, list[Tensor], Any]:
    """The call as a function of its differentiable inputs and parameters alone, and these."""
    function, module = sample.call(side)
    flat, spec = tree_flatten(sample.given)
    slots = [i for i, v in enumerate(flat) if isinstance(v, Tensor) and v.requires_grad]
    parameters = {} if module is None else dict(module.named_parameters())
    leaves = [flat[i].detach().clone() for i in slots] + [p.detach().clone() for p in parameters.values()]
    rest = [v.detach().clone() if isinstance(v, Tensor) else v for v in flat]

    def f(*x: Tensor) -> tuple[Tensor, ...]:
        every = [_beside(v, x[0]) for v in rest]
        for i, v in zip(slots, x, strict=False):
            every[i] = v
        args, kwargs = tree_unflatten(every, spec)
        if module is None:
            y = function(*args, **kwargs)
        else:
            state = dict(zip(parameters, x[len(slots) :], strict=True))
            state |= {n: _beside(b, x[0]) for n, b in module.named_buffers() if b.device != x[0].device}
            y = torch.func.functional_call(module, state, args, kwargs)
        return tuple(v for v in tree_flatten(y)[0] if isinstance(v, Tensor) and v.is_floating_point())

    return f, leaves, module


def _beside(v: Any, x: Tensor) -> Any:
    """A tensor that is not differentiated, where ``x`` is and as precise."""
    if not isinstance(v, Tensor) or (v.device == x.device and v.dtype in (x.dtype, torch.int64, torch.bool)):
        return v
    return v.to(x.device, x.dtype if v.is_floating_point() else v.dtype)


def row(entry: Entry, columns: Sequence[str] = COLUMNS) -> dict[str, str]:
    """One entry's cells."""
    torch.set_num_threads(1)
    sample = usual(entry)
    if sample is None:
        return dict.fromkeys(columns, "-")
    return {c: _cell(sample, c) for c in columns}


def _cell(sample: Sample, column: str) -> str:
    if column == "copies":
        return _copies(sample)
    transform = TRANSFORMS[column]
    try:
        native: Any = _run(sample, TRUTH, transform)
    except NotApplicable:
        return "-"
    except Exception as error:
        native = error
    try:
        hand = _run(sample, HAND, transform)
    except NotApplicable:
        return "-"
    except Exception as error:
        return "neither" if isinstance(native, Exception) else f"no: {_short(error)}"
    if isinstance(native, Exception):
        return "ours alone"
    cell = _compared(hand, native, column)
    if cell != "yes" and column in SECOND_OPINIONS:
        other = _run(sample, TRUTH, SECOND_OPINIONS[column])
        return "PyTorch's own wrong" if _compared(hand, other, column, DIFFERENCES) == "yes" else cell
    return cell


def _run(sample: Sample, side: str, transform: Callable[..., list[Tensor]]) -> list[Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f, leaves, _ = pure(sample, side)
        if not leaves:
            raise NotApplicable("nothing differentiable")
        torch.manual_seed(SEED)
        return [v.detach() for v in transform(f, leaves)]


def _compared(hand: list[Tensor], native: list[Tensor], column: str, close: float = CLOSE) -> str:
    if len(hand) != len(native):
        return f"no: {len(hand)} results where PyTorch has {len(native)}"
    for i, (a, b) in enumerate(zip(hand, native, strict=True)):
        if a.shape != b.shape or a.dtype != b.dtype:
            return (
                f"no: result {i} is {tuple(a.shape)} {a.dtype} where PyTorch has {tuple(b.shape)} {b.dtype}"
            )
        if not b.numel() or column == "meta":
            continue
        largest = float(b.nan_to_num(0, 0, 0).abs().max())
        unit = 2.0**-7 if column == "autocast" else close
        if not torch.allclose(a, b, rtol=0, atol=unit * max(largest, 1.0), equal_nan=True):
            return (
                f"no: result {i} differs by {float((a - b).abs().nan_to_num(0).max()):.1e} of {largest:.1e}"
            )
    return "yes"


def _copies(sample: Sample) -> str:
    _, module = sample.call(HAND)
    if module is None:
        return "-"
    args, kwargs = sample.given
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            results = []
            for m in (module, *copies(module)):
                torch.manual_seed(SEED)
                results.append([v for v in tree_flatten(m(*args, **kwargs))[0] if isinstance(v, Tensor)])
    except Exception as error:
        return f"no: {_short(error)}"
    same = all(
        torch.equal(a.nan_to_num(), b.nan_to_num())
        for r in results[1:]
        for a, b in zip(results[0], r, strict=True)
    )
    return "yes" if same else "no: a copy gives other results"


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:140]}"


def table(rows: dict[str, dict[str, str]]) -> str:
    """The matrix as Markdown, reasons below it."""
    reasons: dict[str, int] = {}

    def word(cell: str) -> str:
        if not cell.startswith("no: "):
            return cell
        return f"no ({reasons.setdefault(cell[4:], len(reasons) + 1)})"

    body = [{"layer": name, **{c: word(cell) for c, cell in cells.items()}} for name, cells in rows.items()]
    counts = [c.split(":")[0] for cells in rows.values() for c in cells.values()]
    parts = [
        "# What composes with what",
        f"Written by `make matrix`, with torch {torch.__version__}: each layer under each transform, "
        "compared with PyTorch's own under the same. yes: the same result. neither: PyTorch's own raises, "
        "and so does ours. ours alone: PyTorch's own raises. PyTorch's own wrong: differences of its first "
        "derivatives say so, and ours agrees with them. -: the transform says nothing about this layer.",
        ", ".join(f"{word}: {counts.count(word)}" for word in _WORDS),
        tabulate(body, headers="keys", tablefmt="github"),
        "\n".join(f"{n}. {reason}" for reason, n in reasons.items()),
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


@click.command()
@click.argument("names", nargs=-1, metavar="[ENTRY]...")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option(
    "--column", "columns", multiple=True, type=click.Choice(COLUMNS), help="Only this; may be repeated."
)
@click.option("--report", type=click.Path(), help="Write the matrix to this Markdown file.")
@click.option("--json", "data", type=click.Path(), help="Write the cells to this JSON file.")
def main(
    names: tuple[str, ...], jobs: int, columns: tuple[str, ...], report: str | None, data: str | None
) -> None:
    """Every layer under every transform, hand against native; exits 1 where a cell says no.

    Example: python -m torch_ext.sweep.matrix Conv2d gelu --column vmap --column compile
    """
    try:
        chosen = [e.name for e in select(names) if e.derived]
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    work = (delayed(_one)(name, columns or tuple(COLUMNS)) for name in chosen)
    with Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
        done = Parallel(n_jobs=jobs, return_as="generator")(work)
        rows = dict(progress.track(done, total=len(chosen), description="matrix"))
    text = table(rows)
    if report:
        write_atomically(Path(report), text)
    else:
        click.echo(text)
    if data:
        write_atomically(Path(data), json.dumps(rows, indent=1) + "\n")
    sys.exit(1 if any(c.startswith("no: ") for cells in rows.values() for c in cells.values()) else 0)


def _one(name: str, columns: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    return name, row(entries()[name], columns)


if __name__ == "__main__":
    main()
