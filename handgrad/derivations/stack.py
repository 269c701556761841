"""y[..., k, ...] = x_k, along a new axis

Shapes.  x_0, x_1, ... all (...); y has one axis more, at place ``dim``, as long as there are arrays.

Chain rule.  dy is ∂L/∂y. Each x_k is one slice of y.

Result.  dx_k = dy[..., k, ...].

Kinks: none.  Errors: no arrays; arrays of different shapes; a place that y does not have.
Source: PyTorch documentation, torch.stack.
"""

from handgrad._arrays import namespace, normalize_axes
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require


def forward(*xs, dim=0):
    require(len(xs) > 0, "stack joins at least one array", "none", "give one")
    shapes = {tuple(x.shape) for x in xs}
    require(len(shapes) == 1, "stack joins arrays of one shape", f"{sorted(shapes)}", "expand or concat them")
    (axis,) = normalize_axes(dim, xs[0].ndim + 1)
    return namespace(xs[0]).stack(list(xs), axis=axis), (axis, len(xs))


def backward(dy, residuals, **_):
    axis, n = residuals
    before = (slice(None),) * axis
    return tuple(dy[(*before, k, ...)] for k in range(n))


register(
    forward,
    backward,
    torch="torch.stack",
    reference=lambda torch, *xs, dim=0: torch.stack(xs, dim=dim),
    autocast="widest",
    widen=False,
    cases=[
        case("in front", normal(2, 3), normal(2, 3)),
        case("behind", normal(2, 3), normal(2, 3), normal(2, 3), dim=-1),
        case("numbers", normal(), normal()),
        case("only one", normal(2, 3), dim=1),
        case("empty", normal(0, 3), normal(0, 3), dim=1),
    ],
)
