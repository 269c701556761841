"""Mistakes in a part of the array: a few elements, or all that meet a condition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import combinations

import numpy as np

from handgrad.checking import jacobians
from handgrad.checking.evidence import (
    Case,
    Evidence,
    Quantity,
    cotangent,
    given,
    of,
    output,
    placements,
    true_gradient,
)
from handgrad.checking.findings import Finding

_LEAST = 3  # outputs of either kind
_SHARP = 1e-3  # of the usual error
_GAP = 0.25  # of the region's own extent, next to it: a border that is not seen is none


def _live(e: Evidence, name: str) -> np.ndarray:
    """Where agreement says something: the gradient is not next to nothing there."""
    t = np.abs(e.truth[name])
    return np.asarray((t > e.allowed[name]) & (t > 1e-6 * np.max(t, initial=0.0)))


def _gradual(case: Case) -> bool:
    """The error fades into rounding: that is saturation, and no border between two regions."""
    errors = []
    for e in case.usual_wrong:
        residual = e.residual(case.name)
        if residual is None:
            return True
        at = e.wrong(case.name) & _live(e, case.name) & np.isfinite(residual)
        errors.append(np.abs(residual[at] / e.truth[case.name][at]))
    error = np.concatenate(errors) if errors else np.zeros(0)
    return bool(error.size) and float(error.min()) < 1e-6 * float(error.max())


def local(case: Case) -> Finding | None:
    seen = list(case.wrong)
    if len(seen) == len(case.all) == 1 and seen[0] is case.given:
        seen += _again(seen[0], case.name)
    masks = [e.wrong(case.name) for e in seen]
    if len(seen) < 2 or len({m.shape for m in masks}) != 1 or masks[0].size < 4:
        return None
    union = np.logical_or.reduce(masks)
    count = int(union.sum())
    if count > max(3, union.size // 20) or count * 3 > union.size:
        return None
    indices = [list(map(int, i)) for i in np.argwhere(union)]
    return Finding(
        "local",
        case.name,
        f"the gradient of {case.name} is wrong at {', '.join(map(str, indices[:8]))}"
        f"{f' and {count - 8} more' if count > 8 else ''} only, of {union.size} elements, whatever the "
        "inputs are: look for an index, a bound of a loop, or a slice that is off by one",
        {"indices": indices},
    )


def _again(e: Evidence, name: str) -> list[Evidence]:
    """The same point under another incoming gradient."""
    fresh = e.again(name)
    if fresh is None or fresh[0] is None:
        return []
    return [replace(e, analytic={**e.analytic, name: fresh[0]}, truth={**e.truth, name: fresh[1]})]


def region(case: Case) -> Finding | None:
    """Wrong where an input, an output or an index meets a condition."""
    return _found(
        case, [*((*c, False) for c in _conditions(case)), *((*c, True) for c in _all_but_one(case))]
    )


def region_by_size(case: Case) -> Finding | None:
    """Wrong where an input, or the difference of two, is beyond a threshold."""
    return _found(case, ((*c, False) for c in _size_conditions(case)))


def _found(case: Case, conditions: Iterable[tuple[str, Quantity, bool]]) -> Finding | None:
    beyond = 8 if _gradual(case) else 2  # right ones: where errors fade, some are right by accident
    for words, condition, whole in conditions:
        try:
            if _separates(case, condition, beyond, whole):
                return Finding(
                    "region",
                    case.name,
                    f"the gradient of {case.name} is wrong only where {words}: look at that branch",
                    {"where": words},
                )
        except (ValueError, IndexError):
            continue
    return None


def _separates(case: Case, condition: Quantity, least: int, whole: bool) -> bool:
    """Wrong elements lie within the condition; within it, most are wrong (all of a ``whole`` one); there are
    both, and in one pass."""
    inside = outside = wrong_inside = 0
    together = False
    for e in case.all:
        wrong = e.wrong(case.name)
        where = np.broadcast_to(condition(e), wrong.shape)
        if np.any(wrong & ~where):
            return False
        live = _live(e, case.name) | wrong
        inside += int(np.sum(where & live))
        wrong_inside += int(np.sum(where & wrong))
        together |= bool(np.any(wrong) and np.any(~where & live)) or wrong.size == 1
        if any(e is u for u in case.usual):  # on kinks, overflow or zeros much agrees by accident
            outside += int(np.sum(~where & live))
    share = (
        0.95 if whole else 0.8 if wrong_inside < 10 else 0.5
    )  # many wrong ones are on one side by no accident
    return together and wrong_inside > 0 and outside >= least and wrong_inside >= share * inside


def _signs(case: Case) -> Iterator[tuple[str, Quantity]]:
    """Conditions on the sign of an input or output."""
    shape, e0 = case.wrong[0].truth[case.name].shape, case.wrong[0]
    named: list[tuple[str, Quantity, tuple[int, ...]]] = [
        (n, given(n), x.shape) for n, x in e0.inputs.items()
    ]
    named += [("the output", output(i), y.shape) for i, y in enumerate(e0.outputs)]
    if len(e0.cotangents) == 1 and e0.cotangents[0] is not None and e0.cotangents[0].shape == shape:
        named.append(("grad_output", cotangent, shape))  # clipped, or masked by its own values
    for word, quantity, own in named:
        for place in placements(own, shape):
            for words, test in _TESTS:
                yield f"{word} {words}", of(test, of(place, quantity))


def _conditions(case: Case) -> Iterator[tuple[str, Quantity]]:
    name = case.name
    shape = case.wrong[0].truth[name].shape
    e0 = case.wrong[0]
    yield from _signs(case)
    for word, difference in _differences(case):
        for words, test in _TESTS[:3]:
            yield word.replace("-", words[0]), of(test, difference)
    for axis, n in enumerate(shape):
        if n > 1:
            for part, words in ((0, "first"), (-1, "last")):
                at = of(partial(_at, axis, part), true_gradient(name))
                yield f"it is the {words} along axis {axis}", at
            rows = _wrong_places(case, axis)
            if rows is not None and 0 < len(rows) <= n // 2:
                yield (
                    f"the index along axis {axis} is {', '.join(map(str, rows))}",
                    of(partial(_at, axis, rows), true_gradient(name)),
                )
    if name in e0.inputs:
        yield "values are tied", of(_tied, given(name))
        for axis in range(len(shape)):
            for word, extreme in (("largest", np.max), ("smallest", np.min)):
                top = partial(_extreme, extreme, axis)
                yield f"it is the {word} along axis {axis}", of(top, given(name))
                tied = partial(_tied_extreme, extreme, axis)
                yield f"it shares the {word} value along axis {axis}", of(tied, given(name))


def _differences(case: Case) -> Iterator[tuple[str, Quantity]]:
    """This input minus another one of the same shape."""
    name, inputs = case.name, case.wrong[0].inputs
    for other in inputs:
        if other != name and name in inputs and inputs[other].shape == inputs[name].shape:
            yield f"{name} - {other}", of(np.subtract, given(name), given(other))


def _size_conditions(case: Case) -> Iterator[tuple[str, Quantity]]:
    e0 = case.wrong[0]
    shape = e0.truth[case.name].shape
    named = [(n, of(p, given(n))) for n, x in e0.inputs.items() for p in placements(x.shape, shape)]
    if len(e0.cotangents) == 1 and e0.cotangents[0] is not None and e0.cotangents[0].shape == shape:
        named.append(("grad_output", cotangent))
    for word, quantity in (*named, *_differences(case)):
        for words, condition in _thresholds(case, quantity):
            yield words.replace("x", word), condition


def _all_but_one(case: Case) -> Iterator[tuple[str, Quantity]]:
    """What is right for the first is used for all."""
    for axis, n in enumerate(case.wrong[0].truth[case.name].shape):
        if n > 2:
            at = of(partial(_at, axis, 0), true_gradient(case.name))
            yield f"it is not the first along axis {axis}", of(np.logical_not, at)


_TESTS: tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("< 0", lambda x: x < 0),
    ("> 0", lambda x: x > 0),
    ("= 0", lambda x: x == 0),
    ("<= 0", lambda x: x <= 0),
    (">= 0", lambda x: x >= 0),
)


_SIZES: tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...] = (("x", np.asarray), ("|x|", np.abs))


def _thresholds(case: Case, value: Quantity) -> Iterator[tuple[str, Quantity]]:
    """Conditions on x or |x|, with thresholds halfway between the wrong and the right."""
    for words, f in _SIZES:
        wrong, right, errors = [], [], []
        for e in case.all:
            mask = e.wrong(case.name)
            try:
                x = np.broadcast_to(value(e), mask.shape)
            except ValueError:
                return
            live = _live(e, case.name) | mask
            wrong.append(f(x)[mask])
            right.append(f(x)[~mask & live])
            errors.append(_sizes(e.analytic_or_zero(case.name), e.truth[case.name])[mask])
        for text, test in _intervals(*map(np.concatenate, (wrong, right, errors))):
            yield text.replace("x", words), of(test, of(f, value))


def _sizes(a: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Errors over the largest true value."""
    with np.errstate(all="ignore"):
        return np.asarray(np.nan_to_num(np.abs(a - t) / np.max(np.abs(t), initial=1e-300), nan=1.0))


