"""y = tanh(x)

Shapes.  x and y (...), element by element.

Chain rule.  tanh = sinh/cosh, and by the quotient rule
    ∂y/∂x = (cosh² x - sinh² x) / cosh² x = 1 - y²

Result.  dx = dy (1 - y²), from the output alone  (conjugated for complex numbers). It is computed
as (1 - y)(1 + y), which rounds less than 1 - y² where y is near ±1.

Kinks: none.  Errors: none.  NaN is passed on.
Source: PyTorch documentation, torch.nn.functional.tanh.
"""

from handgrad._arrays import conj, namespace
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register


def forward(x):
    y = namespace(x).tanh(x)
    return y, (y,)


def backward(dy, residuals):
    (y,) = residuals
    return dy * conj((1 - y) * (1 + y))


register(
    forward,
    backward,
    torch="torch.nn.functional.tanh",
    fit=lambda rng, shape: case("fit", normal(*shape)),
    cases=[
        case("both sides", normal(4, 5)),
        case("at zero", exactly([0.0, -0.0])),
        case("saturated", exactly([-1000.0, -20.0, -8.0, 1.0, 8.0, 20.0, 1000.0])),
        case("a number", normal()),
        case("empty", normal(0, 5)),
    ],
)
