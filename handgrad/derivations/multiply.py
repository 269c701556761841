"""y = x1 x2, element by element

Shapes.  x1 and x2 broadcast together to (...), the shape of y.

Chain rule.  dy is ∂L/∂y. Element by element  ∂y/∂x1 = x2  and  ∂y/∂x2 = x1:  a product hands on its
gradient times the *other* operand.

Result.  dx1 = dy x2,  dx2 = dy x1  (x2 and x1 conjugated for complex numbers). Where an operand
was broadcast, its gradient is summed over the copies (after ``backward``, by ``_arrays.unbroadcast``).

Kinks: none.  Errors: shapes that do not broadcast.
Source: PyTorch documentation, torch.multiply; the lecture's section 6.2.
"""

from handgrad._arrays import conj
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad.derivations._fits import second_value


def forward(x1, x2):
    return x1 * x2, (x1, x2)


def backward(dy, residuals):
    x1, x2 = residuals
    return dy * conj(x2), dy * conj(x1)


register(
    forward,
    backward,
    torch="torch.multiply",
    fit=lambda rng, shape: case("fit", normal(*shape), second_value(rng, shape)),
    cases=[
        case("a column for each matrix", normal(2, 3, 4), normal(3, 1)),
        case("same shape", normal(4, 5), normal(4, 5)),
        case("the lecture's numbers", exactly(3.0), exactly(-4.0)),
        case("each row by a row", normal(4, 5), normal(5)),
        case("column times row", normal(4, 1), normal(1, 5)),
        case("all by a number", normal(2, 3, 4), normal()),
        case("by zero", exactly([1.0, 0.0, -2.0]), exactly([0.0, 0.0, 3.0])),
        case("empty", normal(0, 5), normal(5)),
    ],
)
