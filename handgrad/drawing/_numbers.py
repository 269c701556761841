"""Values as short text: a number, a small matrix row by row, or a shape."""

from __future__ import annotations

import numpy as np

from handgrad._arrays import Array

DIGITS = 4  # of a number that is shown, in drawings and in the trace
_LARGEST = 4  # rows or columns of a matrix that is shown in numbers


def lines(value: Array | None, digits: int = DIGITS) -> list[str]:
    """A value as lines of equal length: one for a number, one a row for a small matrix."""
    if value is None:
        return []
    a = np.asarray(value)
    if a.size == 1:
        return [number(a.reshape(()), digits)]
    if a.ndim > 2 or max(a.shape) > _LARGEST or a.size == 0:
        return [" × ".join(map(str, a.shape))]
    cells = [[number(v, digits) for v in row] for row in np.atleast_2d(a)]
    width = max(len(cell) for row in cells for cell in row)
    return ["  ".join(cell.rjust(width) for cell in row) for row in cells]


def number(value: Array, digits: int = DIGITS) -> str:
    """A number in a few digits; zero has no sign."""
    return f"{float(value) + 0.0:.{digits}g}" if np.issubdtype(value.dtype, np.floating) else str(value)


def is_matrix(value: Array | None) -> bool:
    """Whether the value is shown in brackets."""
    return value is not None and np.asarray(value).size > 1


def inline(value: Array, digits: int = DIGITS) -> str:
    """A value on one line: ``[1, 2; 3, 4]``."""
    rows = lines(value, digits)
    if not is_matrix(value):
        return rows[0]
    a = np.asarray(value)
    return (
        f"[{'; '.join(', '.join(row.split()) for row in rows)}]"
        if max(a.shape) <= _LARGEST
        else f"({rows[0]})"
    )
