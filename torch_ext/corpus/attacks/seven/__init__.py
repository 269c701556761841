"""Functions with hand-written backward passes, each with one wrong twin."""

from . import fitting, motion, scenes, sequences
from ._entry import Operation

OPERATIONS: tuple[Operation, ...] = (
    *fitting.OPERATIONS,
    *sequences.OPERATIONS,
    *scenes.OPERATIONS,
    *motion.OPERATIONS,
)
