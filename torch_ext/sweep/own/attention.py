"""Attention and transformers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from torch_ext.sweep.own._draw import Functions, Modules, normal

E, HEADS, N, L, S = 6, 2, 3, 4, 5
Generator = torch.Generator


def _keys_left(g: Generator, *shape: int) -> Tensor:
    """Bools, True where a key is masked; every row keeps its first key."""
    mask = torch.rand(shape, generator=g) < 0.4
    mask[..., 0] = False
    return mask


def _causal(n: int) -> Tensor:
    return torch.ones(n, n, dtype=torch.bool).triu(1)


# --- multi_head_attention_forward ---------------------------------------------------------------


def _multi_head(g: Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    def x(*shape: int) -> Tensor:
        return normal(g, dtype, *shape)

    def call(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> tuple[Any, ...]:
        apart = {}
        if k.shape[-1] != E or v.shape[-1] != E or options.pop("apart", False):
            apart = {"use_separate_proj_weight": True, "q_proj_weight": x(E, E)}
            apart |= {"k_proj_weight": x(E, k.shape[-1]), "v_proj_weight": x(E, v.shape[-1])}
        biased = options.pop("bias", True)
        more = (x(1, 1, E), x(1, 1, E)) if options.pop("bias_kv", False) else (None, None)
        zero, p = options.pop("zero", False), options.pop("p", 0.0)
        w, b = (None if apart else x(3 * E, E)), (x(3 * E) if biased else None)
        return (q, k, v, E, HEADS, w, b, *more, zero, p, x(E, E), x(E) if biased else None), {
            **apart,
            **options,
        }

    for need in (True, False):
        same, memory = x(L, N, E), x(S, N, E)
        yield call(same, same, same, need_weights=need)
        yield call(x(L, N, E), memory, memory, need_weights=need, bias=False)
        yield call(x(L, N, E), x(S, N, E), x(S, N, E), need_weights=need, p=0.4)
        yield call(x(L, N, E), x(S, N, E), x(S, N, E), need_weights=need, p=0.4, training=False)
        yield call(x(L, N, E), x(S, N, 3), x(S, N, 2), need_weights=need, p=1.0)
        yield call(same, memory, memory, need_weights=need, apart=True, bias=False)
        yield call(same, memory, memory, need_weights=need, key_padding_mask=_keys_left(g, N, S))
        yield call(same, memory, memory, need_weights=need, attn_mask=_keys_left(g, L, S), p=0.2)
        yield call(
            same, memory, memory, need_weights=need, attn_mask=x(N * HEADS, L, S), average_attn_weights=False
        )
        both = {"attn_mask": x(L, S), "key_padding_mask": x(N, S)}
        yield call(same, memory, memory, need_weights=need, bias_kv=True, zero=True, **both)
        both = {"attn_mask": _keys_left(g, N * HEADS, L, S), "key_padding_mask": _keys_left(g, N, S)}
        yield call(same, memory, memory, need_weights=need, zero=True, p=0.3, **both)
        yield call(same, same, same, need_weights=need, attn_mask=_causal(L), is_causal=True)
        yield call(same, same, same, need_weights=need, bias_kv=True, attn_mask=_causal(L), is_causal=True)
        static = {"static_k": x(N * HEADS, S, E // HEADS), "static_v": x(N * HEADS, S, E // HEADS)}
        yield call(same, same, same, need_weights=need, zero=True, **static)
        yield call(x(L, E), x(S, E), x(S, E), need_weights=need, key_padding_mask=_keys_left(g, S))
        yield call(x(L, E), x(S, 3), x(S, E), need_weights=need, average_attn_weights=False, zero=True,
                   attn_mask=x(HEADS, L, S))  # fmt: skip
        yield call(x(1, 1, E), x(1, 1, E), x(1, 1, E), need_weights=need)
    blind = torch.ones(N, S, dtype=torch.bool)
    yield call(same, memory, memory, need_weights=False, key_padding_mask=blind)


def _attention(g: Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    def x(*shape: int) -> Tensor:
        return normal(g, dtype, *shape)

    q, k, v = x(2, 4, 3, 5), x(2, 2, 6, 5), x(2, 2, 6, 4)
    yield (q, k, v), {"enable_gqa": True}
    yield (q, k, v), {"enable_gqa": True, "is_causal": True, "scale": 0.3}
    k, v = x(2, 4, 6, 5), x(2, 4, 6, 4)
    yield (q, k, v, x(6)), {}
    yield (q, k, v, x(4, 1, 6)), {}
    yield (q, k, v, ~_keys_left(g, 2, 1, 3, 6)), {"dropout_p": 0.3}
    yield (q, k, v, torch.zeros(3, 6, dtype=torch.bool)), {}
    yield (x(3, 5), x(6, 5), x(6, 5)), {}
    yield (x(1, 5), x(1, 5), x(1, 5)), {"is_causal": True}
    yield (x(2, 0, 5), x(2, 6, 5), x(2, 6, 5)), {}


# --- modules ------------------------------------------------------------------------------------


def _multi_head_module(g: Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    def x(*shape: int) -> Tensor:
        return normal(g, dtype, *shape)

    yield (E, HEADS), {"dropout": 0.3}, (x(L, N, E), x(S, N, E), x(S, N, E))
    yield (E, HEADS), {"dropout": 0.3}, (x(L, N, E), x(S, N, E), x(S, N, E), None, False)
    own = x(N, L, E)
    yield (E, HEADS), {"batch_first": True}, (own, own, own, _keys_left(g, N, L), False, _causal(L))
    yield (E, HEADS), {"kdim": 3, "vdim": 2, "bias": False}, (x(L, N, E), x(S, N, 3), x(S, N, 2))
    options = {"kdim": 3, "add_bias_kv": True, "add_zero_attn": True, "batch_first": True}
    yield (E, HEADS), options, (x(N, L, E), x(N, S, 3), x(N, S, E), x(N, S), True, x(L, S), False)
    yield (E, HEADS), {"batch_first": True}, (x(L, E), x(S, E), x(S, E), _keys_left(g, S))


def _fresh(kind: type[nn.Module], **options: Any) -> nn.Module:
    """A layer to be copied by what holds it, from random numbers of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return kind(E, HEADS, 7, **options)


