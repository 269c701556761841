"""Tables of rows: the names of ``torch.nn.functional``."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_ext.functional._common import apply, need_tensors

__all__ = [
    "embedding",
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
