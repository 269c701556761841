"""Small helpers that the modules share."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_ext.corpus._entry import Inputs


def back_to(grad: Tensor, like: Tensor) -> Tensor:
    """A gradient summed over broadcast axes and cast to its input's dtype."""
    return grad.sum_to_size(like.shape).to(like.dtype)


def reverse_cumsum(x: Tensor) -> Tensor:
    """Sums from each place to the end of the last axis."""
    return x.flip(-1).cumsum(-1).flip(-1)


def leaf(x: Tensor) -> Tensor:
    """A fresh leaf that asks for a gradient."""
    return x.detach().requires_grad_(True)


def constant(*made: object) -> Inputs:
    """Inputs given as (tensor or nested list or option); float tensors are cast and differentiated."""

    def inputs(g: torch.Generator, dtype: torch.dtype) -> tuple[object, ...]:
        return tuple(
            leaf(m.to(dtype)) if isinstance(m, Tensor) and m.is_floating_point() else m for m in made
        )

    return inputs
