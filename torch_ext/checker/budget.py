"""How many forward passes a check takes."""

from __future__ import annotations

from collections.abc import Sequence

from torch_ext.checker.probes import Probe
from torch_ext.checker.subject import Subject

_LARGE, _HUGE = 2_000, 1_000_000  # elements
_PASSES = 32  # of large inputs: a hundredth of slow gradcheck's time for Linear(64, 64) at batch 32
WHOLE = 1_000_000  # parameters of a model from which on it is checked by whole steps
EXACT = 20_000_000  # parameters up to which a copy of the model in float64 is affordable


class Budget:
    """The forward passes of ``subjects``, a target and its reference, that are left; without a ``total`` it
    is set by the inputs' size."""

    def __init__(self, subjects: Sequence[Subject], given: Probe, total: int | None) -> None:
        self.subjects = subjects
        elements = sum(v.numel() for v in given.variables.values())
        usual = 10 if elements >= _HUGE else _PASSES if elements >= _LARGE else 100_000
        self.total = usual if total is None else total
        self.thorough = self.total >= _PASSES  # float64 is looked at, whatever doubts have cost before
        self.shapes = 20 if self.thorough else 12  # passes kept for other points

    def allows(self, passes: int) -> bool:
        return sum(s.passes for s in self.subjects) + passes <= self.total
