"""y = Σ x over some axes

Shapes.  x (...); y without the axes ``dim`` (an axis, several, or None for all), or with length 1
there if ``keepdim``.

Chain rule.  dy is ∂L/∂y.  y = x_1 + ... + x_n, so ∂y/∂x_i = 1 for each i.

Result.  dx_i = dy:  the gradient of a sum is copied to every element that went into it. Summing and
broadcasting are each other's transpose.

PyTorch's option ``dtype`` is a cast of x before the layer, a step of its own: torch_ext.functional makes it.

Kinks: none.  Errors: an axis that x does not have.
Source: PyTorch documentation, torch.sum.
"""

from handgrad._arrays import namespace, normalize_axes, repeat_back
from handgrad._cases import case, integers, normal
from handgrad._derivation import register
from handgrad.derivations._fits import some_axes


def forward(x, *, dim=None, keepdim=False):
    axes = normalize_axes(dim, x.ndim)
    return namespace(x).sum(x, axis=axes, keepdims=keepdim), (tuple(x.shape),)


def backward(dy, residuals, *, dim=None, **_):
    (shape,) = residuals
    return repeat_back(dy, shape, dim)


def fit(rng, shape):
    """Any axes, kept or not."""
    return case("fit", normal(*shape), dim=some_axes(rng, shape), keepdim=bool(rng.integers(2)))


register(
    forward,
    backward,
    torch="torch.sum",
    autocast="float32",
    fit=fit,
    cases=[
        case("all", normal(3, 4)),
        case("one axis", normal(3, 4), dim=1),
        case("one axis kept", normal(3, 4), dim=0, keepdim=True),
        case("axis from the back", normal(2, 3, 4), dim=-2),
        case("two axes", normal(2, 3, 4), dim=(0, -1)),
        case("all kept", normal(2, 3, 4), dim=(0, 1, 2), keepdim=True),
        case("a number", normal(), dim=0),
        case("no elements", normal(0, 4), dim=0),
        case("integers", integers(3, 4, low=-5, high=5), dim=1),
    ],
)
