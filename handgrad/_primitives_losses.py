"""A primitive of the losses: forward-only, and known to the dual numbers."""

from __future__ import annotations

from handgrad._arrays import Array, library, namespace
from handgrad._dual import Dual, primal
from handgrad._primitives import _own, sigmoid


def constant(x: Array) -> Array:
    """The value of ``x``, whose derivative is not looked at: a shift that cancels, a bound."""
    x = primal(x)
    return x.detach() if library(namespace(x)) == "torch" else x


def log_of_sum(a: Array, b: Array) -> Array:
    """The formula of :func:`log_add_exp`: the larger one is taken out first, and what is chosen cancels."""
    xp = namespace(a)
    largest = constant(xp.maximum(a, b))
    return xp.log(xp.exp(a - largest) + xp.exp(b - largest)) + largest


def log_add_exp(a: Array, b: Array) -> Array:
    """log(exp(a) + exp(b)), without exp of large numbers. Its slopes are the sigmoids of a - b and b - a."""
    x, y = primal(a), primal(b)
    xp = namespace(x)
    own = _own(xp, "log_add_exp")
    total = own(x, y) if own else xp.logaddexp(x, y)
    if x is a and y is b:
        return total
    t = 0
    for v, other in ((a, y), (b, x)):
        if isinstance(v, Dual):
            t = t + sigmoid(v.p - other) * v.t
    return Dual(total, t)
