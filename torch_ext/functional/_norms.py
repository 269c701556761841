"""Normalization: the names of ``torch.nn.functional``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torch_ext.functional._common import apply, need_tensors

__all__ = [
    "batch_norm",
    "layer_norm",
    "rms_norm",
]


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """``torch.nn.functional.layer_norm``."""
    need_tensors("layer_norm", input=input)
    y = apply("layer_norm", input, weight, bias, normalized_shape=tuple(normalized_shape), eps=eps)
    return _in_dtype_of(input, y)


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """``torch.nn.functional.rms_norm``."""
    need_tensors("rms_norm", input=input)
    y = apply("rms_norm", input, weight, normalized_shape=tuple(normalized_shape), eps=eps)
    return _in_dtype_of(input, y)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``torch.nn.functional.batch_norm``; ``training`` updates the running statistics in place."""
    need_tensors("batch_norm", input=input)
    if not isinstance(momentum, float | int):
        raise TypeError(
            f"batch_norm needs a number as momentum; received {type(momentum).__name__}; for a cumulative "
            "average use 1 / the number of batches so far."
        )
    mean, var = running_mean, running_var
    if training and mean is not None and var is not None:
        # copies, since autograd must find what it saved unchanged
        mean, var = mean.detach().clone(), var.detach().clone()
    options = {"training": training, "momentum": momentum, "eps": eps}
    y, new_mean, new_var = apply("batch_norm", input, mean, var, weight, bias, **options)
    if training and running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.copy_(new_mean)
            running_var.copy_(new_var)
    return _in_dtype_of(input, y)


def _in_dtype_of(x: Tensor, y: Tensor) -> Tensor:
    """16-bit inputs with float32 parameters give a 16-bit output."""
    return y if y.dtype == x.dtype else y.to(x.dtype)
