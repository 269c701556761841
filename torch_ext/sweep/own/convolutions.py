"""Convolutions, transposed ones, bilinear, unfold and fold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from torch_ext.sweep.own._draw import Functions, Modules, normal


def _conv_tbc(g: torch.Generator, dtype: torch.dtype) -> Iterator[Any]:
    for (t, n, c), k, o, pad in (((5, 2, 3), 3, 4, 0), ((4, 2, 2), 3, 1, 2), ((3, 1, 2), 1, 3, 1)):
        yield (normal(g, dtype, t, n, c), normal(g, dtype, k, c, o), normal(g, dtype, o)), {"pad": pad}
    yield (normal(g, dtype, 3, 2, 2), normal(g, dtype, 3, 2, 2), normal(g, dtype, 2)), {}


_FOLDS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((2, 12, 12), {"output_size": (4, 5), "kernel_size": 2}),
    ((12, 9), {"output_size": (4, 5), "kernel_size": (2, 3)}),
    ((2, 4, 4), {"output_size": (5, 6), "kernel_size": 2, "stride": (3, 4)}),
    (
        (2, 12, 8),
        {
            "output_size": (5, 6),
            "kernel_size": (2, 3),
            "dilation": (3, 1),
            "padding": (1, 2),
            "stride": 2,
        },
    ),
    ((0, 8, 4), {"output_size": 3, "kernel_size": 2}),
]


def _fold(g: torch.Generator, dtype: torch.dtype) -> Iterator[Any]:
    for shape, options in _FOLDS:
        yield (normal(g, dtype, *shape),), options


def _fold_module(g: torch.Generator, dtype: torch.dtype) -> Iterator[Any]:
    for shape, options in _FOLDS:
        yield (), options, (normal(g, dtype, *shape),)


def _unfold_module(g: torch.Generator, dtype: torch.dtype) -> Iterator[Any]:
    yield (2,), {}, (normal(g, dtype, 2, 3, 4, 5),)
    yield ((2, 3),), {}, (normal(g, dtype, 3, 4, 5),)
    yield ((2, 3), (3, 1), (1, 2), 2), {}, (normal(g, dtype, 2, 2, 5, 6),)


def _lazy_linear(g: torch.Generator, dtype: torch.dtype) -> Iterator[Any]:
    yield (4,), {}, (normal(g, dtype, 5, 3),)
    yield (2,), {"bias": False}, (normal(g, dtype, 2, 3, 4),)


def _padded(d: int) -> Any:
    """Every padding mode, on batches and single samples."""

    def make(g: torch.Generator, dtype: torch.dtype) -> Iterator[Any]:
        spatial = (5, 4, 3)[:d]
        for mode in ("reflect", "replicate", "circular"):
            for lead in ((2, 2), (2,)):
                options = {"padding": 2, "padding_mode": mode, "stride": 2}
                yield (2, 3, 2), options, (normal(g, dtype, *lead, *spatial),)
        yield (2, 3, 2), {"padding": "same", "padding_mode": "circular"}, (normal(g, dtype, 1, 2, *spatial),)

    return make


def _with_output_size(d: int) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> Iterator[Any]:
        x = normal(g, dtype, 2, 4, *(3, 2, 3)[:d])
        for more in (0, 1):
            size = [2 * (n - 1) + 3 + more for n in x.shape[2:]]
            yield (4, 2, 3, 2), {"groups": 2}, (x, size)

    return make


def _grouped_mm(g: torch.Generator, dtype: torch.dtype) -> Iterator[Any]:
    if dtype == torch.float64:
        return  # PyTorch's takes no float64
    ends = torch.tensor([8, 24], dtype=torch.int32)
    yield (normal(g, dtype, 24, 16), normal(g, dtype, 2, 16, 32)), {"offs": ends}
    yield (normal(g, dtype, 24, 16), normal(g, dtype, 2, 32, 16).detach().mT.requires_grad_()), {"offs": ends}
    yield (normal(g, dtype, 2, 16, 8), normal(g, dtype, 8, 24)), {"offs": ends}
    yield (normal(g, dtype, 16, 24), normal(g, dtype, 24, 8)), {"offs": ends}
    yield (normal(g, dtype, 2, 8, 16), normal(g, dtype, 2, 16, 8)), {}


FUNCTIONS: Functions = {"conv_tbc": _conv_tbc, "fold": _fold, "grouped_mm": _grouped_mm}
MODULES: Modules = {
    "Fold": _fold_module,
    "Unfold": _unfold_module,
    "LazyLinear": _lazy_linear,
    **{f"Conv{d}d": _padded(d) for d in (1, 2, 3)},
    **{f"ConvTranspose{d}d": _with_output_size(d) for d in (1, 2, 3)},
}
