"""Interpolation and grids: the names of ``torch.nn.functional``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torch_ext.functional._common import apply, need_tensors

__all__ = [
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
