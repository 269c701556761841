"""Rich's tables and lines as text: coloured for a terminal, plain for everything else."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from handgrad.report.words import clean

PLAIN_WIDTH = 100


def columns() -> int:
    """The width of standard output; 100 where it is no terminal."""
    screen = Console(file=sys.stdout)
    return screen.width if screen.is_terminal else PLAIN_WIDTH


def rendered(parts: Iterable[RenderableType], colour: bool | None, width: int | None) -> str:
    """The parts as text. ``None``: colour and width as standard output has them; without a
    terminal, no colour and 100 columns, so that a saved log is the same everywhere."""
    screen = Console(file=sys.stdout)
    coloured = bool(screen.color_system) and not screen.no_color if colour is None else colour
    paper = Console(
        file=io.StringIO(),
        width=width or columns(),
        force_terminal=coloured,
        no_color=not coloured,
        color_system=(screen.color_system or "256") if coloured else None,  # type: ignore[arg-type]
        legacy_windows=False,
        highlight=False,
        _environ={},
    )
    for part in parts:
        paper.print(part)
    lines = paper.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def line(text: str, style: str = "") -> Text:
    """Text as it is: no markup in it is obeyed, and no control character reaches the terminal."""
    return Text(clean(text), style=style)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> Table:
    """A table with the columns named in ``right`` aligned to the right."""
    result = Table(box=box.SIMPLE, pad_edge=False, header_style="bold")
    for header in headers:
        result.add_column(Text(header), justify="right" if header in right else "left", overflow="fold")
    for row in rows:
        result.add_row(*(line(cell) for cell in row))
    return result
