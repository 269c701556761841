"""Twenty functions from graphics, nature, dynamics and networks, each with one wrong twin."""

from __future__ import annotations

from torch_ext.corpus._entry import Operation

from . import dynamics, graphics, nature, networks

OPERATIONS: tuple[Operation, ...] = (
    *graphics.OPERATIONS,
    *nature.OPERATIONS,
    *dynamics.OPERATIONS,
    *networks.OPERATIONS,
)
