"""Failures by their cause: one mistake reported 500 times is one line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from handgrad.architectures import Architecture, generate
from torch_ext.fuzz.diagnosis import Diagnosis, diagnose
from torch_ext.fuzz.outcome import Failure, Outcome
from torch_ext.fuzz.shrink import TRIES, shrink

_SEEDS = 5  # that a group names


@dataclass
class Group:
    """Failures that are alike: the first of them, how many there are, and some of their seeds."""

    failure: Failure
    seeds: list[int] = field(default_factory=list)
    count: int = 0
    architecture: Any = None  # of a failure that no seed gives, as JSON
    smallest: Architecture | None = None
    diagnosis: Diagnosis | None = None

    @property
    def cause(self) -> tuple[str, ...]:
        """What stands behind it: the layer and the kind of its mistake, whatever way it showed."""
        if self.diagnosis is not None and self.failure.way in ("gradients", "build"):
            return self.failure.verdict, self.diagnosis.layer, self.diagnosis.kind, self.diagnosis.where
        return self.failure.verdict, *self.failure.manner

    @property
    def name(self) -> str:
        kind = self.diagnosis.kind if self.diagnosis else self.failure.way
        return "-".join(filter(None, (self.failure.layer or "network", kind)))

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "count": self.count,
            "seeds": self.seeds,
            "failure": self.failure.to_dict(),
            "diagnosis": None if self.diagnosis is None else vars(self.diagnosis),
            "smallest": None if self.smallest is None else self.smallest.to_dict(),
        }


def grouped(outcomes: Iterable[Outcome]) -> list[Group]:
    """Groups by the manner of failing and the verdict, the most frequent first."""
    found: dict[tuple[str, ...], Group] = {}
    for outcome in outcomes:
        for failure in outcome.failures:
            group = found.setdefault(
                (*failure.manner, failure.verdict), Group(failure, architecture=outcome.architecture)
            )
            group.count += 1
            if len(group.seeds) < _SEEDS and outcome.seed not in group.seeds:
                group.seeds.append(outcome.seed)
    return _sorted(found.values())


def explain(group: Group, made: Architecture, tries: int = TRIES) -> None:
    """The smallest architecture that fails so, and the checker's word on the layer."""
    if group.failure.way == "worker":
        group.smallest = made
        return
    first = group.failure
    group.smallest, group.failure = shrink(made, first, tries)
    # the numbers before shrinking say more of a mistake: a vector of one element has no permutation
    group.diagnosis = diagnose(made, first) or diagnose(group.smallest, group.failure)


def merged(groups: Iterable[Group]) -> list[Group]:
    """Groups of one cause as one: the same mistake may raise on one input and differ on another."""
    found: dict[tuple[str, ...], Group] = {}
    for group in groups:
        known = found.setdefault(group.cause, group)
        if known is not group:
            known.count += group.count
            known.seeds = sorted({*known.seeds, *group.seeds})[:_SEEDS]
    return _sorted(found.values())


def architecture_of(group: Group, layers: tuple[str, ...] | None) -> Architecture:
    return generate(group.seeds[0], layers)


def _sorted(groups: Iterable[Group]) -> list[Group]:
    return sorted(groups, key=lambda g: (g.failure.explained, -g.count, g.seeds))
