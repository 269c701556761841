"""y = v where the mask holds, else x

Shapes.  x and mask broadcast together to (...), the shape of y; v (value) is one number.

Chain rule.  dy is ∂L/∂y.  Each element of y is a copy: of v under the mask, of x elsewhere.

Result.  dx = dy outside the mask, 0 under it;  dv = Σ dy under the mask, since every such element is a copy
of v (the sum is made after ``backward``, by ``_arrays.unbroadcast``).

Kinks: none.  Errors: a value with axes; shapes that do not broadcast.
Source: PyTorch documentation, torch.Tensor.masked_fill.
"""

from handgrad._arrays import cast
from handgrad._cases import case, mask, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad.derivations import where


def forward(x, mask, value):
    require(value.ndim == 0, "masked_fill needs one number as value", tuple(value.shape), "use where")
    return where.forward(mask, cast(value, x.dtype), x)


def backward(dy, residuals):
    _, dvalue, dx = where.backward(dy, residuals)
    return dx, None, dvalue


register(
    forward,
    backward,
    torch="torch.masked_fill",
    differentiable=("x", "value"),
    widen=False,
    cases=[
        case("a mask for each", normal(4, 5), mask(4, 5), normal()),
        case("a mask for rows", normal(2, 4, 5), mask(4, 1), normal()),
        case("x broadcast", normal(5), mask(4, 5), normal()),
        case("empty", normal(0, 5), mask(5), normal()),
    ],
)
