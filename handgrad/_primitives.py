"""Forward-only primitives that the array API standard lacks, one implementation a library.

A derivation *derives* its gradient with these (a convolution's gradients are correlations
too); none of them knows anything of differentiation. Each is linear or bilinear, which is
all that the dual numbers need to know of them.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from handgrad._arrays import Array, Shape, library, namespace
from handgrad._dual import linear

Ints = tuple[int, ...]


def erf(x: Array) -> Array:
    """The error function, to a few ulps in any real dtype (long double included).

    Source: Abramowitz and Stegun, 7.1.6: erf(x) = 2/sqrt(pi) exp(-x^2) sum_n 2^n x^(2n+1)/(2n+1)!!,
    a series of positive terms, so that nothing cancels.
    """
    xp = namespace(x)
    if hasattr(xp, "erf"):
        return xp.erf(x)
    far = 6.6  # erfc(6.6) = 1e-20 is below the last bit of an 80-bit long double
    clipped = xp.clip(x, -far, far)
    square = clipped * clipped
    term = total = clipped
    for n in range(1, 170):
        term = term * square * 2 / (2 * n + 1)
        total = total + term
    # math.pi is rounded to double: build 2/sqrt(pi) in the dtype of x
    two_over_root_pi = 2 / xp.sqrt(4 * xp.atan(xp.ones_like(x)))
    return xp.where(xp.abs(x) < far, two_over_root_pi * xp.exp(-square) * total, xp.sign(x))


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
def scatter_rows(updates: Array, index: Array, n: int, *, sparse: bool = False) -> Array:
    """Add ``updates[i]`` to row ``index[i]`` of a zero (n, d) array.

    updates (m, d), index (m,) of integers in [0, n). With ``sparse`` PyTorch gets its sparse COO
    form (rows not coalesced, as ``torch.nn.Embedding(sparse=True)`` gives); elsewhere it is dense.
    """
    xp = namespace(updates)
    shape = (n, updates.shape[1])
    if library(xp) == "torch":
        if sparse:
            return xp.sparse_coo_tensor(index[None, :], updates, shape)
        zeros = updates.new_zeros(shape)
        return zeros.index_add(0, index, updates)
    if library(xp) == "numpy":
        out = np.zeros(shape, updates.dtype)
        np.add.at(out, index, updates)
        return out
    return one_hot(index, n, updates.dtype).mT @ updates


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
    return x[(..., *(slice(None, None, dil) for dil in dilation))]


@linear
def overlap_add(u: Array, spatial: Shape, stride: Ints, dilation: Ints) -> Array:
    """The transpose of :func:`windows`: (..., *out, *kernel) -> (..., *spatial), overlaps summed."""
    xp = namespace(u)
    d = len(spatial)
    out, kernel = u.shape[-2 * d : -d], u.shape[-d:]
    total = xp.zeros((*u.shape[: -2 * d], *spatial), dtype=u.dtype, device=u.device)
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
        x = x[(*(slice(None),) * axis, slice(0, n))]
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
