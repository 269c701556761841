"""Which outputs a gradient sums: some forgotten, added to the wrong element, or summed along another axis."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from handgrad.checking.evidence import Case, Evidence
from handgrad.checking.findings import Finding
from handgrad.checking.jacobians import POINTS, ROWS, Rows, of


def by_output(case: Case) -> Finding | None:
    """With several outputs: the incoming gradient of one of them is forgotten, or counted otherwise."""
    wrong = case.usual_wrong
    counts: list[list[float]] = []
    for e in wrong[:POINTS]:
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
    if np.isnan(table[:, k]).any():
        return None
    how = f"{table[0, k]:.6g} times"
    return Finding(
        "missing-term",
        case.name,
        f"the gradient of {case.name} is a sum over the outputs, and that of output {k} counts {how}: add "
        f"what grad_output {k} contributes, once",
        {"term": f"grad_output {k}", "coefficient": table[0, k]},
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
            or (one_of_each and all(_same_numbers(r, 0) and _as_many(r) for r, _ in parts))
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
    whole = all(np.all(np.any(lost, axis=1) <= ~np.any(r.live & r.right, axis=1)) for r, lost in parts)
    if whole and not _one_kept(parts) and _same_outputs(parts):
        share = np.mean([np.mean(np.any(lost, axis=1)) for _, lost in parts])
        return Finding(
            "missing-term",
            case.name,
            f"the gradient of {case.name} hears nothing of some outputs, always the same ones ({share:.0%} "
            "of all): add what they contribute",
            {"term": "contributions", "share": float(share)},
        )
    if whole:
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


def _same_outputs(parts: list[tuple[Rows, np.ndarray]]) -> bool:
    """Whether the outputs that are left out are the same at all points."""
    gone = [np.any(lost, axis=1) for _, lost in parts]
    return len(gone) > 1 and all(g.shape == gone[0].shape and np.all(g == gone[0]) for g in gone)


def _one_kept(parts: list[tuple[Rows, np.ndarray]]) -> bool:
    """Whether one index alone counts along some axis of the output: a batch that is not summed."""
    for r, lost in parts:
        shape = np.shape(next(dy for dy in r.evidence.cotangents if dy is not None))
        if not r.complete or np.prod(shape) != len(lost):
            return True
        kept = (np.any(r.live, axis=1) & ~np.any(lost, axis=1)).reshape(shape)
        used = np.any(r.live, axis=1).reshape(shape)
        for axis, n in enumerate(shape):
            others = tuple(i for i in range(len(shape)) if i != axis)
            if n > 1 and np.sum(np.any(kept, axis=others)) == 1 < np.sum(np.any(used, axis=others)):
                return True
    return False


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
    return None


def others_summed(case: Case) -> Finding | None:
    """Each contribution that is right is right in size; others are missing, or not due."""
    parts = _in_parts(case)
    if not parts:
        return None
    if any(np.any(r.extra) for r, _ in parts):
        return Finding(
            "missing-sum",
            case.name,
            f"the gradient of {case.name} sums contributions of the wrong outputs: each one that is right is "
            "right in size, but others are missing, or others again are not due",
        )
    return None


def _same_numbers(r: Rows, axis: int | None) -> bool:
    """Whether each element gets the right numbers from other outputs (0), or each output gives them to others
    (1), or both (None)."""
    a, t = np.sort(r.analytic, axis=axis), np.sort(r.truth, axis=axis)
    return bool(np.all(np.abs(a - t) <= r.bound))


def _as_many(r: Rows) -> bool:
    """Whether no output gives to more elements than any should."""
    given = np.sum(np.abs(r.analytic) > r.bound, axis=1)
    return bool(np.max(given) <= np.max(np.sum(r.live, axis=1)))


def elsewhere(case: Case) -> Finding | None:
    """Each output gives the right numbers, or each element gets them, and others are exchanged."""
    found = of(case)
    if not found or not any(np.any(~r.right) for r in found):
        return None
    if not any(all(_same_numbers(r, axis) and r.complete for r in found) for axis in (0, 1, None)):
        return None
    return Finding(
        "permuted",
        case.name,
        f"the gradient of {case.name} has the right contributions in the wrong places: two axes of a weight "
        "are exchanged, a kernel is flipped, or an index runs the other way",
    )


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
    if len(e.cotangents) == 1 and e.cotangents[0] is not None and e.cotangents[0].size <= 4 * ROWS:
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
