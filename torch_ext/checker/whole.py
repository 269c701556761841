"""Models of a million parameters and more: what differs, in which layer, and by which mistake.

A step of the target and one of the reference, on the same inputs, parameters and incoming gradient, and a
third one of the reference with every intermediate value a rounding off, which says what rounding explains
(:mod:`steps`). Where the two differ, the layer is found by :mod:`lockstep`, and its mistake by the ordinary
check on it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from handgrad.checking.findings import CheckReport, Finding, GradientDiff, likeliest_first
from torch_ext.checker import layer as layers
from torch_ext.checker.budget import EXACT, WHOLE
from torch_ext.checker.layer import Check
from torch_ext.checker.lockstep import Suspect, candidates, captured, innermost
from torch_ext.checker.naming import differing, explained
from torch_ext.checker.steps import Model, NoFormula, Steps

_AUDITED = 8  # kinds of layers that are checked alone


def is_whole(target: Any) -> bool:
    """Whether ``target`` is a model that is checked by whole steps."""
    if not isinstance(target, nn.Module):
        return False
    return sum(p.numel() for p in target.parameters() if p.requires_grad and not is_lazy(p)) >= WHOLE


def check_whole(
    target: nn.Module, inputs: Sequence[Any], reference: Any, seed: int, check: Check
) -> CheckReport:
    """:func:`torch_ext.check` for a large model; ``check`` is the ordinary one, for single layers."""
    model = Model(target, inputs, reference, seed)
    steps = Steps(model)
    steps.target()
    found = [_writes(n) for n in steps.written]
    blamed = steps.watch.blamed
    try:
        steps.reference()
    except NoFormula:
        # single layers have numerical truths
        found += _audited(model, steps, check)
        return _report(model, steps, found, ("no truth for the model as a whole: its layers alone",))
    suspects: list[Suspect] = []
    small = sum(p.numel() for p in model.parameters.values()) <= EXACT
    confirmed, exact = False, None
    if steps.wrong and not steps.gross:
        steps.nudged()
    if (steps.wrong or steps.raised) and not blamed:
        suspects = _suspects(model, steps)
    if suspects and not steps.noisy:
        steps.wrong = steps.gross  # the others are as far off as rounding takes them
    if steps.wrong and not suspects and not steps.noisy and not blamed:
        steps.nudged()
    if _has_float64(model) and ((steps.wrong and not suspects) or (small and not steps.wrong)) and not blamed:
        exact = _exact(model)
    if exact is not None and steps.wrong and not exact.wrong and not steps.raised:
        steps.wrong = []  # other sides of kinks, to which a rounding may lead
    if exact is not None and exact.wrong and not steps.wrong:
        steps, confirmed = exact, True
        suspects = _suspects(model, exact)
    findings = explained(
        model.target,
        {} if model.formula else dict(model.reference.named_modules()),
        [*blamed, *(s.name for s in suspects)],
        suspects,
        {key: call for key, (_, call) in steps.samples.items()},
        steps.watch.by_layer,
        steps.watch.layers.functions,
        check,
    )
    if not steps.wrong and not blamed and not steps.raised:
        findings += _audited(model, steps, check)
    elif not findings:
        own = steps.watch.layers.functions.get("", {})
        findings = layers.by_function(check, "", own) or _of_tensors(steps, confirmed)
    return _report(model, steps, [*found, *findings])


def _writes(name: str) -> Finding:
    text = f"the forward pass writes into {name}, which is not its own; compute into a new tensor"
    return Finding("mutates", name, text)


def _has_float64(model: Model) -> bool:
    kinds = {x.dtype for x in [*model.parameters.values(), *model.frame.variables.values()]}
    return not kinds <= {torch.float64, torch.complex128}


def _exact(model: Model) -> Steps | None:
    """The same in float64, which sees more; None where the model does not run in it."""
    try:
        steps = Steps(model, torch.float64)
        steps.target()
        steps.reference()
        if steps.wrong and not steps.gross:
            steps.nudged()
    except Exception:
        return None
    return None if steps.raised else steps


def _suspects(model: Model, steps: Steps) -> list[Suspect]:
    """The innermost submodules that differ: first those that may, else any."""
    leaves = model.leaves(steps.dtype)
    target, reference = model.side(True, leaves, steps.dtype), model.side(False, leaves, steps.dtype)
    own = steps.watch.layers.functions
    tried: set[str] = set()
    for everything in (False, True):
        names = [n for n in candidates(model.target, model.reference, own, everything) if n not in tried]
        if not names:
            continue
        tried.update(names)
        calls = captured(
            model.reference,
            names,
            lambda: model.outputs(reference, leaves, steps.dtype),
            steps.cotangents,
        )
        found = list(differing(target, reference, calls, model.seed, steps.longest))
        if found:
            return innermost(found)
        if model.formula:  # all else is the same code
            break
    return []


def _audited(model: Model, steps: Steps, check: Check) -> list[Finding]:
    """One layer of each kind that calls custom Functions, checked alone at inputs of all kinds."""
    found: list[Finding] = []
    custom = steps.watch.layers.functions
    chosen = [(name, call) for name, call in steps.samples.values() if name in custom]
    theirs = dict(model.reference.named_modules())
    for name, call in chosen[:_AUDITED]:
        module = model.target.get_submodule(name)
        reference = None if model.formula else theirs.get(name)
        report = layers.alone(check, module, reference, *call)
        if report is not None and not report.passed:
            found += layers.named(name, module, report)
    return found + layers.by_function(check, "", custom.get("", {}))


def _of_tensors(steps: Steps, confirmed: bool) -> list[Finding]:
    """No single layer differs: what the model's own code between them does."""
    if steps.raised:
        return [Finding("unknown", "grad_output", f"backward raises: {steps.raised}")]
    found = []
    for name in steps.wrong:
        s = steps.apart[name]
        assert s is not None
        kind = "forward" if name.startswith("output") else "unknown"
        if kind == "unknown" and s.relative > 0 and abs(s.slope + 2) < 1e-2:
            kind = "sign"
        what = name if kind == "forward" else f"the gradient of {name}"
        text = (
            f"{what} is {s.computed:.6g} where {s.truth:.6g} is right, at {list(s.worst)}; each layer alone "
            "is right: look at the code between them, in the forward of the modules that contain them"
        )
        found.append(Finding(kind, name, text, {"relative error": s.relative, "float64": confirmed}))
    return found[:8]


