"""L = mean (or sum) of l,  l_n = -1/C Σ_c w_c (t_c log σ(x_c) + (1 - t_c) log(1 - σ(x_c)))

Shapes.  x (logits), t (targets, 0 or 1) and w (weight of each class, or absent: 1) broadcast together to
(..., C); L (), or (...) for reduction "none".

Forward.  Each term is that of ``binary_cross_entropy_with_logits``, which says how no exp overflows; here the
classes of one sample are averaged first.

Chain rule.  Each term reaches l_n over C, and L over the number of samples for the mean. So dL arrives at
each term as dl = dL / (C N) for the mean, dL / C for the sum and "none"; from there on
``binary_cross_entropy_with_logits`` has derived it, and a weight gets its own term.

Result.  dx = w (σ(x) - t) dl,  dt = -w x dl,  dw = (term without w) dl.

Kinks: none.
Errors: shapes that do not broadcast, a single number, an unknown reduction.
Source: PyTorch documentation, torch.nn.MultiLabelSoftMarginLoss.
"""

import numpy as np

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal, uniform
from handgrad._derivation import register
from handgrad._errors import require
from handgrad.derivations._losses import REDUCTIONS, reduce, spread
from handgrad.derivations.binary_cross_entropy_with_logits import logistic_loss, logistic_slopes


def forward(x, t, w=None, *, reduction="mean"):
    require(
        x.ndim > 0, "multilabel_soft_margin_loss needs an axis of classes", "a single number", "add the axis"
    )
    terms = logistic_loss(x, t)
    terms = terms if w is None else terms * w
    return reduce(namespace(x).sum(terms, axis=-1) / x.shape[-1], reduction), (x, t, w)


def backward(dy, residuals, needs, *, reduction="mean"):
    x, t, w = residuals
    xp = namespace(dy)
    shape = np.broadcast_shapes(*(tuple(a.shape) for a in (x, t, w) if a is not None))
    dl = xp.expand_dims(spread(dy, shape[:-1], reduction) / x.shape[-1], axis=-1)
    dx, dt = logistic_slopes(x, t, dl if w is None else w * dl, needs)
    return dx, dt, logistic_loss(x, t) * dl if w is not None and needs[2] else None


def fit(rng, shape):
    """On any value with an axis of classes, with a random target, and weights or none."""
    if not shape:
        return None
    w = uniform(shape[-1], high=2.0) if rng.integers(2) else None
    return case("fit", normal(*shape), uniform(*shape), w, reduction=str(rng.choice(REDUCTIONS)))


register(
    forward,
    backward,
    torch="torch.nn.functional.multilabel_soft_margin_loss",
    fit=fit,
    cases=[
        case("mean", normal(4, 3), uniform(4, 3)),
        case("sum", normal(4, 3), uniform(4, 3), reduction="sum"),
        case("none", normal(4, 3), uniform(4, 3), reduction="none"),
        case("weights", normal(4, 3), uniform(4, 3), uniform(3, low=0.2)),
        case("weights of all", normal(4, 3), uniform(4, 3), uniform(4, 3, low=0.2), reduction="none"),
        case("one sample", normal(3), uniform(3)),
        case("axes", normal(2, 4, 3), uniform(2, 4, 3), uniform(3, low=0.2), reduction="none"),
        case("far out", exactly([[1e3, -1e3, 1e3, -1e3]]), exactly([[1.0, 0.0, 0.0, 1.0]])),
    ],
)
