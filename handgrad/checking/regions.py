"""Mistakes in a part of the array: a few elements, or all that meet a condition."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from handgrad.checking.evidence import Case, Evidence, Quantity, given, of, output, true_gradient
from handgrad.checking.findings import Finding


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
    masks = [e.wrong(case.name) for e in case.wrong]
    if len({m.shape for m in masks}) != 1 or masks[0].size < 4:
        return None
    union = np.logical_or.reduce(masks)
    count = int(union.sum())
    if count > max(3, union.size // 20) or count * 3 > union.size or len(case.wrong) < 2:
        return None
    indices = [list(map(int, i)) for i in np.argwhere(union)]
    return Finding(
        "local",
        case.name,
        f"the gradient of {case.name} is wrong at {', '.join(map(str, indices[:8]))} only, "
        f"of {union.size} elements, whatever the inputs are",
        {"indices": indices},
    )


def region(case: Case) -> Finding | None:
    """Wrong where an input, an output or an index meets a condition."""
    if _gradual(case):
        return None
    for words, condition in _conditions(case):
        try:
            if _separates(case, condition):
                return Finding(
                    "region",
                    case.name,
                    f"the gradient of {case.name} is wrong only where {words}: look at that branch",
                    {"where": words},
                )
        except (ValueError, IndexError):
            continue
    return None


def _separates(case: Case, condition: Quantity) -> bool:
    """Wrong elements lie within the condition; within it, most are wrong; and there are both."""
    inside = outside = wrong_inside = 0
    for e in case.all:
        wrong = e.wrong(case.name)
        where = np.broadcast_to(condition(e), wrong.shape)
        if np.any(wrong & ~where):
            return False
        live = _live(e, case.name) | wrong
        inside += int(np.sum(where & live))
        wrong_inside += int(np.sum(where & wrong))
        if any(e is u for u in case.usual):  # on kinks, overflow or zeros much agrees by accident
            outside += int(np.sum(~where & live))
    share = 0.8 if wrong_inside < 10 else 0.5  # many wrong ones are on one side by no accident
    return wrong_inside > 0 and outside > 1 and wrong_inside >= share * inside


def _conditions(case: Case) -> Iterator[tuple[str, Quantity]]:
    name = case.name
    shape = case.wrong[0].truth[name].shape
    e0 = case.wrong[0]
    for other, x in e0.inputs.items():
        if not _fits(x.shape, shape):
            continue
        for words, test in _TESTS:
            yield f"{other} {words}", of(test, given(other))
        for words, condition in _thresholds(case, given(other)):
            yield words.replace("x", other), condition
    for other in e0.inputs:
        if other != name and e0.inputs[other].shape == shape and name in e0.inputs:
            difference = of(np.subtract, given(name), given(other))
            for words, test in _TESTS[:3]:
                yield f"{name} {words[0]} {other}", of(test, difference)
            for words, condition in _thresholds(case, difference):
                yield words.replace("x", f"{name} - {other}"), condition
    for i, y in enumerate(e0.outputs):
        if y.shape == shape:
            for words, test in _TESTS:
                yield f"the output {words}", of(test, output(i))
    for axis, n in enumerate(shape):
        if n > 1:
            for part, words in ((0, "first"), (-1, "last")):
                yield (
                    f"it is the {words} along axis {axis}",
                    of(partial(_at, axis, part), true_gradient(name)),
                )
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


_TESTS: tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("< 0", lambda x: x < 0),
    ("> 0", lambda x: x > 0),
    ("= 0", lambda x: x == 0),
    ("<= 0", lambda x: x <= 0),
    (">= 0", lambda x: x >= 0),
)


def _thresholds(case: Case, value: Quantity) -> Iterator[tuple[str, Quantity]]:
    """x > t, x < t, |x| > t, |x| < t, with t halfway between the wrong and the right."""
    functions: tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...] = (
        ("x", np.asarray),
        ("|x|", np.abs),
    )
    for words, f in functions:
        wrong, right = [], []
        for e in case.all:
            x = value(e)
            mask = e.wrong(case.name)
            if x.shape != mask.shape:
                return
            live = _live(e, case.name) | mask
            wrong.append(f(x)[mask])
            right.append(f(x)[~mask & live])
        bad, good = np.concatenate([w.ravel() for w in wrong]), np.concatenate([r.ravel() for r in right])
        if not bad.size or len(np.unique(good)) < 2:
            continue  # right at one value alone, such as 0: no region
        if bad.min() > good.max():
            t = _round_between(float(good.max()), float(bad.min()))
            yield f"{words} > {t:.4g}", of(partial(np.less, t), of(f, value))
        inner = good[(good > bad.min()) & (good < bad.max())]
        below, above = good[good <= bad.min()], good[good >= bad.max()]
        if not inner.size and below.size and above.size and bad.size > 1:
            low = _round_between(float(below.max()), float(bad.min()))
            high = _round_between(float(bad.max()), float(above.min()))
            yield f"{low:.4g} < {words} <= {high:.4g}", of(partial(_within, low, high), of(f, value))
        if bad.max() < good.min():
            t = _round_between(float(bad.max()), float(good.min()))
            yield f"{words} <= {t:.4g}", of(partial(np.greater_equal, t), of(f, value))


def _within(low: float, high: float, v: np.ndarray) -> np.ndarray:
    return (low < v) & (v <= high)


def _round_between(low: float, high: float) -> float:
    """The roundest number between two."""
    for digits in range(-3, 12):
        t = round((low + high) / 2, digits)
        if low <= t < high:
            return t
    return (low + high) / 2


def _fits(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(a, b) == b
    except ValueError:
        return False


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
