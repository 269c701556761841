"""y = max(x1, x2), element by element

Shapes.  x1 and x2 broadcast together to (...), the shape of y.

Chain rule.  dy is ∂L/∂y.  y is a copy of the larger operand:  ∂y/∂x1 = [x1 > x2],  ∂y/∂x2 = [x2 > x1].

Result.  dx1 = dy [x1 > x2],  dx2 = dy [x2 > x1].  The minimum, min(x1, x2) = -max(-x1, -x2), is registered
here too, with < in the place of >. Where an operand was broadcast, its gradient is summed over the copies
(after ``backward``, by ``_arrays.unbroadcast``).

Ties.  Where x1 = x2 each gets dy/2, by PyTorch's convention.  NaN wins over all numbers, and is passed on.
Errors: shapes that do not broadcast.
Source: PyTorch documentation, torch.maximum and torch.minimum.
"""

from functools import partial

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal, smooth
from handgrad._derivation import register
from handgrad.derivations._fits import second_value


def forward(x1, x2):
    return namespace(x1).maximum(x1, x2), (x1, x2)


def forward_of_minimum(x1, x2):
    return namespace(x1).minimum(x1, x2), (x1, x2)


def backward(dy, residuals):
    x1, x2 = residuals
    return share(dy, x1, x2, x1 < x2), share(dy, x1, x2, x2 < x1)


def backward_of_minimum(dy, residuals):
    x1, x2 = residuals
    return share(dy, x1, x2, x1 > x2), share(dy, x1, x2, x2 > x1)


def share(dy, x1, x2, lost):
    """dy where an operand won, half of it at a tie, 0 where it lost."""
    xp = namespace(dy)
    return xp.where(lost, xp.zeros_like(dy), xp.where(x1 == x2, dy / 2, dy))


_CASES = [
    case("same shape", normal(4, 5), normal(4, 5)),
    case("a row and each row", normal(4, 5), normal(5)),
    case("column and row", normal(4, 1), normal(1, 5)),
    case("with a number", smooth(2, 3, 4), exactly(0.0)),
    case("ties", exactly([1.0, 0.0, -2.0]), exactly([1.0, -0.0, 3.0]), kink=True),
    case("empty", normal(0, 5), normal(5)),
]

_shared = partial(
    register,
    widen=False,
    cases=_CASES,
    fit=lambda rng, shape: case("fit", normal(*shape), second_value(rng, shape)),
)
_shared(forward, backward, torch="torch.maximum")
_shared(
    forward_of_minimum,
    backward_of_minimum,
    name="minimum",
    torch="torch.minimum",
    doc=__doc__.replace("max(x1, x2), element", "min(x1, x2), element", 1),
)
