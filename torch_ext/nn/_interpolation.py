"""Interpolation."""

from __future__ import annotations

from torch import Tensor, nn

from torch_ext import functional as F  # noqa: N812 - its usual name

__all__ = [
    "Upsample",
    "UpsamplingBilinear2d",
    "UpsamplingNearest2d",
]


def _forward(self: nn.Upsample, input: Tensor) -> Tensor:
    return F.interpolate(
        input,
        self.size,  # type: ignore[arg-type]
        self.scale_factor,  # type: ignore[arg-type]
        self.mode,
        self.align_corners,
        recompute_scale_factor=self.recompute_scale_factor,
    )


class Upsample(nn.Upsample):
    def forward(self, input: Tensor) -> Tensor:
        return _forward(self, input)


class UpsamplingNearest2d(nn.UpsamplingNearest2d):
    def forward(self, input: Tensor) -> Tensor:
        return _forward(self, input)


class UpsamplingBilinear2d(nn.UpsamplingBilinear2d):
    def forward(self, input: Tensor) -> Tensor:
        return _forward(self, input)
