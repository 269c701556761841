"""y = x where x > 0, else a x

Shapes.  x and y (...), element by element.  a is the number ``negative_slope``.

Chain rule.  dy is ∂L/∂y.  y = x where x > 0, so ∂y/∂x = 1; y = a x where x < 0, so ∂y/∂x = a.

Result.  dx = dy where x > 0, else a dy.

Kink.  At x = 0 the slope jumps from a to 1 and every value between is a subgradient;
PyTorch's convention, and ours, is a, and so it is where x is NaN (y is NaN there).
Errors: none.
Source: Maas, Hannun and Ng, Rectifier Nonlinearities Improve Neural Network Acoustic Models (2013),
section 2; PyTorch documentation, torch.nn.functional.leaky_relu.
"""

from operator import gt

from handgrad._cases import case, exactly, normal, smooth
from handgrad._derivation import register
from handgrad._primitives_choices import choose, step
from handgrad._primitives_fused import in_one_pass


def forward(x, *, negative_slope=0.01):
    return in_one_pass("leaky_relu", _leaky, x, negative_slope), (x,)


def backward(dy, residuals, *, negative_slope=0.01):
    (x,) = residuals
    return dy * step(gt, x, 0, negative_slope)


def _leaky(x, negative_slope):
    return choose(gt, x, 0, x, negative_slope * x)


register(
    forward,
    backward,
    torch="torch.nn.functional.leaky_relu",
    fit=lambda rng, shape: case("fit", normal(*shape), negative_slope=float(rng.uniform(0, 1.5))),
    cases=[
        case("both sides", smooth(4, 5)),
        case("steep", smooth(4, 5), negative_slope=1.5),
        case("slope 0", smooth(4, 5), negative_slope=0.0),
        case("negative slope below 0", smooth(4, 5), negative_slope=-0.5),
        case("at the kink", exactly([-1.0, 0.0, -0.0, 2.0]), kink=True, negative_slope=0.2),
        case("a number", smooth()),
        case("empty", normal(0, 5)),
    ],
)
