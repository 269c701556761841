"""Forward-only primitives that the array API standard lacks, one implementation a library.

A derivation *derives* its gradient with these (a convolution's gradients are correlations
too); none of them knows anything of differentiation. Each is linear or bilinear, or an
element-wise function with a known slope: all that the dual numbers need to know of them.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np

from handgrad._arrays import Array, Shape, is_floating, library, namespace, real, size
from handgrad._dual import elementwise, linear, linear_in_both, primal
from handgrad._errors import require
from handgrad._primitives_elementary import erf as erf
from handgrad._primitives_elementary import erfc as erfc

Ints = tuple[int, ...]


@elementwise(lambda xp, x, y: y * (1 - y))
def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) of real numbers, with exp of numbers <= 0 alone, which cannot overflow."""
    if own := _own(namespace(x), "sigmoid"):
        return own(x)
    return logistic(x)


def logistic(x: Array) -> Array:
    """The formula of :func:`sigmoid`, of complex numbers too."""
    xp = namespace(x)
    left = real(x) < 0
    e = xp.exp(xp.where(left, x, -x))
    return xp.where(left, e, 1) / (1 + e)


def one_hot(index: Array, n: int, dtype: Any) -> Array:
    """(...,) integers -> (..., n) with 1 where the last axis equals the index, 0 elsewhere."""
    xp = namespace(index)
    classes = xp.arange(n, dtype=index.dtype, device=index.device)
    return xp.astype(index[..., None] == classes, dtype)


def gather(x: Array, index: Array, axis: int) -> Array:
    """``x`` at ``index`` along ``axis``: (..., n, ...) and (..., ...) without that axis -> (..., ...)."""
    xp = namespace(x)
    picked = xp.take_along_axis(x, xp.expand_dims(index, axis=axis), axis=axis)
    return xp.squeeze(picked, axis=axis)


@linear
def copy(x: Array) -> Array:
    """The same values in memory of their own: the output of a layer must not be a view of its input."""
    xp = namespace(x)
    return xp.clone(x) if library(xp) == "torch" else xp.asarray(x, copy=True)


@linear
def take_rows(x: Array, index: Array, axis: int = 0) -> Array:
    """Row ``index[i]`` of x (n, d) for each i: index (m,) of integers in [0, n) -> (m, d).

    Rows lie along ``axis``, of an x with any number of axes.

    Raises where an index is out of range: PyTorch does so itself; NumPy would count from the end.
    """
    xp = namespace(x)
    if library(xp) == "torch":
        return xp.index_select(x, axis, index)
    require(
        not index.size or (int(xp.min(index)) >= 0 and int(xp.max(index)) < x.shape[axis]),
        f"indices must be in [0, {x.shape[axis]}), the rows of the table",
        f"an index outside, in {index}" if index.size < 20 else "an index outside",
        "give a larger table or other indices",
    )
    return xp.take(x, index, axis=axis)


@linear
def scatter_rows(updates: Array, index: Array, n: int, *, sparse: bool = False) -> Array:
    """Add ``updates[i]`` to row ``index[i]`` of a zero (n, d) array.

    updates (m, d), index (m,) of integers in [0, n). With ``sparse`` PyTorch gets its sparse COO
    form (rows not coalesced, as ``torch.nn.Embedding(sparse=True)`` gives); elsewhere it is dense.
    """
    xp = namespace(updates)
    shape = (n, updates.shape[1])
    if library(xp) == "torch":
        if sparse:
            return xp.sparse_coo_tensor(index[None, :], updates, shape, check_invariants=False)
        zeros = updates.new_zeros(shape)
        return zeros.index_add(0, index, updates)
    if library(xp) == "numpy":
        out = np.zeros(shape, np.result_type(updates.dtype, np.float32))  # 16 bits would lose count
        np.add.at(out, index, updates)
        return out.astype(updates.dtype, copy=False)
    return one_hot(index, n, updates.dtype).mT @ updates


@linear_in_both
def add_rows(x: Array, updates: Array, index: Array, axis: int) -> Array:
    """x (..., n, ...) with ``updates`` (..., m, ...) added at places ``index`` (m,) of an axis."""
    xp = namespace(x)
    if library(xp) == "torch":
        return x.index_add(axis, index, updates)
    if library(xp) == "numpy":
        y = np.array(x)
        np.add.at(y, (*(slice(None),) * axis, index), updates)
        return y
    rows = one_hot(index, x.shape[axis], x.dtype)
    return x + xp.moveaxis(xp.tensordot(updates, rows, axes=((axis,), (0,))), -1, axis)


