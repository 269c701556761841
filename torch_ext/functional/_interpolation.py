"""Interpolation and grids: the names of ``torch.nn.functional``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torch_ext.functional._common import apply, need_floats, need_tensors

__all__ = [
    "affine_grid",
    "grid_sample",
    "interpolate",
    "upsample",
    "upsample_bilinear",
    "upsample_nearest",
]

_AXES = {"linear": 3, "bilinear": 4, "bicubic": 4, "lanczos": 4, "trilinear": 5}
_UNALIGNED = ("nearest", "nearest-exact", "area")


def interpolate(
    input: Tensor,
    size: int | None = None,
    scale_factor: list[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """``torch.nn.functional.interpolate``, in every mode."""
    need_tensors("interpolate", input=input)
    if mode in _UNALIGNED and align_corners is not None:
        raise ValueError(f"align_corners is for modes that interpolate; received mode {mode}; leave it out.")
    d = input.ndim - 2
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate needs either size or scale_factor; received both or none; give one.")
    target = _sizes(size, d) if size is not None else None
    factors = _one_each(scale_factor, d, "scale_factor") if scale_factor is not None else None
    if recompute_scale_factor and size is not None:
        raise ValueError("recompute_scale_factor is for a scale_factor; received a size; leave one out.")
    if factors is not None and (recompute_scale_factor or mode == "area"):
        target = tuple(int(n * f) for n, f in zip(input.shape[2:], factors, strict=True))
    if antialias and not (mode in ("bilinear", "bicubic", "lanczos") and input.ndim == 4):
        raise ValueError(
            f"antialias is for bilinear, bicubic and lanczos on 4 axes; received mode {mode}, {input.ndim}; "
            "leave it out."
        )
    if (mode not in _UNALIGNED and _AXES.get(mode) != input.ndim) or input.ndim not in (3, 4, 5):
        raise NotImplementedError(
            f"interpolate takes 3, 4 or 5 axes, and a mode for as many; received mode {mode} for x "
            f"{tuple(input.shape)}; choose linear, bilinear, bicubic, trilinear, nearest, or reshape x."
        )
    if mode == "lanczos" and (align_corners or not antialias):
        raise ValueError(
            "lanczos is for antialias without align_corners; received other options; change them."
        )
    if mode == "area":
        y: Tensor = apply(f"adaptive_avg_pool{d}d", input, output_size=target)
        return y
    where: dict[str, Any] = {"scale_factor": factors} if target is None else {"size": target}
    if mode not in _UNALIGNED:
        where |= {"align_corners": bool(align_corners), "antialias": antialias}
    return apply("interpolate", input, mode=mode, **where)  # type: ignore[no-any-return]


def _one_each(value: Any, d: int, name: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        return (value,) * d
    if len(value) != d:
        raise ValueError(
            f"{name} must have one number for each of {d} spatial axes; received {value}; give {d}."
        )
    return tuple(value)


def _sizes(size: Any, d: int) -> tuple[Any, ...]:
    each = _one_each(size, d, "size")
    for n in each:
        if not isinstance(n, int | torch.SymInt | np.integer) and not (
            isinstance(n, Tensor) and not n.is_floating_point()
        ):
            raise TypeError(f"size must hold integers; received {type(n).__name__}; convert it.")
    return tuple(n if isinstance(n, int | torch.SymInt) else int(n) for n in each)


def upsample(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """``torch.nn.functional.upsample``: the old name of :func:`interpolate`."""
    _deprecated("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)  # type: ignore[arg-type]


def upsample_nearest(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
) -> Tensor:
    """``torch.nn.functional.upsample_nearest``."""
    _deprecated("upsample_nearest")
    return interpolate(input, size, scale_factor, mode="nearest")  # type: ignore[arg-type]


def upsample_bilinear(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
) -> Tensor:
    """``torch.nn.functional.upsample_bilinear``."""
    _deprecated("upsample_bilinear")
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)  # type: ignore[arg-type]


def _deprecated(name: str) -> None:
    warnings.warn(f"`nn.functional.{name}` is deprecated. Use `interpolate` instead.", stacklevel=3)


# --- grids --------------------------------------------------------------------------------


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """``torch.nn.functional.grid_sample``."""
    need_tensors("grid_sample", input=input, grid=grid)
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(f"mode must be bilinear, nearest or bicubic; received {mode!r}; choose one.")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            f"padding_mode must be zeros, border or reflection; received {padding_mode!r}; choose one."
        )
    if input.dtype != grid.dtype:
        raise RuntimeError(
            f"x and grid must have one dtype; received {input.dtype} and {grid.dtype}; convert one."
        )
    need_floats("grid_sample", input=input)
    options = {"mode": mode, "padding_mode": padding_mode, "align_corners": _aligned(align_corners)}
    y: Tensor = apply("grid_sample", input, grid, **options)
    return y


def affine_grid(theta: Tensor, size: list[int], align_corners: bool | None = None) -> Tensor:
    """``torch.nn.functional.affine_grid``."""
    need_tensors("affine_grid", theta=theta)
    align_corners = _aligned(align_corners)
    if not theta.is_floating_point():
        raise ValueError(f"theta must hold floating-point numbers; received {theta.dtype}; convert it.")
    d = len(size) - 2
    if d not in (2, 3):
        raise NotImplementedError(f"size must have 4 or 5 numbers; received {size}; give (N, C, *spatial).")
    if theta.ndim != 3 or tuple(theta.shape[1:]) != (d, d + 1):
        raise ValueError(f"theta must be (N, {d}, {d + 1}); received {tuple(theta.shape)}; reshape it.")
    if align_corners and min(size[2:]) == 1:
        warnings.warn("affine_grid: unit-size grids have no corners to align; they stand at 0.", stacklevel=2)
    elif min(size) <= 0:
        raise ValueError(f"size must be positive; received {size}; ask for at least one place.")
    y: Tensor = apply("affine_grid", theta, size=tuple(size), align_corners=align_corners)
    return y


def _aligned(align_corners: bool | None) -> bool:
    if align_corners is None:
        warnings.warn(
            "Since PyTorch 1.3 grid_sample and affine_grid have align_corners=False by default; say which.",
            stacklevel=3,
        )
    return bool(align_corners)
