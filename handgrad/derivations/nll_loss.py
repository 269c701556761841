"""L = mean (or sum) of l,  l_n = -w_c x_nc  at the class c = t_n

Shapes.  x (log-probabilities) (C,) or (N, C, d1, ...), t integers in [0, C) of that shape without C;
w (weight of each class, constant) (C,) or absent (1); L (), or the shape of t for reduction "none".

Forward.  A target equal to ``ignore_index`` contributes nothing. The mean divides by W, the sum of
the weights of the targets that are not ignored (without w: their number); it is NaN where W is 0.

Chain rule.  x is used at one class for each target:  ∂l_n/∂x_nk = -w_k [k = t_n], where [k = t_n] is 1
at the class of the target, else 0.

Result.  dx_nk = -w_k [k = t_n] dl_n,  0 where ignored. dL is what arrives (``dy`` in the code), and
dl_n = dL/W for the mean, dL for the sum, dL_n for "none".

Kinks: none: the loss is linear in x.
Errors: shapes that do not fit, a class out of range, targets that are not integers, an unknown reduction.
Source: PyTorch documentation, torch.nn.NLLLoss.
"""

from handgrad._arrays import cast, namespace
from handgrad._cases import case, integers, normal, uniform
from handgrad._derivation import register
from handgrad._primitives import gather
from handgrad.derivations._losses import (
    REDUCTIONS,
    along_classes,
    at_class,
    class_axis,
    class_targets,
    draw_ignore_index,
    reduce,
    spread,
)


def forward(x, t, w=None, *, ignore_index=-100, reduction="mean"):
    xp = namespace(x)
    axis = class_axis(x)
    index, keep = class_targets(t, x, ignore_index)
    loss = -gather(x, index, axis)
    if w is None:
        weights = cast(keep, x.dtype)
    else:
        of_target = gather(xp.broadcast_to(along_classes(w, x), x.shape), index, axis)
        weights = xp.where(keep, of_target, 0)
        loss = loss * of_target
    loss = xp.where(keep, loss, 0)
    return reduce(loss, reduction, xp.sum(weights)), (index, keep, weights, x.shape[axis])


def backward(dy, residuals, *, ignore_index=-100, reduction="mean"):  # noqa: ARG001
    index, keep, weights, n = residuals
    xp = namespace(dy)
    w_dl = weights * spread(dy, weights.shape, reduction, xp.sum(weights))
    return at_class(xp.where(keep, -w_dl, 0), index, n)


def fit(rng, shape):
    """On any value with an axis of classes: random targets, some ignored, with weights or none."""
    if not shape or 0 in shape:
        return None
    axis = min(1, len(shape) - 1)
    classes, kept = shape[axis], shape[:axis] + shape[axis + 1 :]
    reduction = str(rng.choice(REDUCTIONS))
    w = uniform(classes, low=0.2, high=2.0) if rng.integers(2) else None
    ignore = draw_ignore_index(rng, classes, kept, reduction)
    t = integers(*kept, high=classes)
    return case("fit", normal(*shape), t, w, reduction=reduction, ignore_index=ignore)


register(
    forward,
    backward,
    torch="torch.nn.functional.nll_loss",
    reference=lambda torch, x, t, w=None, **o: torch.nn.functional.nll_loss(x, t, weight=w, **o),
    differentiable=("x",),
    autocast="loss",
    fit=fit,
    cases=[
        case("mean", normal(5, 4), integers(5, high=4)),
        case("sum", normal(5, 4), integers(5, high=4), reduction="sum"),
        case("none", normal(5, 4), integers(5, high=4), reduction="none"),
        case("weights", normal(5, 4), integers(5, high=4), uniform(4, low=0.2)),
        case("weights, sum", normal(5, 4), integers(5, high=4), uniform(4, low=0.2), reduction="sum"),
        case("weights, none", normal(5, 4), integers(5, high=4), uniform(4, low=0.2), reduction="none"),
        case("ignored", normal(9, 3), integers(9, high=3), uniform(3, low=0.2), ignore_index=1),
        case("ignored, none", normal(9, 3), integers(9, high=3), reduction="none", ignore_index=1),
        case("unbatched", normal(4), integers(high=4), uniform(4, low=0.2)),
        case("images", normal(2, 4, 3, 2), integers(2, 3, 2, high=4), uniform(4, low=0.2), ignore_index=2),
        case("images, none", normal(2, 4, 3), integers(2, 3, high=4), reduction="none"),
        case("all ignored, sum", normal(3, 4), integers(3, low=-100, high=-99), reduction="sum"),
        case("all ignored, mean", normal(3, 4), integers(3, low=-100, high=-99), kink=True),
        case("no batch, sum", normal(0, 4), integers(0, high=4), reduction="sum"),
        case("no batch, mean", normal(0, 4), integers(0, high=4), kink=True),
    ],
)
