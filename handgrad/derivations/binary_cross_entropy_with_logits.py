"""L = mean (or sum) of w l,  l = -p t log σ(x) - (1 - t) log(1 - σ(x)),  σ(x) = 1/(1 + exp(-x))

Shapes.  x (input, logits) and t (target) of one shape (...); w (weight) and p (pos_weight, of the
positive class), both constant, broadcast to (...) or are absent (1); L (), or (...) for reduction
"none". The mean divides by the number of elements, whatever w and p are.

Forward.  -log σ(x) = log(1 + exp(-x)) = softplus(-x), and 1 - σ(x) = σ(-x), so
    l = p t s₋ + (1 - t) s₊,   s₋ = softplus(-x),  s₊ = softplus(x):
no exp overflows, and for t in [0, 1] nothing cancels.

Chain rule.  softplus'(x) = exp(x)/(1 + exp(x)) = σ(x), so for one element
    ∂l/∂x = -p t σ(-x) + (1 - t) σ(x),  which is σ(x) - t where p = 1
    ∂l/∂t = p s₋ - s₊,                  which is -x where p = 1

Result.  dx = ((1 - t) σ(x) - p t σ(-x)) dl,  dt = (p s₋ - s₊) dl,  where dL is what arrives
(``dy`` in the code) and dl = w dL / number of elements for the mean, w dL for the sum and "none".

Kinks: none.
Errors: x and t of different shapes, w or p that do not broadcast, an unknown reduction.
Source: PyTorch documentation, torch.nn.BCEWithLogitsLoss; the lecture's logistic regression.
"""

from handgrad._cases import case, exactly, normal, uniform
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import sigmoid
from handgrad._primitives_curves import log_of_one_and_exp
from handgrad.derivations._fits import broadcastable
from handgrad.derivations._losses import REDUCTIONS, reduce, require_broadcast, spread


def forward(x, t, w=None, pos_weight=None, *, reduction="mean"):
    require(
        tuple(x.shape) == tuple(t.shape),
        "binary_cross_entropy_with_logits needs an input and a target of the same shape",
        f"input {tuple(x.shape)} and target {tuple(t.shape)}",
        "reshape one of them",
    )
    require_broadcast(w, x.shape, "weight")
    require_broadcast(pos_weight, x.shape, "pos_weight")
    loss = logistic_loss(x, t, pos_weight)
    return reduce(loss if w is None else loss * w, reduction), (x, t, w, pos_weight)


def backward(dy, residuals, needs, *, reduction="mean"):
    # needs: which gradients are wanted
    x, t, w, pos_weight = residuals
    dl = spread(dy, x.shape, reduction)
    if w is not None:
        dl = dl * w
    return logistic_slopes(x, t, dl, needs, pos_weight)


def logistic_loss(x, t, pos_weight=None):
    """l of each element."""
    return _positive(t, pos_weight) * soft_plus(-x) + (1 - t) * soft_plus(x)


def logistic_slopes(x, t, dl, needs, pos_weight=None):
    """dx and dt from dl, as far as they are wanted."""
    dx = ((1 - t) * sigma(x) - _positive(t, pos_weight) * sigma(-x)) * dl if needs[0] else None
    dt = (_positive(soft_plus(-x), pos_weight) - soft_plus(x)) * dl if needs[1] else None
    return dx, dt


def sigma(x):
    """σ(x), which never overflows."""
    return sigmoid(x)


def soft_plus(x):
    """log(1 + exp(x)), which never overflows."""
    return log_of_one_and_exp(x)


def _positive(a, pos_weight):
    """p a, where p may be absent."""
    return a if pos_weight is None else a * pos_weight


def fit(rng, shape):
    """On any value, with a random target, and weights or none."""
    w = uniform(*broadcastable(rng, shape), high=2.0) if rng.integers(2) else None
    pos_weight = uniform(*shape[-1:], low=0.5, high=3.0) if rng.integers(2) else None
    return case("fit", normal(*shape), uniform(*shape), w, pos_weight, reduction=str(rng.choice(REDUCTIONS)))


register(
    forward,
    backward,
    torch="torch.nn.functional.binary_cross_entropy_with_logits",
    reference=lambda torch, x, t, w=None, p=None, **o: torch.nn.functional.binary_cross_entropy_with_logits(
        x, t, weight=w, pos_weight=p, **o
    ),
    differentiable=("x", "t"),
    autocast="loss",
    fit=fit,
    cases=[
        case("mean", normal(4, 3), uniform(4, 3)),
        case("sum", normal(4, 3), uniform(4, 3), reduction="sum"),
        case("none", normal(4, 3), uniform(4, 3), reduction="none"),
        case("a number", normal(), uniform()),
        case("weights", normal(4, 3), uniform(4, 3), uniform(4, 3, high=2.0)),
        case("weights of rows", normal(4, 3), uniform(4, 3), uniform(4, 1), reduction="none"),
        case("pos_weight", normal(4, 3), uniform(4, 3), None, uniform(3, low=0.5, high=3.0)),
        case(
            "weights and pos_weight",
            normal(2, 4, 3),
            uniform(2, 4, 3),
            uniform(4, 1),
            uniform(3, low=0.5, high=3.0),
            reduction="sum",
        ),
        case("targets outside [0, 1]", normal(4, 3), normal(4, 3, scale=2.0), reduction="none"),
        case("at 0", exactly([0.0, 0.0, 0.0]), exactly([0.0, 1.0, 0.25])),
        case(
            "extreme logits",
            exactly([1e3, -1e3, 1e3, -1e3, 30.0]),
            exactly([1.0, 0.0, 0.0, 1.0, 0.5]),
            reduction="none",
        ),
    ],
)
