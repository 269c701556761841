"""y = x σ(x), with the sigmoid σ(x) = 1 / (1 + exp(-x))

Shapes.  x and y (...), element by element.

Chain rule.  dy is ∂L/∂y. With s = σ(x) and ∂s/∂x = s (1 - s), as ``sigmoid`` derives it, the product
rule gives
    ∂y/∂x = s + x s (1 - s)

Result.  dx = dy s (1 + x (1 - s))  (conjugated for complex numbers).

Kinks: none.  Errors: none.  NaN is passed on. At x = -∞ y is NaN (∞ · 0), and at ±∞ so is dx, as in PyTorch.
Source: Hendrycks and Gimpel, Gaussian Error Linear Units (2016), section 2; Ramachandran, Zoph and
Le, Searching for Activation Functions (2017); PyTorch documentation, torch.nn.functional.silu.
"""

from handgrad._arrays import conj
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad._primitives import sigmoid
from handgrad._primitives_fused import in_one_pass


def forward(x):
    return in_one_pass("silu", _gated, x), (x,)


def backward(dy, residuals):
    (x,) = residuals
    s = sigmoid(x)
    return dy * conj(s * (1 + x * (1 - s)))


def _gated(x):
    return x * sigmoid(x)


register(
    forward,
    backward,
    torch="torch.nn.functional.silu",
    fit=lambda rng, shape: case("fit", normal(*shape)),
    cases=[
        case("both sides", normal(4, 5, scale=3.0)),
        case("at zero", exactly([0.0, -0.0])),
        case("saturated", exactly([-1000.0, -90.0, -20.0, 20.0, 90.0, 1000.0])),
        case("a number", normal()),
        case("empty", normal(0, 5)),
    ],
)
