"""Forward-only primitives, element by element (see ``_primitives``)."""

from __future__ import annotations

from handgrad._arrays import Array, library, namespace
from handgrad._dual import elementwise, primal
from handgrad._primitives import _own, sigmoid


@elementwise(lambda xp, x, y: sigmoid(x))
def log_of_one_and_exp(x: Array) -> Array:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), in which exp cannot overflow."""
    xp = namespace(x)
    if own := _own(xp, "log_of_one_and_exp"):
        return own(x)
    return xp.maximum(x, xp.zeros_like(x)) + xp.log1p(xp.exp(-xp.abs(x)))


def constant(x: Array) -> Array:
    """The values of x, of which nothing is differentiated: a dual number loses its tangent."""
    x = primal(x)
    return x.detach() if library(namespace(x)) == "torch" else x
