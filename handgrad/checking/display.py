"""How a person sees a check's report: as text, coloured on a terminal, and as HTML in a notebook."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from handgrad.report._console import line, rendered
from handgrad.report._heat_text import HeatText
from handgrad.report.html import render
from handgrad.report.words import count, listing, multiple, number, one_line, shape

if TYPE_CHECKING:
    from handgrad.checking.findings import CheckReport, GradientDiff

_MAPS = 2  # wrong gradients whose errors are drawn in a text: the others look alike, most often
_MAPS_HTML = 8
_DIGITS = range(6, 18)
# findings that are no single gradient's
_OTHER = {"mutates": "it writes into {}", "forward": "{} differs from the reference's"}


def to_text(report: CheckReport, *, colour: bool | None = None, width: int | None = None) -> str:
    """The report as lines. ``colour`` and ``width``: those of standard output where not given; plain and
    100 columns where it is no terminal."""
    return rendered(_parts(report), colour, width)


def to_html(report: CheckReport) -> str:
    """The report as a piece of HTML that needs nothing else, for a page in light or dark."""
    from handgrad.report.gradients import to_checks

    checks = {check.argument: check for check in to_checks(report, report.target)}
    cards = [
        (diff.name, replace(checks[f"d_{diff.name}"], case=diff.inputs, library="", oracle="", message=""))
        for diff in report.diffs
        if _blamed(diff, report) and _measured(diff)
    ]
    return render(
        "check.html.j2",
        report=report,
        verdict=verdict(report),
        findings=statements(report),
        rows=[
            (diff, _blamed(diff, report), *(_values(diff) if _measured(diff) else (_kinds(diff, report), "")))
            for diff in report.diffs
        ],
        cards=cards[:_MAPS_HTML],
        undrawn=len(cards[_MAPS_HTML:]),
    )


# --- the words -----------------------------------------------------------------------


def verdict(report: CheckReport) -> str:
    """The whole report in one sentence."""
    name, n = one_line(report.target), len(report.diffs)
    if report.passed:
        return f"{name}: {count(n, 'gradient')} right to within rounding"
    wrong = [diff.name for diff in report.diffs if _blamed(diff, report)]
    parts = []
    if wrong and n == 1:
        parts.append(f"the gradient of {one_line(wrong[0])} is wrong")
    elif wrong:
        parts.append(f"{len(wrong)} of {count(n, 'gradient')} wrong: {listing(wrong)}")
    others: dict[str, list[str]] = {}
    for f in report.findings:
        if f.beyond:
            others.setdefault(f"{f.beyond} is wrong: {{}}", []).append(f.where)
        elif f.where not in wrong:
            others.setdefault(_OTHER.get(f.kind, "something wrong with {}"), []).append(f.where)
    parts += [words.format(listing(list(dict.fromkeys(where)))) for words, where in others.items()]
    return f"{name}: {'; '.join(parts)}"


@dataclass(frozen=True)
class Statement:
    """What one finding says: its kind, and those of findings that follow from it."""

    kind: str
    also: tuple[str, ...]
    where: str
    message: str
    evidence: str


def statements(report: CheckReport) -> list[Statement]:
    """The findings, most likely cause first; one that repeats a part of another is named beside it."""
    found: list[Statement] = []
    for f in report.findings:
        message = " ".join(f.message.split())
        same = next((i for i, s in enumerate(found) if s.where == f.where and message in s.message), None)
        if same is None:
            found.append(Statement(f.kind, (), f.where, message, _evidence(f.details, message)))
        else:
            found[same] = replace(found[same], also=(*found[same].also, f.kind))
    return found


def _evidence(details: Mapping[str, Any], message: str) -> str:
    """The lists in the details that are longer than what the message says of them."""
    lists = {k: v for k, v in details.items() if isinstance(v, list | tuple)}
    texts = {name: [str(v) for v in values] for name, values in lists.items()}
    return "; ".join(
        f"{name}: {', '.join(values)}"
        for name, values in texts.items()
        if not all(v in message for v in values)
    )


def _blamed(diff: GradientDiff, report: CheckReport) -> bool:
    """Whether something is wrong with this gradient: its values, or what a finding says of it."""
    return not diff.passed or any(f.where == diff.name and not f.beyond for f in report.findings)


def _kinds(diff: GradientDiff, report: CheckReport) -> str:
    """What the findings call it."""
    own = (f.kind for f in report.findings if f.where == diff.name and not f.beyond)
    return ", ".join(dict.fromkeys(own)) or diff.diagnosis


def _measured(diff: GradientDiff) -> bool:
    """Whether the values themselves are wrong, and where."""
    return diff.worst_index is not None and not diff.ulps <= diff.allowed_ulps


def _values(diff: GradientDiff) -> tuple[str, str]:
    """Both values, and how far apart they are."""
    if not _measured(diff):
        return "", ""
    a, t = diff.analytic, diff.reference
    at = f" at {list(diff.worst_index)}" if diff.worst_index else ""
    at += f" of {shape(diff.computed_shape)}" if at and diff.computed_shape not in ((), diff.shape) else ""
    hand, true = _apart(a, t)
    values = f"{hand} where {true} is right,{at} on {diff.inputs}"
    if a is None or t is None or not math.isfinite(abs(a - t)):
        return values, ""
    relative = f"{number(abs(a - t) / abs(t))} relative, " if t else ""
    rounding = multiple(diff.ulps / diff.allowed_ulps if diff.allowed_ulps else None)
    dtype = f" in {diff.computed_in}" if diff.computed_in else ""
    return values, f"off by {number(abs(a - t))}, {relative}{rounding} what rounding{dtype} explains"


def _apart(a: float | complex | None, t: float | complex | None) -> tuple[str, str]:
    """Both values with as many digits as tell them apart, six at least."""
    if a is None or t is None:
        return str(a), str(t)
    a, t = a + 0.0, t + 0.0  # no minus before a zero
    pairs = [(f"{a:.{digits}g}", f"{t:.{digits}g}") for digits in _DIGITS]
    return next((pair for pair in pairs if pair[0] != pair[1]), pairs[-1])


# --- as text -------------------------------------------------------------------------


def _parts(report: CheckReport) -> Iterator[RenderableType]:
    yield line(verdict(report), "bold green" if report.passed else "bold red")
    yield line(f"truth: {report.oracle}; seed {report.seed}", "dim")
    for statement in statements(report):
        yield Text()
        yield _heading(statement)
        yield Padding(line(statement.message), (0, 0, 0, 2))
        if statement.evidence:
            yield Padding(line(statement.evidence, "dim"), (0, 0, 0, 2))
    yield Text()
    yield from _gradients(report)
    drawn = [
        d for d in report.diffs if _measured(d) and d.errors and max(map(len, (d.errors, *d.errors))) > 1
    ]
    for diff in drawn[:_MAPS]:
        assert diff.errors is not None
        yield Text()
        yield line(f"{diff.name}, on {diff.inputs}", "bold")
        yield Padding(HeatText(diff.errors, diff.errors_shape), (0, 0, 0, 2))
    if len(drawn) > _MAPS:
        yield Text()
        yield line(f"{count(len(drawn) - _MAPS, 'more wrong gradient')} not drawn", "dim")
    for note in report.notes:
        yield Text()
        yield line(note)


def _heading(statement: Statement) -> Text:
    text = Text(statement.kind, style="bold red")
    if statement.also:
        text.append(f" ({', '.join(statement.also)})", "red")
    return text.append(": ", "default").append(one_line(statement.where), "bold default")


def _gradients(report: CheckReport) -> Iterator[RenderableType]:
    """A line for each gradient, and what is wrong with it below."""
    rows = [(one_line(diff.name), shape(diff.shape), diff.dtype) for diff in report.diffs]
    wide = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
    for diff, (name, size, dtype) in zip(report.diffs, rows, strict=True):
        wrong = _blamed(diff, report)
        text = line("  wrong  " if wrong else "  right  ", "bold red" if wrong else "green")
        text.append(
            f"{name:<{wide[0]}}  {size:<{wide[1]}}  {dtype:<8}", "bold default" if wrong else "default"
        )
        if wrong and not _measured(diff):
            text.append(f"  {_kinds(diff, report)}", "red")
        yield text
        for words in filter(None, _values(diff) if wrong else ()):
            yield Padding(line(words), (0, 0, 0, 9))
