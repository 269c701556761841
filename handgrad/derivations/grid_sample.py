"""y[n, c, i] = Σ_j w_j(p) x[n, c, j],  p = the place in x that grid[n, i] names, w_j = 0 but for few j near p

Shapes.  x (N, C, *spatial) with 2 or 3 spatial axes; grid (N, *out, axes), the number of the last axis first
(x before y); y (N, C, *out).  i is a place in y, j one in x, each one number for each axis.

Forward.  Along each axis of n entries, g in [-1, 1] names a place in x:
    p = ((g + 1) n - 1)/2, -1 and 1 being the outer edges; align_corners: p = (g + 1)/2 (n - 1), the centres
A place outside is brought back: border takes the nearest inside; reflection mirrors, at the edges or
centres, until it is inside.  w is a product over the axes:
    bilinear   entries ⌊p⌋ and ⌊p⌋ + 1 with weights 1 - t and t, t = p - ⌊p⌋ (in three axes too)
    nearest    the entry nearest to p, of two the even one
    bicubic    four entries from ⌊p⌋ - 1 with the weights of Keys' cubic (a = -0.75) at t; here not p but each
               of the four places is brought back
padding_mode zeros: entries outside count as 0.

Chain rule.  dy is ∂L/∂y.  y is linear in x, and depends on g through the weights:
    dx[n, c, j]    = Σ_i dy[n, c, i] w_j(p_i)
    dgrid[n, i, k] = Σ_c dy[n, c, i] Σ_j ∂w_j/∂g_k x[n, c, j]
Of the product w only the factor of axis k depends on g_k. With s = dp/dg, n/2 or (n - 1)/2,
    bilinear   ∂(1 - t)/∂g = -s and ∂t/∂g = s, times what bringing back does: 1, -1 if mirrored, 0 if clipped
    bicubic    s times the derivative of the cubic by t
    nearest    0: the weights are constant between jumps

Result.  dx is 0, but dy w is added to the entries that y was made of; dgrid sums over channels and entries.

Kinks.  PyTorch's convention, and ours: where p is an entry itself, the slope to its right; 0 where p is at
the first or last entry with padding border or reflection.
Errors: shapes that do not fit, an unknown mode, bicubic in three axes.
Source: Jaderberg et al. 2015, Spatial transformer networks, section 3.3; PyTorch documentation,
torch.nn.functional.grid_sample.
"""

from functools import reduce
from itertools import product

from handgrad._arrays import namespace, size
from handgrad._cases import case, exactly, normal, uniform
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import scatter
from handgrad._primitives_pools import sample_grid
from handgrad.derivations._grids import taps, weight_slopes
from handgrad.derivations._pools import flat

MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")


def forward(x, grid, *, mode="bilinear", padding_mode="zeros", align_corners=False):
    _check(x, grid, mode, padding_mode)
    y = sample_grid(x, grid, mode, padding_mode, align_corners)
    if y is None:  # no operator of the library's own
        y = formula(x, grid, mode=mode, padding_mode=padding_mode, align_corners=align_corners)
    return y, (x, grid)


def formula(x, grid, **options):
    """The forward pass in elementary operations."""
    xp = namespace(grid)
    d = x.ndim - 2
    entries = flat(x, d)
    y = 0
    for index, inside, weights in _entries(x.shape[2:], grid, **options):
        w, value = _product(weights), _masked(_take(entries, index), inside)
        y = y + (value if w is None else value * w[:, None, :])
    return xp.reshape(y, (*x.shape[:2], *grid.shape[1:-1]))


def backward(dy, residuals, needs, *, mode="bilinear", padding_mode="zeros", align_corners=False):
    x, grid = residuals
    xp = namespace(dy)
    d = x.ndim - 2
    options = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    entries, dys = flat(x, d), flat(dy, d)
    smooth = mode != "nearest"
    slopes = [
        weight_slopes(_coordinate(grid, k, d), n, **options) if smooth else [0]
        for k, n in enumerate(x.shape[2:])
    ]
    parts, indices, dg = [], [], [0] * d
    for place, (index, inside, weights) in zip(
        product(*(range(len(s)) for s in slopes)), _entries(x.shape[2:], grid, **options), strict=True
    ):
        if needs[0]:
            w = _product(weights)
            parts.append(dys if w is None else dys * w[:, None, :])
            # what goes to no entry goes to one more, which is thrown away
            indices.append(index if inside is None else xp.where(inside, index, entries.shape[-1]))
        if needs[1] and smooth:
            value = xp.sum(dys * _masked(_take(entries, index), inside), axis=1)  # (N, places)
            for k in range(d):
                factor = slopes[k][place[k]]
                for other in range(d):
                    factor = factor if other == k else factor * weights[other]
                dg[k] = dg[k] + value * factor
    dx = None
    if needs[0]:
        updates, index = xp.concat(parts, axis=-1), xp.concat(indices, axis=-1)
        wide = xp.broadcast_to(index[:, None, :], updates.shape)
        dx = scatter(updates, wide, entries.shape[-1] + 1)[..., : entries.shape[-1]]
        dx = xp.reshape(dx, x.shape)
    if not needs[1]:
        return dx, None
    dgrid = xp.stack(dg[::-1], axis=-1) if smooth else xp.zeros_like(grid)
    return dx, xp.reshape(dgrid, grid.shape)


