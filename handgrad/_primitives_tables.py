"""Forward-only primitives for tables of rows (see ``_primitives``)."""

from __future__ import annotations

import math

from handgrad._arrays import Array, library, namespace
from handgrad._dual import primal
from handgrad._primitives import one_hot


def argmax_rows(rows: Array, group: Array, n: int) -> Array:
    """The row that holds the largest element of each group and column: (m, d), (m,) -> (n, d) of int64.

    Groups are numbered from 0; n and more are left out. -1 where a group is empty. Of equal elements the
    first wins.
    """
    rows = primal(rows)
    xp = namespace(rows)
    m, d = rows.shape
    if not m:
        return xp.full((n, d), -1, dtype=xp.int64, device=rows.device)
    if library(xp) == "torch":
        place: Array = xp.argmax_rows(rows, group, n)
        return place
    member = one_hot(group, n, xp.bool)[:, :, None]  # (m, n, 1)
    entries = xp.where(member, rows[:, None, :], -math.inf)
    return xp.where(xp.any(member, axis=0), xp.argmax(entries, axis=0), -1)
