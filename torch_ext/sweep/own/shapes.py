"""Padding and shapes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from torch_ext.sweep.own._draw import Functions, Modules, normal


def _module(*calls: tuple[tuple[Any, ...], tuple[int, ...]]) -> Any:
    """A module of each tuple of arguments, called on a Gaussian input of the shape beside it."""

    def make(g: torch.Generator, dtype: torch.dtype) -> Iterator[Any]:
        for args, shape in calls:
            yield args, {}, (normal(g, dtype, *shape),)

    return make


def _native_channel_shuffle(g: torch.Generator, dtype: torch.dtype) -> Iterator[Any]:
    for shape, groups in (((2, 6, 2, 3), 2), ((2, 6, 3), 3)):
        yield (normal(g, dtype, *shape), groups), {}


FUNCTIONS: Functions = {"native_channel_shuffle": _native_channel_shuffle}
MODULES: Modules = {
    "Identity": _module(((), (2, 3)), ((1, 2), ())),
    "Flatten": _module(((), (2, 3, 4)), ((0, 1), (2, 3, 4)), ((0,), ()), ((), (0, 3, 2)), ((-2, -1), (2, 3))),
    "Unflatten": _module(((1, (2, 3)), (2, 6, 2)), ((-1, (-1, 2)), (3, 4)), ((0, (2, 0)), (0, 3))),
    "PixelShuffle": _module(((2,), (2, 8, 3, 2)), ((3,), (9, 2, 3)), ((1,), (1, 2, 3, 2))),
    "PixelUnshuffle": _module(((2,), (2, 2, 4, 6)), ((3,), (2, 3, 6)), ((1,), (1, 2, 3, 2))),
    "ChannelShuffle": _module(((2,), (2, 6, 2, 3)), ((3,), (2, 6, 3)), ((1,), (1, 4, 2, 1, 2))),
}
