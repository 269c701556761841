"""Twenty operations from physics, signals, statistics, finance, language models and matrix equations."""

from __future__ import annotations

from torch_ext.corpus._entry import Operation

from . import finance, language, matrices, physics, signals, statistics

OPERATIONS: tuple[Operation, ...] = (
    signals.OPERATIONS
    + physics.OPERATIONS
    + statistics.OPERATIONS
    + finance.OPERATIONS
    + language.OPERATIONS
    + matrices.OPERATIONS
)
