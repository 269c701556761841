"""y = Σ |x - μ|² / (n - c) over some axes, with their mean μ

Shapes.  x (...); y, real, without the axes ``dim`` (an axis, several, or None for all), or with length 1
there if ``keepdim``.  n counts the elements that go into one variance; c is the number ``correction`` (1:
the unbiased variance).

Forward.  Two passes: the mean first, then the squared distances from it.

Chain rule.  dy is ∂L/∂y.  With d = x - μ, Σ d = 0, so what x_i changes through μ cancels:
    ∂y/∂x_i = 2 d_i/(n - c) - 2/(n - c) (Σ d) ∂μ/∂x_i = 2 d_i/(n - c)

Result.  dx = dy 2 (x - μ)/(n - c).  std, registered here too, is √y, so that dx = dy (x - μ)/((n - c) std).

Kinks.  Where std is 0 its dx is 0, by PyTorch's convention.  For n ≤ c the divisor is 0, and y is NaN or ∞.
Errors: an axis that x does not have.
Source: PyTorch documentation, torch.var and torch.std.
"""

import math

from handgrad._arrays import cast, conj, namespace, normalize_axes, real, repeat_back, size
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad._primitives import wide_sum
from handgrad._primitives_elementary import root
from handgrad.derivations._fits import some_axes
from handgrad.derivations._norms import average


def forward(x, *, dim=None, correction=1, keepdim=False):
    axes = normalize_axes(dim, x.ndim)
    d = distances(x, axes)
    y = wide_sum(real(d * conj(d)), axes) * weight(x, axes, correction)
    shape = y.shape if keepdim else (n for axis, n in enumerate(x.shape) if axis not in axes)
    return cast(namespace(x).reshape(y, tuple(shape)), real(x).dtype), (x,)


def backward(dy, residuals, *, dim=None, correction=1, **_):
    (x,) = residuals
    axes = normalize_axes(dim, x.ndim)
    return repeat_back(2 * weight(x, axes, correction) * dy, tuple(x.shape), dim) * distances(x, axes)


def forward_of_std(x, *, dim=None, correction=1, keepdim=False):
    y, _ = forward(x, dim=dim, correction=correction, keepdim=keepdim)
    y = root(y)
    return y, (x, y)


def backward_of_std(dy, residuals, **options):
    x, y = residuals
    xp = namespace(dy)
    dvar = xp.where(y == 0, xp.zeros_like(dy), dy / xp.where(y == 0, xp.ones_like(y), 2 * y))
    return backward(dvar, (x,), **options)


def distances(x, axes):
    """x - μ; the mean of what rounding left is taken away too."""
    d = x - average(x, axes)
    return d - average(d, axes)


def weight(x, axes, correction):
    """1/(n - c), ∞ for n ≤ c."""
    rest = size(tuple(x.shape[axis] for axis in axes)) - correction
    return 1 / rest if rest > 0 else math.inf


def fit(rng, shape):
    """The biased variance: of one element too."""
    return case("fit", normal(*shape), dim=some_axes(rng, shape), correction=0)


_CASES = [
    case("all", normal(3, 4)),
    case("one axis", normal(3, 4), dim=1),
    case("biased, kept", normal(2, 3, 4), dim=(0, -1), correction=0, keepdim=True),
    case("a large mean", normal(3, 5, mean=100.0), dim=1, correction=2),
]
register(forward, backward, torch="torch.var", fit=fit, cases=_CASES)
register(
    forward_of_std,
    backward_of_std,
    name="std",
    torch="torch.std",
    doc=__doc__.replace("y = Σ |x - μ|² / (n - c) over", "y = √(Σ |x - μ|² / (n - c)) over", 1),
    cases=[*_CASES, case("all alike", exactly([[2.0, 2.0, 2.0], [1.0, 2.0, 3.0]]), dim=1, kink=True)],
)
