"""y = the elements of x, in the same order, in another shape

Shapes.  x (...); y of ``shape``, in which one -1 stands for the length that fits.

Chain rule.  dy is ∂L/∂y. Each y_i is a copy of one x_j, so ∂y_i/∂x_j = 1 there, else 0: every gradient
goes back to where its element came from.

Result.  dx = dy in the shape of x.

Kinks: none.  Errors: a shape with another number of elements.
Source: PyTorch documentation, torch.reshape.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._primitives import copy


def forward(x, *, shape=(-1,)):
    return copy(namespace(x).reshape(x, tuple(shape))), (tuple(x.shape),)


def backward(dy, residuals, **_):
    (shape_of_x,) = residuals
    return namespace(dy).reshape(dy, shape_of_x)


def fit(rng, shape):
    """Two neighbouring axes made one, or an axis of length 1 put in."""
    i = int(rng.integers(len(shape) + 1))
    if rng.integers(2) and len(shape) > 1:
        i = min(i, len(shape) - 2)
        return case("fit", normal(*shape), shape=(*shape[:i], shape[i] * shape[i + 1], *shape[i + 2 :]))
    return case("fit", normal(*shape), shape=(*shape[:i], 1, *shape[i:]))


register(
    forward,
    backward,
    torch="torch.reshape",
    widen=False,
    fit=fit,
    cases=[
        case("to a vector", normal(2, 3, 4), shape=(-1,)),
        case("to a matrix", normal(2, 3, 4), shape=(4, 6)),
        case("one length left open", normal(2, 3, 4), shape=(2, -1, 2)),
        case("a number to a matrix", normal(), shape=(1, 1)),
        case("to a number", normal(1, 1), shape=()),
        case("the same shape", normal(2, 3), shape=(2, 3)),
        case("empty", normal(0, 4), shape=(2, 0)),
    ],
)
