"""A primitive of the losses: forward-only, and known to the dual numbers."""

from __future__ import annotations

from handgrad._arrays import Array, library, namespace
from handgrad._dual import primal


def constant(x: Array) -> Array:
    """The value of ``x``, whose derivative is not looked at: a shift that cancels, a bound."""
    x = primal(x)
    return x.detach() if library(namespace(x)) == "torch" else x
