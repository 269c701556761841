"""L = mean (or sum) of log(1 + exp(-t x))

Shapes.  x (input) and t (labels 1 and -1), broadcast together to (...); L (), or (...) for reduction "none".

Forward.  log(1 + exp(-t x)) = softplus(-t x), in which no exp overflows.

Chain rule.  softplus'(z) = σ(z) = 1/(1 + exp(-z)), and z = -t x, so for one element
    ∂l/∂x = -t σ(-t x),  ∂l/∂t = -x σ(-t x).

Result.  dx = -t σ(-t x) dl,  dt = -x σ(-t x) dl,  where dL is what arrives (``dy`` in the code) and
dl = dL / number of elements for the mean, dL for the sum and "none".

Kinks: none.
Errors: shapes that do not broadcast, an unknown reduction.
Source: PyTorch documentation, torch.nn.SoftMarginLoss.
"""

from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad.derivations._losses import REDUCTIONS, reduce, spread
from handgrad.derivations.binary_cross_entropy_with_logits import sigma, soft_plus


def forward(x, t, *, reduction="mean"):
    return reduce(soft_plus(-t * x), reduction), (x, t)


def backward(dy, residuals, *, reduction="mean"):
    x, t = residuals
    dz = -sigma(-t * x)
    dz = dz * spread(dy, dz.shape, reduction)
    return t * dz, x * dz


def reference(torch, x, t, *, reduction="mean"):
    """PyTorch's soft_margin_loss gives no gradient of t, and its exp overflows: there by log σ."""
    return reduce(-torch.nn.functional.logsigmoid(t * x), reduction)


def fit(rng, shape):
    """On any value, with random labels."""
    return case("fit", normal(*shape), normal(*shape), reduction=str(rng.choice(REDUCTIONS)))


_LABELS = exactly([[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0], [1.0, 1.0, -1.0], [-1.0, 1.0, -1.0]])

register(
    forward,
    backward,
    torch="torch.nn.functional.soft_margin_loss",
    reference=reference,
    composed=True,
    autocast="loss",
    fit=fit,
    cases=[
        case("mean", normal(4, 3), _LABELS),
        case("sum", normal(4, 3), _LABELS, reduction="sum"),
        case("none", normal(4, 3), _LABELS, reduction="none"),
        case("any labels", normal(4, 3), normal(4, 3), reduction="none"),
        case("labels of columns", normal(4, 3), exactly([1.0, -1.0, 1.0])),
        case("numbers", normal(), exactly(-1.0)),
        case("far out", exactly([1e3, -1e3, 800.0]), exactly([1.0, 1.0, -1.0]), reduction="none"),
    ],
)
