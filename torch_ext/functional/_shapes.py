"""Padding and shapes: the names of ``torch.nn.functional``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torch_ext.functional._common import apply, need_ints, need_tensors

__all__ = [
    "channel_shuffle",
    "native_channel_shuffle",
    "pad",
    "pixel_shuffle",
    "pixel_unshuffle",
]


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """``torch.nn.functional.pad``, in all four modes."""
    need_tensors("pad", input=input)
    need_ints("pad", pad=pad)
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise NotImplementedError(
            f"pad has modes constant, reflect, replicate and circular; received {mode!r}; use one of these."
        )
    d = len(pad) // 2
    if mode != "constant" and len(pad) % 2 == 0 and not (1 <= d <= 3 and d + 1 <= input.ndim <= d + 2):
        raise NotImplementedError(
            f"{mode} padding of d axes, 1 to 3, needs an input with d + 1 or d + 2 axes; received {d} and "
            f"{input.ndim}; reshape the input."
        )
    if mode in ("reflect", "replicate") and input.dtype == torch.bool:
        raise NotImplementedError(f"{mode} padding needs numbers; received booleans; convert them first.")
    y: Tensor = apply("pad", input, pad=tuple(pad), mode=mode, value=value)
    return y


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """``torch.nn.functional.pixel_shuffle``."""
    return _shuffle("pixel_shuffle", input, upscale_factor=upscale_factor)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """``torch.nn.functional.pixel_unshuffle``."""
    return _shuffle("pixel_unshuffle", input, downscale_factor=downscale_factor)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """``torch.nn.functional.channel_shuffle``."""
    return _shuffle("channel_shuffle", input, groups=groups)


def native_channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """``torch.nn.functional.native_channel_shuffle``, with the gradient that PyTorch's lacks."""
    return _shuffle("channel_shuffle", input, groups=groups)


def _shuffle(name: str, input: Tensor, **factor: int) -> Tensor:
    need_tensors(name, input=input)
    need_ints(name, **factor)
    y: Tensor = apply(name, input, **factor)
    return y
