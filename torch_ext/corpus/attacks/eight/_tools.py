"""Small helpers that the backward passes share."""

from __future__ import annotations

from torch import Tensor


def like(grad: Tensor, x: Tensor) -> Tensor:
    """``grad`` summed over the axes along which ``x`` was broadcast, in the dtype of ``x``."""
    return grad.sum_to_size(x.shape).to(x.dtype)
