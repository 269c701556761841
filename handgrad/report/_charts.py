"""Distributions of errors for the HTML report, as inline SVG: box strips and histograms.

Colours are CSS classes (``templates/report.css``), so that light, dark and print each have their
own. Only numbers and escaped words enter the markup.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from handgrad.report.words import clean, number

_GUTTER = 32  # room beside a log axis, for what it cannot hold: exact, and not finite
_LABEL = 66
_FARTHEST = 8  # decades above 1 that an axis shows; larger values stand at its end


@dataclass(frozen=True)
class Axis:
    """A log axis of whole decades, with room at its ends for what is exact and not finite."""

    low: int
    high: int
    width: int
    limit: bool  # whether 1 is the limit: the axis counts multiples of what is allowed

    @classmethod
    def of(cls, values: Iterable[float], width: int, *, limit: bool) -> Axis:
        """The decades that hold the values; far ones stand at the ends, to keep the rest legible."""
        logs = [math.log10(v) for v in values if 0 < v < math.inf]
        low = max(-3, math.floor(min(logs, default=-1)))
        high = min(_FARTHEST, math.ceil(max(logs, default=1)))
        return cls(min(low, -1), max(high, 1), width, limit)

    def x(self, value: float) -> float:
        if value == 0:
            return _GUTTER / 3
        if not math.isfinite(value):
            return self.width - _GUTTER / 3
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return round(_GUTTER + min(1.0, max(0.0, share)) * (self.width - 2 * _GUTTER), 1)

    def ticks(self) -> list[tuple[float, str]]:
        step = max(1, math.ceil((self.high - self.low) / 6))
        powers = [k for k in range(self.low, self.high + 1) if k % step == 0]
        inner = [(self.x(10.0**k), "≥" * (k == _FARTHEST) + _power(k)) for k in powers]
        return [(self.x(0.0), "0"), *inner, (self.x(math.inf), "∞")]


def axis_labels(axis: Axis, *, named: bool = False) -> Markup:
    """The axis's numbers, to stand above a column of strips or below a histogram."""
    left = _LABEL if named else 0
    texts = "".join(f'<text x="{left + x:g}" y="10">{label}</text>' for x, label in axis.ticks())
    width = left + axis.width
    return Markup(
        f'<svg class="axis" aria-hidden="true" viewBox="0 0 {width} 14" width="{width}" height="14">'
        f"{texts}</svg>"
    )


def strips(
    series: Sequence[tuple[str, Sequence[float], Sequence[float]]], axis: Axis, *, named: bool
) -> Markup:
    """Box plots under one another: (name, errors that pass, errors that fail) for each.

    A box holds the middle half of the errors that pass, its bar the median, its whiskers
    all of them; each failure is a mark of its own. ``named``: the names stand before the boxes.
    """
    if not series:
        return Markup("")
    left = _LABEL if named else 0
    row = 15
    height, width = row * len(series), left + axis.width
    lines = "".join(f"M{left + x:g} 0v{height}" for x, _ in axis.ticks()[1:-1])
    parts = [f'<path class="rules" d="{lines}"/>']
    if axis.limit:
        at = left + axis.x(1.0)
        parts.append(f'<path class="limit" d="M{at:g} 0v{height}"/>')
    words = []
    for i, (name, passing, failing) in enumerate(series):
        y = i * row + row / 2
        if named:
            parts.append(f'<text x="0" y="{y + 3.5:g}">{escape(clean(name))}</text>')
        parts += _box(passing, axis, left, y)
        marks = sorted({round(left + axis.x(value)) for value in failing})
        d = "".join(f"M{x - 3} {y - 3:g}l6 6m0-6l-6 6" for x in marks)
        parts.append(f'<path class="wrong" d="{d}"/>' if d else "")
        words.append(_sentence(name, passing, failing))
    return Markup(
        f'<svg class="strip" role="img" aria-label="{escape(clean("; ".join(words)))}" '
        f'viewBox="0 0 {width} {height}" width="{width}" height="{height}">{"".join(parts)}</svg>'
    )


