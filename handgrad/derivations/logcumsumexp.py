"""y_j = log(exp(x_1) + ... + exp(x_j)), along one axis

Shapes.  x and y (..., n, ...); ``dim`` names the axis.

Chain rule.  dy is ∂L/∂y.  x_i goes to every y_j with j ≥ i:  ∂y_j/∂x_i = exp(x_i)/exp(y_j), so
    dx_i = Σ_{j≥i} dy_j exp(x_i - y_j) = exp(x_i - y_i) S_i,   S_i = Σ_{j≥i} dy_j exp(y_i - y_j)
and the sums follow from the last to the first:  S_i = dy_i + exp(y_i - y_{i+1}) S_{i+1}.

Result.  dx_i = exp(x_i - y_i) S_i  (factors conjugated for complex numbers). For real x all these powers are
at most 1, since y only grows: nothing overflows, and no logarithm of dy is needed.

Kinks: none.  Where x_i is -∞ its gradient is 0.  Errors: an axis that x does not have.
Source: Blelloch 1990, Prefix sums and their applications, section 1.4; PyTorch documentation,
torch.logcumsumexp.
"""

import math

from handgrad._arrays import conj, namespace, normalize_axes, real
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad._primitives import copy
from handgrad._primitives_scans import moved, recurrence_from_the_end, running_logsumexp


def forward(x, *, dim):
    axes = normalize_axes(dim, x.ndim)
    y = running_logsumexp(x, axes[0]) if axes else copy(x)
    return y, (x, y)


def backward(dy, residuals, *, dim):
    x, y = residuals
    axes = normalize_axes(dim, x.ndim)
    if not axes:
        return dy
    (axis,) = axes
    sums = recurrence_from_the_end(conj(ratio(y, moved(y, axis, -1, math.inf))), dy, axis)
    return conj(ratio(x, y)) * sums


def ratio(a, b):
    """exp(a - b), and 0 where a is -∞, whatever b is."""
    xp = namespace(a)
    nothing = real(a) == -math.inf
    e = xp.exp(xp.where(nothing, xp.zeros_like(a), a) - xp.where(nothing, xp.zeros_like(b), b))
    return xp.where(nothing, xp.zeros_like(e), e)


register(
    forward,
    backward,
    torch="torch.logcumsumexp",
    autocast="float32",
    cases=[
        case("rows", normal(3, 4), dim=1),
        case("an axis from the back", normal(2, 7, 3, scale=20.0), dim=-2),
        case("far from zero", exactly([1000.0, -1000.0, 1001.0, 999.5]), dim=0),
        case("a number", normal(), dim=0),
        case("empty", normal(3, 0), dim=1),
    ],
)
