"""y = x with the axes dim0 and dim1 exchanged

Shapes.  x (..., m, ..., n, ...), y (..., n, ..., m, ...): a matrix becomes its transpose.

Chain rule.  dy is ∂L/∂y. Along the two axes y_ji = x_ij, so dx_ij = dy_ji.

Result.  dx = dy with the same two axes exchanged: that is its own inverse, complex numbers included
(nothing is conjugated).

Kinks: none.  Errors: an axis that x does not have.
Source: PyTorch documentation, torch.transpose.
"""

from handgrad._arrays import namespace, normalize_axes
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._primitives import copy
from handgrad.derivations._fits import some_axis


def exchange(x, dim0, dim1):
    if not x.ndim:
        normalize_axes((dim0, dim1), 0)  # 0 and -1 are allowed, as in PyTorch
        return x
    a, b = normalize_axes((dim0, dim1), x.ndim)
    axes = list(range(x.ndim))
    axes[a], axes[b] = b, a
    return namespace(x).permute_dims(x, tuple(axes))


def forward(x, *, dim0=-2, dim1=-1):
    return copy(exchange(x, dim0, dim1)), ()


def backward(dy, _, *, dim0=-2, dim1=-1):
    return exchange(dy, dim0, dim1)


def fit(rng, shape):
    """Any two axes, counted from the front or from the back."""
    if not shape:
        return None
    return case("fit", normal(*shape), dim0=some_axis(rng, shape), dim1=some_axis(rng, shape))


register(
    forward,
    backward,
    torch="torch.transpose",
    widen=False,
    fit=fit,
    cases=[
        case("a matrix", normal(3, 4), dim0=0, dim1=1),
        case("the last two axes", normal(2, 3, 4), dim0=-2, dim1=-1),
        case("the outer axes", normal(2, 3, 4), dim0=0, dim1=-1),
        case("an axis with itself", normal(3, 4), dim0=1, dim1=-1),
        case("a number", normal(), dim0=0, dim1=-1),
        case("empty", normal(0, 4), dim0=0, dim1=1),
    ],
)
