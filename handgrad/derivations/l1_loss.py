"""L = mean (or sum) of w |x - t|

Shapes.  x (input) and t (target), broadcast together to (...); w (weight) of the shape of x, or
absent (1 everywhere); L (), or (...) for reduction "none". The mean divides by the sum of w,
which without w is the number of elements; it is NaN where that is 0.

Chain rule.  For one element l = |x - t|:  ∂l/∂x = sign(x - t),  ∂l/∂t = -sign(x - t), where the sign of a
complex number is its direction z/|z|.
dL is what arrives (``dy`` in the code). What of it reaches each l and each w (``_losses`` derives it):
    mean           dl = w dL / Σ w,  dw = (l - L) dL / Σ w      the quotient rule for L = Σ w l / Σ w
    sum, "none"    dl = w dL,        dw = l dL

Result.  dx = sign(x - t) dl,  dt = -dx.

Kink.  At x = t the slope jumps from -1 to 1 and every value between is a subgradient;
PyTorch's convention, and ours, is 0.
Errors: shapes that do not broadcast, w not of the shape of x, an unknown reduction.
Source: PyTorch documentation, torch.nn.functional.l1_loss.
"""

from handgrad._arrays import namespace, sgn
from handgrad._cases import case, exactly, normal, uniform
from handgrad._derivation import register
from handgrad.derivations._losses import REDUCTIONS, reduce_weighted, spread_weighted


def forward(x, t, w=None, *, reduction="mean"):
    e = x - t
    return reduce_weighted(namespace(e).abs(e), w, x.shape, reduction), (x, t, w)


def backward(dy, residuals, *, reduction="mean"):
    x, t, w = residuals
    e = x - t
    xp = namespace(e)
    dl, dw = spread_weighted(dy, xp.abs(e), w, reduction)
    dx = sgn(e) * dl
    return dx, -dx, dw


def fit(rng, shape):
    """On any value, with a random target, and weights or none."""
    w = uniform(*shape, low=0.2, high=2.0) if rng.integers(2) else None
    return case("fit", normal(*shape), normal(*shape), w, reduction=str(rng.choice(REDUCTIONS)))


register(
    forward,
    backward,
    torch="torch.nn.functional.l1_loss",
    reference=lambda torch, x, t, w=None, **o: torch.nn.functional.l1_loss(x, t, weight=w, **o),
    autocast="loss",
    fit=fit,
    cases=[
        case("mean", normal(4, 3), normal(4, 3)),
        case("sum", normal(4, 3), normal(4, 3), reduction="sum"),
        case("none", normal(4, 3), normal(4, 3), reduction="none"),
        case("numbers", normal(), normal()),
        case("weighted mean", normal(4, 3), normal(4, 3), uniform(4, 3, low=0.2)),
        case("weighted sum", normal(4, 3), normal(4, 3), uniform(4, 3, low=0.2), reduction="sum"),
        case("weighted none", normal(4, 3), normal(4, 3), uniform(4, 3, low=0.2), reduction="none"),
        case("at the kink", exactly([1.0, -2.0, 3.0]), exactly([1.0, 0.0, 3.0]), kink=True),
    ],
)
