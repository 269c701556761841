"""Heat maps of a gradient's error: what each cell shows, and the map as inline SVG.

The terminal's map (``_heat_text``) shows the same. Colours are CSS classes (``templates/shared.css``), so
that light, dark and print each have their own. Only numbers and escaped words enter the markup.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup, escape

from handgrad.report.grid import Grid, first_indices, shown_shape
from handgrad.report.words import number, signed

# A cell's colour says its error's sign and, on a log scale, its size beside the largest one. However small
# an error is, its cell has another colour than what is right.
STEPS = (0.0, 1 / 100, 1 / 30, 1 / 10, 1 / 3)
VALUES_FIT = (8, 6)  # at most so many rows and columns: the cells show their numbers
_CHARACTER = 6.2  # pixels of a label
_APART = 12.0  # pixels from one row's label to the next


@dataclass(frozen=True)
class HeatMap:
    """A grid of signed errors, its legend and its words."""

    svg: Markup
    legend: Markup
    caption: str


def heat_map(errors: Grid, shape: tuple[int, ...]) -> HeatMap:
    """``errors`` as `reduce_errors` gives them for a gradient of this shape."""
    words = caption(errors, shape)
    return HeatMap(_labelled(errors, shape, words), _legend(errors, largest(errors)), words)


def thumbnail(errors: Grid, shape: tuple[int, ...]) -> Markup:
    """The heat map alone, small."""
    return _picture(errors, None, caption(errors, shape))[0]


# --- what a map shows, drawn or written ------------------------------------------------


def largest(errors: Grid) -> float:
    """The largest finite error."""
    return max((abs(e) for row in errors for e in row if math.isfinite(e)), default=0.0)


def level(error: float, top: float) -> int:
    """How many of the `STEPS` an error exceeds, beside the largest one: 0 to 5."""
    share = 1.0 if not math.isfinite(error) else abs(error) / top if top else 0.0
    return sum(share > step for step in STEPS)


def shows_values(errors: Grid) -> bool:
    """Whether there are few enough cells to show their numbers."""
    return len(errors) <= VALUES_FIT[0] and max(map(len, errors), default=0) <= VALUES_FIT[1]


def cell(error: float) -> str:
    """An error as its cell shows it."""
    return "0" if error == 0 else "NaN" if math.isnan(error) else signed(error)


def caption(errors: Grid, shape: tuple[int, ...]) -> str:
    """What is drawn, in words."""
    full, top = shown_shape(errors, shape), largest(errors)
    rows, columns = len(errors), max(map(len, errors), default=0)
    flat = len(shape) == 1 and full == (1, *shape)
    text = "Signed error, hand minus true: " + (f"{full[1]:,}" if flat else f"{full[0]:,} × {full[1]:,}")
    if full != (rows, columns):
        blocks = f"{columns}" if flat else f"{rows} × {columns}"
        text += f", shown as {blocks} blocks, each by its worst element"
    if len(shape) > 2:
        text += f"; rows are axes 0 to {len(shape) - 2}, columns axis {len(shape) - 1}"
    strange = sum(not math.isfinite(e) for row in errors for e in row)
    text += f"; largest {number(top)}" if top else ""
    return text + (f"; {strange:,} not finite" if strange else "") + "."


# --- as SVG ----------------------------------------------------------------------------


def _labelled(errors: Grid, shape: tuple[int, ...], words: str) -> Markup:
    """The map with the first index of each row and column beside it, as many as there is room for."""
    full = shown_shape(errors, shape)
    (map_, width, height), (down, across) = _picture(errors, full, words), first_indices(errors, shape)
    high, wide = height / max(len(down), 1), width / max(len(across), 1)
    left = _CHARACTER * max(map(len, down), default=0)
    left += 6 if left else 0
    every = math.ceil(_APART / high) if high else 1
    texts = "".join(
        f'<text class="row" x="{left - 4:.1f}" y="{16 + (i + 0.5) * high:.1f}">{name}</text>'
        for i, name in enumerate(down)
        if name and i % every == 0
    )
    every = math.ceil((_CHARACTER * max(map(len, across), default=0) + 4) / wide) if wide else 1
    texts += "".join(
        f'<text x="{left + (i + 0.5) * wide:.1f}" y="11">{name}</text>'
        for i, name in enumerate(across)
        if i % every == 0
    )
    placed = str(map_).replace("<svg ", f'<svg x="{left:.1f}" y="16" ', 1)
    size = f'viewBox="0 0 {left + width:.1f} {16 + height:.1f}" width="{left + width:.1f}"'
    return Markup(
        f'<svg class="map" fill="none" role="img" aria-label="{escape(words)}" '
        f'{size} height="{16 + height:.1f}">{texts}{placed}</svg>'
    )


def _picture(errors: Grid, full: tuple[int, int] | None, words: str) -> tuple[Markup, float, float]:
    """The map, its width and its height."""
    top, rows, columns = largest(errors), len(errors), max(map(len, errors), default=0)
    values = full is not None and shows_values(errors)
    wide = 76.0 if values else min(28.0, max(10.0, 320 / max(columns, 1)))
    high = 26.0 if values else min(28.0, max(8.0, 260 / max(rows, 1)))
    width, height = columns * wide, rows * high
    runs: dict[str, list[str]] = {}
    crosses, rings, texts = [], [], []
    for y, row in enumerate(errors):
        x = 0
        for shade, run in groupby(row, lambda e: _shade(e, top)):
            length = len(list(run))
            if shade != "z":
                runs.setdefault(shade, []).append(f"M{x} {y}h{length}")
            x += length
        for x, e in enumerate(row):
            if math.isnan(e) and not values:
                crosses.append(f"M{x} {y}l1 1m-1 0l1-1")
            if math.isinf(e) and not values:
                rings.append(f"M{x + 0.5:g} {y + 0.25:g}v.5")
            if values:
                middle, base = (x + 0.5) * wide, (y + 0.5) * high
                texts.append(f'<text class="t-{_shade(e, top)}" x="{middle:g}" y="{base:g}">{cell(e)}</text>')
    paths = "".join(f'<path class="s-{shade}" d="{"".join(d)}"/>' for shade, d in sorted(runs.items()))
    lines = "".join(f"M0 {y}h{columns}" for y in range(1, rows))
    lines += "".join(f"M{x} 0v{rows}" for x in range(1, columns))
    marks = f'<path class="cross" d="{"".join(crosses)}"/>' if crosses else ""
    marks += f'<path class="dot" d="{"".join(rings)}"/>' if rings else ""
    data = ""
    if full is not None:  # what the script shows for the cell under the pointer
        numbers = ";".join(" ".join(cell(e) for e in row) for row in errors)
        data = f' data-rows="{full[0]}" data-columns="{full[1]}" data-values="{numbers}"'
    svg = Markup(
        f'<svg class="heat" fill="none" role="img" aria-label="{escape(words)}" '
        f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"{data}>'
        f'<g transform="scale({wide:g} {high:g})">'
        f'<path class="s-z" d="M0 0h{columns}v{rows}h-{columns}z"/>'
        f'<g class="runs" transform="translate(0 .5)">{paths}</g>{marks}<path class="rules" d="{lines}"/>'
        f"</g>{''.join(texts)}{_worst_frame(errors, wide, high)}</svg>"
    )
    return svg, width, height


def _worst_frame(errors: Grid, wide: float, high: float) -> str:
    cells = [(_size(e), -y, -x) for y, row in enumerate(errors) for x, e in enumerate(row)]
    size, y, x = max(cells, default=(0.0, 0, 0))
    if not size:
        return ""
    return (
        f'<rect class="frame" x="{-x * wide + 1:g}" y="{-y * high + 1:g}" '
        f'width="{wide - 2:g}" height="{high - 2:g}"/>'
    )


def _legend(errors: Grid, top: float) -> Markup:
    flat = [e for row in errors for e in row]
    parts = []
    if top:
        shades = [f"n{i}" for i in range(5, 0, -1)] + ["z"] + [f"p{i}" for i in range(1, 6)]
        wide = 24
        swatches = "".join(
            f'<rect class="f-{shade}" x="{30 + i * wide}" y="1" width="{wide}" height="12"/>'
            for i, shade in enumerate(shades)
        )
        labels = ((0, -top), (3, -top / 30), (5.5, 0.0), (8, top / 30), (11, top))
        texts = "".join(
            f'<text x="{30 + at * wide:g}" y="26">{number(e, 2) if e == 0 else f"{e:+.2g}"}</text>'
            for at, e in labels
        )
        words = f"Colours from {-top:+.2g} over 0 to {top:+.2g}, on a log scale"
        parts.append(
            f'<svg class="legend" role="img" aria-label="{words}" viewBox="0 0 324 30" width="324" '
            f'height="30">{swatches}{texts}</svg>'
        )
    for kind, count in (
        ("NaN", sum(map(math.isnan, flat))),
        ("infinite", sum(map(math.isinf, flat))),
    ):
        if count:
            mark = '<path class="cross" d="M0 0l12 12m-12 0l12-12"/>' if kind == "NaN" else ""
            dot = '<path class="dot" d="M6 3v6"/>' if kind == "infinite" else ""
            shade = "f-nan" if kind == "NaN" else "f-p5"
            parts.append(
                f'<span class="key"><svg aria-hidden="true" width="12" height="12">'
                f'<rect class="{shade}" width="12" height="12"/>{mark}{dot}</svg> {kind}: {count:,}</span>'
            )
    return Markup("".join(parts))


def _shade(error: float, top: float) -> str:
    if math.isnan(error):
        return "nan"
    shade = level(error, top)
    return "z" if shade == 0 else f"{'n' if error < 0 else 'p'}{shade}"


def _size(error: float) -> float:
    return math.inf if math.isnan(error) else abs(error)
