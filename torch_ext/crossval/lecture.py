"""The lecture's networks and worked examples, hand against autograd."""

from __future__ import annotations

from handgrad.report import Check


def check_lecture(seed: int) -> list[Check]:
    return []
