"""``torch_ext.check`` beside both modes of ``torch.autograd.gradcheck``, on a linear layer: time, forward
passes, and which planted mistakes are found. And a check of a whole model beside the model's own step."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, gradcheck

import torch_ext
from handgrad._errors import InputError

Progress = Callable[[int, int, str], None]
Layer = Callable[..., Tensor]

SLOPE = 0.2  # of the leaky ReLU


@dataclass
class Timed:
    """Seconds of each repetition."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        return min(self.seconds), max(self.seconds)


@dataclass
class Row:
    """One way of checking. ``passes``: calls of the layer, forward; ``found``: by mistake, whether the way
    says that something is wrong; for right code, whether it passes."""

    way: str
    time: Timed = field(default_factory=Timed)
    passes: int = 0
    found: dict[str, bool] = field(default_factory=dict)


def linear(change: Callable[..., tuple[Tensor, ...]] | None = None) -> Layer:
    """A linear layer with a hand-written backward; ``change(dx, dw, db, dy)`` plants a mistake."""

    class Linear(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            ctx.save_for_backward(x, weight)
            return torch.nn.functional.linear(x, weight, bias)

        @staticmethod
        def backward(ctx: Any, dy: Tensor) -> Any:
            x, weight = ctx.saved_tensors
            gradients = dy @ weight, dy.mT @ x, dy.sum(0)
            return gradients if change is None else change(*gradients, dy)

    return Linear.apply


class LeakyReLU(Function):
    """Right for positive inputs, and without the slope for negative ones."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x > 0, x, SLOPE * x)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, dy, 0.0)


def _one_element(dx: Tensor, dw: Tensor, db: Tensor, _: Tensor) -> tuple[Tensor, ...]:
    dw = dw.clone()
    dw[-1, 0] *= 1.01
    return dx, dw, db


def _zeroed_row(dx: Tensor, dw: Tensor, db: Tensor, _: Tensor) -> tuple[Tensor, ...]:
    dw = dw.clone()
    dw[-1] = 0
    return dx, dw, db


def _in_place(dx: Tensor, dw: Tensor, db: Tensor, dy: Tensor) -> tuple[Tensor, ...]:
    dy.mul_(2)
    return dx, dw, db


MISTAKES: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "weight × 1.001": lambda dx, dw, db, dy: (dx, 1.001 * dw, db),
    "weight × 1.00001": lambda dx, dw, db, dy: (dx, 1.00001 * dw, db),
    "one element × 1.01": _one_element,
    "one row zero": _zeroed_row,
    "bias not summed": lambda dx, dw, db, dy: (dx, dw, dy),
    "in-place g.mul_(2)": _in_place,
}
RIGHT = {"right, float64": torch.float64, "right, float32": torch.float32, "right, bfloat16": torch.bfloat16}
HIDDEN = "hidden by the inputs"


@dataclass(frozen=True)
class Trial:
    """What is checked: a layer, its inputs, a reference, and whether it is right."""

    name: str
    layer: Layer
    inputs: tuple[Tensor, ...]
    reference: Layer
    right: bool


def trials(size: int, batch: int) -> list[Trial]:
    def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64).to(dtype).requires_grad_()

    g = torch.Generator().manual_seed(0)
    native = torch.nn.functional.linear
    found = [
        Trial(name, linear(), tuple(drawn(*s, dtype=dtype) for s in _shapes(size, batch)), native, True)
        for name, dtype in RIGHT.items()
    ]
    inputs = found[0].inputs
    found += [Trial(name, linear(change), inputs, native, False) for name, change in MISTAKES.items()]
    positive = drawn(batch, size).detach().abs().add(0.1).requires_grad_()
    leaky = LeakyReLU.apply
    return [
        *found,
        Trial(HIDDEN, leaky, (positive,), lambda x: torch.nn.functional.leaky_relu(x, SLOPE), False),
    ]


def _shapes(size: int, batch: int) -> list[tuple[int, ...]]:
    return [(batch, size), (size, size), (size,)]


def _by_check(layer: Layer, trial: Trial) -> bool:
    return torch_ext.check(layer, trial.inputs).passed


def _by_reference(layer: Layer, trial: Trial) -> bool:
    return torch_ext.check(layer, trial.inputs, trial.reference).passed


def _by_gradcheck(layer: Layer, trial: Trial, fast: bool = False) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is made for float64
        return bool(gradcheck(layer, trial.inputs, raise_exception=False, fast_mode=fast))


def _by_fast(layer: Layer, trial: Trial) -> bool:
    return _by_gradcheck(layer, trial, fast=True)


WAYS: dict[str, Callable[[Layer, Trial], bool]] = {
    "check": _by_check,
    "check, with a reference": _by_reference,
    "gradcheck, fast mode": _by_fast,
    "gradcheck, slow mode": _by_gradcheck,
}


def layers(size: int = 64, batch: int = 32, repeat: int = 3, progress: Progress | None = None) -> list[Row]:
    """Every way of checking on Linear(size, size), in turns: ``repeat`` times for its time, and once on
    each planted mistake."""
    rows = [Row(way) for way in WAYS]
    all_trials = trials(size, batch)
    total, done = len(rows) * (repeat + len(all_trials)), 0

    def step(label: str) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total, label)

    first = all_trials[0]
    for way in (_by_check, _by_reference, _by_fast):  # once before: imports, caches
        way(first.layer, first)
    for _ in range(repeat):
        for row in rows:
            calls = _Counted(first.layer)
            start = time.perf_counter()
            WAYS[row.way](calls, first)
            row.time.seconds.append(time.perf_counter() - start)
            row.passes = calls.count
            step(row.way)
    for trial in all_trials:
        for row in rows:
            row.found[trial.name] = _passes(WAYS[row.way], trial) == trial.right
            step(f"{row.way}: {trial.name}")
    return rows


class _Counted:
    def __init__(self, layer: Layer) -> None:
        self.layer, self.count = layer, 0

    def __call__(self, *inputs: Tensor) -> Tensor:
        self.count += 1
        return self.layer(*inputs)


def _passes(way: Callable[[Layer, Trial], bool], trial: Trial) -> bool:
    try:
        return way(trial.layer, trial)
    except Exception:
        return False


OURS = tuple(WAYS)[:2]


# --- whole models ---------------------------------------------------------------------------------


@dataclass
class ModelRow:
    """A check of a model beside its own step. ``bytes``, ``step_bytes``: the largest memory of the process
    beyond that of an idle one. ``named``: what was found, and in which layer."""

    what: str
    parameters: int
    check: Timed
    step: Timed
    bytes: int
    step_bytes: int
    passed: bool
    named: list[str]

    @property
    def right(self) -> bool:
        """Whether the model is."""
        return RUNS[self.what][1]

    @property
    def times(self) -> float:
        return self.check.median / self.step.median

    @property
    def memory(self) -> float:
        return self.bytes / self.step_bytes


RUNS = {
    "right, with a reference": ("reference", True),
    "right": ("alone", True),
    "one layer wrong, with a reference": ("reference", False),
    "one layer wrong": ("alone", False),
}


def model(size: str = "small", repeat: int = 3, progress: Progress | None = None) -> list[ModelRow]:
    """A transformer with a hand-written activation in each block; ``size`` "full": 100 M parameters. Each
    way of checking has a process of its own, with a step before each check; one more process makes steps
    alone, so that both peaks of memory are seen."""
    rows, total = [], len(RUNS) + 1

    def told(done: int, label: str) -> None:
        if progress is not None:
            progress(done, total, label)

    told(0, "the model's own step")
    step = _process("step", size, True, repeat)
    for i, (what, (mode, right)) in enumerate(RUNS.items()):
        told(i + 1, what)
        made = _process(mode, size, right, repeat)
        rows.append(
            ModelRow(
                what,
                made["parameters"],
                Timed(made["seconds"]),
                Timed(made["step_seconds"]),
                made["bytes"],
                step["bytes"],
                made["passed"],
                made["named"],
            )
        )
    told(total, "")
    return rows


def _process(mode: str, size: str, right: bool, repeat: int) -> dict[str, Any]:
    arguments = [sys.executable, "-m", "torch_ext.bench.model", mode, size, str(int(right)), str(repeat)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(
            f"a model of that size must fit into memory; received {last!r}; "
            "close other programs, or leave out --full."
        )
    return dict(json.loads(done.stdout))


def to_dict(rows: Sequence[Row], models: Sequence[ModelRow]) -> dict[str, Any]:
    """Plain JSON, with the ratios that are printed."""
    return {
        "layer": [
            {
                "way": row.way,
                "seconds": row.time.seconds,
                "median": row.time.median,
                "times slower than check": row.time.median / rows[0].time.median,
                "forward passes": row.passes,
                "right verdict": row.found,
            }
            for row in rows
        ],
        "model": [
            {
                "what": m.what,
                "parameters": m.parameters,
                "seconds": m.check.seconds,
                "step seconds": m.step.seconds,
                "times its step": m.times,
                "times its memory": m.memory,
                "passed": m.passed,
                "found": m.named,
            }
            for m in models
        ],
    }
