"""``python -m torch_ext.sweep``."""

from __future__ import annotations

import json
import sys
from collections import Counter

import click
from joblib import Parallel, delayed
from rich.progress import Progress
from tabulate import tabulate

from torch_ext.sweep.run import CHECKS, Row, select, summary, sweep, table
from torch_ext.sweep.samples import entries


@click.command()
@click.argument("names", nargs=-1, metavar="[ENTRY]...")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option("--limit", type=click.IntRange(1), help="At most so many samples of each entry and dtype.")
@click.option(
    "--check", "checks", multiple=True, type=click.Choice(CHECKS), help="Only this; may be repeated."
)
@click.option("--failures", default=8, show_default=True, help="Failures to print for each entry.")
@click.option("--list", "listing", is_flag=True, help="List the entries and stop.")
@click.option("--report", type=click.Path(), help="Write the table to this Markdown file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    names: tuple[str, ...],
    jobs: int,
    limit: int | None,
    checks: tuple[str, ...],
    failures: int,
    listing: bool,
    report: str | None,
    as_json: bool,
) -> None:
    """Every sample of PyTorch's databases, hand against native.

    Example: python -m torch_ext.sweep conv2d Conv2d --check first
    """
    if listing:
        for e in entries().values():
            click.echo(f"{e.name:45} {'derived' if e.derived else '-'}")
        return
    try:
        chosen = [e.name for e in select(names)]
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    rows = _all(chosen, jobs, limit, checks or CHECKS)
    totals = summary(rows)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "summary": totals,
                    "rows": table(rows),
                    "failures": [f._asdict() for r in rows for f in r.failures],
                },
                indent=1,
            )
        )
    else:
        _print(rows, totals, failures, bool(names))
    if report:
        from torch_ext.sweep.report import write

        write(report, rows, totals)
    sys.exit(1 if any(r.failures for r in rows) else 0)


def _all(names: list[str], jobs: int, limit: int | None, checks: tuple[str, ...]) -> list[Row]:
    if jobs == 1 and len(names) < 8:
        return [_one(name, limit, checks) for name in names]
    work = (delayed(_one)(name, limit, checks) for name in names)
    with Progress(transient=True, disable=not sys.stderr.isatty()) as progress:
        done = Parallel(n_jobs=jobs, return_as="generator")(work)
        return list(progress.track(done, total=len(names), description="sweep"))


def _one(name: str, limit: int | None, checks: tuple[str, ...]) -> Row:
    return sweep(entries()[name], limit, checks)


def _print(rows: list[Row], totals: dict[str, object], shown: int, named: bool) -> None:
    for row in rows:
        kinds = Counter(f.check for f in row.failures)
        for f in row.failures[:shown]:
            click.echo(f"{f.entry} [{f.check}] sample {f.label}\n    {f.message}")
        if len(row.failures) > shown:
            click.echo(f"{row.entry}: {dict(kinds)} failures in all")
    click.echo(tabulate(table(rows), headers="keys"))
    for key, value in totals.items():
        if not (named and key.startswith("missing")):
            click.echo(f"{key.replace('_', ' ')}: {' '.join(value) if isinstance(value, list) else value}")


if __name__ == "__main__":
    main()
