"""y = x²

Shapes.  x and y (...), element by element.

Chain rule.  dy is ∂L/∂y.  ∂y/∂x = 2x.

Result.  dx = 2 x dy  (x conjugated for complex numbers).

Kinks: none.  Errors: none.
Source: PyTorch documentation, torch.square.
"""

from handgrad._arrays import conj
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register


def forward(x):
    return x * x, (x,)


def backward(dy, residuals):
    (x,) = residuals
    return 2 * conj(x) * dy


register(
    forward,
    backward,
    torch="torch.square",
    fit=lambda rng, shape: case("fit", normal(*shape)),
    cases=[
        case("both signs", normal(4, 5)),
        case("at zero", exactly([-2.0, 0.0, -0.0, 3.0])),
        case("a number", normal()),
        case("empty", normal(0, 5)),
    ],
)
