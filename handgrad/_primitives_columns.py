"""Windows as the columns of matrices, and columns added up into pictures: each the other's transpose."""

from __future__ import annotations

from handgrad._arrays import Array, Shape, namespace, size
from handgrad._dual import linear
from handgrad._primitives import Ints, _own, overlap_add, pad_axes, windows


@linear
def columns(x: Array, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints) -> Array:
    """All windows of x (N, C, *spatial) as columns: (N, C prod(kernel), prod(out)). x is 0 outside."""
    xp = namespace(x)
    if own := _own(xp, "columns"):
        return own(x, kernel, stride, padding, dilation)
    d = len(kernel)
    u = windows(pad_axes(x, tuple((p, p) for p in padding)), kernel, stride, dilation)
    out = tuple(u.shape[2 : 2 + d])
    u = xp.permute_dims(u, (0, 1, *range(2 + d, 2 + 2 * d), *range(2, 2 + d)))
    return xp.reshape(u, (x.shape[0], x.shape[1] * size(kernel), size(out)))


@linear
def add_columns(
    u: Array, spatial: Shape, out: Shape, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> Array:
    """The transpose of :func:`columns`: (N, C prod(kernel), prod(out)) -> (N, C, *spatial)."""
    xp = namespace(u)
    if own := _own(xp, "add_columns"):
        return own(u, spatial, kernel, stride, padding, dilation)
    d = len(kernel)
    channels = u.shape[1] // size(kernel)
    u = xp.reshape(u, (u.shape[0], channels, *kernel, *out))
    u = xp.permute_dims(u, (0, 1, *range(2 + d, 2 + 2 * d), *range(2, 2 + d)))
    padded = tuple(n + 2 * p for n, p in zip(spatial, padding, strict=True))
    x = overlap_add(u, padded, stride, dilation)
    return x[(..., *(slice(p, p + n) for p, n in zip(padding, spatial, strict=True)))]


@linear
def packed(x: Array) -> Array:
    """The same values in memory of their own, in the order of the axes."""
    xp = namespace(x)
    if own := _own(xp, "packed"):
        return own(x)
    return xp.asarray(x, copy=True)
