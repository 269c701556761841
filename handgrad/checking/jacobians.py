"""Mistakes seen in the Jacobian: which outputs a gradient hears of, and with what weight.

A backward pass is linear in the incoming gradient. Asked for one output element after the other it gives
rows of its Jacobian, and the truth gives the right ones: how they differ at one point names mistakes that
a single incoming gradient cannot tell apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from handgrad.checking.evidence import Case, Evidence
from handgrad.checking.findings import Finding

ROWS = 128  # more are not asked for
POINTS = 3


@dataclass(frozen=True)
class Rows:
    """Rows of both Jacobians, an output element a row and an element of the gradient a column.

    ``complete``: all rows are there. ``constant``: the gradient for a cotangent of zeros."""

    evidence: Evidence
    analytic: np.ndarray
    truth: np.ndarray
    complete: bool
    constant: np.ndarray

    @property
    def bound(self) -> float:
        """What rounding may do."""
        return 2.0**22 * self.evidence.unit * float(np.max(np.abs(self.truth), initial=1e-300))

    @property
    def right(self) -> np.ndarray:
        return np.asarray(np.abs(self.analytic - self.truth) <= self.bound)

    @property
    def live(self) -> np.ndarray:
        """Where the right Jacobian is not zero."""
        return np.asarray(np.abs(self.truth) > self.bound)

    @property
    def single(self) -> bool:
        """Whether each output meets one element and each element one output."""
        used = self.live | ~self.right
        return bool(np.all(used.sum(axis=0) <= 1) and np.all(used.sum(axis=1) <= 1))

    @property
    def extra(self) -> np.ndarray:
        """Where there is something and should be nothing."""
        return np.asarray(~self.live & (np.abs(self.analytic) > self.bound))


def rows(e: Evidence, name: str) -> Rows | None:
    """The Jacobians of the gradient of ``name``; None where they cannot be asked for, or are not finite."""
    if e.backward is None:
        return None
    zeros = [None if dy is None else np.zeros_like(dy) for dy in e.cotangents]
    places = [(i, k) for i, dy in enumerate(zeros) if dy is not None for k in range(dy.size)]
    complete = len(places) <= ROWS
    if not complete:
        chosen = np.random.default_rng(0).choice(len(places), ROWS, replace=False)
        places = [places[k] for k in np.sort(chosen)]
    try:
        constant = e.backward(zeros)[name]
        if constant is None or constant.shape != e.truth[name].shape:
            return None
        analytic, truth = [], []
        for i, k in places:
            unit = np.zeros_like(e.cotangents[i])
            unit.flat[k] = 1.0
            dys = [unit if j == i else dy for j, dy in enumerate(zeros)]
            a = e.backward(dys)[name]
            if a is None or a.shape != constant.shape:
                return None
            analytic.append((a - constant).ravel())
            truth.append(e.vjp(dys)[name].ravel())
    except Exception:  # a target may refuse such incoming gradients
        return None
    made = Rows(e, np.array(analytic), np.array(truth), complete, constant)
    return made if np.all(np.isfinite(made.analytic)) and np.all(np.isfinite(made.truth)) else None


def of(case: Case) -> list[Rows]:
    """Of a few usual points at which the gradient is wrong."""
    if case.jacobians is None:
        found = (rows(e, case.name) for e in case.usual_wrong[: 2 * POINTS])
        case.jacobians = [r for r in found if r is not None][:POINTS]
    return case.jacobians


# --- hypotheses ---------------------------------------------------------------------------------


def ignored(case: Case) -> Finding | None:
    """The gradient is the same for another incoming gradient."""
    seen = False
    for e in case.usual_wrong:
        fresh, a = e.again(case.name), e.analytic[case.name]
        if fresh is None or fresh[0] is None or a is None or fresh[0].shape != a.shape or not np.any(a):
            return None
        if np.max(np.abs(fresh[0] - a)) > 64 * e.unit * np.max(np.abs(a)):
            return None
        seen = True
    if not seen:
        return None
    return Finding(
        "missing-factor",
        case.name,
        f"the gradient of {case.name} is the same whatever grad_output is: multiply by grad_output, which is "
        "1 only where the output is the loss itself",
        {"factor": "grad_output"},
    )


def between(case: Case) -> Finding | None:
    """A factor of the incoming gradient's elements, or of the gradient's, over at least two of the other."""
    found = of(case)
    if not found or any(np.any(r.extra) for r in found):
        return None
    for axis, where in ((1, "output"), (0, "input")):
        if all(_depends_on(r, axis) for r in found) and any(_varies(r) for r in found):
            return Finding(
                "missing-factor",
                case.name,
                f"the gradient of {case.name} is right but for a factor of each {where} element, whatever "
                f"else that meets: a derivative is forgotten, or is one too many, at the {where}",
                {"factor": f"of each {where} element"},
            )
    return None


def _ratio(r: Rows) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.where(np.abs(r.truth) > 1e3 * r.bound, r.analytic / r.truth, np.nan)


def _varies(r: Rows) -> bool:
    known = _ratio(r)[np.isfinite(_ratio(r))]
    return known.size > 1 and bool(np.ptp(known) > 1e-6 * np.max(np.abs(known)))


def _depends_on(r: Rows, axis: int) -> bool:
    """Whether A / T is constant along an axis, and that says something."""
    q = _ratio(r) if axis == 1 else _ratio(r).T
    q = q[np.sum(np.isfinite(q), axis=1) > 1]
    if len(q) < 2:
        return False
    low, high = np.nanmin(q, axis=1), np.nanmax(q, axis=1)
    off = np.abs(high - 1) > 1e-6
    size = np.maximum(np.maximum(np.abs(low), np.abs(high)), 1e-5)
    return bool(np.sum(off) > 1 and np.all(high - low <= 1e-5 * size))


def inner_factor(case: Case) -> Finding | None:
    """A / T is the same along an axis of grad_output, or of the gradient: it is of what is between."""
    found = of(case)
    if not found or not all(r.complete and len(r.evidence.cotangents) == 1 for r in found):
        return None
    if any(np.any(r.extra) or not _varies(r) for r in found):
        return None
    tensors = []
    for r in found:
        (dy,) = r.evidence.cotangents
        assert dy is not None
        tensors.append(_ratio(r).reshape(*dy.shape, *r.evidence.truth[case.name].shape))
    for axis in range(tensors[0].ndim):
        if all(_constant_along(q, axis) for q in tensors):
            return Finding(
                "missing-factor",
                case.name,
                f"the gradient of {case.name} is right but for a factor of something in between, such as a "
                "hidden layer: an activation's derivative is forgotten there, or is one too many",
                {"factor": "in between"},
            )
    return None


def _constant_along(q: np.ndarray, axis: int) -> bool:
    q = np.moveaxis(q, axis, -1).reshape(-1, q.shape[axis])
    q = q[np.sum(np.isfinite(q), axis=1) > 1]
    if len(q) < 4:
        return False
    low, high = np.nanmin(q, axis=1), np.nanmax(q, axis=1)
    return bool(np.all(high - low <= 1e-5 * np.maximum(np.abs(low), np.abs(high))))


def rounded(case: Case) -> Finding | None:
    """The gradient, or its Jacobian, has no more digits than a lower precision."""
    given = [(e.analytic[case.name], e.truth[case.name]) for e in case.usual_wrong]
    seen = [(a, t) for a, t in given if a is not None and a.shape == t.shape]
    for pairs in (seen, [(r.analytic, r.truth) for r in of(case)]):
        for name, unit in (("float16", 2.0**-11), ("bfloat16", 2.0**-8), ("float32", 2.0**-24)):
            if pairs and all(_has_digits(a, t, name, unit) for a, t in pairs):
                return Finding(
                    "dtype",
                    case.name,
                    f"the gradient of {case.name} has the digits of {name} and no more: something on its way "
                    "is kept or computed in that precision",
                    {"precision": name},
                )
    return None


def _has_digits(a: np.ndarray, t: np.ndarray, name: str, unit: float) -> bool:
    """A is made of numbers of a precision, which T, next to it, is not."""
    size = np.max(np.abs(t), initial=0.0)
    return (
        bool(np.all(np.abs(a - t) <= 16 * unit * size))
        and bool(np.all(_in_precision(a, name) == a))
        and int(np.sum(_in_precision(t, name) != t)) >= min(4, t.size)
    )


def _in_precision(x: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        if name == "float16":
            return x.astype(np.float16).astype(float)
        low = x.astype(np.float32)
        if name == "bfloat16":
            low = (low.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
        return low.astype(float)


def share_factor(case: Case) -> Finding | None:
    """Each output adds to one element alone, and its share is off by a factor."""
    found = of(case)
    if not found or any(np.any(r.extra) or np.any(np.sum(r.live, axis=1) > 1) for r in found):
        return None
    if not any(np.any(np.sum(r.live, axis=0) > 1) and _varies(r) for r in found):
        return None
    return Finding(
        "missing-factor",
        case.name,
        f"the gradient of {case.name} is a sum over outputs, and what each adds is off by a factor of its "
        "own: look at what grad_output is multiplied by before it is summed",
        {"factor": "of each output element"},
    )


def direct_path(case: Case) -> Finding | None:
    """What is missing touches few entries of the Jacobian, some of every output and every element: a term
    of its own, such as a skip connection's, next to the one that is right."""
    found = of(case)
    if not found or not all(r.complete for r in found):
        return None
    for r in found:
        wrong, live = ~r.right, r.live | ~r.right
        used = np.any(live, axis=0)
        if np.any(r.extra) or not np.all(np.any(wrong, axis=0)[used]) or np.sum(wrong) > 0.5 * np.sum(live):
            return None
        if np.all(np.any(wrong, axis=1) <= ~np.any(live & r.right, axis=1)):
            return None  # whole outputs
    return Finding(
        "missing-term",
        case.name,
        f"the gradient of {case.name} lacks a term: each output hears of few elements otherwise than it "
        "should, as by a direct path (a skip connection, a gate's other branch) that is left out",
        {"term": "a direct path"},
    )