def _report(
    model: Model,
    steps: Steps,
    findings: Sequence[Finding],
    notes: tuple[str, ...] = (),
) -> CheckReport:
    kinds = {f.where: f.kind for f in reversed(findings)}
    first = findings[0].kind if findings else ""
    diffs = []
    for name in model.names:
        x = model.frame.variables.get(name, model.parameters.get(name))
        assert x is not None
        s, wrong = steps.apart.get(name), name in steps.wrong or name in kinds
        shape, dtype = tuple(x.shape), str(x.dtype).removeprefix("torch.")
        kind = kinds.get(name, first) if wrong else ""
        if s is None:
            diffs.append(GradientDiff(name, shape, dtype, not wrong, diagnosis=kind))
            continue
        values = s.largest, s.max_rel_error, s.largest / s.ulp, s.worst, s.computed, s.truth
        grid = steps.grids.get(name) if wrong else None
        diffs.append(
            GradientDiff(
                name,
                shape,
                dtype,
                not wrong,
                *values,
                kind,
                errors=grid,
                allowed_ulps=s.allowed / s.ulp,
                computed_in=s.dtype,
                computed_shape=shape,
            )
        )
    oracle = "autograd through the target's own forward" if model.formula else "the reference's autograd"
    distinct: dict[tuple[str, str], Finding] = {}
    for f in likeliest_first(findings):
        distinct.setdefault((f.kind, f.where), f)
    name = type(model.target).__qualname__.replace("<locals>.", "")
    return CheckReport(name, tuple(diffs), tuple(distinct.values()), model.seed, oracle, notes)
