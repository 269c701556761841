"""y = exp(x)

Shapes.  x and y (...), element by element.

Chain rule.  dy is ∂L/∂y.  ∂y/∂x = exp(x) = y:  the output is its own derivative.

Result.  dx = y dy  (y conjugated for complex numbers).

Kinks: none.  Errors: none; y is infinite where it exceeds the dtype's range.
Source: PyTorch documentation, torch.exp.
"""

from handgrad._arrays import conj, namespace
from handgrad._cases import case, exactly, normal, uniform
from handgrad._derivation import register


def forward(x):
    y = namespace(x).exp(x)
    return y, (y,)


def backward(dy, residuals):
    (y,) = residuals
    return dy * conj(y)


register(
    forward,
    backward,
    torch="torch.exp",
    autocast="float32",
    fit=lambda rng, shape: case("fit", uniform(*shape, low=-3.0, high=3.0)),
    cases=[
        case("both signs", normal(4, 5)),
        case("far left", exactly([-1000.0, -80.0, -10.0, 0.0])),
        case("a number", normal()),
        case("empty", normal(0, 5)),
    ],
)
