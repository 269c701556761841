"""Mistakes in a formula: a factor of the chain rule or a term of a sum left out, or one too many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations

import numpy as np

from handgrad.checking.evidence import (
    Case,
    Evidence,
    Quantity,
    cotangent,
    given,
    of,
    output,
    true_gradient,
)
from handgrad.checking.findings import Finding


def offset(case: Case) -> Finding | None:
    """A - T is one number, whatever the cotangent is."""
    numbers = []
    for e in case.usual_wrong:
        a, t = e.analytic[case.name], e.truth[case.name]
        if a is None or a.shape != t.shape or a.size < 2:
            return None
        c = float(np.mean(a - t))
        if not e.explains(case.name, t + c):
            return None
        numbers.append(c)
    if len(numbers) < 2 or max(numbers) - min(numbers) > 1e-6 * max(map(abs, numbers)):
        return None
    return Finding(
        "offset",
        case.name,
        f"the gradient of {case.name} is off by the same constant everywhere, {numbers[0]:.6g}, whatever "
        "grad_output is: each term of a gradient has grad_output as a factor; is an eps or a penalty added?",
        {"offset": numbers[0]},
    )


# --- factors ------------------------------------------------------------------------------------


def missing_factor(case: Case) -> Finding | None:
    """A differs from T by an element-wise factor, at the gradient itself or at the cotangent."""
    for words, factor in _factors(case):
        for verb, apply in (("lacks", np.divide), ("has one too many:", np.multiply)):

            def at_gradient(
                e: Evidence, factor: Quantity = factor, apply: np.ufunc = apply
            ) -> np.ndarray | None:
                t, f = e.truth[case.name], factor(e)
                if np.broadcast_shapes(t.shape, f.shape) != t.shape:
                    return None
                with np.errstate(all="ignore"):
                    return (
                        np.where(t == 0, 0.0, apply(t, f))
                        if apply is np.multiply
                        else np.asarray(apply(t, f))
                    )

            def at_cotangent(
                e: Evidence, factor: Quantity = factor, apply: np.ufunc = apply
            ) -> np.ndarray | None:
                (dy,) = e.cotangents
                f = factor(e)
                if dy is None or np.broadcast_shapes(dy.shape, f.shape) != dy.shape:
                    return None
                with np.errstate(all="ignore"):
                    changed = apply(dy, f)
                return e.vjp([changed])[case.name] if np.all(np.isfinite(changed)) else None

            for candidate in (at_gradient, at_cotangent):
                try:
                    explained = case.every(candidate)
                except ValueError:
                    continue
                if explained:
                    return _factor(case.name, f"{verb} the element-wise factor {words}", words)
    return None


def _factor(name: str, what: str, factor: str) -> Finding:
    return Finding(
        "missing-factor",
        name,
        f"the gradient of {name} {what}: follow the chain rule through each function in between",
        {"factor": factor},
    )


def constant_ratio(case: Case) -> Finding | None:
    """A / T is a function of the inputs' elements at the same place, and no constant."""
    shape = case.wrong[0].truth[case.name].shape
    table: dict[tuple[float, ...], list[float]] = {}
    for e in case.all:
        a, t = e.analytic[case.name], e.truth[case.name]
        same = [x for x in e.inputs.values() if x.shape == shape]
        if a is None or a.shape != t.shape or not same:
            return None
        live = (
            np.isfinite(a) & (np.abs(t) > 1e3 * e.allowed[case.name]) & (np.abs(t) > 1e-6 * np.max(np.abs(t)))
        )
        for key, q in zip(np.stack([x[live] for x in same], -1), a[live] / t[live], strict=True):
            table.setdefault(tuple(key), []).append(float(q))
    repeated = [np.array(v) for v in table.values() if len(v) > 1]
    if len(repeated) < 3 or any(np.ptp(v) > 1e-6 * np.max(np.abs(v)) for v in repeated):
        return None
    values = np.concatenate(repeated)
    if np.ptp(values) <= 1e-6 * np.max(np.abs(values)):
        return None
    return _factor(
        case.name,
        "differs by an element-wise factor that depends on the inputs at the same place alone",
        "of the inputs",
    )


