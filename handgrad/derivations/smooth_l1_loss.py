"""L = mean (or sum) of l,  l = e²/(2 β) where |e| < β, else |e| - β/2,  with e = x - t

Shapes.  x (input) and t (target), broadcast together to (...); L (), or (...) for reduction "none".

Forward.  With m = min(|e|, β) both pieces are one formula, l = (m/β) (|e| - m/2): far out m = β, which
gives |e| - β/2, and near the centre m = |e|, which gives (|e|/β) |e|/2. β = 0 leaves |e|, the L1 loss.

Chain rule.  For one element, ∂l/∂e = e/β where |e| < β, else sign(e): the two meet at |e| = β,
where e/β = ±1. So ∂l/∂e = e/β, clipped to [-1, 1], and ∂e/∂x = 1, ∂e/∂t = -1.

Result.  dx = clip(e/β, -1, 1) dl,  dt = -dx,  where dL is what arrives (``dy`` in the code) and
dl = dL / number of elements for the mean, dL for the sum and "none".

Kinks: none for β > 0 (the second derivative jumps at |e| = β). For β = 0 the one of |e| at 0,
where PyTorch's convention, and ours, is the slope 0.
Errors: shapes that do not broadcast, a negative β, an unknown reduction.
Source: Girshick, Fast R-CNN (2015), equation 3; PyTorch documentation, torch.nn.functional.smooth_l1_loss.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad.derivations._losses import REDUCTIONS, reduce, spread


def forward(x, t, *, reduction="mean", beta=1.0):
    require(beta >= 0, "beta of smooth_l1_loss must not be negative", beta, "give 0 or a positive number")
    e = x - t
    xp = namespace(e)
    far = xp.abs(e)
    near = xp.minimum(far, beta)
    loss = near / beta * (far - near / 2) if beta else far
    return reduce(loss, reduction), (e,)


def backward(dy, residuals, *, reduction="mean", beta=1.0):
    (e,) = residuals
    xp = namespace(e)
    slope = xp.clip(e / beta, -1, 1) if beta else xp.sign(e)
    dx = slope * spread(dy, e.shape, reduction)
    return dx, -dx


def fit(rng, shape):
    """On any value, with a random target and a beta that both pieces meet."""
    options = {"reduction": str(rng.choice(REDUCTIONS)), "beta": float(rng.choice([0.0, 0.5, 1.0, 2.0]))}
    return case("fit", normal(*shape), normal(*shape), **options)


register(
    forward,
    backward,
    torch="torch.nn.functional.smooth_l1_loss",
    autocast="loss",
    fit=fit,
    cases=[
        case("mean", normal(4, 3, scale=2.0), normal(4, 3)),
        case("sum", normal(4, 3, scale=2.0), normal(4, 3), reduction="sum"),
        case("none", normal(4, 3, scale=2.0), normal(4, 3), reduction="none"),
        case("numbers", normal(), normal()),
        case("narrow", normal(4, 3), normal(4, 3), reduction="none", beta=0.125),
        case("wide", normal(4, 3), normal(4, 3), reduction="none", beta=4.0),
        case("beta 0", normal(4, 3), normal(4, 3), beta=0.0),
        case(
            "beta 0, at the kink",
            exactly([1.0, -2.0, 3.0]),
            exactly([1.0, 0.0, 3.0]),
            kink=True,
            reduction="none",
            beta=0.0,
        ),
        case(
            "where the pieces meet",
            exactly([1.0, -1.0, 0.0, 2.0]),
            exactly([0.0, 0.0, 0.0, 0.0]),
            kink=True,
            reduction="none",
        ),
    ],
)
