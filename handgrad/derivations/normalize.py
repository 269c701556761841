"""y = x / n,  n = max(‖x‖_p, ε),  ‖x‖_p = (Σ_i |x_i|^p)^(1/p)

Shapes.  x and y (...). The sum runs over the axes ``dim`` (one, several, or None for all), taken as one.
Below, i and k count their elements, and all other axes stand still. p is any real number: 0 counts the x_i
that are not 0, ∞ takes the largest |x_i| and -∞ the smallest.

Forward.  As written. ε keeps short vectors from being blown up: a vector shorter than ε is divided by ε.

Chain rule.  dy is ∂L/∂y. x_k reaches y_k directly, and every y_i through n. Where ‖x‖_p < ε, n is a constant
and dx = dy/n. Else, with σ(x) = x/|x| the sign of x,
    ∂‖x‖_p/∂x_k = 1/p (Σ_i |x_i|^p)^(1/p - 1) p |x_k|^(p-1) σ(x_k) = (|x_k|/‖x‖_p)^(p-1) σ(x_k)
    dn   = Σ_i dy_i ∂(x_i/n)/∂n = -Σ_i dy_i x_i/n² = -Σ_i dy_i y_i/n
    dx_k = dy_k/n + dn ∂‖x‖_p/∂x_k
p = 2: the slope is x_k/‖x‖ = y_k, and dx = (dy - y Σ_i dy_i y_i)/n: the part of dy along y is taken away.
p = 0: the count is constant between its jumps, and dx = dy/n.
p = ±∞: the slope is σ(x_k) at the extreme |x_k|, 0 elsewhere.

Result.  dx = dy/n - [‖x‖_p ≥ ε] (Σ_i dy_i y_i)/n ⊙ slope, the slope as above. Of complex numbers n is real:
the sum is that of Re(conj(y_i) dy_i), and σ(x) = x/|x| stands as it is.

Kinks and ties, PyTorch's convention.  At x_k = 0 the slope is 0 for every p; at ‖x‖_p = ε it counts; several
extreme |x_i| share it equally.
Errors: an axis out of range; p = ±∞ over no elements.
Source: PyTorch documentation, torch.nn.functional.normalize.
"""

import math

from handgrad._arrays import cast, conj, namespace, normalize_axes, real, size
from handgrad._cases import case, distinct, exactly, normal
from handgrad._derivation import register
from handgrad._errors import require


def forward(x, *, p=2.0, dim=1, eps=1e-12):
    axes = normalize_axes(dim, x.ndim)
    require(
        not math.isinf(p) or 0 not in [x.shape[axis] for axis in axes],
        "normalize with p = ±inf needs an element along dim",
        f"shape {tuple(x.shape)} and dim {dim}",
        "choose another p or dim",
    )
    length = _length(x, p, axes)
    return x / _divisor(length, eps), (x, length)


def backward(dy, residuals, *, p=2.0, dim=1, eps=1e-12):
    x, length = residuals
    xp, axes = namespace(dy), normalize_axes(dim, x.ndim)
    n = _divisor(length, eps)
    y = x / n
    dn = -_sum(xp, real(dy * conj(y)), axes) / n
    dn = xp.where(length < eps, 0, dn)  # there n is the constant ε
    return dy / n if p == 0 else dy / n + dn * _slope(x, length, p, axes)


def _divisor(length, eps):
    xp = namespace(length)
    return xp.where(length < eps, xp.full_like(length, eps), length)  # NaN stays NaN


def _length(x, p, axes):
    """‖x‖_p, its axes kept. Zeros are set apart: their powers have no derivative, or are infinite."""
    xp = namespace(x)
    if math.isinf(p):
        extreme = xp.max if p > 0 else xp.min
        return extreme(xp.abs(x), axis=axes, keepdims=True) if axes else xp.abs(x)
    if p == 2:
        return _root(xp, _sum(xp, real(x * conj(x)), axes), 2)
    zero = x == 0
    if p == 0:
        return _sum(xp, cast(~zero, real(x).dtype), axes)
    a = xp.abs(xp.where(zero, xp.ones_like(x), x))
    powers = xp.where(zero, xp.full_like(a, 0.0 if p > 0 else math.inf), a if p == 1 else a**p)
    return _root(xp, _sum(xp, powers, axes), p)


