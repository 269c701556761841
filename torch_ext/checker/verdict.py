"""From all that was seen to a report: each mistake once, the most likely cause first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from handgrad.checking.diagnosis import diagnose
from handgrad.checking.differences import Difference
from handgrad.checking.findings import CheckReport, Finding, GradientDiff, likeliest_first, listed
from torch_ext.checker.arrays import as_dtype, broadcasts
from torch_ext.checker.passes import Pass, Passes
from torch_ext.checker.recorder import Raw


def verdict(passes: Passes, found: Sequence[Finding], layers: Sequence[Finding] = ()) -> CheckReport:
    """``found``: what is not one gradient against its truth. ``layers``: what is wrong inside a model, from
    which all else follows."""
    findings = [*_mutations(passes.raw), *found]
    shapes = _shapes(passes.raw)
    ill_shaped = {f.where for f in shapes if f.kind in ("shape", "dtype")}
    diffs = []
    for name, v in passes.subject.variables.items():
        wrong = [p for p in passes.seen if not p.differences[name].passed]
        exact = [p for p in wrong if p.dtype == "float64"] or wrong
        kind = ""
        blamed = next((f for f in findings if f.kind == "nondeterministic" and f.where == name), None)
        if blamed is not None:
            kind = blamed.kind
        elif wrong and layers:
            kind = next((f.kind for f in layers if f.where == name), layers[0].kind)
        elif wrong:
            finding = None
            if not any(f.kind == "dtype" and f.where == name and f.details.get("real") for f in shapes):
                finding = diagnose(name, [p.evidence for p in passes.seen if p.dtype == exact[0].dtype])
            if finding is not None and not (finding.kind == "unknown" and name in ill_shaped):
                findings.append(finding)
            kind = finding.kind if finding is not None else ""
        if not kind:
            kind = next((f.kind for f in (*findings, *shapes) if f.where == name), "")
        diffs.append(_diff(name, v, passes.seen, kind))
    if any(f.kind == "mutates" for f in findings):  # which makes the next call differ, and the next layout
        findings = [f for f in findings if f.kind != "nondeterministic" and "incoming" not in f.details]
    findings = likeliest_first([*findings, *layers, *shapes])
    return CheckReport(
        passes.subject.name,
        tuple(diffs),
        tuple(_distinct(findings)),
        passes.seed,
        passes.truth.oracle,
    )


def _mutations(raw: Sequence[Raw]) -> list[Finding]:
    changed: dict[str, str] = {}
    for each in raw:
        for what, when in each.changed.items():
            changed.setdefault(what, when)
    return [
        Finding(
            "mutates",
            what.removeprefix("input "),
            f"{when} writes into {what}, which is not its own: another branch of the graph may use it, "
            "and is then silently wrong; compute into a new tensor",
        )
        for what, when in changed.items()
    ]


def _shapes(raw: Sequence[Raw]) -> list[Finding]:
    """Shapes and dtypes as backward returned them, before the engine sums or casts."""
    found: dict[tuple[str, str], Finding] = {}
    for each in raw:
        for name, (got, due) in each.wrong_shapes.items():
            extra = len(got) - len(due)
            axes = [
                *range(extra),
                *(i + extra for i, n in enumerate(due) if extra >= 0 and n == 1 and got[i + extra] != 1),
            ]
            text = f"the gradient of {name} has shape {got} where {name} has {due}"
            if axes and broadcasts(due, got):
                words = listed("axis", axes)
                found["missing-sum", name] = Finding(
                    "missing-sum",
                    name,
                    f"{text}: sum over {words}, which broadcasting added",
                    {"axes": axes},
                )
            advice = (
                "reshape it, or keep the dimensions of a sum (keepdim)"
                if _size(got) == _size(due)
                else ("what is summed, sliced or repeated on its way?")
            )
            shapes = {"received": list(got), "due": list(due)}
            found["shape", name] = Finding("shape", name, f"{text}: {advice}", shapes)
        for name, pair in each.wrong_dtypes.items():
            received, wanted = (d.removeprefix("torch.") for d in pair)
            found["dtype", name] = Finding(
                "dtype",
                name,
                f"the gradient of {name} has dtype {received} where {name} has {wanted}: "
                f"{_cast(received, wanted)}",
                {"received": received, "due": wanted} | ({"real": True} if _real(received, wanted) else {}),
            )
    return list(found.values())


def _size(shape: Sequence[int]) -> int:
    return int(np.prod(shape))


def _real(received: str, due: str) -> bool:
    return due.startswith("complex") and not received.startswith("complex")


def _cast(received: str, due: str) -> str:
    if _real(received, due):
        return "its imaginary part is lost"
    return "cast it back, by .to(x.dtype); look for what raised or lowered the precision"


def _diff(name: str, v: Tensor, passes: Sequence[Pass], kind: str) -> GradientDiff:
    """One pass's view: where the gradient is wrong, that of the inputs and the dtype given if it is wrong
    there, too; else the worst."""

    first = passes[0]

    def order(p: Pass) -> tuple[bool, int, float]:
        d = p.differences[name]
        strange = (bool(p.probe.grown), p.probe.label != first.probe.label, p.dtype != first.dtype)
        return d.passed, 0 if d.passed else 4 * strange[0] + 2 * strange[1] + strange[2], -_ratio(d)

    shown = min(passes, key=order)
    d, index, values = shown.differences[name], shown.differences[name].worst_index, shown.evidence
    analytic: float | complex | None = d.analytic
    reference: float | complex | None = d.reference
    if v.is_complex() and index:
        index = index[:-1]
        a, t = values.analytic[name], values.truth[name]
        analytic = None if a is None else complex(*a[index])
        reference = complex(*t[index])
    return GradientDiff(
        name,
        tuple(v.shape),
        _dtype(v),
        d.passed and not kind,
        d.max_abs_error,
        d.max_rel_error,
        d.ulps,
        index,
        analytic,
        reference,
        kind,
        shown.probe.label,
        d.errors,
        d.allowed_ulps,
        _dtype(as_dtype(v.new_empty(0), getattr(torch, shown.dtype))),
        tuple(shown.probe.variables[name].shape),
    )


def _dtype(v: Tensor) -> str:
    return str(v.dtype).removeprefix("torch.")


def _ratio(d: Difference) -> float:
    return d.ulps / d.allowed_ulps if d.allowed_ulps else 0.0


def _distinct(findings: Sequence[Finding]) -> list[Finding]:
    seen: dict[tuple[str, str], Finding] = {}
    for f in findings:
        seen.setdefault((f.kind, f.where), f)
    return list(seen.values())
