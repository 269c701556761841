"""y = [x0, x1, ...], joined along one axis

Shapes.  each x_i (..., n_i, ...), n_i along the axis ``dim``, all other axes alike;
y (..., n, ...) with n = Σ_i n_i.

Chain rule.  dy is ∂L/∂y. Each element of y is a copy of one element of one x_i: its derivative by that
element is 1, and by every other 0.

Result.  dx_i is the slice of dy in which x_i stands: from n_0 + ... + n_(i-1), of length n_i.

Kinks: none.  Errors: no arrays; shapes that differ in another axis; an axis that they do not have.
Source: PyTorch documentation, torch.cat.
"""

from itertools import accumulate, pairwise

from handgrad._arrays import namespace, normalize_axes
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad.derivations._fits import some_axis


def forward(*xs, dim=0):
    require(len(xs) > 0, "concat joins at least one array", "none", "give one")
    require(xs[0].ndim > 0, "concat joins arrays with an axis", "a number", "reshape it to (1,)")
    (axis,) = normalize_axes(dim, xs[0].ndim)
    return namespace(xs[0]).concat(list(xs), axis=axis), (axis, tuple(x.shape[axis] for x in xs))


def backward(dy, residuals, **_):
    axis, lengths = residuals
    if len(lengths) == 1:
        return dy
    before = (slice(None),) * axis
    ends = accumulate(lengths, initial=0)
    return tuple(dy[(*before, slice(start, stop), ...)] for start, stop in pairwise(ends))


def fit(rng, shape):
    """One to three values, of different lengths along any axis."""
    if not shape:
        return None
    dim = some_axis(rng, shape)
    axis = dim % len(shape)
    others = [
        normal(*shape[:axis], int(rng.integers(1, 4)), *shape[axis + 1 :])
        for _ in range(int(rng.integers(3)))
    ]
    return case("fit", normal(*shape), *others, dim=dim)


register(
    forward,
    backward,
    torch="torch.cat",
    reference=lambda torch, *xs, dim=0: torch.cat(xs, dim=dim),
    autocast="widest",
    widen=False,
    fit=fit,
    cases=[
        case("rows", normal(2, 3), normal(4, 3), dim=0),
        case("columns", normal(2, 3), normal(2, 1), normal(2, 2), dim=-1),
        case("middle axis", normal(2, 3, 4), normal(2, 1, 4), dim=1),
        case("only one", normal(2, 3)),
        case("an empty one between", normal(2, 3), normal(0, 3), normal(1, 3), dim=0),
    ],
)
