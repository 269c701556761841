"""Loss curves: a small one for the terminal, and one as SVG or PNG."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

from uniplot import plot_to_string

from handgrad._errors import require
from handgrad.report.write import write_atomically


def terminal_curve(losses: Sequence[float], *, width: int = 56, height: int = 8) -> str:
    """The losses over the steps in characters; "" for fewer than two, which make no curve."""
    if len(losses) < 2:
        return ""
    text: str = plot_to_string(
        losses,
        xs=range(1, len(losses) + 1),
        title="loss, step by step",
        width=width,
        height=height,
        y_min=0,
        lines=True,
        x_gridlines=[],
        y_gridlines=[],
        rounded_corners=True,
    )
    return text.rstrip()


def save_curve(losses: Sequence[float], path: str | Path, *, title: str = "") -> Path:
    """Write the losses over the steps to FILE.svg or FILE.png, the same bytes every time.

    Needs matplotlib. Raises InputError for no loss, for another ending, without matplotlib, and where
    the file cannot be written.
    """
    path = check_curve(path)
    require(len(losses) > 0, "a loss curve needs at least one step", "none", "train for some steps")
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # what would differ from run to run: ids drawn at random, the date and the version
    same: Any = {"backend": "agg", "svg.hashsalt": "handgrad", "svg.fonttype": "none"}
    kind = path.suffix[1:].lower()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with matplotlib.rc_context(same):
        figure = Figure(figsize=(6, 3.5), layout="constrained")
        axes = figure.add_subplot(xlabel="step", ylabel="loss of the batch", title=title or None)
        # few steps are points: a line through one would not show
        axes.plot(range(1, len(losses) + 1), losses, "o-" if len(losses) < 10 else "-", linewidth=1.2)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        buffer = BytesIO()
        figure.savefig(buffer, format=kind, metadata=metadata, dpi=150)
    return write_atomically(path, buffer.getvalue())


def check_curve(path: str | Path) -> Path:
    """That a curve can be drawn there, before a long training: its ending, and matplotlib."""
    path = Path(path)
    require(
        path.suffix.lower() in (".svg", ".png"),
        "a curve is written to FILE.svg or FILE.png",
        repr(str(path)),
        "choose one of these endings",
    )
    require(
        find_spec("matplotlib") is not None,
        "a curve is drawn by matplotlib",
        "a Python without it",
        "install it, by pip install matplotlib",
    )
    return path
