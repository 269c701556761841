"""The result of a gradient check (``torch_ext.check``) as checks of a record."""

from __future__ import annotations

from collections.abc import Iterator

from handgrad.checking.findings import CheckReport, GradientDiff
from handgrad.report.record import Check

GROUP = "gradients"


def to_checks(report: CheckReport, name: str) -> Iterator[Check]:
    """A check for each gradient, and one for what is not one gradient's (a changed tensor, the output).

    ``name`` tells this report from others: the ids begin with it.
    """
    messages = {f.where: f"{f.kind}: {f.message}" for f in reversed(report.findings)}
    for diff in report.diffs:
        yield _check(diff, report, name, messages.pop(diff.name, ""))
    for where, message in messages.items():
        yield Check(
            id=f"{name} / {where}",
            group=GROUP,
            passed=False,
            case=report.target,
            oracle=report.oracle,
            argument=where,
            message=message,
        )


def _check(diff: GradientDiff, report: CheckReport, name: str, message: str) -> Check:
    return Check(
        id=f"{name} / d_{diff.name}",
        group=GROUP,
        passed=diff.passed and not message,
        case=report.target,
        library="torch",
        dtype=diff.dtype,
        oracle=report.oracle,
        argument=f"d_{diff.name}",
        shape=diff.shape,
        max_abs_error=diff.max_abs_error,
        max_rel_error=diff.max_rel_error,
        ulps=diff.ulps,
        worst_index=diff.worst_index,
        analytic=_real(diff.analytic),
        reference=_real(diff.reference),
        errors=diff.errors,
        message=message,
    )


def _real(value: float | complex | None) -> float | None:
    return abs(value) if isinstance(value, complex) else value
