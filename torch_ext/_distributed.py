"""Sums over processes."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function


class Across(Function):
    """The sum of a tensor over the processes of a group. Each part goes into all: dx is the sum of all dy."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        y = x.clone()
        dist.all_reduce(y, group=group)
        return y

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        return Across.apply(cotangents[0], ctx.group), None  # type: ignore[no-untyped-call]


def across(group: Any) -> Any:
    """The function that adds a tensor up over the processes of ``group``; None where it is one process."""
    if dist.get_world_size(group) < 2:
        return None
    return lambda x: Across.apply(x, group)  # type: ignore[no-untyped-call]
