"""L = mean (or sum) of max(0, m + d(a, p) - d(a, n))

Shapes.  The inputs here are the distances themselves: near = d(anchor, positive) and far = d(anchor,
negative), of one shape (...), and for the swap between = d(positive, negative); L (), or (...) for
reduction "none". Whatever function d is, its own gradient is a layer of its own.

Forward.  Where ``between`` is given, the smaller of far and between counts: the harder negative.

Chain rule.  For one element with h = m + near - far, where h > 0:  ∂l/∂near = 1,  ∂l/∂far = -1,  and 0 where
h < 0. The minimum passes what it gets to the smaller of its two.

Result.  dnear = dh,  dfar = -dh,  with dh = dl where h ≥ 0, else 0. dL is what arrives (``dy`` in the code);
dl = dL / number of elements for the mean, dL for the sum and "none".

Kinks.  PyTorch's conventions, and ours: at h = 0 the slope of h > 0; a tie of the minimum gives half to each.
Errors: an unknown reduction.
Source: Balntas et al., Learning Shallow Convolutional Feature Descriptors with Triplet Losses (2016),
section 3; PyTorch documentation, torch.nn.TripletMarginWithDistanceLoss.
"""

from handgrad._arrays import cast, namespace
from handgrad._cases import case, exactly, uniform
from handgrad._derivation import register
from handgrad.derivations._losses import hinge, reduce, spread, through_hinge


def forward(near, far, between=None, *, margin=1.0, reduction="mean"):
    return reduce(hinge(_gap(near, far, between, margin)), reduction), (near, far, between)


def backward(dy, residuals, *, margin=1.0, reduction="mean"):
    near, far, between = residuals
    h = _gap(near, far, between, margin)
    dh = through_hinge(spread(dy, h.shape, reduction), h)
    if between is None:
        return dh, -dh
    of_far = cast(far < between, h.dtype) + cast(far == between, h.dtype) / 2
    return dh, -of_far * dh, (of_far - 1) * dh


def _gap(near, far, between, margin):
    return margin + near - (far if between is None else namespace(far).minimum(far, between))


def reference(torch, near, far, between=None, **options):
    """PyTorch's function of vectors, here one number each: a distance function looks up what was given."""
    distances = {(0, 1): near, (0, 2): far, (1, 2): between}
    anchor, positive, negative = (near.new_full(near.shape, i) for i in range(3))

    def look_up(a, b):
        names = {id(anchor): 0, id(positive): 1, id(negative): 2}
        return distances[names[id(a)], names[id(b)]]

    return torch.nn.functional.triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=look_up, swap=between is not None, **options
    )


register(
    forward,
    backward,
    torch="torch.nn.functional.triplet_margin_with_distance_loss",
    reference=reference,
    cases=[
        case("mean", uniform(5, high=3.0), uniform(5, high=3.0)),
        case("sum", uniform(5, high=3.0), uniform(5, high=3.0), reduction="sum"),
        case("none", uniform(5, high=3.0), uniform(5, high=3.0), reduction="none", margin=0.5),
        case("swap", uniform(5, high=3.0), uniform(5, high=3.0), uniform(5, high=3.0)),
        case("axes", uniform(2, 3, high=3.0), uniform(2, 3, high=3.0), uniform(2, 3, high=3.0), margin=2.0),
        case(
            "at the kink, and a tie",
            exactly([1.0, 2.0, 0.5]),
            exactly([2.0, 1.0, 4.0]),
            exactly([3.0, 1.0, 4.0]),
            kink=True,
            reduction="none",
        ),
    ],
)
