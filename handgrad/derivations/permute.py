"""y = x with its axes in another order

Shapes.  x (n_0, n_1, ...), y (n_dims[0], n_dims[1], ...): axis k of y is axis dims[k] of x.

Chain rule.  dy is ∂L/∂y. Each element of y is one element of x, and each of x goes to one place in y.

Result.  dx = dy with its axes put back: the inverse permutation.

Kinks: none.  Errors: dims that do not name each axis once.
Source: PyTorch documentation, torch.permute.
"""

from handgrad._arrays import namespace, normalize_axes
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import copy


def forward(x, *, dims):
    require(
        len(dims) == x.ndim, "permute names each axis once", f"{tuple(dims)} for {x.ndim} axes", "name all"
    )
    axes = normalize_axes(tuple(dims), x.ndim)
    require(len(set(axes)) == x.ndim, "permute names each axis once", f"{tuple(dims)}", "leave out repeats")
    return copy(namespace(x).permute_dims(x, axes)), (axes,)


def backward(dy, residuals, **_):
    (axes,) = residuals
    return namespace(dy).permute_dims(dy, tuple(axes.index(axis) for axis in range(len(axes))))


def fit(rng, shape):
    """Any order."""
    return case("fit", normal(*shape), dims=tuple(int(d) for d in rng.permutation(len(shape))))


register(
    forward,
    backward,
    torch="torch.permute",
    widen=False,
    fit=fit,
    cases=[
        case("a cycle", normal(2, 3, 4), dims=(2, 0, 1)),
        case("from the back", normal(2, 3, 4), dims=(-1, 0, -2)),
        case("a number", normal(), dims=()),
        case("empty", normal(0, 5), dims=(1, 0)),
    ],
)
