"""``handgrad crossval``: the main job."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from handgrad._derivation import registry
from handgrad.cli import require_torch, terminal

DERIVATIONS = "../../handgrad/derivations"


@click.command()
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**31), help="Fixes every random number."
)
@click.option(
    "--architectures",
    default=200,
    show_default=True,
    type=click.IntRange(0),
    help="How many random networks.",
)
@click.option(
    "--architecture",
    "chosen",
    multiple=True,
    type=click.IntRange(0),
    metavar="N",
    help="Only this random network, as a report numbers it; may be repeated.",
)
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="NAME",
    help="Only this layer, alone and in random networks of the layers so named; may be repeated.",
)
@click.option(
    "--jobs", default=-1, show_default="one for each core", type=click.IntRange(-1), help="Worker processes."
)
@click.option(
    "--reports",
    show_default="reports/latest, or reports/part with --layer or --architecture",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of report.json, report.md, report.html and report.xml (JUnit).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON instead of text.")
def command(
    seed: int,
    architectures: int,
    chosen: tuple[int, ...],
    layers: tuple[str, ...],
    jobs: int,
    reports: Path | None,
    as_json: bool,
) -> None:
    """Compare every hand derivation with autograd: the main job.

    The lecture's networks and examples, every layer (NumPy, PyTorch and a strict array library,
    each in its dtypes, and a numerical truth in long double), and random architectures. Writes the
    reports, and exits 1 where a gradient is wrong.

    \b
    Example: handgrad crossval --seed 1 --architectures 500
             handgrad crossval --layer layer_norm
             handgrad crossval --architecture 17
    """
    require_torch("crossval")
    from handgrad.report import to_json, to_text, write_atomically, write_reports
    from torch_ext.crossval import crossval

    for name in layers:
        registry[name]  # an unknown one raises
    if reports is None:
        reports = Path("reports", "part" if layers or chosen else "latest")
    write_atomically(reports / ".writable", "")  # a run of minutes should not end in "cannot write"
    (reports / ".writable").unlink()
    columns = (
        TextColumn("cross-validating"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not terminal()) as bar:
        task = bar.add_task("", total=None)
        record = crossval(
            seed,
            chosen or architectures,
            jobs or -1,
            layers or None,
            lambda done, total, label: bar.update(task, completed=done, total=total, description=label),
        )
    write_reports(record, reports, derivation_url=DERIVATIONS)
    click.echo(to_json(record) if as_json else to_text(record), nl=False)
    click.echo(f"reports: {reports}/report.md, .html, .json, .xml", err=as_json)
    sys.exit(0 if record.passed else 1)
