"""y = 1/x

Shapes.  x and y (...), element by element; at x = 0 y is ±∞.

Chain rule.  dy is ∂L/∂y.  ∂y/∂x = -1/x² = -y².

Result.  dx = -dy y²  (y conjugated for complex numbers).

Kinks: none.  Errors: none.
Source: PyTorch documentation, torch.reciprocal.
"""

from handgrad._arrays import conj
from handgrad._cases import case, exactly, normal, smooth, uniform
from handgrad._derivation import register


def forward(x):
    y = 1 / x
    return y, (y,)


def backward(dy, residuals):
    (y,) = residuals
    return -dy * conj(y * y)


register(
    forward,
    backward,
    torch="torch.reciprocal",
    autocast="float32",
    fit=lambda rng, shape: case("fit", uniform(*shape, low=0.5, high=2.0)),
    cases=[
        case("both signs", smooth(4, 5, gap=0.2)),
        case("small and large", exactly([0.001, -0.25, 1.0, -1000.0])),
        case("a number", uniform(low=0.5, high=2.0)),
        case("empty", normal(0, 5)),
    ],
)
