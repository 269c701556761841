"""y[n, i, k] = Σ_j θ[n, k, j] b[i, j],  b[i] = (place of i in the last axis, ..., in the first, 1)

Shapes.  θ (N, d, d + 1) with d = 2 or 3; size (N, C, *out), one number for each of d spatial axes; y
(N, *out, d): for each place i of a picture of that size, a place in another, as ``grid_sample`` takes it.

Forward.  Along an axis of n places, b runs evenly from -1 to 1: from the centre of the first entry to that of
the last with align_corners, else from the edge of the first to that of the last, so that the centres are at
±(1 - 1/n). One place alone is at 0.  The last axis comes first, as x comes before y.

Chain rule.  dy is ∂L/∂y.  y[n, i, k] contains θ[n, k, j] once, times b[i, j]:
    dθ[n, k, j] = Σ_i dy[n, i, k] b[i, j]

Result.  With all places as the rows of a matrix B:  y = B θᵀ and dθ = dyᵀ B.

Kinks: none.  Errors: θ that does not fit size.
Source: Jaderberg et al. 2015, Spatial transformer networks, section 3.2; PyTorch documentation,
torch.nn.functional.affine_grid.
"""

from handgrad._arrays import namespace
from handgrad._arrays import size as count
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require


def forward(theta, *, size, align_corners=False):
    d = len(size) - 2
    require(
        d in (2, 3) and tuple(theta.shape) == (size[0], d, d + 1),
        "theta must be (N, 2, 3) for a size (N, C, H, W), or (N, 3, 4) for (N, C, D, H, W)",
        f"theta {tuple(theta.shape)} for size {tuple(size)}",
        "make them fit",
    )
    y = _places(theta, size[2:], align_corners) @ theta.mT
    return namespace(y).reshape(y, (size[0], *size[2:], d)), ()


def backward(dy, _residuals, *, size, align_corners=False):
    rows = namespace(dy).reshape(dy, (size[0], count(tuple(size[2:])), dy.shape[-1]))
    return rows.mT @ _places(dy, size[2:], align_corners)


def _places(like, out, align_corners):
    """B (product of out, d + 1)."""
    xp = namespace(like)
    columns = []
    for axis, n in enumerate(out):
        line = xp.linspace(-1.0, 1.0, n, dtype=like.dtype, device=like.device) if n > 1 else xp.zeros(
            n, dtype=like.dtype, device=like.device
        )  # fmt: skip
        line = line if align_corners or n < 2 else line * ((n - 1) / n)
        wide = xp.broadcast_to(xp.reshape(line, (-1, *(1,) * (len(out) - 1 - axis))), tuple(out))
        columns.insert(0, xp.reshape(wide, (-1,)))
    return xp.stack([*columns, xp.ones_like(columns[0])], axis=-1)


register(
    forward,
    backward,
    torch="torch.nn.functional.affine_grid",
    reference=lambda torch, theta, *, size, align_corners=False: torch.nn.functional.affine_grid(
        theta, size, align_corners
    ),
    autocast="half",
    cases=[
        case("two axes", normal(2, 2, 3), size=(2, 3, 4, 5)),
        case("corners", normal(2, 2, 3), size=(2, 1, 4, 5), align_corners=True),
        case("three axes", normal(2, 3, 4), size=(2, 1, 2, 3, 4)),
        case("one place along an axis", normal(1, 2, 3), size=(1, 1, 1, 3)),
    ],
)
