"""y = the elements of x in rising order along one axis, and where each came from

Shapes.  x, y and indices (..., n, ...); ``dim`` names the axis. ``descending``: in falling order;
``stable``: equal elements keep their order.

Forward.  a_i is the place of the i-th smallest element (the second output, ``indices``); then y_i = x at a_i.

Chain rule.  dy is ∂L/∂y. The order does not change under a small change of x, so each y_i is a copy of one
element: ∂y_i/∂x_j = [a_i = j].

Result.  dx is 0, but each dy_i is put at place a_i: the inverse permutation.  topk, registered here too,
keeps the first k; what is left out has gradient 0. indices, being integers, have no gradient.

Ties.  Of equal elements each counts as the one at its place in ``indices``.  NaN counts as largest.
Errors: an axis that x does not have; k beyond its length.
Source: PyTorch documentation, torch.sort and torch.topk.
"""

from handgrad._arrays import namespace, normalize_axes
from handgrad._cases import case, distinct
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives_places import add_along, first_places, order, take_along


def forward(x, *, dim=-1, descending=False, stable=False):
    (axis,) = normalize_axes(dim, x.ndim) or (0,)
    return picked(x, lambda rows: order(rows, axis, descending, stable), axis)


def forward_of_topk(x, *, k, dim=-1, largest=True, sorted=True):
    (axis,) = normalize_axes(dim, x.ndim) or (0,)
    n = x.shape[axis] if x.ndim else 1
    require(0 <= k <= n, f"topk needs k in [0, {n}], the length of the axis", k, "ask for fewer")
    return picked(x, lambda rows: first_places(rows, k, axis, largest, sorted), axis)


def picked(x, places, axis):
    """(x at its places, the places), and what backward needs."""
    xp = namespace(x)
    rows = x if x.ndim else xp.reshape(x, (1,))
    a = places(rows)
    y = take_along(rows, a, axis)
    shape = tuple(y.shape) if x.ndim else tuple(y.shape[1:])
    return (xp.reshape(y, shape), xp.reshape(a, shape)), (a, axis, tuple(x.shape))


def backward(dys, residuals, **_):
    a, axis, shape = residuals
    dy, _ = dys  # one for each output; indices have none
    xp = namespace(dy)
    zeros = xp.zeros(shape or (1,), dtype=dy.dtype, device=dy.device)
    return xp.reshape(add_along(zeros, xp.reshape(dy, tuple(a.shape)), a, axis), shape)


register(
    forward,
    backward,
    torch="torch.sort",
    reference=lambda torch, x, *, dim=-1, descending=False, stable=False: torch.sort(
        x, stable=stable, dim=dim, descending=descending
    ),
    outputs=("y", "indices"),
    constant=("indices",),
    widen=False,
    cases=[
        case("rows", distinct(3, 4)),
        case("columns, falling, stable", distinct(2, 5, 3), dim=-2, descending=True, stable=True),
        case("a number", distinct()),
        case("empty", distinct(0, 4), dim=0),
    ],
)
register(
    forward_of_topk,
    backward,
    name="topk",
    torch="torch.topk",
    doc=__doc__.replace(
        "the elements of x in rising order", "the k largest elements of x in falling order", 1
    ),
    outputs=("y", "indices"),
    constant=("indices",),
    widen=False,
    cases=[
        case("two of each row", distinct(3, 4), k=2),
        case("the smallest of each column", distinct(2, 5, 3), k=3, dim=-2, largest=False),
        case("all", distinct(4), k=4, dim=0),
        case("none", distinct(3, 4), k=0),
    ],
)
