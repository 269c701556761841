"""Taking from places along an axis, and adding or writing there: each place has an index of its own."""

from __future__ import annotations

from collections.abc import Sequence

from handgrad._arrays import Array, library, namespace, normalize_axes
from handgrad._dual import linear, linear_in_both, primal
from handgrad._errors import require
from handgrad._primitives import _own, pad_axes, scatter


def require_index(layer: str, x: Array, index: Array, dim: int, src: Array | None = None) -> int:
    """The axis as a number from 0 on, where an index fits x (and src); raises where it does not."""
    (axis,) = normalize_axes(dim, x.ndim) or (0,)
    if 0 in index.shape:
        return axis
    ndim = max(x.ndim, 1)
    require(
        max(index.ndim, 1) == ndim and (src is None or max(src.ndim, 1) == ndim),
        f"{layer} needs an index (and src) with as many axes as its input, {ndim}",
        f"{index.ndim}{'' if src is None else f' and {src.ndim}'}",
        "reshape or expand them",
    )
    require(
        all(m <= n for k, (m, n) in enumerate(zip(index.shape, x.shape, strict=False)) if k != axis)
        and (src is None or all(m <= n for m, n in zip(index.shape, src.shape, strict=False))),
        f"{layer} needs an index no longer than its input but along dim (and no longer than src)",
        f"{tuple(index.shape)} for {tuple(x.shape)}{'' if src is None else f' and {tuple(src.shape)}'}",
        "cut it",
    )
    return axis


def corner(x: Array, shape: Sequence[int]) -> Array:
    """The first entries of x along each axis, as many as ``shape`` has."""
    return x if tuple(x.shape) == tuple(shape) or not x.ndim else x[tuple(slice(0, n) for n in shape)]


@linear
def take_along(x: Array, index: Array, axis: int) -> Array:
    """x at ``index`` along an axis; the index may be shorter than x along the others."""
    xp = namespace(x)
    if library(xp) == "torch":
        return xp.take_along_axis(x, index, axis=axis)
    return xp.take_along_axis(corner(x, _beside(x, index, axis)), index, axis=axis)


def _beside(x: Array, index: Array, axis: int) -> tuple[int, ...]:
    """The shape of the part of x that the index can reach."""
    return (*index.shape[:axis], x.shape[axis], *index.shape[axis + 1 :])


@linear_in_both
def add_along(x: Array, src: Array, index: Array, axis: int) -> Array:
    """x with ``src`` added at ``index`` along an axis."""
    if library(namespace(x)) == "torch":
        return x.scatter_add(axis, index, src)
    return x + _placed(src, index, tuple(x.shape), axis)


@linear_in_both
def put_along(x: Array, src: Array, index: Array, axis: int) -> Array:
    """x with ``src`` written at ``index`` along an axis. Outside of PyTorch each place comes once at most."""
    xp = namespace(x)
    if library(xp) == "torch":
        return x.scatter(axis, index, src)
    shape = tuple(x.shape)
    written = _placed(xp.ones_like(src), index, shape, axis)
    return xp.where(written > 0, _placed(src, index, shape, axis), x)


def _placed(src: Array, index: Array, shape: tuple[int, ...], axis: int) -> Array:
    """Zeros of ``shape`` with ``src`` added at ``index``."""
    xp = namespace(src)
    rows = scatter(xp.moveaxis(src, axis, -1), xp.moveaxis(index, axis, -1), shape[axis])
    rows = xp.moveaxis(rows, -1, axis)
    return pad_axes(rows, tuple((0, n - m) for n, m in zip(shape, rows.shape, strict=True)))


# --- order: places only, of which nothing is differentiated --------------------------------


def place_of_extreme(x: Array, axis: int, largest: bool) -> Array:
    """Where the largest (or smallest) entry along an axis stands; the axis keeps length 1. NaN wins."""
    x = primal(x)
    xp = namespace(x)
    if own := _own(xp, "place_of_extreme"):
        return own(x, axis, largest)
    return (xp.argmax if largest else xp.argmin)(x, axis=axis, keepdims=True)


def order(x: Array, axis: int, descending: bool, stable: bool) -> Array:
    """The places of the entries along an axis, in rising order."""
    x = primal(x)
    xp = namespace(x)
    if own := _own(xp, "order"):
        return own(x, axis, descending, stable)
    return xp.argsort(x, axis=axis, descending=descending, stable=True)


def first_places(x: Array, k: int, axis: int, largest: bool, ordered: bool) -> Array:
    """The places of the k largest (or smallest) entries along an axis, in order if that is asked for."""
    x = primal(x)
    xp = namespace(x)
    if own := _own(xp, "first_places"):
        return own(x, k, axis, largest, ordered)
    places = xp.argsort(x, axis=axis, descending=largest, stable=True)
    return places[(*(slice(None),) * axis, slice(0, k), ...)]
