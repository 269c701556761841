"""One point after another: what the target gave there, what is right, and how far apart rounding allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from handgrad._errors import InputError, require
from handgrad.checking import compare, precision
from handgrad.checking.differences import Difference
from handgrad.checking.evidence import Evidence
from handgrad.checking.findings import Finding
from handgrad.checking.tolerances import DEVIATIONS, ROUNDED
from torch_ext.checker.arrays import (
    Array,
    Later,
    all_widened,
    array,
    as_dtype,
    comparable,
    cotangent,
    differentiable,
    gradient_array,
    lowest,
    tensor,
)
from torch_ext.checker.corners import (
    Beside,
    bounded_nearby,
    ill_posed,
    kink_noise,
    one_sided,
    own_formula,
)
from torch_ext.checker.domains import strict
from torch_ext.checker.meaning import broadcasts
from torch_ext.checker.paths import Paths
from torch_ext.checker.probes import GROWTH, Probe
from torch_ext.checker.recorder import BackwardRaises, Raw
from torch_ext.checker.subject import Result, Subject
from torch_ext.checker.truth import Truth, sentence
from torch_ext.limits import Limit, Scale, limits
from torch_ext.oracles import Results

_GROSS = 2.0**-30  # of the largest element
# of the largest element: an error that may be a formula's own rounding
_SMALL = {"float64": 2.0**-26, "float32": 2.0**-8}
_SINGULAR = 2.0**40  # times as large as on the inputs given
_TYPICAL = 64.0  # roundings of a usual output
_GROSS_OUTPUT = 1e-3  # where a reference may take another, stabler way


@dataclass
class Pass:
    """One probe in one dtype; ``casting``: that of floating constants and buffers, too."""

    probe: Probe
    dtype: str
    result: Result
    evidence: Evidence
    differences: dict[str, Difference]
    casting: torch.dtype | None = None


class Passes:
    """All that was seen: ``seen``, what each backward itself did (``raw``), and findings on outputs."""

    def __init__(self, subject: Subject, truth: Truth, seed: int, tolerance: float = 1.0) -> None:
        self.subject, self.truth, self.seed, self.tolerance = subject, truth, seed, tolerance
        self.names = list(subject.variables)
        self.low = lowest({n: v.dtype for n, v in subject.variables.items()})
        self.seen: list[Pass] = []
        self.raw: list[Raw] = []
        self.found: list[Finding] = []
        self.raised: Finding | None = None  # of a backward pass that raises on a probe
        self.strict: dict[str, str] = {}  # variables that must stay inside a domain
        self._broadcasts: Counter[str] | None = None  # on the inputs given

    def given(self, probe: Probe, vouching: bool = True) -> Pass:
        """The inputs given, on which the target has to run."""
        try:
            result, cotangents = self._analytic(probe, self.low)
        except (InputError, BackwardRaises):
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
            vouching,
        )
        wide = all_widened(cotangents)
        self.strict = strict(self.truth, probe.variables, wide, probe.constants)
        made = self._judged(self.marked(probe), self.low, result, cotangents)
        require(made is not None, "the truth is finite on the inputs given", "NaN or infinity", "give others")
        assert made is not None
        return made

    def at(self, probe: Probe, dtype: str) -> Pass | None:
        """A probe, in some dtype. One that the target refuses, or that leaves its domain, is no finding."""
        if self.truth.numerical and (probe.kink or self._extreme(probe)):
            return None  # differences across a kink, or of huge numbers, are no derivative
        if probe.grown and self._broadcasts_otherwise(probe):
            return None
        try:
            result, cotangents = self._analytic(probe, dtype)
        except BackwardRaises as error:
            self._note_raised(probe, dtype, error)
            return None
        except Exception:  # an InputError of the target's own among them
            return None
        if not _finite(result) or not any(y.numel() for y in result.outputs):
            return None  # nothing to differentiate tells no domain either
        return self._judged(self.marked(probe), dtype, result, cotangents)

    def _several_grown(self, probe: Probe) -> bool:
        first = self.seen[0].probe
        return sum(v.shape != first.variables[n].shape for n, v in probe.variables.items()) > 1

    def _note_raised(self, probe: Probe, dtype: str, error: BackwardRaises) -> None:
        """A backward that raises on usual numbers, in a dtype and shapes that it takes, is a mistake."""
        usual = not (probe.kink or probe.grown or probe.foreign)
        if self.raised is not None or not usual or all(p.dtype != dtype for p in self.seen):
            return
        try:
            outputs = self.truth.outputs(
                {n: v.clone() for n, v in probe.variables.items()}, probe.constants, torch.float64
            )
        except Exception:
            return
        if _finite(Result(outputs, {})):
            text = f"{error.where} raises {sentence(error)}, on {probe.label}, on which the forward pass runs"
            self.raised = Finding("unknown", "backward", text, {"on": probe.label})

    def _broadcasts_otherwise(self, probe: Probe) -> bool:
        """Whether other axes of length one meet longer ones than on the inputs given."""
        if sum(isinstance(a, Tensor) for a in self.subject.arguments) == len(self.subject.variables) == 1:
            return False  # one tensor: whatever broadcasts, it made itself
        if self._broadcasts is None:
            given = self.seen[0].probe
            self._broadcasts = broadcasts(self.subject, given.variables, given.constants) or Counter()
        here = broadcasts(self.subject, probe.variables, probe.constants)
        return here is None or here != self._broadcasts

    def marked(self, probe: Probe) -> Probe:
        """The probe, and whether some element lies at the end of its domain, where only a reference says
        what is right."""
        ends = [
            v
            for n, v in probe.variables.items()
            if n in self.strict and bool(((v == 0) | ((v == 1) & (self.strict[n] == "unit"))).any())
        ]
        return replace(probe, end=True) if ends and self.truth.native else probe

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
        count = len(result.outputs)
        if self.truth.native and not probe.end and (result.raw.custom or self.subject.pair is not None):
            near = bounded_nearby(self.truth, probe, wide, result, exact[count:], self.seed)
            exact[count:] = near
        analytic: dict[str, Array | None] = {}
        for i, n in enumerate(names):  # where the truth itself is not finite, there is nothing to say
            a = gradient_array(result.gradients[n], exact[count + i])
            if probe.end and a is not None and a.shape == exact[count + i].shape:
                a = np.where(np.isnan(a), a, exact[count + i])
            analytic[n], exact[count + i] = comparable(a, exact[count + i])
        truth = Results([*exact[:count]], [*exact[count:]])
        if not all(np.all(np.isfinite(t)) for t in exact) or self._other_meaning(
            probe, result, exact[count:]
        ):
            return None
        if 1 in probe.grown and result.raw.wrong_shapes and self._several_grown(probe):
            return None  # the length of one was there to broadcast
        if probe.grown and len(result.raw.wrong_shapes) > 1 and not self.raw[0].wrong_shapes:
            return None  # lengths belong together that were changed apart
        if self._singular(probe, exact[count:]):
            return None
        if probe.grown and self._unused(result, exact[count:]):
            return None  # an argument that the forward pass does not use: nothing tells its length

        kinds = {str(i): y.dtype for i, y in enumerate(result.outputs) if differentiable(y)}
        # a target may compute in less than its inputs have
        precise = lowest(kinds | {"": getattr(torch, dtype)})

        def limited(draws: int) -> list[Limit]:
            made = limits(
                evaluate,
                values,
                truth,
                precise,
                max((v.size for v in values if v is not None), default=1),
                np.random.default_rng(self.seed),
                fixed=range(len(names)) if probe.kink else (),
                arguments=[*(None for _ in truth.outputs), *values[: len(names)]],
                scale=Scale.of(values[len(names) :], truth.outputs, [*values, *truth.outputs]),
                draws=draws,
            )
            for limit in made:
                limit.widen(self.tolerance)
            for n, limit in zip(names, made[count:], strict=True):
                if self.truth.numerical:
                    limit.allowed, limit.refined = _due(limit.allowed) + 4 * errors[n], None
            return made

        results = [*(array(y) for y in result.outputs), *(analytic[n] for n in names)]
        equal = all(a is not None and np.array_equal(a, t) for a, t in zip(results, exact, strict=True))
        each = [] if equal else limited(1)  # the rest of the effort only where that decides
        if (probe.grown or probe.foreign) and not self.truth.native and not _agree(each[:count], results):
            return None  # another function there than the reference: it was never meant for that
        judged = (limit.judge(a) for limit, a in zip(each, [] if equal else results, strict=True))
        if not all(d is None or d.passed for d in judged):
            each = limited(3)
            if probe.kink and ill_posed(evaluate, values, exact[:count], self.seed):
                return None
            if probe.kink:
                kink_noise(evaluate, values, exact, each, precise, self.seed)
        self.raw.append(result.raw)
        if equal:  # how far apart they might be is asked only by a diagnosis
            differences = {n: Difference(True) for n in names}
            truths = dict(zip(names, exact[count:], strict=True))
            allowed: Mapping[str, Array] = Later(
                names, lambda: [_due(limit.allowed) for limit in limited(1)[count:]]
            )
        else:
            bounds = {n: each[count + i] for i, n in enumerate(names)}
            dys = [None if dy is None else array(dy) for dy in wide]
            beside = Beside(
                self.truth,
                probe,
                wide,
                self.seed,
                lambda variables: self._backward(replace(probe, variables=variables), dtype, dys, wide),
            )
            differences = {
                n: self._difference(probe, bounds[n], analytic[n], n, wide, precise, beside) for n in names
            }
            self._outputs(probe, result, each[:count])
            truths = {n: _due(b.truth) for n, b in bounds.items()}
            allowed = {n: _due(b.allowed) for n, b in bounds.items()}

        def vjp(dys: Sequence[Array | None]) -> dict[str, Array]:
            found = evaluate([*values[: len(names)], *dys], torch.float64)[count:]
            return {n: t for n, t in zip(names, found, strict=True) if t is not None}

        evidence = Evidence(
            label=probe.label,
            analytic=analytic,
            truth=truths,
            allowed=allowed,
            inputs={n: array(v) for n, v in probe.variables.items()} | self._floats(probe.constants),
            outputs=[array(y) for y in result.outputs],
            cotangents=[None if dy is None else array(dy) for dy in wide],
            vjp=vjp,
            unit=precision(precise).unit,
            backward=lambda dys: self._backward(probe, dtype, dys, wide),
            kink=probe.kink,
            paths=None if self.truth.numerical else partial(self._paths, probe, wide),
        )
        made = Pass(probe, dtype, result, evidence, differences, self._casting(dtype))
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
        self,
        probe: Probe,
        limit: Limit,
        a: Array | None,
        name: str,
        wide: list[Tensor | None],
        dtype: str,
        beside: Beside,
    ) -> Difference:
        found = limit.judge(a)
        if found is None or found.passed:
            return Difference(True) if found is None else found
        truth = _due(limit.truth)
        if a is None or a.shape != truth.shape:
            return found if np.any(truth) or a is not None else Difference(True)
        if limit.refined is not None:
            limit.allowed = limit.refined()
        elif dtype != "float64":
            limit.allowed = _due(limit.allowed) + self.tolerance * own_formula(
                self.truth, self.subject, probe, name, wide, dtype
            )
            found = compare(a, truth, limit.allowed, precision(dtype))
        limit.allowed = _due(limit.allowed) + beside.approximations[name]
        if self._extreme(probe):  # how large the values on the way are is not known: what is gross counts
            limit.allowed = limit.allowed + _GROSS * float(np.max(np.abs(truth), initial=0.0))
        found = compare(a, truth, limit.allowed, precision(dtype))
        largest = float(np.max(np.abs(truth), initial=0.0))
        if not found.passed and found.max_abs_error < _SMALL.get(dtype, 0.0) * largest:
            limit.allowed = limit.allowed + DEVIATIONS * beside.jitter[name]
            found = compare(a, truth, limit.allowed, precision(dtype))
        if not self.truth.native and self.seen:
            # a reference's own constants, such as the eps at a pole, may be float32 numbers
            typical = float(np.max(np.abs(self.seen[0].evidence.truth[name]), initial=0.0))
            pole = np.abs(truth) > 2.0**26 * typical
            limit.allowed = _due(limit.allowed) + np.where(pole, 2.0**-20 * np.abs(truth), 0.0)
            found = compare(a, truth, limit.allowed, precision(dtype))
        if self.truth.native:  # without a reference, all that lies between is right at a kink
            low, high = one_sided([each[name] for each in beside.around], probe)
            ends = np.maximum(np.abs(low), np.abs(high))
            bound = _due(limit.allowed) + ROUNDED * precision(dtype).unit * ends
            inside = np.clip(a, low - bound, high + bound)
            limit.truth = np.where((low < high) & (inside == a), a, truth)
            return compare(a, limit.truth, bound, precision(dtype))
        near = [each[name] for each in beside.around[1:]] if probe.kink and not found.passed else []
        if near:
            limit.truth = _without_artefacts(truth, a, near, limit, probe)
            return compare(a, limit.truth, limit.allowed, precision(dtype))
        return found

    def _extreme(self, probe: Probe) -> bool:
        def largest(p: Probe) -> float:
            return max((float(v.abs().max()) for v in p.variables.values() if v.numel()), default=0.0)

        return largest(probe) >= 40 > (largest(self.seen[0].probe) if self.seen else 40)

    def _other_meaning(self, probe: Probe, result: Result, exact: Sequence[Array]) -> bool:
        """Whether longer inputs are no longer the same function: they broadcast, or a part is not used."""
        if not self.seen or not probe.grown:
            return False
        first = self.seen[0]
        tensors = len(first.evidence.inputs)
        for y, before in zip(result.outputs, first.result.outputs, strict=False):
            if y.ndim != before.ndim:
                return True
            if (
                1 in probe.grown
                and tensors > 1
                and any(n not in (m, m + GROWTH) for n, m in zip(y.shape, before.shape, strict=True))
            ):
                return True
        for name, t in zip(self.names, exact, strict=True):
            for axis, (n, m) in enumerate(zip(t.shape, first.evidence.truth[name].shape, strict=True)):
                if n > m and not np.any(np.take(t, range(m, n), axis)):
                    return True
        return False

    def _singular(self, probe: Probe, exact: Sequence[Array]) -> bool:
        """Whether inputs of usual size make a system that has no solution, so that rounding alone decides."""
        if not self.seen or self._extreme(probe):
            return False
        usual = self.seen[0].evidence.truth
        return any(
            float(np.max(np.abs(t), initial=0.0))
            > _SINGULAR * (1 + float(np.max(np.abs(usual[n]), initial=0.0)))
            for n, t in zip(self.names, exact, strict=True)
        )

    def _unused(self, result: Result, exact: Sequence[Array]) -> bool:
        """Whether a shape is wrong of an argument on which no output depends."""
        wrong = result.raw.wrong_shapes
        return any(n in wrong and not np.any(t) for n, t in zip(self.names, exact, strict=True))

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

    def _paths(
        self, probe: Probe, like: list[Tensor | None], name: str, dys: Sequence[Array | None]
    ) -> Paths:
        cotangents = [None if dy is None else tensor(dy, y) for dy, y in zip(dys, like, strict=True)]
        return Paths(self.truth, probe.variables, cotangents, probe.constants, name)

    def _outputs(self, probe: Probe, result: Result, each: list[Limit]) -> None:
        """With a reference, the outputs are compared, too."""
        if self.truth.native or self.found:
            return
        for i, (y, limit) in enumerate(zip(result.outputs, each, strict=True)):
            found = limit.judge(array(y))
            if found is not None and self._extreme(probe) and found.max_rel_error < _GROSS_OUTPUT:
                continue
            usual = float(np.max(np.abs(self.seen[0].evidence.outputs[i]), initial=0.0)) if self.seen else 0.0
            if found is not None and found.max_abs_error <= _TYPICAL * _unit(y) * usual:
                continue  # constants of that size are rounded on the way
            if found is not None and not found.passed:
                where = "the output" if len(each) == 1 else f"output {i}"
                self.found.append(
                    Finding(
                        "forward",
                        where,
                        _another(where, found, probe),
                        {"error": found.max_abs_error, "on": probe.label},
                    )
                )
                return


def _without_artefacts(truth: Array, a: Array, near: Sequence[Array], limit: Limit, probe: Probe) -> Array:
    """A reference's convention at a kink lies between the derivatives to its sides. What does not, is an
    artefact of how it was written (a guard against 0 that cuts a path): there what lies between is right."""
    low, high = one_sided(near, probe)
    bound = _due(limit.allowed) + 1e-6 * np.maximum(np.abs(low), np.abs(high))
    apart = (truth < low - bound) | (truth > high + bound)
    between = (a >= low - bound) & (a <= high + bound)
    return np.where(apart & between, a, truth)


def _another(where: str, found: Difference, probe: Probe) -> str:
    if found.analytic is None:
        return f"{where} is another one than the reference's on {probe.label}: {found.message}"
    at = f"at {list(found.worst_index)} " if found.worst_index else ""
    values = f"{found.analytic:.6g} where the reference gives {found.reference:.6g}"
    return f"{where} is {values}, {at}on {probe.label}"


def _unit(y: Tensor) -> float:
    return float(torch.finfo(y.dtype).eps) / 2 if differentiable(y) else 0.0


def _agree(limits: Sequence[Limit], results: Sequence[Array | None]) -> bool:
    judged = (limit.judge(y) for limit, y in zip(limits, results, strict=False))
    return all(found is None or found.passed for found in judged)


def _finite(result: Result) -> bool:
    return all(bool(torch.isfinite(y).all()) for y in result.outputs if differentiable(y))


def _due(a: Array | None) -> Array:
    assert a is not None  # every variable has a truth here
    return a
