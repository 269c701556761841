"""y[(i + s) mod n] = x[i], along some axes

Shapes.  x and y (...); ``shifts`` has one s for each axis in ``dims``, n is its length. Without dims the
elements are rolled as one row, whatever the shape.

Chain rule.  dy is ∂L/∂y. Each element of x goes to one place in y.

Result.  dx = dy, rolled back by the same shifts.

Kinks: none.  Errors: more shifts than dims, or fewer; an axis that x does not have.
Source: PyTorch documentation, torch.roll.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import copy
from handgrad.derivations._fits import some_axis


def rolled(x, shifts, dims, sign):
    several = tuple(sign * s for s in ((shifts,) if isinstance(shifts, int) else shifts))
    if dims is None or dims == ():
        require(len(several) == 1, "roll without dims takes one shift", f"{several}", "name the dims")
        return namespace(x).roll(x, several[0])
    dims = (dims,) if isinstance(dims, int) else tuple(dims)
    require(
        len(several) == len(dims) and len(dims) > 0,
        "roll needs one shift for each dim",
        f"{len(several)} for {len(dims)}",
        "give as many",
    )
    return namespace(x).roll(x, several, axis=dims)


def forward(x, *, shifts, dims=None):
    return copy(rolled(x, shifts, dims, 1)), ()


def backward(dy, _, *, shifts, dims=None):
    return rolled(dy, shifts, dims, -1)


def fit(rng, shape):
    """Any shift along one axis."""
    return (
        case("fit", normal(*shape), shifts=int(rng.integers(-3, 4)), dims=some_axis(rng, shape))
        if shape
        else None
    )


register(
    forward,
    backward,
    torch="torch.roll",
    widen=False,
    fit=fit,
    cases=[
        case("one axis", normal(3, 4), shifts=1, dims=1),
        case("two axes", normal(2, 3, 4), shifts=(1, -5), dims=(0, -1)),
        case("as one row", normal(3, 4), shifts=5),
        case("empty", normal(0, 5), shifts=1, dims=0),
    ],
)
