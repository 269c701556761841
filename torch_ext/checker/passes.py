"""One point after another: what the target gave there, what is right, and how far apart rounding allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from handgrad._errors import InputError, require
from handgrad.checking import compare, precision
from handgrad.checking.differences import Difference
from handgrad.checking.evidence import Evidence
from handgrad.checking.findings import Finding
from torch_ext.checker.arrays import (
    Array,
    all_widened,
    array,
    as_dtype,
    comparable,
    cotangent,
    differentiable,
    gradient_array,
    lowest,
    normal,
    tensor,
)
from torch_ext.checker.probes import Probe
from torch_ext.checker.recorder import Raw
from torch_ext.checker.subject import Result, Subject
from torch_ext.checker.truth import Truth, sentence
from torch_ext.limits import Limit, Scale, limits
from torch_ext.oracles import Results


@dataclass
class Pass:
    """One probe in one dtype."""

    probe: Probe
    dtype: str
    result: Result
    evidence: Evidence
    differences: dict[str, Difference]


class Passes:
    """All that was seen: ``seen``, what each backward itself did (``raw``), and findings on outputs."""

    def __init__(self, subject: Subject, truth: Truth, seed: int) -> None:
        self.subject, self.truth, self.seed = subject, truth, seed
        self.names = list(subject.variables)
        self.low = lowest({n: v.dtype for n, v in subject.variables.items()})
        self.seen: list[Pass] = []
        self.raw: list[Raw] = []
        self.found: list[Finding] = []

    def given(self, probe: Probe) -> Pass:
        """The inputs given, on which the target has to run."""
        try:
            result, cotangents = self._analytic(probe, self.low)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"a target computes its output and its gradient; received {sentence(error)}; "
                "check that it runs on these inputs."
            ) from error
        require(
            any(differentiable(y) for y in result.outputs),
            "a target has a floating or complex output",
            ", ".join(str(y.dtype) for y in result.outputs),
            "return the output that is differentiated",
        )
        require(
            _finite(result),
            "the target's output is finite on the inputs given",
            "NaN or infinity",
            "give inputs inside its domain",
        )
        self.truth.settle(
            probe.variables,
            all_widened(cotangents),
            probe.constants,
            result.outputs,
            torch.Generator().manual_seed(self.seed + 5),
        )
        made = self._judged(probe, self.low, result, cotangents)
        require(made is not None, "the truth is finite on the inputs given", "NaN or infinity", "give others")
        assert made is not None
        return made

    def at(self, probe: Probe, dtype: str) -> Pass | None:
        """A probe, in some dtype. One that the target refuses, or that leaves its domain, is no finding."""
        try:
            result, cotangents = self._analytic(probe, dtype)
        except InputError:
            raise
        except Exception:
            return None
        return self._judged(probe, dtype, result, cotangents) if _finite(result) else None

    def _analytic(self, probe: Probe, dtype: str) -> tuple[Result, list[Tensor | None]]:
        kind = getattr(torch, dtype)
        g = torch.Generator().manual_seed(self.seed + 1 + len(self.seen))
        cotangents: list[Tensor | None] = []

        def draw(outputs: list[Any]) -> list[Tensor | None]:
            cotangents[:] = [cotangent(y, g) for y in outputs]
            return cotangents

        variables = {n: as_dtype(v, kind) for n, v in probe.variables.items()}
        result = self.subject.analytic(variables, draw, probe.constants, dtype=self._casting(dtype))
        return result, cotangents

    def _casting(self, dtype: str) -> torch.dtype | None:
        return None if dtype == self.low else getattr(torch, dtype)

    def _judged(
        self, probe: Probe, dtype: str, result: Result, cotangents: list[Tensor | None]
    ) -> Pass | None:
        names, wide = self.names, all_widened(cotangents)

        def evaluate(values: Sequence[Array | None], kind: torch.dtype) -> list[Array | None]:
            variables = {
                n: tensor(v, probe.variables[n]) for n, v in zip(names, values, strict=False) if v is not None
            }
            dys = [
                None if v is None else tensor(v, like)
                for v, like in zip(values[len(names) :], wide, strict=True)
            ]
            outputs, gradients = self.truth(variables, dys, probe.constants, kind)
            return [*outputs, *(gradients[n] for n in names)]

        values: list[Array | None] = [
            *(array(probe.variables[n]) for n in names),
            *(None if dy is None else array(dy) for dy in wide),
        ]
        try:
            exact = [t for t in evaluate(values, torch.float64) if t is not None]
        except Exception:
            return None
        errors = dict(self.truth.errors)
        self.raw.append(result.raw)
        count = len(result.outputs)
        analytic: dict[str, Array | None] = {}
        for i, n in enumerate(names):  # where the truth itself is not finite, there is nothing to say
            a = gradient_array(result.gradients[n], exact[count + i])
            analytic[n], exact[count + i] = comparable(a, exact[count + i])
        truth = Results([*exact[:count]], [*exact[count:]])
        if not all(np.all(np.isfinite(t)) for t in exact):
            return None
        each = limits(
            evaluate,
            values,
            truth,
            dtype,
            max((v.size for v in values if v is not None), default=1),
            np.random.default_rng(self.seed),
            fixed=range(len(names)) if probe.kink else (),
            arguments=[*(None for _ in truth.outputs), *values[: len(names)]],
            scale=Scale.of(values[len(names) :], truth.outputs, [*values, *truth.outputs]),
        )
        bounds = {n: each[count + i] for i, n in enumerate(names)}
        if self.truth.numerical:
            for n, bound in bounds.items():
                bound.allowed, bound.refined = _due(bound.allowed) + 4 * errors[n], None
        differences = {n: self._difference(probe, bounds[n], analytic[n], n, wide, dtype) for n in names}
        self._outputs(probe, result, each[:count])

        def vjp(dys: Sequence[Array | None]) -> dict[str, Array]:
            found = evaluate([*values[: len(names)], *dys], torch.float64)[count:]
            return {n: t for n, t in zip(names, found, strict=True) if t is not None}

        evidence = Evidence(
            label=probe.label,
            analytic=analytic,
            truth={n: _due(b.truth) for n, b in bounds.items()},
            allowed={n: _due(b.allowed) for n, b in bounds.items()},
            inputs={n: array(v) for n, v in probe.variables.items()} | self._floats(probe.constants),
            outputs=[array(y) for y in result.outputs],
            cotangents=[None if dy is None else array(dy) for dy in wide],
            vjp=vjp,
            unit=precision(dtype).unit,
            backward=lambda dys: self._backward(probe, dtype, dys, wide),
            kink=probe.kink,
        )
        made = Pass(probe, dtype, result, evidence, differences)
        self.seen.append(made)
        return made

    def _floats(self, constants: dict[int, Any]) -> dict[str, Array]:
        names = self.subject.argument_names
        return {
            names[i]: array(c).astype(float)
            for i, c in constants.items()
            if isinstance(c, Tensor) and c.numel()
        }

    def _difference(
        self, probe: Probe, limit: Limit, a: Array | None, name: str, wide: list[Tensor | None], dtype: str
    ) -> Difference:
        found = limit.judge(a)
        if found is None or found.passed:
            return Difference(True) if found is None else found
        truth = _due(limit.truth)
        if a is None or a.shape != truth.shape:
            return found if np.any(truth) or a is not None else Difference(True)
        if limit.refined is not None:
            limit.allowed = limit.refined()
        if self.truth.native:  # without a reference, all that lies between is right at a kink
            low, high = self._one_sided(probe, name, wide)
            bound = _due(limit.allowed)
            inside = np.clip(a, low - bound, high + bound)
            limit.truth = np.where((low < high) & (inside == a), a, truth)
            return compare(a, limit.truth, bound, precision(dtype))
        return found

    def _one_sided(self, probe: Probe, name: str, wide: list[Tensor | None]) -> tuple[Array, Array]:
        """The least and the largest gradient very near this point: apart only at a kink."""
        g = torch.Generator().manual_seed(self.seed)
        seen = []
        for _ in range(3):
            step = {n: 1e-9 * (1 + v.abs()) * normal(v, g) for n, v in probe.variables.items()}
            for side in (1, -1):
                moved = {n: v + side * step[n] for n, v in probe.variables.items()}
                try:
                    seen.append(self.truth(moved, wide, probe.constants, torch.float64)[1][name])
                except Exception:
                    continue
        here = self.truth(probe.variables, wide, probe.constants, torch.float64)[1][name]
        low, high = np.minimum.reduce([here, *seen]), np.maximum.reduce([here, *seen])
        smooth = high - low <= 1e-6 * (np.abs(here) + np.max(np.abs(here), initial=0.0))
        return np.where(smooth, here, low), np.where(smooth, here, high)

    def _backward(
        self, probe: Probe, dtype: str, dys: Sequence[Array | None], like: list[Tensor | None]
    ) -> dict[str, Array | None]:
        """The target's own gradients for another incoming gradient."""
        kind = getattr(torch, dtype)
        variables = {n: as_dtype(v, kind) for n, v in probe.variables.items()}
        incoming = [
            None if dy is None else as_dtype(tensor(dy, y), kind) for dy, y in zip(dys, like, strict=True)
        ]
        result = self.subject.analytic(variables, incoming, probe.constants, dtype=self._casting(dtype))
        due = {n: array(v) for n, v in probe.variables.items()}
        return {n: gradient_array(result.gradients[n], due[n]) for n in self.names}

    def _outputs(self, probe: Probe, result: Result, each: list[Limit]) -> None:
        """With a reference, the outputs are compared, too."""
        if self.truth.native or self.found:
            return
        for i, (y, limit) in enumerate(zip(result.outputs, each, strict=True)):
            found = limit.judge(array(y))
            if found is not None and not found.passed:
                where = "the output" if len(each) == 1 else f"output {i}"
                self.found.append(
                    Finding(
                        "forward",
                        where,
                        f"{where} is {found.analytic} where the reference gives {found.reference}, at "
                        f"{list(found.worst_index or ())} on {probe.label} {found.message}",
                        {"error": found.max_abs_error, "on": probe.label},
                    )
                )
                return


def _finite(result: Result) -> bool:
    return all(bool(torch.isfinite(y).all()) for y in result.outputs if differentiable(y))


def _due(a: Array | None) -> Array:
    assert a is not None  # every variable has a truth here
    return a
