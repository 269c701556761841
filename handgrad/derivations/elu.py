"""y = x where x > 0, else α (exp(x) - 1)

Shapes.  x and y (...), element by element.  α is the number ``alpha``.

Chain rule.  dy is ∂L/∂y.  ∂y/∂x = 1 where x > 0, and α exp(x) where x < 0 (``_exponential``).

Result.  dx = dy where x > 0, else dy α exp(x).

Kink.  At x = 0 the slope jumps from α to 1 unless α = 1; PyTorch's convention, and ours, is α. Where x is
NaN, y is NaN and dy is handed on.
Errors: none.
Source: Clevert, Unterthiner and Hochreiter, Fast and Accurate Deep Network Learning by Exponential Linear
Units (2016), section 3; PyTorch documentation, torch.nn.functional.elu.
"""

from handgrad._cases import case, exactly, normal, smooth
from handgrad._derivation import register
from handgrad._primitives_fused import in_one_pass
from handgrad.derivations._exponential import curve, slope


def forward(x, *, alpha=1.0):
    return in_one_pass("elu", _curve, x, alpha), (x,)


def backward(dy, residuals, *, alpha=1.0):
    (x,) = residuals
    return dy * slope(x, alpha)


def _curve(x, alpha):
    return curve(x, alpha)


register(
    forward,
    backward,
    torch="torch.nn.functional.elu",
    fit=lambda rng, shape: case("fit", normal(*shape), alpha=float(rng.uniform(0.2, 2))),
    cases=[
        case("both sides", smooth(4, 5)),
        case("alpha", smooth(4, 5), alpha=0.3),
        case("negative alpha", smooth(4, 5), alpha=-1.5),
        case("alpha 0", smooth(4, 5), alpha=0.0),
        case("near zero", exactly([-1e-3, -1e-6, 1e-6, 1e-3])),
        case("far", exactly([-1000.0, -50.0, 50.0, 1000.0])),
        case("at the kink", exactly([-1.0, 0.0, -0.0, 2.0]), kink=True, alpha=0.3),
        case("a number", smooth()),
        case("empty", normal(0, 5)),
    ],
)
