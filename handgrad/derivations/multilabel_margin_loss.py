"""L = mean (or sum) of l,  l_n = 1/C Σ_{j target} Σ_{i no target} max(0, 1 - x_j + x_i)

Shapes.  x (scores) (N, C) or (C,); t of the same shape (or fewer columns), integers: the classes that are
targets, as far as the first -1 of each row; L (), or (N,) for reduction "none".

Forward.  j runs over the targets as listed (one that is named twice counts twice), i over the classes that
are not among them.

Chain rule.  With g_ji = [i is no target] / C where 1 - x_j + x_i > 0, else 0: x_i goes into the pairs (., i),
and x_j into the pairs (j, .) with the sign -1:
    ∂l/∂x_k = Σ_j g_jk - Σ_i g_ki

Result.  dx_k = (Σ_j g_jk - Σ_i g_ki) dl. dL is what arrives (``dy`` in the code); dl = dL / N for the mean,
dL for the sum and "none".

Kink.  At 1 - x_j + x_i = 0, where PyTorch's convention, and ours, is the slope 0.
Errors: shapes that differ, a class out of range, an unknown reduction.
Source: PyTorch documentation, torch.nn.MultiLabelMarginLoss.
"""

from operator import gt

from handgrad._arrays import cast, namespace
from handgrad._cases import case, exactly, labels, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import scatter
from handgrad._primitives_choices import choose
from handgrad.derivations._losses import reduce, require_values, spread


def forward(x, t, *, reduction="mean"):
    xp = namespace(x)
    h, pairs, _, n = _pairs(x, t)
    loss = xp.sum(pairs * xp.maximum(h, 0), axis=(-2, -1)) / n
    return reduce(loss, reduction), (x, t)


def backward(dy, residuals, *, reduction="mean"):
    x, t = residuals
    xp = namespace(dy)
    h, pairs, index, n = _pairs(x, t)
    dl = xp.expand_dims(spread(dy, x.shape[:-1], reduction) / n, axis=-1)
    g = choose(gt, h, 0, pairs, 0)
    return (xp.sum(g, axis=-2) - scatter(xp.sum(g, axis=-1), index, n)) * dl


def _pairs(x, t):
    """1 - x_j + x_i and whether they count, both (..., J, C) for J targets j; where these are; and C."""
    require(
        x.ndim < 3 and t.ndim == x.ndim and tuple(t.shape[:-1]) == tuple(x.shape[:-1]),
        "multilabel_margin_loss needs an input (N, C) or (C,) and a target of the same shape",
        f"input {tuple(x.shape)} and target {tuple(t.shape)}",
        "fill each row of the target up with -1",
    )
    xp = namespace(x)
    if not x.ndim:  # a number is one class
        x, t = xp.reshape(x, (1,)), xp.reshape(t, (1,))
    n = x.shape[-1]
    require(
        0 < n >= t.shape[-1], "there must be a class, and a place for each target", n, "reshape the input"
    )
    t = cast(t, xp.int64)
    require_values(
        (t >= -1) & (t < n),
        f"a class index must be from 0 to {n - 1}, or -1 after the last",
        lambda: f"indices from {int(xp.min(t))} to {int(xp.max(t))}",
        "correct the target",
    )
    counts = xp.cumulative_sum(cast(t < 0, xp.int64), axis=-1) == 0
    index = xp.where(counts, t, 0)
    counts = cast(counts, x.dtype)
    others = cast(scatter(counts, index, n) == 0, x.dtype)
    of_target = xp.take_along_axis(x, index, axis=-1)
    h = 1 - xp.expand_dims(of_target, axis=-1) + xp.expand_dims(x, axis=-2)
    return h, xp.expand_dims(counts, axis=-1) * xp.expand_dims(others, axis=-2), index, n


_LABELS = labels([[3, 0, -1, 1], [2, -1, 0, 0], [-1, 1, 1, 1], [0, 1, 2, 3]])

register(
    forward,
    backward,
    torch="torch.nn.functional.multilabel_margin_loss",
    differentiable=("x",),
    autocast="loss",
    cases=[
        case("mean", normal(4, 4), _LABELS),
        case("sum", normal(4, 4), _LABELS, reduction="sum"),
        case("none", normal(4, 4), _LABELS, reduction="none"),
        case("one sample", normal(4), labels([1, 2, -1, -1])),
        case("a class named twice", normal(2, 3), labels([[1, 1, -1], [0, 2, 0]])),
        case("at the kink", exactly([[1.0, 0.0, 0.5]]), labels([[0, -1, -1]]), kink=True),
    ],
)