@linear
def wide_sum(x: Array, axes: Ints) -> Array:
    """The sum over ``axes``, which are kept with length 1; that of float32 in float64, where there is one."""
    xp = namespace(x)
    if own := _own(xp, "wide_sum"):
        return own(x, axes)
    return xp.sum(x, axis=axes, keepdims=True, dtype=xp.float64 if x.dtype == xp.float32 else x.dtype)


@linear
def windows(x: Array, kernel: Ints, stride: Ints, dilation: Ints) -> Array:
    """Sliding windows of the last axes: (..., *spatial) -> (..., *out, *kernel).

    out = (spatial - dilation (kernel - 1) - 1) // stride + 1 along each axis.
    """
    xp = namespace(x)
    d = len(kernel)
    first = x.ndim - d
    extent = tuple(dil * (k - 1) + 1 for k, dil in zip(kernel, dilation, strict=True))
    if library(xp) == "torch":
        for i in range(d):
            x = x.unfold(first + i, extent[i], stride[i])
    elif library(xp) == "numpy":
        x = np.lib.stride_tricks.sliding_window_view(x, extent, tuple(range(first, x.ndim)))
        x = x[(..., *(slice(None, None, s) for s in stride), *(slice(None),) * d)]
    else:
        for i in range(d):
            n = (x.shape[first + i] - extent[i]) // stride[i] + 1
            starts = xp.arange(n)[:, None] * stride[i] + xp.arange(extent[i])[None, :]
            x = xp.take(x, xp.reshape(starts, (-1,)), axis=first + i)
            shape = (*x.shape[: first + i], n, extent[i], *x.shape[first + i + 1 :])
            x = xp.moveaxis(xp.reshape(x, shape), first + i + 1, -1)
    # without need not even a slice of all: PyTorch's batched gradients cannot take one (aten::alias)
    return x[(..., *(slice(None, None, dil) for dil in dilation))] if max(dilation) > 1 else x


@linear
def overlap_add(u: Array, spatial: Shape, stride: Ints, dilation: Ints) -> Array:
    """The transpose of :func:`windows`: (..., *out, *kernel) -> (..., *spatial), overlaps summed."""
    xp = namespace(u)
    d = len(spatial)
    out, kernel = u.shape[-2 * d : -d], u.shape[-d:]
    total = xp.zeros((*u.shape[: -2 * d], *spatial), dtype=u.dtype, device=u.device)
    if library(xp) == "numpy":
        for offset in product(*(range(k) for k in kernel)):
            total[_tap(offset, out, stride, dilation)] += u[(..., *offset)]
        return total
    for offset in product(*(range(k) for k in kernel)):
        tap = u[(..., *offset)]
        start = tuple(o * dil for o, dil in zip(offset, dilation, strict=True))
        total = total + _spread(tap, spatial, start, stride, out)
    return total


def _spread(x: Array, spatial: Shape, start: Ints, stride: Ints, out: Shape) -> Array:
    """Place x[..., i] at position start + stride i of a zero array of size ``spatial``."""
    xp = namespace(x)
    lead = tuple(x.shape[: x.ndim - len(spatial)])
    for i, n in enumerate(spatial):
        axis = len(lead) + i
        stuffed = xp.stack([x] + [xp.zeros_like(x)] * (stride[i] - 1), axis=axis + 1)
        shape = (*x.shape[:axis], out[i] * stride[i], *x.shape[axis + 1 :])
        x = pad(xp.reshape(stuffed, shape), axis, start[i], max(0, n - start[i] - shape[axis]))
        if x.shape[axis] > n:
            x = x[(*(slice(None),) * axis, slice(0, n), ...)]
    return x


def pad(x: Array, axis: int, before: int, after: int, value: float = 0.0) -> Array:
    """``x`` with ``before`` and ``after`` copies of ``value`` along one axis."""
    xp = namespace(x)

    def fill(n: int) -> Array:
        shape = (*x.shape[:axis], n, *x.shape[axis + 1 :])
        return xp.full(shape, value, dtype=x.dtype, device=x.device)

    if not before and not after:
        return x
    return xp.concat([fill(before), x, fill(after)], axis=axis)


