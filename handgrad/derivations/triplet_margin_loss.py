"""L = mean (or sum) of max(0, m + ‖a - p‖ - ‖a - n‖)

Shapes.  a (anchor), p (positive) and n (negative) broadcast together to (..., k); L (), or (...) for
reduction "none". The norm is that of ``pairwise_distance``, with its options.

Forward.  With ``swap`` the smaller of ‖a - n‖ and ‖p - n‖ counts: the harder negative.

Chain rule.  A chain of two layers: ``pairwise_distance`` gives the two (or three) distances, and
``triplet_margin_with_distance_loss`` the loss. So dL goes backward through that loss to each distance, and
from there through the distance to the vectors. Each vector takes part in two distances (or, with the swap,
three), and adds up what it gets of each.

Result.  With dnear, dfar and dbetween as the loss gives them, and a distance's backward written D(·),
    da = D_a(dnear) + D_a(dfar),  dp = D_p(dnear) + D_p(dbetween),  dn = D_n(dfar) + D_n(dbetween).

Kinks.  Those of the two layers.
Errors: shapes that do not broadcast, an unknown reduction.
Source: Balntas et al., Learning Shallow Convolutional Feature Descriptors with Triplet Losses (2016);
PyTorch documentation, torch.nn.TripletMarginLoss.
"""

from math import inf

from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad.derivations import pairwise_distance
from handgrad.derivations import triplet_margin_with_distance_loss as of_distances


def forward(anchor, positive, negative, *, margin=1.0, p=2.0, eps=1e-6, swap=False, reduction="mean"):
    near, far, between = _distances(anchor, positive, negative, p, eps, swap)
    loss, _ = of_distances.forward(near, far, between, margin=margin, reduction=reduction)
    return loss, (anchor, positive, negative, near, far, between)


def backward(dy, residuals, *, margin=1.0, p=2.0, eps=1e-6, swap=False, reduction="mean"):
    anchor, positive, negative, *distances = residuals
    d = of_distances.backward(dy, distances, margin=margin, reduction=reduction)

    def to_vectors(i, a, b):
        return pairwise_distance.backward(d[i], (a, b, distances[i]), p=p, eps=eps)

    da, dp = to_vectors(0, anchor, positive)
    da_far, dn = to_vectors(1, anchor, negative)
    if not swap:
        return da + da_far, dp, dn
    dp_between, dn_between = to_vectors(2, positive, negative)
    return da + da_far, dp + dp_between, dn + dn_between


def _distances(anchor, positive, negative, p, eps, swap):
    pairs = [(anchor, positive), (anchor, negative), (positive, negative)]
    found = [pairwise_distance.forward(a, b, p=p, eps=eps)[0] for a, b in pairs[: 3 if swap else 2]]
    return found if swap else [*found, None]


def fit(rng, shape):
    """On any value with an axis, against random ones."""
    vectors = [normal(*shape) for _ in range(3)]
    return case("fit", *vectors, swap=bool(rng.integers(2))) if shape else None


register(
    forward,
    backward,
    torch="torch.nn.functional.triplet_margin_loss",
    autocast="loss",
    fit=fit,
    cases=[
        case("mean", normal(5, 3), normal(5, 3), normal(5, 3)),
        case("sum, a narrow margin", normal(5, 3), normal(5, 3), normal(5, 3), reduction="sum", margin=0.25),
        case("none, swap", normal(5, 3), normal(5, 3), normal(5, 3), reduction="none", swap=True, margin=2.0),
        case("p = 1", normal(5, 3), normal(5, 3), normal(5, 3), p=1.0, swap=True),
        case("p = 3", normal(5, 3), normal(5, 3), normal(5, 3), p=3.0, eps=0.25),
        case("p = ∞", normal(5, 3), normal(5, 3), normal(5, 3), p=inf),
        case("one triplet", normal(3), normal(3), normal(3), swap=True),
        case("one anchor for all", normal(1, 3), normal(5, 3), normal(5, 3)),
        case(
            "a tie",
            exactly([[0.0, 0.0]]),
            exactly([[3.0, 4.0]]),
            exactly([[0.0, 4.0]]),
            kink=True,
            margin=5.0,
        ),
    ],
)
