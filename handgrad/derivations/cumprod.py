"""y_j = x_1 x_2 ... x_j, along one axis

Shapes.  x and y (..., n, ...); ``dim`` names the axis.

Chain rule.  dy is ∂L/∂y.  x_i goes to every y_j with j ≥ i, there multiplied by all others:
    dx_i = Σ_{j≥i} dy_j Π_{k≤j, k≠i} x_k = (Π_{k<i} x_k) S_i,   S_i = Σ_{j≥i} dy_j Π_{i<k≤j} x_k
and the sums follow from the last to the first:  S_i = dy_i + x_{i+1} S_{i+1}.

Result.  dx_i = y_{i-1} S_i  with y_0 = 1  (factors conjugated for complex numbers). No division: zeros need
no care.

PyTorch's option ``dtype`` is a cast of x before the layer, a step of its own: torch_ext.functional makes it.

Kinks: none.  Errors: an axis that x does not have.
Source: Blelloch 1990, Prefix sums and their applications, section 1.4; PyTorch documentation, torch.cumprod.
"""

from handgrad._arrays import conj, normalize_axes
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad._primitives import copy
from handgrad._primitives_scans import moved, recurrence_from_the_end, running_product


def forward(x, *, dim):
    axes = normalize_axes(dim, x.ndim)
    y = running_product(x, axes[0]) if axes else copy(x)
    return y, (x, y)


def backward(dy, residuals, *, dim):
    x, y = residuals
    axes = normalize_axes(dim, x.ndim)
    if not axes:
        return dy
    (axis,) = axes
    sums = recurrence_from_the_end(moved(conj(x), axis, -1), dy, axis)
    return moved(conj(y), axis, 1, 1.0) * sums


register(
    forward,
    backward,
    torch="torch.cumprod",
    autocast="float32",
    cases=[
        case("rows", normal(3, 4), dim=1),
        case("an axis from the back", normal(2, 7, 3), dim=-2),
        case("zeros", exactly([[2.0, 0.0, -3.0, 1.0], [0.0, 5.0, 0.0, 2.0]]), dim=1),
        case("a number", normal(), dim=0),
        case("empty", normal(3, 0), dim=1),
    ],
)
