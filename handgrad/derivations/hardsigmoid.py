"""y = min(max(x + 3, 0), 6) / 6

Shapes.  x and y (...), element by element.

Chain rule.  dy is ∂L/∂y.  y = (x + 3)/6 where -3 < x < 3, so ∂y/∂x = 1/6; y is 0 or 1 beyond, so
∂y/∂x = 0.

Result.  dx = dy/6 where -3 < x < 3, else 0.

Kinks.  At x = ±3 the slope jumps between 0 and 1/6; PyTorch's convention, and ours, is 0. Where x is NaN, y
is NaN and dx is 0, as in PyTorch.
Errors: none.
Not as in PyTorch: its 1/6 has the digits of float32 in float64 too, and its derivative has none of its own
(docs/findings/hardsigmoid.md).
Source: Howard et al., Searching for MobileNetV3 (2019), section 5.2; PyTorch documentation,
torch.nn.functional.hardsigmoid.
"""

from operator import lt

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal, smooth
from handgrad._derivation import register
from handgrad._primitives_choices import choose
from handgrad._primitives_fused import in_one_pass


def forward(x):
    return in_one_pass("hardsigmoid", _clipped, x), (x,)


def backward(dy, residuals):
    (x,) = residuals
    return choose(lt, namespace(x).abs(x), 3, dy * (1 / 6), 0)


def _clipped(x):
    return namespace(x).clip(x + 3, 0, 6) / 6


register(
    forward,
    backward,
    torch="torch.nn.functional.hardsigmoid",
    # the slope of relu6 at its kinks is 0 too
    truth=lambda torch, x: torch.nn.functional.relu6(x + 3) / 6,
    fit=lambda rng, shape: case("fit", normal(*shape, scale=2.0)),
    cases=[
        case("all three pieces", smooth(4, 5, kinks=(-3.0, 3.0))),
        case("far", exactly([-1000.0, -3.5, -2.5, 2.5, 3.5, 1000.0])),
        case("at the kinks", exactly([-3.0, 0.0, 3.0]), kink=True),
        case("a number", smooth(kinks=(-3.0, 3.0))),
        case("empty", normal(0, 5)),
    ],
)
