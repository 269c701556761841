"""y = x where x > 0, else α (exp(x/α) - 1)

Shapes.  x and y (...), element by element.  α is the number ``alpha``, not 0.

Chain rule.  dy is ∂L/∂y.  ∂y/∂x = 1 where x > 0, and α exp(x/α) · 1/α = exp(x/α) where x < 0
(``_exponential``).

Result.  dx = dy where x > 0, else dy exp(x/α).

Kinks: none: at x = 0 both slopes are 1. Where x is NaN, y is NaN and dy is handed on.
Errors: α = 0.
Not as in PyTorch: the α in its derivative has the digits of float32 in float64 too (docs/findings/celu.md).
Source: Barron, Continuously Differentiable Exponential Linear Units (2017); PyTorch documentation,
torch.nn.functional.celu.
"""

from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives_fused import in_one_pass
from handgrad.derivations._exponential import curve, slope


def forward(x, *, alpha=1.0):
    require(alpha != 0, "alpha of celu must not be 0", alpha, "give another number, or use relu")
    return in_one_pass("celu", _curve, x, alpha), (x,)


def backward(dy, residuals, *, alpha=1.0):
    (x,) = residuals
    return dy * slope(x, 1.0, beta=alpha)


def _curve(x, alpha):
    return curve(x, alpha, beta=alpha)


register(
    forward,
    backward,
    torch="torch.nn.functional.celu",
    truth=lambda torch, x, alpha=1.0: torch.where(
        x > 0, x, alpha * torch.expm1(torch.where(x > 0, 0, x) / alpha)
    ),
    fit=lambda rng, shape: case("fit", normal(*shape), alpha=float(rng.uniform(0.3, 2))),
    cases=[
        case("both sides", normal(4, 5)),
        case("alpha", normal(4, 5), alpha=0.3),
        case("negative alpha", normal(4, 5), alpha=-1.5),
        case("near zero", exactly([-1e-3, -1e-6, 0.0, 1e-6, 1e-3]), alpha=0.7),
        case("far", exactly([-1000.0, -50.0, 50.0, 1000.0]), alpha=3.0),
        case("a number", normal()),
        case("empty", normal(0, 5)),
    ],
)
