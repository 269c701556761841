"""Interpolation: functions and modules that PyTorch's databases lack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from torch_ext.sweep.own._draw import Functions, Modules, normal


def _upsample(g: torch.Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    yield (normal(g, dtype, 2, 3, 5), 8), {}
    yield (normal(g, dtype, 2, 3, 4, 5),), {"scale_factor": 2, "mode": "bilinear", "align_corners": True}
    yield (normal(g, dtype, 1, 2, 3, 2, 4), (4, 3, 5)), {"mode": "trilinear"}


def _interpolate(g: torch.Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    for mode in ("bilinear", "bicubic", "lanczos"):
        for size in ((4, 5), (13, 2)):
            for align in (False, True) if mode != "lanczos" else (False,):
                yield (normal(g, dtype, 2, 3, 9, 7), size), {
                    "mode": mode, "antialias": True, "align_corners": align,
                }  # fmt: skip
    yield (normal(g, dtype, 2, 3, 9, 7),), {"scale_factor": (0.7, 1.9), "mode": "bilinear", "antialias": True}
    for recompute in (True, False):
        options = {"scale_factor": 1.55, "recompute_scale_factor": recompute}
        for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area"):
            yield (normal(g, dtype, 2, 2, 5, 7),), {"mode": mode, **options}


def _modules(g: torch.Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    yield (), {"size": (5, 7)}, (normal(g, dtype, 2, 3, 4, 5),)
    yield (), {"scale_factor": 2}, (normal(g, dtype, 2, 3, 4, 5),)


def _upsample_module(g: torch.Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    yield from _modules(g, dtype)
    yield (), {"size": 9, "mode": "linear", "align_corners": True}, (normal(g, dtype, 2, 3, 4),)
    yield (), {"scale_factor": (1.5, 2.0), "mode": "bicubic", "align_corners": False}, (
        normal(g, dtype, 2, 3, 4, 5),
    )  # fmt: skip
    yield (), {"scale_factor": 1.7, "mode": "trilinear", "recompute_scale_factor": True}, (
        normal(g, dtype, 1, 2, 3, 2, 4),
    )  # fmt: skip


def _affine(g: torch.Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    for align in (False, True):
        yield (normal(g, dtype, 2, 2, 3), (2, 3, 4, 5), align), {}
        yield (normal(g, dtype, 2, 3, 4), (2, 3, 4, 1, 5)), {"align_corners": align}


def _grid(g: torch.Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    for mode in ("bilinear", "nearest", "bicubic"):
        for padding in ("zeros", "border", "reflection"):
            for align in (False, True):
                options = {"mode": mode, "padding_mode": padding, "align_corners": align}
                yield (normal(g, dtype, 2, 3, 4, 5), normal(g, dtype, 2, 3, 2, 2)), options
                if mode != "bicubic":
                    yield (normal(g, dtype, 1, 2, 3, 1, 4), normal(g, dtype, 1, 2, 2, 3, 3)), options


FUNCTIONS: Functions = {
    "affine_grid": _affine,
    "grid_sample": _grid,
    "interpolate": _interpolate,
    "upsample": _upsample,
}
MODULES: Modules = {
    "Upsample": _upsample_module,
    "UpsamplingNearest2d": _modules,
    "UpsamplingBilinear2d": _modules,
}
