"""y = max_i x_i along one axis, and where it stands

Shapes.  x (..., n, ...), real; y and indices without the axis ``dim``, or with length 1 there if ``keepdim``.

Forward.  a is the place of the largest element (the second output, ``indices``); then y = x_a.

Chain rule.  dy is ∂L/∂y.  y is a copy of one element, so ∂y/∂x_i = [a = i], which is 1 if a = i, else 0.

Result.  dx is 0, but dy is put at place a.  min, registered here too, is the same for the smallest. indices,
being integers, have no gradient.

Ties.  Of equal elements the one at ``indices`` gets all of dy, by PyTorch's convention.  NaN wins.
Errors: an axis that x does not have; a maximum of no elements.
Source: PyTorch documentation, torch.max and torch.min.
"""

from functools import partial

from handgrad._arrays import namespace, normalize_axes
from handgrad._cases import case, distinct
from handgrad._derivation import register
from handgrad._primitives_places import add_along, place_of_extreme, take_along
from handgrad.derivations.amax import reduced


def forward(x, *, dim, keepdim=False):
    return extreme(x, dim, keepdim, True)


def forward_of_min(x, *, dim, keepdim=False):
    return extreme(x, dim, keepdim, False)


def extreme(x, dim, keepdim, largest):
    xp = namespace(x)
    if not x.ndim:
        normalize_axes(dim, 0)
        a = xp.zeros((1,), dtype=xp.int64, device=x.device)
        return (xp.reshape(take_along(xp.reshape(x, (1,)), a, 0), ()), xp.reshape(a, ())), (a, 0, ())
    (axis,) = reduced(x, dim)
    a = place_of_extreme(x, axis, largest)
    y = take_along(x, a, axis)
    shape = tuple(y.shape) if keepdim else (*y.shape[:axis], *y.shape[axis + 1 :])
    return (xp.reshape(y, shape), xp.reshape(a, shape)), (a, axis, tuple(x.shape))


def backward(dys, residuals, **_):
    a, axis, shape = residuals
    dy, _ = dys  # one for each output; indices have none
    xp = namespace(dy)
    if not shape:
        return dy
    zeros = xp.zeros(shape, dtype=dy.dtype, device=dy.device)
    return add_along(zeros, xp.reshape(dy, tuple(a.shape)), a, axis)


_CASES = [
    case("one axis", distinct(3, 4), dim=1),
    case("kept", distinct(2, 3, 4), dim=-2, keepdim=True),
    case("a vector", distinct(5), dim=0),
    case("no results", distinct(0, 4), dim=1),
]
_shared = partial(register, outputs=("y", "indices"), constant=("indices",), widen=False, cases=_CASES)
_shared(forward, backward, torch="torch.max")
_shared(
    forward_of_min,
    backward,
    name="min",
    torch="torch.min",
    doc=__doc__.replace("y = max_i", "y = min_i", 1),
)
