"""y_j = x_1 + x_2 + ... + x_j, along one axis

Shapes.  x and y (..., n, ...); ``dim`` names the axis.

Chain rule.  dy is ∂L/∂y.  x_i goes to every y_j with j ≥ i, with slope 1.

Result.  dx_i = Σ_{j≥i} dy_j:  the running sum from the end.

PyTorch's option ``dtype`` is a cast of x before the layer, a step of its own: torch_ext.functional makes it.

Kinks: none.  Errors: an axis that x does not have.
Source: PyTorch documentation, torch.cumsum.
"""

from handgrad._arrays import namespace, normalize_axes
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._primitives import copy
from handgrad.derivations._fits import some_axis


def forward(x, *, dim):
    axes = normalize_axes(dim, x.ndim)
    return namespace(x).cumulative_sum(x, axis=axes[0]) if axes else copy(x), ()


def backward(dy, _, *, dim):
    xp = namespace(dy)
    axes = normalize_axes(dim, dy.ndim)
    if not axes:
        return dy
    return xp.flip(xp.cumulative_sum(xp.flip(dy, axis=axes), axis=axes[0]), axis=axes)


register(
    forward,
    backward,
    torch="torch.cumsum",
    autocast="float32",
    fit=lambda rng, shape: case("fit", normal(*shape), dim=some_axis(rng, shape)) if shape else None,
    cases=[
        case("rows", normal(3, 4), dim=1),
        case("an axis from the back", normal(2, 7, 3), dim=-2),
        case("a number", normal(), dim=0),
        case("empty", normal(3, 0), dim=1),
    ],
)
