"""Element-wise mistakes by their formula: a factor, or a term, that is a product of known functions.

Where each output meets one element of an input (or each element one output), the Jacobian is an array of
numbers, and so is the wrong one. Their ratio r and their difference d are compared with products
c f(u)^p g(v)^q of the usual functions of the inputs and outputs. The shorter formula is the likelier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import erf

import numpy as np

from handgrad.checking import jacobians
from handgrad.checking.evidence import Case, Evidence, placements
from handgrad.checking.findings import Finding

Fits = Callable[[np.ndarray], bool]  # whether values at all points agree where digits are few
_LEAST = 8  # points that a formula has to explain
_erf = np.vectorize(erf, otypes=[float])


def _sigmoid(v: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * v)))


FUNCTIONS: tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("v", np.asarray),
    ("(1 - v)", lambda v: 1 - v),
    ("(1 + v)", lambda v: 1 + v),
    ("(1 - v²)", lambda v: 1 - v * v),
    ("(1 + v²)", lambda v: 1 + v * v),
    ("v (1 - v)", lambda v: v * (1 - v)),
    ("σ(v)", _sigmoid),
    ("(1 - σ(v))", lambda v: _sigmoid(-v)),
    ("σ'(v)", lambda v: _sigmoid(v) * _sigmoid(-v)),
    ("tanh v", np.tanh),
    ("(1 - tanh² v)", lambda v: 1 / np.cosh(v) ** 2),
    ("exp v", np.exp),
    ("(exp v - 1)", np.expm1),
    ("log v", lambda v: np.log(v)),
    ("log(1 + exp v)", lambda v: np.logaddexp(0, v)),
    ("cos v", np.cos),
    ("sin v", np.sin),
    ("cos πv", lambda v: np.cos(np.pi * v)),
    ("sin πv", lambda v: np.sin(np.pi * v)),
    ("sinh v", np.sinh),
    ("Φ(v)", lambda v: 0.5 * (1 + _erf(v / np.sqrt(2)))),
    ("φ(v)", lambda v: np.exp(-0.5 * v * v)),
    ("exp(-v²)", lambda v: np.exp(-v * v)),
    ("sign v", np.sign),
)
_POWERS = ((1.0, ""), (-1.0, "^-1"), (2.0, "²"), (-2.0, "^-2"), (0.5, "^½"), (-0.5, "^-½"), (3.0, "³"))


@dataclass(frozen=True)
class Numbers:
    """Both Jacobians as arrays of numbers, and what they may be functions of, at all points that count."""

    analytic: np.ndarray
    truth: np.ndarray
    words: Sequence[str]
    values: np.ndarray  # one row a function
    per: str
    named: frozenset[str] = frozenset()  # the inputs and outputs themselves among the words

    @property
    def signs(self) -> np.ndarray:
        return np.array([word.startswith("sign ") for word in self.words])


def numbers(case: Case) -> Numbers | None:
    """None where neither each output nor each element has one partner."""
    if case.numbers is None:
        case.numbers = (_numbers(case),)
    return case.numbers[0]


def _numbers(case: Case) -> Numbers | None:
    found = jacobians.of(case)
    e0 = case.wrong[0]
    one = [i for i, dy in enumerate(e0.cotangents) if dy is not None]
    if not found or len(one) != 1 or not all(r.complete for r in found):
        return None
    out = e0.outputs[one[0]].shape
    for axis, shape, per in ((1, out, "output"), (0, e0.truth[case.name].shape, "element")):
        single = all(np.all(np.sum(r.live | ~r.right, axis=axis) <= 1) for r in found)
        if single and shape:
            a, t, table = [], [], []
            words: list[str] = []
            for r in found:
                a.append(np.sum(r.analytic, axis=axis))
                t.append(np.sum(r.truth, axis=axis))
                words, values = _table(r.evidence, shape)
                table.append(values)
            values = np.concatenate(table, axis=1)
            return Numbers(np.concatenate(a), np.concatenate(t), words, values, per, frozenset(e0.inputs))
    return None


def _table(e: Evidence, shape: tuple[int, ...]) -> tuple[list[str], np.ndarray]:
    """The functions of everything that broadcasts to ``shape``, flat."""
    named = [("y" if len(e.outputs) == 1 else f"y{i}", y) for i, y in enumerate(e.outputs)]
    named += list(e.inputs.items())
    fitting = [
        (w, np.broadcast_to(place(v), shape)) for w, v in named for place in placements(v.shape, shape)
    ]
    inputs = [(w, v) for w, v in fitting if w in e.inputs]
    pairs = [(a, b) for k, a in enumerate(inputs) for b in inputs[k + 1 :] if a[0] != b[0]][:3]
    fitting = fitting[:5]
    fitting += [(f"({w} - {u})", v - x) for (w, v), (u, x) in pairs]
    fitting += [(f"({w} · {u})", v * x) for (w, v), (u, x) in pairs]
    words, values = [], []
    with np.errstate(all="ignore"):
        for word, v in fitting:
            for text, f in FUNCTIONS:
                words.append(text.replace("v", word))
                values.append(np.asarray(f(v)).ravel())
    return words, np.array(values).reshape(len(values), int(np.prod(shape)))


def _fit(target: np.ndarray, live: np.ndarray, n: Numbers, most: int, fits: Fits) -> tuple[str, float] | None:
    """(formula, c) with target = c f^p, or c f^p g^q where ``most`` is 2, at all points."""
    if live.sum() < _LEAST:
        return None
    x, values = target[live], n.values[:, live]
    if np.ptp(x) <= 1e-5 * np.max(np.abs(x)):
        return None
    with np.errstate(all="ignore"):
        logs = np.log(np.abs(values))
    usable = np.all(np.isfinite(logs), axis=1) & (_distinct(values) | n.signs)
    index = np.flatnonzero(usable)
    if not index.size:
        return None
    powers = np.array([p for p, _ in _POWERS])
    terms = (logs[index][:, None, :] * powers[None, :, None]).reshape(-1, x.size)
    want = np.log(np.abs(x))
    terms, want = terms - terms[:, :1], want - want[0]
    slack = 1e-7

    def check(chosen: Sequence[int]) -> tuple[str, float] | None:
        if np.max(np.abs(want - sum(terms[k] for k in chosen))) > slack * (1 + np.max(np.abs(want))):
            return None
        made, text = np.ones_like(target), []
        for k in chosen:
            row, (p, word) = index[k // len(_POWERS)], _POWERS[k % len(_POWERS)]
            v = n.values[row]
            with np.errstate(all="ignore"):
                made = made * (np.abs(v) ** p if p in (0.5, -0.5) else v**p)
            text.append(n.words[row] + word)
        c = x / made[live]
        if np.ptp(c) > 1e-6 * np.max(np.abs(c)) or not fits(c[0] * made):
            return None
        return " · ".join(text), float(c[0])

    for single in np.flatnonzero(np.max(np.abs(terms - want), axis=1) <= slack * (1 + np.max(np.abs(want)))):
        found = check([int(single)])
        if found is not None:
            return found
    if most == 1:
        return None
    some = np.linspace(1, x.size - 1, min(6, x.size - 1)).astype(int)
    part, goal = terms[:, some], want[some]
    for k in range(len(part)):
        rest = goal - part[k]
        close = np.flatnonzero(np.max(np.abs(part[k:] - rest), axis=1) <= slack * (1 + np.max(np.abs(rest))))
        for other in close:
            found = check([k, k + int(other)])
            if found is not None:
                return found
    return None


def _distinct(values: np.ndarray) -> np.ndarray:
    """Rows of more than two values: of two, such as labels, any function makes any two others."""
    with np.errstate(all="ignore"):
        levels = np.sort(np.round(values, 9), axis=1)
        return np.asarray(np.sum(np.diff(levels, axis=1) > 0, axis=1) > 1)


def factor(case: Case, most: int = 1) -> Finding | None:
    """A / T is a product of known functions."""
    n = numbers(case)
    if n is None:
        return None
    # where the right one is next to nothing, as in saturation, a ratio has no digits
    known = np.abs(n.truth) > 1e-6 * np.maximum(np.abs(n.analytic), np.max(np.abs(n.truth)) * 1e-6)
    if np.mean(known) < 0.5:
        return None
    ratio = n.analytic / np.where(known, n.truth, 1.0)
    found = _fit(ratio, known & (n.analytic != 0), n, most, lambda v: True)
    if found is None:
        return None
    words, c = found
    plain = words.removesuffix("^-1")
    if plain != words and " · " not in words and abs(c - 1) < 1e-9:
        text = f"lacks the factor {plain}: a factor of the chain rule is missing"
    else:
        times = f"{_times(c)}{words} times the right one"
        text = f"is {times}: a factor of the chain rule is missing or one too many"
    return Finding(
        "missing-factor",
        case.name,
        f"the gradient of {case.name} {text}; follow each function in between",
        {"factor": words, "coefficient": c},
    )


def term(case: Case, most: int = 2) -> Finding | None:
    """A - T is grad_output times a constant, or a product of known functions."""
    n = numbers(case)
    if n is None:
        return None
    residual, size = n.analytic - n.truth, np.abs(n.analytic) + np.abs(n.truth)
    known = np.abs(residual) > 1e-7 * size

    def fits(values: np.ndarray) -> bool:
        return bool(np.all(np.abs(values - residual)[~known] <= 1e-6 * size[~known] + 1e-12 * np.max(size)))

    found = _constant(residual, n) or _fit(residual, known, n, most, fits)
    if found is None:
        return None
    words, c = found
    return Finding(
        "missing-term",
        case.name,
        f"the gradient of {case.name} lacks a term of a sum, or has one too many: it is off by grad_output "
        f"times {_times(c)}{words}; look at the product and quotient rules",
        {"term": f"grad_output · {words}", "coefficient": c},
    )


def _constant(residual: np.ndarray, n: Numbers) -> tuple[str, float] | None:
    """A few numbers, where neither gradient has so few."""
    size = np.max(np.abs(residual), initial=0.0)
    levels = np.unique(np.round(residual / size, 9)) if size else np.zeros(9)
    if len(levels) > 3 or residual.size < _LEAST:
        return None
    if min(len(np.unique(np.round(m / size, 9))) for m in (n.analytic, n.truth)) <= 4:
        return None
    return "1", float(residual[np.argmax(np.abs(residual))])


def _times(c: float) -> str:
    return "" if abs(c - 1) < 1e-9 else "−" if abs(c + 1) < 1e-9 else f"{c:.6g} · "


def underived(case: Case) -> Finding | None:
    """A is grad_output times one number, and T is not: nothing is derived."""
    n = numbers(case)
    if n is None or n.per != "output" or n.analytic.size < _LEAST:
        return None
    if any(np.any(r.extra) for r in jacobians.of(case)):
        return None  # of other outputs' grad_output, too
    c = float(np.median(n.analytic))
    if c == 0 or np.ptp(n.analytic) > 1e-6 * abs(c) or np.ptp(n.truth) <= 1e-5 * np.max(np.abs(n.truth)):
        return None
    return Finding(
        "missing-factor",
        case.name,
        f"the gradient of {case.name} is {_times(c)}grad_output, whatever the inputs are: the function's own "
        "derivative is left out; multiply by it",
        {"factor": "the derivative", "coefficient": c},
    )


def one_term(case: Case) -> Finding | None:
    """A is a product of known functions, and T, where A is wrong, is none: A is one term of a sum."""
    n = numbers(case)
    if n is None or n.per != "output" or len(np.unique(np.round(n.truth, 9))) < _LEAST:
        return None
    wrong = np.abs(n.analytic - n.truth) > 1e-6 * np.maximum(np.abs(n.analytic), np.abs(n.truth))
    for part in _classes(n):
        a = _fit(n.analytic, part & (np.abs(n.analytic) > 1e-6 * np.max(np.abs(n.analytic))), n, 2, _any)
        if a is None:
            continue
        t = _fit(n.truth, part & wrong & (np.abs(n.truth) > 1e-6 * np.max(np.abs(n.truth))), n, 2, _any)
        if t is None and np.sum(part & wrong) >= _LEAST:
            return Finding(
                "missing-term",
                case.name,
                f"the gradient of {case.name} is grad_output times {_times(a[1])}{a[0]}, a product where the "
                "right one is a sum: look at the product and quotient rules",
                {"there is": a[0]},
            )
    return None


def _any(_: np.ndarray) -> bool:
    return True


def _classes(n: Numbers) -> list[np.ndarray]:
    """All points; and, where an input has two values, such as a label, those of each."""
    parts = [np.ones(n.analytic.shape, bool)]
    for word, v in zip(n.words, n.values, strict=True):
        levels = np.unique(v) if word in n.named else ()
        if len(levels) == 2:
            parts += [v == level for level in levels]
    return parts


two_factors = partial(factor, most=2)
short_term = partial(term, most=1)
