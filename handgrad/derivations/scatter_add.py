"""y = x, with each src_i added at place index_i of one axis

Shapes.  x and y (..., n, ...); index has as many axes and is no longer than x but along ``dim``; src has its
shape (what lies beyond is not used).

Chain rule.  dy is ∂L/∂y.  y_j = x_j + Σ_i src_i [index_i = j], so ∂y_j/∂x_j = 1 and ∂y_j/∂src_i = [index_i =
j].

Result.  dx = dy,  dsrc_i = dy at place index_i: gather, this layer's transpose.  ``scatter``, registered
here too, writes src_i in the place of x: dx is 0 where something was written, else dy. Where two indices
meet, either may be the one that stays; the gradient goes to both, by PyTorch's convention.

Kinks: none.  Errors: an index with other axes, longer than x or src, or outside of x.
Source: PyTorch documentation, torch.scatter_add and torch.scatter.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, integers, normal
from handgrad._derivation import register
from handgrad._primitives import pad_axes
from handgrad._primitives_places import add_along, corner, put_along, require_index, take_along


def forward(x, index, src, *, dim):
    axis = require_index("scatter_add", x, index, dim, src)
    return add_along(x, corner(src, index.shape), index, axis), (index, axis, tuple(src.shape))


def backward(dy, residuals, **_):
    index, axis, shape = residuals
    return dy, None, _into_corner(take_along(dy, index, axis), shape)


def forward_of_scatter(x, index, src, *, dim):
    axis = require_index("scatter", x, index, dim, src)
    return put_along(x, corner(src, index.shape), index, axis), (index, axis, tuple(src.shape))


def backward_of_scatter(dy, residuals, **_):
    index, axis, shape = residuals
    zeros = namespace(dy).zeros(tuple(index.shape), dtype=dy.dtype, device=dy.device)
    dsrc = _into_corner(take_along(dy, index, axis), shape)
    return put_along(dy, zeros, index, axis), None, dsrc


def _into_corner(dx, shape):
    """The transpose of ``corner``: zeros beyond."""
    if tuple(dx.shape) == shape or not shape:
        return dx
    return pad_axes(dx, tuple((0, n - m) for n, m in zip(shape, dx.shape, strict=True)))


register(
    forward,
    backward,
    torch="torch.scatter_add",
    reference=lambda torch, x, index, src, *, dim: torch.scatter_add(x, dim, index, src),
    differentiable=("x", "src"),
    cases=[
        case("along rows", normal(3, 5), integers(3, 4, high=5), normal(3, 4), dim=1),
        case("a smaller index", normal(3, 4, 5), integers(2, 6, 3, high=4), normal(2, 6, 3), dim=-2),
        case("a vector", normal(5), integers(7, high=5), normal(7), dim=0),
        case("nothing", normal(3, 4), integers(3, 0, high=4), normal(3, 0), dim=1),
    ],
)
register(
    forward_of_scatter,
    backward_of_scatter,
    name="scatter",
    torch="torch.scatter",
    doc=__doc__.replace("with each src_i added at place", "with each src_i written at place", 1),
    reference=lambda torch, x, index, src, *, dim: torch.scatter(x, dim, index, src),
    differentiable=("x", "src"),
    widen=False,
    cases=[
        case("along rows", normal(3, 5), integers(3, 1, high=5), normal(3, 1), dim=1),
        case("a smaller index", normal(3, 4, 5), integers(2, 1, 3, high=4), normal(2, 1, 3), dim=-2),
        case("a vector", normal(5), integers(1, high=5), normal(1), dim=0),
        case("nothing", normal(3, 4), integers(3, 0, high=4), normal(3, 0), dim=1),
    ],
)
