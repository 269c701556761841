"""y = x - tanh(x)

Shapes.  x and y (...), element by element.

Forward.  Near 0 y is about x³/3, the difference of two numbers that are nearly equal: it is right to a
rounding of x, not of y, as in PyTorch.

Chain rule.  dy is ∂L/∂y. With ∂tanh(x)/∂x = 1 - tanh²(x), as ``tanh`` derives it,
    ∂y/∂x = 1 - (1 - tanh²(x)) = tanh²(x)

Result.  dx = dy tanh²(x)  (conjugated for complex numbers).

Kinks: none.  Errors: none.  NaN is passed on.
Source: PyTorch documentation, torch.nn.functional.tanhshrink.
"""

from handgrad._arrays import conj, namespace
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register


def forward(x):
    return x - namespace(x).tanh(x), (x,)


def backward(dy, residuals):
    (x,) = residuals
    t = namespace(x).tanh(x)
    return dy * conj(t * t)


register(
    forward,
    backward,
    torch="torch.nn.functional.tanhshrink",
    fit=lambda rng, shape: case("fit", normal(*shape)),
    cases=[
        case("both signs", normal(4, 5)),
        case("near zero", exactly([-0.1, 0.01, 0.3])),
        case("far out", exactly([-1000.0, -20.0, 20.0, 1000.0])),
        case("a number", normal()),
        case("empty", normal(0, 5)),
    ],
)
