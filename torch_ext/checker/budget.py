"""How many forward passes a check takes."""

from __future__ import annotations

from torch_ext.checker.probes import Probe
from torch_ext.checker.subject import Subject

_LARGE, _HUGE = 2_000, 1_000_000  # elements
WHOLE = 1_000_000  # parameters of a model from which on it is checked by whole steps
EXACT = 20_000_000  # parameters up to which a copy of the model in float64 is affordable


class Budget:
    """The forward passes of ``subject`` that are left; without a ``total`` it is set by the inputs' size."""

    def __init__(self, subject: Subject, given: Probe, total: int | None) -> None:
        self.subject = subject
        elements = sum(v.numel() for v in given.variables.values())
        usual = 10 if elements >= _HUGE else 60 if elements >= _LARGE else 100_000
        self.total = usual if total is None else total
        self.shapes = max(12, 20 if self.total >= 60 else 0)  # passes kept for other points

    def allows(self, passes: int) -> bool:
        return self.subject.passes + passes <= self.total