def pad_axes(x: Array, padding: tuple[tuple[int, int], ...], value: float = 0.0) -> Array:
    """:func:`pad` the last axes, each by its pair (before, after)."""
    if (own := _own(namespace(x), "pad_axes")) and primal(x) is x:
        return own(x, padding, value)
    for i, (before, after) in enumerate(padding):
        x = pad(x, x.ndim - len(padding) + i, before, after, value)
    return x


def _tap(offset: Ints, out: Shape, stride: Ints, dilation: Ints) -> tuple[Any, ...]:
    """The slice of the last axes that holds entry ``offset`` of every window."""
    starts = (o * dil for o, dil in zip(offset, dilation, strict=True))
    return (..., *(slice(a, a + s * (n - 1) + 1, s) for a, n, s in zip(starts, out, stride, strict=True)))


def _own(xp: Any, name: str) -> Any:
    """PyTorch's own operator for a primitive, which torch_ext puts into the namespace of tensors."""
    return getattr(xp, name, None) if library(xp) == "torch" else None


# --- maxima of windows ------------------------------------------------------------------


def argmax_windows(x: Array, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, out: Shape) -> Array:
    """Where the largest entry of each window stands: (..., *spatial) -> (..., *out) of int64.

    Positions count the spatial axes as one, row by row. Of equal entries the first wins, of NaNs
    the last. Padding is -inf and never wins. ``out`` may be larger than what fits (ceil_mode).
    """
    x = primal(x)
    xp = namespace(x)
    if own := _own(xp, "argmax_windows"):
        return own(x, kernel, stride, padding, dilation, out)
    spatial = x.shape[-len(kernel) :]
    needed = [s * (m - 1) + d * (k - 1) + 1 for s, m, d, k in zip(stride, out, dilation, kernel, strict=True)]
    fills = tuple((p, max(0, e - n - p)) for e, n, p in zip(needed, spatial, padding, strict=True))
    lowest = -math.inf if is_floating(x) else xp.iinfo(x.dtype).min
    padded = pad_axes(x, fills, lowest)

    def positions(offset: Ints) -> Array:
        """The flat position of entry ``offset`` of each window; for one before x, of the next inside."""
        flat = xp.zeros(out, dtype=xp.int64, device=x.device)
        for axis, (n, m) in enumerate(zip(spatial, out, strict=True)):
            at = [offset[axis] * dilation[axis] - padding[axis] + stride[axis] * i for i in range(m)]
            at = [a if a >= 0 else a % dilation[axis] for a in at]
            column = xp.asarray(at, dtype=xp.int64, device=x.device)
            flat = flat * n + xp.reshape(column, (-1, *(1,) * (len(out) - axis - 1)))
        return flat

    taps = list(product(*(range(k) for k in kernel)))
    index = xp.broadcast_to(positions(taps[0]), (*x.shape[: -len(out)], *out))
    best = xp.full(index.shape, lowest, dtype=x.dtype, device=x.device)
    for offset in taps:
        entry = padded[_tap(offset, out, stride, dilation)]
        better = (entry > best) | (entry != entry)  # or NaN
        best = xp.where(better, entry, best)
        index = xp.where(better, positions(offset), index)
    return index


@linear
def scatter(updates: Array, index: Array, n: int) -> Array:
    """The transpose of taking along the last axis: (..., m) and (..., m) in [0, n) -> (..., n), added up."""
    xp = namespace(updates)
    if library(xp) == "torch":
        # scatter_add copies what it adds to: one number stands for all zeros
        zeros = xp.broadcast_to(updates.new_zeros(()), (*updates.shape[:-1], n))
        return zeros.scatter_add(-1, index, updates)
    if library(xp) == "numpy":
        rows = size(updates.shape[:-1])
        out = np.zeros(rows * n, updates.dtype)
        first = n * np.arange(rows).reshape(*updates.shape[:-1], 1)
        np.add.at(out, (index + first).ravel(), updates.ravel())
        return out.reshape(*updates.shape[:-1], n)
    return (updates[..., None, :] @ one_hot(index, n, updates.dtype))[..., 0, :]
