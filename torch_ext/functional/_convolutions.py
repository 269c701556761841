"""Linear maps and convolutions: the names of ``torch.nn.functional``."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from torch_ext.functional._common import apply, need_tensors

__all__ = [
    "conv2d",
    "linear",
]

Ints = int | Sequence[int]


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``."""
    need_tensors("linear", input=input, weight=weight)
    y: Tensor = apply("linear", input, weight, bias)
    return y


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """``torch.nn.functional.conv2d``."""
    need_tensors("conv2d", input=input, weight=weight)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    y: Tensor = apply("conv2d", input, weight, bias, **options)
    return y
