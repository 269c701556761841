"""y = σ(x) = 1 / (1 + exp(-x))

Shapes.  x and y (...), element by element.

Forward.  exp(-x) overflows for x far below 0; there the equal form exp(x) / (1 + exp(x)) is used,
so that exp is only ever taken of numbers ≤ 0 (``_primitives.sigmoid``).

Chain rule.  dy is ∂L/∂y. With u = 1 + exp(-x), so that y = 1/u and ∂u/∂x = -exp(-x) = 1 - u,
    ∂y/∂x = -1/u² ∂u/∂x = (u - 1)/u² = 1/u (1 - 1/u) = y (1 - y)

Result.  dx = dy y (1 - y), from the output alone  (conjugated for complex numbers).

Kinks: none.  Errors: none.  NaN is passed on.
Source: PyTorch documentation, torch.nn.functional.sigmoid; the lecture's section 7.
"""

from handgrad._arrays import conj
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad._primitives import sigmoid


def forward(x):
    y = sigmoid(x)
    return y, (y,)


def backward(dy, residuals):
    (y,) = residuals
    return dy * conj(y * (1 - y))


register(
    forward,
    backward,
    torch="torch.nn.functional.sigmoid",
    fit=lambda rng, shape: case("fit", normal(*shape)),
    cases=[
        case("both sides", normal(4, 5, scale=3.0)),
        case("at zero", exactly([0.0, -0.0])),
        case("saturated", exactly([-1000.0, -90.0, -20.0, 20.0, 90.0, 1000.0])),
        case("a number", normal()),
        case("empty", normal(0, 5)),
    ],
)