def low_rank(case: Case) -> Finding | None:
    """A - T has a lower rank than T: what is missing came through fewer numbers, such as a mean."""
    found = of(case)
    if any(r.single or np.any(np.all(r.right, axis=0) & np.any(r.live, axis=0)) for r in found):
        return None  # elements that are right throughout: the mistake is in a part
    ranks = [pair for r in found for pair in _ranks(r)]
    if not ranks or not all(0 < d <= 0.5 * t for t, d in ranks):
        return None
    t, d = ranks[0]
    return Finding(
        "missing-term",
        case.name,
        f"the gradient of {case.name} lacks a term: what is missing has rank {d} where the whole has {t}, as "
        "the gradient through a mean, a norm or a sum has that all elements share",
        {"term": f"of rank {d}", "rank": d},
    )


def _ranks(r: Rows) -> Iterator[tuple[int, int]]:
    scale = float(np.max(np.abs(r.truth), initial=0.0))
    if not scale or min(r.truth.shape) < 3:
        yield 0, 0
        return
    yield _rank(r.truth, scale), _rank(r.analytic - r.truth, scale)


def _rank(m: np.ndarray, scale: float) -> int:
    return int(np.sum(np.linalg.svd(m, compute_uv=False) > 1e-8 * scale * max(m.shape)))
