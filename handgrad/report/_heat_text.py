"""Heat maps of a gradient's error for a terminal, and in plain characters."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.style import Style
from rich.text import Text

from handgrad.report._heat import STEPS, caption, cell, largest, level, shows_values
from handgrad.report.grid import Grid, first_indices
from handgrad.report.words import number

# Density says the size and lets the terminal's own background through, so that it reads on light and
# dark ones alike; the colours are those of the HTML report's middle steps.
_DENSITY = "·░░▒▓█"
_PLUS, _MINUS, _STRANGE = Style(color="#e5813b"), Style(color="#4b8fca"), Style(color="magenta", bold=True)
_QUIET = Style(dim=True)
_NUMBER = 10  # characters of a cell that shows its number


@dataclass(frozen=True)
class HeatText:
    """A grid of signed errors as `reduce_errors` gives it for a gradient of this shape.

    A column is two characters wide, or one where the terminal is narrow. Without colour the first of the
    two is the sign.
    """

    errors: Grid
    shape: tuple[int, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        coloured = console.color_system is not None
        down, across = first_indices(self.errors, self.shape)
        left = max(map(len, down), default=0) + 1
        room = (options.max_width - left) // max(len(across), 1)
        values = shows_values(self.errors) and room >= _NUMBER
        wide = _NUMBER if values else min(2, max(1, room))
        top = largest(self.errors)
        yield Text(caption(self.errors, self.shape))
        yield Text(" " * left + _ruler(across, wide, values), style=_QUIET)
        for name, row in zip(down, self.errors, strict=True):
            text = Text(f"{name:>{left - 1}} ", style="none", no_wrap=True)
            text.stylize(_QUIET)
            for e in row:
                written = cell(e) if values else _block(e, top, wide, coloured)
                written = "·" if values and level(e, top) == 0 else written
                text.append(f"{written:>{wide}}", _style(e, top, values))
            yield text
        if legend := _legend(self.errors, top, coloured, values):
            yield legend


def _block(e: float, top: float, wide: int, coloured: bool) -> str:
    density = _DENSITY[level(e, top)]
    if math.isnan(e):
        return "×" * wide
    if math.isinf(e):
        return ("+∞" if e > 0 else "-∞")[-wide:]
    if density == "·" or wide == 1:
        return density
    return density * 2 if coloured else ("+" if e > 0 else "-") + density


def _style(e: float, top: float, values: bool) -> Style:
    size = level(e, top)
    if size == 0:
        return _QUIET
    if not math.isfinite(e):
        return _STRANGE
    return (_PLUS if e > 0 else _MINUS) + Style(bold=values and size > 3)


def _ruler(names: list[str], wide: int, values: bool) -> str:
    """The columns' indices, as many as there is room for."""
    if values:
        return "".join(f"{name:>{wide}}" for name in names)
    every = math.ceil((max(map(len, names), default=0) + 1) / wide)
    return "".join(f"{name:<{every * wide}}" for name in names[::every]).rstrip()


def _legend(errors: Grid, top: float, coloured: bool, values: bool) -> Text:
    keys = []
    for words, sign, style in (("too large", "+", _PLUS), ("too small", "-", _MINUS)):
        if top:
            keys.append(Text.assemble((f"{sign}█" if not coloured else "██", style), f" {words}"))
    if not values:
        steps = [f"{_DENSITY[i]} > {number(STEPS[i - 1] * top, 2)}" for i in (5, 4, 3)] if top else []
        keys += map(Text, [*steps, *(["░ less"] if top else []), "· right"])
        if any(math.isnan(e) for row in errors for e in row):
            keys.append(Text.assemble(("××", _STRANGE), " NaN"))
    return Text("  ").join(keys) if coloured or not values else Text()
