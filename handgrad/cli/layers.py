"""``handgrad layers``: what is derived, from which source, how well verified, at what cost."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from handgrad._derivation import Derivation, registry
from handgrad.report import Record, load
from handgrad.report._console import columns, line, rendered
from handgrad.report.words import ABSENT, clean, multiple

LATEST = Path("reports/latest/report.json")
_NAMES = 20  # characters that names are padded to; a longer one takes its formula's room
_WIDE = 120  # columns from which each layer's source is listed too


@click.command()
@click.argument("names", nargs=-1, metavar="[LAYER]...")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"Report to read accuracy from (default: {LATEST}, where it exists).",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(names: tuple[str, ...], report: Path | None, as_json: bool) -> None:
    """List every layer: formula, source, what is verified, accuracy, cost.

    With names, the whole derivation of each. Accuracy is the largest error that a cross-validation
    found, as a multiple of what rounding explains (right up to 1). Cost is the number of array
    operations, forward + backward, and the memory kept between them beside PyTorch's own, for the
    layer's first case.

    \b
    Example: handgrad layers
             handgrad layers layer_norm gelu
    """
    path = report or (LATEST if LATEST.exists() else None)
    record = load(path) if path else None
    chosen = [registry[name] for name in names or registry]
    accuracy = _accuracy(record)
    rows = [_row(derivation, accuracy.get(derivation.name, {})) for derivation in chosen]
    if as_json:
        read = {"report": str(path), "written": _written(path)} if path else None
        click.echo(json.dumps({"layers": rows, "accuracy": read}, ensure_ascii=False, indent=1))
        return
    for derivation in chosen if names else ():
        title = f"{derivation.name}  ({derivation.torch or 'no PyTorch counterpart'})"
        click.echo(rendered([line(title, "bold")], None, None), nl=False)
        click.echo(clean(derivation.doc.strip()) + "\n")  # as it is written: its lines are broken already
    width = columns()
    note = "Accuracy appears after a run of `handgrad crossval`."
    if path:
        note = f"Errors are those of {path}, written on {_written(path)}."
    table = _table(rows, width, sources=not names and width >= _WIDE)
    click.echo(rendered([table, line(""), line(note, "dim")], None, width), nl=False)


def _written(path: Path) -> str:
    """When a file was written, to the minute."""
    return datetime.fromtimestamp(path.stat().st_mtime).strftime("%Y-%m-%d %H:%M")


def _row(derivation: Derivation, accuracy: dict[str, float]) -> dict[str, Any]:
    return {
        "layer": derivation.name,
        "formula": derivation.formula,
        "torch": derivation.torch,
        "source": derivation.source,
        "inputs": list(derivation.inputs),
        "differentiable": list(derivation.differentiable),
        "options": {name: repr(value) for name, value in derivation.options.items()},
        "cases": [case.name for case in derivation.cases],
        "verified": accuracy,
        "cost": _cost(derivation),
    }


def _cost(derivation: Derivation) -> dict[str, int] | None:
    """None where PyTorch is not installed, or there is no case to try."""
    if find_spec("torch") is None or not derivation.cases:
        return None
    from torch_ext.cost import cost

    return vars(cost(derivation, derivation.cases[0])).copy()


def _accuracy(record: Record | None) -> dict[str, dict[str, float]]:
    """{layer: {dtype: largest error / allowed}} of the checks of single layers."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for check in record.checks if record else ():
        if check.group == "layers" and check.dtype:
            worst = found[check.layer].get(check.dtype, 0.0)
            found[check.layer][check.dtype] = max(
                worst, check.ratio or (0.0 if check.passed else float("inf"))
            )
    return found


def _table(rows: list[dict[str, Any]], width: int, sources: bool) -> Table:
    """A row for each layer, its formula cut to fit; ``sources``: with a second line for its source."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0), width=width)
    table.add_column("layer and formula", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("cases", justify="right")
    table.add_column("error /\nallowed", justify="right")
    table.add_column("array\noperations", justify="right")
    table.add_column("bytes kept /\nPyTorch's", justify="right")
    names = min(_NAMES, max(len(row["layer"]) for row in rows))
    for row in rows:
        cost, words = row["cost"], Text.assemble((row["layer"].ljust(names), "bold"), "  ", row["formula"])
        if sources:
            words.append(f"\n{'':{names}}  {row['source']}", style="dim")
        table.add_row(
            words,
            str(len(row["cases"])),
            multiple(max(row["verified"].values(), default=None)),
            f"{cost['forward']} + {cost['backward']}" if cost else ABSENT,
            f"{cost['kept']:,} / {cost['torch_kept']:,}" if cost else ABSENT,
        )
    return table
