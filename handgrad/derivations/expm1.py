"""y = exp(x) - 1, accurate near x = 0

Shapes.  x and y (...), element by element.

Chain rule.  dy is ∂L/∂y.  ∂y/∂x = exp(x).

Result.  dx = dy exp(x)  (conjugated for complex numbers). This is y + 1 too, but far below 0 that sum
cancels.

Kinks: none.  Errors: none.
Source: PyTorch documentation, torch.expm1.
"""

from handgrad._arrays import conj, namespace
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register


def forward(x):
    return namespace(x).expm1(x), (x,)


def backward(dy, residuals):
    (x,) = residuals
    return dy * conj(namespace(x).exp(x))


register(
    forward,
    backward,
    torch="torch.expm1",
    autocast="float32",
    fit=lambda rng, shape: case("fit", normal(*shape)),
    cases=[
        case("both signs", normal(4, 5)),
        case("near zero", exactly([0.0, 1e-7, -1e-7])),
        case("far below", exactly([-20.0, -50.0])),
        case("a number", normal()),
        case("empty", normal(0, 5)),
    ],
)
