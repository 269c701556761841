"""L = mean (or sum) of l,  l = (log v + (x - t)²/v) / 2,  v = max(var, ε)

Shapes.  x (mean), t (target) and var (variance) broadcast together to (...); L (), or (...) for reduction
"none". The constant log(2π)/2 is added where ``full``.

Chain rule.  For one element with e = x - t,
    ∂l/∂x = e/v,  ∂l/∂t = -e/v,  ∂l/∂v = (1/v - e²/v²) / 2 = (1 - e²/v) / (2 v)
and var gets what v gets, below ε too: PyTorch's rule, and ours, so that a variance that has become too
small can grow again. It is no derivative there.

Result.  dx = e/v dl,  dt = -dx,  dvar = (1 - e²/v) / (2 v) dl,  where dL is what arrives (``dy`` in the code)
and dl = dL / number of elements for the mean, dL for the sum and "none".

Kinks.  None above ε; at ε and below the rule says that the slope goes on.
Errors: shapes that do not broadcast, a negative variance, an unknown reduction.
Source: Nix and Weigend, Estimating the Mean and Variance of the Target Probability Distribution (1994);
PyTorch documentation, torch.nn.GaussianNLLLoss.
"""

from math import log, pi

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal, uniform
from handgrad._derivation import register
from handgrad._primitives_losses import constant
from handgrad.derivations._losses import REDUCTIONS, reduce, require_values, spread


def forward(x, t, var, *, full=False, eps=1e-6, reduction="mean"):
    xp = namespace(x)
    require_values(
        ~(var < 0),
        "var of gaussian_nll_loss must not be negative",
        "a negative entry",
        "give variances, not logarithms",
    )
    e, v = x - t, _bounded(var, eps)
    loss = (xp.log(v) + e * e / v) / 2
    return reduce(loss + log(2 * pi) / 2 if full else loss, reduction), (x, t, var)


def backward(dy, residuals, *, full=False, eps=1e-6, reduction="mean"):  # noqa: ARG001
    x, t, var = residuals
    e, v = x - t, _bounded(var, eps)
    dl = spread(dy, (e / v).shape, reduction)
    dx = e / v * dl
    return dx, -dx, (1 - e * e / v) / v / 2 * dl


def _bounded(var, eps):
    """max(var, ε), whose slope is 1 below ε too."""
    return namespace(var).where(var < eps, eps + (var - constant(var)), var)


def fit(rng, shape):
    """On any value, with a random target and random variances."""
    options = {"full": bool(rng.integers(2)), "reduction": str(rng.choice(REDUCTIONS))}
    return case("fit", normal(*shape), normal(*shape), uniform(*shape, low=0.2, high=2.0), **options)


register(
    forward,
    backward,
    torch="torch.nn.functional.gaussian_nll_loss",
    fit=fit,
    cases=[
        case("mean", normal(4, 3), normal(4, 3), uniform(4, 3, low=0.2)),
        case("sum", normal(4, 3), normal(4, 3), uniform(4, 3, low=0.2), reduction="sum"),
        case("none, full", normal(4, 3), normal(4, 3), uniform(4, 3, low=0.2), reduction="none", full=True),
        case("one variance a row", normal(4, 3), normal(4, 3), uniform(4, 1, low=0.2), full=True),
        case("targets repeated", normal(4, 3), normal(3), uniform(4, 3, low=0.2)),
        case("a wide ε", normal(4, 3), normal(4, 3), uniform(4, 3, low=0.6), eps=0.5),
        case(
            "below ε",
            normal(4),
            normal(4),
            exactly([0.0, 0.25, 0.5, 1.0]),
            kink=True,
            eps=0.5,
            reduction="none",
        ),
        case("numbers", normal(), normal(), uniform(low=0.2)),
    ],
)
