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
    for how in ("term", "factor", "transpose", "twice"):
        for step in steps:
            if step.how != how:
                continue
            finding = _term(case, taken, step) if how == "term" else _other(case, taken, step)
            if finding is not None:
                return finding
    return None


def _parts(case: Case, e: Evidence, paths: Paths, step: Step) -> tuple[np.ndarray, np.ndarray] | None:
    """The gradient without what comes through a step, and with the step changed."""
    shape = e.truth[case.name].shape
    without, made = paths.gradient(step._replace(how="term")), paths.gradient(step)
    if without is None or made is None or without.shape != shape or made.shape != shape:
        return None
    return without, made


def _other(case: Case, taken: list[tuple[Evidence, Paths]], step: Step) -> Finding | None:
    """The step changed explains it, up to a number."""
    fits = []
    for e, paths in taken:
        parts = _parts(case, e, paths, step)
        if parts is None:
            return None
        without, made = parts
        t = e.truth[case.name]
        if np.max(np.abs(made - t), initial=0.0) <= 1e-6 * np.max(np.abs(t), initial=0.0):
            return None  # it makes no difference
        c = _coefficient(e, case.name, without, made - without)
        if c is None or abs(c) < 1e-6 or e.explains(case.name, e.truth[case.name]):
            return None
        fits.append(c)
    if max(fits) - min(fits) > 1e-6 * max(map(abs, fits)):
        return None
    if abs(fits[0] - 1) > 1e-6 and sum(e.truth[case.name].size for e, _ in taken) < _LEAST:
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
    ratios = [_coefficient(e, case.name, 0 * e.truth[case.name], e.truth[case.name]) for e, _ in taken]
    known = [r for r in ratios if r is not None]
    if len(known) == len(ratios) and max(known) - min(known) <= 1e-6 * max(map(abs, known)):
        return Finding(
            "scale",
            case.name,
            f"the gradient of {case.name} is {known[0]:.6g} times the right one: the constant of {every}"
            f"{word} is forgotten, or counts twice",
            {"factor": known[0], "step": word},
        )
    what = "is left out" if step.how == "factor" else "counts twice"
    return Finding(
        "missing-factor",
        case.name,
        f"the gradient of {case.name} is right but for {every}{word}, whose derivative {what}: multiply by "
        "it once on the way back",
        {"factor": f"the derivative of {word}", "coefficient": fits[0]},
    )


def _coefficient(e: Evidence, name: str, without: np.ndarray, part: np.ndarray) -> float | None:
    """c in A = without + c part."""
    square = float(np.sum(part * part))
    if square == 0 or not np.isfinite(square):
        return None
    c = float(np.sum((e.analytic_or_zero(name) - without) * part) / square)
    return c if e.explains(name, without + c * part, 1 + abs(c)) else None


def _term(case: Case, taken: list[tuple[Evidence, Paths]], step: Step) -> Finding | None:
    """A - T is a multiple of what comes through one operation."""
    fits = []
    for e, paths in taken:
        t = e.truth[case.name]
        without = paths.gradient(step)
        if without is None or without.shape != t.shape:
            return None
        c = _coefficient(e, case.name, without, t - without)
        if c is None or abs(c - 1) < 1e-9:
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
    elif word in _DULL:
        text = f"counts {c:.6g} times what comes through {every}{word}: a path too many or too few"
        kind = "missing-term"
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
    """The operation's name in PyTorch: digamma for DigammaBackward0."""
    name = re.sub(r"Backward\d*$", "", kind)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower() or kind
