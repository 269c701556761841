"""``handgrad lecture``: worked examples, number by number."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import click
from rich.console import RenderableType

from handgrad.report import Printed, Record, to_json, write_reports
from handgrad.report._console import line, rendered, table
from handgrad.report.words import count
from handgrad.worked import Judgement, judge, load, number_checks, shipped, verdict_check


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE.toml]...")
@click.option(
    "--all", "everything", is_flag=True, help="List every printed number, not only those that differ."
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON instead of text.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also write report.json, report.md, report.html and report.xml (JUnit) to this folder.",
)
def command(files: tuple[str, ...], everything: bool, as_json: bool, report: Path | None) -> None:
    """Report each printed number of a worked example that does not follow.

    Without FILE, the lecture's sections 6.2 to 8.3 and its exercises 1 to 5. A number follows, or is
    carried (it follows from the sheet's own rounded numbers only), or is a misprint.

    A misprint that a sheet does not declare (misprints = [...]) is a mismatch, and so is a declared
    one that follows after all: exit 1. The lecture's own misprints are declared: exit 0.

    \b
    Example: handgrad lecture
             handgrad lecture my-sheet.toml --all
    """
    judgements = {name: judge(load(name), svg=True) for name in files or shipped()}
    surprises = [s for j in judgements.values() for s in j.surprises]
    record = _record(judgements, " ".join(["handgrad lecture", *files]))
    if report:
        write_reports(record, report)
    if as_json:
        click.echo(to_json(record), nl=False)
    else:
        click.echo(_text(record, surprises, everything), nl=False)
    if report:
        click.echo(f"Written to {report}/report.md, .html, .json, .xml", err=as_json)
    sys.exit(1 if surprises else 0)


def _record(judgements: Mapping[str, Judgement], command: str) -> Record:
    """The sheets' verdicts; with checks, one for each sheet and one for each printed number."""
    sheets = [verdict_check(name, j.surprises) for name, j in judgements.items()]
    numbers = [check for name, j in judgements.items() for check in number_checks(name, j)]
    examples = tuple(j.example for j in judgements.values())
    checks = (*sheets, *numbers)
    return Record(title="Worked examples", seed=0, checks=checks, examples=examples, command=command)


def _text(record: Record, surprises: list[str], everything: bool) -> str:
    parts: list[RenderableType] = []
    for example in record.examples:
        numbers = [
            p for p in example.printed if p.verdict == "misprint" or (everything and p.verdict != "statement")
        ]
        statements = [p for p in example.printed if p.verdict == "statement"]
        if numbers or statements:
            parts.append(line(f"{example.title} ({example.source})".removesuffix(" ()"), "bold"))
        if numbers:
            headers = (
                "where",
                "what",
                "printed",
                *(["verdict"] if everything else []),
                "what follows",
                "note",
            )
            parts.append(table(headers, [_row(p, everything) for p in numbers]))
        for p in statements:
            parts.append(line(f"  {p.where}: {p.what}"))
            parts.append(line(f"    {p.value}: {p.note}".removesuffix(": ")))
        if statements:
            parts.append(line(""))
    parts.append(line(_summary(record), "bold"))
    if surprises:
        parts += [line(f"{s}.", "red") for s in surprises]
    elif record.counts["misprint"]:
        parts.append(line("Each misprint is declared in its sheet."))
    return rendered(parts, None, None)


def _row(p: Printed, everything: bool) -> tuple[str, ...]:
    return (p.where, p.what, p.printed, *([p.verdict] if everything else []), p.value, p.note)


def _summary(record: Record) -> str:
    n = record.counts
    total = n["follows"] + n["carried"] + n["misprint"]
    parts = [count(n["examples"], "worked example")]
    if n["statement"]:
        parts.append(count(n["statement"], "statement"))
    printed = "printed number or formula" if total == 1 else "printed numbers and formulas"
    follow = "follows" if n["follows"] == 1 else "follow"
    are = "is" if n["carried"] == 1 else "are"
    return (
        f"{', '.join(parts)}; of {total} {printed} {n['follows']} {follow}, {n['carried']} {are} carried "
        f"from the sheet's own numbers; {count(n['misprint'], 'misprint')}."
    )
