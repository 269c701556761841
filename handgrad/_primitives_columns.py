"""Windows as columns of matrices, columns added up into pictures; products of groups of columns or rows."""

from __future__ import annotations

from handgrad._arrays import Array, Shape, namespace, size
from handgrad._dual import bilinear, linear
from handgrad._errors import require
from handgrad._primitives import Ints, _own, overlap_add, pad, pad_axes, windows


@linear
def columns(x: Array, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints) -> Array:
    """All windows of x (N, C, *spatial) as columns: (N, C prod(kernel), prod(out)). x is 0 outside."""
    xp = namespace(x)
    own = _own(xp, "columns")
    if own and (found := own(x, kernel, stride, padding, dilation)) is not None:
        return found
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
    if len(kernel) == 2 and (own := _own(xp, "add_columns")):
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


# --- products of groups -------------------------------------------------------------------------


@bilinear
def grouped_product(a: Array, b: Array, ends: Array | None) -> Array:
    """Matrix products of G groups of rows or columns; ``ends`` (G,) says where each group ends.

    a (T, K), b (G, K, N) -> (T, N)       rows t of group g times b_g
    a (G, M, K), b (K, T) -> (M, T)       a_g times columns t of group g
    a (M, T), b (T, N)    -> (G, M, N)    columns times rows of group g
    a (G, M, K), b (G, K, N) -> (G, M, N) without ``ends``
    Rows and columns behind the last group count as 0. Where nobody may look at ``ends`` (in a graph being
    traced), zeros stand for the entries of other groups: the same values, by G times the work.
    """
    if ends is None:
        return a @ b
    xp = namespace(a)
    look = _own(xp, "integers") or (lambda v: [int(v[i]) for i in range(v.shape[0])])
    stops = look(ends)
    if stops is None:
        return _masked_product(a, b, ends)
    require(
        all(start <= stop for start, stop in zip([0, *stops], [*stops, _length(a, b)], strict=True)),
        "the ends of groups must not decrease, and lie in the axis that is split",
        f"{stops} for {_length(a, b)} entries",
        "give increasing ends",
    )
    spans = [slice(start, stop) for start, stop in zip([0, *stops[:-1]], stops, strict=True)]
    if a.ndim == b.ndim:
        return xp.stack([a[:, span] @ b[span, :] for span in spans], axis=0)
    if a.ndim == 2:
        y = xp.concat([a[span, :] @ b[g, ...] for g, span in enumerate(spans)], axis=0)
        return pad(y, 0, 0, a.shape[0] - y.shape[0])
    y = xp.concat([a[g, ...] @ b[:, span] for g, span in enumerate(spans)], axis=1)
    return pad(y, 1, 0, b.shape[1] - y.shape[1])


def _length(a: Array, b: Array) -> int:
    """Of the axis that is split into groups."""
    return int(a.shape[0] if b.ndim == 3 else b.shape[0] if a.ndim == 2 else b.shape[1])


def _masked_product(a: Array, b: Array, ends: Array) -> Array:
    """:func:`grouped_product` without a look at ``ends``."""
    xp = namespace(a)
    t = xp.astype(xp.arange(_length(a, b), device=a.device), ends.dtype)[None, :]
    before = xp.astype(t < ends[:, None], a.dtype)
    zero = xp.zeros_like(before[:1, :])
    member = before - xp.concat([zero, before[:-1, :]], axis=0)  # (G, T): 1 where t is in group g
    if a.ndim == b.ndim:
        return (a[None, ...] * member[:, None, :]) @ b[None, ...]
    if a.ndim == 2:
        return xp.sum((a[None, ...] * member[:, :, None]) @ b, axis=0)
    return xp.sum(a @ (b[None, ...] * member[:, None, :]), axis=0)
