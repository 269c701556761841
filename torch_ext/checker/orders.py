"""Second derivatives and forward mode, as first derivatives of another function.

Let g(x, u) = Jᵀu be the gradients of a target, as a function of its inputs x and the incoming gradient u.
Double backward is the gradient of <v, g> with respect to x and u; a jvp is that with respect to u alone,
J v, since <u, J v> = <Jᵀu, v>. So both are checked as any first derivative is, with the same tolerances
and the same diagnosis: g of the target against g of the truth, differentiated by autograd.

Points are off kinks: there a first derivative jumps, and a second one is whatever a convention says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from handgrad._errors import InputError, require
from handgrad.checking.findings import Finding
from torch_ext.checker.arrays import lowest, tensor, widened
from torch_ext.checker.budget import Budget
from torch_ext.checker.formula import formulas, uncut
from torch_ext.checker.passes import Passes
from torch_ext.checker.probes import Around, Probe, probes
from torch_ext.checker.recorder import BackwardRaises
from torch_ext.checker.subject import Subject, Variables
from torch_ext.checker.truth import Truth, sentence, shrunk
from torch_ext.checker.verdict import verdict

_INCOMING = "incoming-gradient"  # u, until a finding is told; no argument has such a name
_FIRST = ("forward", "mutates")  # what a check of the first derivative says of g
_MOVED = 0.02  # of an input, by which it leaves a kink
_POINTS = 5  # besides the inputs given

Outputs = Callable[[Variables, torch.dtype | None], list[Tensor]]
Checked = tuple[list[Finding], list[str]]  # findings and notes


def second_order(passes: Passes, right: Sequence[str], left: Budget) -> Checked:
    """Double backward, through the gradients that are ``right`` (what is wrong there is wrong twice)."""
    what = "second derivatives are not checked"
    if passes.truth.numerical:
        return [], [f"{what}: the truth is numerical here; give a reference that autograd differentiates"]
    if not right:
        return [], [f"{what}: the first derivatives are wrong"]
    gradients = Gradients(passes, right)
    found, why = _double_backward(gradients, left)
    if found and not passes.truth.native:
        # a reference's second derivative may be an approximation, such as one that adds an eps at a pole:
        # that of the target's own formula is right, too, where its first derivative is
        own = Gradients(passes, right, Truth(passes.subject, native=True))
        if _double_backward(own, left) == ([], ""):
            found = []
    found = [f for f in found if f.kind not in _FIRST]

    def words(f: Finding) -> str:
        text = f.message
        if f.kind == "zero":
            text = text.partition(":")[0] + ": is the backward marked once_differentiable, or detached?"
        return f"in the second derivative (double backward): {text}"

    found = [gradients.retold(f, "grad_output", "the gradient of", "v of") for f in found]
    named = [replace(f, message=words(f), details={**f.details, "order": 2}) for f in found]
    return named, [f"{what}: {why}"] if why else []


def _double_backward(gradients: Gradients, left: Budget) -> tuple[list[Finding], str]:
    target, truth = gradients.subject(gradients.of_target), gradients.subject(gradients.of_truth)
    return _compared(gradients, target, truth, left)


def forward_mode(passes: Passes, left: Budget) -> Checked:
    """``jvp``. Raises InputError for a target that has none."""
    require(
        passes.subject.pair is None,
        "forward mode is checked of a target that has one",
        "a pair (forward, backward)",
        "give a Function with a jvp, or leave forward_mode out",
    )
    what = "forward mode is not checked"
    if passes.truth.numerical:
        return [], [f"{what}: the truth is numerical here; give a reference that autograd differentiates"]
    gradients = Gradients(passes, list(passes.subject.variables))
    reference = gradients.subject(gradients.linear)
    target = gradients.subject((lambda *flat: (gradients.linear(*flat), flat), gradients.tangents))
    found, why = _compared(gradients, target, reference, left)
    found = [f for f in found if f.kind not in _FIRST]
    found = [gradients.retold(f, "the output", "the input", "the tangent of") for f in found]
    named = [
        replace(
            f,
            where="jvp" if f.where == "backward" else f.where,
            message="in forward mode (jvp): "
            + f.message.replace("the gradient of the output", "J v of the output").replace(
                "over the outputs", "over the inputs"
            ),
            details={**f.details, "mode": "forward"},
        )
        for f in found
    ]
    return named, [f"{what}: {why}"] if why else []


class Gradients:
    """g(x, u) = Jᵀu for the variables ``of``: the target's own, and the truth's. Its variables are those of
    the target, and the incoming gradients."""

    def __init__(self, passes: Passes, of: Sequence[str], truth: Truth | None = None) -> None:
        self.passes, self.of, first = passes, list(of), passes.seen[0]
        self.own, self.truth = passes.subject, truth or passes.truth
        self.constants = first.probe.constants
        self.inputs = list(self.own.variables)
        pairs = list(zip(first.evidence.cotangents, first.result.outputs, strict=True))
        self.at = [i for i, (dy, _) in enumerate(pairs) if dy is not None]
        self.incoming = [_INCOMING if len(self.at) == 1 else f"{_INCOMING} {i}" for i in self.at]
        self.names = [*self.inputs, *self.incoming]
        dys = [(tensor(dy, y), y) for dy, y in pairs if dy is not None]
        self.variables = {n: v.detach() for n, v in self.own.variables.items()}
        self.variables |= {n: dy.to(y.dtype) for n, (dy, y) in zip(self.incoming, dys, strict=True)}
        self.low = lowest({n: v.dtype for n, v in self.variables.items()})

    def subject(self, target: Any) -> Subject:
        """``target``, a function of all variables in their order, by their names."""
        made = Subject(
            target, [v.clone().requires_grad_() for v in self.variables.values()], self.passes.seed
        )
        made.argument_names = self.names
        made.variables = {n: v.clone() for n, v in self.variables.items()}
        return made

    def retold(self, f: Finding, incoming: str, output: str, cotangent: str) -> Finding:
        """A finding in the target's words. What is an output there is the gradient of an input here, its
        cotangent is v, and u the ``incoming`` gradient."""

        def told(text: str) -> str:
            for i, name in reversed(list(enumerate(self.of))):
                text = text.replace(f"grad_output {i}", f"{cotangent} {name}")
                text = re.sub(rf"\boutput {i}\b(?!:)", f"{output} {name}", text)
            text = text.replace("grad_output", f"{cotangent} {self.of[0]}" if len(self.of) == 1 else "v")
            return text.replace(_INCOMING, incoming)

        details = {told(k): told(v) if isinstance(v, str) else v for k, v in f.details.items()}
        return Finding(f.kind, told(f.where), told(f.message), details)

    # --- g, four times ----------------------------------------------------------------------------

    def of_target(self, *flat: Tensor) -> tuple[Tensor, ...]:
        """The target's own backward, recorded for another one."""
        if self.own.pair is not None:
            return self._by_pair(*flat)
        try:
            return self._gradients(lambda x, kind: self.own.call(x, self.constants, kind), flat)
        except InputError:
            raise
        except Exception as error:
            raise BackwardRaises("backward", error) from error

    def of_truth(self, *flat: Tensor) -> tuple[Tensor, ...]:
        def outputs(x: Variables, kind: torch.dtype | None) -> list[Tensor]:
            return self.truth.outputs(x, self.constants, kind or getattr(torch, self.low))

        with formulas() if self.truth.native else nullcontext():
            return self._gradients(outputs, flat)

    def linear(self, *flat: Tensor) -> tuple[Tensor, ...]:
        """The truth's g, as a function of u alone."""
        count = len(self.inputs)
        return self.of_truth(*(x.detach() for x in flat[:count]), *flat[count:])

    def tangents(self, vs: Any, flat: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        """J v of the target's forward mode: the gradient of <v, g> with respect to u."""
        x = dict(zip(self.inputs, flat, strict=False))
        v = dict(zip(self.of, vs, strict=True))
        with forward_ad.dual_level():
            duals = {
                n: forward_ad.make_dual(t.detach(), v[n].to(t.dtype))  # type: ignore[no-untyped-call]
                for n, t in x.items()
            }
            outputs = self.own.call(duals, self.constants, self._kind(flat))
            found = [forward_ad.unpack_dual(y).tangent for y in outputs]  # type: ignore[no-untyped-call]
        return (*(None for _ in x), *(found[i] for i in self.at))

    def _kind(self, flat: Sequence[Tensor]) -> torch.dtype | None:
        """The dtype of constants and buffers, where it is not their own."""
        kind = lowest(dict(zip(self.names, (x.dtype for x in flat), strict=False)))
        return None if kind == self.low else getattr(torch, kind)

    def _gradients(self, outputs: Outputs, flat: Sequence[Tensor]) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            xs, dys = self._named(flat)
            # a forward pass may write into what it gets
            made = outputs({n: x.clone() for n, x in xs.items()}, self._kind(flat))
            ends = [
                (y, dy.to(y.dtype))
                for y, dy in zip((made[i] for i in self.at), dys, strict=True)
                if y.requires_grad
            ]
            wanted = [xs[n] for n in self.of]
            if not ends:
                return tuple(map(torch.zeros_like, wanted))
            ys, incoming = zip(*ends, strict=True)
            return torch.autograd.grad(ys, wanted, incoming, create_graph=True, materialize_grads=True)

    def _by_pair(self, *flat: Tensor) -> tuple[Tensor, ...]:
        """A pair has no autograd of its own: its backward is differentiated as the formula it is."""
        pair = self.own.pair
        assert pair is not None
        with torch.enable_grad():
            xs, dys = self._named(flat)
            copies = {n: x.clone() for n, x in xs.items()}
            with uncut():
                output, residuals = pair[0](*self.own.arguments_at(copies, self.constants, self._kind(flat)))
            several = isinstance(output, tuple | list)
            due: list[Tensor | None] = [None] * (len(output) if several else 1)
            for i, dy in zip(self.at, dys, strict=True):
                due[i] = dy
            try:
                returned = pair[1](tuple(due) if several else due[0], residuals)
            except Exception as error:
                raise BackwardRaises("backward", error) from error
            returned = returned if isinstance(returned, tuple | list) else (returned,)
            found = dict(zip(self.own.argument_names, returned, strict=True))
            return tuple(torch.zeros_like(xs[n]) if found[n] is None else found[n] for n in self.of)

    def _named(self, flat: Sequence[Tensor]) -> tuple[Variables, list[Tensor]]:
        count = len(self.inputs)
        xs = [x if x.requires_grad else x.detach().requires_grad_() for x in flat[:count]]
        return dict(zip(self.inputs, xs, strict=True)), list(flat[count:])

    # --- where ------------------------------------------------------------------------------------

    def points(self) -> Iterator[Probe]:
        """The inputs given, and some others, all moved off kinks."""
        passes, given = self.passes, self.passes.seen[0].probe
        dtypes = {n: v.dtype for n, v in self.own.variables.items()}
        around = Around(given.variables, {}, dtypes, passes.seed, passes.strict)
        g = torch.Generator().manual_seed(passes.seed + 41)
        incoming = {n: widened(self.variables[n]) for n in self.incoming}
        for probe in (given, *probes(around)):
            if probe.kink:
                continue
            closer = {n: v * (1 - _MOVED / 2) for n, v in (probe.variables | incoming).items()}
            variables = shrunk(closer, g, _MOVED / 2)
            rounded = {n: widened(v.to(self.variables[n].dtype)) for n, v in variables.items()}
            yield Probe(f"{probe.label}, moved off kinks", rounded, {})


def _compared(
    gradients: Gradients, target: Subject, reference: Subject, left: Budget
) -> tuple[list[Finding], str]:
    """Findings on ``target``; or why there are none."""
    passes = Passes(target, Truth(reference, native=False), gradients.passes.seed, gradients.passes.tolerance)
    points = gradients.points()
    try:
        passes.given(given := next(points), vouching=False)
    except BackwardRaises as error:
        if isinstance(error.error, NotImplementedError) and target.pair is not None:
            words = sentence(error).partition(". ")[0].rstrip(".")
            raise InputError(
                "forward mode is checked of a target that has one; "
                f"received {gradients.own.name}, which raises {words}; "
                "give it a jvp, or leave forward_mode out."
            ) from error
        variables = {n: widened(v) for n, v in gradients.variables.items()}
        try:  # PyTorch has no second derivative of some of its own functions
            passes.truth(variables, [widened(variables[n]) for n in gradients.of], {}, torch.float64)
        except Exception as failed:
            return [], f"the truth has none here ({sentence(failed)})"
        text = f"{error.where} raises {sentence(error)}"
        return [Finding("unknown", "backward", text, {"error": type(error.error).__name__})], ""
    except InputError as error:
        cause = error.__cause__
        return [], f"the truth has none here ({sentence(cause if isinstance(cause, Exception) else error)})"
    if passes.low != "float64":
        passes.at(given, "float64")
    for _, probe in zip(range(_POINTS), points, strict=False):
        if not left.allows(6):
            break
        passes.at(probe, "float64")
    for seen in passes.seen:  # the paths through a gradient's own graph are not those of a forward pass
        seen.evidence = replace(seen.evidence, paths=None)
    raised = [] if passes.raised is None else [passes.raised]
    return list(verdict(passes, raised).findings), ""
