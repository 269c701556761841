"""Correlation and its two transposes.

x (N, C, *spatial), w (O, C/groups, *kernel), y (N, O, *out) with any number of spatial axes:
    y[n, o, i] = Σ_c Σ_k w[o, c, k] x[n, c, stride i + dilation k - padding]
c runs over the channels of the group of o; x is 0 outside. ⟨y, correlate(x, w)⟩ is trilinear
in y, x and w: leaving out any one of the three gives a primitive.
"""

from __future__ import annotations

from typing import Any

from handgrad._arrays import Array, Shape, library, namespace, size
from handgrad._dual import bilinear, primal
from handgrad._primitives import Ints, _own
from handgrad._primitives_columns import add_columns, columns


def correlate(
    x: Array, w: Array, stride: Ints, padding: Ints, dilation: Ints, groups: int, *, b: Array | None = None
) -> Array:
    """x, w -> y: (N, C, *spatial) and (O, C/groups, *kernel) -> (N, O, *out); b (O,) is added."""
    return _plus(_correlate, x, w, b, stride, padding, dilation, groups)


@bilinear
def _correlate(
    x: Array, w: Array, stride: Ints, padding: Ints, dilation: Ints, groups: int, *, b: Array | None = None
) -> Array:
    xp = namespace(x)
    if own := _own(xp, "correlate"):
        return own(x, w, stride, padding, dilation, groups, b)
    u, out = _grouped_columns(x, tuple(w.shape[2:]), stride, padding, dilation, groups)
    y = xp.reshape(w, (groups, w.shape[0] // groups, size(w.shape[1:]))) @ u
    return xp.reshape(y, (x.shape[0], w.shape[0], *out))


def correlate_to_input(
    y: Array,
    w: Array,
    spatial: Shape,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    groups: int,
    *,
    b: Array | None = None,
) -> Array:
    """y, w -> x, the transpose of :func:`correlate` in x: (N, O, *out) -> (N, C, *spatial); plus b (C,)."""
    return _plus(_correlate_to_input, y, w, b, spatial, stride, padding, dilation, groups)


@bilinear
def _correlate_to_input(
    y: Array,
    w: Array,
    spatial: Shape,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    groups: int,
    *,
    b: Array | None = None,
) -> Array:
    xp = namespace(y)
    if own := _own(xp, "correlate_to_input"):
        return own(y, w, spatial, stride, padding, dilation, groups, b)
    kernel, out = tuple(w.shape[2:]), tuple(y.shape[2:])
    taps = xp.reshape(w, (groups, w.shape[0] // groups, size(w.shape[1:]))).mT
    u = taps @ xp.reshape(y, (y.shape[0], groups, w.shape[0] // groups, size(out)))
    u = xp.reshape(u, (y.shape[0], groups * size(w.shape[1:]), size(out)))
    return add_columns(u, spatial, out, kernel, stride, padding, dilation)


def _plus(f: Any, a: Array, w: Array, b: Array | None, *options: Any) -> Array:
    """f(a, w) + b, b one number a channel: PyTorch's own adds it before it rounds to 16 bits."""
    if b is None:
        return f(a, w, *options)
    if library(namespace(a)) == "torch" and all(primal(v) is v for v in (a, w, b)):
        return f(a, w, *options, b=b)
    return f(a, w, *options) + namespace(b).reshape(b, (-1, *(1,) * (w.ndim - 2)))


@bilinear
def correlate_to_weight(
    x: Array, y: Array, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Array:
    """x, y -> w, the transpose of :func:`correlate` in w: -> (O, C/groups, *kernel).

    A matrix product of the windows of x with y: a correlation whose kernel is as large as the picture
    is fast in PyTorch alone, and for one channel a group. Samples go a few at a time, since the
    windows take prod(kernel) times the memory of x, and are multiplied faster while in the cache.
    """
    xp = namespace(x)
    own = _own(xp, "correlate_to_weight")
    if own and (found := own(x, y, kernel, stride, padding, dilation, groups)) is not None:
        return found
    n, o = y.shape[:2]
    step = max(1, -(-n // 8), _AT_ONCE // max(1, size(y.shape[2:]) * size(kernel) * x.shape[1]))
    w: Any = 0
    for first in range(0, max(n, 1), step):
        xs, ys = (x, y) if step >= n else (x[first : first + step, ...], y[first : first + step, ...])
        u, out = _grouped_columns(xs, kernel, stride, padding, dilation, groups)
        w = w + xp.sum(u @ xp.reshape(ys, (*u.shape[:2], o // groups, size(out))).mT, axis=0)
    return xp.reshape(w.mT, (o, x.shape[1] // groups, *kernel))


_AT_ONCE = 2**19  # numbers: 2 MiB in float32, about the cache of one core


def _grouped_columns(
    x: Array, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> tuple[Array, Shape]:
    """All windows of x as columns, (N, groups, C/groups prod(kernel), prod(out)), and out."""
    u = columns(x, kernel, stride, padding, dilation)
    sizes = zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
    out = tuple((n + 2 * p - dil * (k - 1) - 1) // s + 1 for n, k, s, p, dil in sizes)
    shape = (x.shape[0], groups, x.shape[1] // groups * size(kernel), size(out))
    return namespace(x).reshape(u, shape), out
