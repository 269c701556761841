"""Mistakes seen in the Jacobian: which outputs a gradient hears of, and with what weight.

A backward pass is linear in the incoming gradient. Asked for one output element after the other it gives
rows of its Jacobian, and the truth gives the right ones: how they differ at one point names mistakes that
a single incoming gradient cannot tell apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from handgrad.checking.evidence import Case, Evidence
from handgrad.checking.findings import Finding

_ROWS = 128  # more are not asked for
_POINTS = 3


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
    complete = len(places) <= _ROWS
    if not complete:
        chosen = np.random.default_rng(0).choice(len(places), _ROWS, replace=False)
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
        found = (rows(e, case.name) for e in case.usual_wrong[: 2 * _POINTS])
        case.jacobians = [r for r in found if r is not None][:_POINTS]
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


def by_output(case: Case) -> Finding | None:
    """With several outputs: the incoming gradient of one of them is forgotten, or counted otherwise."""
    wrong = case.usual_wrong
    counts: list[list[float]] = []
    for e in wrong[:_POINTS]:
        if e.backward is None or sum(dy is not None for dy in e.cotangents) < 2:
            return None
        factors = []
        for k, dy in enumerate(e.cotangents):
            if dy is None:
                continue
            alone = [
                None if d is None else d if j == k else np.zeros_like(d) for j, d in enumerate(e.cotangents)
            ]
            try:
                a, t = e.backward(alone)[case.name], e.vjp(alone)[case.name]
            except Exception:
                return None
            if a is None or a.shape != t.shape:
                return None
            square = float(np.sum(t * t))
            c = float(np.sum(a * t)) / square if square else 1.0
            bound = 2.0**22 * e.unit * np.max(np.abs(t), initial=0.0)
            factors.append(c if np.all(np.abs(a - c * t) <= bound) else np.nan)
        counts.append(factors)
    if not counts:
        return None
    table = np.array(counts)
    off = [k for k in range(table.shape[1]) if not np.allclose(table[:, k], 1.0, rtol=1e-8)]
    if not off or len(off) == table.shape[1]:
        return None
    k = off[0]
    how = "in no simple way" if np.isnan(table[0, k]) else f"{table[0, k]:.6g} times"
    return Finding(
        "missing-term",
        case.name,
        f"the gradient of {case.name} is a sum over the outputs, and that of output {k} counts {how}: add "
        f"what grad_output {k} contributes, once",
        {"term": f"grad_output {k}", "coefficient": None if np.isnan(table[0, k]) else table[0, k]},
    )


def _in_parts(case: Case) -> list[tuple[Rows, np.ndarray]]:
    """Jacobians whose numbers are each right, missing, or not due; with those that are missing."""
    parts = [(r, r.live & ~r.right & (np.abs(r.analytic) <= r.bound)) for r in of(case)]
    if not all(np.all(r.right | lost | r.extra) for r, lost in parts):
        return []
    return [] if all(np.all(r.right) for r, _ in parts) else parts


def dropped(case: Case) -> Finding | None:
    """Of a sum over outputs, some contributions are missing, or go to the wrong elements."""
    parts = _in_parts(case)
    if not parts:
        return None
    if any(np.any(r.extra) for r, _ in parts):
        one_each = all(np.all(np.sum(r.live, axis=1) <= 1) for r, _ in parts)
        moved = all(np.all(np.any(lost, axis=1) | ~np.any(r.extra, axis=1)) for r, lost in parts)
        one_of_each = all(np.all(np.sum(r.live, axis=0) <= 1) for r, _ in parts)
        if (
            (one_each and moved)
            or all(_distinct(r, lost) and _same_numbers(r, 1) for r, lost in parts)
            or (one_of_each and all(_same_numbers(r, 0) for r, _ in parts))
        ):
            return Finding(
                "permuted",
                case.name,
                f"the gradient of {case.name} has the right contributions of each output in the wrong "
                "places: look at the order of indices, of axes, or of a kernel",
            )
        return None
    if not any(np.any(lost & np.any(r.live & r.right, axis=0)) for r, lost in parts):
        return None
    if all(np.all(np.any(lost, axis=1) <= ~np.any(r.live & r.right, axis=1)) for r, lost in parts):
        return Finding(
            "missing-sum",
            case.name,
            f"the gradient of {case.name} leaves out some outputs altogether: sum over all outputs that "
            "depend on an element; where there are several, add, do not overwrite",
        )
    diagonal = all(lost.shape[0] == lost.shape[1] and not np.any(np.diag(lost)) for _, lost in parts)
    share = sum(int(lost.sum()) for _, lost in parts) / sum(int(r.live.sum()) for r, _ in parts)
    how = (
        "the Jacobian's diagonal is right, what each element does to the others is forgotten"
        if diagonal
        else "where several outputs depend on one element, add what each gives, do not overwrite"
    )
    return Finding(
        "missing-term",
        case.name,
        f"the gradient of {case.name} is a sum in which {share:.0%} of the terms are missing: {how}",
        {"term": "off-diagonal" if diagonal else "contributions", "share": share},
    )


def masked(case: Case) -> Finding | None:
    """Right where due and passed on elsewhere: another mask where values decide, else another sum."""
    parts = _in_parts(case)
    if not parts:
        return None
    patterns = {(r.live.shape, r.live.tobytes()) for r, _ in parts}
    within = any(np.any(r.extra & np.any(r.live, axis=0)) for r, _ in parts)
    few = all(np.all(np.sum(r.live, axis=1) <= 1) for r, _ in parts)
    if all(r.single for r, _ in parts) or (len(patterns) > 1 and few) or not within:
        partly = any(np.any(r.live & r.right) for r, _ in parts)
        return Finding(
            "region" if partly else "missing-factor",
            case.name,
            f"the gradient of {case.name} is right but for a mask: it passes where nothing is due, or is "
            "zero where something is; multiply by the mask of the forward pass",
            {"where": "the mask differs", "factor": "a mask"},
        )
    if any(np.any(r.extra) for r, _ in parts):
        return Finding(
            "missing-sum",
            case.name,
            f"the gradient of {case.name} sums contributions of the wrong outputs: each one that is right is "
            "right in size, but others are missing, or others again are not due",
        )
    return None


def _same_numbers(r: Rows, axis: int) -> bool:
    """Whether each element gets the right numbers from other outputs (0), or gives them to others (1)."""
    a, t = np.sort(r.analytic, axis=axis), np.sort(r.truth, axis=axis)
    return bool(np.all(np.abs(a - t) <= r.bound))


def _distinct(r: Rows, lost: np.ndarray) -> bool:
    """Whether what is lost can be told apart: equal numbers are the same ones in any order."""
    at_most = np.max(np.where(lost, r.truth, -np.inf), axis=1)
    at_least = np.min(np.where(lost, r.truth, np.inf), axis=1)
    several = np.sum(lost, axis=1) > 1
    return bool(np.all(at_most[several] - at_least[several] > r.bound))


def reordered(case: Case) -> Finding | None:
    """The Jacobian has the right rows, for other outputs."""
    found = of(case)
    for r in found:
        if not r.complete or len(r.truth) < 3 or not np.any(r.live) or np.all(np.sum(r.live, axis=1) <= 1):
            return None
        direction = np.random.default_rng(1).normal(size=r.truth.shape[1])
        a, t = r.analytic @ direction, r.truth @ direction
        bound = 8 * r.bound * r.truth.shape[1]
        if np.all(np.abs(a - t) <= bound) or np.any(np.abs(np.sort(a) - np.sort(t)) > bound):
            return None
    if not found:
        return None
    return Finding(
        "permuted",
        case.name,
        f"the gradient of {case.name} is the right one for grad_output with its elements in another order: "
        "look at how grad_output is reshaped, flipped or indexed",
    )


def summed_wrongly(case: Case) -> Finding | None:
    """Each output depends on one element of a broadcast input: its share, summed over other axes."""
    for axes in _axes(case):
        if all(
            (c := _shares(e, case.name)) is not None and _is_sum(c, e, case.name, axes)
            for e in case.usual_wrong
        ):
            words = ", ".join(map(str, axes))
            return Finding(
                "missing-sum",
                case.name,
                f"the gradient of {case.name} is summed over axis {words} of grad_output, which is not what "
                "broadcasting added: sum over the axes along which it is repeated",
                {"summed over": list(axes)},
            )
    return None


def _axes(case: Case) -> Iterator[tuple[int, ...]]:
    e = case.wrong[0]
    if len(e.cotangents) == 1 and e.cotangents[0] is not None and e.cotangents[0].size <= 4 * _ROWS:
        for count in range(1, e.cotangents[0].ndim + 1):
            yield from combinations(range(e.cotangents[0].ndim), count)


def _shares(e: Evidence, name: str) -> np.ndarray | None:
    """What each output element adds to the gradient: an array of the output's shape."""
    if name not in e.shares:
        e.shares[name] = None
        (dy,) = e.cotangents
        assert dy is not None
        t = e.truth[name]
        if t.size < dy.size:
            shares = np.zeros(dy.size)
            for k in range(dy.size):
                alone = np.zeros_like(dy)
                alone.flat[k] = dy.flat[k]
                row = e.vjp([alone])[name]
                if np.count_nonzero(row) > 1:
                    break
                shares[k] = np.sum(row)
            else:
                e.shares[name] = shares.reshape(dy.shape)
    return e.shares[name]


def _is_sum(shares: np.ndarray, e: Evidence, name: str, axes: tuple[int, ...]) -> bool:
    a = e.analytic[name]
    if a is None:
        return False
    s, t = np.sum(shares, axis=axes).ravel(), e.truth[name].ravel()
    bound = 2.0**22 * e.unit * np.max(np.abs(s), initial=0.0)
    if s.size != a.size or (s.size == t.size and np.all(np.abs(s - t) <= bound)):
        return False
    return bool(np.all(np.abs(s - a.ravel()) <= bound))


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
