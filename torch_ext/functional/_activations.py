"""Activations: the names of ``torch.nn.functional``."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from torch_ext.functional._common import apply, as_floats, in_place, need_floats, need_tensors

__all__ = [
    "gelu",
    "leaky_relu",
    "log_softmax",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.relu``."""
    need_tensors("relu", input=input)
    if input.dtype == torch.bool:
        raise RuntimeError("relu needs numbers; received booleans; convert them first.")
    y: Tensor = (in_place if inplace else apply)("relu", input)
    return y


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.leaky_relu``; in place, a negative slope is allowed too."""
    need_floats("leaky_relu", input=input)
    y: Tensor = (in_place if inplace else apply)("leaky_relu", input, negative_slope=negative_slope)
    return y


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.silu``."""
    need_floats("silu", allow_complex=True, input=input)
    y: Tensor = (in_place if inplace else apply)("silu", input)
    return y


def sigmoid(input: Tensor) -> Tensor:
    """``torch.nn.functional.sigmoid``."""
    y: Tensor = apply("sigmoid", as_floats("sigmoid", input))
    return y


def tanh(input: Tensor) -> Tensor:
    """``torch.nn.functional.tanh``."""
    y: Tensor = apply("tanh", as_floats("tanh", input))
    return y


def softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """``torch.nn.functional.softplus``."""
    need_floats("softplus", input=input)
    y: Tensor = apply("softplus", input, beta=beta, threshold=threshold)
    return y


def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    """``torch.nn.functional.gelu``; ``approximate`` "none" (exact) or "tanh"."""
    need_floats("gelu", input=input)
    y: Tensor = apply("gelu", input, approximate=approximate)
    return y


def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Tensor:
    """``torch.nn.functional.softmax``; without ``dim`` PyTorch's deprecated choice of it."""
    return _softmax("softmax", input, dim, _stacklevel + 1, dtype)


def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Tensor:
    """``torch.nn.functional.log_softmax``; without ``dim`` PyTorch's deprecated choice of it."""
    return _softmax("log_softmax", input, dim, _stacklevel + 1, dtype)


def _softmax(name: str, x: Tensor, dim: int | None, stacklevel: int, dtype: torch.dtype | None) -> Tensor:
    need_tensors(name, input=x)
    x = x if dtype is None else x.to(dtype)
    need_floats(name, input=x)
    if dim is None:
        warnings.warn(f"{name} without dim is deprecated; give the axis as dim.", stacklevel=stacklevel)
        dim = 0 if x.ndim in (0, 1, 3) else 1
    y: Tensor = apply(name, x, dim=dim)
    return y
