"""y = a v,  a = p ⊙ r,  p = softmax(s),  s = scale q kᵀ + attn_mask

Shapes.  q (..., L, E), k (..., S, E), v (..., S, F); y (..., L, F).  s, p, a and r are (..., L, S),
attn_mask and dropout_mask broadcast to that.  The leading axes broadcast together.
scale is 1/√E if None: s then has the variance of one entry where those of q and k have variance 1.
attn_mask   of bools: False takes the key out, s = -inf.  Of floats: added to s.
is_causal   query i sees the keys j <= i only: a bool mask, and no other besides.
r           1 without dropout; else dropout_mask/(1 - dropout_p), the mask (bools, True keeps)
            drawn by the caller.
enable_gqa  q has g times as many heads (axis -3) as k and v: g queries share a head of k and v.

Forward.  A row whose keys are all masked has y = 0 (PyTorch's convention; softmax itself would
give NaN): its mask is left out, and its y set to the constant 0.

Chain rule.  With dy given (⟨.⟩ is a sum over one row, along S):
    y = a v          dv = aᵀ dy,  da = dy vᵀ
    a = p ⊙ r        dp = da ⊙ r
    p = softmax(s)   ds = p ⊙ (dp - ⟨dp ⊙ p⟩)         derived in softmax
    s = scale q kᵀ   dq = scale ds k,  dk = scale dsᵀ q
    s = ... + mask   dmask = ds, summed over the axes along which the mask was repeated
A masked key has p = 0, so ds = 0: nothing flows through it.  Nor through a row masked whole, whose
y is constant: its dy is left out.
A head of k and v shared by g queries gets the sum of their gradients.

Result.  dq, dk, dv and, for a mask of floats, dmask, as above.

Kinks: none.  (Where the mask is -inf, its gradient is 0, in PyTorch too.)
Errors: axes that do not match, is_causal together with attn_mask, a mask of integers, dropout_p
without a mask.
Source: Vaswani et al. 2017, Attention is all you need, section 3.2.1; Ainslie et al. 2023 (enable_gqa);
PyTorch documentation, torch.nn.functional.scaled_dot_product_attention.
"""

import math

from handgrad._arrays import is_floating, namespace
from handgrad._cases import case, mask, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad.derivations import softmax

INF = float("inf")


def forward(q, k, v, attn_mask=None, dropout_mask=None, *,
            dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):  # fmt: skip
    _check(q, k, v, attn_mask, dropout_mask, dropout_p, is_causal, enable_gqa)
    xp = namespace(q)
    groups = (_groups(q, k), _groups(q, v)) if enable_gqa else (1, 1)
    k, v = _share(k, groups[0]), _share(v, groups[1])
    s = (q * _scale(q, scale)) @ k.mT
    if is_causal:
        s = xp.where(_causal(xp, s), s, -INF)
    nothing, added = None, False  # nothing: the queries that see no key at all
    if attn_mask is not None:
        _check_mask(attn_mask, tuple(s.shape))
        added = is_floating(attn_mask)
        if added:
            nothing = xp.all(attn_mask == -INF, axis=-1, keepdims=True)
            s = s + xp.where(nothing, 0, attn_mask)
        else:
            nothing = ~xp.any(attn_mask, axis=-1, keepdims=True)
            s = xp.where(attn_mask | nothing, s, -INF)
    p, _ = softmax.forward(s)
    y = _drop(p, dropout_mask, dropout_p) @ v
    y = y if nothing is None else xp.where(nothing, 0, y)
    return y, (q, k, v, p, nothing, added, dropout_mask, groups)


def backward(dy, residuals, needs, *, dropout_p=0.0, scale=None, **_):
    q, k, v, p, nothing, added, dropout_mask, groups = residuals
    if nothing is not None:
        dy = namespace(dy).where(nothing, 0, dy)
    dq = dk = dv = dmask = None
    if needs[2]:
        dv = _sum_shared(_drop(p, dropout_mask, dropout_p).mT @ dy, groups[1])
    if needs[0] or needs[1] or (added and needs[3]):
        dp = _drop(dy @ v.mT, dropout_mask, dropout_p)
        ds = p * (dp - namespace(dp).sum(dp * p, axis=-1, keepdims=True))
        dq = (ds @ k) * _scale(q, scale) if needs[0] else None
        dk = _sum_shared(ds.mT @ (q * _scale(q, scale)), groups[0]) if needs[1] else None
        dmask = ds if added else None
    return dq, dk, dv, dmask, None


def _scale(q, scale):
    return scale if scale is not None else 1 / math.sqrt(max(q.shape[-1], 1))


def _causal(xp, s):
    """(L, S) of bools: query i sees key j where j <= i."""
    queries = xp.arange(s.shape[-2], device=s.device)
    keys = xp.arange(s.shape[-1], device=s.device)
    return keys <= queries[:, None]


def _drop(p, dropout_mask, dropout_p):
    """p ⊙ r."""
    if dropout_mask is None:
        return p
    kept = 1 / (1 - dropout_p) if dropout_p < 1 else 0.0
    return namespace(p).where(dropout_mask, p * kept, 0)


def _groups(q, k):
    """How many heads of q share one of k."""
    return q.shape[-3] // k.shape[-3]


def _share(k, g):
    """(..., heads, S, E) -> (..., g heads, S, E): each head g times in a row."""
    if g == 1:
        return k
    xp = namespace(k)
    *lead, heads, rows, n = k.shape
    repeated = xp.broadcast_to(xp.expand_dims(k, axis=-3), (*lead, heads, g, rows, n))
    return xp.reshape(repeated, (*lead, heads * g, rows, n))


