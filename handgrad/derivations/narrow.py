"""y[i] = x[start + i], along one axis

Shapes.  x (..., n, ...), y (..., length, ...).

Chain rule.  dy is ∂L/∂y. Each y_i is a copy of one x_j; the rest of x is not used.

Result.  dx = dy at its place, with zeros before and after. ``select``, registered here too, takes one place
and drops the axis: dx = dy with that axis put back, and zeros around it.

Kinks: none.  Errors: an axis that x does not have; a range that leaves x.
Source: PyTorch documentation, torch.narrow and torch.select.
"""

from handgrad._arrays import namespace, normalize_axes
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import copy, pad_axes


def forward(x, *, dim, start, length):
    axis, n = _axis(x, dim)
    start = start + n if start < 0 else start
    require(
        start >= 0 and length >= 0 and start + length <= n,
        f"a range must lie in x, of length {n}",
        f"{length} from {start} on",
        "shorten it",
    )
    return copy(x[(*(slice(None),) * axis, slice(start, start + length), ...)]), (axis, start, n)


def backward(dy, residuals, **_):
    return between_zeros(dy, *residuals)


def forward_of_select(x, *, dim, index):
    axis, n = _axis(x, dim)
    if not -n <= index < n:
        raise IndexError(f"select needs an index in [{-n}, {n}); received {index}; choose one inside.")
    index %= n
    return copy(x[(*(slice(None),) * axis, index, ...)]), (axis, index, n)


def backward_of_select(dy, residuals, **_):
    axis, *place = residuals
    return between_zeros(namespace(dy).expand_dims(dy, axis=axis), axis, *place)


def between_zeros(dy, axis, start, n):
    """dy from ``start`` on along an axis, zeros elsewhere up to length n."""
    after = n - start - dy.shape[axis]
    return pad_axes(dy, ((start, after), *((0, 0),) * (dy.ndim - axis - 1)))


def _axis(x, dim):
    require(x.ndim > 0, "a part is taken of an array with axes", "a number", "reshape it to (1,)")
    (axis,) = normalize_axes(dim, x.ndim)
    return axis, x.shape[axis]


register(
    forward,
    backward,
    torch="torch.narrow",
    widen=False,
    cases=[
        case("from the middle", normal(5, 3), dim=0, start=1, length=2),
        case("from the back", normal(2, 3, 4), dim=-2, start=-2, length=2),
        case("all", normal(3, 4), dim=1, start=0, length=4),
        case("nothing", normal(3, 4), dim=1, start=4, length=0),
    ],
)
register(
    forward_of_select,
    backward_of_select,
    name="select",
    torch="torch.select",
    doc=__doc__.replace(
        "y[i] = x[start + i], along one axis", "y = x[..., index, ...], one place of an axis", 1
    ),
    widen=False,
    cases=[
        case("a row", normal(5, 3), dim=0, index=1),
        case("from the back", normal(2, 3, 4), dim=-2, index=-1),
        case("of a vector", normal(3), dim=0, index=2),
        case("empty", normal(0, 4), dim=1, index=0),
    ],
)
