"""L = mean (or sum) of l,  l = t (log t - x),  or exp(t) (t - x) where the target is given as a logarithm

Shapes.  x (log-probabilities) and t (probabilities, or their logarithms for ``log_target``), broadcast
together to (...); L (), or (...) for reduction "none". The mean divides by the number of elements;
"batchmean" by the first axis of x alone, which makes L the Kullback-Leibler divergence of each sample.

Forward.  0 log 0 counts as 0.

Chain rule.  For one element,
    ∂l/∂x = -t                        -exp(t) for log_target
    ∂l/∂t = log t + 1 - x             exp(t) (t - x) + exp(t) for log_target
dL is what arrives (``dy`` in the code); dl = dL / number for the mean, dL / N for "batchmean", dL for the sum
and "none".

Result.  dx = -t dl,  dt = (log t + 1 - x) dl;  for log_target dx = -exp(t) dl,  dt = exp(t) (t - x + 1) dl.

Kinks.  At t = 0 the slope in t is -∞.
Errors: shapes that do not broadcast, an unknown reduction.
Source: Kullback and Leibler, On Information and Sufficiency (1951); PyTorch documentation,
torch.nn.KLDivLoss.
"""

from math import inf

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal, simplex
from handgrad._derivation import register
from handgrad.derivations._losses import reduce, spread


def forward(x, t, *, reduction="mean", log_target=False):
    p, log_p = _target(t, log_target)
    return reduce(p * (log_p - x), *_how(x, reduction)), (x, t)


def backward(dy, residuals, needs, *, reduction="mean", log_target=False):
    x, t = residuals
    p, log_p = _target(t, log_target)
    dl = spread(dy, (p - x).shape, *_how(x, reduction))
    dt = None
    if needs[1]:
        slope = log_p + 1 - x
        dt = (p * slope if log_target else namespace(t).where(t == 0, -inf, slope)) * dl
    return -p * dl, dt


def _target(t, log_target):
    """p and log p, which is 0 where p is."""
    xp = namespace(t)
    return (xp.exp(t), t) if log_target else (t, xp.log(xp.where(t == 0, 1, t)))


def _how(x, reduction):
    """What "batchmean" is: a mean over the first axis alone."""
    if reduction != "batchmean":
        return reduction, None
    return "mean", x.shape[0] if x.ndim else 1


def fit(rng, shape):
    """On any value, with probabilities or their logarithms; not the mean, of which PyTorch warns."""
    if not shape:
        return None
    reduction = str(rng.choice(("none", "sum", "batchmean")))
    if rng.integers(2):
        return case("fit", normal(*shape), normal(*shape), reduction=reduction, log_target=True)
    return case("fit", normal(*shape), simplex(*shape), reduction=reduction)


register(
    forward,
    backward,
    torch="torch.nn.functional.kl_div",
    autocast="loss",
    fit=fit,
    cases=[
        case("batchmean", normal(4, 3, 2), simplex(4, 3, 2), reduction="batchmean"),
        case("sum", normal(4, 3), simplex(4, 3), reduction="sum"),
        case("none", normal(4, 3), simplex(4, 3), reduction="none"),
        case("logarithms", normal(4, 3), normal(4, 3, mean=-1.0), log_target=True, reduction="sum"),
        case("logarithms, batchmean", normal(4, 3), normal(4, 3), log_target=True, reduction="batchmean"),
        case("one target for all", normal(4, 3), simplex(3), reduction="none"),
        case("numbers", normal(), exactly(0.25), reduction="batchmean"),
    ],
)
