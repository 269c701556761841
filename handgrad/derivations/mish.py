"""y = x tanh(softplus(x)), with softplus(x) = log(1 + exp(x))

Shapes.  x and y (...), element by element.

Forward.  With r = 1/(1 + exp(x)) = σ(-x) and s = 1 - r = σ(x), softplus(x) = -log(r), and the hyperbolic
tangent T = (exp(2u) - 1) / (exp(2u) + 1) of u = -log(r) is
    T = (1/r² - 1) / (1/r² + 1) = (1 - r²) / (1 + r²) = s (1 + r) / (1 + r²)
in which nothing overflows and nothing cancels.

Chain rule.  dy is ∂L/∂y. By the product rule  ∂y/∂x = T + x ∂T/∂x. With ∂T/∂u = 1 - T² = 4r²/(1 + r²)² and
∂u/∂x = s, the slope of ``softplus``,
    ∂T/∂x = 4 r² s / (1 + r²)²

Result.  dx = dy (T + 4 x r² s / (1 + r²)²).

Kinks: none.  Errors: none.  NaN is passed on. At x = -∞ y is NaN (∞ · 0), and at ±∞ so is dx, as in PyTorch.
Source: Misra, Mish: A Self Regularized Non-Monotonic Activation Function (2020), section 3; PyTorch
documentation, torch.nn.functional.mish.
"""

from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad._primitives import sigmoid


def forward(x):
    s, r = sigmoid(x), sigmoid(-x)
    return x * (s * (1 + r) / (1 + r * r)), (x,)


def backward(dy, residuals):
    (x,) = residuals
    s, r = sigmoid(x), sigmoid(-x)
    squared = r * r
    q = s / (1 + squared)
    return dy * (q * (1 + r) + 4 * x * q * squared / (1 + squared))


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
