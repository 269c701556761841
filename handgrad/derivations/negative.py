"""y = -x

Shapes.  x and y (...), element by element.

Chain rule.  dy is ∂L/∂y.  ∂y/∂x = -1.

Result.  dx = -dy.

Kinks: none.  Errors: none.
Source: PyTorch documentation, torch.negative.
"""

from handgrad._cases import case, exactly, normal
from handgrad._derivation import register


def forward(x):
    return -x, ()


def backward(dy, _):
    return -dy


register(
    forward,
    backward,
    torch="torch.negative",
    widen=False,
    fit=lambda rng, shape: case("fit", normal(*shape)),
    cases=[
        case("both signs", normal(4, 5)),
        case("at zero", exactly([-2.0, 0.0, 3.0])),
        case("a number", normal()),
        case("empty", normal(0, 5)),
    ],
)
