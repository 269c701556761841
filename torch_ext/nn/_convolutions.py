"""Linear maps, convolutions and windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from torch_ext import functional as F  # noqa: N812 - its usual name

__all__ = [
    "Bilinear",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Fold",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
    "LazyLinear",
    "Linear",
    "Unfold",
]


class Linear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)


class Bilinear(nn.Bilinear):
    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)


class Unfold(nn.Unfold):
    def forward(self, input: Tensor) -> Tensor:
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)


class Fold(nn.Fold):
    def forward(self, input: Tensor) -> Tensor:
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)


# --- convolutions -------------------------------------------------------------------------


def _convolve(
    layer: Any, function: Callable[..., Tensor], input: Tensor, weight: Tensor, bias: Tensor | None
) -> Tensor:
    padding = layer.padding
    if layer.padding_mode != "zeros":  # pad first, by values of the input itself
        input = F.pad(input, layer._reversed_padding_repeated_twice, mode=layer.padding_mode)
        padding = 0
    return function(input, weight, bias, layer.stride, padding, layer.dilation, layer.groups)


def _transpose_convolve(
    layer: Any, function: Callable[..., Tensor], input: Tensor, output_size: list[int] | None, d: int
) -> Tensor:
    more = layer._output_padding(
        input, output_size, layer.stride, layer.padding, layer.kernel_size, d, layer.dilation
    )
    options = (layer.stride, layer.padding, more, layer.groups, layer.dilation)
    return function(input, layer.weight, layer.bias, *options)


class Conv1d(nn.Conv1d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _convolve(self, F.conv1d, input, weight, bias)


class Conv2d(nn.Conv2d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _convolve(self, F.conv2d, input, weight, bias)


class Conv3d(nn.Conv3d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _convolve(self, F.conv3d, input, weight, bias)


class ConvTranspose1d(nn.ConvTranspose1d):
    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        return _transpose_convolve(self, F.conv_transpose1d, input, output_size, 1)


class ConvTranspose2d(nn.ConvTranspose2d):
    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        return _transpose_convolve(self, F.conv_transpose2d, input, output_size, 2)


class ConvTranspose3d(nn.ConvTranspose3d):
    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        return _transpose_convolve(self, F.conv_transpose3d, input, output_size, 3)


# --- modules that take their shapes from their first input ----------------------------------
#
# PyTorch's constructor and our forward pass; once the shapes are known, one of ours.


class LazyLinear(nn.LazyLinear, Linear):
    cls_to_become = Linear


class LazyConv1d(nn.LazyConv1d, Conv1d):  # type: ignore[misc]
    cls_to_become = Conv1d


class LazyConv2d(nn.LazyConv2d, Conv2d):  # type: ignore[misc]
    cls_to_become = Conv2d


class LazyConv3d(nn.LazyConv3d, Conv3d):  # type: ignore[misc]
    cls_to_become = Conv3d


class LazyConvTranspose1d(nn.LazyConvTranspose1d, ConvTranspose1d):  # type: ignore[misc]
    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(nn.LazyConvTranspose2d, ConvTranspose2d):  # type: ignore[misc]
    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(nn.LazyConvTranspose3d, ConvTranspose3d):  # type: ignore[misc]
    cls_to_become = ConvTranspose3d
