"""Padding and shapes."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from torch_ext import functional as F  # noqa: N812 - its usual name

__all__ = [
    "ChannelShuffle",
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "Flatten",
    "Identity",
    "PixelShuffle",
    "PixelUnshuffle",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "Unflatten",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class Identity(nn.Identity):
    def forward(self, input: Tensor) -> Tensor:
        return input


class Flatten(nn.Flatten):
    def forward(self, input: Tensor) -> Tensor:
        # the shape as PyTorch finds it, errors included, from a tensor without memory
        return F.reshape(input, input.detach().flatten(self.start_dim, self.end_dim).shape)


class Unflatten(nn.Unflatten):
    def forward(self, input: Tensor) -> Tensor:
        shape = input.detach().unflatten(self.dim, self.unflattened_size).shape  # type: ignore[no-untyped-call]
        return F.reshape(input, shape)


class PixelShuffle(nn.PixelShuffle):
    def forward(self, input: Tensor) -> Tensor:
        return F.pixel_shuffle(input, self.upscale_factor)


class PixelUnshuffle(nn.PixelUnshuffle):
    def forward(self, input: Tensor) -> Tensor:
        return F.pixel_unshuffle(input, self.downscale_factor)


class ChannelShuffle(nn.ChannelShuffle):
    def forward(self, input: Tensor) -> Tensor:
        return F.channel_shuffle(input, self.groups)


# --- padding ----------------------------------------------------------------------------------


def _pad(layer: Any, input: Tensor, mode: str) -> Tensor:
    return F.pad(input, layer.padding, mode)


def _constant(layer: Any, input: Tensor) -> Tensor:
    return F.pad(input, layer.padding, "constant", layer.value)


def _circular(layer: Any, input: Tensor) -> Tensor:
    layer._check_input_dim(input)
    return _pad(layer, input, "circular")


class CircularPad1d(nn.CircularPad1d):
    def forward(self, input: Tensor) -> Tensor:
        return _circular(self, input)


class CircularPad2d(nn.CircularPad2d):
    def forward(self, input: Tensor) -> Tensor:
        return _circular(self, input)


class CircularPad3d(nn.CircularPad3d):
    def forward(self, input: Tensor) -> Tensor:
        return _circular(self, input)


class ConstantPad1d(nn.ConstantPad1d):
    def forward(self, input: Tensor) -> Tensor:
        return _constant(self, input)


class ConstantPad2d(nn.ConstantPad2d):
    def forward(self, input: Tensor) -> Tensor:
        return _constant(self, input)


class ConstantPad3d(nn.ConstantPad3d):
    def forward(self, input: Tensor) -> Tensor:
        return _constant(self, input)


class ReflectionPad1d(nn.ReflectionPad1d):
    def forward(self, input: Tensor) -> Tensor:
        return _pad(self, input, "reflect")


class ReflectionPad2d(nn.ReflectionPad2d):
    def forward(self, input: Tensor) -> Tensor:
        return _pad(self, input, "reflect")


class ReflectionPad3d(nn.ReflectionPad3d):
    def forward(self, input: Tensor) -> Tensor:
        return _pad(self, input, "reflect")


class ReplicationPad1d(nn.ReplicationPad1d):
    def forward(self, input: Tensor) -> Tensor:
        return _pad(self, input, "replicate")


class ReplicationPad2d(nn.ReplicationPad2d):
    def forward(self, input: Tensor) -> Tensor:
        return _pad(self, input, "replicate")


class ReplicationPad3d(nn.ReplicationPad3d):
    def forward(self, input: Tensor) -> Tensor:
        return _pad(self, input, "replicate")


class ZeroPad1d(nn.ZeroPad1d):
    def forward(self, input: Tensor) -> Tensor:
        return _constant(self, input)


class ZeroPad2d(nn.ZeroPad2d):
    def forward(self, input: Tensor) -> Tensor:
        return _constant(self, input)


class ZeroPad3d(nn.ZeroPad3d):
    def forward(self, input: Tensor) -> Tensor:
        return _constant(self, input)