def _factors(case: Case) -> Iterator[tuple[str, Quantity]]:
    """Derivatives and values that a chain rule multiplies by."""
    e0 = case.wrong[0]
    named: list[tuple[str, Quantity]] = []
    for i in range(len(e0.outputs)):
        word = "y" if len(e0.outputs) == 1 else f"y{i}"
        named.append((word, output(i)))
    for n in e0.inputs:
        named.append((n, given(n)))
    for word, q in named:
        for words, f in _FUNCTIONS:
            yield words.replace("v", word), of(f, q)


_FUNCTIONS: tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("v", lambda v: v),
    ("(1 - v)", lambda v: 1 - v),
    ("v (1 - v)", lambda v: v * (1 - v)),
    ("(1 - v²)", lambda v: 1 - v * v),
    ("v²", lambda v: v * v),
    ("√v", lambda v: np.sqrt(np.abs(v))),
    ("2 v", lambda v: 2 * v),
    ("σ(v)", lambda v: 1 / (1 + np.exp(-np.clip(v, -500, 500)))),
    ("σ'(v)", lambda v: np.exp(-np.abs(v)) / (1 + np.exp(-np.abs(v))) ** 2),
    ("(1 - tanh² v)", lambda v: 1 - np.tanh(v) ** 2),
    ("exp(v)", lambda v: np.exp(np.clip(v, -500, 500))),
    ("cos v", np.cos),
    ("sign(v)", np.sign),
    ("[v > 0]", lambda v: (v > 0).astype(float)),
)


# --- terms --------------------------------------------------------------------------------------


def missing_term(case: Case) -> Finding | None:
    """A - T is a multiple of a term that such formulas have."""
    for words, term in _terms(case):
        fits = []
        for e in case.usual_wrong:
            a, t = e.analytic[case.name], e.truth[case.name]
            if a is None or a.shape != t.shape:
                return None
            try:
                v = np.broadcast_to(term(e), t.shape)
            except (ValueError, IndexError, ZeroDivisionError):
                break
            square = float(np.sum(v * v))
            if not np.isfinite(square) or square == 0 or _is_noise(v, e, case.name):
                break
            c = float(np.sum((a - t) * v) / square)
            if not e.explains(case.name, t + c * v, 1 + abs(c)):
                break
            fits.append(c)
        if len(fits) == len(case.usual_wrong) and (
            case.wrong[0].truth[case.name].size > 1 or _constant(fits)
        ):
            return _term(case.name, f"the residual is {fits[0]:.4g} times {words}", words, fits[0])
    return None


def _is_noise(v: np.ndarray, e: Evidence, name: str) -> bool:
    """Whether a term is no larger than the rounding of what it is made of: anything is a multiple of that."""
    return bool(
        np.max(np.abs(v), initial=0.0) <= 2.0**20 * e.unit * np.max(np.abs(e.truth[name]), initial=0.0)
    )


def _constant(fits: list[float]) -> bool:
    return len(fits) > 1 and max(fits) - min(fits) <= 1e-6 * max(map(abs, fits))


def _term(name: str, evidence: str, term: str, coefficient: float | None) -> Finding:
    return Finding(
        "missing-term",
        name,
        f"the gradient of {name} lacks a term of a sum, or has one too many: {evidence}",
        {"term": term, "coefficient": coefficient},
    )


