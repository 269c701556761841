"""Attention and transformers.

PyTorch's inference "fast path", one fused operator for a whole layer, is never taken.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from torch_ext import functional as F  # noqa: N812 - its usual name

__all__ = [
    "MultiheadAttention",
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
]


class MultiheadAttention(nn.MultiheadAttention):
    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        _refuse_nested(query, key, value)
        batch_first = self.batch_first and query.ndim == 3
        if batch_first:
            query, key, value = _transposed(query, key, value)
        y, weights = F.multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            self.training,
            key_padding_mask,
            need_weights,
            attn_mask,
            not self._qkv_same_embed_dim,
            self.q_proj_weight,
            self.k_proj_weight,
            self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return (y.transpose(0, 1) if batch_first else y), weights


def _refuse_nested(*inputs: Tensor) -> None:
    """PyTorch takes them on its fast path only, and raises the same elsewhere."""
    if any(x.is_nested for x in inputs):
        raise AssertionError(
            "attention takes tensors, with a key_padding_mask; received a nested tensor; pad it by its "
            "to_padded_tensor."
        )


def _transposed(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Batch second. What is the same tensor stays the same, so that it is projected once."""
    q = query.transpose(0, 1)
    k = q if key is query else key.transpose(0, 1)
    return q, k, k if value is key else value.transpose(0, 1)


# --- composite layers -----------------------------------------------------------------------


def _of_ours(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor whose parts are ours: those it makes, and copies over the same tensors of those given."""

    @wraps(init)
    def construct(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        from torch_ext import nn as ours  # by then it has all classes

        args, kwargs = tuple(map(_taken, args)), {k: _taken(v) for k, v in kwargs.items()}
        init(self, *args, **kwargs)
        given = [a for a in (*args, *kwargs.values()) if isinstance(a, nn.Module)]
        theirs = {part for module in given for part in module.modules()}
        for part in self.modules():
            name = type(part).__name__
            if part not in theirs and type(part) is getattr(nn, name, None):
                object.__setattr__(part, "__class__", getattr(ours, name, type(part)))

    return construct


def _taken(argument: Any) -> Any:
    from torch_ext.swapping import swap  # it imports this package

    return swap(argument).model if isinstance(argument, nn.Module) else argument


def _feed_forward(self: Any, x: Tensor) -> Tensor:
    """Its activation may be given as a function: ours, where it is PyTorch's."""
    y: Tensor = self.linear2(self.dropout(_ours(self.activation)(self.linear1(x))))
    return y


def _ours(f: Callable[..., Any]) -> Callable[..., Any]:
    name = getattr(f, "__name__", "")
    known = f is getattr(nn.functional, name, None) or f is getattr(torch, name, None)
    return getattr(F, name, f) if known else f


class TransformerEncoderLayer(nn.TransformerEncoderLayer):
    __init__ = _of_ours(nn.TransformerEncoderLayer.__init__)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        _refuse_nested(src)
        x, masks = src, (src_mask, src_key_padding_mask, is_causal)
        if self.norm_first:
            x = F.add(x, self._sa_block(self.norm1(x), *masks))
            return F.add(x, self._ff_block(self.norm2(x)))
        x = self.norm1(F.add(x, self._sa_block(x, *masks)))
        y: Tensor = self.norm2(F.add(x, self._ff_block(x)))
        return y

    def _ff_block(self, x: Tensor) -> Tensor:
        y: Tensor = self.dropout2(_feed_forward(self, x))
        return y


class TransformerDecoderLayer(nn.TransformerDecoderLayer):
    __init__ = _of_ours(nn.TransformerDecoderLayer.__init__)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        x, masks = tgt, (tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        of_memory = (memory, memory_mask, memory_key_padding_mask, memory_is_causal)
        if self.norm_first:
            x = F.add(x, self._sa_block(self.norm1(x), *masks))
            x = F.add(x, self._mha_block(self.norm2(x), *of_memory))
            return F.add(x, self._ff_block(self.norm3(x)))
        x = self.norm1(F.add(x, self._sa_block(x, *masks)))
        x = self.norm2(F.add(x, self._mha_block(x, *of_memory)))
        y: Tensor = self.norm3(F.add(x, self._ff_block(x)))
        return y

    def _ff_block(self, x: Tensor) -> Tensor:
        y: Tensor = self.dropout3(_feed_forward(self, x))
        return y


class TransformerEncoder(nn.TransformerEncoder):
    __init__ = _of_ours(nn.TransformerEncoder.__init__)

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        output = src
        for layer in self.layers:
            masks = {"src_mask": mask, "src_key_padding_mask": src_key_padding_mask}
            output = layer(output, **masks, is_causal=bool(is_causal))
        if mask is None and src_key_padding_mask is not None and self._drops_padding(src):
            output = _without_padding(output, src_key_padding_mask)
        return output if self.norm is None else self.norm(output)

    def _drops_padding(self, src: Tensor) -> bool:
        """Whether PyTorch would go through a nested tensor, from which padding comes back as zeros."""
        layer = self.layers[0]
        recorded = torch.is_grad_enabled() and any(x.requires_grad for x in (src, *layer.parameters()))
        return (
            torch.backends.mha.get_fastpath_enabled()
            and getattr(self, "use_nested_tensor", False)
            and not layer.training
            and src.ndim == 3
            and not recorded
            and not torch.is_autocast_enabled()
            and not (getattr(self, "mask_check", True) and torch.compiler.is_compiling())
        )


def _without_padding(x: Tensor, padding: Tensor) -> Tensor:
    """Zeros in the place of padding, if all of it comes last."""
    kept = padding == 0 if padding.is_floating_point() else ~padding
    last = (kept[:, 1:] <= kept[:, :-1]).all()
    return x.masked_fill(~kept[..., None] & last, 0.0)


class TransformerDecoder(nn.TransformerDecoder):
    __init__ = _of_ours(nn.TransformerDecoder.__init__)


class Transformer(nn.Transformer):
    __init__ = _of_ours(nn.Transformer.__init__)
