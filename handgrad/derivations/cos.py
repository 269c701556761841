"""y = cos(x)

Shapes.  x and y (...), element by element.

Chain rule.  dy is ∂L/∂y.  ∂y/∂x = -sin(x).

Result.  dx = -dy sin(x)  (conjugated for complex numbers).

Kinks: none.  Errors: none.
Source: PyTorch documentation, torch.cos.
"""

from handgrad._arrays import conj, namespace
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register


def forward(x):
    return namespace(x).cos(x), (x,)


def backward(dy, residuals):
    (x,) = residuals
    return -dy * conj(namespace(x).sin(x))


register(
    forward,
    backward,
    torch="torch.cos",
    fit=lambda rng, shape: case("fit", normal(*shape)),
    cases=[
        case("some periods", normal(4, 5, scale=4.0)),
        case("at zero", exactly([0.0, -0.0])),
        case("a number", normal()),
        case("empty", normal(0, 5)),
    ],
)
