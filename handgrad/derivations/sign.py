"""y = 1 where x > 0, -1 where x < 0, 0 where x = 0

Shapes.  x and y (...), element by element.

Chain rule.  dy is ∂L/∂y.  y is constant between its jumps:  ∂y/∂x = 0.

Result.  dx = 0.

Kinks.  At the jump x = 0 the slope is 0 too, by PyTorch's convention.  Errors: none.
Source: PyTorch documentation, torch.sign.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal, smooth
from handgrad._derivation import register


def forward(x):
    return namespace(x).sign(x), ()


def backward(dy, _):
    return namespace(dy).zeros_like(dy)


register(
    forward,
    backward,
    torch="torch.sign",
    widen=False,
    cases=[
        case("both signs", smooth(4, 5)),
        case("at zero", exactly([-2.0, 0.0, -0.0, 3.0]), kink=True),
        case("a number", smooth()),
        case("empty", normal(0, 5)),
    ],
)
