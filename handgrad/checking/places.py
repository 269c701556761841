"""Right values in wrong places: transposed, flipped, shifted, exchanged, summed over another axis."""

from __future__ import annotations

from functools import partial
from itertools import combinations

import numpy as np

from handgrad.checking.evidence import Case, Evidence, near, of, true_gradient
from handgrad.checking.findings import Finding


def transpose(case: Case) -> Finding | None:
    shape, true = case.wrong[0].truth[case.name].shape, true_gradient(case.name)
    for i, j in combinations(range(len(shape)), 2):
        if min(shape[i], shape[j]) < 2:
            continue
        if shape[i] == shape[j] and case.every(of(partial(np.swapaxes, axis1=i, axis2=j), true)):
            return _transposed(case.name, i, j)
        if shape[i] != shape[j] and case.every(of(partial(_exchanged, i, j, shape), true)):
            return _transposed(case.name, i, j)
        swapped = list(shape)
        swapped[i], swapped[j] = swapped[j], swapped[i]
        if shape[i] != shape[j] and all(
            (a := e.analytic[case.name]) is not None
            and a.shape == tuple(swapped)
            and near(a, np.swapaxes(e.truth[case.name], i, j), e)
            for e in case.wrong
        ):
            return _transposed(case.name, i, j)
    return None


def transposed_cotangent(case: Case) -> Finding | None:
    for axes in _square_axes(case):
        if case.every(partial(_from_transposed, case.name, axes)):
            return Finding(
                "transpose",
                case.name,
                f"the gradient of {case.name} is the right one for grad_output with axes {axes[0]} and "
                f"{axes[1]} exchanged: transpose grad_output on its way",
                {"axes of grad_output": list(axes)},
            )
    return None


def _square_axes(case: Case) -> list[tuple[int, int]]:
    (dy, *others) = case.wrong[0].cotangents
    if others or dy is None:
        return []
    return [(i, j) for i, j in combinations(range(dy.ndim), 2) if dy.shape[i] == dy.shape[j] > 1]


def _from_transposed(name: str, axes: tuple[int, int], e: Evidence) -> np.ndarray | None:
    (dy,) = e.cotangents
    return None if dy is None or dy.ndim <= max(axes) else e.vjp([np.swapaxes(dy, *axes).copy()])[name]


def _exchanged(i: int, j: int, shape: tuple[int, ...], t: np.ndarray) -> np.ndarray:
    return np.swapaxes(t, i, j).reshape(shape)


def _transposed(name: str, i: int, j: int) -> Finding:
    return Finding(
        "transpose",
        name,
        f"the gradient of {name} is right but for axes {i} and {j}, which are exchanged: transpose it",
        {"axes": [i, j]},
    )


def swapped_inputs(case: Case) -> Finding | None:
    for other in case.wrong[0].truth:
        theirs = case.wrong[0].analytic.get(other)
        alone = theirs is not None and not np.any(case.wrong[0].wrong(other))  # then a factor is forgotten
        if other != case.name and not alone and case.every(true_gradient(other)):
            return Finding(
                "permuted",
                case.name,
                f"the gradient of {case.name} is that of {other}: backward returns them in another order "
                "than forward takes its inputs",
                {"swapped with": other},
            )
    return None


def permuted(case: Case) -> Finding | None:
    shape, true = case.wrong[0].truth[case.name].shape, true_gradient(case.name)
    axes = range(len(shape))
    for count in range(1, len(shape) + 1):
        for flipped in combinations(axes, count):
            if case.every(of(partial(np.flip, axis=flipped), true)):
                return Finding(
                    "permuted",
                    case.name,
                    f"the gradient of {case.name} has the right values, flipped along axis "
                    f"{', '.join(map(str, flipped))}",
                    {"flipped": list(flipped)},
                )
    for axis in axes:
        for shift in range(1, shape[axis]):
            if case.every(of(partial(np.roll, shift=shift, axis=axis), true)):
                return Finding(
                    "permuted",
                    case.name,
                    f"the gradient of {case.name} has the right values, shifted by {shift} along axis {axis}",
                    {"axis": axis, "shift": shift},
                )
    if case.wrong[0].truth[case.name].size > 1 and all(_same_values(e, case.name) for e in case.usual_wrong):
        return Finding(
            "permuted",
            case.name,
            f"the gradient of {case.name} has the right values in the wrong places: look at each reshape, "
            "transpose, roll, sort and index on its way, and at the order in which axes are flattened",
        )
    return None