def _root(xp, total, p):
    """total^(1/p); of 0 and of infinity without a derivative."""
    if p == 1:
        return total
    edge = (total == 0) | xp.isinf(total)
    inner = xp.where(edge, xp.ones_like(total), total)
    root = xp.sqrt(inner) if p == 2 else inner ** (1 / p)
    return xp.where(edge, xp.where((total == 0) == (p > 0), xp.zeros_like(total), math.inf), root)


def _slope(x, length, p, axes):
    """∂‖x‖_p/∂x; 0 where x is 0, and where ‖x‖_p is."""
    xp = namespace(x)
    if math.isinf(p):
        extreme = cast(xp.abs(x) == length, length.dtype)
        return _sign(xp, x) * (extreme / _sum(xp, extreme, axes))
    if p == 1:
        return _sign(xp, x)
    none = length == 0
    one = xp.ones_like(length)
    if p == 2:
        return xp.where(none, xp.zeros_like(x), x / xp.where(none, one, length))
    none = none | (x == 0)
    ratio = xp.abs(xp.where(none, xp.ones_like(x), x)) / xp.where(length == 0, one, length)
    return xp.where(none, xp.zeros_like(x), _sign(xp, x) * ratio ** (p - 1))


def _sign(xp, x):
    """x/|x|, and 0 at 0."""
    if not xp.isdtype(x.dtype, "complex floating"):
        return xp.sign(x)
    zero = x == 0
    inner = xp.where(zero, xp.ones_like(x), x)
    return xp.where(zero, xp.zeros_like(x), inner / xp.abs(inner))


def _sum(xp, x, axes):
    return xp.sum(x, axis=axes, keepdims=True) if x.ndim else x


def fit(rng, shape):
    """On any value with an axis of at least two elements (one alone would always become ±1)."""
    fitting = [axis for axis, n in enumerate(shape) if n > 1]
    if not fitting or size(shape) == 0:
        return None
    p = float(rng.choice([1.0, 1.5, 2.0, 3.0]))
    return case("fit", normal(*shape), p=p, dim=int(rng.choice(fitting)))


register(
    forward,
    backward,
    torch="torch.nn.functional.normalize",
    fit=fit,
    cases=[
        case("rows", normal(4, 5)),
        case("p 1, first axis", normal(4, 5), p=1.0, dim=0),
        case("p 3", normal(2, 3, 4), p=3.0, dim=-1),
        case("p 1.5", normal(3, 4), p=1.5),
        case("p 0.5", normal(3, 4), p=0.5),
        case("p -1", normal(3, 4), p=-1.0),
        case("p 0", normal(3, 4), p=0.0),
        case("p infinity", distinct(3, 5), p=math.inf),
        case("p -infinity", distinct(3, 5), p=-math.inf),
        case("two axes", normal(2, 3, 4), dim=(1, 2)),
        case("shorter than eps", normal(3, 4, scale=0.01), eps=0.5),
        case("a number", normal(), dim=0, p=1.2, eps=10.0),
        case("zeros", exactly([[0, 0, 0], [0, 2, -1]]), kink=True),
        case("zeros, p 3", exactly([[0, 0, 0], [0, 2, -1]]), p=3.0, kink=True),
        case("zeros, p 0.5", exactly([[0, 2, -1], [3, 0, 0]]), p=0.5, kink=True),
        case("ties at infinity", exactly([[2, -2, 1], [1, 3, 3]]), p=math.inf, kink=True),
        case("empty", normal(0, 3)),
    ],
)
