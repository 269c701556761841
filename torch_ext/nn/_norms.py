"""Normalization."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from torch_ext import functional as F  # noqa: N812 - its usual name
from torch_ext._distributed import across
from torch_ext.functional._common import apply
from torch_ext.functional._norms import batch_norm_across

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "CrossMapLRN2d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "LazyInstanceNorm1d",
    "LazyInstanceNorm2d",
    "LazyInstanceNorm3d",
    "LocalResponseNorm",
    "RMSNorm",
    "SyncBatchNorm",
]


class LayerNorm(nn.LayerNorm):
    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)


def _batch_norm(self: _BatchNorm, input: Tensor) -> Tensor:
    return _batch_norm_across(None, self, input)


def _batch_norm_across(across: Any, self: _BatchNorm, input: Tensor) -> Tensor:
    """Statistics of the batch in training and where none are kept; else the running ones."""
    self._check_input_dim(input)  # type: ignore[no-untyped-call]
    of_batch = self.training or (self.running_mean is None and self.running_var is None)
    momentum = self.momentum or 0.0
    if self.training and self.track_running_stats and self.num_batches_tracked is not None:
        self.num_batches_tracked.add_(1)
        if self.momentum is None:  # the average over all batches so far
            momentum = 1.0 / float(self.num_batches_tracked)
    kept = not self.training or self.track_running_stats
    return batch_norm_across(
        across,
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


class SyncBatchNorm(nn.SyncBatchNorm):
    def forward(self, input: Tensor) -> Tensor:
        """Batch norm; in training under a process group, of the batches of all its processes as one."""
        self._check_input_dim(input)
        self._check_non_zero_input_channels(input)
        if not (self.training and dist.is_available() and dist.is_initialized()):
            return _batch_norm(self, input)
        if input.device.type == "cpu":
            raise ValueError(
                "SyncBatchNorm in a process group needs its input on an accelerator, as PyTorch's own does; "
                "received one on the CPU; move it, or use BatchNorm."
            )
        return _batch_norm_across(across(self.process_group or dist.group.WORLD), self, input)


def _instance_norm(self: _InstanceNorm, input: Tensor) -> Tensor:
    """Statistics of each sample in training and where none are kept; else the running ones."""
    of_input = self.training or not self.track_running_stats
    args = self.weight, self.bias, of_input, self.momentum or 0.0, self.eps
    return F.instance_norm(input, self.running_mean, self.running_var, *args)


class InstanceNorm1d(nn.InstanceNorm1d):
    _apply_instance_norm = _instance_norm


class InstanceNorm2d(nn.InstanceNorm2d):
    _apply_instance_norm = _instance_norm


class InstanceNorm3d(nn.InstanceNorm3d):
    _apply_instance_norm = _instance_norm


# A lazy module becomes one of the class named here, when it has seen its first input.


class LazyBatchNorm1d(nn.LazyBatchNorm1d):
    cls_to_become = BatchNorm1d
    forward = _batch_norm


class LazyBatchNorm2d(nn.LazyBatchNorm2d):
    cls_to_become = BatchNorm2d
    forward = _batch_norm


class LazyBatchNorm3d(nn.LazyBatchNorm3d):
    cls_to_become = BatchNorm3d
    forward = _batch_norm


class LazyInstanceNorm1d(nn.LazyInstanceNorm1d):
    cls_to_become = InstanceNorm1d
    _apply_instance_norm = _instance_norm


class LazyInstanceNorm2d(nn.LazyInstanceNorm2d):
    cls_to_become = InstanceNorm2d
    _apply_instance_norm = _instance_norm


class LazyInstanceNorm3d(nn.LazyInstanceNorm3d):
    cls_to_become = InstanceNorm3d
    _apply_instance_norm = _instance_norm


class GroupNorm(nn.GroupNorm):
    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


class LocalResponseNorm(nn.LocalResponseNorm):
    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)


class CrossMapLRN2d(nn.CrossMapLRN2d):
    def forward(self, input: Tensor) -> Tensor:
        y: Tensor = apply(
            "cross_map_lrn2d", input, size=self.size, alpha=self.alpha, beta=self.beta, k=self.k
        )
        return y
