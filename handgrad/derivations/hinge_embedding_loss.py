"""L = mean (or sum) of l,  l = x where t = 1, max(0, m - x) where t = -1

Shapes.  x (a distance) and t (labels 1 and -1, constant), broadcast together to (...); L (), or (...)
for reduction "none". m is the margin.

Forward.  PyTorch's convention for any other t, and ours: both parts count.

Chain rule.  For one element, ∂l/∂x = 1 where t = 1, and -1 where t = -1 and x < m, else 0.

Result.  dx = ([t ≠ -1] - [t ≠ 1] [x ≤ m]) dl,  where dL is what arrives (``dy`` in the code) and
dl = dL / number of elements for the mean, dL for the sum and "none".

Kink.  At x = m (t = -1) PyTorch's convention, and ours, is the slope -1.
Errors: shapes that do not broadcast, an unknown reduction.
Source: Hadsell, Chopra and LeCun, Dimensionality Reduction by Learning an Invariant Mapping (2006);
PyTorch documentation, torch.nn.HingeEmbeddingLoss.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad.derivations._losses import hinge, reduce, spread, through_hinge


def forward(x, t, *, margin=1.0, reduction="mean"):
    xp = namespace(x)
    loss = xp.where(t != 1, hinge(margin - x), 0) + xp.where(t != -1, x, 0)
    return reduce(loss, reduction), (x, t)


def backward(dy, residuals, *, margin=1.0, reduction="mean"):
    x, t = residuals
    xp = namespace(x)
    dl = spread(dy, (x - t).shape, reduction)
    return xp.where(t != -1, dl, 0) - xp.where(t != 1, through_hinge(dl, margin - x), 0)


_LABELS = exactly([[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0], [1.0, 1.0, -1.0], [-1.0, 1.0, -1.0]])

register(
    forward,
    backward,
    torch="torch.nn.functional.hinge_embedding_loss",
    differentiable=("x",),
    autocast="loss",
    cases=[
        case("mean", normal(4, 3), _LABELS),
        case("sum", normal(4, 3), _LABELS, reduction="sum"),
        case("none", normal(4, 3), _LABELS, reduction="none"),
        case("margin", normal(4, 3), _LABELS, margin=0.5),
        case("labels of columns", normal(4, 3), exactly([1.0, -1.0, 1.0])),
        case("other labels", normal(3), exactly([0.0, 2.0, -1.0]), reduction="none"),
        case(
            "at the margin", exactly([1.0, 1.0, 0.5]), exactly([1.0, -1.0, -1.0]), kink=True, reduction="none"
        ),
    ],
)
