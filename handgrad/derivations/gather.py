"""y[..., i, ...] = x[..., index[..., i, ...], ...], along one axis

Shapes.  x (..., n, ...), index and y of one shape, of as many axes: no longer than x but along ``dim``.
Along the others each place looks at its own row of x.

Chain rule.  dy is ∂L/∂y. Each y_i is a copy of one x_j, so ∂y_i/∂x_j = 1 there, else 0.

Result.  dx is 0, but each dy_i is added at its place index_i: scatter_add, this layer's transpose.

Kinks: none.  Errors: an index with other axes, longer than x, or outside of it.
Source: PyTorch documentation, torch.gather.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, integers, normal
from handgrad._derivation import register
from handgrad._primitives_places import add_along, require_index, take_along


def forward(x, index, *, dim):
    axis = require_index("gather", x, index, dim)
    return take_along(x, index, axis), (index, axis, tuple(x.shape))


def backward(dy, residuals, **_):
    index, axis, shape = residuals
    zeros = namespace(dy).zeros(shape, dtype=dy.dtype, device=dy.device)
    return add_along(zeros, dy, index, axis), None


register(
    forward,
    backward,
    torch="torch.gather",
    reference=lambda torch, x, index, *, dim: torch.gather(x, dim, index),
    differentiable=("x",),
    cases=[
        case("along rows", normal(3, 5), integers(3, 4, high=5), dim=1),
        case("a smaller index", normal(3, 4, 5), integers(2, 6, 3, high=4), dim=-2),
        case("a vector", normal(5), integers(7, high=5), dim=0),
        case("nothing", normal(3, 4), integers(3, 0, high=4), dim=1),
    ],
)
