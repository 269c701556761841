"""How far a hand result may be from PyTorch's: a limit for each output and gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch

from handgrad.checking import Yardstick, allowed, compare, computational_noise, precision, yardsticks
from handgrad.checking.differences import Difference
from handgrad.checking.tolerances import DEVIATIONS, OWN, ROUNDED, STEP
from torch_ext.oracles import Arrays, Results

_DRAWS = 3  # how often inputs are nudged
Evaluate = Callable[[list[np.ndarray | None], torch.dtype], Arrays]


class Limit:
    """The truth of one output or gradient, and what rounding explains.

    ``allowed`` is None where the truth is exact (integers) or absent. ``refined`` gives the same
    with the reference's own noise in float64, which is measured only where that decides.
    """

    def __init__(
        self,
        truth: np.ndarray | None,
        allowed: np.ndarray | None,
        dtype: str,
        refined: Callable[[], np.ndarray] | None = None,
    ) -> None:
        self.truth, self.allowed, self.dtype, self.refined = truth, allowed, dtype, refined

    def widen(self, factor: float) -> None:
        """Allow ``factor`` times as much."""
        if self.allowed is None or factor == 1:
            return
        self.allowed, refined = factor * self.allowed, self.refined
        self.refined = None if refined is None else lambda: factor * refined()

    def judge(self, computed: np.ndarray | None) -> Difference | None:
        """The comparison; None where there is nothing to compare (no gradient, and none is due)."""
        if self.truth is None:
            if computed is None or not np.any(computed):
                return None
            return Difference(False, message="a gradient where PyTorch gives none")
        if computed is None:
            return Difference(False, message="no gradient where one is due")
        if self.allowed is None:  # integers, booleans: exact
            same = computed.shape == self.truth.shape and bool(np.all(computed == self.truth))
            return Difference(same, message="" if same else "other integers than PyTorch's")
        p = precision(self.dtype)
        found = compare(computed, self.truth, self.allowed, p)
        if found.passed or self.refined is None or computed.shape != self.truth.shape:
            return found
        return compare(computed, self.truth, self.refined(), p)


class Scale(NamedTuple):
    """What is rounded on the way, whatever the formula, so that no result is known better.

    largest   the largest number that goes in or comes out: an output is known to u largest
    loss      the sum of |dy| (|y| + largest) over all outputs. A change of x that moves sum(dy y) by
              less than its own rounding cannot be seen: dx is known to u loss / |x|, also where it
              cancels exactly
    """

    largest: float
    loss: float

    @classmethod
    def of(cls, cotangents: Iterable[Any], outputs: Iterable[Any], values: Iterable[Any]) -> Scale:
        finite = [np.abs(v[np.isfinite(v)]) for v in values if v is not None and v.dtype == np.float64]
        largest = max((float(np.max(v, initial=0.0)) for v in finite), default=0.0)
        pairs = zip(cotangents, outputs, strict=True)
        size = max(largest, 1.0)  # exp(0) is 1
        terms = [np.abs(dy) * (np.abs(y) + size) for dy, y in pairs if dy is not None and y is not None]
        return cls(largest, sum(float(np.sum(term)) for term in terms))


def limits(
    evaluate: Evaluate,
    values: Arrays,
    truth: Results,
    dtype: str,
    elements: int,
    rng: np.random.Generator,
    rounding: Callable[[np.random.Generator], Arrays] | None = None,
    fixed: Sequence[int] = (),
    kinks: Sequence[int] = (),
    arguments: Arrays | None = None,
    scale: Scale | None = None,
    draws: int = _DRAWS,
) -> list[Limit]:
    """A limit for each result of ``evaluate(values, torch dtype)``, the reference.

    ``rounding(rng)``: the reference with every intermediate value nudged (for whole networks), in
    place of nudged inputs alone. ``fixed``: positions of values that must not be moved,
    ``kinks``: of values that must not be where a result jumps when they are.
    ``arguments``: for each result that is a gradient, the x it belongs to; ``scale``: see there.
    ``draws``: how often the inputs are nudged at first; where that does not explain a difference in
    float64, it is done more often.
    """
    p = precision(dtype)
    low = None if dtype == "float64" else getattr(torch, dtype)

    def measured(draws: int) -> list[Yardstick]:
        found = yardsticks(
            lambda moved: evaluate(moved, torch.float64) if rounding is None else rounding(rng),
            None if low is None else lambda moved: evaluate(moved, low),
            values,
            truth.all,
            rng,
            fixed,
            draws,
        )
        if kinks and any(
            t is not None and np.any(_jumps(y.noise, t)) for y, t in zip(found, truth.all, strict=True)
        ):
            still = yardsticks(
                lambda moved: evaluate(moved, torch.float64),
                None,
                values,
                truth.all,
                rng,
                [*fixed, *kinks],
                draws,
            )
            found = [
                replace(y, noise=np.where(_jumps(y.noise, t), s.noise, y.noise)) if t is not None else y
                for y, s, t in zip(found, still, truth.all, strict=True)
            ]
        return found

    found = measured(draws)

    @cache
    def more() -> list[Yardstick]:
        return measured(_DRAWS - draws)

    @cache
    def own_noise() -> list[float]:
        return computational_noise(lambda v: evaluate(v, torch.float64), values, rng, fixed)

    def limit(i: int, t: np.ndarray | None) -> Limit:
        if t is None or t.dtype != np.float64:
            return Limit(t, None, dtype)

        def bound(noise: np.ndarray, own: float) -> np.ndarray:
            return allowed(t, noise, p, elements, own)

        def refined() -> np.ndarray:
            x = None if arguments is None else arguments[i]
            noise = found[i].noise
            if draws < _DRAWS:
                noise = np.maximum(noise, more()[i].noise)
            unseen = 0.0 if scale is None else scale.largest if x is None else scale.loss / extent(x)
            return bound(noise, DEVIATIONS * own_noise()[i]) + ROUNDED * p.unit * unseen

        return Limit(t, bound(found[i].noise, OWN * found[i].own), dtype, None if low else refined)

    return [limit(i, t) for i, t in enumerate(truth.all)]


def _jumps(noise: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Where a change of the inputs by STEP changes a result as no smooth function would."""
    finite = np.abs(truth[np.isfinite(truth)]) if truth.dtype == np.float64 else np.zeros(0)
    return np.asarray(noise * STEP > 1e-3 * np.max(finite, initial=0.0))


def extent(x: np.ndarray) -> np.ndarray:
    """Over what length a function of x may change: its magnitude, 1 at most."""
    return np.asarray(np.minimum(magnitude(x), 1.0))


def magnitude(x: np.ndarray) -> np.ndarray:
    """|x|, and a typical one where an element is zero."""
    typical = float(np.sqrt(np.mean(x * x))) if x.size else 0.0
    return np.where(x == 0, typical or 1.0, np.abs(x))
