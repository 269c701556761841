"""A whole run: seeds in chunks, results kept as they come, failures by cause, what was covered."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from handgrad._derivation import registry
from handgrad.architectures import Architecture, Coverage
from handgrad.report import write_atomically
from torch_ext.fuzz.compare import compare
from torch_ext.fuzz.engine import Chunk, Engine, coverage
from torch_ext.fuzz.groups import Group, architecture_of, explain, grouped, merged
from torch_ext.fuzz.journal import Journal, read, write_sorted
from torch_ext.fuzz.outcome import Outcome
from torch_ext.fuzz.script import save
from torch_ext.fuzz.shrink import TRIES

SEEDS = 1_000_000  # architectures of different runs' seeds do not meet
_CHUNK = 20
_ROUND = 50  # chunks handed to the engine at once, where time decides how many there are
_KEPT = 20  # groups that are shrunk


@dataclass(frozen=True)
class Plan:
    """``count`` architectures of run ``seed``, or as many as fit in ``seconds``, of ``only`` these layers."""

    seed: int = 0
    count: int | None = 500
    seconds: float | None = None
    only: tuple[str, ...] | None = None

    def header(self) -> dict[str, Any]:
        return {"seed": self.seed, "only": None if self.only is None else list(self.only)}

    def chunks(self, done: Mapping[int, Outcome]) -> Iterator[Chunk]:
        first = self.seed * SEEDS
        starts = count(first, _CHUNK) if self.count is None else range(first, first + self.count, _CHUNK)
        for start in starts:
            end = start + _CHUNK if self.count is None else min(start + _CHUNK, first + self.count)
            chunk = tuple(n for n in range(start, end) if n not in done)
            if chunk:
                yield chunk


@dataclass
class State:
    """How far a run has come."""

    outcomes: dict[int, Outcome] = field(default_factory=dict)
    coverage: Coverage = field(default_factory=Coverage)
    failures: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)
    new: int = 0

    def add(self, outcomes: list[Outcome], seen: Coverage) -> None:
        self.coverage.merge(seen)
        self.new += len(outcomes)
        for outcome in outcomes:
            self.outcomes[outcome.seed] = outcome
            self.failures.update(f"{f.layer or 'network'}: {f.way}" for f in outcome.failures)

    @property
    def rate(self) -> float:
        return self.new / max(time.monotonic() - self.started, 1e-9)


def fuzz(
    plan: Plan,
    engine: Engine,
    folder: Path,
    resume: Path | None = None,
    progress: Callable[[State], None] | None = None,
) -> tuple[Plan, State]:
    """Run the plan. Results stand in ``folder``/journal.jsonl (or in the journal resumed) as they come.

    A journal that is resumed says itself which seed and which layers; its plan is returned.
    """
    engine.require_installed()
    state, journal_path = State(), folder / "journal.jsonl"
    done: dict[int, Outcome] | None = None
    if resume is not None:
        header, done = read(resume)
        journal_path = resume
        only = header.get("only")
        plan = replace(plan, seed=int(header["seed"]), only=None if only is None else tuple(only))
        state.outcomes.update(done)
        state.coverage.merge(coverage([n for n, o in done.items() if not o.architecture], plan.only))
    for name in plan.only or ():
        registry[name]  # an unknown one raises
    journal = Journal(journal_path, plan.header(), done)
    try:
        for round_ in _rounds(plan, state):
            results = engine.run(round_, plan.only)
            for _, (outcomes, seen) in results:
                journal.add(outcomes)
                state.add(outcomes, seen)
                if progress is not None:
                    progress(state)
                if plan.seconds is not None and time.monotonic() - state.started > plan.seconds:
                    results.close()  # type: ignore[attr-defined]
                    return plan, state
    finally:
        journal.close()
        write_sorted(folder / "results.jsonl", plan.header(), state.outcomes)
    return plan, state


def one(made: Architecture) -> State:
    """The state after a given architecture alone."""
    state, seen = State(), Coverage()
    seen.add(made)
    state.add([compare(made)], seen)
    return state


def _rounds(plan: Plan, state: State) -> Iterator[list[Chunk]]:
    chunks = plan.chunks(dict(state.outcomes))
    if plan.seconds is None:
        if every := [*chunks]:
            yield every
        return
    while True:
        some = [chunk for _, chunk in zip(range(_ROUND), chunks, strict=False)]
        if not some:
            return
        yield some


def explained(
    state: State,
    plan: Plan,
    folder: Path,
    tries: int = TRIES,
    given: Architecture | None = None,
    progress: Callable[[str], None] | None = None,
) -> list[Group]:
    """Failures by cause; of each the smallest architecture, a diagnosis, a script in ``folder``/findings."""
    groups = grouped(state.outcomes[seed] for seed in sorted(state.outcomes))
    for group in groups[:_KEPT]:
        if progress is not None:
            progress(group.name)
        if group.failure.way == "build" or (group.failure.way == "worker" and group.architecture is None):
            continue
        explain(group, given or architecture_of(group, plan.only), tries)
    groups = merged(groups)
    used: Counter[str] = Counter()
    for group in groups:
        if group.smallest is not None:
            used[group.name] += 1
            name = group.name + (f"-{used[group.name]}" if used[group.name] > 1 else "")
            said = group.diagnosis.message + "." if group.diagnosis else ""
            save(group.smallest, group.failure, said, folder / "findings", name)
    return groups


def summary(state: State, plan: Plan, groups: list[Group], engine: Engine) -> dict[str, Any]:
    """Plain JSON: what `--json` prints. But for ``time`` the same for the same seeds, on any engine."""
    ways: Counter[str] = Counter(way for o in state.outcomes.values() for way in o.ways)
    skipped: Counter[str] = Counter(way for o in state.outcomes.values() for way in o.skipped or ())
    return {
        "format": "handgrad-fuzz-report",
        "version": 1,
        **plan.header(),
        "architectures": len(state.outcomes),
        "nodes": sum(o.nodes for o in state.outcomes.values()),
        "ways": dict(sorted(ways.items())),
        "skipped": dict(sorted(skipped.items())),
        "passed": all(group.failure.explained for group in groups),
        "groups": [group.to_dict() for group in groups],
        "coverage": state.coverage.to_dict(plan.only),
        "time": {"engine": engine.name, "workers": engine.workers, "rate": round(state.rate, 1)},
    }


def write_report(report: Mapping[str, Any], folder: Path) -> Path:
    return write_atomically(folder / "report.json", json.dumps(report, ensure_ascii=False, indent=1) + "\n")
