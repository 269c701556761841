"""Numbers and names as people read them; the same in every view."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from handgrad.report.record import Check, Record, Tally

ABSENT = "–"

# What XML 1.0 forbids, what a terminal obeys (C0, DEL, C1), and what turns the reading direction.
_UNSAFE = re.compile(
    "[^\t\n\x20-\x7e\xa0-\u2029\u202f-\u2065\u206a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)


def clean(text: str) -> str:
    """The text with control characters made visible (``\\x1b``), newline and tab kept."""
    return _UNSAFE.sub(lambda match: repr(match.group())[1:-1], text)


def one_line(text: str, limit: int = 160) -> str:
    """The cleaned text on one line, cut after ``limit`` characters."""
    line = " ".join(clean(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def number(value: float | None, digits: int = 3) -> str:
    """A size to be read: three digits."""
    return ABSENT if value is None else f"{value:.{digits}g}"


def signed(value: float) -> str:
    return f"{value:+.3g}"


def exact(value: float | None) -> str:
    """A value to be compared: the shortest digits that give the same float64."""
    return ABSENT if value is None else repr(value)


def index(value: tuple[int, ...] | None) -> str:
    return ABSENT if value is None else "[" + ", ".join(map(str, value)) + "]"


def shape(value: tuple[int, ...]) -> str:
    return " × ".join(map(str, value)) if value else "scalar"


def count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def listing(names: Sequence[str], limit: int = 8) -> str:
    """Names in one line, at most ``limit`` of them."""
    shown = ", ".join(map(one_line, names[:limit]))
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit:,} more"


def multiple(ratio: float | None) -> str:
    """An error as a multiple of what is allowed."""
    if ratio is None:
        return ABSENT
    if ratio == 0 or math.isinf(ratio):
        return "not finite" if ratio else "exact"
    # two digits, or as many as keep an error beside the limit from being shown as the limit
    texts = (f"{ratio:.{digits}g}" for digits in range(2, 18))
    return f"{next(t for t in texts if float(t) != 1 or ratio == 1)} ×"


def worst(tally: Tally) -> str:
    """The largest error of a tally, as a multiple of what is allowed."""
    if tally.worst is None:
        return ABSENT
    if tally.worst.ratio is None and tally.worst.message and not tally.worst.passed:
        return "no value"
    return multiple(tally.worst.ratio)


def misprints(record: Record) -> str:
    """The misprints of a record that has checks, in one line; nothing where there are none.

    Cross-validation checks that each sheet's verdicts are those it declares.
    """
    n = record.counts["misprint"]
    judged = [check.passed for check in record.checks if check.id.endswith(" / verdicts")]
    declared = ", as declared" if judged and all(judged) else ""
    return f"{count(n, 'misprint')} of the sheets{declared}; handgrad lecture lists them" if n else ""


def again(check: Check, record: Record) -> str:
    """The command that runs a check's random architecture again, alone; "" where it is of none.

    A run of chosen layers draws other architectures: its choice is kept.
    """
    name, _, seed = check.case.partition(" ")
    only = "".join(re.findall(r" --layer \S+", record.command))
    return (
        f"handgrad crossval --architecture {seed}{only}"
        if name == "architecture" and seed.isdecimal()
        else ""
    )


def derivation(check: Check) -> str:
    """The file that derives a check's layer."""
    return f"handgrad/derivations/{check.layer}.py" if check.layer else ""


def verdict(record: Record) -> str:
    """The whole record in one sentence."""
    counts = record.counts
    if not record.checks and not record.examples:
        return "Nothing was checked"
    if not record.passed:
        wrong = f"{counts['failed']:,} of {count(counts['checks'], 'check')}"
        return f"{wrong} failed, in {listing(record.failed_places)}"
    parts = []
    if record.checks:
        parts.append(f"{count(counts['checks'], 'check')}, each right to within rounding")
    if record.examples:
        parts.append(f"{count(counts['examples'], 'worked example')}")
        parts.append(count(counts["misprint"], "misprint"))
    return ", ".join(parts)


def details(check: Check) -> str:
    """A failing check in full, as lines of clean text; what was not measured is left out."""
    size = f" ({shape(check.shape)})" if check.shape else ""
    what = ", ".join(filter(None, (f"{check.argument}{size}", check.dtype, check.library)))
    against = f"against {check.oracle}" if check.oracle else ""
    compared = ", ".join(filter(None, (what, against)))
    lines = [check.message, f"compared: {compared}" if compared else ""]
    if check.analytic is not None or check.reference is not None:
        lines += [
            f"hand value: {exact(check.analytic)} at {index(check.worst_index)}",
            f"true value: {exact(check.reference)}",
        ]
    if check.ulps is not None or check.max_abs_error is not None:
        lines.append(
            f"error: {number(check.max_abs_error)} absolute, {number(check.max_rel_error)} "
            f"relative, {number(check.ulps)} ulps where {number(check.allowed_ulps)} are allowed"
        )
    return clean("\n".join(filter(None, lines)))
