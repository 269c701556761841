"""L = mean (or sum) of max(0, m - t (a - b))

Shapes.  a (input1), b (input2) and t (labels: 1 if a should rank higher, -1 if b), broadcast together to
(...); L (), or (...) for reduction "none". m is the margin.

Chain rule.  For one element with h = m - t (a - b), where h > 0:
    ∂l/∂a = -t,  ∂l/∂b = t,  ∂l/∂t = -(a - b),
and 0 where h < 0.

Result.  da = -t dh,  db = t dh,  dt = -(a - b) dh,  with dh = dl where h ≥ 0, else 0. dL is what
arrives (``dy`` in the code); dl = dL / number of elements for the mean, dL for the sum and "none".

Kink.  At h = 0 PyTorch's convention, and ours, is the slope of h > 0.
Errors: shapes that do not broadcast, an unknown reduction.
Source: PyTorch documentation, torch.nn.MarginRankingLoss.
"""

from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad.derivations._losses import REDUCTIONS, hinge, reduce, spread, through_hinge


def forward(a, b, t, *, margin=0.0, reduction="mean"):
    return reduce(hinge(margin - t * (a - b)), reduction), (a, b, t)


def backward(dy, residuals, *, margin=0.0, reduction="mean"):
    a, b, t = residuals
    h = margin - t * (a - b)
    dh = through_hinge(spread(dy, h.shape, reduction), h)
    db = t * dh
    return -db, db, (b - a) * dh


def fit(rng, shape):
    """On any value, against random ones."""
    options = {"margin": float(rng.choice([0.0, 0.5, 2.0])), "reduction": str(rng.choice(REDUCTIONS))}
    return case("fit", normal(*shape), normal(*shape), normal(*shape), **options)


_LABELS = exactly([[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0], [1.0, 1.0, -1.0], [-1.0, 1.0, -1.0]])

register(
    forward,
    backward,
    torch="torch.nn.functional.margin_ranking_loss",
    autocast="loss",
    fit=fit,
    cases=[
        case("mean", normal(4, 3), normal(4, 3), _LABELS),
        case("sum", normal(4, 3), normal(4, 3), _LABELS, reduction="sum", margin=0.5),
        case("none", normal(4, 3), normal(4, 3), _LABELS, reduction="none", margin=0.5),
        case("broadcast", normal(4, 3), normal(1, 3), normal(4, 1), margin=0.5),
        case("numbers", normal(), normal(), exactly(1.0)),
        case(
            "at the kink",
            exactly([1.0, 2.0, 0.5]),
            exactly([1.0, 1.0, 1.5]),
            exactly([1.0, 1.0, -1.0]),
            kink=True,
            reduction="none",
        ),
    ],
)