def _encoder_layer(g: Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    def x(*shape: int) -> Tensor:
        return normal(g, dtype, *shape)

    for first in (False, True):
        options: dict[str, Any] = {"norm_first": first, "dropout": 0.3}
        yield (E, HEADS, 7), {**options, "activation": "gelu"}, (x(L, N, E),)
        options |= {"batch_first": True, "activation": nn.functional.gelu, "bias": False}
        yield (E, HEADS, 7), options, (x(N, L, E), _causal(L), _keys_left(g, N, L))
    smooth = {"dropout": 0.0, "activation": torch.tanh, "layer_norm_eps": 0.1}
    yield (E, HEADS, 7), smooth, (x(L, N, E), _causal(L), None, True)
    yield (E, HEADS, 7), {"dropout": 0.0, "activation": nn.SiLU()}, (x(L, E), x(L, L), x(L))


def _decoder_layer(g: Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    def x(*shape: int) -> Tensor:
        return normal(g, dtype, *shape)

    for first in (False, True):
        options = {"norm_first": first, "dropout": 0.3, "activation": nn.functional.silu}
        masks = (_causal(L), _keys_left(g, L, S), _keys_left(g, N, L), _keys_left(g, N, S), False, False)
        yield (E, HEADS, 7), options, (x(L, N, E), x(S, N, E), *masks)
    yield (E, HEADS, 7), {"dropout": 0.0}, (x(L, E), x(S, E), _causal(L), None, None, None, True)


def _encoder(g: Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    def x(*shape: int) -> Tensor:
        return normal(g, dtype, *shape)

    layer = _fresh(nn.TransformerEncoderLayer, dropout=0.2, batch_first=True)
    yield (layer, 2), {"norm": nn.LayerNorm(E)}, (x(N, L, E), None, _keys_left(g, N, L))
    yield (layer, 2), {"enable_nested_tensor": False}, (x(N, L, E), _causal(L), None)
    layer = _fresh(nn.TransformerEncoderLayer, dropout=0.0, norm_first=True, activation="gelu")
    options = {"norm": nn.RMSNorm(E), "enable_nested_tensor": False}
    yield (layer, 1), options, (x(L, N, E), _causal(L), None, True)


def _decoder(g: Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    def x(*shape: int) -> Tensor:
        return normal(g, dtype, *shape)

    layer = _fresh(nn.TransformerDecoderLayer, dropout=0.2)
    yield (layer, 2), {}, (x(L, N, E), x(S, N, E))
    causal = torch.zeros(L, L, dtype=dtype).masked_fill(_causal(L), -torch.inf)
    yield (layer, 2), {"norm": nn.LayerNorm(E)}, (x(L, N, E), x(S, N, E), causal)
    layer = _fresh(nn.TransformerDecoderLayer, dropout=0.0, norm_first=True, batch_first=True, bias=False)
    masks = (_causal(L), _keys_left(g, L, S), _keys_left(g, N, L), _keys_left(g, N, S))
    yield (layer, 1), {}, (x(N, L, E), x(N, S, E), *masks)
    yield (layer, 1), {}, (x(L, E), x(S, E), x(L, L))


def _transformer(g: Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    def x(*shape: int) -> Tensor:
        return normal(g, dtype, *shape)

    sizes = {"num_encoder_layers": 1, "num_decoder_layers": 2, "dim_feedforward": 7}
    masks = (_causal(S), _causal(L), None, _keys_left(g, N, S), _keys_left(g, N, L), _keys_left(g, N, S))
    yield (E, HEADS), {**sizes, "dropout": 0.3}, (x(S, N, E), x(L, N, E), *masks)
    options = {**sizes, "dropout": 0.3, "batch_first": True, "norm_first": True, "activation": "gelu"}
    yield (E, HEADS), options, (x(N, S, E), x(N, L, E), None, _causal(L))


FUNCTIONS: Functions = {
    "multi_head_attention_forward": _multi_head,
    "scaled_dot_product_attention": _attention,
}
MODULES: Modules = {
    "MultiheadAttention": _multi_head_module,
    "TransformerEncoderLayer": _encoder_layer,
    "TransformerDecoderLayer": _decoder_layer,
    "TransformerEncoder": _encoder,
    "TransformerDecoder": _decoder,
    "Transformer": _transformer,
}
