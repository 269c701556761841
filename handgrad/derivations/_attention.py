"""What attention needs beside its formulas: heads that several queries share, and checks of the input."""

from handgrad._arrays import is_floating, namespace
from handgrad._errors import require


def heads_sharing(q, k):
    """How many heads of q (axis -3) share one of k."""
    return q.shape[-3] // k.shape[-3]


def share(k, g):
    """(..., heads, S, E) -> (..., g heads, S, E): each head g times in a row."""
    if g == 1:
        return k
    xp = namespace(k)
    *lead, heads, rows, n = k.shape
    repeated = xp.broadcast_to(xp.expand_dims(k, axis=-3), (*lead, heads, g, rows, n))
    return xp.reshape(repeated, (*lead, heads * g, rows, n))


def sum_shared(dk, g):
    """The transpose of :func:`share`: the g heads that one was copied to, added up."""
    if g == 1:
        return dk
    xp = namespace(dk)
    *lead, heads, rows, n = dk.shape
    return xp.sum(xp.reshape(dk, (*lead, heads // g, g, rows, n)), axis=-3)


def require_queries(q, k):
    """q and k have features of one length."""
    require(
        min(q.ndim, k.ndim) >= 2 and q.shape[-1] == k.shape[-1],
        "attention needs q (..., L, E) and k (..., S, E)",
        f"q {tuple(q.shape)}, k {tuple(k.shape)}",
        "make E match",
    )


def require_attention(q, k, v, attn_mask, dropout_mask, dropout_p, is_causal, enable_gqa):
    """q, k, v, masks and options fit each other."""
    shapes = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
    require(
        min(q.ndim, k.ndim, v.ndim) >= 2 and q.shape[-1] == k.shape[-1] and k.shape[-2] == v.shape[-2],
        "attention needs q (..., L, E), k (..., S, E) and v (..., S, F)",
        shapes,
        "make E and S match",
    )
    require(
        not enable_gqa
        or (
            min(q.ndim, k.ndim, v.ndim) >= 3
            and all(n.shape[-3] > 0 and q.shape[-3] % n.shape[-3] == 0 for n in (k, v))
        ),
        "enable_gqa needs the heads (axis -3) of k and v to divide those of q",
        shapes,
        "change the number of heads",
    )
    require(
        attn_mask is None or not is_causal,
        "is_causal is a mask already",
        "an attn_mask besides",
        "give one of the two",
    )
    require(
        dropout_p == 0 or (0 < dropout_p <= 1 and dropout_mask is not None),
        "dropout_p must be in [0, 1], and dropout needs its mask",
        f"dropout_p {dropout_p}, dropout_mask {'absent' if dropout_mask is None else 'given'}",
        "draw a dropout_mask of bools, True where p is kept",
    )


def require_mask(attn_mask, shape):
    """The mask holds bools or floats, and broadcasts to ``shape``, that of the scores."""
    require(
        is_floating(attn_mask) or namespace(attn_mask).isdtype(attn_mask.dtype, "bool"),
        "attn_mask must hold bools (True: take part) or floats (added)",
        f"{attn_mask.dtype}",
        "convert it",
    )
    last = shape[len(shape) - attn_mask.ndim :]
    require(
        attn_mask.ndim <= len(shape) and all(m in (1, n) for m, n in zip(attn_mask.shape, last, strict=True)),
        "attn_mask must broadcast to (..., L, S)",
        f"attn_mask {tuple(attn_mask.shape)} for {shape}",
        "drop or add axes",
    )
