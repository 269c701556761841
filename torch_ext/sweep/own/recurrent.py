"""Recurrent layers. PyTorch's samples are unbatched, without dropout, and never packed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence

from torch_ext.sweep.own._draw import Functions, Modules, normal

Make = Iterator[tuple[Any, ...]]


def _packed(g: torch.Generator, dtype: torch.dtype, *lengths: int, inputs: int = 3) -> PackedSequence:
    """Sequences of these lengths, in any order."""
    return pack_sequence([normal(g, dtype, n, inputs) for n in lengths], enforce_sorted=False)


def _layers(g: torch.Generator, dtype: torch.dtype, cells: bool) -> Make:
    """Calls of any layer with 3 inputs and 4 hidden units; with ``cells`` it has a second state."""

    def states(layers: int, n: int, width: int = 4) -> Any:
        h = normal(g, dtype, layers, n, width)
        return (h, normal(g, dtype, layers, n, 4)) if cells else h

    x = (5, 2, 3)
    several = {"num_layers": 3, "dropout": 0.4}
    yield (3, 4), {}, (normal(g, dtype, *x),)
    yield (3, 4), {"bias": False}, (normal(g, dtype, *x), states(1, 2))
    yield (3, 4), {"batch_first": True, "bidirectional": True}, (normal(g, dtype, *x), states(2, 5))
    yield (3, 4), several, (normal(g, dtype, *x), states(3, 2))
    yield (3, 4), {**several, "batch_first": True, "bidirectional": True}, (normal(g, dtype, *x),)
    yield (3, 4), {"num_layers": 2, "dropout": 1.0}, (normal(g, dtype, *x),)
    yield (3, 4), {}, (normal(g, dtype, 1, 1, 3),)
    yield (3, 4), {}, (normal(g, dtype, 2, 0, 3),)
    yield (3, 4), {}, (normal(g, dtype, 12, 2, 3),)
    yield (3, 4), {}, (_packed(g, dtype, 3, 5, 1, 5), states(1, 4))
    yield (3, 4), {**several, "bidirectional": True}, (_packed(g, dtype, 2, 4, 3), states(6, 3))
    yield (3, 4), {"bias": False, "bidirectional": True}, (_packed(g, dtype, 1, 3),)
    ordered = pack_padded_sequence(normal(g, dtype, 4, 3, 3), torch.tensor([4, 2, 1]))
    yield (3, 4), {"bidirectional": True}, (ordered, states(2, 3))


def _rnn(g: torch.Generator, dtype: torch.dtype) -> Make:
    yield from _layers(g, dtype, cells=False)
    yield (3, 4), {"nonlinearity": "relu", "num_layers": 2, "dropout": 0.4}, (normal(g, dtype, 5, 2, 3),)
    yield (3, 4), {"nonlinearity": "relu", "bidirectional": True}, (_packed(g, dtype, 2, 4, 3),)


def _gru(g: torch.Generator, dtype: torch.dtype) -> Make:
    yield from _layers(g, dtype, cells=False)


def _lstm(g: torch.Generator, dtype: torch.dtype) -> Make:
    yield from _layers(g, dtype, cells=True)
    projected = {"proj_size": 2, "num_layers": 2, "bidirectional": True}
    states = normal(g, dtype, 4, 3, 2), normal(g, dtype, 4, 3, 4)
    yield (3, 4), {**projected, "dropout": 0.4}, (normal(g, dtype, 5, 3, 3), states)
    yield (3, 4), {**projected, "batch_first": True, "bias": False}, (normal(g, dtype, 3, 5, 3), states)
    yield (3, 4), projected, (_packed(g, dtype, 2, 4, 3), states)


def _cells(states: int, **options: Any) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> Make:
        for bias in (True, False):
            for lead in ((3,), (0,), ()):
                hx = tuple(normal(g, dtype, *lead, 4) for _ in range(states))
                x = normal(g, dtype, *lead, 3)
                yield (3, 4), {"bias": bias, **options}, (x, hx if states > 1 else hx[0])
                yield (3, 4), {"bias": bias, **options}, (x,)

    return make


def _rnn_cell(g: torch.Generator, dtype: torch.dtype) -> Make:
    yield from _cells(1)(g, dtype)
    yield from _cells(1, nonlinearity="relu")(g, dtype)


FUNCTIONS: Functions = {}
MODULES: Modules = {
    "RNN": _rnn,
    "GRU": _gru,
    "LSTM": _lstm,
    "RNNCell": _rnn_cell,
    "GRUCell": _cells(1),
    "LSTMCell": _cells(2),
}
