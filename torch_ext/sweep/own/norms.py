"""Norms and tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from torch_ext.sweep.own._draw import Functions, Modules, integers, normal


def _instance_norm(g: torch.Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    x, w, b = normal(g, dtype, 3, 2, 4), normal(g, dtype, 2), normal(g, dtype, 2)
    mean, var = normal(g, dtype, 2, grad=False), 1 + normal(g, dtype, 2, grad=False) ** 2
    yield (x, mean, var, w, b, False, 0.3), {}
    yield (normal(g, dtype, 3, 2), mean, var, w, b), {"use_input_stats": False}
    yield (normal(g, dtype, 2, 2, 2, 1, 2), mean, var), {"momentum": 1.0}


def _normalize(g: torch.Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    for p in (1.5, 3.0, float("inf"), float("-inf")):
        yield (normal(g, dtype, 3, 4),), {"p": p, "dim": -1}
    zeros = normal(g, dtype, 3, 4, grad=False)
    zeros[1, 1] = 0
    for p in (1.0, 2.0, 3.0):
        yield (zeros.clone().requires_grad_(),), {"p": p}
    zeros[0] = 0  # PyTorch's second derivatives for p = 2 are NaN there
    yield (zeros.requires_grad_(),), {"p": 3.0}
    yield (normal(g, dtype, 3, 4),), {"eps": 10.0}
    yield (normal(g, dtype, 0, 4),), {}


def _local_response_norm(g: torch.Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    for shape in ((2, 7, 3), (2, 7, 2, 3), (2, 4, 2, 1, 3)):
        for size in (1, 3, 4, 9):
            yield (normal(g, dtype, *shape), size), {"alpha": 1.5, "beta": 0.6, "k": 2.0}


def _embedding(g: torch.Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    index = integers(g, 3, 4, high=5)
    for options in ({"padding_idx": 2}, {"padding_idx": -1}, {"sparse": True}):
        yield (index, normal(g, dtype, 5, 3)), options
    yield (index, normal(g, dtype, 5, 3, grad=False)), {"max_norm": 1.0, "norm_type": 1.0}


def _embedding_bag(g: torch.Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    index, offsets = integers(g, 7, high=5), torch.tensor([0, 3, 3, 5])
    for mode in ("sum", "mean", "max"):
        for padding_idx in (None, 1):
            options = {"mode": mode, "padding_idx": padding_idx}
            yield (index, normal(g, dtype, 5, 3), offsets), options
            ends = torch.tensor([0, 3, 7])
            yield (index, normal(g, dtype, 5, 3), ends), {**options, "include_last_offset": True}
        short = {"max_norm": 1.0, "norm_type": 1.5, "mode": mode}
        yield (index, normal(g, dtype, 5, 3, grad=False), offsets), short
        yield (integers(g, 3, 4, high=2), torch.ones(2, 3, dtype=dtype, requires_grad=True)), {"mode": mode}
    for mode in ("sum", "mean"):
        yield (index, normal(g, dtype, 5, 3), offsets), {"mode": mode, "sparse": True, "padding_idx": 3}
        # of several rows PyTorch divides by the wrong counts: docs/findings/embedding_bag.md
        alike = torch.full((2, 3), 4)
        yield (alike, normal(g, dtype, 5, 3)), {"mode": mode, "scale_grad_by_freq": True}
    weights = normal(g, dtype, 7)
    yield (
        (index, normal(g, dtype, 5, 3), offsets),
        {"mode": "sum", "per_sample_weights": weights, "padding_idx": 0},
    )
    yield (index.int(), normal(g, dtype, 5, 3), offsets.int()), {"mode": "sum"}


FUNCTIONS: Functions = {
    "instance_norm": _instance_norm,
    "normalize": _normalize,
    "local_response_norm": _local_response_norm,
    "embedding": _embedding,
    "embedding_bag": _embedding_bag,
}


def _tracking(*shape: int) -> Any:
    """Samples of a norm with running statistics on an input (N, C, ...): every momentum, affine or not."""

    def make(g: torch.Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
        for momentum in (0.1, 1.0, 0.0, None):
            for affine in (True, False):
                options = {"momentum": momentum, "affine": affine, "track_running_stats": True}
                yield (shape[1],), options, (normal(g, dtype, *shape),)
        yield (shape[1],), {"track_running_stats": False}, (normal(g, dtype, *shape),)

    return make


def _lazy(*shape: int) -> Any:
    """The same for a lazy norm, which finds out the number of channels itself."""

    def make(g: torch.Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
        for _, options, inputs in _tracking(*shape)(g, dtype):
            yield (), options, inputs

    return make


def _cross_map(g: torch.Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    # gradients of one channel, outputs of few: beyond these PyTorch is wrong (docs/findings)
    for size in (1, 2, 3, 5):
        yield (size, 1.5, 0.6, 2.0), {}, (normal(g, dtype, 2, 1, 3, 2),)
    for size in (3, 4, 5):
        yield (size, 1.5, 0.6, 2.0), {}, (normal(g, dtype, 2, 2, 3, 2, grad=False),)


def _bags(g: torch.Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    index, offsets = integers(g, 6, high=5), torch.tensor([0, 2, 2])
    for mode in ("sum", "mean", "max"):
        yield (5, 3), {"mode": mode}, (integers(g, 4, 3, high=5),)
        yield (5, 3), {"mode": mode, "padding_idx": 2}, (index, offsets)
        options = {"mode": mode, "include_last_offset": True, "max_norm": 1.0}
        yield (5, 3), options, (index, torch.tensor([0, 2, 6]))
    yield (5, 3), {"mode": "sum"}, (index, offsets, normal(g, dtype, 6))
    yield (5, 3), {"mode": "mean", "sparse": True}, (index, offsets)


_DIMENSIONS = {"1d": (3, 4, 5), "2d": (3, 4, 2, 3), "3d": (2, 3, 2, 1, 3)}

MODULES: Modules = {
    **{f"BatchNorm{d}": _tracking(*shape) for d, shape in _DIMENSIONS.items()},
    **{f"InstanceNorm{d}": _tracking(*shape) for d, shape in _DIMENSIONS.items()},
    **{f"LazyBatchNorm{d}": _lazy(*shape) for d, shape in _DIMENSIONS.items()},
    **{f"LazyInstanceNorm{d}": _lazy(*shape) for d, shape in _DIMENSIONS.items()},
    "SyncBatchNorm": _tracking(3, 4, 5),
    "CrossMapLRN2d": _cross_map,
    "EmbeddingBag": _bags,
}
