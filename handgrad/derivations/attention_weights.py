"""p = softmax(s),  s = scale q kᵀ + attn_mask

Shapes.  q (..., L, E), L queries; k (..., S, E), S keys; s (scores) and p (..., L, S), a row for each query,
over the keys; attn_mask broadcasts to that. The leading axes (batch, heads) broadcast together.
ᵀ exchanges the last two axes, softmax goes along each row.

Forward.
scale      1/√E if None: where the entries of q and k are independent with mean 0 and variance 1,
           the sum q kᵀ over E products has variance E, and s again 1.
attn_mask  of bools: False takes the key out, s = -∞.  Of floats: added to s.
A row whose keys are all masked is NaN, as softmax of -∞ alone is.

Chain rule.  dp is ∂L/∂p.  From the last step back to the first (⟨.⟩ is a sum over each row, along S):
    p = softmax(s)   ds = p ⊙ (dp - ⟨dp ⊙ p⟩)                   derived in softmax
    s = scale q kᵀ   dq = scale ds k,  dk = scale dsᵀ q         derived in matmul
    s = ... + mask   dmask = ds
A masked key has p = 0, so ds = 0: nothing flows through it.

Result.  dq, dk and, for a mask of floats, dmask, as above; summed over the copies where leading axes or a
mask were broadcast (after ``backward``, by ``_arrays.unbroadcast``).

Kinks: none.  (Where the mask is -∞, its gradient is 0, in PyTorch too.)
Errors: axes that do not match, a mask of integers.
Source: Vaswani et al. 2017, Attention is all you need, section 3.2.1; PyTorch documentation,
torch.nn.MultiheadAttention, the second output.
"""

import math

from handgrad._arrays import is_floating, namespace
from handgrad._cases import case, mask, normal
from handgrad._derivation import register
from handgrad.derivations import softmax
from handgrad.derivations._attention import require_mask, require_queries

INF = float("inf")


def forward(q, k, attn_mask=None, *, scale=None):
    require_queries(q, k)
    s = (q @ k.mT) * _scale(q, scale)
    added = False
    if attn_mask is not None:
        require_mask(attn_mask, tuple(s.shape))
        added = is_floating(attn_mask)
        s = s + attn_mask if added else namespace(q).where(attn_mask, s, -INF)
    p, _ = softmax.forward(s)
    return p, (q, k, p, added)


def backward(dp, residuals, needs, *, scale=None):
    # needs: which gradients are wanted
    q, k, p, added = residuals
    if not (needs[0] or needs[1] or (added and needs[2])):
        return None, None, None
    ds = softmax.backward(dp, (p,))
    dq = (ds @ k) * _scale(q, scale) if needs[0] else None
    dk = (ds.mT @ q) * _scale(q, scale) if needs[1] else None
    return dq, dk, ds if added else None


def _scale(q, scale):
    return scale if scale is not None else 1 / math.sqrt(max(q.shape[-1], 1))


def reference(torch, q, k, attn_mask=None, *, scale=None):
    """Attention to values that are the rows of the identity: y = p."""
    one = torch.eye(k.shape[-2], dtype=q.dtype).expand(*k.shape[:-1], k.shape[-2])
    return torch.nn.functional.scaled_dot_product_attention(q, k, one, attn_mask, scale=scale)


Q, K = normal(2, 3, 4, 5), normal(2, 3, 6, 5)

register(
    forward,
    backward,
    torch="torch.nn.MultiheadAttention",
    reference=reference,
    differentiable=("q", "k", "attn_mask"),
    autocast="half",
    cases=[
        case("heads", Q, K),
        case("one head", normal(4, 5), normal(6, 5)),
        case("scale", Q, K, scale=0.3),
        case("bool mask", Q, K, mask(4, 6, keep=0.9)),
        case("float mask", Q, K, normal(3, 4, 6)),
        case("float mask, broadcast", Q, K, normal(2, 1, 1, 6)),
        case("broadcast batch", Q, normal(1, 3, 6, 5)),
        case("large scores", normal(3, 4, scale=12.0), normal(3, 4, scale=12.0)),
    ],
)
