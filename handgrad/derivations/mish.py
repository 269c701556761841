"""y = x tanh(softplus(x)), with softplus(x) = log(1 + exp(x))

Shapes.  x and y (...), element by element.

Forward.  With tanh(u) = (exp(2u) - 1) / (exp(2u) + 1) and u = log(1 + E), E = exp(x), the hyperbolic tangent
is
    T = ((1 + E)² - 1) / ((1 + E)² + 1) = (E² + 2E) / (E² + 2E + 2)
a quotient in which nothing cancels. E overflows for large x; there both are divided by E²: with e = exp(-x),
T = (1 + 2e) / (1 + 2e + 2e²). So exp is only ever taken of numbers ≤ 0.

Chain rule.  dy is ∂L/∂y. By the product rule  ∂y/∂x = T + x ∂T/∂x. With n = E² + 2E, ∂n/∂x = 2E² + 2E,
    T = n/(n + 2),  ∂T/∂x = 2/(n + 2)² ∂n/∂x = 4 E (1 + E) / (n + 2)²
and for x > 0, divided by E⁴,  ∂T/∂x = 4 e² (1 + e) / (1 + 2e + 2e²)².

Result.  dx = dy (T + x ∂T/∂x).

Kinks: none.  Errors: none.  NaN is passed on. At x = -∞ y is NaN (∞ · 0), and at ±∞ so is dx, as in PyTorch.
Source: Misra, Mish: A Self Regularized Non-Monotonic Activation Function (2020), section 3; PyTorch
documentation, torch.nn.functional.mish.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register


def forward(x):
    _, _, above, below = _quotient(x)
    return x * (above / below), (x,)


def backward(dy, residuals):
    (x,) = residuals
    left, e, above, below = _quotient(x)
    slope = 4 * namespace(x).where(left, e, e * e) * (1 + e) / (below * below)
    return dy * (above / below + x * slope)


def _quotient(x):
    """Whether x < 0, exp(-|x|), and T as a quotient."""
    xp = namespace(x)
    left = x < 0
    e = xp.exp(xp.where(left, x, -x))
    above = xp.where(left, e * (e + 2), 1 + 2 * e)
    return left, e, above, above + xp.where(left, 2, 2 * e * e)


register(
    forward,
    backward,
    torch="torch.nn.functional.mish",
    fit=lambda rng, shape: case("fit", normal(*shape)),
    cases=[
        case("both sides", normal(4, 5, scale=3.0)),
        case("at zero", exactly([0.0, -0.0])),
        case("saturated", exactly([-1000.0, -90.0, -20.0, 20.0, 90.0, 1000.0])),
        case("a number", normal()),
        case("empty", normal(0, 5)),
    ],
)
