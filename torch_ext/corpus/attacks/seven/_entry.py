"""The record format and small helpers."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_ext.corpus._entry import Inputs, Mistake, Operation, integers, normal, uniform, wide

ALL = ("float64", "float32", "bfloat16", "float16")
TWO = ("float64", "float32")

__all__ = [
    "ALL", "TWO", "Inputs", "Mistake", "Operation", "fit", "integers", "leaf", "normal", "uniform", "wide"
]  # fmt: skip


def fit(grad: Tensor, like: Tensor) -> Tensor:
    """Summed over broadcast axes and cast, to be the gradient of ``like``."""
    return grad.sum_to_size(like.shape).to(like.dtype)


def leaf(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """``x`` as an input to differentiate."""
    return x.detach().to(dtype or x.dtype).requires_grad_()
