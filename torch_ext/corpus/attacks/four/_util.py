"""Small helpers shared by the functions."""

from __future__ import annotations

import torch

from torch_ext.corpus._entry import Mistake, Operation, integers, normal, uniform
from torch_ext.corpus._entry import wide as up

__all__ = [
    "ALL",
    "WIDE",
    "Mistake",
    "Operation",
    "const",
    "integers",
    "normal",
    "softplus",
    "uniform",
    "up",
    "view",
    "wrong",
]
ALL = ("float64", "float32", "bfloat16", "float16")
WIDE = ("float64", "float32")


def wrong(backward, bug):
    def planted(grad_output, residuals):
        return backward(grad_output, residuals, bug)

    return planted


def const(values, dtype, grad=True):
    return torch.as_tensor(values, dtype=torch.float64).to(dtype).clone().requires_grad_(grad)


def view(x, a=-1, b=-2):
    """The same numbers, in transposed memory (a leaf)."""
    return x.detach().transpose(a, b).contiguous().transpose(a, b).requires_grad_(True)


def softplus(x):
    return torch.logaddexp(x, torch.zeros_like(x))
