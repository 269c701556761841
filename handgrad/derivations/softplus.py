"""y = log(1 + exp(β x)) / β, or x where β x > threshold

Shapes.  x and y (...), element by element.  β is the number ``beta``, not 0.

Forward.  With z = β x:  log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)), in which exp cannot overflow.

Chain rule.  dy is ∂L/∂y.  ∂y/∂x = 1/β · exp(z)/(1 + exp(z)) · β = σ(z), the sigmoid; above the
threshold y = x, so 1.

Result.  dx = dy σ(β x) where β x ≤ threshold, else dy.

Kink.  At β x = threshold the two pieces do not quite meet (they differ by about exp(-threshold)/β); PyTorch
counts the threshold itself as part of the curve, and so do we.  NaN is passed on.  Errors: none.
Source: PyTorch documentation, torch.nn.functional.softplus.
"""

from operator import gt

from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad._primitives import sigmoid
from handgrad._primitives_choices import choose
from handgrad._primitives_curves import log_of_one_and_exp
from handgrad._primitives_fused import in_one_pass


def forward(x, *, beta=1.0, threshold=20.0):
    return in_one_pass("softplus", _soft, x, beta, threshold), (x,)


def backward(dy, residuals, *, beta=1.0, threshold=20.0):
    (x,) = residuals
    z = beta * x
    return choose(gt, z, threshold, dy, dy * sigmoid(z))


def _soft(x, beta, threshold):
    z = beta * x
    return choose(gt, z, threshold, x, log_of_one_and_exp(z) / beta)


def fit(rng, shape):
    """Any steepness of either sign; a threshold where the pieces meet to rounding, or the default."""
    beta = float(rng.choice([-1, 1]) * rng.uniform(0.3, 3.0))
    return case("fit", normal(*shape), beta=beta, threshold=float(rng.choice([20.0, 40.0])))


register(
    forward,
    backward,
    torch="torch.nn.functional.softplus",
    autocast="float32",
    fit=fit,
    cases=[
        case("both sides", normal(4, 5)),
        case("beta", normal(4, 5), beta=2.5),
        case("negative beta", normal(4, 5), beta=-0.5),
        case("low threshold", exactly([-1.0, 0.2, 0.45, 0.55, 2.0]), beta=2.0, threshold=1.0),
        case("at the threshold", exactly([0.5, 1.0]), kink=True, beta=2.0, threshold=1.0),
        case("at zero", exactly([0.0, -0.0])),
        case("saturated", exactly([-1000.0, -90.0, -20.0, 19.0, 90.0, 1000.0])),
        case("a number", normal()),
        case("empty", normal(0, 5)),
    ],
)