def _intervals(
    bad: np.ndarray, good: np.ndarray, errors: np.ndarray
) -> Iterator[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    """x > t, a < x <= b and x <= t, where they hold for all of ``bad`` and none of ``good``. The ``errors``
    of the bad ones do not fade towards the border: that is saturation, and no border."""
    if not bad.size or len(np.unique(good)) < 2:
        return  # right at one value alone, such as 0: no region
    least, most = float(bad.min()), float(bad.max())
    usual, spread = float(np.median(errors)), most - least
    sharp = [errors[np.argmin(bad)] > _SHARP * usual, errors[np.argmax(bad)] > _SHARP * usual]
    if least > good.max() and sharp[0] and least - good.max() <= _GAP * spread:
        t = _round_between(float(good.max()), least)
        yield f"x > {t:.4g}", partial(np.less, t)
    inner = good[(good > least) & (good < most)]
    below, above = good[good <= least], good[good >= most]
    seen = [
        sharp[0] and least - below.max(initial=-np.inf) <= _GAP * spread,
        sharp[1] and above.min(initial=np.inf) - most <= _GAP * spread,
    ]
    if not inner.size and below.size and above.size and bad.size > 1 and any(seen):
        low = _round_between(float(below.max()), least)
        high = _round_between(most, float(above.min()))
        yield f"{low:.4g} < x <= {high:.4g}", partial(_within, low, high)
    if most < good.min() and sharp[1] and good.min() - most <= _GAP * spread:
        t = _round_between(most, float(good.min()))
        yield f"x <= {t:.4g}", partial(np.greater_equal, t)


# --- by output ----------------------------------------------------------------------------------


def region_of_outputs(case: Case, by_size: bool = False, early: bool = False) -> Finding | None:
    """What comes from some outputs is wrong: where something that is computed on the way meets a
    condition, such as a sum of inputs."""
    found = jacobians.of(case)
    if not found or not all(r.complete and len(r.evidence.cotangents) == 1 for r in found):
        return None
    wrong = np.concatenate([np.any(~r.right, axis=1) for r in found])
    right = np.concatenate([np.any(r.live, axis=1) for r in found]) & ~wrong
    errors = np.concatenate([np.max(_sizes(r.analytic, r.truth) * ~r.right, axis=1) for r in found])[wrong]
    if wrong.sum() < _LEAST or right.sum() < _LEAST:
        return None
    if early and all(r.single for r in found):
        return None  # the gradient's own elements say it more plainly
    tables = [_on_the_way(r.evidence, not early) for r in found]
    for word in tables[0]:
        if not all(word in t for t in tables):
            continue
        v = np.concatenate([t[word] for t in tables])
        tests = _by_size(v[wrong], v[right], errors) if by_size else _signs_of_bad(v[wrong])
        for words, test in tests:
            inside = test(v)
            if np.all(inside[wrong]) and not np.any(inside[right]):
                return Finding(
                    "region",
                    case.name,
                    f"the gradient of {case.name} is wrong in what comes from the outputs at which "
                    f"{words.replace('x', word)}: look at that branch",
                    {"where": words.replace("x", word)},
                )
    return None


def _signs_of_bad(bad: np.ndarray) -> Iterator[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    for words, test in _TESTS:
        if np.all(test(bad)):
            yield f"x {words}", test


def _by_size(
    bad: np.ndarray, good: np.ndarray, errors: np.ndarray
) -> Iterator[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    for words, f in _SIZES:
        for text, test in _intervals(f(bad), f(good), errors):
            yield text.replace("x", words), partial(_composed, test, f)


def _composed(
    test: Callable[[np.ndarray], np.ndarray], f: Callable[[np.ndarray], np.ndarray], v: np.ndarray
) -> np.ndarray:
    return test(f(v))


def _on_the_way(e: Evidence, indices: bool) -> dict[str, np.ndarray]:
    """What an output may have been computed from, an element each; with or without whole constants."""
    shape = e.outputs[0].shape
    counted = {n: x for n, x in e.inputs.items() if indices or n in e.truth or np.any(x % 1)}
    own = {n: next((p(x) for p in placements(x.shape, shape)), None) for n, x in counted.items()}
    values = {n: x for n, x in own.items() if x is not None} | {"the output": e.outputs[0]}
    made = dict(values)
    with np.errstate(all="ignore"):
        for (a, x), (b, z) in list(combinations([(n, v) for n, v in values.items() if n in e.inputs], 2))[:3]:
            made |= {
                f"{a} + {b}": x + z,
                f"{a} - {b}": x - z,
                f"{a} · {b}": x * z,
                f"{a} / {b}": x / np.where(z == 0, np.nan, z),
            }
    return {n: np.broadcast_to(v, shape).ravel() for n, v in made.items() if np.all(np.isfinite(v))}


def _within(low: float, high: float, v: np.ndarray) -> np.ndarray:
    return (low < v) & (v <= high)


def _round_between(low: float, high: float) -> float:
    """The roundest number between two."""
    for digits in range(-3, 12):
        t = round((low + high) / 2, digits)
        if low <= t < high:
            return t
    return (low + high) / 2


def _at(axis: int, places: int | list[int], like: np.ndarray) -> np.ndarray:
    mask = np.zeros(like.shape, bool)
    mask[(slice(None),) * axis + (places,)] = True
    return mask


def _wrong_places(case: Case, axis: int) -> list[int] | None:
    shapes = {e.truth[case.name].shape for e in case.wrong}
    if len(shapes) != 1:
        return None
    union = np.logical_or.reduce([e.wrong(case.name) for e in case.wrong])
    others = tuple(i for i in range(union.ndim) if i != axis)
    return [int(i) for i in np.flatnonzero(np.any(union, axis=others))]


def _extreme(extreme: Callable[..., np.ndarray], axis: int, x: np.ndarray) -> np.ndarray:
    return np.asarray(x == extreme(x, axis=axis, keepdims=True))


def _tied_extreme(extreme: Callable[..., np.ndarray], axis: int, x: np.ndarray) -> np.ndarray:
    top = _extreme(extreme, axis, x)
    return np.asarray(top & (np.sum(top, axis=axis, keepdims=True) > 1))


def _tied(x: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse] > 1).reshape(x.shape)