def shifted(case: Case) -> Finding | None:
    """T moved along an axis, what falls off at the end being lost."""
    for axis, n in enumerate(case.wrong[0].truth[case.name].shape):
        for shift in (s for k in range(1, n // 2 + 1) for s in (k, -k)):
            if all(_moved(e, case.name, axis, shift) for e in case.usual_wrong):
                when = "late" if shift > 0 else "early"
                return Finding(
                    "permuted",
                    case.name,
                    f"the gradient of {case.name} has the right values, {abs(shift)} too {when} along axis "
                    f"{axis}: look at the padding, or at the first index",
                    {"axis": axis, "shift": shift},
                )
    return None


def _moved(e: Evidence, name: str, axis: int, shift: int) -> bool:
    """Whether A is T moved along an axis, where both are known: at least half, and four different numbers."""
    a, t = e.analytic[name], e.truth[name]
    n = t.shape[axis]
    if a is None or a.shape != t.shape or 2 * abs(shift) > n:
        return False
    to, start = slice(max(shift, 0), n + min(shift, 0)), slice(max(-shift, 0), n + min(-shift, 0))
    here, there = (np.moveaxis(v, axis, 0)[part] for v, part in ((a, to), (t, start)))
    changed = np.abs(here - np.moveaxis(t, axis, 0)[to]) > 2.0**22 * e.unit * np.max(np.abs(t), initial=0.0)
    return len(np.unique(there)) > 3 and bool(np.mean(changed) > 0.5) and near(here, there, e)


def _same_values(e: Evidence, name: str) -> bool:
    a, t = e.analytic[name], e.truth[name]
    return (
        a is not None
        and a.size == t.size
        and len(np.unique(t)) > 1
        and near(np.sort(a.ravel()), np.sort(t.ravel()), e)
    )


def summed_over_another(case: Case) -> Finding | None:
    """Its shape, or its total along an axis, tells that another axis is summed over."""
    shape = case.wrong[0].truth[case.name].shape
    for axis in range(len(shape)):
        if all(_same_total(e, case.name, axis) for e in case.usual_wrong):
            return Finding(
                "missing-sum",
                case.name,
                f"the gradient of {case.name} has the right total along axis {axis}, in the wrong places and "
                "numbers: what is summed over and what is kept are exchanged; sum over the other axis",
                {"axis": axis},
            )
    return None


def _same_total(e: Evidence, name: str, axis: int) -> bool:
    a, t = e.analytic[name], e.truth[name]
    if a is None or a.ndim != t.ndim or a.shape == t.shape or t.shape[axis] < 2:
        return False
    rest = [tuple(n for i, n in enumerate(v.shape) if i != axis) for v in (a, t)]
    dense = bool(np.all(a != 0) and np.all(t != 0))  # zeros beside the right values are another matter
    return dense and rest[0] == rest[1] and near(np.sum(a, axis=axis), np.sum(t, axis=axis), e)


def part_of_the_sum(case: Case) -> Finding | None:
    """A gradient that took only a part of a batch: the first, or the last, along some axis."""
    if len(case.wrong[0].cotangents) != 1 or case.wrong[0].cotangents[0] is None:
        return None
    shape = case.wrong[0].cotangents[0].shape
    for axis, n in enumerate(shape):
        for part in {0, n - 1} if n > 1 else ():

            def only(e: Evidence, axis: int = axis, part: int = part) -> np.ndarray | None:
                (dy,) = e.cotangents
                if dy is None or dy.ndim <= axis or dy.shape[axis] <= part:
                    return None
                kept = np.zeros_like(dy)
                where = (slice(None),) * axis + (part if part == 0 else -1,)
                kept[where] = dy[where]
                return e.vjp([kept])[case.name]

            if case.every(only):
                which = "first" if part == 0 else "last"
                return Finding(
                    "missing-sum",
                    case.name,
                    f"the gradient of {case.name} takes only the {which} part of grad_output along axis "
                    f"{axis}: sum over it",
                    {"axis": axis},
                )
    return None
