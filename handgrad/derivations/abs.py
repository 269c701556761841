"""y = |x|

Shapes.  x and y (...), element by element; y is real.

Chain rule.  dy is ∂L/∂y.  For real x, ∂y/∂x = sgn(x): 1 above 0, -1 below. For complex x = a + ib:  y² = a²
+ b², so ∂y/∂a = a/y and ∂y/∂b = b/y, together x/y, which is sgn(x) too.

Result.  dx = dy sgn(x).

Kinks.  At x = 0 the slope is 0, by PyTorch's convention.  Errors: none.
Source: PyTorch documentation, torch.abs.
"""

from handgrad._arrays import namespace, sgn
from handgrad._cases import case, exactly, normal, smooth
from handgrad._derivation import register


def forward(x):
    return namespace(x).abs(x), (x,)


def backward(dy, residuals):
    (x,) = residuals
    return dy * sgn(x)


register(
    forward,
    backward,
    torch="torch.abs",
    widen=False,
    fit=lambda rng, shape: case("fit", smooth(*shape)),
    cases=[
        case("both signs", smooth(4, 5)),
        case("at zero", exactly([-2.0, 0.0, -0.0, 3.0]), kink=True),
        case("a number", smooth()),
        case("empty", normal(0, 5)),
    ],
)
