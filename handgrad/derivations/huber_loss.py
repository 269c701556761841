"""L = mean (or sum) of w l,  l = e²/2 where |e| < δ, else δ (|e| - δ/2),  with e = x - t

Shapes.  x (input) and t (target), broadcast together to (...); w (weight) of the shape of x, or
absent (1 everywhere); L (), or (...) for reduction "none". The mean divides by the number of
elements, whatever w is.

Forward.  With c = e, clipped to [-δ, δ], both pieces are one formula, l = c (e - c/2): far out c = ±δ, with
the sign of e, and near the centre c = e, which leaves e²/2.

Chain rule.  For one element, ∂l/∂e = e where |e| < δ, else δ sign(e): the two meet at |e| = δ. So
∂l/∂e = e, clipped to [-δ, δ], and ∂e/∂x = 1, ∂e/∂t = -1.

Result.  dx = clip(e, -δ, δ) w dl,  dt = -dx,  dw = l dl,  where dL is what arrives (``dy`` in the code)
and dl = dL / number of elements for the mean, dL for the sum and "none".

Kinks: none (the second derivative jumps at |e| = δ).
Errors: shapes that do not broadcast, w not of the shape of x, a δ that is not positive, an unknown reduction.
Source: Huber, Robust Estimation of a Location Parameter (1964); PyTorch documentation,
torch.nn.functional.huber_loss.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal, uniform
from handgrad._derivation import register
from handgrad._errors import require
from handgrad.derivations._losses import REDUCTIONS, reduce, require_weight_of_input, spread


def forward(x, t, w=None, *, reduction="mean", delta=1.0):
    require(delta > 0, "delta of huber_loss must be positive", delta, "give a positive number")
    require_weight_of_input(w, x.shape)
    loss = _loss(x - t, delta)
    return reduce(loss if w is None else loss * w, reduction), (x, t, w)


def backward(dy, residuals, *, reduction="mean", delta=1.0):
    x, t, w = residuals
    e = x - t
    dl = spread(dy, e.shape, reduction)
    dx = namespace(e).clip(e, -delta, delta) * (dl if w is None else w * dl)
    return dx, -dx, None if w is None else _loss(e, delta) * dl


def _loss(e, delta):
    slope = namespace(e).clip(e, -delta, delta)
    return slope * (e - slope / 2)


def fit(rng, shape):
    """On any value, with a random target, weights or none, and a delta that both pieces meet."""
    w = uniform(*shape, low=0.2, high=2.0) if rng.integers(2) else None
    options = {"reduction": str(rng.choice(REDUCTIONS)), "delta": float(rng.choice([0.5, 1.0, 2.0]))}
    return case("fit", normal(*shape), normal(*shape), w, **options)


register(
    forward,
    backward,
    torch="torch.nn.functional.huber_loss",
    reference=lambda torch, x, t, w=None, **o: torch.nn.functional.huber_loss(x, t, weight=w, **o),
    autocast="loss",
    fit=fit,
    cases=[
        case("mean", normal(4, 3, scale=2.0), normal(4, 3)),
        case("sum", normal(4, 3, scale=2.0), normal(4, 3), reduction="sum"),
        case("none, narrow", normal(4, 3), normal(4, 3), reduction="none", delta=0.25),
        case("wide", normal(4, 3), normal(4, 3), reduction="none", delta=4.0),
        case("numbers", normal(), normal()),
        case("weighted mean", normal(4, 3, scale=2.0), normal(4, 3), uniform(4, 3, low=0.2)),
        case("weighted none", normal(4, 3), normal(4, 3), uniform(4, 3, low=0.2), reduction="none"),
        case(
            "where the pieces meet",
            exactly([1.0, -1.0, 0.0, 2.0]),
            exactly([0.0, 0.0, 0.0, 0.0]),
            kink=True,
            reduction="none",
        ),
    ],
)
