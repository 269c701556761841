"""What the losses share: the reduction over elements, and its transpose."""

from handgrad._arrays import namespace, size
from handgrad._errors import require

REDUCTIONS = ("none", "mean", "sum")


def reduce(loss, reduction):
    """All elements as they are ("none"), their sum, or their mean."""
    require(
        reduction in REDUCTIONS,
        f"reduction must be one of {', '.join(REDUCTIONS)}",
        repr(reduction),
        "choose one of these",
    )
    xp = namespace(loss)
    return {"none": lambda x: x, "mean": xp.mean, "sum": xp.sum}[reduction](loss)


def spread(dy, shape, reduction):
    """The gradient of each element: every one went into the sum once, divided by N for the mean."""
    dy = namespace(dy).broadcast_to(dy, shape)
    return dy / size(shape) if reduction == "mean" else dy
