"""Normalization: the names of ``torch.nn.functional``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from torch_ext.functional._common import apply, as_floats, into, need_floats, need_tensors

__all__ = [
    "batch_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "local_response_norm",
    "normalize",
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
    return batch_norm_across(None, input, running_mean, running_var, weight, bias, training, momentum, eps)


def batch_norm_across(
    across: Callable[[Tensor], Tensor] | None,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """Batch norm of a batch whose parts stand in several processes; ``across`` adds up over these."""
    if input.shape == (0,):  # PyTorch takes it; as a batch of no samples and no channels
        args = running_mean, running_var, weight, bias, training, momentum, eps
        return batch_norm_across(across, input.view(0, 0), *args).view(0)
    statistics = running_mean, running_var
    options: dict[str, Any] = {"training": training, "eps": eps}
    if across is not None:
        options["across"] = across
    return _channel_norm("batch_norm", input, statistics, weight, bias, training, momentum, options)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``torch.nn.functional.instance_norm``; ``use_input_stats`` updates the running statistics in place."""
    need_tensors("instance_norm", input=input)
    statistics, options = (running_mean, running_var), {"use_input_stats": use_input_stats, "eps": eps}
    return _channel_norm("instance_norm", input, statistics, weight, bias, use_input_stats, momentum, options)


def _channel_norm(
    name: str,
    input: Tensor,
    statistics: tuple[Tensor | None, Tensor | None],
    weight: Tensor | None,
    bias: Tensor | None,
    update: bool,
    momentum: float,
    options: dict[str, Any],
) -> Tensor:
    """Batch or instance norm, which with ``update`` changes the running statistics in place."""
    if not isinstance(momentum, float | int):
        raise TypeError(
            f"{name} needs a number as momentum; received {type(momentum).__name__}; for a cumulative "
            "average use 1 / the number of batches so far."
        )
    need_floats(name, input=input)
    mean, var = statistics
    if update and mean is not None and var is not None:
        # copies, since autograd must find what it saved unchanged
        copies = mean.detach().clone(), var.detach().clone()
        y, *new = apply(name, input, *copies, weight, bias, momentum=momentum, **options)
        with torch.no_grad():
            mean.copy_(new[0])
            var.copy_(new[1])
    else:
        y, *_ = apply(name, input, mean, var, weight, bias, momentum=momentum, **options)
    return _in_dtype_of(input, y)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """``torch.nn.functional.group_norm``."""
    need_tensors("group_norm", input=input)
    if input.dim() > 1 and num_groups > 0 and input.numel() == num_groups > 0:
        raise ValueError(
            f"group_norm needs more than one number in each group; received input {tuple(input.shape)} and "
            f"{num_groups} groups; use fewer groups."
        )
    need_floats("group_norm", input=input)
    y = apply("group_norm", input, weight, bias, num_groups=num_groups, eps=eps)
    return _in_dtype_of(input, y)


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """``torch.nn.functional.local_response_norm``."""
    x = as_floats("local_response_norm", input)
    y: Tensor = apply("local_response_norm", x, size=size, alpha=alpha, beta=beta, k=k)
    return y


def normalize(
    input: Tensor, p: Any = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Tensor:
    """``torch.nn.functional.normalize``."""
    need_tensors("normalize", input=input)
    if not (input.is_floating_point() or input.is_complex()):
        raise RuntimeError(f"normalize needs floating-point numbers; received {input.dtype}; convert them.")
    p = 2.0 if p is None or p == "fro" else float(p)
    return into(out, apply("normalize", input, p=p, dim=dim, eps=eps))


def _in_dtype_of(x: Tensor, y: Tensor) -> Tensor:
    """16-bit inputs with float32 parameters give a 16-bit output."""
    return y if y.dtype == x.dtype else y.to(x.dtype)
