"""y = log(x), the natural logarithm

Shapes.  x and y (...), element by element; x > 0 (any number but 0 for a complex x).

Chain rule.  dy is ∂L/∂y.  ∂y/∂x = 1/x.

Result.  dx = dy / x  (x conjugated for complex numbers).

Kinks: none.  Errors: none.  At x = 0 the output is -∞, for x < 0 it is NaN, as in NumPy and PyTorch.
Source: PyTorch documentation, torch.log.
"""

from handgrad._arrays import conj, namespace
from handgrad._cases import case, exactly, uniform
from handgrad._derivation import register


def forward(x):
    return namespace(x).log(x), (x,)


def backward(dy, residuals):
    (x,) = residuals
    return dy / conj(x)


register(
    forward,
    backward,
    torch="torch.log",
    autocast="float32",
    fit=lambda rng, shape: case("fit", uniform(*shape, low=0.1, high=4.0)),
    cases=[
        case("positive", uniform(4, 5, low=0.1, high=4.0)),
        case("small and large", exactly([0.001, 0.25, 1.0, 1000.0])),
        case("a number", uniform(low=0.5, high=2.0)),
        case("empty", uniform(0, 5)),
    ],
)
