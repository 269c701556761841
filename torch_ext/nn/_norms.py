"""Normalization."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from torch_ext import functional as F  # noqa: N812 - its usual name

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "LayerNorm",
    "RMSNorm",
]


class LayerNorm(nn.LayerNorm):
    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)


def _batch_norm(self: _BatchNorm, input: Tensor) -> Tensor:
    """Statistics of the batch in training and where none are kept; else the running ones."""
    self._check_input_dim(input)  # type: ignore[no-untyped-call]
    of_batch = self.training or (self.running_mean is None and self.running_var is None)
    momentum = self.momentum or 0.0
    if self.training and self.track_running_stats and self.num_batches_tracked is not None:
        self.num_batches_tracked.add_(1)
        if self.momentum is None:  # the average over all batches so far
            momentum = 1.0 / float(self.num_batches_tracked)
    kept = not self.training or self.track_running_stats
    return F.batch_norm(
        input,
        self.running_mean if kept else None,
        self.running_var if kept else None,
        self.weight,
        self.bias,
        of_batch,
        momentum,
        self.eps,
    )


class BatchNorm1d(nn.BatchNorm1d):
    forward = _batch_norm


class BatchNorm2d(nn.BatchNorm2d):
    forward = _batch_norm


class BatchNorm3d(nn.BatchNorm3d):
    forward = _batch_norm
