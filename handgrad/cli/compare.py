"""``handgrad compare OLD NEW``: what regressed between two reports."""

from __future__ import annotations

import json
from pathlib import Path

import click

from handgrad._errors import InputError
from handgrad.report import compare, load


@click.command("compare")
@click.argument("old", type=click.Path())
@click.argument("new", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print the changes as JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print them as Markdown, for a comment.")
@click.pass_context
def command(context: click.Context, old: str, new: str, as_json: bool, as_markdown: bool) -> None:
    """Compare two reports, OLD.json and NEW.json, check by check.

    A folder stands for the report.json in it.

    Names what regressed, vanished, appeared, worsened and improved. A check that vanished counts
    as a regression, and so does a new one that fails; an error that grew within what rounding
    allows does not.

    Exits 1 where something regressed, and 0 where nothing did.

    \b
    Example: handgrad compare baseline/report.json reports/latest/report.json
    """
    if as_json and as_markdown:
        raise InputError("one form is printed; received --json and --markdown; leave out one of them.")
    result = compare(*(load(_report(path)) for path in (old, new)))
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=1, allow_nan=False))
    else:
        click.echo(result.to_markdown() if as_markdown else result.to_text(), nl=False)
    context.exit(0 if result.passed else 1)


def _report(path: str) -> Path:
    """The report at a path: a file, or report.json in a folder."""
    return Path(path) / "report.json" if Path(path).is_dir() else Path(path)
