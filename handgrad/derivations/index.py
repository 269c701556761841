"""y = x[key], by slices, numbers, new axes and arrays of integers

Shapes.  x (...); ``key`` as Python writes it: slices, integers, None for a new axis, "..." once. Arrays of
integers are inputs of their own, and ``key`` holds "array" where each stands; y has the shape that NumPy
gives.

Chain rule.  dy is ∂L/∂y. Each y_i is a copy of one x_j: let a_i be j, counted row by row. The same key
applied to the numbers 0, 1, 2, ... in the shape of x gives every a_i.  ∂y_i/∂x_j = [a_i = j].

Result.  dx is 0, but each dy_i is added at place a_i.

Kinks: none.  Errors: a key with more axes than x, or an index outside.
Source: PyTorch documentation, torch.Tensor.index_put_ (the transpose); NumPy, Indexing on ndarrays.
"""

from operator import getitem

from handgrad._arrays import namespace, size
from handgrad._cases import case, integers, normal
from handgrad._derivation import register
from handgrad._primitives import copy, scatter, take_rows


def forward(x, *indices, key):
    if not indices:
        y = x[_filled(key, ())]
        return copy(y), (tuple(x.shape), indices)
    xp = namespace(x)
    places = _places(x, indices, key)
    y = take_rows(xp.reshape(x, (-1,)), xp.reshape(places, (-1,)))
    return xp.reshape(y, tuple(places.shape)), (tuple(x.shape), indices)


def backward(dy, residuals, *, key):
    shape, indices = residuals
    xp = namespace(dy)
    like = xp.broadcast_to(xp.zeros((), dtype=dy.dtype, device=dy.device), shape)
    places = _places(like, indices, key)
    dx = scatter(xp.reshape(dy, (-1,)), xp.reshape(places, (-1,)), size(shape))
    return xp.reshape(dx, shape), *(None,) * len(indices)


def _places(x, indices, key):
    """The number of each element that the key takes, counted row by row."""
    xp = namespace(x)
    numbers = xp.reshape(xp.arange(size(x.shape), device=x.device), tuple(x.shape))
    return numbers[_filled(key, indices)]


def _filled(key, indices):
    given = iter(indices)
    return tuple(next(given) if isinstance(k, str) else k for k in key)


register(
    forward,
    backward,
    torch="torch.Tensor.__getitem__",
    # PyTorch has no function for it
    reference=lambda torch, x, *indices, key: getattr(torch, "index", getitem)(x, _filled(key, indices)),
    differentiable=("x",),
    widen=False,
    cases=[
        case("a slice", normal(5, 4), key=(slice(1, 5, 2), ...)),
        case("a number and a new axis", normal(2, 3, 4), key=(..., None, 1)),
        case("slices", normal(4, 5), key=(slice(None, 2), slice(1, None))),
        case("places", normal(4, 5), integers(6, high=4), integers(6, high=5), key=("array", "array")),
        case("nothing", normal(3, 4), key=(slice(2, 2), ...)),
    ],
)
