"""A computational graph as SVG: one text, no outside files, for light and dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from handgrad._arrays import Array
from handgrad.drawing._scene import Block, Scene, scene
from handgrad.graph import Graph, Step, Values

_CHAR, _LINE = 7.9, 17.0  # of the 13 px monospace below
_GAP, _BETWEEN, _MARGIN = 22.0, 30.0, 16.0
_STYLE = """\
.graph { color: #1f2328; --gradient: #c2410c; --value: #1d4ed8; --box: #f3f4f6;
  font: 13px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; }
@media (prefers-color-scheme: dark) {
  .graph { color: #e6edf3; --gradient: #fb923c; --value: #93c5fd; --box: #262c36; } }
.graph text { fill: currentColor; text-anchor: middle; white-space: pre; }
.graph .value { fill: var(--value); } .graph .gradient { fill: var(--gradient); }
.graph .name { font-weight: 600; }
.graph path { fill: none; stroke: currentColor; stroke-width: 1.3; }
.graph path.value { fill: none; stroke: var(--value); }
.graph path.gradient { fill: none; stroke: var(--gradient); }
.graph rect { fill: var(--box); stroke: currentColor; stroke-width: 1.3; }
"""


def to_svg(
    graph: Graph, values: Values, gradients: Mapping[str, Array] | None = None, steps: Sequence[Step] = ()
) -> str:
    """The graph from left to right: above each edge its value, below it the gradient that flows back.

    ``values`` and ``gradients`` by edge, as a pass gives them; ``steps`` of the backward pass say
    which part of a gradient comes back along which edge. The same input gives the same text. On a
    page that is narrower than the drawing, it shrinks.
    """
    s = scene(graph, values, gradients or {}, steps, _size, _GAP)
    lefts, widths = _columns(s)
    parts: list[str] = []
    for wire in s.wires:
        x, y = _right(wire.start, lefts, widths), wire.start.y
        path = [f"M{x:.1f} {y:.1f}"]
        for layer, height in wire.bends:
            path.append(_curve(x, y, lefts[layer], height) + f"H{lefts[layer] + widths[layer]:.1f}")
            x, y = lefts[layer] + widths[layer], height
        path.append(_curve(x, y, _left(wire.end, lefts, widths), wire.end.y))
        parts.append(f'<path d="{"".join(path)}"/>')
    for block in s.blocks:
        parts += _draw(block, lefts[block.layer], widths[block.layer])
    top = min((b.y - b.height / 2 for b in s.blocks), default=0) - _MARGIN
    bottom = max((b.y + b.height / 2 for b in s.blocks), default=0) + _MARGIN
    ends = ", ".join(graph.outputs)
    words = f"Computational graph of {ends}" if ends else "Computational graph"
    width = (lefts[-1] + widths[-1] if lefts else 0) + _MARGIN
    if s.blocks and gradients:
        parts.append(_legend(bottom + 4, ends))
        bottom, width = bottom + 24, max(width, 75 * _CHAR)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="graph" role="img" '
        f'viewBox="0 {top:.1f} {width:.1f} {bottom - top:.1f}" width="{width:.0f}" '
        f'height="{bottom - top:.0f}" style="max-width: 100%; height: auto">'
        f"<title>{escape(words)}</title><style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _size(b: Block) -> tuple[float, float]:
    texts = [b.name] if b.kind != "tag" else [*b.above, *b.below]
    width = max((len(t) for t in texts), default=0) * _CHAR + (14 if b.kind == "tag" else 20)
    if b.kind == "tag":
        return max(width, 24), 2 * max(len(b.above), len(b.below), 1) * _LINE + 10
    return max(width, 34), 34 + 2 * len(b.below) * (_LINE + 2)


def _columns(s: Scene) -> tuple[list[float], list[float]]:
    lefts, widths, x = [], [], _MARGIN
    for layer in s.layers:
        lefts.append(x)
        widths.append(max((b.width for b in layer), default=0))
        x += widths[-1] + _BETWEEN
    return lefts, widths


def _right(b: Block, lefts: Sequence[float], widths: Sequence[float]) -> float:
    """Where a wire leaves: the right of a box, or of a tag's column."""
    half = widths[b.layer] / 2
    return lefts[b.layer] + half + (half if b.kind == "tag" else b.width / 2)


def _left(b: Block, lefts: Sequence[float], widths: Sequence[float]) -> float:
    half = widths[b.layer] / 2
    return lefts[b.layer] + half - (half if b.kind == "tag" else b.width / 2)


def _curve(x0: float, y0: float, x1: float, y1: float) -> str:
    if abs(y0 - y1) < 0.05:
        return f"H{x1:.1f}"
    middle = (x0 + x1) / 2
    return f"C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"


def _draw(b: Block, left: float, width: float) -> list[str]:
    x = left + width / 2
    if b.kind != "tag":
        radius = 17 if b.kind == "function" else 4
        corner = f'x="{x - b.width / 2:.1f}" y="{b.y - 17:.1f}"'
        box = f'<rect {corner} width="{b.width:.1f}" height="34" rx="{radius}"/>'
        name = _text(x, b.y + 4.5, b.name, "name")
        sums = [_text(x, b.y + 34 + i * _LINE, line, "gradient") for i, line in enumerate(b.below)]
        return [box, name, *sums]
    above, below = b.above, b.below
    head = 3 if b.brackets[0] and above[0].endswith("=") else 0  # a name stands clear of the brackets
    heights = [b.y - 7 - (len(above) - 1 - i) * _LINE - (head if i == 0 else 0) for i in range(len(above))]
    up = [_text(x, y, t, "value") for y, t in zip(heights, above, strict=True)]
    down = [_text(x, b.y + 17 + i * _LINE, t, "gradient") for i, t in enumerate(below)]
    result = [f'<path d="M{left:.1f} {b.y:.1f}H{left + width:.1f}"/>', *up, *down]
    if b.brackets[0]:
        rows = above[1:] if head else above
        result.append(_brackets(x, b.y - 3, rows, -1, "value"))
    if b.brackets[1]:
        result.append(_brackets(x, b.y + 4, below, 1, "gradient"))
    return result


def _brackets(x: float, y: float, rows: Sequence[str], side: int, kind: str) -> str:
    if "×" in "".join(rows):
        return ""
    half = max(map(len, rows)) * _CHAR / 2 + 4
    end, tick = y + side * len(rows) * _LINE, 3
    return (
        f'<path class="{kind}" d="M{x - half + tick:.1f} {y:.1f}h-{tick}V{end:.1f}h{tick}'
        f'M{x + half - tick:.1f} {y:.1f}h{tick}V{end:.1f}h-{tick}"/>'
    )


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(text)}</text>'


def _legend(y: float, end: str) -> str:
    return (
        f'<text x="{_MARGIN}" y="{y:.1f}" style="text-anchor: start">'
        '<tspan class="value">above an edge: its value</tspan>'
        f'<tspan class="gradient">   below it: the gradient of {escape(end)} that flows back</tspan></text>'
    )
