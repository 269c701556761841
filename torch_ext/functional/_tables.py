"""Tables of rows: the names of ``torch.nn.functional``."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_ext.functional._common import apply, need_tensors

__all__ = [
    "embedding",
    "embedding_bag",
]


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
    _need_indices("embedding", input)
    n = weight.shape[0] if weight.ndim == 2 else 0
    if padding_idx is not None and weight.ndim == 2 and not -n <= padding_idx < n:
        raise AssertionError(f"padding_idx must be a row of the table of {n}; received {padding_idx}.")
    if max_norm is not None:
        _shorten(weight, input, max_norm, norm_type)
    options = {"scale_grad_by_freq": scale_grad_by_freq, "sparse": sparse}
    y: Tensor = apply("embedding", input, weight, padding_idx=padding_idx, **options)
    return y


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """``torch.nn.functional.embedding_bag``; ``max_norm`` first shortens the rows used, in place."""
    need_tensors("embedding_bag", input=input, weight=weight)
    if weight.dtype == torch.long and input.is_floating_point():  # the old order, which PyTorch still takes
        weight, input = input, weight
    if per_sample_weights is not None and input.shape != per_sample_weights.shape:
        raise ValueError(
            "embedding_bag needs per_sample_weights of the input's shape; received "
            f"{tuple(per_sample_weights.shape)} for {tuple(input.shape)}; reshape them."
        )
    if input.ndim == 2 and input.is_nested:
        offsets, include_last_offset = input.offsets(), True  # type: ignore[attr-defined]
        input = input.values().reshape(-1)
        if per_sample_weights is not None:
            per_sample_weights = per_sample_weights.values().reshape(-1)
    _need_indices("embedding_bag", input)
    if max_norm is not None:
        _shorten(weight, input, max_norm, norm_type)
    if per_sample_weights is not None and mode in ("mean", "max"):
        raise NotImplementedError(
            f"embedding_bag takes per_sample_weights in mode 'sum' alone; received {mode!r}; use 'sum'."
        )
    if per_sample_weights is not None and per_sample_weights.dtype != weight.dtype:
        raise RuntimeError(
            "embedding_bag needs per_sample_weights of the table's dtype; received "
            f"{per_sample_weights.dtype} and {weight.dtype}; convert them."
        )
    y: Tensor = apply(
        "embedding_bag",
        input,
        weight,
        offsets,
        per_sample_weights,
        mode=mode,
        padding_idx=padding_idx,
        include_last_offset=include_last_offset and offsets is not None,
        scale_grad_by_freq=scale_grad_by_freq,
        sparse=sparse,
    )
    return y


def _need_indices(layer: str, index: Tensor) -> None:
    if index.dtype not in (torch.int32, torch.int64):
        raise RuntimeError(f"{layer} needs int32 or int64 indices; received {index.dtype}; convert them.")


def _shorten(weight: Tensor, index: Tensor, max_norm: float, norm_type: float) -> None:
    """Rows used that are longer than ``max_norm`` are made that long, in place."""
    with torch.no_grad():
        torch.embedding_renorm_(weight.detach(), index.contiguous(), max_norm, norm_type)
