"""y = Π x along one axis, or over all elements

Shapes.  x (..., n, ...); y without the axis ``dim`` (None: a number), or with length 1 there if ``keepdim``.

Chain rule.  dy is ∂L/∂y.  ∂y/∂x_i is the product of all others:  Π_{j≠i} x_j. That is y/x_i only where x_i ≠
0, so it is built without a division: all before i, times all behind i.

Result.  dx_i = dy (Π_{j<i} x_j) (Π_{j>i} x_j)  (factors conjugated for complex numbers).

Zeros.  One zero among the x: only its own gradient is not 0. Two or more: all are 0.
PyTorch's option ``dtype`` is a cast of x before the layer, a step of its own: torch_ext.functional makes it.

Kinks: none.  Errors: an axis that x does not have.
Source: PyTorch documentation, torch.prod.
"""

from handgrad._arrays import conj, namespace, normalize_axes, repeat_back
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad._primitives_scans import product, products_of_others


def forward(x, *, dim=None, keepdim=False):
    xp = namespace(x)
    if dim is None or not x.ndim:
        normalize_axes(dim, x.ndim)
        return product(xp.reshape(x, (-1,)), 0, keepdims=False), (x,)
    (axis,) = normalize_axes(dim, x.ndim)
    return product(x, axis, keepdims=keepdim), (x,)


def backward(dy, residuals, *, dim=None, **_):
    (x,) = residuals
    xp, shape = namespace(dy), tuple(x.shape)
    if dim is None or not x.ndim:
        others = xp.reshape(products_of_others(xp.reshape(x, (-1,)), 0), shape)
    else:
        (axis,) = normalize_axes(dim, x.ndim)
        others = products_of_others(x, axis)
    return repeat_back(dy, shape, dim) * conj(others)


register(
    forward,
    backward,
    torch="torch.prod",
    reference=lambda torch, x, *, dim=None, keepdim=False: (
        torch.prod(x) if dim is None else torch.prod(x, dim=dim, keepdim=keepdim)
    ),
    autocast="loss",
    cases=[
        case("all", normal(3, 4)),
        case("one axis", normal(3, 4), dim=1),
        case("kept", normal(2, 3, 4), dim=-2, keepdim=True),
        case("zeros", exactly([[2.0, 0.0, -3.0], [0.0, 5.0, 0.0], [1.0, 2.0, 3.0]]), dim=1),
        case("a number", normal()),
        case("of nothing", normal(3, 0), dim=1),
    ],
)
