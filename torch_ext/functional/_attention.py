"""Attention and transformers: the names of ``torch.nn.functional``."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_ext.functional._common import apply, need_tensors
from torch_ext.functional._dropouts import keep_mask

__all__ = [
    "scaled_dot_product_attention",
]


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
        mask = keep_mask(weights, dropout_p)
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
