"""The record for the terminal: the verdict, a table of groups, the failures, worst first.

A log is read from its end: there the verdict stands again where something failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.padding import Padding

from handgrad.report._console import line, rendered, table
from handgrad.report.record import Check, Example, Record, alike
from handgrad.report.words import again, count, details, misprints, one_line, verdict, worst


def to_text(
    record: Record,
    *,
    colour: bool | None = None,
    width: int | None = None,
    limit: int = 10,
) -> str:
    """The record as lines for a person.

    ``colour`` and ``width`` are those of standard output where not given: plain and 100
    columns unless it is a terminal. Failures alike are shown once, by the worst of them; at most
    ``limit`` of these in full.
    """
    return rendered(_parts(record, limit), colour, width)


def _parts(record: Record, limit: int) -> Iterator[RenderableType]:
    judgement = line(verdict(record), "bold green" if record.passed else "bold red")
    yield line(record.title, "bold")
    yield judgement
    if record.checks:
        rows = [
            (name, f"{tally.checks:,}", f"{tally.failed:,}", worst(tally))
            for name, tally in record.by_group.items()
        ]
        headers = ("group", "checks", "failed", "largest error / allowed")
        yield table(headers, rows, right=headers[1:])
    kinds = alike(record.failures)
    for kind in kinds[:limit]:
        yield from _failure(kind, record)
    if beyond := sum(map(len, kinds[limit:])):
        yield line(f"and {count(beyond, 'more failure')}, in the reports", "red")
    if record.checks:
        if text := misprints(record):
            yield line(text)
    else:
        for example in record.examples:
            yield from _misprints(example)
    if record.command:
        yield line(f"again: {record.command}", "dim")
    if record.failures:
        yield judgement


def _failure(kind: Sequence[Check], record: Record) -> Iterator[RenderableType]:
    """The worst of some failures alike, and how many there are beside it."""
    check = kind[0]
    yield line(one_line(check.id), "bold red")
    texts = details(check).splitlines()
    if command := again(check, record):
        texts.append(f"again: {command}")
    if len(kind) > 1:
        texts.append(f"and {len(kind) - 1:,} alike")
    for text in texts:
        yield Padding(line(text), (0, 0, 0, 2))
    yield line("")


def _misprints(example: Example) -> Iterator[RenderableType]:
    wrong = [printed for printed in example.printed if printed.verdict == "misprint"]
    if wrong:
        yield line(f"{example.title}: {count(len(wrong), 'misprint')}", "bold yellow")
        rows = [(p.where, p.what, p.printed, p.value, p.note) for p in wrong]
        yield table(("where", "what", "printed", "follows", "note"), rows)
