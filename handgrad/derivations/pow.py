"""y = x1 ^ x2, element by element

Shapes.  x1 (base) and x2 (exponent) broadcast together to (...), the shape of y.

Chain rule.  dy is ∂L/∂y.  y = exp(x2 log(x1)), so
    ∂y/∂x1 = x2 x1^(x2-1)
    ∂y/∂x2 = y log(x1)

Result.  dx1 = dy x2 x1^(x2-1),  dx2 = dy y log(x1)  (factors conjugated for complex numbers). Where an
operand was broadcast, its gradient is summed over the copies (after ``backward``, by
``_arrays.unbroadcast``).

Kinks.  x^0 is 1 for every x, so dx1 = 0 where x2 = 0, though 0 · 0^-1 is no number. Where x1 = 0 and x2 ≥ 0,
dx2 = 0, though log(0) is -∞: 0^x2 is constant there. Both by PyTorch's convention.
A base below 0 has a real power only for whole x2, and then no derivative by x2 (NaN).  Errors: shapes that
do not broadcast.
Source: PyTorch documentation, torch.pow.
"""

from handgrad._arrays import conj, namespace, real
from handgrad._cases import case, exactly, normal, uniform
from handgrad._derivation import register
from handgrad.derivations._fits import broadcastable


def forward(x1, x2):
    return x1**x2, (x1, x2)


def backward(dy, residuals, needs):
    # needs: which gradients are wanted
    x1, x2 = residuals
    xp = namespace(dy)
    dx1 = dx2 = None
    if needs[0]:
        slope = x2 * x1 ** xp.where(x2 == 0, x2, x2 - 1)  # never 0^-1 by the way
        dx1 = dy * conj(slope)
    if needs[1]:
        flat = (x1 == 0) & (real(x2) >= 0)
        slope = x1**x2 * xp.log(xp.where(flat, xp.ones_like(x1), x1))
        dx2 = dy * conj(slope)
    return dx1, dx2


def fit(rng, shape):
    """A positive base, an exponent of either sign."""
    return case("fit", uniform(*shape, low=0.5, high=2.0), normal(*broadcastable(rng, shape)))


register(
    forward,
    backward,
    torch="torch.pow",
    autocast="float32",
    fit=fit,
    cases=[
        case("same shape", uniform(4, 5, low=0.5, high=2.0), normal(4, 5)),
        case("a square", uniform(4, 5, low=0.5, high=2.0), exactly(2.0)),
        case("a row of exponents", uniform(4, 5, low=0.5, high=2.0), exactly([-2.0, -0.5, 0.5, 1.0, 3.0])),
        case("a number to all powers", exactly(2.5), normal(4, 5)),
        case("power 0 and 1", exactly([0.0, 0.5, 3.0]), exactly([[0.0], [1.0]]), kink=True),
        case("empty", normal(0, 5), normal(5)),
    ],
)
