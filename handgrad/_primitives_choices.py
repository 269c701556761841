"""Choosing by a comparison of x with a number, which has no derivative; what is chosen may have one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from handgrad._arrays import Array, is_array, namespace
from handgrad._dual import Dual, primal
from handgrad._primitives import _own

Relation = Callable[[Any, Any], Any]  # of the module ``operator``: gt, ge, lt or le


def choose(relation: Relation, x: Array, bound: float, a: Any, b: Any) -> Array:
    """a where relation(x, bound), else b: ``choose(gt, x, 0, a, b)`` is a where x > 0."""
    x = primal(x)
    values = [v for v in (a, b) if is_array(v)]
    if not any(isinstance(v, Dual) for v in values) and (own := _own(namespace(x), "choose")):
        return own(relation, x, bound, a, b)
    lifted = next((v for v in values if isinstance(v, Dual)), x)
    return namespace(lifted).where(relation(x, bound), a, b)


def choose_beyond(x: Array, low: float, high: float, a: Any, b: Any) -> Array:
    """a where x ≤ low or x ≥ high, else b; b too where x is NaN. a and b are no dual numbers."""
    xp = namespace(x)
    if own := _own(xp, "choose_beyond"):
        return own(x, low, high, a, b)
    return xp.where((x <= low) | (x >= high), a, b)


def step(relation: Relation, x: Array, bound: float, otherwise: float) -> Array:
    """1 where relation(x, bound), else the number ``otherwise``, in the dtype of x."""
    x = primal(x)
    xp = namespace(x)
    if own := _own(xp, "step"):
        return own(relation, x, bound, otherwise)
    return xp.where(relation(x, bound), xp.ones_like(x), otherwise)
