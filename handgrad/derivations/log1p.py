"""y = log(1 + x), accurate near x = 0

Shapes.  x and y (...), element by element; x > -1, or complex.

Chain rule.  dy is ∂L/∂y.  ∂y/∂x = 1/(1 + x).

Result.  dx = dy / (1 + x)  (x conjugated for complex numbers).

Kinks: none.  Errors: none.  At x = -1 the output is -∞, below it NaN.
Source: PyTorch documentation, torch.log1p.
"""

from handgrad._arrays import conj, namespace
from handgrad._cases import case, exactly, uniform
from handgrad._derivation import register


def forward(x):
    return namespace(x).log1p(x), (x,)


def backward(dy, residuals):
    (x,) = residuals
    return dy / (1 + conj(x))


register(
    forward,
    backward,
    torch="torch.log1p",
    autocast="float32",
    fit=lambda rng, shape: case("fit", uniform(*shape, low=-0.5, high=4.0)),
    cases=[
        case("positive", uniform(4, 5, low=0.1, high=4.0)),
        case("near zero", exactly([0.0, 1e-7, -1e-7, -0.5])),
        case("a number", uniform(low=0.5, high=2.0)),
        case("empty", uniform(0, 5)),
    ],
)
