"""``handgrad layers``: what is derived, from which source, how well verified, at what cost."""

from __future__ import annotations

import json
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from handgrad._derivation import Derivation, registry
from handgrad.report import Record, load

LATEST = Path("reports/latest/report.json")


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
    record = load(report) if report else load(LATEST) if LATEST.exists() else None
    chosen = [registry[name] for name in names or registry]
    accuracy = _accuracy(record)
    rows = [_row(derivation, accuracy.get(derivation.name, {})) for derivation in chosen]
    if as_json:
        click.echo(json.dumps({"layers": rows}, ensure_ascii=False, indent=1))
        return
    console = Console()
    for derivation in chosen if names else ():
        console.print(
            Text(f"{derivation.name}  ({derivation.torch or 'no PyTorch counterpart'})", style="bold")
        )
        console.print(Text(derivation.doc.strip() + "\n"))
    console.print(_table(rows))
    if record is None:
        console.print(Text("Accuracy appears after a run of `handgrad crossval`.", style="dim"))


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


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("layer: formula, source", overflow="fold", ratio=1)
    table.add_column("cases", justify="right")
    table.add_column("error /\nallowed", justify="right")
    table.add_column("operations", justify="right")
    table.add_column("kept /\nPyTorch's", justify="right")
    for row in rows:
        cost = row["cost"]
        words = Text.assemble(
            (row["layer"], "bold"), f"\n  {row['formula']}\n", (f"  {row['source']}", "dim")
        )
        table.add_row(
            words,
            str(len(row["cases"])),
            f"{max(row['verified'].values()):.2g}" if row["verified"] else "–",
            f"{cost['forward']} + {cost['backward']}" if cost else "–",
            f"{cost['kept']} / {cost['torch_kept']} B" if cost else "–",
        )
    return table
