"""Small helpers shared by the modules."""

from __future__ import annotations

import torch
from torch import Tensor


def sum_to(grad: Tensor, shape: torch.Size) -> Tensor:
    """Adds up over the axes along which a tensor of ``shape`` was broadcast."""
    extra = grad.dim() - len(shape)
    if extra:
        grad = grad.sum(tuple(range(extra)))
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and grad.shape[i] != 1)
    return grad.sum(axes, keepdim=True) if axes else grad


def strided(x: Tensor) -> Tensor:
    """The same numbers in a leaf that is not contiguous."""
    y = torch.stack((x.detach(), x.detach()), -1)[..., 0]
    return y.requires_grad_(x.requires_grad)


def positive_or_nan(x: Tensor) -> Tensor:
    """NaN outside the domain x > 0."""
    return torch.where(x > 0, x, torch.nan)
