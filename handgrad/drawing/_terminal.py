"""A computational graph in characters, cut into bands where it is wider than the terminal."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence

from handgrad._arrays import Array
from handgrad.drawing._scene import Block, Scene, scene
from handgrad.graph import Graph, Step, Values

# the character for lines that run up (1), down (2), left (4) and right (8), by the sum of these
_LINES = " │││─┘┐┤─└┌├─┴┬┼"
_UP, _DOWN, _LEFT, _RIGHT = 1, 2, 4, 8


def to_terminal(
    graph: Graph,
    values: Values,
    gradients: Mapping[str, Array] | None = None,
    steps: Sequence[Step] = (),
    width: int = 100,
) -> str:
    """The graph from left to right: above each edge its value, below it the gradient that flows back."""
    s = scene(graph, values, gradients or {}, steps, _size, 1.0)
    _settle(s)
    lefts, widths, tracks = _columns(s)
    paper = _Paper()
    for wire in s.wires:
        key = id(wire.start if wire.start.kind != "tag" else wire.end)
        x, y = lefts[wire.start.layer] + widths[wire.start.layer], round(wire.start.y)
        if wire.start.kind != "tag":
            x = _middle(wire.start, lefts, widths) + int(wire.start.width + 1) // 2
        layer = wire.start.layer
        for bend, height in [*wire.bends, (wire.end.layer, wire.end.y)]:
            track = tracks[layer, key]
            last = bend == wire.end.layer
            stop = (
                _middle(wire.end, lefts, widths) - int(wire.end.width) // 2
                if last
                else lefts[bend] + widths[bend]
            )
            paper.route(x, y, track, round(height), stop, key)
            x, y, layer = stop, round(height), bend
    for block in s.blocks:
        left = lefts[block.layer]
        _draw(block, left, left + widths[block.layer], paper)
    cuts = [left - 1 for left in lefts[1:]]
    return "\n".join(paper.bands(cuts, width)) + "\n"


def _size(b: Block) -> tuple[float, float]:
    if b.kind == "tag":
        rows = [*(_framed(b.above, b.brackets[0])), *_framed(b.below, b.brackets[1])]
        return max((len(r) for r in rows), default=1) + 2, 2 * max(len(b.above), len(b.below)) + 1
    return max(len(b.name) + 4, *(len(t) for t in b.below), 0), 3 + 2 * len(b.below)


def _settle(s: Scene) -> None:
    """Whole rows."""
    for layer in s.layers:
        bottom = -1
        for block in sorted(layer, key=lambda b: b.y):
            half = int(block.height) // 2
            block.y = max(round(block.y), bottom + 1 + half)
            bottom = int(block.y) + half


def _columns(s: Scene) -> tuple[list[int], list[int], dict[tuple[int, int], int]]:
    """The left and width of each layer, and the column in which a block's wires turn after a layer."""
    spans: dict[tuple[int, int], list[int]] = {}
    for wire in s.wires:
        key, y, layer = (
            id(wire.start if wire.start.kind != "tag" else wire.end),
            round(wire.start.y),
            wire.start.layer,
        )
        for bend, height in [*wire.bends, (wire.end.layer, wire.end.y)]:
            spans.setdefault((layer, key), []).extend((y, round(height)))
            y, layer = round(height), bend
    lefts, widths, tracks, x = [], [], dict[tuple[int, int], int](), 0
    for i, layer_blocks in enumerate(s.layers):
        lefts.append(x)
        widths.append(max((int(b.width) for b in layer_blocks), default=0))
        x += widths[-1] + 1
        free: list[int] = []  # the lowest row used in each track
        here = sorted(
            ((min(ys), max(ys), key) for (at, key), ys in spans.items() if at == i), key=lambda t: t[:2]
        )
        for top, bottom, key in here:
            track = next((t for t, used in enumerate(free) if used < top), len(free))
            free[track:] = [bottom, *free[track + 1 :]]
            tracks[i, key] = x + track
        x += len(free) + 1
    return lefts, widths, tracks


def _middle(b: Block, lefts: Sequence[int], widths: Sequence[int]) -> int:
    return lefts[b.layer] + widths[b.layer] // 2


