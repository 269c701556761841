"""y = x m / (1 - p), with a mask m of zeros and ones

Shapes.  x and y (...); mask, booleans or numbers 0 and 1, broadcasts to (...). One entry for each element is
PyTorch's dropout; one for each channel, (N, C, 1, ...), its dropout1d, dropout2d and dropout3d.

Forward.  Each element is kept (m = 1) with probability 1 - p. Dividing by 1 - p keeps the expected
value: E[y] = x. With p = 1 nothing is kept and y = 0. The mask is an input: whoever calls draws it,
so that the layer itself is a plain function. In evaluation PyTorch leaves the layer out.

Chain rule.  dy is ∂L/∂y.  ∂y/∂x = m / (1 - p):  the same elements are dropped, the same factor applied.

Result.  dx = dy m / (1 - p);  the mask has no gradient.

Kinks: none.  Errors: p outside [0, 1].  NaN is passed on, dropped or not, as in PyTorch.
Source: Srivastava et al., Dropout (2014), section 4; Tompson et al., Efficient Object Localization Using
Convolutional Networks (2015), section 3.2; PyTorch documentation, torch.nn.functional.dropout.
"""

from handgrad._arrays import cast
from handgrad._cases import case, mask, normal
from handgrad._derivation import register
from handgrad._errors import require


def forward(x, mask, *, p=0.5):
    require(0 <= p <= 1, "p is a probability, in [0, 1]", p, "choose such a number")
    return x * _factor(mask, p, x.dtype), (mask,)


def backward(dy, residuals, *, p=0.5):
    (mask,) = residuals
    return dy * _factor(mask, p, dy.dtype), None


def _factor(mask, p, dtype):
    return cast(mask, dtype) * (1 / (1 - p) if p < 1 else 0)


def fit(rng, shape):
    """Any probability, both ends included."""
    p = float(rng.choice([0.0, 1.0, *rng.uniform(0, 1, 6)]))
    return case("fit", normal(*shape), mask(*shape, keep=1 - p), p=p)


register(
    forward,
    backward,
    torch="torch.nn.functional.dropout",
    # PyTorch draws the mask itself; given one, its forward is this
    reference=lambda torch, x, mask, p=0.5: x * mask / (1 - p) if p < 1 else x * 0,
    composed=True,
    differentiable=("x",),
    fit=fit,
    cases=[
        case("half", normal(4, 5), mask(4, 5)),
        case("a tenth", normal(4, 5), mask(4, 5, keep=0.9), p=0.1),
        case("none", normal(4, 5), mask(4, 5, keep=1.0), p=0.0),
        case("all", normal(4, 5), mask(4, 5, keep=0.0), p=1.0),
        case("whole channels", normal(2, 3, 4), mask(2, 3, 1)),
        case("a number", normal(), mask()),
        case("empty", normal(0, 5), mask(0, 5)),
    ],
)
