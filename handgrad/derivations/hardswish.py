"""y = x h(x), with the hard sigmoid h(x) = min(max(x + 3, 0), 6) / 6

Shapes.  x and y (...), element by element.

Forward.  y = 0 for x ≤ -3, y = x for x ≥ 3, and the parabola y = x (x + 3)/6 between.

Chain rule.  dy is ∂L/∂y. By the product rule  ∂y/∂x = h + x ∂h/∂x, where ∂h/∂x = 1/6 between and 0 beyond
(``hardsigmoid``). Between, that is (x + 3)/6 + x/6 = x/3 + 1/2.

Result.  dx = 0 for x ≤ -3,  dy (x/3 + 1/2) between,  dy for x ≥ 3.

Kinks.  The slope jumps from 0 to -1/2 at x = -3, from 3/2 to 1 at x = 3; PyTorch's convention, and ours, is
0 and 1. At x = -∞ y is NaN (∞ · 0), as in PyTorch. Where x is NaN, y is NaN and dy is handed on.
Errors: none.
Source: Howard et al., Searching for MobileNetV3 (2019), section 5.2; PyTorch documentation,
torch.nn.functional.hardswish.
"""

from operator import ge, le

from handgrad._cases import case, exactly, normal, smooth
from handgrad._derivation import register
from handgrad._primitives_choices import choose
from handgrad._primitives_fused import in_one_pass
from handgrad.derivations import hardsigmoid


def forward(x):
    return in_one_pass("hardswish", _gated, x), (x,)


def backward(dy, residuals):
    (x,) = residuals
    right = choose(ge, x, 3, dy, dy * (x * (1 / 3) + 0.5))
    return choose(le, x, -3, 0, right)


def _gated(x):
    gate, _ = hardsigmoid.forward(x)
    return x * gate


register(
    forward,
    backward,
    torch="torch.nn.functional.hardswish",
    fit=lambda rng, shape: case("fit", normal(*shape, scale=2.0)),
    cases=[
        case("all three pieces", smooth(4, 5, kinks=(-3.0, 3.0))),
        case("far", exactly([-1000.0, -3.5, -2.5, 2.5, 3.5, 1000.0])),
        case("at the kinks", exactly([-3.0, 0.0, 3.0]), kink=True),
        case("a number", smooth(kinks=(-3.0, 3.0))),
        case("empty", normal(0, 5)),
    ],
)