def _draw(b: Block, left: int, right: int, paper: _Paper) -> None:
    x, y = left + (right - left) // 2, round(b.y)
    if b.kind == "tag":
        paper.line(left, right, y, id(b))
        above, below = _framed(b.above, b.brackets[0]), _framed(b.below, b.brackets[1])
        for i, text in enumerate(above):
            paper.text(x, y - len(above) + i, text)
        for i, text in enumerate(below):
            paper.text(x, y + 1 + i, text)
        return
    paper.text(x, y, f"({b.name})" if b.kind == "function" else f" {b.name} ")
    for i, text in enumerate(b.below):
        paper.text(x, y + 1 + i, text)


def _framed(rows: list[str], brackets: bool) -> list[str]:
    if not brackets or any("×" in row for row in rows):
        return rows
    head = rows[:1] if rows[0].endswith("=") else []
    body = rows[len(head) :]
    if len(body) == 1:
        return [*head, f"[{body[0]}]"]
    ends = [("⎡", "⎤"), *[("⎢", "⎥")] * (len(body) - 2), ("⎣", "⎦")]
    return [*head, *(f"{left}{row}{right}" for (left, right), row in zip(ends, body, strict=True))]


class _Paper:
    """Characters by place: text over lines, and lines that join."""

    def __init__(self) -> None:
        self.lines: dict[tuple[int, int], dict[int, int]] = {}  # for each wire the directions it runs in
        self.texts: dict[tuple[int, int], str] = {}

    def line(self, x0: int, x1: int, y: int, key: int) -> None:
        for x in range(x0, x1):
            self._add(x, y, _LEFT | _RIGHT, key)

    def route(self, x0: int, y0: int, track: int, y1: int, x1: int, key: int) -> None:
        """Along y0 to the track, along the track to y1, and on to x1."""
        if y0 == y1:
            self.line(x0, x1, y0, key)
            return
        self.line(x0, track, y0, key)
        self._add(track, y0, _LEFT | (_DOWN if y1 > y0 else _UP), key)
        for y in range(min(y0, y1) + 1, max(y0, y1)):
            self._add(track, y, _UP | _DOWN, key)
        self._add(track, y1, _RIGHT | (_UP if y1 > y0 else _DOWN), key)
        self.line(track + 1, x1, y1, key)

    def text(self, x: int, y: int, text: str) -> None:
        start = x - len(text) // 2
        for i, character in enumerate(text):
            self.texts[start + i, y] = character

    def _add(self, x: int, y: int, directions: int, key: int) -> None:
        here = self.lines.setdefault((x, y), {})
        here[key] = here.get(key, 0) | directions

    def bands(self, cuts: Sequence[int], width: int) -> list[str]:
        """Rows of text; a drawing that is too wide continues below, its wires at the same rows."""
        places = [*self.lines, *self.texts]
        right = 1 + max((x for x, _ in places), default=0)
        top, bottom = min((y for _, y in places), default=0), max((y for _, y in places), default=0)
        rows: list[str] = []
        start = 0
        while start < right:
            fitting = [c for c in cuts if start < c <= start + width - 2]
            stop = right if right - start <= width else max(fitting, default=start + width)
            band = [
                "".join(self._at(x, y) for x in range(start, stop)).rstrip() for y in range(top, bottom + 1)
            ]
            if stop < right:
                band = [
                    row.ljust(stop - start) + " ⋯" if self._runs(stop - 1, y) & _RIGHT else row
                    for y, row in enumerate(band, start=top)
                ]
            rows += ([""] if rows else []) + _trimmed(band)
            start = stop
        return rows

    def _at(self, x: int, y: int) -> str:
        wires = self.lines.get((x, y), {}).values()
        crossing = len(wires) > 1 and _UP | _DOWN in wires  # one wire passes over another: no joint
        return self.texts.get((x, y)) or ("│" if crossing else _LINES[self._runs(x, y)])

    def _runs(self, x: int, y: int) -> int:
        return functools.reduce(operator.or_, self.lines.get((x, y), {}).values(), 0)


def _trimmed(band: list[str]) -> list[str]:
    filled = [i for i, row in enumerate(band) if row]
    return band[filled[0] : filled[-1] + 1] if filled else []
