"""Sample inputs: what a derivation says about the inputs it should be tried on.

A :class:`Spec` describes an array (shape and distribution) without fixing a library, a dtype
or a seed; a :class:`Case` is one call: a spec for each input, and the options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from handgrad._arrays import Shape

Draw = Callable[[np.random.Generator, Shape], np.ndarray]


@dataclass(frozen=True)
class Spec:
    """An array to draw: ``shape`` and how. ``kind`` and ``low``/``high`` make it plain JSON."""

    shape: Shape
    kind: str = "normal"
    low: float = 0.0
    high: float = 1.0
    values: tuple[float, ...] = ()

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """A fresh array: float64, int64 (``integers``, ``labels``, ``places``) or bool (``mask``)."""
        return np.asarray(_KINDS[self.kind](self, rng))


def _distinct(spec: Spec, rng: np.random.Generator) -> np.ndarray:
    n = int(np.prod(spec.shape))
    return (rng.permutation(n) - n / 2).reshape(spec.shape) * (4 / max(n, 1)) + 0.01


def _smooth(spec: Spec, rng: np.random.Generator) -> np.ndarray:
    x = rng.standard_normal(spec.shape)
    for kink in spec.values:
        near = np.abs(x - kink) < spec.high
        x = np.where(near, kink + spec.high * (1 + np.abs(x)) * np.where(x < kink, -1, 1), x)
    return x


def _simplex(spec: Spec, rng: np.random.Generator) -> np.ndarray:
    p: np.ndarray = rng.uniform(0.1, 1.0, spec.shape)
    return np.asarray(p / p.sum(axis=int(spec.low), keepdims=True))


_KINDS: dict[str, Callable[[Spec, np.random.Generator], Any]] = {
    "normal": lambda s, rng: s.low + s.high * rng.standard_normal(s.shape),
    "uniform": lambda s, rng: rng.uniform(s.low, s.high, s.shape),
    "integers": lambda s, rng: rng.integers(int(s.low), int(s.high), s.shape),
    "places": lambda s, rng: rng.permutation(int(s.high))[: int(np.prod(s.shape))].reshape(s.shape),
    "mask": lambda s, rng: rng.uniform(size=s.shape) < s.high,
    "labels": lambda s, rng: np.array(s.values, dtype=np.int64).reshape(s.shape),
    "exactly": lambda s, rng: np.array(s.values).reshape(s.shape),
    "distinct": _distinct,
    "smooth": _smooth,
    "simplex": _simplex,
}


def normal(*shape: int, mean: float = 0.0, scale: float = 1.0) -> Spec:
    """Gaussian numbers."""
    return Spec(shape, "normal", mean, scale)


def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Spec:
    """Uniform numbers in [low, high): for domains, such as probabilities."""
    return Spec(shape, "uniform", low, high)


def integers(*shape: int, low: int = 0, high: int) -> Spec:
    """Integers in [low, high): class indices, rows of a table."""
    return Spec(shape, "integers", low, high)


def places(*shape: int, high: int) -> Spec:
    """Integers in [0, high), no two alike."""
    return Spec(shape, "places", 0.0, high)


def mask(*shape: int, keep: float = 0.5) -> Spec:
    """Booleans, True with probability ``keep``."""
    return Spec(shape, "mask", 0.0, keep)


def smooth(*shape: int, kinks: tuple[float, ...] = (0.0,), gap: float = 0.05) -> Spec:
    """Gaussian numbers kept at least ``gap`` away from each kink, so that a derivative exists."""
    return Spec(shape, "smooth", 0.0, gap, kinks)


def distinct(*shape: int) -> Spec:
    """Well-separated numbers in random order: no ties for a maximum."""
    return Spec(shape, "distinct")


def simplex(*shape: int, axis: int = -1) -> Spec:
    """Positive numbers that sum to 1 along ``axis``: class probabilities."""
    return Spec(shape, "simplex", axis)


def exactly(values: Any) -> Spec:
    """These very numbers (any nesting): kinks, ties, the lecture's examples."""
    a = np.asarray(values, dtype=float)
    return Spec(a.shape, "exactly", values=tuple(float(v) for v in a.ravel()))


def labels(values: Any) -> Spec:
    """These very integers (any nesting): targets, lengths."""
    a = np.asarray(values, dtype=np.int64)
    return Spec(a.shape, "labels", values=tuple(int(v) for v in a.ravel()))


@dataclass(frozen=True)
class Case:
    """One call of a derivation: ``inputs`` by position (None where left out) and ``options``.

    ``kink`` marks inputs at which the derivative jumps: the convention is then compared with
    PyTorch's, and a numerical derivative has nothing to say.
    """

    name: str
    inputs: tuple[Spec | None, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    kink: bool = False

    def draw(self, seed: int | np.random.Generator) -> tuple[np.ndarray | None, ...]:
        """The inputs as NumPy arrays; the same seed gives the same numbers."""
        rng = np.random.default_rng(seed)
        return tuple(None if spec is None else spec.draw(rng) for spec in self.inputs)


def case(name: str, *inputs: Spec | None, kink: bool = False, **options: Any) -> Case:
    """A case as a derivation file writes it: ``case("no bias", normal(3, 4), normal(2, 4), None)``."""
    return Case(name, inputs, options, kink)
