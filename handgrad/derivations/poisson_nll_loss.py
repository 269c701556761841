"""L = mean (or sum) of l,  l = exp(x) - t x,  or x - t log(x + ε) where x is the rate itself

Shapes.  x (logarithm of the expected count, or for ``log_input`` False the count) and t (target, a count),
broadcast together to (...); L (), or (...) for reduction "none".

Forward.  Where ``full``, Stirling's approximation of log t! is added for t > 1:
s = t log t - t + log(2π t)/2, and 0 for t ≤ 1.

Chain rule.  For one element,
    ∂l/∂x = exp(x) - t          1 - t/(x + ε) for log_input False
    ∂l/∂t = -x                  -log(x + ε) for log_input False
    ∂s/∂t = log t + 1 - 1 + 1/(2t) = log t + 1/(2t)  for t > 1, else 0

Result.  dx = ∂l/∂x dl,  dt = (∂l/∂t + ∂s/∂t) dl,  where dL is what arrives (``dy`` in the code) and
dl = dL / number of elements for the mean, dL for the sum and "none".

Kinks.  s jumps at t = 1, where it counts as 0 from below.
Errors: shapes that do not broadcast, an unknown reduction.
Source: PyTorch documentation, torch.nn.PoissonNLLLoss.
"""

from math import pi

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal, uniform
from handgrad._derivation import register
from handgrad.derivations._losses import REDUCTIONS, reduce, spread


def forward(x, t, *, log_input=True, full=False, eps=1e-8, reduction="mean"):
    xp = namespace(x)
    loss = xp.exp(x) - t * x if log_input else x - t * xp.log(x + eps)
    if full:
        many = _many(t)
        loss = loss + xp.where(t > 1, many * xp.log(many) - many + xp.log(2 * pi * many) / 2, 0)
    return reduce(loss, reduction), (x, t)


def backward(dy, residuals, needs, *, log_input=True, full=False, eps=1e-8, reduction="mean"):
    x, t = residuals
    xp = namespace(x)
    slope = xp.exp(x) - t if log_input else 1 - t / (x + eps)
    dl = spread(dy, slope.shape, reduction)
    dt = None
    if needs[1]:
        dt = -x if log_input else -xp.log(x + eps)
        if full:
            dt = dt + xp.where(t > 1, xp.log(_many(t)) + 1 / (2 * _many(t)), 0)
        dt = dt * dl
    return slope * dl, dt


def _many(t):
    """t where Stirling's approximation holds; 1 stands in elsewhere."""
    return namespace(t).where(t > 1, t, 1)


def fit(rng, shape):
    """On any value as the logarithm of a count, or on counts."""
    options = {"full": bool(rng.integers(2)), "reduction": str(rng.choice(REDUCTIONS))}
    t = uniform(*shape, low=1.1, high=5.0)
    if rng.integers(2):
        return case("fit", normal(*shape), t, **options)
    return case("fit", uniform(*shape, low=0.5, high=3.0), t, log_input=False, **options)


register(
    forward,
    backward,
    torch="torch.nn.functional.poisson_nll_loss",
    autocast="loss",
    fit=fit,
    cases=[
        case("mean", normal(4, 3), uniform(4, 3, high=5.0)),
        case("sum", normal(4, 3), uniform(4, 3, high=5.0), reduction="sum"),
        case("none, full", normal(4, 3), uniform(4, 3, low=1.1, high=5.0), reduction="none", full=True),
        case("rates", uniform(4, 3, low=0.5, high=3.0), uniform(4, 3, high=5.0), log_input=False),
        case(
            "rates, full",
            uniform(4, 3, low=0.5),
            uniform(4, 3, low=1.1, high=5.0),
            log_input=False,
            full=True,
        ),
        case("a wide ε", uniform(4, 3), uniform(4, 3, high=5.0), log_input=False, eps=0.5, reduction="none"),
        case("small counts, full", normal(4), exactly([0.25, 0.5, 1.0, 3.0]), full=True, kink=True),
        case("numbers", normal(), uniform(high=5.0)),
    ],
)
