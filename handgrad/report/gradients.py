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
    messages: dict[str, str] = {}
    for f in report.findings:
        text = f"{f.kind}: {f.message}"
        messages[f.where] = f"{messages[f.where]}\n{text}" if f.where in messages else text
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
    analytic, reference, index = _parts(diff)
    measured = diff.passed or diff.worst_index is not None  # a wrong shape has no error to measure
    return Check(
        id=f"{name} / d_{diff.name}",
        group=GROUP,
        passed=diff.passed and not message,
        case=report.target,
        library="torch",
        dtype=diff.computed_in or diff.dtype,
        oracle=report.oracle,
        argument=f"d_{diff.name}",
        shape=diff.errors_shape or diff.shape,
        max_abs_error=diff.max_abs_error if measured else None,
        max_rel_error=diff.max_rel_error if measured else None,
        ulps=diff.ulps if measured else None,
        allowed_ulps=diff.allowed_ulps if measured else None,
        worst_index=index,
        analytic=analytic,
        reference=reference,
        errors=diff.errors,
        message=message,
    )


def _parts(diff: GradientDiff) -> tuple[float | None, float | None, tuple[int, ...] | None]:
    """Both values and their index; of complex ones the parts, real (0) or imaginary (1), that differ more."""
    a, t, index = diff.analytic, diff.reference, diff.worst_index
    if not isinstance(a, complex) or not isinstance(t, complex):
        return _real(a), _real(t), index
    pairs = [(a.real, t.real), (a.imag, t.imag)]
    part = max((0, 1), key=lambda i: abs(pairs[i][0] - pairs[i][1]))
    return *pairs[part], (*(index or ()), part)


def _real(value: float | complex | None) -> float | None:
    return value.real if isinstance(value, complex) else value
