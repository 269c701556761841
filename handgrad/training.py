"""Gradient descent: a network's parameters, moved step by step against their gradients.

    W <- W - lr dL/dW      for every parameter at once

With the whole data in every step this is the lecture's section 3; with a few examples at a time,
shuffled anew each time all have been used, it is mini-batch gradient descent. Nothing is mutated:
each step makes new parameters.

Source: the lecture's section 3; Goodfellow, Bengio and Courville, Deep Learning, section 8.1.3.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from handgrad._arrays import Array
from handgrad._network_inputs import as_array, check_lr, check_whole
from handgrad.graph import Values
from handgrad.networks import Network, two_layers


class Step(NamedTuple):
    """One step: the loss of its batch before it, and the parameters after it."""

    loss: float
    parameters: Values


@dataclass(frozen=True)
class History:
    """The loss of each step's batch, before that step changed the parameters."""

    losses: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.losses)


def optimize(
    x: Any, y: Any, lr: float, n_iter: int, *, hidden: int = 8, seed: int = 0
) -> tuple[Values, History]:
    """The lecture's ``optimize`` (section 3): gradient descent for its two-layer network.

    x (N, n) floats, y (N,) labels from 0 to 1. Returns the parameters {"W1", "b1", "W2", "b2"} and
    the loss history. Errors as in :func:`train`.
    """
    x = as_array("x", x)
    inputs = x.shape[-1] if x.ndim else 0
    network = two_layers(max(inputs, 1), hidden, seed=seed)
    history = train(network, x, y, lr, n_iter)
    return network.parameters, history


def train(
    network: Network,
    x: Any,
    y: Any,
    lr: float,
    n_iter: int,
    *,
    batch_size: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> History:
    """``n_iter`` steps of gradient descent; the network keeps the parameters of the last one.

    x, y         as :class:`Network` takes them
    lr           the learning rate, positive
    n_iter       how many steps; 0 leaves the network as it is
    batch_size   examples in a step (the last batch before a new shuffle may be smaller); None: all
    seed         fixes the shuffling
    progress     show a progress bar, where standard error is a terminal

    Raises InputError where one of these is not so, and where the loss overflows since lr is too large.
    """
    steps = trajectory(network, x, y, lr, n_iter, batch_size=batch_size, seed=seed)
    shown = _with_bar(steps, n_iter) if progress and sys.stderr.isatty() else steps
    return History(tuple(step.loss for step in shown))


def trajectory(
    network: Network,
    x: Any,
    y: Any,
    lr: float,
    n_iter: int,
    *,
    batch_size: int | None = None,
    seed: int = 0,
) -> Iterator[Step]:
    """:func:`train`, one step at a time: an iterator that takes each :class:`Step` when asked for it."""
    x, y = network.check(x, y)
    lr = check_lr(lr)
    examples = x.shape[0 if network.layout == "rows" else 1]
    check_whole("n_iter, the number of steps,", n_iter, 0, None)
    if batch_size is not None:
        check_whole("batch_size", batch_size, 1, examples)
    chosen = islice(batches(examples, batch_size, seed), int(n_iter))

    def steps() -> Iterator[Step]:  # apart, so that bad input raises here and not at the first step
        for which in chosen:
            loss = network.descend(*network.examples(x, y, which), lr)
            yield Step(loss, dict(network.parameters))

    return steps()


def batches(examples: int, batch_size: int | None, seed: int = 0) -> Iterator[slice | Array]:
    """Which examples each step takes, without end: all, or the next of a shuffle of all."""
    rng = np.random.default_rng(seed)
    while True:
        if batch_size is None:
            yield slice(None)
            continue
        order = rng.permutation(examples)
        for start in range(0, examples, batch_size):
            yield order[start : start + batch_size]


def _with_bar(steps: Iterator[Step], n_iter: int) -> Iterator[Step]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.4g}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=n_iter, loss=float("nan"))
        for step in steps:
            bar.update(task, advance=1, loss=step.loss)
            yield step
