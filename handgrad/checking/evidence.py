"""What was seen of a gradient: the passes in which it was computed, and where it is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

Arrays = Mapping[str, np.ndarray]
_LOOSE = 64.0  # a fit has parameters of its own, estimated from rounded numbers


@dataclass(frozen=True)
class Evidence:
    """One backward pass. ``vjp`` gives the true gradients for other cotangents at the same point;
    ``again(name)`` the analytic and the true gradient for one more cotangent."""

    label: str
    analytic: Mapping[str, np.ndarray | None]
    truth: Arrays
    allowed: Arrays
    inputs: Arrays
    outputs: Sequence[np.ndarray]
    cotangents: Sequence[np.ndarray | None]
    vjp: Callable[[Sequence[np.ndarray | None]], Arrays]
    unit: float = 2.0**-53
    again: Callable[[str], tuple[np.ndarray | None, np.ndarray]] | None = None

    def wrong(self, name: str) -> np.ndarray:
        """Where the gradient of ``name`` is off by more than rounding."""
        a, t = self.analytic[name], self.truth[name]
        if a is None:
            return np.asarray(np.abs(t) > self.allowed[name])
        if a.shape != t.shape:
            return np.ones(t.shape, bool)
        with np.errstate(all="ignore"):
            return np.asarray(~(np.abs(a - t) <= self.allowed[name]))

    def residual(self, name: str) -> np.ndarray | None:
        """What is too much, where the shapes agree."""
        a, t = self.analytic[name], self.truth[name]
        return None if a is None or a.shape != t.shape else np.asarray(a - t)

    def explains(self, name: str, candidate: np.ndarray, scale: float = 1.0) -> bool:
        """Whether ``candidate`` is the analytic gradient to within rounding."""
        a = self.analytic[name]
        if a is None or a.shape != candidate.shape:
            return False
        size = np.max(np.abs(candidate), initial=0.0, where=np.isfinite(candidate))
        bound = (
            _LOOSE * max(scale, 1.0) * (self.allowed[name] if self.allowed[name].shape == a.shape else 0.0)
        )
        with np.errstate(all="ignore"):
            return bool(np.all(np.abs(a - candidate) <= bound + 256 * self.unit * size))


Quantity = Callable[[Evidence], np.ndarray]


def output(i: int) -> Quantity:
    return lambda e: e.outputs[i]


def given(name: str) -> Quantity:
    return lambda e: e.inputs[name]


def true_gradient(name: str) -> Quantity:
    return lambda e: e.truth[name]


def cotangent(e: Evidence) -> np.ndarray:
    return np.asarray(e.cotangents[0])


def of(f: Callable[..., np.ndarray], *quantities: Quantity) -> Quantity:
    """``f`` of quantities, as a quantity."""
    return lambda e: np.asarray(f(*(q(e) for q in quantities)))


@dataclass
class Case:
    """All evidence on one gradient, that which is wrong apart."""

    name: str
    all: list[Evidence]
    wrong: list[Evidence] = field(init=False)

    def __post_init__(self) -> None:
        self.wrong = [e for e in self.all if np.any(e.wrong(self.name))]

    def every(self, candidate: Callable[[Evidence], np.ndarray | None]) -> bool:
        """Whether a candidate explains every wrong evidence."""
        made = [(e, candidate(e)) for e in self.wrong]
        return bool(made) and all(c is not None and e.explains(self.name, c) for e, c in made)


def near(a: np.ndarray, b: np.ndarray, e: Evidence, slack: float = 4096.0) -> bool:
    """Equal up to ``slack`` roundings of the largest element."""
    size = np.max(np.abs(b), initial=0.0)
    return a.shape == b.shape and bool(np.all(np.abs(a - b) <= slack * e.unit * size))
