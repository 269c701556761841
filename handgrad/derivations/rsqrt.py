"""y = 1/√x

Shapes.  x and y (...), element by element; x > 0, or complex.

Chain rule.  dy is ∂L/∂y.  ∂y/∂x = -½ x^(-3/2) = -y³/2.

Result.  dx = -dy y³/2  (y conjugated for complex numbers).

Kinks: none.  Errors: none.  At x = 0 the output is ∞, below it NaN.
Source: PyTorch documentation, torch.rsqrt.
"""

from handgrad._arrays import conj, namespace
from handgrad._cases import case, exactly, uniform
from handgrad._derivation import register


def forward(x):
    y = 1 / namespace(x).sqrt(x)
    return y, (y,)


def backward(dy, residuals):
    (y,) = residuals
    return dy * conj(-0.5 * y * y * y)


register(
    forward,
    backward,
    torch="torch.rsqrt",
    autocast="float32",
    fit=lambda rng, shape: case("fit", uniform(*shape, low=0.1, high=4.0)),
    cases=[
        case("positive", uniform(4, 5, low=0.1, high=4.0)),
        case("small and large", exactly([0.001, 0.25, 1.0, 1000.0])),
        case("a number", uniform(low=0.5, high=2.0)),
        case("empty", uniform(0, 5, low=0.5)),
    ],
)
