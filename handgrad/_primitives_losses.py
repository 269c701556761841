"""A primitive of the losses: forward-only, and known to the dual numbers."""

from __future__ import annotations

from handgrad._arrays import Array, library, namespace
from handgrad._dual import primal
from handgrad._primitives import _own


def constant(x: Array) -> Array:
    """The value of ``x``, whose derivative is not looked at: a shift that cancels, a bound."""
    x = primal(x)
    return x.detach() if library(namespace(x)) == "torch" else x


def log_add_exp(a: Array, b: Array) -> Array:
    """log(exp(a) + exp(b)), without exp of large numbers."""
    xp = namespace(primal(a))
    if primal(a) is not a or primal(b) is not b:
        return log_sum_exp(namespace(a if primal(a) is not a else b).stack([a, b]), 0)
    own = _own(xp, "log_add_exp")
    return own(a, b) if own else xp.logaddexp(a, b)


def log_sum_exp(x: Array, axis: int) -> Array:
    """log Σ exp(x) along an axis: the largest is taken out first, and what is chosen cancels."""
    xp = namespace(x)
    largest = constant(xp.max(x, axis=axis, keepdims=True))
    return xp.log(xp.sum(xp.exp(x - largest), axis=axis)) + xp.squeeze(largest, axis=axis)
