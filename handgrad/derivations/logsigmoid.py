"""y = log σ(x) = -log(1 + exp(-x))

Shapes.  x and y (...), element by element.

Forward.  ``softplus`` of -x, negated, without its threshold: log(1 + exp(-x)) = max(-x, 0) + log(1 +
exp(-|x|)), in which exp cannot overflow.

Chain rule.  dy is ∂L/∂y.  ∂y/∂x = exp(-x) / (1 + exp(-x)) = σ(-x), which is 1 - σ(x) without the
cancellation.

Result.  dx = dy σ(-x).

Kinks: none.  Errors: none.  NaN is passed on.
Source: PyTorch documentation, torch.nn.functional.logsigmoid.
"""

from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad._primitives import sigmoid
from handgrad._primitives_curves import log_of_one_and_exp


def forward(x):
    return -log_of_one_and_exp(-x), (x,)


def backward(dy, residuals):
    (x,) = residuals
    return dy * sigmoid(-x)


register(
    forward,
    backward,
    torch="torch.nn.functional.logsigmoid",
    fit=lambda rng, shape: case("fit", normal(*shape)),
    cases=[
        case("both sides", normal(4, 5, scale=3.0)),
        case("at zero", exactly([0.0, -0.0])),
        case("saturated", exactly([-1000.0, -90.0, -20.0, 20.0, 90.0, 1000.0])),
        case("a number", normal()),
        case("empty", normal(0, 5)),
    ],
)
