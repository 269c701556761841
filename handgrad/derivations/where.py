"""y = x1 where the condition holds, else x2

Shapes.  condition, x1 and x2 broadcast together to (...), the shape of y.

Chain rule.  dy is ∂L/∂y.  Each element of y is a copy of one operand's: one slope is 1, the other 0.
The condition, being true or false, has no gradient.

Result.  dx1 = dy where the condition holds, else 0;  dx2 = 0 there, else dy. Where an operand was
broadcast, its gradient is summed over the copies (after ``backward``, by ``_arrays.unbroadcast``).

Kinks: none (a kink of the condition is none of this layer).  Errors: shapes that do not broadcast.
Source: PyTorch documentation, torch.where.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, mask, normal
from handgrad._derivation import register


def forward(condition, x1, x2):
    return namespace(x1).where(condition, x1, x2), (condition,)


def backward(dy, residuals):
    (condition,) = residuals
    xp = namespace(dy)
    zero = xp.zeros_like(dy)
    return None, xp.where(condition, dy, zero), xp.where(condition, zero, dy)


register(
    forward,
    backward,
    torch="torch.where",
    differentiable=("x1", "x2"),
    widen=False,
    cases=[
        case("same shape", mask(4, 5), normal(4, 5), normal(4, 5)),
        case("a column of conditions", mask(4, 1), normal(4, 5), normal(5)),
        case("numbers", mask(4, 5), normal(), normal()),
        case("empty", mask(0, 5), normal(5), normal(0, 5)),
    ],
)
