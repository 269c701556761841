"""From all that was seen to a report: each mistake once, the most likely cause first."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from handgrad.checking.diagnosis import diagnose
from handgrad.checking.differences import Difference
from handgrad.checking.findings import CheckReport, Finding, GradientDiff, likeliest_first
from torch_ext.checker.arrays import broadcasts
from torch_ext.checker.passes import Pass, Passes
from torch_ext.checker.recorder import Raw


def verdict(passes: Passes, found: Sequence[Finding]) -> CheckReport:
    """``found``: what is not one gradient against its truth."""
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
        elif wrong:
            finding = diagnose(name, [p.evidence for p in passes.seen if p.dtype == exact[0].dtype])
            if finding is not None and not (finding.kind == "unknown" and name in ill_shaped):
                findings.append(finding)
            kind = finding.kind if finding is not None else "shape"
        diffs.append(_diff(name, v, passes.seen, kind))
    findings = likeliest_first([*findings, *shapes])
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
            what,
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
                words = ", ".join(map(str, axes))
                found["missing-sum", name] = Finding(
                    "missing-sum",
                    name,
                    f"{text}: sum over axis {words}, which broadcasting added",
                    {"axes": axes},
                )
            found["shape", name] = Finding("shape", name, text, {"received": list(got), "due": list(due)})
        for name, (received, wanted) in each.wrong_dtypes.items():
            found["dtype", name] = Finding(
                "dtype",
                name,
                f"the gradient of {name} has dtype {received} where {name} has {wanted}",
                {"received": received, "due": wanted},
            )
    return list(found.values())


def _diff(name: str, v: Tensor, passes: Sequence[Pass], kind: str) -> GradientDiff:
    """The pass in which the gradient of ``name`` is worst."""
    worst = min(passes, key=lambda p: (p.differences[name].passed, -_ratio(p.differences[name])))
    d = worst.differences[name]
    return GradientDiff(
        name,
        tuple(v.shape),
        str(v.dtype).removeprefix("torch."),
        d.passed and not kind,
        d.max_abs_error,
        d.max_rel_error,
        d.ulps,
        d.worst_index,
        d.analytic,
        d.reference,
        kind,
        worst.probe.label,
        d.errors,
    )


def _ratio(d: Difference) -> float:
    return d.ulps / d.allowed_ulps if d.allowed_ulps else 0.0


def _distinct(findings: Sequence[Finding]) -> list[Finding]:
    seen: dict[tuple[str, str], Finding] = {}
    for f in findings:
        seen.setdefault((f.kind, f.where), f)
    return list(seen.values())
