"""y = a v,  a = p ⊙ r,  p = softmax(s),  s = scale q kᵀ + attn_mask

Shapes.  q (..., L, E), L queries; k (..., S, E), S keys; v (..., S, F), a value for each key; y (..., L, F).
s (scores), p (probabilities), r (dropout) and a are (..., L, S), a row for each query, over the keys;
attn_mask and dropout_mask broadcast to that.  The leading axes (batch, heads) broadcast together.
ᵀ exchanges the last two axes, ⊙ multiplies element by element, softmax goes along each row.

Forward.
p           as derived in attention_weights, where scale and attn_mask are explained.
is_causal   query i sees the keys j ≤ i only: a mask of bools, and no other may be given besides.
r           1 without dropout_mask; else dropout_mask/(1 - dropout_p), the mask (bools, True keeps)
            drawn by the caller.  With dropout_p = 1 nothing is kept, r = 0.
enable_gqa  q has g times as many heads (axis -3) as k and v: g heads of q in a row share one of k and v.
A row whose keys are all masked has y = 0 (PyTorch's convention; softmax of -∞ alone would be NaN):
its mask is left out, and its y set to the constant 0.

Chain rule.  dy is ∂L/∂y.  From the last step back to the first (⟨.⟩ is a sum over each row, along S):
    y = a v          dv = aᵀ dy,  da = dy vᵀ                    derived in matmul
    a = p ⊙ r        dp = da ⊙ r                                r is constant
    p = softmax(s)   ds = p ⊙ (dp - ⟨dp ⊙ p⟩)                   derived in attention_weights, and so are
    s = scale q kᵀ   dq = scale ds k,  dk = scale dsᵀ q
    s = ... + mask   dmask = ds
A masked key has p = 0, so ds = 0: nothing flows through it.  Nor through a row masked whole, whose
y is constant: its dy is replaced by 0.
A head of k and v shared by g heads of q was copied g times, and gets the sum of their gradients.

Result.  dq, dk, dv and, for a mask of floats, dmask, as above.  Where leading axes or a mask were
broadcast, the gradient is summed over the copies (after ``backward``, by ``_arrays.unbroadcast``).

Kinks: none.  (Where the mask is -∞, its gradient is 0, in PyTorch too.)
Errors: axes that do not match, is_causal together with attn_mask, a mask of integers, dropout_p
without a mask.
Source: Vaswani et al. 2017, Attention is all you need, section 3.2.1; Ainslie et al. 2023 (enable_gqa);
PyTorch documentation, torch.nn.functional.scaled_dot_product_attention.
"""

from handgrad._arrays import is_floating, namespace
from handgrad._cases import case, mask, normal
from handgrad._derivation import register
from handgrad.derivations import attention_weights
from handgrad.derivations._attention import heads_sharing, require_attention, share, sum_shared

INF = float("inf")


def forward(q, k, v, attn_mask=None, dropout_mask=None, *,
            dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):  # fmt: skip
    require_attention(q, k, v, attn_mask, dropout_mask, dropout_p, is_causal, enable_gqa)
    xp = namespace(q)
    groups = (heads_sharing(q, k), heads_sharing(q, v)) if enable_gqa else (1, 1)
    k, v = share(k, groups[0]), share(v, groups[1])
    blind = None  # the queries that see no key at all
    if is_causal:
        attn_mask = _causal(xp, q, k)
    elif attn_mask is not None and is_floating(attn_mask):
        blind = xp.all(attn_mask == -INF, axis=-1, keepdims=True)
        attn_mask = xp.where(blind, 0, attn_mask)
    elif attn_mask is not None:
        blind = ~xp.any(attn_mask, axis=-1, keepdims=True)
        attn_mask = attn_mask | blind
    p, (*_, added) = attention_weights.forward(q, k, attn_mask, scale=scale)
    y = _drop(p, dropout_mask, dropout_p) @ v
    y = y if blind is None else xp.where(blind, 0, y)
    return y, (q, k, v, p, blind, added, dropout_mask, groups)


def backward(dy, residuals, needs, *, dropout_p=0.0, scale=None, **_):
    # needs: which gradients are wanted. a and da have no names, which would keep them in memory
    q, k, v, p, blind, added, dropout_mask, groups = residuals
    if blind is not None:
        dy = namespace(dy).where(blind, 0, dy)
    dq = dk = dv = dmask = None
    if needs[2]:
        dv = sum_shared(_drop(p, dropout_mask, dropout_p).mT @ dy, groups[1])  # aᵀ dy
    if needs[0] or needs[1] or (added and needs[3]):
        dp = _drop(dy @ v.mT, dropout_mask, dropout_p)  # da ⊙ r
        wanted = (needs[0], needs[1], added and needs[3])
        dq, dk, dmask = attention_weights.backward(dp, (q, k, p, added), wanted, scale=scale)
        dk = sum_shared(dk, groups[0]) if needs[1] else None
    return dq, dk, dv, dmask, None


def _causal(xp, q, k):
    """(L, S) of bools: query i sees key j where j <= i."""
    queries = xp.arange(q.shape[-2], device=q.device)
    keys = xp.arange(k.shape[-2], device=q.device)
    return keys <= queries[:, None]


def _drop(p, dropout_mask, dropout_p):
    """p ⊙ r; da ⊙ r too."""
    if dropout_mask is None:
        return p
    kept = 1 / (1 - dropout_p) if dropout_p < 1 else 0.0
    return namespace(p).where(dropout_mask, p * kept, 0)


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
        case("k and v shared otherwise", normal(2, 6, 4, 5), normal(2, 2, 3, 5), normal(2, 3, 3, 4),
             enable_gqa=True),
        case("shared heads, dropout", normal(4, 3, 2), normal(2, 3, 2), normal(2, 3, 2), None,
             mask(4, 3, 3, keep=0.75), enable_gqa=True, is_causal=True, dropout_p=0.25),
        case("large scores", normal(3, 4, scale=12.0), normal(3, 4, scale=12.0), normal(3, 2)),
        case("one key", normal(2, 3, 4), normal(2, 1, 4), normal(2, 1, 4)),
    ],
)  # fmt: skip
