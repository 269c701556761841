"""y = x1 + α x2

Shapes.  x1 and x2 broadcast together to (...), the shape of y.  α is the number ``alpha``.

Chain rule.  dy is ∂L/∂y. Element by element  ∂y/∂x1 = 1  and  ∂y/∂x2 = α:  an addition hands its
gradient on to both operands.

Result.  dx1 = dy,  dx2 = α dy  (ᾱ dy for complex numbers). Where an operand was broadcast, its
gradient is summed over the copies (after ``backward``, by ``_arrays.unbroadcast``).

Kinks: none.  Errors: shapes that do not broadcast.
Source: PyTorch documentation, torch.add; the lecture's section 6.2.
"""

from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad.derivations._fits import second_value


def forward(x1, x2, *, alpha=1):
    return x1 + (x2 if alpha == 1 else alpha * x2), ()


def backward(dy, _, *, alpha=1):
    return dy, dy if alpha == 1 else dy * alpha.conjugate()


def fit(rng, shape):
    """A second value of a shape that broadcasts; alpha of either sign."""
    alpha = float(rng.choice([1.0, rng.uniform(-3, 3)]))
    return case("fit", normal(*shape), second_value(rng, shape), alpha=alpha)


register(
    forward,
    backward,
    torch="torch.add",
    fit=fit,
    cases=[
        case("a column for each matrix", normal(2, 3, 4), normal(3, 1)),
        case("same shape", normal(4, 5), normal(4, 5)),
        case("the lecture's numbers", exactly(-2.0), exactly(5.0)),
        case("a row to each row", normal(4, 5), normal(5)),
        case("column plus row", normal(4, 1), normal(1, 5)),
        case("a number to all", normal(2, 3, 4), normal()),
        case("alpha", normal(4, 5), normal(4, 1), alpha=-2.5),
        case("alpha zero", normal(4), normal(4), alpha=0),
        case("empty", normal(0, 5), normal(5)),
    ],
)