def _box(values: Sequence[float], axis: Axis, left: int, y: float) -> list[str]:
    if not values:
        return []
    a, b, c, d, e = (left + axis.x(value) for value in quartiles(values))
    return [
        f'<path class="whisker" d="M{a:g} {y:g}H{e:g}M{a:g} {y - 2:g}v4M{e:g} {y - 2:g}v4"/>'
        f'<path class="box" d="M{b:g} {y - 4:g}H{max(d, b + 1):g}v8H{b:g}z"/>'
        f'<path class="median" d="M{c:g} {y - 4:g}v8"/>'
    ]


def _sentence(name: str, passing: Sequence[float], failing: Sequence[float]) -> str:
    text = f"{name or 'all'}: "
    if passing:
        _, _, middle, _, most = quartiles(passing)
        text += f"{len(passing):,} pass, median {number(middle)}, largest {number(most)}"
    if failing:
        text += f"{', ' if passing else ''}{len(failing):,} fail, largest {number(max(failing))}"
    return text


def quartiles(values: Sequence[float]) -> list[float]:
    """Smallest, lower quartile, median, upper quartile, largest: elements, never averages."""
    ordered = sorted(values)
    return [ordered[round(share * (len(ordered) - 1))] for share in (0.0, 0.25, 0.5, 0.75, 1.0)]


def histogram(passing: Sequence[float], failing: Sequence[float], axis: Axis) -> Markup:
    """How many errors have which size: bins of half a decade, ``failing`` stacked in red."""
    bins = 2 * (axis.high - axis.low)
    wide = (axis.width - 2 * _GUTTER) / bins
    height = 90
    places = [(1.0, _GUTTER - 2.0), *((_GUTTER + i * wide, wide) for i in range(bins))]
    places.append((axis.width - _GUTTER + 1.0, _GUTTER - 2.0))
    right, wrong = (_binned(values, axis, bins) for values in (passing, failing))
    most = max((a + b for a, b in zip(right, wrong, strict=True)), default=0) or 1
    bars, lines = [], ""
    for (x, width), good, bad in zip(places, right, wrong, strict=True):
        # a single failure among thousands must be seen: no bar is lower than two pixels
        up, down = (max(2.0, (height - 12) * n / most) if n else 0.0 for n in (good, bad))
        for name, n, tall, base in (("right", good, up, height), ("wrongbar", bad, down, height - up)):
            if n:
                bars.append(
                    f'<rect class="{name}" x="{x + 0.5:.1f}" y="{base - tall:.1f}" width="{width - 1:.1f}" '
                    f'height="{tall:.1f}"><title>{n:,} {"pass" if name == "right" else "fail"}</title></rect>'
                )
    for x, _ in axis.ticks()[1:-1]:
        lines += f"M{x:g} 0v{height}"
    limit = f'<path class="limit" d="M{axis.x(1.0):g} 0v{height}"/>' if axis.limit else ""
    return Markup(
        f'<svg class="histogram" role="img" aria-label="{escape(_sentence("", passing, failing))}" '
        f'viewBox="0 0 {axis.width} {height + 1}" width="{axis.width}" height="{height + 1}">'
        f'<path class="rules" d="{lines}"/>{"".join(bars)}{limit}'
        f'<path class="base" d="M0 {height + 0.5}h{axis.width}"/></svg>'
    )


def _binned(values: Sequence[float], axis: Axis, bins: int) -> list[int]:
    counts = [0] * (bins + 2)
    for value in values:
        if value == 0:
            counts[0] += 1
        elif not math.isfinite(value):
            counts[-1] += 1
        else:
            counts[1 + min(bins - 1, max(0, math.floor(2 * (math.log10(value) - axis.low))))] += 1
    return counts


def _power(exponent: int) -> str:
    if -2 <= exponent <= 3:
        return f"{10.0**exponent:g}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
