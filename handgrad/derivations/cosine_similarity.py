"""y = Σ_i a_i b_i / (max(‖a‖, ε) max(‖b‖, ε)) along one axis

Shapes.  a and b broadcast together to (..., n, ...), n along the axis ``dim``; y (...) without it.

Forward.  With â = a / max(‖a‖, ε) and b̂ likewise, y = Σ_i â_i b̂_i: no product of the two norms, which
might overflow where y does not.

Chain rule.  ‖a‖ has the slope a/‖a‖, so with m = max(‖a‖, ε)
    ∂y/∂a_k = b̂_k/m - Σ_i a_i b̂_i / m² · a_k/‖a‖ = (b̂_k - y a_k/‖a‖) / m
PyTorch's rule, and ours, is to let the slope of ‖a‖ pass where ε holds too; at a = 0 it counts as 0.

Result.  da = (b̂ - y a/‖a‖) dy / max(‖a‖, ε),  db = (â - y b/‖b‖) dy / max(‖b‖, ε).

Kinks.  At ‖a‖ < ε, where this is a rule and no derivative.
Errors: shapes that do not broadcast, an axis that they do not have.
Source: PyTorch documentation, torch.nn.CosineSimilarity.
"""

import numpy as np

from handgrad._arrays import namespace, normalize_axes
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad._primitives_losses import constant
from handgrad.derivations._distances import p_norm, through_p_norm
from handgrad.derivations._fits import some_axis


def forward(a, b, *, dim=1, eps=1e-8):
    xp = namespace(a)
    (a2, b2), axis = _together(a, b, dim)
    y = xp.sum(_unit(a2, axis, eps)[0] * _unit(b2, axis, eps)[0], axis=axis)
    return y, (a, b, y)


def backward(dy, residuals, *, dim=1, eps=1e-8):
    a, b, y = residuals
    xp = namespace(dy)
    (a, b), axis = _together(a, b, dim)
    y, dy = xp.expand_dims(y, axis=axis), xp.expand_dims(dy, axis=axis)
    (a_hat, a_norm, a_bound), (b_hat, b_norm, b_bound) = _unit(a, axis, eps), _unit(b, axis, eps)
    da = b_hat * dy / a_bound - through_p_norm(y * dy / a_bound, a, a_norm, 2)
    db = a_hat * dy / b_bound - through_p_norm(y * dy / b_bound, b, b_norm, 2)
    return da, db


def _unit(a, axis, eps):
    """â, ‖a‖ and max(‖a‖, ε), whose slope is that of ‖a‖ where ε holds too."""
    xp = namespace(a)
    norm = p_norm(a, 2, axis, keepdims=True)
    bound = xp.where(norm < eps, eps + (norm - constant(norm)), norm)
    return a / bound, norm, bound


def _together(a, b, dim):
    """Both in their common shape, and the axis in it."""
    xp = namespace(a)
    shape = np.broadcast_shapes(tuple(a.shape), tuple(b.shape)) or (1,)  # a number is a vector of one
    return [xp.broadcast_to(v, shape) for v in (a, b)], normalize_axes(dim, len(shape))[0]


def fit(rng, shape):
    """On any value with an axis, against a random one."""
    return case("fit", normal(*shape), normal(*shape), dim=some_axis(rng, shape)) if shape else None


register(
    forward,
    backward,
    torch="torch.nn.functional.cosine_similarity",
    autocast="float32",
    fit=fit,
    cases=[
        case("rows", normal(4, 3), normal(4, 3)),
        case("columns", normal(4, 3), normal(4, 3), dim=0),
        case("last axis", normal(2, 4, 3), normal(2, 4, 3), dim=-1),
        case("broadcast", normal(4, 3), normal(3), dim=-1),
        case("images", normal(2, 4, 3), normal(2, 1, 3)),
        case("far apart in size", normal(4, 3, scale=1e3), normal(4, 3, scale=1e-3)),
        case("below ε", normal(4, 3, scale=0.1), normal(4, 3), eps=2.0, kink=True),
        case(
            "a vector of zeros",
            exactly([[0.0, 0.0], [1.0, 2.0]]),
            exactly([[1.0, 3.0], [0.0, 0.0]]),
            kink=True,
        ),
    ],
)
