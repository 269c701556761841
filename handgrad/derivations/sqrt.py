"""y = √x

Shapes.  x and y (...), element by element; x ≥ 0, or complex.

Chain rule.  dy is ∂L/∂y.  y² = x, so 2y ∂y/∂x = 1 and ∂y/∂x = 1/(2y).

Result.  dx = dy / (2y)  (y conjugated for complex numbers).

Kinks: none.  Errors: none.  At x = 0 the slope is ∞, below it y is NaN, as in NumPy and PyTorch.
Source: PyTorch documentation, torch.sqrt.
"""

from handgrad._arrays import conj, namespace
from handgrad._cases import case, exactly, uniform
from handgrad._derivation import register


def forward(x):
    y = namespace(x).sqrt(x)
    return y, (y,)


def backward(dy, residuals):
    (y,) = residuals
    return dy / (2 * conj(y))


register(
    forward,
    backward,
    torch="torch.sqrt",
    fit=lambda rng, shape: case("fit", uniform(*shape, low=0.1, high=4.0)),
    cases=[
        case("positive", uniform(4, 5, low=0.1, high=4.0)),
        case("small and large", exactly([0.0001, 0.25, 1.0, 10000.0])),
        case("a number", uniform(low=0.5, high=2.0)),
        case("empty", uniform(0, 5)),
    ],
)
