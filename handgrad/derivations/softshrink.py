"""y = x - λ where x > λ, x + λ where x < -λ, else 0

Shapes.  x and y (...), element by element.  λ is the number ``lambd`` ≥ 0.

Forward.  Beyond the middle piece both formulas are x - λ sign(x).

Chain rule.  dy is ∂L/∂y.  y is x and a constant where |x| > λ, so ∂y/∂x = 1; y = 0 between, so ∂y/∂x = 0.

Result.  dx = dy where |x| > λ, else 0.

Kinks.  At x = ±λ the slope jumps between 0 and 1; PyTorch's convention, and ours, is 0. Where x is NaN, y is
NaN and dy is handed on.
Errors: λ < 0.
Source: Donoho, De-noising by Soft-thresholding (1995), section 1; PyTorch documentation,
torch.nn.functional.softshrink.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal, smooth
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives_fused import in_one_pass
from handgrad.derivations._pieces import passed_beyond


def forward(x, *, lambd=0.5):
    require(lambd >= 0, "lambd of softshrink must not be negative", lambd, "give 0 or a positive number")
    return in_one_pass("softshrink", _shrink, x, lambd), (x,)


def backward(dy, residuals, *, lambd=0.5):
    (x,) = residuals
    return passed_beyond(dy, x, lambd)


def _shrink(x, lambd):
    return passed_beyond(x - lambd * namespace(x).sign(x), x, lambd)


register(
    forward,
    backward,
    torch="torch.nn.functional.softshrink",
    fit=lambda rng, shape: case("fit", normal(*shape), lambd=float(rng.uniform(0, 1))),
    cases=[
        case("between and beyond", smooth(4, 5, kinks=(-0.5, 0.5))),
        case("wide", smooth(4, 5, kinks=(-1.0, 1.0)), lambd=1.0),
        case("lambda 0", smooth(4, 5), lambd=0.0),
        case("at the kinks", exactly([-0.5, 0.0, 0.5]), kink=True),
        case("a number", smooth(kinks=(-0.5, 0.5))),
        case("empty", normal(0, 5)),
    ],
)
