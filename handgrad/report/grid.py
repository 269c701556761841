"""An array of errors, reduced to a grid small enough to look at and to store."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

Grid = tuple[tuple[float, ...], ...]

LIMIT = 32


def reduce_errors(errors: Any, limit: int = LIMIT) -> Grid | None:
    """Signed errors of any shape as a grid of at most ``limit`` x ``limit`` numbers.

    The last axis gives the columns, all axes before it the rows. Each cell holds the error
    of largest magnitude in its block, sign kept; NaN wins over everything. Real, any float
    dtype. None for an empty array.
    """
    values = np.asarray(errors, dtype=np.float64)
    rows, columns = flat_shape(values.shape)
    if rows * columns == 0:
        return None
    table = values.reshape(rows, columns)
    across = edges(columns, min(columns, limit))
    down = edges(rows, min(rows, limit))
    return tuple(
        tuple(_worst(table[top:bottom, left:right]) for left, right in across) for top, bottom in down
    )


def flat_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many rows and columns an array of this shape has in a grid."""
    return int(np.prod(shape[:-1], dtype=np.int64)), shape[-1] if shape else 1


def shown_shape(errors: Grid, shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of the array that a grid shows; the grid's own where they don't fit."""
    rows, columns = len(errors), max(map(len, errors), default=0)
    full = flat_shape(shape)
    return full if full[0] >= rows and full[1] >= columns else (rows, columns)


def first_indices(errors: Grid, shape: tuple[int, ...]) -> tuple[list[str], list[str]]:
    """Of each row and each column of a grid the first index it holds, such as ``2,0`` and ``5``.

    Rows of an array with one axis have no index.
    """
    full = shown_shape(errors, shape)
    leading = shape[:-1] if flat_shape(shape) == full else full[:1]
    down = [first for first, _ in edges(full[0], len(errors))]
    across = [first for first, _ in edges(full[1], max(map(len, errors), default=0))]
    rows = [",".join(map(str, np.unravel_index(i, leading))) if leading else "" for i in down]
    return rows, list(map(str, across))


def edges(length: int, parts: int) -> list[tuple[int, int]]:
    """``length`` elements as ``parts`` blocks of nearly equal size: (first, one past the last)."""
    cuts = [i * length // parts for i in range(parts + 1)]
    return list(pairwise(cuts))


def _worst(block: np.ndarray) -> float:
    return float(block.flat[int(np.argmax(np.abs(block)))])  # argmax takes NaN as the largest
