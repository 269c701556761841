"""y = x where x > t, else v

Shapes.  x and y (...), element by element.  t and v are the numbers ``threshold`` and ``value``.

Chain rule.  dy is ∂L/∂y.  y = x where x > t, so ∂y/∂x = 1; y is the constant v where x < t, so ∂y/∂x = 0.

Result.  dx = dy where x > t, else 0.

Kink.  At x = t y itself jumps, unless v = t; PyTorch counts t to the constant piece (y = v, slope 0), and so
do we. Where x is NaN, y is NaN and dy is handed on.
Errors: none.
Source: PyTorch documentation, torch.nn.functional.threshold.
"""

from operator import le

from handgrad._cases import case, exactly, normal, smooth
from handgrad._derivation import register
from handgrad._primitives_choices import choose
from handgrad._primitives_fused import in_one_pass


def forward(x, *, threshold, value):
    return in_one_pass("threshold", _replaced, x, threshold, value), (x,)


def backward(dy, residuals, *, threshold, **_):
    (x,) = residuals
    return choose(le, x, threshold, 0, dy)


def _replaced(x, threshold, value):
    return choose(le, x, threshold, value, x)


register(
    forward,
    backward,
    torch="torch.nn.functional.threshold",
    widen=False,
    cases=[
        case("both sides", smooth(4, 5, kinks=(0.25,)), threshold=0.25, value=-1.0),
        case("as relu", smooth(4, 5), threshold=0.0, value=0.0),
        case("a jump", smooth(4, 5, kinks=(-0.5,)), threshold=-0.5, value=20.0),
        case("at the threshold", exactly([-1.0, 0.5, 2.0]), kink=True, threshold=0.5, value=7.0),
        case("a number", smooth(kinks=(0.25,)), threshold=0.25, value=-1.0),
        case("empty", normal(0, 5), threshold=0.25, value=-1.0),
    ],
)
