"""y = a σ(b), with x = [a, b] cut in two halves along one axis

Shapes.  x (..., 2n, ...), 2n along the axis ``dim``; a, b and y (..., n, ...).

Chain rule.  dy is ∂L/∂y. With s = σ(b) and ∂s/∂b = s (1 - s), as ``sigmoid`` derives it,
    ∂y/∂a = s,  ∂y/∂b = a s (1 - s)

Result.  dx = [dy s, dy a s (1 - s)], put together along the axis.

Kinks: none.  NaN is passed on.
Errors: a number, an axis that x does not have, one of odd length.
Source: Dauphin et al., Language Modeling with Gated Convolutional Networks (2017), section 2; PyTorch
documentation, torch.nn.functional.glu.
"""

from handgrad._arrays import namespace, normalize_axes
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import sigmoid


def forward(x, *, dim=-1):
    a, b = _halves(x, dim)
    return a * sigmoid(b), (x,)


def backward(dy, residuals, *, dim=-1):
    (x,) = residuals
    a, b = _halves(x, dim)
    s = sigmoid(b)
    da = dy * s
    return namespace(x).concat([da, da * a * (1 - s)], axis=normalize_axes(dim, x.ndim)[0])


def _halves(x, dim):
    require(x.ndim > 0, "glu halves an axis", "a number, which has none", "give at least a vector")
    (axis,) = normalize_axes(dim, x.ndim)
    n = x.shape[axis]
    require(n % 2 == 0, "glu halves an axis of even length", f"{n} along axis {dim}", "choose another axis")
    before = (slice(None),) * axis
    return x[(*before, slice(0, n // 2), ...)], x[(*before, slice(n // 2, n), ...)]


def fit(rng, shape):
    """Along an axis of even length, if there is one."""
    even = [axis for axis, n in enumerate(shape) if n % 2 == 0]
    return case("fit", normal(*shape), dim=int(rng.choice(even))) if even else None


register(
    forward,
    backward,
    torch="torch.nn.functional.glu",
    fit=fit,
    cases=[
        case("rows", normal(3, 8)),
        case("columns", normal(4, 3), dim=0),
        case("middle axis", normal(2, 4, 3), dim=-2),
        case("a vector of two", normal(2)),
        case("saturated", exactly([[1.0, -2.0, 3.0, -1000.0, 1000.0, -90.0]])),
        case("empty", normal(0, 4)),
    ],
)
