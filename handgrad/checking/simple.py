"""Mistakes that a look at the numbers tells: zero, a sign, one factor, NaN."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from handgrad.checking.evidence import Case, Evidence
from handgrad.checking.findings import Finding


def not_finite(case: Case) -> Finding | None:
    for e in case.wrong:
        a = e.analytic[case.name]
        if a is None or a.shape != e.truth[case.name].shape:
            continue
        bad = ~np.isfinite(a) & np.isfinite(e.truth[case.name])
        if np.any(bad):
            index = _first(bad)
            return Finding(
                "not-finite",
                case.name,
                f"the gradient of {case.name} is {a[index]} at {list(index)} on {e.label}, where "
                f"{e.truth[case.name][index]:.6g} is right: look for a division by zero, or 0 · inf",
                {"index": list(index), "on": e.label},
            )
    return None


def zero(case: Case) -> Finding | None:
    if all(a is None or not np.any(a) for a in (e.analytic[case.name] for e in case.wrong)):
        how = "None" if all(e.analytic[case.name] is None for e in case.wrong) else "zero"
        return Finding(
            "zero",
            case.name,
            f"the gradient of {case.name} is {how} where it should not be: is it returned at all, or "
            "detached on its way?",
        )
    return None


def sign(case: Case) -> Finding | None:
    if case.every(lambda e: -e.truth[case.name]):
        return Finding(
            "sign",
            case.name,
            f"the gradient of {case.name} has the opposite sign: a minus is lost, or a difference is taken "
            "the other way round",
        )
    return None


def scale(case: Case, somewhere: bool = False) -> Finding | None:
    """T times a number. ``somewhere``: on other inputs, or with other arguments, it is right."""
    factors = []
    for e in case.usual_wrong:
        a, t = e.analytic[case.name], e.truth[case.name]
        if a is None or a.shape != t.shape or not np.any(t):
            return None
        factor = float(np.sum(a * t) / np.sum(t * t))
        if not e.explains(case.name, factor * t, abs(factor)):
            return None
        factors.append(factor)
    sizes = {e.truth[case.name].size for e in case.wrong}
    spread = max(factors) - min(factors)
    right = [e for e in case.usual if np.any(e.truth[case.name]) and not np.any(e.wrong(case.name))]
    if right and not somewhere:
        return None
    constant = spread <= 1e-6 * max(map(abs, factors)) or max(map(abs, factors)) < 1e-9
    if not constant and max(sizes) == 1:
        return None  # one number is a multiple of any other
    if not constant and not _same_sign(factors):
        return None
    factor = factors[0]
    if abs(factor - 1) < 1e-11:
        return None  # the rest is rounding
    known = _named_factor(factor, case.wrong[0])
    return Finding(
        "scale",
        case.name,
        f"the gradient of {case.name} is {factor:.10g} times the right one{known}"
        + ("" if constant else ", and another factor on other inputs: it depends on them"),
        {"factor": factor},
    )


def _same_sign(values: Sequence[float]) -> bool:
    return all(v > 0 for v in values) or all(v < 0 for v in values)


def _named_factor(factor: float, e: Evidence) -> str:
    """A factor that is the size of something is most likely a forgotten, or doubled, division by it."""
    sizes: dict[int, str] = {}
    for what, arrays in (("output", e.outputs), ("input", e.inputs.values())):
        for a in arrays:
            sizes.setdefault(a.size, f"the number of elements of an {what}")
            for axis, n in enumerate(a.shape):
                sizes.setdefault(n, f"the length of axis {axis} of an {what}")
    for n, words in sizes.items():
        if n > 1 and abs(factor - n) < 1e-6 * n:
            return f": {n} is {words}; is a division by it missing?"
        if n > 1 and abs(factor * n - 1) < 1e-6:
            return f": 1/{n}, where {n} is {words}; is it divided by once too often?"
    if abs(factor - 2) < 1e-9 or abs(factor - 0.5) < 1e-9:
        return ": the 2 of a square's derivative?"
    return ""


def some_signs(case: Case) -> Finding | None:
    """Right but for the sign of some elements."""
    if case.every(lambda e: np.copysign(e.truth[case.name], e.analytic_or_zero(case.name))):
        return Finding(
            "sign",
            case.name,
            f"the gradient of {case.name} has the right size everywhere and the opposite sign at some "
            "elements: is there an absolute value that should not be, or none where one should?",
        )
    return None


def _first(mask: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(mask)[0])
