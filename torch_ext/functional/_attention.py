"""Attention and transformers: the names of ``torch.nn.functional``."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from torch_ext._autocast import device_type, is_on
from torch_ext.functional._arithmetic import add, concat, matmul, mean, reshape
from torch_ext.functional._common import apply, need_tensors
from torch_ext.functional._convolutions import linear
from torch_ext.functional._dropouts import dropout, keep_mask
from torch_ext.functional._shapes import pad

__all__ = [
    "multi_head_attention_forward",
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
    _need_dtypes(query, attn_mask, torch.float32)
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
    # a mask of float32 does not make queries of 16 bits wider
    return y.to(query.dtype) if y.dtype.itemsize > query.dtype.itemsize else y


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """``torch.nn.functional.multi_head_attention_forward``: linear maps, and attention between them.

    A query whose keys are all masked gets 0 from attention, and NaN with ``need_weights`` (both PyTorch's).
    """
    need_tensors("multi-head attention", query=query, key=key, value=value)
    batched = _check_axes(query, key, value, key_padding_mask, attn_mask, num_heads)
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "is_causal is a hint about attn_mask; received no attn_mask; give the causal mask too, as "
            "torch.nn.Transformer.generate_square_subsequent_mask makes it."
        )
    _warn_of_two_kinds(attn_mask, key_padding_mask)
    padding = _added("key_padding_mask", key_padding_mask, query.dtype)
    is_causal = is_causal and padding is None and not need_weights  # else the mask itself is needed
    mask = None if is_causal else _added("attn_mask", attn_mask, query.dtype)
    _check_sizes(query, key, value, embed_dim_to_check, num_heads, use_separate_proj_weight)

    if use_separate_proj_weight:
        weights = (q_proj_weight, k_proj_weight, v_proj_weight)
        q, k, v = _projected_apart((query, key, value), weights, in_proj_bias)
    else:
        q, k, v = _projected(query, key, value, in_proj_weight, in_proj_bias)
    if not batched:
        q, k, v = q.unsqueeze(1), k.unsqueeze(1), v.unsqueeze(1)
        padding = None if padding is None else padding.unsqueeze(0)
    length, n = q.shape[:2]
    mask = _mask_of_heads(mask, (n, num_heads, length, k.shape[0]))

    # from here on (batch, head, position, feature), and masks that broadcast to (batch, head, query, key)
    q, k, v = (_split(x, n, num_heads) for x in (q, k, v))
    more = 0  # keys that no mask knows
    if bias_k is not None or bias_v is not None:
        fixed = static_k is not None or static_v is not None
        _must(not fixed, "bias_k and bias_v need keys that are projected", "static ones", "leave either away")
        k = concat([k, _repeated(_given("bias_k", bias_k), k)], dim=2)
        v = concat([v, _repeated(_given("bias_v", bias_v), v)], dim=2)
        more += 1
    k = k if static_k is None else _static("static_k", static_k, q)
    v = v if static_v is None else _static("static_v", static_v, q)
    if add_zero_attn:
        k, v = (concat([x, x.new_zeros(*x.shape[:2], 1, x.shape[3])], dim=2) for x in (k, v))
        more += 1
    if more:
        mask, padding = (m if m is None else pad(m, (0, more)) for m in (mask, padding))
    if padding is not None:
        rule = "key_padding_mask must be (batch, keys), for keys with no axis of a batch (keys,)"
        _must(padding.shape == (n, k.shape[2]), rule, str(tuple(padding.shape)), f"make it {(n, k.shape[2])}")
        padding = padding[:, None, None, :]
        mask = padding if mask is None else add(mask, padding)

    dropout_p = dropout_p if training else 0.0
    p = None
    if need_weights:
        _need_dtypes(query, mask)
        p = dropout(_as_softmax(apply("attention_weights", q, k, mask)), dropout_p)
        y = matmul(p, v)
        p = mean(p, dim=1) if average_attn_weights else p
        p = p if batched else p.squeeze(0)
    else:
        y = scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal)
    y = linear(reshape(y.permute(2, 0, 1, 3), (length, n, -1)), out_proj_weight, out_proj_bias)
    return (y if batched else y.squeeze(1)), p


def _as_softmax(p: Tensor) -> Tensor:
    """Autocast has softmax in float32 on accelerators, and not on the CPU."""
    device = device_type((p,))
    return p.float() if device != "cpu" and is_on(device) else p


# --- projections --------------------------------------------------------------------------


def _projected(x: Tensor, y: Tensor, z: Tensor, weight: Tensor | None, b: Tensor | None) -> Sequence[Tensor]:
    """Queries, keys and values of x, y and z by one weight (3 E, E); one product where these are the same."""
    e, w = x.shape[-1], _given("in_proj_weight", weight)
    if y is not z:
        biases = (None, None, None) if b is None else b.chunk(3)
        return [linear(*part) for part in zip((x, y, z), w.chunk(3), biases, strict=True)]
    if x is y:
        return linear(x, w, b).chunk(3, dim=-1)
    w_first, w_rest = torch.split(w, [e, 2 * e])
    b_first, b_rest = (None, None) if b is None else torch.split(b, [e, 2 * e])
    return linear(x, w_first, b_first), *linear(y, w_rest, b_rest).chunk(2, dim=-1)


def _projected_apart(
    inputs: Sequence[Tensor], weights: Sequence[Tensor | None], bias: Tensor | None
) -> Sequence[Tensor]:
    """Queries, keys and values, each by a weight of its own."""
    e = inputs[0].shape[-1]
    fits = bias is None or bias.shape == (3 * e,)
    _must(fits, f"in_proj_bias must be {(3 * e,)}", _shape(bias), "change it")
    biases = (None, None, None) if bias is None else bias.chunk(3)
    found = []
    for name, x, weight, b in zip("qkv", inputs, weights, biases, strict=True):
        w = _given(f"{name}_proj_weight", weight)
        rule = f"{name}_proj_weight must be (E, features of its input)"
        _must(w.shape == (e, x.shape[-1]), rule, f"{_shape(w)}, not {(e, x.shape[-1])}", "change it")
        found.append(linear(x, w, b))
    return found


def _split(x: Tensor, n: int, heads: int) -> Tensor:
    """(positions, batch, heads d) -> (batch, heads, positions, d)."""
    if x.shape[1] != n:
        raise RuntimeError(f"queries, keys and values need the same batch; received {n} and {x.shape[1]}.")
    y: Tensor = x.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3)  # type: ignore[no-untyped-call]
    return y


def _repeated(b: Tensor, x: Tensor) -> Tensor:
    """A bias (1, 1, heads d) as one more position for each of the batch."""
    n, heads, _, d = x.shape
    return b.view(1, heads, 1, d).expand(n, -1, -1, -1)


def _static(name: str, x: Tensor, q: Tensor) -> Tensor:
    n, heads, _, d = q.shape
    fits = x.ndim == 3 and x.shape[0] == n * heads and x.shape[2] == d
    _must(
        fits,
        f"{name} must be (batch heads, keys, E/heads) = ({n * heads}, keys, {d})",
        _shape(x),
        "change it",
    )
    return _with_heads(x, n, heads)


# --- masks --------------------------------------------------------------------------------


def _added(name: str, mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """A mask to be added: -∞ where a mask of bools is True."""
    if mask is None or mask.is_floating_point():
        return mask
    _must(mask.dtype == torch.bool, f"{name} holds bools or floats", str(mask.dtype), "convert it")
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -math.inf)


def _mask_of_heads(mask: Tensor | None, shape: tuple[int, int, int, int]) -> Tensor | None:
    """(queries, keys), or (batch heads, queries, keys), with four axes."""
    if mask is None:
        return None
    n, heads, queries, keys = shape
    wanted = (queries, keys) if mask.ndim == 2 else (n * heads, queries, keys)
    if mask.shape != wanted:
        raise RuntimeError(f"attn_mask must be {wanted}, queries by keys; received {tuple(mask.shape)}.")
    return mask[None, None] if mask.ndim == 2 else _with_heads(mask, n, heads)


def _with_heads(x: Tensor, n: int, heads: int) -> Tensor:
    """(batch heads, ...) -> (batch, heads, ...)."""
    return x.unflatten(0, (n, heads))  # type: ignore[no-any-return, no-untyped-call]


def _need_dtypes(query: Tensor, mask: Tensor | None, *others: torch.dtype) -> None:
    """Raise RuntimeError for a mask of other floats than the query's. Autocast casts both."""
    if mask is None or not mask.is_floating_point() or mask.dtype in (query.dtype, *others):
        return
    if not is_on(device_type((query,))):
        raise RuntimeError(
            f"a mask of floats must have the query's dtype, {query.dtype}; received {mask.dtype}; convert it."
        )


def _warn_of_two_kinds(mask: Tensor | None, padding: Tensor | None) -> None:
    if padding is not None and mask is not None and padding.dtype != mask.dtype:
        text = (
            f"deprecated: key_padding_mask of {padding.dtype} with attn_mask of {mask.dtype}; use one dtype."
        )
        warnings.warn(text, stacklevel=4)


# --- checks -------------------------------------------------------------------------------


def _must(holds: bool, rule: str, received: str, do: str) -> None:
    """AssertionError, as multi-head attention raises it."""
    if not holds:
        raise AssertionError(f"{rule}; received {received}; {do}.")


def _given(name: str, x: Tensor | None) -> Tensor:
    if x is None:
        raise AssertionError(f"{name} belongs to what else is given; received None; give it too.")
    return x


def _shape(x: Tensor | None) -> str:
    return "None" if x is None else str(tuple(x.shape))


def _check_axes(
    query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, mask: Tensor | None, heads: int
) -> bool:
    """Whether there is an axis of a batch."""
    d = query.ndim
    _must(d in (2, 3), "query must be (L, E) or, with a batch, (L, N, E)", _shape(query), "reshape it")
    shapes = ", ".join(map(_shape, (query, key, value)))
    _must(key.ndim == d == value.ndim, "query, key and value need as many axes", shapes, "add an axis")
    fits = padding is None or padding.ndim == d - 1
    _must(fits, f"key_padding_mask needs {d - 1} axes", _shape(padding), "add or drop an axis")
    _must(mask is None or mask.ndim in (2, 3), "attn_mask needs 2 or 3 axes", _shape(mask), "add or drop one")
    if mask is not None and mask.ndim == 3 and d == 2:
        wanted = (heads, query.shape[0], key.shape[0])
        _must(mask.shape == wanted, f"attn_mask must be {wanted}", _shape(mask), "change it")
    return d == 3


def _check_sizes(
    query: Tensor, key: Tensor, value: Tensor, embed_dim: int, heads: int, separate: bool
) -> None:
    e = query.shape[-1]
    _must(e == embed_dim, f"query must have {embed_dim} features", str(e), "change it or embed_dim")
    _must(e % heads == 0, "heads share the features equally", f"{heads} heads for {e} features", "change one")
    same = key.shape[:-1] == value.shape[:-1] if separate else key.shape == value.shape
    _must(same, "key and value must have the same shape", f"{_shape(key)}, {_shape(value)}", "change one")
