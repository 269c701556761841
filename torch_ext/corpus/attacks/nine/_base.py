"""What the modules share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from torch_ext.corpus._entry import Inputs, Mistake, Operation, integers, normal, uniform, wide

__all__ = [
    "DOUBLE",
    "Generator",
    "Inputs",
    "Mistake",
    "Operation",
    "as_dtypes",
    "coins",
    "fold",
    "in_wide",
    "integers",
    "leaf",
    "normal",
    "uniform",
    "wide",
]

Generator = torch.Generator
DOUBLE = ("float64", "float32")


def leaf(x: Tensor) -> Tensor:
    """A tensor made from others, as an input to differentiate."""
    return x.detach().requires_grad_()


def coins(g: Generator, *shape: int) -> Tensor:
    """Random booleans."""
    return torch.rand(shape, generator=g) < 0.5


def fold(grad: Tensor, like: Tensor) -> Tensor:
    """The sum over the axes along which ``like`` was broadcast."""
    return grad.sum_to_size(like.shape)


def as_dtypes(grads: Sequence[Tensor], dtypes: Sequence[torch.dtype]) -> tuple[Tensor, ...]:
    """Gradients in the dtypes of their inputs."""
    return tuple(grad.to(dtype) for grad, dtype in zip(grads, dtypes, strict=True))


def in_wide(function: Callable[..., Any]) -> Callable[..., Any]:
    """A reference that computes 16-bit inputs in float32 and casts its result back."""

    def run(*inputs: Any) -> Any:
        dtype = next(x.dtype for x in inputs if isinstance(x, Tensor) and x.is_floating_point())
        out = function(*map(wide, inputs))
        if isinstance(out, tuple):
            return tuple(part.to(dtype) for part in out)
        return out.to(dtype)

    return run
