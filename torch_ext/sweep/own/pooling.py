"""Pooling: functions and modules that PyTorch's databases lack."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from torch_ext.sweep.own._draw import Functions, Modules, normal

SHAPE = (2, 3, 7, 6, 5)
Call = tuple[tuple[Any, ...], dict[str, Any]]


def _shape(d: int) -> tuple[int, ...]:
    return SHAPE[: d + 2]


def _max(d: int, g: torch.Generator, dtype: torch.dtype) -> Iterator[Call]:
    yield (normal(g, dtype, *_shape(d)), 2), {}
    yield (normal(g, dtype, *_shape(d)[1:]), 3, 2, 1, 1, True), {}
    yield (normal(g, dtype, *_shape(d)), 2), {"stride": 1, "dilation": 2}


def _adaptive(d: int, g: torch.Generator, dtype: torch.dtype) -> Iterator[Call]:
    yield (normal(g, dtype, *_shape(d)), 3), {}
    yield (normal(g, dtype, *_shape(d)[1:]), (5, 2, 9)[:d]), {}


def _fractional(d: int, g: torch.Generator, dtype: torch.dtype) -> Iterator[Call]:
    yield (normal(g, dtype, *_shape(d)), 2), {"output_size": (3, 4, 2)[:d]}
    yield (normal(g, dtype, *_shape(d)), 2), {"output_ratio": (0.5,) * d}
    yield (normal(g, dtype, *_shape(d)[1:]), 1), {"output_ratio": (0.7, 0.6, 0.5)[:d]}


def _lp(d: int, g: torch.Generator, dtype: torch.dtype) -> Iterator[Call]:
    def positive(*shape: int) -> torch.Tensor:
        return (normal(g, dtype, *shape, grad=False).abs() + 0.25).requires_grad_()

    yield (normal(g, dtype, *_shape(d)), 2, 2), {}
    yield (normal(g, dtype, *_shape(d)[1:]), 2.0, 3, 1), {"ceil_mode": True}
    yield (normal(g, dtype, *_shape(d)), 1.0, 2, 3), {"ceil_mode": True}
    yield (positive(*_shape(d)), 1.5, 3), {"stride": 2}
    yield (positive(*_shape(d)), 3, 2), {"stride": 1}
    yield (normal(g, dtype, *_shape(d)), math.inf, 2), {}
    yield (normal(g, dtype, *_shape(d)), -math.inf, 2, 1), {"ceil_mode": True}


def _unpool(d: int, g: torch.Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    pool = (torch.nn.functional.max_pool1d, torch.nn.functional.max_pool2d, torch.nn.functional.max_pool3d)[
        d - 1
    ]
    x = normal(g, dtype, *(2, 3, 6, 4, 6)[: d + 2], grad=False)
    for kernel, stride, padding in ((2, None, 0), (2, 2, 1)):
        y, index = pool(x, kernel, stride, padding, return_indices=True)
        yield (kernel, stride, padding), {}, (y.requires_grad_(), index)
    x = normal(g, dtype, *_shape(d), grad=False)
    y, index = pool(x, 2, return_indices=True)
    yield (2,), {}, (y.requires_grad_(), index, x.shape)


def _of(make: Any, d: int) -> Any:
    return lambda g, dtype: make(d, g, dtype)


FUNCTIONS: Functions = {
    **{f"lp_pool{d}d": _of(_lp, d) for d in (1, 2, 3)},
    **{f"max_pool{d}d_with_indices": _of(_max, d) for d in (1, 2, 3)},
    **{f"adaptive_max_pool{d}d_with_indices": _of(_adaptive, d) for d in (1, 2, 3)},
    **{f"fractional_max_pool{d}d_with_indices": _of(_fractional, d) for d in (2, 3)},
}
MODULES: Modules = {f"MaxUnpool{d}d": _of(_unpool, d) for d in (1, 2, 3)}
