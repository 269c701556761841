"""Softmax and its kin: the names of ``torch.nn.functional``."""

from __future__ import annotations

import torch
from torch import Tensor

from handgrad import _primitives
from torch_ext.functional._common import advise, apply, need_floats, need_tensors

__all__ = [
    "gumbel_softmax",
    "log_softmax",
    "one_hot",
    "softmax",
    "softmin",
]


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


def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Tensor:
    """``torch.nn.functional.softmin``; without ``dim`` PyTorch's deprecated choice of it."""
    need_tensors("softmin", input=input)
    if not (input.is_floating_point() or input.is_complex()):  # integers change their sign before the cast
        return _softmax("softmax", -input, dim, _stacklevel + 1, dtype)
    return _softmax("softmin", input, dim, _stacklevel + 1, dtype)


def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """``torch.nn.functional.gumbel_softmax``, with the same random numbers from the same seed."""
    need_tensors("gumbel_softmax", logits=logits)
    if not logits.is_floating_point():
        raise RuntimeError(
            f"gumbel_softmax needs floating-point logits; received {logits.dtype}; convert them first."
        )
    if eps != 1e-10:
        advise("eps of gumbel_softmax is deprecated and has no effect; leave it out.")
    with torch.no_grad():
        drawn = torch.empty_like(logits, memory_format=torch.legacy_contiguous_format).exponential_()
        noise = -drawn.log()
    y: Tensor = apply("gumbel_softmax", logits, noise, tau=tau, hard=hard, dim=dim)
    return y


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """``torch.nn.functional.one_hot``: integers, of which nothing has a gradient."""
    need_tensors("one_hot", tensor=tensor)
    if tensor.dtype != torch.int64:
        raise RuntimeError(
            f"one_hot needs int64 indices; received {tensor.dtype}; convert them with .long()."
        )
    if tensor.numel() == 0 and num_classes < 1:
        raise RuntimeError(
            "one_hot cannot count the classes of no indices; received an empty tensor; give num_classes."
        )
    visible = tensor.device.type == "cpu" and not torch._C._are_functorch_transforms_active()
    if tensor.numel() and num_classes == -1:
        num_classes = int(tensor.max()) + 1
    if visible and not torch.compiler.is_compiling() and tensor.numel():
        low, high = int(tensor.min()), int(tensor.max())
        if low < 0 or high >= num_classes:
            raise RuntimeError(
                f"Indices of one_hot must be in [0, {num_classes}), the classes; received {low} to {high}; "
                "give a larger num_classes or other indices."
            )
    y: Tensor = _primitives.one_hot(tensor, num_classes, torch.int64)
    return y


def _softmax(name: str, x: Tensor, dim: int | None, stacklevel: int, dtype: torch.dtype | None) -> Tensor:
    need_tensors(name, input=x)
    x = x if dtype is None else x.to(dtype)
    need_floats(name, input=x)
    if dim is None:
        advise(f"{name} without dim is deprecated; give the axis as dim.", stacklevel - 1)
        dim = 0 if x.ndim in (0, 1, 3) else 1
    y: Tensor = apply(name, x, dim=dim)
    return y
