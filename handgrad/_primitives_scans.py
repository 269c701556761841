"""Running products, sums and recurrences along an axis."""

from __future__ import annotations

from typing import Any

from handgrad._arrays import Array, namespace, real
from handgrad._dual import Dual, primal
from handgrad._primitives import _own


def moved(x: Array, axis: int, step: int, fill: float = 0.0) -> Array:
    """x moved along an axis by ``step`` places (behind for step > 0); ``fill`` comes in at the open end."""
    xp = namespace(x)
    n = x.shape[axis]
    step = max(-n, min(step, n))
    before = (slice(None),) * axis
    shape = (*x.shape[:axis], abs(step), *x.shape[axis + 1 :])
    new = xp.full(shape, fill, dtype=x.dtype, device=x.device)
    if step > 0:
        return xp.concat([new, x[(*before, slice(0, n - step), ...)]], axis=axis)
    return xp.concat([x[(*before, slice(-step, n), ...)], new], axis=axis)


def recurrence_from_the_end(a: Array, b: Array, axis: int) -> Array:
    """s_i = b_i + a_i s_{i+1} along an axis, nothing behind the last: log2(n) steps, each for all i at once.

    s -> b_i + a_i s is an affine map, and two in a row are one again: after k steps a and b hold the map of
    the 2^k places from i on.
    """
    step = 1
    while step < b.shape[axis]:
        b = b + a * moved(b, axis, -step)
        a = a * moved(a, axis, -step)
        step *= 2
    return b


def _running(x: Array, axis: int, combine: Any, neutral: float) -> Array:
    """x_1, x_1 ∘ x_2, ...: after k steps each place holds the 2^k up to it."""
    step = 1
    while step < x.shape[axis]:
        x = combine(x, moved(x, axis, step, neutral))
        step *= 2
    return x


def running_product(x: Array, axis: int) -> Array:
    """x_1, x_1 x_2, x_1 x_2 x_3, ... along an axis."""
    if isinstance(x, Dual):
        return _running(x, axis, lambda a, b: a * b, 1.0)
    return namespace(x).cumulative_prod(x, axis=axis)


def running_logsumexp(x: Array, axis: int) -> Array:
    """log(exp(x_1) + ... + exp(x_j)) for each j along an axis."""
    if primal(x) is x and (own := _own(namespace(x), "running_logsumexp")):
        return own(x, axis)
    return _running(x, axis, _logaddexp, -float("inf"))


def _logaddexp(a: Array, b: Array) -> Array:
    """log(exp(a) + exp(b)) = max + log(1 + exp(min - max))."""
    xp = namespace(a)
    first = real(primal(a)) >= real(primal(b))
    high, low = xp.where(first, a, b), xp.where(first, b, a)
    nothing = real(primal(high)) == -float("inf")
    safe = xp.where(nothing, xp.zeros_like(primal(high)), high)
    return xp.where(nothing, high, safe + xp.log1p(xp.exp(low - safe)))


def product(x: Array, axis: int, *, keepdims: bool) -> Array:
    """The product along an axis."""
    if not isinstance(x, Dual):
        return namespace(x).prod(x, axis=axis, keepdims=keepdims)
    xp = namespace(x.p)
    t = xp.sum(products_of_others(x.p, axis) * x.t, axis=axis, keepdims=keepdims)
    return Dual(product(x.p, axis, keepdims=keepdims), t)


def products_of_others(x: Array, axis: int) -> Array:
    """For each place the product of all others along the axis: those before it times those behind it."""
    xp = namespace(x)
    behind = xp.flip(running_product(moved(xp.flip(x, axis=axis), axis, 1, 1.0), axis), axis=axis)
    return running_product(moved(x, axis, 1, 1.0), axis) * behind
