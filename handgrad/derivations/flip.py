"""y[i] = x[n - 1 - i], along some axes

Shapes.  x and y (...); ``dims`` names the axes, n is the length of each.

Chain rule.  dy is ∂L/∂y. Each element of x goes to one place in y.

Result.  dx = dy, flipped back: flipping is its own inverse.

Kinks: none.  Errors: an axis that x does not have, or named twice.
Source: PyTorch documentation, torch.flip.
"""

from handgrad._arrays import namespace, normalize_axes
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import copy
from handgrad.derivations._fits import some_axis


def flipped(x, dims):
    dims = (dims,) if isinstance(dims, int) else tuple(dims)
    axes = normalize_axes(dims, x.ndim) if dims else ()
    require(len(set(axes)) == len(axes), "flip names each axis at most once", f"{dims}", "leave out repeats")
    return namespace(x).flip(x, axis=axes) if axes else x


def forward(x, *, dims):
    return copy(flipped(x, dims)), ()


def backward(dy, _, *, dims):
    return flipped(dy, dims)


register(
    forward,
    backward,
    torch="torch.flip",
    widen=False,
    fit=lambda rng, shape: case("fit", normal(*shape), dims=(some_axis(rng, shape),)) if shape else None,
    cases=[
        case("one axis", normal(3, 4), dims=(1,)),
        case("two axes", normal(2, 3, 4), dims=(0, -1)),
        case("no axis", normal(3, 4), dims=()),
        case("empty", normal(0, 5), dims=(0,)),
    ],
)
