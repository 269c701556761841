"""L = mean (or sum) of (x - t)²

Shapes.  x (input) and t (target), broadcast together to (...); L (), or (...) for reduction "none".

Chain rule.  For one element l = (x - t)²:  ∂l/∂x = 2 (x - t),  ∂l/∂t = -2 (x - t).
The mean over N elements gives each of them dL/N, the sum dL.

Result.  dx = 2 (x - t) dl,  dt = -dx,  where dl is dL spread over the elements.

Kinks: none.  Errors: shapes that do not broadcast, an unknown reduction.
Source: PyTorch documentation, torch.nn.functional.mse_loss.
"""

from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad.derivations._losses import reduce, spread


def forward(x, t, *, reduction="mean"):
    e = x - t
    return reduce(e * e, reduction), (e,)


def backward(dy, residuals, *, reduction="mean"):
    (e,) = residuals
    dx = 2 * e * spread(dy, e.shape, reduction)
    return dx, -dx


register(
    forward,
    backward,
    torch="torch.nn.functional.mse_loss",
    autocast="float32",
    cases=[
        case("mean", normal(4, 3), normal(4, 3)),
        case("sum", normal(4, 3), normal(4, 3), reduction="sum"),
        case("none", normal(4, 3), normal(4, 3), reduction="none"),
    ],
)
