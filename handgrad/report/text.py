"""The record for the terminal: the verdict, a table of groups, the failures, worst first."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from handgrad.report._console import line, rendered, table
from handgrad.report.record import Check, Example, Record
from handgrad.report.words import (
    count,
    details,
    one_line,
    verdict,
    worst,
)


def to_text(
    record: Record,
    *,
    colour: bool | None = None,
    width: int | None = None,
    limit: int = 10,
) -> str:
    """The record as lines for a person.

    ``colour`` and ``width`` are those of standard output where not given: plain and 100
    columns unless it is a terminal. At most ``limit`` failures are shown in full.
    """
    return rendered(_parts(record, limit), colour, width)


def _parts(record: Record, limit: int) -> Iterator[RenderableType]:
    yield line(record.title, "bold")
    yield line(verdict(record), "bold green" if record.passed else "bold red")
    if record.checks:
        rows = [
            (name, f"{tally.checks:,}", f"{tally.failed:,}", worst(tally))
            for name, tally in record.by_group.items()
        ]
        headers = ("group", "checks", "failed", "largest error / allowed")
        yield table(headers, rows, right=headers[1:])
    failures = record.failures
    for check in failures[:limit]:
        yield from _failure(check)
    if len(failures) > limit:
        yield line(f"and {count(len(failures) - limit, 'more failure')}, in the reports", "red")
    for example in record.examples:
        yield from _misprints(example)
    if record.command:
        yield line(f"again: {record.command}", "dim")


def _failure(check: Check) -> Iterator[RenderableType]:
    yield line(one_line(check.id), "bold red")
    for text in details(check).splitlines():
        yield line("  " + text)
    yield line("")


def _misprints(example: Example) -> Iterator[RenderableType]:
    wrong = [printed for printed in example.printed if printed.verdict == "misprint"]
    if wrong:
        yield line(f"{example.title}: {count(len(wrong), 'misprint')}", "bold yellow")
        rows = [(p.where, p.what, p.printed, p.value, p.note) for p in wrong]
        yield table(("where", "what", "printed", "follows", "note"), rows)
