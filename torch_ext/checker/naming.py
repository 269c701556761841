"""The layers that are wrong, by name, each with its mistake: where a model differs from its truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from handgrad.checking.findings import Finding
from torch_ext.checker import layer as layers
from torch_ext.checker.arrays import Array, as_dtype, tensor
from torch_ext.checker.layer import Check
from torch_ext.checker.lockstep import (
    Layers,
    Side,
    Suspect,
    candidates,
    captured,
    differs,
    innermost,
)
from torch_ext.checker.passes import Pass, Passes
from torch_ext.checker.recorder import Raw, Recorder
from torch_ext.checker.truth import Truth

Functions = Mapping[str, Mapping[type, Sequence[Any]]]

_EXAMPLES = 2  # of layers wrong alike, whose own check is made


def wrong_layers(passes: Passes, reference: Any, check: Check) -> list[Finding]:
    """The findings of the submodules that are wrong, where the target is a model and some gradient, or the
    output, is not right; none where no submodule alone explains it."""
    target = passes.subject.module
    wrong = [p for p in passes.seen if not all(d.passed for d in p.differences.values())]
    if target is None or passes.truth.numerical or not any(target.children()) or not (wrong or passes.found):
        return []
    exact = [p for p in wrong if p.dtype == "float64"] or wrong or passes.seen
    try:
        suspects, functions = _suspects(passes, exact[0], target, reference)
    except Exception:  # a model that does not take being called layer by layer
        return []
    if not suspects:
        return layers.by_function(check, "", functions.get("", {}))
    theirs = dict(reference.named_modules()) if isinstance(reference, nn.Module) else {}
    return explained(target, theirs, [s.name for s in suspects], suspects, {}, {}, functions, check)


def _suspects(passes: Passes, p: Pass, target: nn.Module, reference: Any) -> tuple[list[Suspect], Functions]:
    kind = getattr(torch, p.dtype)
    variables = {n: as_dtype(v, kind).requires_grad_() for n, v in p.probe.variables.items()}
    recorder = Recorder({}, {})
    called = Layers(target, recorder, layers.small)
    with called.watching():
        outputs = passes.subject.call(dict(variables), p.probe.constants, p.casting)
    dys: list[Array | None] = list(p.evidence.cotangents)
    cotangents = [
        None if dy is None else as_dtype(tensor(dy, y), kind) for dy, y in zip(dys, outputs, strict=True)
    ]
    truths = [(reference, passes.truth)] if isinstance(reference, nn.Module) else []
    truths.append((target, Truth(passes.subject, native=True)))  # also where the other has other layers
    length = max((v.numel() for v in variables.values()), default=1)
    for module, truth in truths:
        sides = (
            Side(target, variables, p.casting),
            Side(module, variables, p.casting, formula=truth.native),
        )
        for everything in (False, True):
            names = candidates(target, module, called.functions, everything)
            calls = captured(
                module,
                names,
                partial(truth.outputs, variables, p.probe.constants, p.casting or kind),
                cotangents,
            )
            found = list(differing(*sides, calls, passes.seed, length))
            if found:
                return innermost(found), called.functions
            if truth.native:  # all else is the same code
                break
    return [], called.functions


def differing(
    target: Side, reference: Side, calls: dict[str, Any], seed: int, length: int
) -> Iterator[Suspect]:
    for name in list(calls):
        for call in calls.pop(name):
            suspect = differs(target, reference, name, call, seed, length)
            if suspect is not None and not _other_side_of_a_kink(
                suspect, target, reference, call, seed, length
            ):
                yield suspect
                break


def _other_side_of_a_kink(
    suspect: Suspect, target: Side, reference: Side, call: Any, seed: int, length: int
) -> bool:
    """A few elements that differ in a low precision, and not in float64."""
    spreads = [s for s in suspect.spreads.values() if s is not None]
    if suspect.error or len(spreads) < len(suspect.spreads) or any(s.dtype == "float64" for s in spreads):
        return False
    few = all(float((s.rows > 0.01 * s.largest).double().mean()) < 0.01 for s in spreads)
    wide = [replace(side, dtype=torch.float64) for side in (target, reference)]
    return few and differs(wide[0], wide[1], suspect.name, call, seed, length) is None


def explained(
    target: nn.Module,
    theirs: Mapping[str, nn.Module],
    names: Sequence[str],
    suspects: Sequence[Suspect],
    samples: Mapping[Any, tuple[Any, Any]],
    raw: Mapping[str, Raw],
    functions: Functions,
    check: Check,
) -> list[Finding]:
    """What is wrong in each of the layers ``names``; those of one kind that are wrong alike have one
    explanation. ``theirs``: the reference's layers; ``samples``: inputs by kind of layer; ``raw``: what
    the backward passes in a layer did; ``functions`` that it calls, with their arguments."""
    by_name = {s.name: s for s in suspects}
    found: list[Finding] = []
    known: dict[Any, list[tuple[str, list[Finding]]]] = {}
    for name in dict.fromkeys(names):
        own = raw_findings(name, raw.get(name, Raw()))
        if not name:
            found += own
            continue
        module, suspect = target.get_submodule(name), by_name.get(name)
        key = kind_of_layer(module), tuple(suspect.spreads) if suspect is not None else ()
        before = known.setdefault(key, [])
        if len(before) >= _EXAMPLES:
            first, alike = before[0]
            found += [_alike(f, first, name) for f in alike]
            continue
        call = samples.get(key[0]) if suspect is None else (suspect.call.args, suspect.call.kwargs)
        report = (
            None
            if call is None
            else layers.alone(check, module, theirs.get(name), call[0], call[1], suspected=True)
        )
        findings = [] if report is None else layers.named(name, module, report)
        if not findings or all(f.kind == "unknown" for f in findings):
            findings = layers.by_function(check, name, functions.get(name, {})) or findings
        if not findings and suspect is not None:
            findings = layers.unnamed(suspect, module)
        before.append((name, findings or own))
        found += findings or own
    return found


def _alike(f: Finding, first: str, name: str) -> Finding:
    where = name + f.where[len(first) :]
    return Finding(f.kind, where, f"as {f.where}: {f.message}", {**f.details, "layer": name})


def raw_findings(layer: str, raw: Raw) -> list[Finding]:
    at = f"{layer}: " if layer else ""
    found = [
        Finding("mutates", layer or what, f"{at}{when} writes into {what}, which is not its own")
        for what, when in raw.changed.items()
    ]
    for name, (got, due) in raw.wrong_shapes.items():
        text = f"{at}the gradient of {name} has shape {got} where {due} is due"
        found.append(Finding("shape", layer or name, text, {"received": list(got), "due": list(due)}))
    for name, (received, wanted) in raw.wrong_dtypes.items():
        text = f"{at}the gradient of {name} has dtype {received} where {wanted} is due"
        found.append(Finding("dtype", layer or name, text, {"received": received, "due": wanted}))
    return found


def kind_of_layer(module: nn.Module) -> Any:
    """Equal for layers of one class with the same options and functions."""
    own = [
        (n, getattr(v, "__qualname__", None) or repr(v))
        for n, v in sorted(vars(module).items())
        if isinstance(v, int | float | str | tuple) or (callable(v) and not isinstance(v, nn.Module))
    ]
    return type(module), tuple(own)
