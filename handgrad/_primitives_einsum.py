"""Sums of products of arrays whose axes have labels, by matrix products."""

from __future__ import annotations

from collections.abc import Sequence

from handgrad._arrays import Array, cast, namespace, size

Labels = tuple[int, ...]


def einsum(xs: Sequence[Array], inputs: Sequence[Labels], out: Labels) -> Array:
    """y[out]: the product of all xs[k][inputs[k]], summed over all other labels; length 1 is copied."""
    y, labels = _diagonals(xs[0], inputs[0])
    for k in range(1, len(xs)):
        later = {*out, *(n for names in inputs[k + 1 :] for n in names)}
        y, labels = _pair(y, labels, *_diagonals(xs[k], inputs[k]), later)
    y, labels = _summed(y, labels, set(out))
    return _ordered(y, labels, out)


def _pair(a: Array, of_a: Labels, b: Array, of_b: Labels, later: set[int]) -> tuple[Array, Labels]:
    """The product of two, summed over the labels that nothing later names: one product of matrices.

    A label of both is an axis of the batch if it is needed later, else one that is summed.
    """
    xp = namespace(a)
    a, of_a = _summed(a, of_a, {*of_b, *later})
    b, of_b = _summed(b, of_b, {*of_a, *later})
    batch = tuple(n for n in of_a if n in of_b and n in later)
    inner = tuple(n for n in of_a if n in of_b and n not in later)
    left, right = (tuple(n for n in labels if n not in (*batch, *inner)) for labels in (of_a, of_b))
    alone = [n for n in inner if a.shape[of_a.index(n)] != b.shape[of_b.index(n)]]
    for n in alone:  # one of them has length 1 there
        a, b = (xp.sum(x, axis=labels.index(n), keepdims=True) for x, labels in ((a, of_a), (b, of_b)))
    a = _ordered(a, of_a, (*batch, *left, *inner))
    b = _ordered(b, of_b, (*batch, *inner, *right))
    k, m = len(batch), len(batch) + len(left)
    rows, columns, depth = a.shape[k:m], b.shape[k + len(inner) :], size(a.shape[m:])
    a = xp.reshape(a, (*a.shape[:k], size(rows), depth))
    b = xp.reshape(b, (*b.shape[:k], depth, size(columns)))
    y = a @ b if inner else a * b
    return xp.reshape(y, (*y.shape[:k], *rows, *columns)), (*batch, *left, *right)


def _ordered(x: Array, labels: Labels, wanted: Labels) -> Array:
    return x if labels == wanted else namespace(x).permute_dims(x, tuple(labels.index(n) for n in wanted))


def _summed(x: Array, labels: Labels, kept: set[int]) -> tuple[Array, Labels]:
    """x summed over the labels that are not kept."""
    axes = tuple(axis for axis, n in enumerate(labels) if n not in kept)
    return (namespace(x).sum(x, axis=axes) if axes else x), tuple(n for n in labels if n in kept)


def _diagonals(x: Array, labels: Labels) -> tuple[Array, Labels]:
    """Axes of one label made one."""
    xp = namespace(x)
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            x = xp.moveaxis(xp.moveaxis(x, second, -1), first, -2)
            i = xp.arange(x.shape[-1], device=x.device)
            x = xp.sum(x * cast(i[:, None] == i[None, :], x.dtype), axis=-1)
            labels = (*(n for axis, n in enumerate(labels) if axis not in (first, second)), label)
    return x, labels
