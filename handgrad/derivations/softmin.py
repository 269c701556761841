"""y_i = exp(-x_i) / Σ_j exp(-x_j) along one axis

Shapes.  x and y (..., n, ...), n along the axis ``dim``.

Chain rule.  y is the ``softmax`` of -x: with its gradient d(-x) = y (dy - ⟨dy, y⟩), and ∂(-x)/∂x = -1,

Result.  dx = -y (dy - ⟨dy, y⟩), with ⟨dy, y⟩ = Σ_i dy_i y_i along the axis.

PyTorch's option ``dtype`` is a cast of -x before the layer, a step of its own: torch_ext.functional makes it.

Kinks: none.  Errors: an axis that x does not have.
Source: PyTorch documentation, torch.nn.functional.softmin.
"""

from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad.derivations import softmax
from handgrad.derivations._fits import some_axis


def forward(x, *, dim=-1):
    return softmax.forward(-x, dim=dim)


def backward(dy, residuals, *, dim=-1):
    return -softmax.backward(dy, residuals, dim=dim)


register(
    forward,
    backward,
    torch="torch.nn.functional.softmin",
    autocast="float32",
    fit=lambda rng, shape: case("fit", normal(*shape), dim=some_axis(rng, shape)) if shape else None,
    cases=[
        case("rows", normal(4, 5), dim=-1),
        case("middle axis", normal(2, 5, 3), dim=1),
        case("ties", exactly([[1.0, 1.0, 0.0], [2.0, 2.0, 2.0]]), dim=1),
        case("large inputs", normal(3, 4, mean=1000.0, scale=10.0), dim=1),
        case("far apart", exactly([[-1000.0, 0.0, 1000.0], [1000.0, 999.0, -1000.0]]), dim=0),
        case("a number", normal(), dim=0),
        case("no classes", normal(4, 0), dim=1),
    ],
)
