"""y = max x over some axes

Shapes.  x (...), real; y without the axes ``dim`` (an axis, several, or None or () for all), or with length
1 there if ``keepdim``.

Chain rule.  dy is ∂L/∂y.  Where one element is larger than all others, y is a copy of it:  ∂y/∂x_i = [x_i =
y].

Result.  dx_i = dy [x_i = y] / m, where m counts the elements with x_i = y.  amin, registered here too, is
the same for the smallest: only its y differs.

Ties.  Equal largest elements share dy evenly, by PyTorch's convention.  NaN wins; then nothing equals y, and
dx is NaN. Errors: an axis that x does not have; a maximum of no elements.
Source: PyTorch documentation, torch.amax and torch.amin.
"""

from handgrad._arrays import cast, namespace, normalize_axes, repeat_back
from handgrad._cases import case, distinct, exactly
from handgrad._derivation import register
from handgrad._errors import IndexInputError, require


def forward(x, *, dim=None, keepdim=False):
    y = namespace(x).max(x, axis=reduced(x, dim), keepdims=keepdim)
    return y, (x, y)


def forward_of_amin(x, *, dim=None, keepdim=False):
    y = namespace(x).min(x, axis=reduced(x, dim), keepdims=keepdim)
    return y, (x, y)


def backward(dy, residuals, *, dim=None, **_):
    x, y = residuals
    xp = namespace(dy)
    chosen = cast(x == repeat_back(y, tuple(x.shape), dim), dy.dtype)
    count = xp.sum(chosen, axis=normalize_axes(dim, x.ndim), keepdims=True)
    return chosen / count * repeat_back(dy, tuple(x.shape), dim)


def reduced(x, dim):
    """The axes, which must hold elements."""
    axes = normalize_axes(dim, x.ndim)
    require(len(set(axes)) == len(axes), "each axis is reduced once", f"dim {dim}", "leave out repeats")
    require(
        all(x.shape[axis] for axis in axes),
        "an extremum needs at least one element",
        f"shape {tuple(x.shape)}, dim {dim}",
        "reduce another axis",
        error=IndexInputError,
    )
    return axes


_CASES = [
    case("all", distinct(3, 4)),
    case("one axis", distinct(3, 4), dim=1),
    case("two axes kept", distinct(2, 3, 4), dim=(0, -1), keepdim=True),
    case("a number", distinct()),
    case("ties", exactly([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]]), dim=1, kink=True),
    case("no results", distinct(0, 4), dim=1),
]


def reference(name):
    def call(torch, x, *, dim=None, keepdim=False):
        return getattr(torch, name)(x, dim=() if dim is None else dim, keepdim=keepdim)

    return call


register(forward, backward, torch="torch.amax", reference=reference("amax"), widen=False, cases=_CASES)
register(
    forward_of_amin,
    backward,
    name="amin",
    torch="torch.amin",
    doc=__doc__.replace("y = max x", "y = min x", 1),
    reference=reference("amin"),
    widen=False,
    cases=_CASES,
)
