"""The record as Markdown, as GitHub and every CommonMark reader with tables shows it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from tabulate import tabulate

from handgrad.report.record import Check, Example, Record, Tally
from handgrad.report.words import (
    count,
    derivation,
    details,
    exact,
    index,
    multiple,
    number,
    one_line,
    verdict,
    worst,
)

_ROWS = 100  # failures listed; the JSON has them all
_DETAILED = 5


def to_markdown(record: Record) -> str:
    """The record as Markdown text: verdict, failures (worst first), summaries, examples."""
    return "\n\n".join(_blocks(record)) + "\n"


def escape(text: str) -> str:
    """Any text as one line of Markdown that shows it as it is, in a table too."""
    return re.sub(r"([\\`*_\[\]<>|&~#$])", r"\\\1", one_line(text, 400))


def code(text: str, *, in_table: bool = True) -> str:
    """Any text as one line of code; nothing where there is no text."""
    plain = one_line(text, 400).replace("`", "'")
    plain = plain.replace("|", "\\|") if in_table else plain  # even in code a bar ends a cell
    return f"`{plain}`" if plain else ""


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> str:
    """A table of cells that are Markdown already."""
    align = ["right" if header in right else "left" for header in headers]
    text = tabulate(list(rows), headers, tablefmt="pipe", disable_numparse=True, colalign=align)
    return str(text)


def _blocks(record: Record) -> Iterator[str]:
    yield f"# {escape(record.title)}"
    yield f"**{'PASSED' if record.passed else 'FAILED'}**: {escape(verdict(record))}."
    yield f"Seed {record.seed}." + (
        f" Again: {code(record.command, in_table=False)}" if record.command else ""
    )
    if record.failures:
        yield from _failures(record.failures)
    if record.checks:
        yield "## By group"
        yield _summary("group", record.by_group)
        yield "## By layer"
        yield "The largest error is a multiple of what rounding allows: right up to 1."
        yield _summary("layer", record.by_layer)
    for example in record.examples:
        yield from _example(example)
    yield from _volatile(record)


def _failures(failures: tuple[Check, ...]) -> Iterator[str]:
    yield "## What is wrong, worst first"
    headers = ("layer", "wrong", "case", "dtype", "error / allowed", "ulps", "at", "hand", "true")
    rows = [
        (
            code(check.place),
            code(check.argument),
            escape(check.case),
            escape(f"{check.dtype} {check.library}"),
            multiple(check.ratio),
            number(check.ulps),
            escape(index(check.worst_index)),
            exact(check.analytic),
            exact(check.reference),
        )
        for check in failures[:_ROWS]
    ]
    yield table(headers, rows, right=("error / allowed", "ulps", "hand", "true"))
    if len(failures) > _ROWS:
        yield f"And {count(len(failures) - _ROWS, 'more failure')}; `report.json` has them all."
    for check in failures[:_DETAILED]:
        yield f"### {code(check.id, in_table=False)}"
        if derivation(check):
            yield f"Derived in {code(derivation(check), in_table=False)}."
        yield "\n".join("    " + line for line in details(check).splitlines())


def _summary(name: str, tallies: dict[str, Tally]) -> str:
    headers = (name, "checks", "failed", "largest error / allowed", "where")
    rows = [
        (
            code(key),
            f"{tally.checks:,}",
            f"**{tally.failed:,}**" if tally.failed else "0",
            worst(tally),
            code(tally.worst.id) if tally.worst else "",
        )
        for key, tally in tallies.items()
    ]
    return table(headers, rows, right=headers[1:4])


def _example(example: Example) -> Iterator[str]:
    yield f"## {escape(example.title)}"
    if example.source:
        yield f"From {escape(example.source)}."
    if example.printed:
        rows = [
            (
                escape(p.where),
                escape(p.what),
                escape(p.printed),
                f"**{p.verdict}**" if p.verdict == "misprint" else p.verdict,
                escape(p.value),
                escape(p.note),
            )
            for p in example.printed
        ]
        yield table(("where", "what", "printed", "verdict", "what follows", "note"), rows)


def _volatile(record: Record) -> Iterator[str]:
    yield "## Environment and times"
    yield "<!-- What follows may differ from run to run; everything above does not, on one machine. -->"
    rows = [(escape(name), escape(value)) for name, value in record.environment.items()]
    rows += [(escape(name), f"{seconds:.1f} s") for name, seconds in record.seconds.items()]
    yield table(("what", "value"), rows) if rows else "None recorded."
