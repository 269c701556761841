"""L = mean (or sum) of w l,  l = -t log x - (1 - t) log(1 - x)

Shapes.  x (input, probabilities) and t (target, in [0, 1]) of one shape (...); w (weight, constant)
broadcasts to (...) or is absent (1); L (), or (...) for reduction "none": then the w l themselves. The
mean divides by the number of elements, whatever w is.

Forward.  PyTorch's convention, and ours: each logarithm is at least -100, so that the loss stays
finite at x = 0 and x = 1.

Chain rule.  For one element,
    ∂l/∂x = -t/x + (1 - t)/(1 - x) = (x - t) / (x (1 - x))      over the common denominator
    ∂l/∂t = -log x + log(1 - x)
dL, what arrives (``dy`` in the code), goes to every l times w; over the number of elements for the mean:
dl = w dL / number for "mean", w dL for "sum" and "none".

Result.  dx = (x - t) / max(x (1 - x), 1e-12) dl,  dt = (log(1 - x) - log x) dl.

Kinks.  At x = 0 and 1 the derivatives are infinite, or 0/0. PyTorch's convention, and ours: the
denominator of dx is at least 1e-12; in dt the logarithms are not bounded, so dt is infinite. (Neither
is the slope of the bounded loss, which would be 0 where a bound of -100 holds.)
Errors: other shapes, x or t outside [0, 1] (NaN too), an unknown reduction. Where nobody can look
at values (compiled code, a GPU) an x outside [0, 1] gives NaN, and a t outside is not noticed.
Source: PyTorch documentation, torch.nn.BCELoss and torch.nn.functional.binary_cross_entropy.
"""

from math import inf

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, uniform
from handgrad._derivation import register
from handgrad._errors import require
from handgrad.derivations._fits import broadcastable
from handgrad.derivations._losses import REDUCTIONS, TINY, reduce, require_broadcast, require_values, spread


def forward(x, t, w=None, *, reduction="mean"):
    xp = namespace(x)
    _check(x, t, w)
    loss = -t * xp.maximum(_log(x), -100) - (1 - t) * xp.maximum(_log_of_rest(x), -100)
    return reduce(loss if w is None else loss * w, reduction), (x, t, w)


def backward(dy, residuals, *, reduction="mean"):
    x, t, w = residuals
    dl = spread(dy, x.shape, reduction)  # dy for each element, over their number for the mean
    if w is not None:
        dl = dl * w
    dx = (x - t) / namespace(x).maximum(x * (1 - x), TINY) * dl
    return dx, (_log_of_rest(x) - _log(x)) * dl


def _log(x):
    """log x, and -inf at 0 without NumPy's warning."""
    xp = namespace(x)
    return xp.where(x == 0, -inf, xp.log(xp.where(x == 0, 1, x)))


def _log_of_rest(x):
    """log(1 - x), accurate near x = 0, and -inf at 1 without NumPy's warning."""
    xp = namespace(x)
    return xp.where(x == 1, -inf, xp.log1p(-xp.where(x == 1, 0, x)))


def _check(x, t, w):
    require(
        tuple(x.shape) == tuple(t.shape),
        "binary_cross_entropy needs an input and a target of the same shape",
        f"input {tuple(x.shape)} and target {tuple(t.shape)}",
        "reshape one of them",
    )
    require_broadcast(w, x.shape, "weight")
    for name, a in (("input", x), ("target", t)):
        xp = namespace(a)
        require_values(
            (a >= 0) & (a <= 1),
            f"all elements of {name} should be between 0 and 1",
            lambda a=a, xp=xp: f"numbers from {float(xp.min(a))} to {float(xp.max(a))}",
            "apply a sigmoid first, or use binary_cross_entropy_with_logits",
        )


def fit(rng, shape):
    """On probabilities of that shape, with a random target, and weights or none."""
    x = uniform(*shape, low=0.05, high=0.95)
    w = uniform(*broadcastable(rng, shape), high=2.0) if rng.integers(2) else None
    return case("fit", x, uniform(*shape), w, reduction=str(rng.choice(REDUCTIONS)))


register(
    forward,
    backward,
    torch="torch.nn.functional.binary_cross_entropy",
    differentiable=("x", "t"),
    autocast="loss",
    fit=fit,
    cases=[
        case("mean", uniform(4, 3, low=0.05, high=0.95), uniform(4, 3)),
        case("sum", uniform(4, 3, low=0.05, high=0.95), uniform(4, 3), reduction="sum"),
        case("none", uniform(4, 3, low=0.05, high=0.95), uniform(4, 3), reduction="none"),
        case("a number", uniform(low=0.05, high=0.95), uniform()),
        case("weights", uniform(4, 3, low=0.05, high=0.95), uniform(4, 3), uniform(4, 3, high=2.0)),
        case("weights of columns", uniform(4, 3, low=0.05, high=0.95), uniform(4, 3), uniform(3)),
        case(
            "weights of rows",
            uniform(4, 3, low=0.05, high=0.95),
            uniform(4, 3),
            uniform(4, 1),
            reduction="none",
        ),
        # a kink, since a numerical derivative would step outside [0, 1]
        case("labels", uniform(4, low=0.05, high=0.95), exactly([0.0, 1.0, 1.0, 0.0]), kink=True),
        case(
            "at 0 and 1",  # targets so near that even float16 holds (x - t) 1e12
            exactly([0.0, 1.0, 0.0, 1.0]),
            exactly([0.0, 1.0, 3e-8, 1 - 3e-8]),
            kink=True,
            reduction="none",
        ),
    ],
)
