"""Pooling: the names of ``torch.nn.functional``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from torch_ext.functional._common import apply, need_tensors

__all__ = [
    "max_pool2d",
    "max_pool2d_with_indices",
]

Ints = int | Sequence[int]


def max_pool2d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """``torch.nn.functional.max_pool2d``: the maxima, with ``return_indices`` their indices too."""
    need_tensors("max_pool2d", input=input)
    stride = None if isinstance(stride, Sequence) and not stride else stride
    y, indices = apply(
        "max_pool2d",
        input,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )
    return (y, indices) if return_indices else y


def max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,  # noqa: ARG001 - PyTorch's signature, which ignores it too
) -> tuple[Tensor, Tensor]:
    """``torch.nn.functional.max_pool2d_with_indices``."""
    y, indices = max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode, True)
    return y, indices
