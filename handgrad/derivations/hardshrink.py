"""y = x where |x| > λ, else 0

Shapes.  x and y (...), element by element.  λ is the number ``lambd``.

Chain rule.  dy is ∂L/∂y.  y = x where |x| > λ, so ∂y/∂x = 1; y = 0 between, so ∂y/∂x = 0.

Result.  dx = dy where |x| > λ, else 0.

Kinks.  At x = ±λ y itself jumps, from 0 to ±λ; PyTorch counts these points to the middle piece (y = 0, slope
0), and so do we. With λ < 0 there is no middle piece. Where x is NaN, y is NaN and dy is handed on.
Errors: none.
Source: Donoho and Johnstone, Ideal Spatial Adaptation by Wavelet Shrinkage (1994), section 2; PyTorch
documentation, torch.nn.functional.hardshrink.
"""

from handgrad._cases import case, exactly, normal, smooth
from handgrad._derivation import register
from handgrad._primitives_fused import in_one_pass
from handgrad.derivations._pieces import passed_beyond


def forward(x, *, lambd=0.5):
    return in_one_pass("hardshrink", _shrink, x, lambd), (x,)


def backward(dy, residuals, *, lambd=0.5):
    (x,) = residuals
    return passed_beyond(dy, x, lambd)


def _shrink(x, lambd):
    return passed_beyond(x, x, lambd)


register(
    forward,
    backward,
    torch="torch.nn.functional.hardshrink",
    widen=False,
    cases=[
        case("between and beyond", smooth(4, 5, kinks=(-0.5, 0.5))),
        case("wide", smooth(4, 5, kinks=(-1.0, 1.0)), lambd=1.0),
        case("lambda 0", smooth(4, 5), lambd=0.0),
        case("no middle", normal(4, 5), lambd=-1.0),
        case("at the jumps", exactly([-0.5, 0.0, 0.5]), kink=True),
        case("a number", smooth(kinks=(-0.5, 0.5))),
        case("empty", normal(0, 5)),
    ],
)
