"""y = x where x > 0, else a x, with a slope a drawn for each element

Shapes.  x, y and a (slope) (...).

Forward.  In training a is uniform between the options ``lower`` and ``upper`` of PyTorch's function. The
slope is an input: whoever calls draws it, so that the layer itself is a plain function. In evaluation a is
the mean, (lower + upper)/2, and the layer is ``leaky_relu``.

Chain rule.  dy is ∂L/∂y.  ∂y/∂x = 1 where x > 0, and a where x < 0.

Result.  dx = dy where x > 0, else a dy;  a has no gradient.

Kink.  At x = 0 the slope jumps from a to 1 and every value between is a subgradient; PyTorch's convention,
and ours, is a.
Errors: none.
Source: Xu, Wang, Chen and Li, Empirical Evaluation of Rectified Activations in Convolutional Network (2015),
section 2.4; PyTorch documentation, torch.nn.functional.rrelu.
"""

from operator import gt

from handgrad._cases import case, exactly, normal, smooth, uniform
from handgrad._derivation import register
from handgrad._primitives_choices import choose
from handgrad.derivations.prelu import leaky


def forward(x, slope):
    return leaky(x, slope), (x, slope)


def backward(dy, residuals):
    x, slope = residuals
    return choose(gt, x, 0, dy, slope * dy), None


register(
    forward,
    backward,
    torch="torch.nn.functional.rrelu",
    # PyTorch draws the slopes itself; given some, its layer is this
    reference=lambda torch, x, slope: torch.where(x > 0, x, slope * x),
    composed=True,
    differentiable=("x",),
    fit=lambda rng, shape: case("fit", normal(*shape), uniform(*shape, low=0.125, high=0.3)),
    cases=[
        case("both sides", smooth(4, 5), uniform(4, 5, low=0.125, high=0.3)),
        case("steep", smooth(4, 5), uniform(4, 5, low=-1.0, high=3.0)),
        case("at the kink", exactly([-1.0, 0.0, 2.0]), exactly([0.25, 0.5, 0.75]), kink=True),
        case("a number", smooth(), uniform()),
        case("empty", normal(0, 5), uniform(0, 5)),
    ],
)
