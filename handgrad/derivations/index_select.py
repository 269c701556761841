"""y[i] = x[index_i], along one axis

Shapes.  x (..., n, ...), index (m,) of integers in [0, n), y (..., m, ...).

Chain rule.  dy is ∂L/∂y.  ∂y_i/∂x_j = [index_i = j]: an index may come several times, or never.

Result.  dx is 0, but each dy_i is added at place index_i.

Kinks: none.  Errors: an index outside of x; an index with two axes or more.
Source: PyTorch documentation, torch.index_select.
"""

from handgrad._arrays import namespace, normalize_axes
from handgrad._cases import case, integers, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import add_rows, take_rows


def forward(x, index, *, dim):
    require(
        index.ndim < 2, "index_select needs a vector as index", f"{index.ndim} axes", "flatten it, or gather"
    )
    (axis,) = normalize_axes(dim, x.ndim) or (0,)
    xp = namespace(x)
    if not index.ndim:
        index = xp.reshape(index, (1,))
    if not x.ndim:
        x = xp.reshape(x, (1,))
        return xp.reshape(take_rows(x, index), ()), (index, (), 0)
    return take_rows(x, index, axis), (index, tuple(x.shape), axis)


def backward(dy, residuals, **_):
    index, shape, axis = residuals
    xp = namespace(dy)
    if not shape:
        return xp.reshape(dy, ())
    zeros = xp.zeros(shape, dtype=dy.dtype, device=dy.device)
    return add_rows(zeros, dy, index, axis), None


register(
    forward,
    backward,
    torch="torch.index_select",
    reference=lambda torch, x, index, *, dim: torch.index_select(x, dim, index),
    differentiable=("x",),
    cases=[
        case("rows", normal(5, 3), integers(4, high=5), dim=0),
        case("columns, repeated", normal(2, 3), integers(7, high=3), dim=-1),
        case("a vector", normal(5), integers(2, high=5), dim=0),
        case("nothing", normal(3, 4), integers(0, high=3), dim=1),
    ],
)
