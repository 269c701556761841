"""y = x1 / x2, element by element

Shapes.  x1 and x2 broadcast together to (...), the shape of y.  Where x2 is 0, y is ±∞ or NaN.
``rounding_mode``: None, "trunc" (the quotient rounded towards 0) or "floor" (rounded down).

Chain rule.  dy is ∂L/∂y. Element by element  ∂y/∂x1 = 1/x2  and  ∂y/∂x2 = -x1/x2² = -y/x2.

Result.  dx1 = dy / x2,  dx2 = -dy y/x2 = -dx1 y  (x2 and y conjugated for complex numbers). Where an operand
was broadcast, its gradient is summed over the copies (after ``backward``, by ``_arrays.unbroadcast``).

Kinks.  A rounded quotient is constant between its jumps: its gradients are 0, and 0 at the jumps
too by PyTorch's convention.  Errors: shapes that do not broadcast; an unknown rounding_mode.
Source: PyTorch documentation, torch.divide.
"""

from handgrad._arrays import conj, namespace
from handgrad._cases import case, exactly, normal, uniform
from handgrad._derivation import register
from handgrad._errors import require
from handgrad.derivations._fits import broadcastable


def forward(x1, x2, *, rounding_mode=None):
    require(
        rounding_mode in (None, "trunc", "floor"),
        'rounding_mode must be None, "trunc" or "floor"',
        repr(rounding_mode),
        "choose one of these",
    )
    if rounding_mode == "floor":
        # not floor(x1 / x2): x1 / x2 may round up to the next integer
        y = namespace(x1).floor_divide(x1, x2)
    else:
        y = x1 / x2
    return namespace(y).trunc(y) if rounding_mode == "trunc" else y, (x2, y)


def backward(dy, residuals, *, rounding_mode=None):
    x2, y = residuals
    if rounding_mode is not None:
        zero = namespace(dy).zeros_like(dy)
        return zero, zero
    dx1 = dy / conj(x2)
    return dx1, -dx1 * conj(y)


def fit(rng, shape):
    """A divisor that keeps away from 0; no rounding, after which no gradient is left."""
    sign = float(rng.choice([-1, 1]))
    low, high = sorted((sign * 0.5, sign * 2.0))
    return case("fit", normal(*shape), uniform(*broadcastable(rng, shape), low=low, high=high))


_DIVIDEND, _DIVISOR = exactly([7.0, -7.0, 5.5, -5.0]), exactly([[2.0], [-2.25]])

register(
    forward,
    backward,
    torch="torch.divide",
    fit=fit,
    cases=[
        case("same shape", normal(4, 5), uniform(4, 5, low=0.5, high=2.0)),
        case("negative divisor", normal(4, 5), uniform(4, 5, low=-2.0, high=-0.5)),
        case("each row by a row", normal(4, 5), uniform(5, low=0.5, high=2.0)),
        case("column by row", normal(4, 1), uniform(1, 5, low=0.5, high=2.0)),
        case("all by a number", normal(2, 3, 4), exactly(-0.25)),
        case("trunc", _DIVIDEND, _DIVISOR, rounding_mode="trunc"),
        case("floor", _DIVIDEND, _DIVISOR, rounding_mode="floor"),
        case("at a jump", exactly([6.0, -6.0]), exactly([3.0, 2.0]), kink=True, rounding_mode="floor"),
        case("empty", normal(0, 5), uniform(5, low=0.5, high=2.0)),
    ],
)
