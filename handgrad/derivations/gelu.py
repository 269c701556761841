"""y = x Φ(x), with Φ the normal distribution function, or its approximation by tanh

Shapes.  x and y (...), element by element.

Forward.  Φ(x) is the probability that a standard normal number is below x.
approximate="none":  Φ(x) = ½ erfc(-x/√2), with erfc = 1 - erf. PyTorch's ½ (1 + erf(x/√2)) is the same
number, but for x far below 0 the sum 1 + erf cancels to 0.
approximate="tanh":  Φ(x) ≈ ½ (1 + tanh(u)),  u = √(2/π) (x + 0.044715 x³). This is σ(2u), with the
sigmoid σ(z) = 1/(1 + exp(-z)), since tanh(u) = 2σ(2u) - 1. Below, Φ stands for it too.

Chain rule.  dy is ∂L/∂y. By the product rule  ∂y/∂x = Φ(x) + x Φ'(x), where
    none    Φ'(x) = exp(-x²/2) / √(2π), the normal density
    tanh    Φ'(x) = σ(2u) σ(-2u) · 2 ∂u/∂x,  ∂u/∂x = √(2/π) (1 + 3 · 0.044715 x²)
The second is σ'(z) = σ(z) (1 - σ(z)) at z = 2u; σ(-2u) is 1 - σ(2u) without the cancellation.

Result.  dx = dy (Φ + x Φ').

Kinks: none.  NaN is passed on. At x = -∞ y is NaN (∞ · 0), and at ±∞ so is dx, as in PyTorch.
Errors: another word for ``approximate``.
Source: Hendrycks and Gimpel, Gaussian Error Linear Units (2016), section 2; PyTorch documentation,
torch.nn.functional.gelu.
"""

import math

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import erfc
from handgrad.derivations import sigmoid

A, C = 0.044715, math.sqrt(2 / math.pi)  # the constants of u


def forward(x, *, approximate="none"):
    require(
        approximate in ("none", "tanh"),
        'approximate must be "none" or "tanh"',
        repr(approximate),
        "choose one of these",
    )
    if approximate == "none":
        cdf = erfc(x * -math.sqrt(0.5)) * 0.5  # Φ
    else:
        cdf, _ = sigmoid.forward(2 * _u(_near(x)))  # σ(2u)
    return x * cdf, (x, cdf)


def backward(dy, residuals, *, approximate="none"):
    x, cdf = residuals
    x_near = _near(x)
    if approximate == "none":
        slope = namespace(x).exp(x_near * x_near * -0.5) * (1 / math.sqrt(2 * math.pi))
    else:
        rest, _ = sigmoid.forward(-2 * _u(x_near))  # 1 - Φ
        du = C * (1 + 3 * A * x_near**2)
        slope = cdf * rest * 2 * du
    return dy * (cdf + x * slope)


def _u(x):
    return C * (x + A * x**3)


def _near(x):
    """x, cut off at ±200: beyond, Φ is 0 or 1 and Φ' is 0 in every dtype, but x³ might overflow."""
    return namespace(x).clip(x, -200, 200)


def fit(rng, shape):
    """Exact or approximate."""
    return case("fit", normal(*shape), approximate=str(rng.choice(["none", "tanh"])))


_FAR = exactly([-1000.0, -30.0, -10.0, -5.0, 5.0, 10.0, 1000.0])

register(
    forward,
    backward,
    torch="torch.nn.functional.gelu",
    fit=fit,
    cases=[
        case("exact", normal(4, 5, scale=2.0)),
        case("tanh", normal(4, 5, scale=2.0), approximate="tanh"),
        case("exact, at zero", exactly([0.0, -0.0])),
        case("tanh, at zero", exactly([0.0, -0.0]), approximate="tanh"),
        case("exact, saturated", _FAR),
        case("tanh, saturated", _FAR, approximate="tanh"),
        case("a number", normal()),
        case("empty", normal(0, 5)),
    ],
)
