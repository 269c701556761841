"""Formulas that libraries compute in one pass, rounding once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from handgrad._arrays import Array, namespace
from handgrad._dual import primal
from handgrad._primitives import _own


def affine(x: Array, w: Array, b: Array | None) -> Array:
    """x wᵀ + b, for w (m, n) or (n,); b may be absent."""
    plain = primal(x) is x and primal(w) is w and primal(b) is b
    if plain and (own := _own(namespace(x), "affine")):
        return own(x, w, b)
    y = x @ (w.mT if w.ndim == 2 else w)
    return y if b is None else y + b


def softmax(x: Array, axis: tuple[int, ...]) -> Array:
    """exp(x) over its sum along ``axis``, with exp of numbers <= 0 alone, which cannot overflow."""
    xp = namespace(x)
    if primal(x) is x and (own := _own(xp, "softmax")):
        return own(x, axis)
    return normalized(x, axis)


def log_softmax(x: Array, axis: tuple[int, ...]) -> Array:
    """x less the logarithm of the sum of exp(x) along ``axis``, with exp of numbers <= 0 alone."""
    if primal(x) is x and (own := _own(namespace(x), "log_softmax")):
        return own(x, axis)
    return log_normalized(x, axis)


def log_normalized(x: Array, axis: tuple[int, ...]) -> Array:
    """The formula of :func:`log_softmax`."""
    xp = namespace(x)
    x = x - xp.max(x, axis=axis, keepdims=True)
    return x - xp.log(xp.sum(xp.exp(x), axis=axis, keepdims=True))


def normalized(x: Array, axis: tuple[int, ...]) -> Array:
    """The formula of :func:`softmax`."""
    xp = namespace(x)
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


def in_one_pass(name: str, formula: Callable[..., Array], x: Array, *rest: Any) -> Array:
    """formula(x, *rest), an activation: by the library's function of that name where it has one for it."""
    plain = all(primal(v) is v for v in (x, *rest))
    if plain and (own := _own(namespace(x), "in_one_pass")):
        return own(name, formula, x, *rest)
    return formula(x, *rest)
