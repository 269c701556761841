"""Twenty functions from vision, geometry, graphs and other fields, each with one wrong backward."""

from __future__ import annotations

from torch_ext.corpus._entry import Operation

from . import graphs, motion, shapes, statistics, vision

OPERATIONS: tuple[Operation, ...] = (
    *vision.OPERATIONS,
    *shapes.OPERATIONS,
    *motion.OPERATIONS,
    *graphs.OPERATIONS,
    *statistics.OPERATIONS,
)
