"""The whole cross-validation as one list of independent tasks, on as many cores as there are."""

from __future__ import annotations

import platform
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import joblib
import numpy as np
import torch

import handgrad
from handgrad._derivation import registry
from handgrad.report import Check, Record
from torch_ext.crossval.layers import check_layer
from torch_ext.crossval.lecture import check_lecture, judge_examples
from torch_ext.crossval.networks import check_architectures

_CHUNK = 10  # architectures a task
_SEEDS = 1_000_000  # architectures of different runs' seeds do not meet


@dataclass(frozen=True)
class Task:
    """One unit of work: a group's name, and a function of picklable arguments that gives checks."""

    group: str
    label: str
    function: Callable[..., list[Check]]
    arguments: tuple[Any, ...]

    def __call__(self) -> tuple[list[Check], float]:
        """The checks, and the seconds they took. One thread each: sums keep their order."""
        start, threads = time.perf_counter(), torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")  # PyTorch's own, of its own deprecated arguments
                checks = self.function(*self.arguments)
        finally:
            torch.set_num_threads(threads)
        return checks, time.perf_counter() - start


def tasks(seed: int, layers: Sequence[str] | None, seeds: Sequence[int], whole: bool) -> list[Task]:
    """What a run consists of, in the order of its report."""
    names = list(registry) if whole else layers or []
    chunks = [list(seeds[i : i + _CHUNK]) for i in range(0, len(seeds), _CHUNK)]
    return [
        *([Task("lecture", "the lecture's networks", check_lecture, (seed,))] if whole else []),
        *(Task("layers", name, check_layer, (name, seed)) for name in names),
        *(
            Task("architectures", f"architectures {c[0]} to {c[-1]}", check_architectures, (c, layers))
            for c in chunks
        ),
    ]


def crossval(
    seed: int = 0,
    architectures: int | Sequence[int] = 200,
    jobs: int = -1,
    layers: Sequence[str] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Record:
    """Compare every hand derivation with autograd and with numerical truths.

    seed            fixes every random number: the same seed gives the same record
    architectures   how many random networks (>= 0), or the seeds of those to run
    jobs            worker processes; -1 means one for each core; 1 stays in this process
    layers          names of the derivations to check alone, single and in networks of these layers
                    (default: all). With chosen layers or networks, nothing else is run
    progress        called with (tasks done, tasks in all, the last one's label)

    Raises UnknownDerivation for a layer that is not registered.
    """
    names = None if layers is None else [registry[name].name for name in layers]
    whole = names is None and isinstance(architectures, int)
    first = seed * _SEEDS
    seeds = range(first, first + architectures) if isinstance(architectures, int) else list(architectures)
    fitting = names is None or any(registry[name].fit for name in names)
    work = tasks(seed, names, seeds if fitting else [], whole)
    checks: list[Check] = []
    seconds: dict[str, float] = defaultdict(float)
    for done, (task, (found, took)) in enumerate(zip(work, _results(work, jobs), strict=True), 1):
        checks += found
        seconds[task.group] += took
        if progress is not None:
            progress(done, len(work), task.label)
    checks = blamed(checks)
    examples, verdicts = judge_examples(checks) if whole else ([], [])
    return Record(
        title="Cross-validation",
        seed=seed,
        checks=(*verdicts, *checks),
        examples=tuple(examples),
        command=_command(seed, architectures, names),
        environment=environment(),
        seconds=seconds,
    )


def blamed(checks: list[Check]) -> list[Check]:
    """A layer that is built on a wrong one is wrong by its fault: the inner one alone is named."""
    wrong = {check.layer for check in checks if not check.passed}
    found = []
    for check in checks:
        inner = sorted(built_on(check.layer) & wrong) if not check.passed and check.layer in registry else []
        if inner:
            message = f"{check.layer} is built on {inner[0]}, which is wrong. {check.message}".strip()
            check = replace(check, layer=inner[0], message=message)
        found.append(check)
    return found


def built_on(layer: str) -> set[str]:
    """The layers whose formulas a layer's file uses, and those that these use."""
    module = sys.modules[registry[layer].forward.__module__]
    prefix = "handgrad.derivations."
    used = {v.__name__.removeprefix(prefix) for v in vars(module).values() if isinstance(v, ModuleType)}
    direct = {name for name in used if name in registry and name != layer}
    return direct.union(*(built_on(name) for name in direct))


def _results(work: list[Task], jobs: int) -> Iterator[tuple[list[Check], float]]:
    if jobs == 1:  # in this process: sees derivations registered here alone
        return (task() for task in work)
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator")
    results: Iterator[tuple[list[Check], float]] = parallel(joblib.delayed(task)() for task in work)
    return results


def _command(seed: int, architectures: int | Sequence[int], layers: Sequence[str] | None) -> str:
    only = "".join(f" --layer {name}" for name in layers or ())
    if not isinstance(architectures, int):
        return "handgrad crossval" + only + "".join(f" --architecture {n}" for n in architectures)
    return f"handgrad crossval --seed {seed} --architectures {architectures}{only}"


def environment() -> dict[str, str]:
    """What a result may depend on."""
    return {
        "handgrad": handgrad.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "long double": f"{np.finfo(np.longdouble).nmant + 1} bits of significand",
    }
