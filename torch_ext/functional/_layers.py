"""Layers with parameters, randomness or windows: the names of ``torch.nn.functional``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torch_ext.functional._common import apply, in_place, need_tensors

Ints = int | Sequence[int]


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``."""
    need_tensors("linear", input=input, weight=weight)
    y: Tensor = apply("linear", input, weight, bias)
    return y


# --- normalization ------------------------------------------------------------------------


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


# --- tables and randomness ------------------------------------------------------------------


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """``torch.nn.functional.embedding``; ``max_norm`` first shortens the rows used, in place."""
    need_tensors("embedding", input=input, weight=weight)
    if input.dtype not in (torch.int32, torch.int64):
        raise RuntimeError(f"embedding needs int32 or int64 indices; received {input.dtype}; convert them.")
    n = weight.shape[0]
    if padding_idx is not None and not -n <= padding_idx < n:
        raise AssertionError(f"padding_idx must be a row of the table of {n}; received {padding_idx}.")
    if max_norm is not None:
        with torch.no_grad():
            torch.embedding_renorm_(weight.detach(), input.contiguous(), max_norm, norm_type)
    options = {"scale_grad_by_freq": scale_grad_by_freq, "sparse": sparse}
    y: Tensor = apply("embedding", input, weight, padding_idx=padding_idx, **options)
    return y


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.dropout``, with the same random numbers from the same seed."""
    need_tensors("dropout", input=input)
    if not 0 <= p <= 1:
        raise ValueError(f"dropout needs a probability, from 0 to 1; received {p}; choose such a p.")
    if not training or p == 0 or input.numel() == 0:
        return input
    y: Tensor = (in_place if inplace else apply)("dropout", input, _keep_mask(input, p), p=p)
    return y


def _keep_mask(x: Tensor, p: float) -> Tensor:
    """True with probability 1 - p, drawn as PyTorch draws it; at p = 1 it draws nothing."""
    if p == 1:
        return torch.zeros_like(x, dtype=torch.bool)
    with torch.no_grad():
        if x.device.type in ("cpu", "meta"):
            return torch.empty_like(x).bernoulli_(1 - p).to(torch.bool)
        return torch.native_dropout(x.detach(), p, True)[1]  # accelerators draw inside their kernel


# --- windows ------------------------------------------------------------------------------


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """``torch.nn.functional.conv2d``."""
    need_tensors("conv2d", input=input, weight=weight)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    y: Tensor = apply("conv2d", input, weight, bias, **options)
    return y


def max_pool2d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """``torch.nn.functional.max_pool2d``: the maxima, with ``return_indices`` their indices too."""
    need_tensors("max_pool2d", input=input)
    stride = None if isinstance(stride, Sequence) and not stride else stride
    y, indices = apply(
        "max_pool2d",
        input,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )
    return (y, indices) if return_indices else y


def max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,  # noqa: ARG001 - PyTorch's signature, which ignores it too
) -> tuple[Tensor, Tensor]:
    """``torch.nn.functional.max_pool2d_with_indices``."""
    y, indices = max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode, True)
    return y, indices


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """``torch.nn.functional.pad``, in all four modes."""
    need_tensors("pad", input=input)
    if any(not isinstance(n, int) for n in pad):
        raise TypeError(f"pad must hold integers; received {tuple(pad)}; round them.")
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise NotImplementedError(
            f"pad has modes constant, reflect, replicate and circular; received {mode!r}; use one of these."
        )
    d = len(pad) // 2
    if mode != "constant" and len(pad) % 2 == 0 and not (1 <= d <= 3 and d + 1 <= input.ndim <= d + 2):
        raise NotImplementedError(
            f"{mode} padding of d axes, 1 to 3, needs an input with d + 1 or d + 2 axes; received {d} and "
            f"{input.ndim}; reshape the input."
        )
    y: Tensor = apply("pad", input, pad=tuple(pad), mode=mode, value=value)
    return y


# --- attention ----------------------------------------------------------------------------


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``torch.nn.functional.scaled_dot_product_attention``, by its formula.

    Dropout draws what PyTorch's own formula (its "math" backend) draws.
    """
    need_tensors("scaled_dot_product_attention", query=query, key=key, value=value)
    mask = None
    if 0 < dropout_p <= 1 and query.ndim >= 2 and key.ndim >= 2:
        heads = torch.broadcast_shapes(query.shape[:-2], () if enable_gqa else key.shape[:-2])  # type: ignore[no-untyped-call]
        weights = query.new_empty((*heads, query.shape[-2], key.shape[-2]))
        mask = _keep_mask(weights, dropout_p)
    y: Tensor = apply(
        "scaled_dot_product_attention",
        query,
        key,
        value,
        attn_mask,
        mask,
        dropout_p=dropout_p,
        is_causal=is_causal,
        scale=scale,
        enable_gqa=enable_gqa,
    )
    return y
