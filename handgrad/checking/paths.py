"""One step of the chain rule taken wrongly: found by changing one operation of the truth at a time."""

from __future__ import annotations

import re

import numpy as np

from handgrad.checking.evidence import Case, Evidence, Paths, Step
from handgrad.checking.findings import Finding

_POINTS = 3
_DULL = frozenset("add sub sum mean expand view reshape unsqueeze squeeze neg t transpose permute".split())
_LEAST = 3  # different numbers that a coefficient of its own has to explain


def one_step(case: Case) -> Finding | None:
    """The gradient under test is the right one but for one operation of the forward pass."""
    seen = [e for e in case.usual_wrong[: 2 * _POINTS] if e.paths is not None]
    taken = [(e, p) for e in seen if (p := e.paths_of(case.name)) is not None][:_POINTS]
    if not taken or any(e.analytic[case.name] is None for e, _ in taken):
        return None
    steps = sorted(taken[0][1].steps(), key=lambda s: (s.number < 0, words(s.kind) in _DULL))
    for how in ("factor", "transpose", "twice", "term"):
        for step in steps:
            if step.how != how:
                continue
            finding = _term(case, taken, step) if how == "term" else _other(case, taken, step)
            if finding is not None:
                return finding
    return None


def _other(case: Case, taken: list[tuple[Evidence, Paths]], step: Step) -> Finding | None:
    for e, paths in taken:
        made = paths.gradient(step)
        if made is None or made.shape != e.truth[case.name].shape or not e.explains(case.name, made):
            return None
        if e.explains(case.name, e.truth[case.name]):
            return None
    word = words(step.kind)
    every = "every " if step.number < 0 else ""
    if step.how == "transpose":
        return Finding(
            "transpose",
            case.name,
            f"the gradient of {case.name} is right but for {every}{word}, where a matrix is not transposed "
            "on the way back: y = a b gives dy bᵀ and aᵀ dy",
            {"step": word},
        )
    what = "is left out" if step.how == "factor" else "counts twice"
    return Finding(
        "missing-factor",
        case.name,
        f"the gradient of {case.name} is right but for {every}{word}, whose derivative {what}: multiply by "
        "it once on the way back",
        {"factor": f"the derivative of {word}"},
    )


def _term(case: Case, taken: list[tuple[Evidence, Paths]], step: Step) -> Finding | None:
    """A - T is a multiple of what comes through one operation."""
    fits = []
    for e, paths in taken:
        t = e.truth[case.name]
        without = paths.gradient(step)
        if without is None or without.shape != t.shape:
            return None
        part = t - without
        square = float(np.sum(part * part))
        if square == 0 or not np.isfinite(square):
            return None
        a = e.analytic_or_zero(case.name)
        c = float(np.sum((a - without) * part) / square)
        if not e.explains(case.name, without + c * part, 1 + abs(c)) or abs(c - 1) < 1e-9:
            return None
        fits.append(c)
    if max(fits) - min(fits) > 1e-6 * max(1.0, *map(abs, fits)):
        return None
    if sum(e.truth[case.name].size for e, _ in taken) < _LEAST and abs(fits[0]) > 1e-9:
        return None
    c, word = fits[0], words(step.kind)
    every = "every " if step.number < 0 else ""
    if abs(c) < 1e-6:
        kind, text = (
            "missing-term",
            f"lacks what comes through {every}{word}: it is treated as a constant there",
        )
    elif abs(c + 1) < 1e-6:
        kind, text = "sign", f"has the opposite sign in what comes through {every}{word}"
    elif abs(c - 2) < 1e-6:
        kind, text = "missing-term", f"counts twice what comes through {every}{word}"
    else:
        kind, text = (
            "missing-factor",
            f"has {c:.6g} times what comes through {every}{word}, a factor too many or few",
        )
    return Finding(
        kind,
        case.name,
        f"the gradient of {case.name} {text}; a sum's derivative is the sum of all its terms'",
        {"step": word, "coefficient": c},
    )


def words(kind: str) -> str:
    """ "DigammaBackward0" as "digamma" """
    name = re.sub(r"Backward\d*$", "", kind)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() or kind
