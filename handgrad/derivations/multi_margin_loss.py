"""L = mean (or sum) of l,  l_n = 1/C Σ_{i ≠ y} w_y max(0, m - x_y + x_i)^p  with y = t_n, the target's class

Shapes.  x (scores) (N, C) or (C,), t integers in [0, C) of shape (N,), () for one sample; w (weight of each
class, constant) (C,) or absent (1); L (), or (N,) for reduction "none". p is 1 or 2, m the margin.

Chain rule.  With h_i = m - x_y + x_i for i ≠ y, the slope of one term is g_i = p h_i^(p - 1) w_y / C where
h_i > 0, else 0. Each x_i goes into its own term, and x_y into all of them with the sign -1:
    ∂l/∂x_i = g_i for i ≠ y,    ∂l/∂x_y = -Σ_{i ≠ y} g_i

Result.  dx_i = (g_i - [i = y] Σ_k g_k) dl with g_y = 0. dL is what arrives (``dy`` in the code); dl = dL / N
for the mean, dL for the sum and "none".

Kink.  For p = 1 at h = 0, where PyTorch's convention, and ours, is the slope 0.
Errors: shapes that do not fit, a class out of range, p other than 1 and 2, an unknown reduction.
Source: Weston and Watkins, Multi-class Support Vector Machines (1998); PyTorch documentation,
torch.nn.MultiMarginLoss.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, integers, normal, uniform
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import one_hot
from handgrad.derivations._losses import REDUCTIONS, along_classes, class_targets, reduce, spread


def forward(x, t, w=None, *, p=1, margin=1.0, reduction="mean"):
    require(p in (1, 2), "p of multi_margin_loss must be 1 or 2", p, "choose one of these")
    xp = namespace(x)
    scores = _scores(x)
    h, is_target = _hinges(scores, t, margin)
    terms = h * h if p == 2 else h
    if w is not None:
        terms = terms * xp.sum(xp.where(is_target, along_classes(w, scores), 0), axis=-1, keepdims=True)
    return reduce(xp.sum(terms, axis=-1) / scores.shape[-1], reduction), (x, t, w)


def backward(dy, residuals, *, p=1, margin=1.0, reduction="mean"):
    x, t, w = residuals
    xp = namespace(dy)
    scores = _scores(x)
    h, is_target = _hinges(scores, t, margin)
    dl = xp.expand_dims(spread(dy, scores.shape[:-1], reduction), axis=-1) / scores.shape[-1]
    if w is not None:
        dl = dl * xp.sum(xp.where(is_target, along_classes(w, scores), 0), axis=-1, keepdims=True)
    g = 2 * h * dl if p == 2 else xp.where(h > 0, dl, 0)
    return xp.where(is_target, -xp.sum(g, axis=-1, keepdims=True), g)


def _scores(x):
    """(N, C) or (C,); a number is one class."""
    require(
        x.ndim < 3 and (not x.ndim or x.shape[-1] > 0),
        "multi_margin_loss needs scores (N, C) or (C,)",
        tuple(x.shape),
        "reshape the input",
    )
    return x if x.ndim else namespace(x).reshape(x, (1,))


def _hinges(x, t, margin):
    """max(0, m - x_y + x_i) for each i ≠ y, 0 for y itself; and where y is."""
    xp = namespace(x)
    t = xp.reshape(t, x.shape[:-1])  # a single target of shape (1,) is PyTorch's too
    index, _ = class_targets(t, x, None)
    is_target = one_hot(index, x.shape[-1], xp.bool)
    of_target = xp.sum(xp.where(is_target, x, 0), axis=-1, keepdims=True)
    return xp.where(is_target, 0, xp.maximum(margin - of_target + x, 0)), is_target


def fit(rng, shape):
    """On any value (N, C) or (C,), with random targets, and weights or none."""
    if len(shape) not in (1, 2) or 0 in shape:
        return None
    w = uniform(shape[-1], low=0.2, high=2.0) if rng.integers(2) else None
    options = {"p": int(rng.integers(1, 3)), "reduction": str(rng.choice(REDUCTIONS))}
    return case("fit", normal(*shape), integers(*shape[:-1], high=shape[-1]), w, **options)


register(
    forward,
    backward,
    torch="torch.nn.functional.multi_margin_loss",
    reference=lambda torch, x, t, w=None, **o: torch.nn.functional.multi_margin_loss(x, t, weight=w, **o),
    differentiable=("x",),
    autocast="loss",
    fit=fit,
    cases=[
        case("mean", normal(5, 4), integers(5, high=4)),
        case("sum, squares", normal(5, 4), integers(5, high=4), reduction="sum", p=2),
        case("none", normal(5, 4), integers(5, high=4), reduction="none", margin=0.25),
        case("weights", normal(5, 4), integers(5, high=4), uniform(4, low=0.2)),
        case(
            "weights, squares", normal(5, 4), integers(5, high=4), uniform(4, low=0.2), p=2, reduction="none"
        ),
        case("one sample", normal(4), integers(high=4), uniform(4, low=0.2)),
        case("at the kink", exactly([[1.0, 0.0, 0.5]] * 2), integers(2, high=1), kink=True),
    ],
)
