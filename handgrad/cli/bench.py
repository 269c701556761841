"""``handgrad bench``: what things cost, side by side, measured in one run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from handgrad.cli import require_torch, terminal
from handgrad.report._console import line, rendered, table

if TYPE_CHECKING:
    from torch_ext.bench.check import ModelRow, Row, Timed


@click.group()
def command() -> None:
    """Measure time and memory beside PyTorch's own, interleaved in one run.

    Times are ratios of medians; --json gives every repetition.

    \b
    Example: handgrad bench check
             handgrad bench check --full --json
    """


@command.command("check")
@click.option(
    "--repeat", default=3, show_default=True, type=click.IntRange(1, 1000), help="How often each is timed."
)
@click.option(
    "--size", default=64, show_default=True, type=click.IntRange(2, 1024), help="Of the linear layer, N to N."
)
@click.option("--batch", default=32, show_default=True, type=click.IntRange(1, 4096), help="Its batch.")
@click.option("--full", is_flag=True, help="A model of 100 M parameters (needs 3 GB) instead of a small one.")
@click.option("--no-model", is_flag=True, help="The linear layer only.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def check(repeat: int, size: int, batch: int, full: bool, no_model: bool, as_json: bool) -> None:
    """The gradient checker beside torch.autograd.gradcheck, in slow and in fast mode.

    On a linear layer with a hand-written backward, in float64: time, forward passes, and which planted
    mistakes each of them finds; and whether right code passes in other dtypes. Then a check of a whole
    transformer beside the transformer's own forward and backward step. Exits 1 where torch_ext.check gives
    a wrong verdict.

    \b
    Example: handgrad bench check
             handgrad bench check --size 16 --repeat 5
             handgrad bench check --full
    """
    require_torch("bench check")
    from torch_ext.bench import check as bench

    with _bar() as progress:
        rows = bench.layers(size, batch, repeat, progress)
        models = [] if no_model else bench.model("full" if full else "small", repeat, progress)
    if as_json:
        click.echo(json.dumps(bench.to_dict(rows, models), ensure_ascii=False, indent=1))
    else:
        click.echo(_text(rows, models, f"Linear({size}, {size}), batch {batch}, float64"), nl=False)
    right = all(all(row.found.values()) for row in rows if row.way in bench.OURS)
    right = right and all(m.passed == m.right for m in models)
    sys.exit(0 if right else 1)


@command.command("layers")
@click.argument("names", nargs=-1, metavar="[LAYER]...")
@click.option(
    "--repeat", default=7, show_default=True, type=click.IntRange(1, 1000), help="How often each is timed."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def layers(names: tuple[str, ...], repeat: int, as_json: bool) -> None:
    """Every layer beside PyTorch's own: forward and backward time, and bytes kept in between.

    CPU time in float32 on one thread, on samples of PyTorch's own database, their batch enlarged, or on
    calls of a usual size (layers over time, tables). Slowest first; then how many take at most three times
    PyTorch's own. Needs PyTorch's test dependency expecttest.

    \b
    Example: handgrad bench layers
             handgrad bench layers gelu Conv2d --repeat 20
    """
    require_torch("bench layers")
    from torch_ext.bench import layers as bench

    try:
        with _bar() as progress:
            rows = bench.layers(names, repeat, progress)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    rows.sort(key=lambda r: -r.ratio("both"))
    if as_json:
        click.echo(json.dumps(bench.to_dict(rows), ensure_ascii=False, indent=1))
        return
    body = [
        [
            r.name.removeprefix("nn.functional."),
            " ".join("x".join(map(str, s)) for s in r.shapes[:2]),
            _unit(r.seconds("hand")),
            f"{r.ratio('forward'):.2f} ×",
            f"{r.ratio('backward'):.2f} ×",
            f"{r.ratio('both'):.2f} ×",
            f"{r.kept['hand']:,} / {r.kept['native']:,}",
        ]
        for r in rows
    ]
    heads = ["layer", "inputs", "step", "forward", "backward", "both", "bytes kept / PyTorch's"]
    parts: list[Any] = [
        line("Each layer beside PyTorch's own, float32, one thread", "bold"),
        table(heads, body, heads[2:]),
        *(line(text) for text in bench.summary(rows).splitlines()),
    ]
    click.echo(rendered(parts, None, None), nl=False)


@contextmanager
def _bar() -> Iterator[Callable[[int, int, str], None]]:
    columns = (
        TextColumn("measuring"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not terminal()) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, label: bar.update(task, completed=done, total=total, description=label)


def _text(rows: list[Row], models: list[ModelRow], title: str) -> str:
    ours = rows[0].time.median
    costs = [
        [row.way, _seconds(row.time), f"{row.time.median / ours:.3g} ×", f"{row.passes:,}"] for row in rows
    ]
    parts: list[Any] = [
        line(title, "bold"),
        table(
            ["", "time, from to", "beside check", "forward passes"],
            costs,
            right=["beside check", "forward passes"],
        ),
        table(
            ["verdict", *(row.way for row in rows)],
            [[name, *(_verdict(row, name) for row in rows)] for name in rows[0].found],
        ),
    ]
    if models:
        size = f"{models[0].parameters / 1e6:,.1f} M parameters"
        sides = [
            [
                m.what,
                f"{m.times:.2f} ×",
                _seconds(m.check),
                f"{m.memory:.2f} ×",
                ", ".join(m.named) or "passes",
            ]
            for m in models
        ]
        parts += [
            line(f"A transformer of {size}, beside its own step of {_seconds(models[0].step)}", "bold"),
            table(["check", "its step's time", "time, from to", "its step's memory", "says"], sides),
        ]
    return rendered(parts, None, None)


def _seconds(time: Timed) -> str:
    low, high = time.spread
    return f"{_unit(time.median)}, {_unit(low)} to {_unit(high)}"


def _unit(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def _verdict(row: Row, name: str) -> str:
    if name.startswith("right"):
        return "passes" if row.found[name] else "FALSE ALARM"
    return "found" if row.found[name] else "MISSED"
