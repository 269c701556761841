"""Forward-only primitives of pools and interpolation; see ``_primitives``."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from handgrad._arrays import Array, Shape, cast, library, namespace, size
from handgrad._dual import linear, primal
from handgrad._errors import require
from handgrad._primitives import Ints, _own, one_hot, pad, pad_axes, windows

# --- sums of windows ----------------------------------------------------------------------


@linear
def sum_windows(x: Array, kernel: Ints, stride: Ints, padding: Ints, out: Shape) -> Array:
    """Sums over windows: (..., *spatial) -> (..., *out); x counts as 0 outside its range."""
    xp = namespace(x)
    if own := _own(xp, "sum_windows"):
        return own(x, kernel, stride, padding, out)
    d = len(kernel)
    reach = [s * (m - 1) + k for s, m, k in zip(stride, out, kernel, strict=True)]
    fills = tuple((p, max(0, r - n - p)) for p, r, n in zip(padding, reach, x.shape[-d:], strict=True))
    u = windows(pad_axes(x, fills), kernel, stride, (1,) * d)
    u = u[(..., *(slice(0, m) for m in out), *(slice(None),) * d)]
    return xp.sum(u, axis=tuple(range(-d, 0)))


@linear
def spread_windows(y: Array, kernel: Ints, stride: Ints, padding: Ints, spatial: Shape) -> Array:
    """The transpose of :func:`sum_windows`: each entry is added to all of its window; -> (..., *spatial)."""
    d = len(kernel)
    for i in range(d):
        y = _spread_axis(y, y.ndim - d + i, kernel[i], stride[i], padding[i], spatial[i])
    return y


def _spread_axis(y: Array, axis: int, k: int, s: int, p: int, n: int) -> Array:
    """One axis of :func:`spread_windows`.

    Place j of the padded axis is s q + r with a remainder r < s. The windows that hold it are i = q - t
    for every t with r + s t < k: ⌈k/s⌉ of them for the first remainders, one less for the others.
    """
    xp = namespace(y)
    most, full = -(-k // s), (k - 1) % s + 1  # how many windows hold a place; remainders with so many
    blocks = -(-(n + p) // s)
    y = pad(y, axis, most - 1, max(0, blocks - y.shape[axis]))

    def shifted(t: int) -> Array:
        return _cut(y, axis, most - 1 - t, blocks)

    def repeated(total: Array, times: int) -> Array:
        wide = xp.expand_dims(total, axis=axis + 1)
        return xp.broadcast_to(wide, (*total.shape[: axis + 1], times, *total.shape[axis + 1 :]))

    fewer = shifted(0) if most > 1 else xp.zeros_like(shifted(0))
    for t in range(1, most - 1):
        fewer = fewer + shifted(t)
    all_of = fewer + shifted(most - 1) if most > 1 else shifted(0)
    parts = [repeated(all_of, full)] + ([repeated(fewer, s - full)] if full < s else [])
    x = xp.concat(parts, axis=axis + 1) if len(parts) > 1 else parts[0]
    x = xp.reshape(x, (*y.shape[:axis], blocks * s, *y.shape[axis + 1 :]))
    return _cut(x, axis, p, n)


def _cut(x: Array, axis: int, first: int, n: int) -> Array:
    """n entries of an axis; if these are all, x itself: batched gradients take no slice of all."""
    return x if n == x.shape[axis] else x[(*(slice(None),) * axis, slice(first, first + n), ...)]


# --- means of windows that differ from each other ---------------------------------------------


def adaptive_bounds(n: int, m: int) -> list[tuple[int, int]]:
    """m windows that cover n entries: from ⌊i n/m⌋ to before ⌈(i + 1) n/m⌉."""
    return [(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]


@linear
def adaptive_means(x: Array, out: Shape) -> Array:
    """The mean of each box of as many windows an axis as ``out`` says: (..., *spatial) -> (..., *out)."""
    if own := _own(namespace(x), "adaptive_means"):
        return own(x, out)
    for i, m in enumerate(out):
        axis = x.ndim - len(out) + i
        bounds = adaptive_bounds(x.shape[axis], m)
        x = _along(_sums_of_ranges(x, bounds, axis), [1 / max(b - a, 1) for a, b in bounds], axis)
    return x


@linear
def adaptive_spread(y: Array, spatial: Shape) -> Array:
    """The transpose of :func:`adaptive_means`: (..., *out) -> (..., *spatial)."""
    for i, n in reversed(list(enumerate(spatial))):  # what grows, grows last where it is fast: in whole rows
        axis = y.ndim - len(spatial) + i
        m = y.shape[axis]
        if m and n % m == 0:  # windows of one size, side by side
            y = _spread_axis(y / (n // m), axis, n // m, n // m, 0, n)
            continue
        bounds = adaptive_bounds(n, m)
        y = _along(y, [1 / max(b - a, 1) for a, b in bounds], axis)
        # window i holds place j for every i from the first that ends after j to the last that starts before
        holders = [(sum(b <= j for _, b in bounds), sum(a <= j for a, _ in bounds)) for j in range(n)]
        y = _sums_of_ranges(y, holders, axis)
    return y


def _sums_of_ranges(x: Array, ranges: list[tuple[int, int]], axis: int) -> Array:
    """Σ x[a ... b - 1] along an axis, for each (a, b) in ``ranges``."""
    xp = namespace(x)

    def column(values: list[int]) -> Array:
        return xp.asarray(values, dtype=xp.int64, device=x.device)

    shortest, longest = min(b - a for a, b in ranges), max(b - a for a, b in ranges)
    total: Any = 0
    for t in range(longest):
        entry = xp.take(x, column([min(a + t, b - 1) for a, b in ranges]), axis=axis)
        if t >= shortest:
            inside = column([int(a + t < b) for a, b in ranges]) > 0
            entry = xp.where(_shaped(inside, axis, x.ndim), entry, 0)
        total = total + entry
    return total


def _along(x: Array, factors: list[float], axis: int) -> Array:
    """x times a factor for each place of an axis."""
    xp = namespace(x)
    return x * _shaped(xp.asarray(factors, dtype=x.dtype, device=x.device), axis, x.ndim)


def _shaped(column: Array, axis: int, ndim: int) -> Array:
    return namespace(column).reshape(column, (-1, *(1,) * (ndim - 1 - axis)))


# --- maxima of windows that differ from each other --------------------------------------------


def argmax_boxes(x: Array, places: list[Array]) -> Array:
    """Where the largest entry of each box stands: (..., *spatial) -> (..., *out) of int64.

    ``places[axis]`` (..., m, k): the k places along that axis of each of its m boxes, leading axes as in
    x or none. Of equal entries the first wins, of NaNs the last; a place given twice does no harm.
    """
    x = primal(x)
    xp = namespace(x)
    d = len(places)
    spatial, lead = x.shape[x.ndim - d :], tuple(x.shape[: x.ndim - d])
    out = tuple(p.shape[-2] for p in places)
    flat = xp.reshape(x, (*lead, size(spatial)))
    best = index = None
    for offset in product(*(range(p.shape[-1]) for p in places)):
        at: Any = 0
        for axis, (p, o) in enumerate(zip(places, offset, strict=True)):
            column = p[..., o]
            column = xp.reshape(column, (*column.shape[:-1], *_only(axis, out)))
            at = at * spatial[axis] + column
        at = xp.broadcast_to(at, (*lead, *out))
        entry = xp.reshape(
            xp.take_along_axis(flat, xp.reshape(at, (*lead, size(out))), axis=-1), (*lead, *out)
        )
        better = True if best is None else (entry > best) | (entry != entry)  # or NaN
        best = entry if best is None else xp.where(better, entry, best)
        index = at if index is None else xp.where(better, at, index)
    return index


def _only(axis: int, out: Shape) -> Shape:
    """``out`` with 1 for every axis but one."""
    return tuple(m if i == axis else 1 for i, m in enumerate(out))


def argmax_adaptive(x: Array, out: Shape) -> Array:
    """:func:`argmax_boxes` of as many windows as ``out`` says, which cover x evenly."""
    x = primal(x)
    xp = namespace(x)
    if own := _own(xp, "argmax_adaptive"):
        return own(x, out)
    places = []
    for n, m in zip(x.shape[x.ndim - len(out) :], out, strict=True):
        bounds = adaptive_bounds(n, m)
        longest = max((b - a for a, b in bounds), default=0)
        table = [[min(a + t, b - 1) for t in range(longest)] for a, b in bounds]
        column = xp.asarray(table, dtype=xp.int64, device=x.device)
        places.append(xp.reshape(column, (m, longest)))
    return argmax_boxes(x, places)


def argmax_fractional(x: Array, u: Array, kernel: Ints, out: Shape) -> Array:
    """:func:`argmax_boxes` of windows whose starts are drawn: u (N, C, d) in [0, 1), x (N, C, *spatial).

    With a = (n - k)/(m - 1), window i starts at ⌊(i + u) a⌋ - ⌊u a⌋, the last at n - k.
    In two axes u holds the number of the last axis first, in three that of the first.
    """
    x, u = primal(x), primal(u)
    xp = namespace(x)
    if own := _own(xp, "argmax_fractional"):
        return own(x, u, kernel, out)
    d = len(kernel)
    places = []
    for axis, (n, m, k) in enumerate(zip(x.shape[-d:], out, kernel, strict=True)):
        v = u[..., d - 1 - axis if d == 2 else axis][..., None]
        i = xp.arange(m, dtype=v.dtype, device=x.device)
        a = (n - k) / (m - 1) if m > 1 else 0.0
        start = xp.floor((i + v) * a) - xp.floor(v * a)
        start = xp.astype(xp.where(i == m - 1, n - k, start), xp.int64)
        places.append(start[..., None] + xp.arange(k, dtype=xp.int64, device=x.device))
    return argmax_boxes(x, places)


# --- entries put in place -------------------------------------------------------------------


@linear
def place(x: Array, index: Array, n: int) -> Array:
    """Zeros, then x written over them: y[..., index[i]] = x[..., i], the last one stays; -> (..., n)."""
    xp = namespace(x)
    if library(xp) == "torch":  # which looks at the places itself
        return x.new_zeros((*x.shape[:-1], n)).scatter(-1, index, x)
    require(
        bool(xp.all((index >= 0) & (index < n))),
        f"indices must be places of the output, from 0 to {n - 1}",
        "an index outside",
        "give a larger output_size",
    )
    if library(xp) == "numpy":
        out = np.zeros((*x.shape[:-1], n), x.dtype)
        np.put_along_axis(out, index, x, -1)
        return out
    if not x.shape[-1]:
        return xp.zeros((*x.shape[:-1], n), dtype=x.dtype, device=x.device)
    written = xp.flip(one_hot(index, n, xp.int64), axis=-2)  # (..., m, n), the last one first
    last = x.shape[-1] - 1 - xp.argmax(written, axis=-2)
    return xp.where(xp.max(written, axis=-2) > 0, xp.take_along_axis(x, last, axis=-1), 0.0)


@linear
def scatter_axis(updates: Array, index: Array, n: int, axis: int) -> Array:
    """The transpose of taking ``index`` (m,) in [0, n) along one axis: (..., m, ...) -> (..., n, ...)."""
    xp = namespace(updates)
    shape = (*updates.shape[:axis], n, *updates.shape[axis + 1 :])
    if library(xp) == "torch":
        return updates.new_zeros(shape).index_add(axis, index, updates)
    if library(xp) == "numpy":
        out = np.zeros(shape, updates.dtype)
        np.add.at(out, (*(slice(None),) * axis, index), updates)
        return out
    matrix = one_hot(index, n, updates.dtype)
    return xp.moveaxis(xp.moveaxis(updates, axis, -1) @ matrix, -1, axis)


@linear
def resample(
    x: Array, tables: Any, out: Shape, factors: Any, mode: str, corners: bool, antialias: bool
) -> Array:
    """Interpolation: y[i] = Σ_t weight[i, t] x[index[i, t]] along each axis but the first two.

    ``tables()`` holds (index, weight) of each axis. The rest says the same in PyTorch's words: the sizes,
    scale factors (or None), mode, align_corners, antialias. (Where PyTorch 2.13 is to antialias to a width
    of 1 it reads the wrong entries, so there its own operators are not used.)
    """
    if not (antialias and out[-1] == 1) and (own := _own(namespace(x), "resample")):
        return own(x, out, factors, mode, corners, antialias)
    for axis, (index, weight) in enumerate(tables(), 2):
        x = _resample_axis(x, index, weight, axis)
    return x


def _resample_axis(x: Array, index: Array, weight: Array | None, axis: int) -> Array:
    xp = namespace(x)
    total: Any = 0
    for t in range(index.shape[1]):
        entry = xp.take(x, index[:, t], axis=axis)
        total = total + (
            entry if weight is None else entry * _shaped(cast(weight[:, t], x.dtype), axis, x.ndim)
        )
    return total


def sample_grid(x: Array, grid: Array, mode: str, padding_mode: str, align_corners: bool) -> Array | None:
    """The library's own operator for ``grid_sample`` where it has one, and the arrays are no dual numbers."""
    own = _own(namespace(x), "sample_grid") if primal(x) is x and primal(grid) is grid else None
    return own(x, grid, mode, padding_mode, align_corners) if own else None
