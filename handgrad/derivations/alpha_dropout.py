"""y = a (m x + (1 - m) v) + b, with a mask m of zeros and ones

Shapes.  x and y (...); mask, booleans or numbers 0 and 1, broadcasts to (...). One entry for each element is
alpha dropout; one for each channel, (N, C, 1, ...), feature alpha dropout.

Forward.  Each element is kept (m = 1) with probability q = 1 - p, and otherwise becomes v, the value of
``selu`` far to the left. If x has mean 0 and variance 1, then m x + (1 - m) v has mean p v and variance
q + p v² - p² v² = q (1 + p v²); so a = 1/√(q (1 + p v²)) and b = -a p v bring them back to 0 and 1. With p =
1 nothing is kept and y = 0. The mask is an input: whoever calls draws it. In evaluation PyTorch leaves the
layer out.

Chain rule.  dy is ∂L/∂y.  ∂y/∂x = a m.

Result.  dx = a m dy;  the mask has no gradient.

Kinks: none.  Errors: p outside [0, 1].  NaN is passed on, dropped or not, as in PyTorch.
Source: Klambauer, Unterthiner, Mayr and Hochreiter, Self-Normalizing Neural Networks (2017), section 3;
PyTorch documentation, torch.nn.functional.alpha_dropout.
"""

import math

from handgrad._arrays import cast
from handgrad._cases import case, mask, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad.derivations.selu import LOWEST as V


def forward(x, mask, *, p=0.5):
    require(0 <= p <= 1, "p is a probability, in [0, 1]", p, "choose such a number")
    a = _scale(p)
    m = cast(mask, x.dtype)
    return x * (m * a) + (a * V * (1 - p) - m * (a * V)), (mask,)


def backward(dy, residuals, *, p=0.5):
    (mask,) = residuals
    return dy * (cast(mask, dy.dtype) * _scale(p)), None


def _scale(p):
    """a; 0 for p = 1."""
    return 1 / math.sqrt((1 - p) * (1 + p * V * V)) if p < 1 else 0.0


def _native(torch, x, mask, p=0.5):
    """PyTorch draws the mask itself; given one, its layer is this."""
    a = _scale(p)
    return a * torch.where(mask, x, V) - a * p * V


register(
    forward,
    backward,
    torch="torch.nn.functional.alpha_dropout",
    reference=_native,
    composed=True,
    differentiable=("x",),
    fit=lambda rng, shape: case("fit", normal(*shape), mask(*shape, keep=0.8), p=0.2),
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