def _sum_shared(dk, g):
    """The transpose of :func:`_share`."""
    if g == 1:
        return dk
    xp = namespace(dk)
    *lead, heads, rows, n = dk.shape
    return xp.sum(xp.reshape(dk, (*lead, heads // g, g, rows, n)), axis=-3)


def _check(q, k, v, attn_mask, dropout_mask, dropout_p, is_causal, enable_gqa):
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
        attn_mask is None or is_floating(attn_mask) or namespace(attn_mask).isdtype(attn_mask.dtype, "bool"),
        "attn_mask must hold bools (True: take part) or floats (added)",
        f"{getattr(attn_mask, 'dtype', None)}",
        "convert it",
    )
    require(
        dropout_p == 0 or (0 < dropout_p <= 1 and dropout_mask is not None),
        "dropout_p must be in [0, 1], and dropout needs its mask",
        f"dropout_p {dropout_p}, dropout_mask {'absent' if dropout_mask is None else 'given'}",
        "draw a dropout_mask of bools, True where p is kept",
    )


def _check_mask(attn_mask, shape):
    last = shape[len(shape) - attn_mask.ndim :]
    require(
        attn_mask.ndim <= len(shape) and all(m in (1, n) for m, n in zip(attn_mask.shape, last, strict=True)),
        "attn_mask must broadcast to (..., L, S)",
        f"attn_mask {tuple(attn_mask.shape)} for {shape}",
        "drop or add axes",
    )


def reference(torch, q, k, v, attn_mask=None, dropout_mask=None, *, dropout_p=0.0, **options):
    """PyTorch's own; with a mask for dropout, its p (attention to a v of ones) goes on from there."""
    attention = torch.nn.functional.scaled_dot_product_attention
    if dropout_mask is None:
        return attention(q, k, v, attn_mask, **options)
    one = torch.eye(k.shape[-2], dtype=q.dtype).expand(*k.shape[:-1], k.shape[-2])
    p = attention(q, k, one, attn_mask, **options)
    if options.get("enable_gqa"):
        v = v.repeat_interleave(q.shape[-3] // v.shape[-3], -3)
    return (p * dropout_mask / (1 - dropout_p)) @ v


def fit(rng, shape):
    """On any value (..., L, E) as queries, with keys and values of another length."""
    if len(shape) < 2 or 0 in shape:
        return None
    *lead, n_queries, e = shape
    n_keys, f = (int(n) for n in rng.integers(1, 6, 2))
    gqa = len(lead) > 0 and bool(rng.integers(2))
    if gqa:
        heads = int(rng.choice([h for h in range(1, lead[-1] + 1) if lead[-1] % h == 0]))
    shared = (*lead[:-1], heads) if gqa else tuple(lead)
    kind = rng.choice(["no", "causal", "bools", "floats"])
    weights = (*lead, n_queries, n_keys)
    masks = {"bools": mask(n_queries, n_keys, keep=0.7), "floats": normal(*weights)}
    p = float(rng.choice([0.0, 0.0, 0.25]))
    return case(
        "fit",
        normal(*shape),
        normal(*shared, n_keys, e),
        normal(*shared, n_keys, f),
        masks.get(str(kind)),
        mask(*weights, keep=1 - p) if p else None,
        dropout_p=p,
        is_causal=bool(kind == "causal"),
        scale=None if rng.integers(2) else float(rng.uniform(0.1, 1.0)),
        enable_gqa=gqa,
    )


Q, K, V = normal(2, 3, 4, 5), normal(2, 3, 6, 5), normal(2, 3, 6, 7)

register(
    forward,
    backward,
    torch="torch.nn.functional.scaled_dot_product_attention",
    reference=reference,
    differentiable=("q", "k", "v", "attn_mask"),
    autocast="half",
    fit=fit,
    cases=[
        case("heads", Q, K, V),
        case("one head", normal(4, 5), normal(6, 5), normal(6, 7)),
        case("scale", Q, K, V, scale=0.3),
        case("causal, more keys", Q, K, V, is_causal=True),
        case("causal, more queries", normal(2, 6, 5), normal(2, 3, 5), normal(2, 3, 5), is_causal=True),
        case("bool mask", Q, K, V, mask(2, 1, 4, 6)),
        case("float mask", Q, K, V, normal(3, 4, 6)),
        case("float mask, broadcast", Q, K, V, normal(2, 1, 1, 6)),
        case("mask of keys", normal(4, 5), normal(6, 5), normal(6, 7), normal(6)),
        case("rows masked whole", Q, K, V, mask(4, 6, keep=0.0)),
        case("dropout", Q, K, V, None, mask(2, 3, 4, 6, keep=0.75), dropout_p=0.25),
        case("dropout and mask", Q, K, V, normal(4, 6), mask(2, 3, 4, 6), dropout_p=0.5, scale=0.5),
        case("broadcast batch", Q, normal(1, 3, 6, 5), normal(6, 7)),
        case("shared heads", normal(2, 6, 4, 5), normal(2, 2, 3, 5), normal(2, 2, 3, 4), enable_gqa=True),
        case("shared heads, dropout", normal(4, 3, 2), normal(2, 3, 2), normal(2, 3, 2), None,
             mask(4, 3, 3, keep=0.75), enable_gqa=True, is_causal=True, dropout_p=0.25),
        case("large scores", normal(3, 4, scale=12.0), normal(3, 4, scale=12.0), normal(3, 2)),
        case("one key", normal(2, 3, 4), normal(2, 1, 4), normal(2, 1, 4)),
    ],
)  # fmt: skip
