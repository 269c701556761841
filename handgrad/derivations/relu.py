"""y = max(x, 0)

Shapes.  x and y (...), element by element.

Chain rule.  dy is ∂L/∂y.  y = x where x > 0, so ∂y/∂x = 1; y = 0 where x < 0, so ∂y/∂x = 0.

Result.  dx = dy where x > 0, else 0.

Kink.  At x = 0 the slope jumps from 0 to 1 and every value between is a subgradient;
PyTorch's convention, and ours, is 0. Where x is NaN, y is NaN and dy is handed on.
Errors: none.
Source: PyTorch documentation, torch.nn.functional.relu; the lecture's section 8.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal, smooth
from handgrad._derivation import register


def forward(x):
    return namespace(x).maximum(x, 0), (x <= 0,)


def backward(dy, residuals):
    (off,) = residuals
    return namespace(dy).where(off, 0, dy)


register(
    forward,
    backward,
    torch="torch.nn.functional.relu",
    widen=False,
    fit=lambda rng, shape: case("fit", normal(*shape)),
    cases=[
        case("both sides", smooth(4, 5)),
        case("at the kink", exactly([-1.0, 0.0, -0.0, 2.0]), kink=True),
    ],
)
