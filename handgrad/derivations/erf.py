"""y = erf(x) = 2/√π ∫ exp(-t²) dt from 0 to x

Shapes.  x and y (...), element by element.

Chain rule.  dy is ∂L/∂y.  The derivative of an integral by its end is the integrand:  ∂y/∂x = 2/√π exp(-x²).

Result.  dx = dy 2/√π exp(-x²).

Kinks: none.  Errors: none.
Source: PyTorch documentation, torch.erf.
"""

import math

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad._primitives import erf


def forward(x):
    return erf(x), (x,)


def backward(dy, residuals):
    (x,) = residuals
    return dy * (2 / math.sqrt(math.pi) * namespace(x).exp(-x * x))


register(
    forward,
    backward,
    torch="torch.erf",
    fit=lambda rng, shape: case("fit", normal(*shape)),
    cases=[
        case("both signs", normal(4, 5)),
        case("near zero", exactly([0.0, 1e-7, -1e-7])),
        case("saturated", exactly([-6.0, 5.0, 1.25, -1.25])),
        case("a number", normal()),
        case("empty", normal(0, 5)),
    ],
)
