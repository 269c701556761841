"""y = x, laid beside itself ``dims`` times along each axis

Shapes.  x (n_1, ..., n_k), y (r_1 n_1, ..., r_k n_k) with r = ``dims``: the shorter of x's shape and dims
gets ones in front.

Chain rule.  dy is ∂L/∂y. With the axes of y split in two, y[t_1, i_1, t_2, i_2, ...] = x[i_1, i_2, ...]: x_i
goes to every tile t.

Result.  dx_i = Σ_t dy[t, i], the sum over the tiles.

Kinks: none.  Errors: negative dims.
Source: PyTorch documentation, torch.tile and torch.Tensor.repeat.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require


def forward(x, *, dims):
    xp = namespace(x)
    shape = (1,) * (len(dims) - x.ndim) + tuple(x.shape)
    times = (1,) * (x.ndim - len(dims)) + tuple(dims)
    require(
        min(times, default=0) >= 0, "tile needs counts of 0 or more", f"{tuple(dims)}", "leave out the minus"
    )
    # (1, n_1, 1, n_2, ...) -> (r_1, n_1, r_2, n_2, ...)
    apart = xp.reshape(x, tuple(m for n in shape for m in (1, n)))
    y = xp.broadcast_to(apart, tuple(m for pair in zip(times, shape, strict=True) for m in pair))
    whole = tuple(r * n for r, n in zip(times, shape, strict=True))
    return xp.reshape(y, whole), (times, shape, tuple(x.shape))


def backward(dy, residuals, **_):
    times, shape, shape_of_x = residuals
    xp = namespace(dy)
    apart = xp.reshape(dy, tuple(m for pair in zip(times, shape, strict=True) for m in pair))
    return xp.reshape(xp.sum(apart, axis=tuple(range(0, apart.ndim, 2))), shape_of_x)


register(
    forward,
    backward,
    torch="torch.tile",
    cases=[
        case("both axes", normal(2, 3), dims=(2, 3)),
        case("a new axis", normal(2, 3), dims=(2, 1, 2)),
        case("fewer dims than axes", normal(2, 3), dims=(2,)),
        case("a number", normal(), dims=(3,)),
        case("no tiles", normal(2, 3), dims=(0, 2)),
    ],
)
