"""Twenty operations, each with a right backward pass and a wrong one."""

from __future__ import annotations

from . import imaging, mechanics, sequences, statistics
from ._base import Operation

OPERATIONS: tuple[Operation, ...] = (
    *sequences.OPERATIONS,
    *imaging.OPERATIONS,
    *statistics.OPERATIONS,
    *mechanics.OPERATIONS,
)
