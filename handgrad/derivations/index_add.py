"""y = x, with α source_i added at place index_i of one axis

Shapes.  x and y (..., n, ...), source (..., m, ...), index (m,) of integers in [0, n); α is the number
``alpha``.

Chain rule.  dy is ∂L/∂y.  y_j = x_j + α Σ_i source_i [index_i = j], so ∂y_j/∂x_j = 1 and ∂y_j/∂source_i is α
where index_i = j, else 0.

Result.  dx = dy,  dsource_i = α dy[index_i]  (ᾱ for complex numbers).

Kinks: none.  Errors: an index outside of x; a source of another shape.
Source: PyTorch documentation, torch.index_add.
"""

from handgrad._arrays import namespace, normalize_axes
from handgrad._cases import case, integers, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import add_rows, take_rows


def forward(x, index, source, *, dim, alpha=1):
    (axis,) = normalize_axes(dim, x.ndim) or (0,)
    require(index.ndim < 2, "index_add needs a vector as index", f"{index.ndim} axes", "flatten it")
    xp = namespace(x)
    index = xp.reshape(index, (-1,))
    shape = tuple(source.shape)
    rows, parts = (a if a.ndim else xp.reshape(a, (1,)) for a in (x, source))
    expected = (*rows.shape[:axis], index.shape[0], *rows.shape[axis + 1 :])
    require(
        tuple(parts.shape) == expected,
        f"index_add needs a source of shape {expected}",
        f"{shape}",
        "give one slice for each index",
    )
    y = add_rows(rows, parts if alpha == 1 else alpha * parts, index, axis)
    return xp.reshape(y, tuple(x.shape)), (index, shape, axis)


def backward(dy, residuals, *, alpha=1, **_):
    index, shape, axis = residuals
    xp = namespace(dy)
    rows = dy if dy.ndim else xp.reshape(dy, (1,))
    dsource = xp.reshape(take_rows(rows, index, axis), shape)
    return dy, None, dsource if alpha == 1 else dsource * alpha.conjugate()


register(
    forward,
    backward,
    torch="torch.index_add",
    reference=lambda torch, x, index, source, *, dim, alpha=1: torch.index_add(
        x, dim, index, source, alpha=alpha
    ),
    differentiable=("x", "source"),
    cases=[
        case("rows, repeated", normal(3, 4), integers(5, high=3), normal(5, 4), dim=0),
        case("columns and alpha", normal(2, 3), integers(2, high=3), normal(2, 2), dim=-1, alpha=-2.5),
        case("a vector", normal(5), integers(2, high=5), normal(2), dim=0),
        case("nothing", normal(3, 4), integers(0, high=4), normal(3, 0), dim=1),
    ],
)