def smooth_along(case: Case) -> Finding | None:
    """The residual is constant along an axis, or a multiple of y or x along it: a mean or a projection."""
    shape = case.wrong[0].truth[case.name].shape
    if any(e.residual(case.name) is None for e in case.usual_wrong):
        return None
    shapes: list[tuple[str, Quantity]] = [("1", lambda e: np.ones_like(e.truth[case.name]))]
    e0 = case.wrong[0]
    for i, y in enumerate(e0.outputs):
        if y.shape == shape:
            shapes.append(("y", output(i)))
    for n, x in e0.inputs.items():
        if x.shape == shape:
            shapes.append((n, given(n)))
    for count in range(1, len(shape) + 1):
        for axes in combinations(range(len(shape)), count):
            if np.prod([shape[a] for a in axes]) < 3:
                continue
            for words, q in shapes:
                if all(_projects(e, case.name, q(e), axes) for e in case.usual_wrong):
                    along = ", ".join(map(str, axes))
                    return _term(
                        case.name,
                        f"the residual is a multiple of {words} along axis {along}",
                        f"{words} along {along}",
                        None,
                    )
    return None


def _projects(e: Evidence, name: str, v: np.ndarray, axes: tuple[int, ...]) -> bool:
    """Whether A - T = c v + d along the axes, with c and d constant there."""
    residual = e.residual(name)
    if residual is None:
        return False
    length = int(np.prod([v.shape[a] for a in axes]))
    if e.explains(name, e.truth[name] + _on(residual, v, axes)):
        return True
    if length < 4 or np.ptp(v) == 0:
        return False
    mean = np.mean(residual, axis=axes, keepdims=True)
    along = _on(residual - mean, v - np.mean(v, axis=axes, keepdims=True), axes)
    return e.explains(name, e.truth[name] + mean + along)


def _on(r: np.ndarray, v: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """The projection of r on v along the axes."""
    square = np.sum(v * v, axis=axes, keepdims=True)
    with np.errstate(all="ignore"):
        return np.asarray(np.where(square > 0, np.sum(r * v, axis=axes, keepdims=True) / square, 0.0) * v)


def _products(e: Evidence, name: str) -> Iterator[tuple[str, Quantity]]:
    """Matrix products of two inputs, of the shape of the gradient."""
    shape = e.truth[name].shape
    for a, x in e.inputs.items():
        for b, w in e.inputs.items():
            if a == b or min(x.ndim, w.ndim) < 1 or w.ndim < 2:
                continue
            for word, m in ((b, given(b)), (f"{b}ᵀ", of(partial(np.swapaxes, axis1=-1, axis2=-2), given(b)))):
                if x.shape[-1] == m(e).shape[-2] and (*x.shape[:-1], m(e).shape[-1]) == shape:
                    yield f"{a} {word}", of(np.matmul, given(a), m)


def _rows_times(d: np.ndarray, v: np.ndarray) -> np.ndarray:
    """An incoming gradient of a number each row, or of the same shape, times ``v``."""
    return np.asarray(d.reshape(*d.shape, *(1,) * (v.ndim - d.ndim)) * v)


def _terms(case: Case) -> Iterator[tuple[str, Quantity]]:
    """Terms of a gradient: of grad_output, the output, the inputs and the other gradients."""
    e0 = case.wrong[0]
    one = len(e0.cotangents) == 1 and e0.cotangents[0] is not None
    values: list[tuple[str, Quantity]] = []
    for i in range(len(e0.outputs)):
        values.append(("y" if len(e0.outputs) == 1 else f"y{i}", output(i)))
    values += [(n, given(n)) for n in e0.inputs]
    for other in e0.truth:
        if other != case.name:
            yield f"the gradient of {other}", true_gradient(other)
    if one:
        yield "grad_output", cotangent
        for word, q in values:
            yield f"grad_output · {word}", of(np.multiply, cotangent, q)
            yield f"grad_output · {word}²", of(lambda d, v: d * v**2, cotangent, q)
        yield "the sum of grad_output", of(np.sum, cotangent)
        for axis in range(-2, 0):
            yield (
                f"the sum of grad_output over axis {axis}",
                of(partial(np.sum, axis=axis, keepdims=True), cotangent),
            )
        for word, q in _products(e0, case.name):
            yield f"grad_output · {word}", of(_rows_times, cotangent, q)
    for word, q in values:
        yield word, q
        yield f"sign({word})", of(np.sign, q)
    yield "the right gradient's mean", of(np.mean, true_gradient(case.name))
