"""``handgrad train``: gradient descent from hand derivations, on data that needs no download."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from handgrad.curves import check_curve, save_curve, terminal_curve
from handgrad.datasets import digits, xor
from handgrad.networks import Network, lecture_network, mlp
from handgrad.report.words import count
from handgrad.training import History, train


@dataclass(frozen=True)
class _Task:
    """A network, its data by the name of the part (the first is trained on), and settings that suit it."""

    network: Network
    data: dict[str, tuple[np.ndarray, np.ndarray]]
    described: str
    lr: float
    steps: int
    batch_size: int | None = None


def _xor(seed: int, hidden: int | None) -> _Task:
    hidden = hidden or 8
    network = mlp([2, hidden, 1], "tanh", seed=seed)
    words = f"exclusive or: 2 inputs, {hidden} tanh, 1 sigmoid; binary cross-entropy"
    return _Task(network, {"all": xor()}, words, lr=0.5, steps=2000)


def _digits(seed: int, hidden: int | None) -> _Task:
    hidden = hidden or 32
    split = digits(seed)
    network = mlp([64, hidden, 10], "relu", "cross_entropy", seed=seed)
    data = {"training": (split.x, split.y), "test": (split.x_test, split.y_test)}
    words = f"handwritten digits: 64 inputs, {hidden} relu, 10 softmax; categorical cross-entropy"
    return _Task(network, data, words, lr=0.2, steps=1000, batch_size=64)


def _lecture(seed: int, hidden: int | None) -> _Task:  # noqa: ARG001 (nothing is random)
    if hidden not in (None, 2):
        raise click.UsageError("the lecture's network has 2 hidden units; leave out --hidden.")
    network, x, y = lecture_network()
    words = "the lecture's section 8: 2 inputs, 2 relu, 1 sigmoid; binary cross-entropy; one example"
    return _Task(network, {"all": (x, y)}, words, lr=0.1, steps=100)


TASKS: dict[str, Callable[[int, int | None], _Task]] = {
    "xor": _xor,
    "digits": _digits,
    "lecture": _lecture,
}


@click.command()
@click.argument("data", type=click.Choice(list(TASKS)))
@click.option("--lr", type=float, show_default="0.5, 0.2, 0.1", help="Learning rate.")
@click.option("--steps", type=int, show_default="2000, 1000, 100", help="Steps of gradient descent.")
@click.option("--hidden", type=click.IntRange(1), show_default="8, 32, 2", help="Hidden units.")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0, 2**31),
    help="Fixes the weights at the start, the split of the digits and their shuffling.",
)
@click.option(
    "--curve",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.svg",
    help="Also draw the loss curve, as SVG or PNG.",
)
@click.option("--json", "as_json", is_flag=True, help="Print losses and parameters as JSON instead of text.")
def command(
    data: str,
    lr: float | None,
    steps: int | None,
    hidden: int | None,
    seed: int,
    curve: Path | None,
    as_json: bool,
) -> None:
    """Train a network by gradient descent, from hand derivations alone.

    DATA is xor (4 points, all in each step), digits (1,797 pictures of 8 x 8 pixels, of which 450
    are kept for the test; 64 in each step) or lecture (the network, the example and the start of
    section 8; with --steps 1, its section 8.3). Prints the loss curve, the loss and the accuracy.

    \b
    Example: handgrad train xor --seed 1
             handgrad train digits --hidden 64 --curve loss.svg
             handgrad train lecture --steps 1
    """
    if curve is not None:
        check_curve(curve)
    task = TASKS[data](seed, hidden)
    network, (x, y) = task.network, next(iter(task.data.values()))
    lr = task.lr if lr is None else lr
    steps = task.steps if steps is None else steps
    before = network.loss(x, y)
    history = train(network, x, y, lr, steps, batch_size=task.batch_size, seed=seed, progress=True)
    if curve is not None:
        save_curve(history.losses, curve, title=f"{data}, lr {lr:g}, seed {seed}")
    if as_json:
        settings = {"data": data, "lr": lr, "steps": steps, "seed": seed, "batch_size": task.batch_size}
        click.echo(json.dumps({**settings, **_result(task, before, history)}, allow_nan=False))
        return
    click.echo(f"{task.described}; lr {lr:g}, {count(steps, 'step')}, seed {seed}")
    click.echo(_text(task, before, history))
    if data == "lecture":
        for name, value in network.parameters.items():
            click.echo(f"{name} = {np.array2string(value, precision=5, prefix=f'{name} = ')}")
    if curve is not None:
        click.echo(f"curve: {curve}")


def _text(task: _Task, before: float, history: History) -> str:
    lines = [terminal_curve(history.losses)]
    for part, (x, y) in task.data.items():
        named = "" if part == "all" else f"{part} "
        n = len(y)
        right = round(task.network.accuracy(x, y) * n)
        start = f" ({before:.4g} at the start)" if part in ("all", "training") else ""
        lines.append(f"{named}loss {task.network.loss(x, y):.4g}{start}")
        lines.append(f"{named}accuracy {right / n:.1%}, {right:,} of {n:,}")
    return "\n".join(line for line in lines if line)


def _result(task: _Task, before: float, history: History) -> dict[str, Any]:
    network = task.network
    return {
        "widths": list(network.widths),
        "loss_at_start": before,
        "loss": {part: network.loss(*pair) for part, pair in task.data.items()},
        "accuracy": {part: network.accuracy(*pair) for part, pair in task.data.items()},
        "losses": list(history.losses),
        "parameters": {name: value.tolist() for name, value in network.parameters.items()},
    }
