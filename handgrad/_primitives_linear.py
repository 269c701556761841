"""The linear map with its bias, which libraries round once."""

from __future__ import annotations

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
