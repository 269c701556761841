"""y = min(max(x, 0), 6)

Shapes.  x and y (...), element by element.

Chain rule.  ``hardtanh`` with the bounds 0 and 6.

Result.  dx = dy where 0 < x < 6, else 0.

Kinks.  At x = 0 and x = 6 the slope is 0, as in PyTorch. Where x is NaN, y is NaN and dy is handed on.
Errors: none.
Source: Krizhevsky, Convolutional Deep Belief Networks on CIFAR-10 (2010), section 2; PyTorch documentation,
torch.nn.functional.relu6.
"""

from handgrad._cases import case, exactly, normal, smooth
from handgrad._derivation import register
from handgrad.derivations import hardtanh


def forward(x):
    return hardtanh.forward(x, min_val=0, max_val=6)


def backward(dy, residuals):
    return hardtanh.backward(dy, residuals, min_val=0, max_val=6)


register(
    forward,
    backward,
    torch="torch.nn.functional.relu6",
    widen=False,
    fit=lambda rng, shape: case("fit", normal(*shape)),
    cases=[
        case("below and between", smooth(4, 5)),
        case("all three pieces", smooth(4, 5, kinks=(0.0, 6.0))),
        case("far", exactly([-1000.0, 5.5, 6.5, 1000.0])),
        case("at the kinks", exactly([-1.0, 0.0, -0.0, 6.0, 7.0]), kink=True),
    ],
)
