"""Which mistake makes a gradient look like that: hypotheses, each tested on everything that was seen.

An :class:`Evidence` is one backward pass: the analytic gradients A, the truths T, what rounding
allows, and the values that went in and out. A hypothesis is stated only where it explains every
evidence, among them directions that did not suggest it; where none does, the answer is "unknown".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations

import numpy as np

from handgrad.checking import formulas
from handgrad.checking.contributions import (
    by_output,
    dropped,
    elsewhere,
    masked,
    others_summed,
    reordered,
    summed_wrongly,
)
from handgrad.checking.evidence import Case, Evidence, forgive_rounding, near, of, true_gradient
from handgrad.checking.findings import Finding
from handgrad.checking.jacobians import (
    between,
    direct_path,
    ignored,
    inner_factor,
    low_rank,
    rounded,
    share_factor,
)
from handgrad.checking.paths import one_step
from handgrad.checking.regions import local, region, region_by_size, region_of_outputs
from handgrad.checking.signs import not_symmetrised, signs_of_terms, transposed_jacobian
from handgrad.checking.terms import constant_ratio, missing_factor, missing_term, offset, smooth_along

_PASSES = 6  # that are done again for one output alone
_GROUPS = 3  # of shapes that are looked at, where the first ones show no known mistake


def diagnose(name: str, evidence: Sequence[Evidence]) -> Finding | None:
    """The best explanation of a gradient that is wrong in some of ``evidence``.

    None where only its shape is wrong: that is said elsewhere.
    """
    forgive_rounding(evidence, name)
    groups: dict[tuple[object, ...], list[Evidence]] = {}
    # a wrong shape says more than wrong numbers
    for e in sorted(evidence, key=lambda e: e.well_shaped(name)):
        groups.setdefault(tuple((n, x.shape) for n, x in e.inputs.items()), []).append(e)
    found = []
    for group in groups.values():
        if any(np.any(e.wrong(name)) for e in group):
            found.append(_diagnosed(Case(name, group, evidence[0])))
            if not group[0].well_shaped(name) and (found[-1] is None or found[-1].kind == "unknown"):
                found.pop()  # the other shapes may tell
                continue
            if len(found) == _GROUPS or (found[-1] is not None and found[-1].kind != "unknown"):
                break
    return next((f for f in reversed(found) if f is not None), None)  # None: its shape alone is wrong


def _diagnosed(case: Case) -> Finding | None:
    """The best explanation of what was seen at inputs of the same shapes."""
    name = case.name
    shaped = all(a is None or a.shape == e.truth[name].shape for e in case.wrong for a in [e.analytic[name]])
    finite = [e for e in case.wrong if _wrong_though_finite(e, name)]
    if shaped and not any(e.usual(name) for e in finite):
        finding = _not_finite(case)
        if finding is not None:
            return finding
    hypotheses = _HYPOTHESES if shaped else _ILL_SHAPED
    for _, hypothesis in hypotheses:
        finding = hypothesis(case)
        if finding is not None:
            return finding
    if not shaped:
        return None
    finding = _not_finite(case)
    if finding is not None:
        return finding
    tried = [words for words, _ in hypotheses]
    return Finding(
        "unknown",
        name,
        f"the gradient of {name} is wrong in no way known here; none of {len(tried)} explanations fits, from "
        f"{tried[0]} to {tried[-1]}",
        {"excluded": tried},
    )


def _wrong_though_finite(e: Evidence, name: str) -> bool:
    a, t = e.analytic[name], e.truth[name]
    if a is None or a.shape != t.shape:
        return True
    with np.errstate(all="ignore"):  # cancellation next to a division by zero is the same mistake
        far = np.abs(a - t) > 2.0**20 * e.unit * np.max(np.abs(t), initial=0.0)
    return bool(np.any(e.wrong(name) & np.isfinite(a) & far))


# --- simple ones ------------------------------------------------------------------------------


def _not_finite(case: Case) -> Finding | None:
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


def _zero(case: Case) -> Finding | None:
    if all(a is None or not np.any(a) for a in (e.analytic[case.name] for e in case.wrong)):
        how = "None" if all(e.analytic[case.name] is None for e in case.wrong) else "zero"
        return Finding(
            "zero",
            case.name,
            f"the gradient of {case.name} is {how} where it should not be: is it returned at all, or "
            "detached on its way?",
        )
    return None


def _sign(case: Case) -> Finding | None:
    if case.every(lambda e: -e.truth[case.name]):
        return Finding("sign", case.name, f"the gradient of {case.name} has the opposite sign")
    return None


def _scale(case: Case, somewhere: bool = False) -> Finding | None:
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


def _some_signs(case: Case) -> Finding | None:
    """Right but for the sign of some elements."""
    if case.every(lambda e: np.copysign(e.truth[case.name], e.analytic_or_zero(case.name))):
        return Finding(
            "sign",
            case.name,
            f"the gradient of {case.name} has the right size everywhere and the opposite sign at some "
            "elements: is there an absolute value that should not be, or none where one should?",
        )
    return None


# --- places -----------------------------------------------------------------------------------


def _transpose(case: Case) -> Finding | None:
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


def _transposed_cotangent(case: Case) -> Finding | None:
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


def _swapped_inputs(case: Case) -> Finding | None:
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


def _permuted(case: Case) -> Finding | None:
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


def _shifted(case: Case) -> Finding | None:
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


def _summed_over_another(case: Case) -> Finding | None:
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


# --- several outputs --------------------------------------------------------------------------


def _through_one_output(case: Case) -> Finding | None:
    """What comes through one of several outputs is wrong in a known way."""
    count = sum(dy is not None for dy in case.wrong[0].cotangents)
    if count < 2:
        return None
    for k in range(len(case.wrong[0].cotangents)):
        chosen = [*case.usual_wrong[:_PASSES], *case.all[:_PASSES]]
        seen = [e.through(k, case.name) for i, e in enumerate(chosen) if not any(e is o for o in chosen[:i])]
        alone = [e for e in seen if e is not None]
        if not any(np.any(e.wrong(case.name)) for e in alone):
            continue
        if not any(np.any(e.truth[case.name]) for e in alone):
            return Finding(
                "missing-term",
                case.name,
                f"the gradient of {case.name} has a term from grad_output {k}, though output {k} does not "
                f"depend on {case.name}: what belongs to another gradient is added too early, or to too many",
                {"term": f"grad_output {k}"},
            )
        finding = _diagnosed(Case(case.name, alone, case.given))
        if finding is not None and finding.kind == "zero":
            return Finding(
                "missing-term",
                case.name,
                f"the gradient of {case.name} is a sum over the outputs, and nothing comes from output {k}: "
                f"add what grad_output {k} contributes",
                {"term": f"grad_output {k}", "coefficient": 0.0},
            )
        if finding is not None and finding.kind != "unknown":
            return replace(
                finding,
                message=f"in what comes from output {k}: {finding.message}",
                details={**finding.details, "output": k},
            )
    return None


# --- sums -------------------------------------------------------------------------------------


def _missing_sum(case: Case) -> Finding | None:
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


def _first(mask: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(mask)[0])


Hypothesis = Callable[[Case], Finding | None]

# from the most specific to the least: each has to explain what was seen at all usual inputs
_HYPOTHESES: tuple[tuple[str, Hypothesis], ...] = (
    ("zero", _zero),
    ("sign", _sign),
    ("scale", _scale),
    ("a lower precision", rounded),
    ("ignored grad_output", ignored),
    ("transpose", _transpose),
    ("exchanged inputs", _swapped_inputs),
    ("permuted", _permuted),
    ("offset", offset),
    ("another sum", summed_wrongly),
    ("outputs", by_output),
    ("one of several outputs", _through_one_output),
    ("transpose of grad_output", _transposed_cotangent),
    ("outputs in another order", reordered),
    ("a symmetric matrix", not_symmetrised),
    ("a region of outputs", partial(region_of_outputs, indices=False)),
    ("missing contributions", dropped),
    ("a region of outputs by labels", region_of_outputs),
    ("shifted", _shifted),
    ("local", local),
    ("region", region),
    ("a region by size", region_by_size),
    ("scale on some inputs", partial(_scale, somewhere=True)),
    ("a mask", masked),
    ("a part of the sum", _missing_sum),
    ("some signs", _some_signs),
    ("the derivative of all", formulas.underived),
    ("signs of terms", signs_of_terms),
    ("a Jacobian not transposed", transposed_jacobian),
    ("a factor by its formula", formulas.factor),
    ("a term by its formula", formulas.short_term),
    ("one step", one_step),
    ("a sum over others", others_summed),
    ("a factor at inputs or outputs", between),
    ("a factor by two formulas", formulas.two_factors),
    ("a term by two formulas", formulas.term),
    ("one term of several", formulas.one_term),
    ("a region of outputs by size", partial(region_of_outputs, by_size=True)),
    ("contributions elsewhere", elsewhere),
    ("a direct path", direct_path),
    ("a factor in between", inner_factor),
    ("a factor", missing_factor),
    ("a term", missing_term),
    ("a term along an axis", smooth_along),
    ("a term of low rank", low_rank),
    ("a factor of the inputs", constant_ratio),
    ("a factor of each share", share_factor),
)
_ILL_SHAPED: tuple[tuple[str, Hypothesis], ...] = (
    ("transpose", _transpose),
    ("exchanged inputs", _swapped_inputs),
    ("another sum", summed_wrongly),
    ("a sum over another axis", _summed_over_another),
)
