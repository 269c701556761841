"""y = (1/n) Σ x over some axes

Shapes.  x (...), floating; y without the axes ``dim`` (an axis, several, or None for all), or with
length 1 there if ``keepdim``.  n counts the elements that go into one mean.

Chain rule.  dy is ∂L/∂y.  y = (x_1 + ... + x_n)/n, so ∂y/∂x_i = 1/n for each i.

Result.  dx_i = dy/n:  the gradient of the sum, divided by n.

PyTorch's option ``dtype`` is a cast of x before the layer, a step of its own: torch_ext.functional makes it.

Kinks: none.  Errors: an axis that x does not have; integers: their mean is no integer.
Source: PyTorch documentation, torch.mean.
"""

from handgrad._arrays import is_floating, namespace, normalize_axes, repeat_back, size
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad.derivations._fits import some_axes


def forward(x, *, dim=None, keepdim=False):
    require(is_floating(x), "mean needs floating or complex numbers", f"{x.dtype}", "convert x first")
    axes = normalize_axes(dim, x.ndim)
    return namespace(x).mean(x, axis=axes, keepdims=keepdim), (tuple(x.shape),)


def backward(dy, residuals, *, dim=None, **_):
    (shape,) = residuals
    n = size(tuple(shape[axis] for axis in normalize_axes(dim, len(shape))))
    return repeat_back(dy / max(n, 1), shape, dim)


def fit(rng, shape):
    """Any axes, kept or not."""
    return case("fit", normal(*shape), dim=some_axes(rng, shape), keepdim=bool(rng.integers(2)))


register(
    forward,
    backward,
    torch="torch.mean",
    fit=fit,
    cases=[
        case("all", normal(3, 4)),
        case("one axis", normal(3, 4), dim=1),
        case("one axis kept", normal(3, 4), dim=0, keepdim=True),
        case("axis from the back", normal(2, 3, 4), dim=-2),
        case("two axes", normal(2, 3, 4), dim=(0, -1)),
        case("all kept", normal(2, 3, 4), dim=(0, 1, 2), keepdim=True),
        case("a number", normal(), dim=0),
        case("no means", normal(0, 4), dim=1),
    ],
)
