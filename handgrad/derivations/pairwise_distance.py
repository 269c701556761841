"""y = ‖a - b + ε‖_p along the last axis

Shapes.  a and b broadcast together to (..., n); y (...), or (..., 1) for ``keepdim``.

Forward.  PyTorch adds ε to each difference, so that equal vectors have a slope too; we do the same.

Chain rule.  With e = a - b + ε and y = ‖e‖_p, ``_distances`` derives ∂y/∂e; and ∂e/∂a = 1, ∂e/∂b = -1.

Result.  da = ∂y/∂e dy,  db = -da;  for p = 2 da = e/y dy.

Kinks.  At e = 0, and for p = ∞ where several |e_i| are the largest: see ``_distances``.
Errors: shapes that do not broadcast, a negative p.
Source: PyTorch documentation, torch.nn.PairwiseDistance.
"""

from math import inf

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad.derivations._distances import p_norm, through_p_norm
from handgrad.derivations._fits import second_value


def forward(a, b, *, p=2.0, eps=1e-6, keepdim=False):
    y = p_norm(a - b + eps, p, keepdims=keepdim)
    return y, (a, b, y)


def backward(dy, residuals, *, p=2.0, eps=1e-6, keepdim=False):
    a, b, y = residuals
    if not keepdim:
        xp = namespace(dy)
        y, dy = xp.expand_dims(y, axis=-1), xp.expand_dims(dy, axis=-1)
    da = through_p_norm(dy, a - b + eps, y, p)
    return da, -da


def fit(rng, shape):
    """On any value with an axis, against a random one."""
    if not shape or shape[-1] == 0:
        return None
    options = {"p": float(rng.choice([1.0, 1.5, 2.0, 3.0, inf])), "keepdim": bool(rng.integers(2))}
    return case("fit", normal(*shape), second_value(rng, shape), **options)


register(
    forward,
    backward,
    torch="torch.nn.functional.pairwise_distance",
    fit=fit,
    cases=[
        case("rows", normal(4, 3), normal(4, 3)),
        case("axis kept", normal(2, 4, 3), normal(4, 3), keepdim=True),
        case("one vector", normal(3), normal(3)),
        case("p = 1", normal(4, 3), normal(3), p=1.0),
        case("p = 1.5", normal(4, 3), normal(4, 3), p=1.5),
        case("p = 3", normal(4, 3), normal(4, 3), p=3.0, eps=0.25),
        case("largest difference", normal(4, 3), normal(4, 3), p=inf),
        case("count of differences", normal(4, 3), normal(4, 3), p=0.0),
        case("equal vectors", exactly([[1.0, 2.0], [3.0, 4.0]]), exactly([[1.0, 2.0], [3.0, 4.5]]), eps=0.25),
        case("equal vectors, no ε", exactly([[1.0, 2.0]]), exactly([[1.0, 2.0]]), eps=0.0, kink=True),
    ],
)