def _coordinate(grid, k, d):
    """g of spatial axis k: (N, places)."""
    g = grid[..., d - 1 - k]
    return namespace(g).reshape(g, (g.shape[0], size(g.shape[1:])))


def _entries(spatial, grid, **options):
    """For each entry that y is made of: its place in x, whether it is inside, its weight along each axis."""
    d = len(spatial)
    axes = [taps(_coordinate(grid, k, d), n, **options) for k, n in enumerate(spatial)]
    zeros = options["padding_mode"] == "zeros"
    for chosen in product(*axes):
        index, inside = chosen[0][0], chosen[0][1]
        for n, (at, within, _) in zip(spatial[1:], chosen[1:], strict=True):
            index, inside = index * n + at, inside & within
        yield index, inside if zeros or options["mode"] == "bilinear" else None, [w for _, _, w in chosen]


def _product(weights):
    """The weight of an entry: None is 1."""
    return None if weights[0] is None else reduce(lambda a, b: a * b, weights)


def _take(entries, index):
    """entries (N, C, n) at index (N, places) -> (N, C, places)."""
    xp = namespace(entries)
    wide = xp.broadcast_to(index[:, None, :], (*entries.shape[:2], index.shape[-1]))
    return xp.take_along_axis(entries, wide, axis=-1)


def _masked(value, inside):
    return value if inside is None else namespace(value).where(inside[:, None, :], value, 0)


def _check(x, grid, mode, padding_mode):
    d = x.ndim - 2
    for name, value, known in (("mode", mode, MODES), ("padding_mode", padding_mode, PADDINGS)):
        require(
            value in known, f"{name} must be one of {', '.join(known)}", repr(value), "choose one of these"
        )
    require(
        d in (2, 3) and grid.ndim == x.ndim and grid.shape[0] == x.shape[0] and grid.shape[-1] == d,
        "x must be (N, C, *spatial) with 2 or 3 spatial axes, and grid (N, *out, axes)",
        f"x {tuple(x.shape)} and grid {tuple(grid.shape)}",
        "make them fit",
    )
    require(0 not in tuple(x.shape[2:]), "x must hold entries", f"x {tuple(x.shape)}", "give a larger x")
    require(mode != "bicubic" or d == 2, "bicubic is for two axes", f"x {tuple(x.shape)}", "choose bilinear")


X, GRID = normal(2, 3, 4, 5), uniform(2, 3, 4, 2, low=-1.6, high=1.7)

register(
    forward,
    backward,
    torch="torch.nn.functional.grid_sample",
    reference=lambda torch, x, grid, *, align_corners=False, **options: torch.nn.functional.grid_sample(
        x, grid, align_corners=align_corners, **options
    ),
    autocast="cpu",
    cases=[
        case("bilinear", X, GRID),
        case("corners", X, GRID, align_corners=True),
        case("border", X, GRID, padding_mode="border"),
        case("reflection", X, GRID, padding_mode="reflection"),
        case("reflection at corners", X, GRID, padding_mode="reflection", align_corners=True),
        case("bicubic", X, GRID, mode="bicubic"),
        case("bicubic, reflection", X, GRID, mode="bicubic", padding_mode="reflection"),
        case("bicubic, border, corners", X, GRID, mode="bicubic", padding_mode="border", align_corners=True),
        case("nearest", X, GRID, mode="nearest", padding_mode="border"),
        case("three axes", normal(1, 2, 3, 2, 4), uniform(1, 2, 3, 1, 3, low=-1.5, high=1.5),
             padding_mode="reflection"),
        case("three axes, nearest", normal(1, 2, 3, 2, 4), uniform(1, 2, 3, 1, 3, low=-1.5, high=1.5),
             mode="nearest", align_corners=True),
        case("at entries", normal(1, 1, 3, 3), exactly([[[[-1.0, -1], [0, 0], [1, 1], [1, 0]]]]),
             padding_mode="border", align_corners=True, kink=True),
    ],
)  # fmt: skip
