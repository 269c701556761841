"""What was seen of a gradient: the passes in which it was computed, and where it is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple, Protocol

import numpy as np

Arrays = Mapping[str, np.ndarray]
Cotangents = Sequence[np.ndarray | None]
_LOOSE = 64.0  # a fit has parameters of its own, estimated from rounded numbers


class Step(NamedTuple):
    """One operation of a forward pass, and how its part of the backward pass is changed: ``kind`` and
    ``number`` (-1: all of that kind), and the argument ``edge`` at which (-1: at all)."""

    how: str
    kind: str
    number: int
    edge: int


class Paths(Protocol):
    """A gradient taken apart."""

    def steps(self) -> list[Step]: ...

    def gradient(self, step: Step | None = None) -> np.ndarray | None: ...


@dataclass(frozen=True)
class Evidence:
    """One backward pass. ``vjp`` gives the true gradients for other cotangents at the same point;
    ``backward`` the target's own. ``kink``: the inputs were put on kinks, ties and zeros on purpose."""

    label: str
    analytic: Mapping[str, np.ndarray | None]
    truth: Arrays
    allowed: Arrays
    inputs: Arrays
    outputs: Sequence[np.ndarray]
    cotangents: Cotangents
    vjp: Callable[[Cotangents], Arrays]
    unit: float = 2.0**-53
    backward: Callable[[Cotangents], Mapping[str, np.ndarray | None]] | None = None
    kink: bool = False
    paths: Callable[[str, Cotangents], Paths] | None = None  # of a gradient, for cotangents
    shares: dict[str, np.ndarray | None] = field(default_factory=dict)
    coarse: set[str] = field(default_factory=set)  # names whose errors of a few roundings do not count

    def wrong(self, name: str) -> np.ndarray:
        """Where the gradient of ``name`` is off by more than rounding."""
        a, t = self.analytic[name], self.truth[name]
        if a is None:
            return np.asarray(np.abs(t) > self.allowed[name])
        if a.shape != t.shape:
            return np.ones(t.shape, bool)
        with np.errstate(all="ignore"):
            bound = self.allowed[name]
            if name in self.coarse:
                bound = np.maximum(bound, 256 * self.unit * np.max(np.abs(t), initial=0.0))
            return np.asarray(~(np.abs(a - t) <= bound))

    def well_shaped(self, name: str) -> bool:
        a = self.analytic[name]
        return a is None or a.shape == self.truth[name].shape

    def usual(self, name: str, given: Evidence | None = None) -> bool:
        """Inputs of usual size, away from kinks, in the domain of those given, and a finite gradient."""
        a = self.analytic[name]
        if self.kink or (a is not None and not np.all(np.isfinite(a))):
            return False
        sizes = [float(np.max(np.abs(x))) for x in self.inputs.values() if x.size]
        if any(size >= 40 for size in sizes) or all(size < 0.02 for size in sizes):
            return False
        if self is not given and any(x.size > 1 and np.min(np.abs(x)) >= 10 for x in self.inputs.values()):
            return False  # saturated, all of it
        if any(x.size > 1 and np.ptp(x) == 0 for n, x in self.inputs.items() if n in self.truth):
            return False  # all ones, say: much agrees there by accident
        own = self if given is None else given
        return all(_in_domain(x, own.inputs.get(n, x)) for n, x in self.inputs.items())

    def analytic_or_zero(self, name: str) -> np.ndarray:
        a, t = self.analytic[name], self.truth[name]
        return np.zeros_like(t) if a is None or a.shape != t.shape else a

    def residual(self, name: str) -> np.ndarray | None:
        """What is too much, where the shapes agree."""
        a, t = self.analytic[name], self.truth[name]
        return None if a is None or a.shape != t.shape else np.asarray(a - t)

    def again(self, name: str) -> tuple[np.ndarray | None, np.ndarray] | None:
        """The analytic and the true gradient for another cotangent."""
        if self.backward is None:
            return None
        rng = np.random.default_rng(77)
        dys = [None if dy is None else rng.normal(size=dy.shape) for dy in self.cotangents]
        return self.backward(dys)[name], self.vjp(dys)[name]

    def paths_of(self, name: str) -> Paths | None:
        try:
            return None if self.paths is None else self.paths(name, self.cotangents)
        except Exception:  # the truth does not run in autograd here
            return None

    def through(self, k: int, name: str) -> Evidence | None:
        """The same pass with an incoming gradient for output ``k`` alone, which comes first then."""
        dy, backward, vjp = self.cotangents[k], self.backward, self.vjp
        if dy is None or backward is None:
            return None

        def alone(dys: Cotangents) -> list[np.ndarray | None]:
            return [
                None if d is None else dys[0] if j == k else np.zeros_like(d)
                for j, d in enumerate(self.cotangents)
            ]

        try:
            a, t = backward(alone([dy]))[name], vjp(alone([dy]))[name]
        except Exception:  # a target may refuse such incoming gradients
            return None
        return replace(
            self,
            analytic={**self.analytic, name: a},
            truth={**self.truth, name: t},
            outputs=[self.outputs[k], *(y for j, y in enumerate(self.outputs) if j != k)],
            cotangents=[dy],
            vjp=lambda dys: vjp(alone(dys)),
            backward=lambda dys: backward(alone(dys)),
            paths=None if self.paths is None else self._paths_through(alone),
            shares={},
            coarse=set(self.coarse),
        )

    def _paths_through(
        self, alone: Callable[[Cotangents], list[np.ndarray | None]]
    ) -> Callable[[str, Cotangents], Paths]:
        paths = self.paths
        assert paths is not None
        return lambda name, dys: paths(name, alone(dys))

    def explains(self, name: str, candidate: np.ndarray, scale: float = 1.0) -> bool:
        """Whether ``candidate`` is the analytic gradient to within rounding."""
        a = self.analytic[name]
        if a is None or a.shape != candidate.shape:
            return False
        size = np.max(np.abs(candidate), initial=0.0, where=np.isfinite(candidate))
        bound = (
            _LOOSE * max(scale, 1.0) * (self.allowed[name] if self.allowed[name].shape == a.shape else 0.0)
        )
        with np.errstate(all="ignore"):  # what is left may be another, much smaller mistake
            much = (
                np.max(np.abs(a - self.truth[name]), initial=0.0)
                if a.shape == self.truth[name].shape
                else 0.0
            )
            return bool(np.all(np.abs(a - candidate) <= bound + 256 * self.unit * size + 1e-9 * much))


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


def placements(own: tuple[int, ...], shape: tuple[int, ...]) -> Iterator[Callable[[np.ndarray], np.ndarray]]:
    """Ways to lay an array out over ``shape``: its axes in order, along axes of the same length; the way
    that broadcasting does it comes first."""
    ways = list(combinations(range(len(shape)), len(own))) if len(own) <= len(shape) else []
    for axes in reversed(ways):
        if all(n in (1, shape[a]) for n, a in zip(own, axes, strict=True)):
            yield partial(_laid_out, axes, len(shape))


def _laid_out(axes: tuple[int, ...], ndim: int, v: np.ndarray) -> np.ndarray:
    full = [1] * ndim
    for n, a in zip(v.shape, axes, strict=True):
        full[a] = n
    return v.reshape(full)


def _in_domain(x: np.ndarray, given: np.ndarray) -> bool:
    """Positive where the given numbers are, and below 1 where they are that, too."""
    if not given.size or np.any(given <= 0):
        return True
    return bool(np.all(x > 0) and (np.any(given >= 1) or np.all(x < 1)))


def forgive_rounding(evidence: Sequence[Evidence], name: str) -> None:
    """What is wrong by far is explained first; next to it, a few roundings say nothing."""
    for e in evidence:
        e.coarse.add(name)
    if not any(np.any(e.wrong(name)) for e in evidence):
        for e in evidence:
            e.coarse.discard(name)


@dataclass
class Case:
    """All evidence on one gradient. ``wrong``: where it is off. ``usual``: at inputs of usual size, away from
    kinks, where formulas are compared: overflow, rounding and conventions play no part there."""

    name: str
    all: list[Evidence]
    given: Evidence | None = None
    wrong: list[Evidence] = field(init=False)
    usual: list[Evidence] = field(init=False)
    jacobians: list[Any] | None = None
    numbers: tuple[Any] | None = None

    def __post_init__(self) -> None:
        self.wrong = [e for e in self.all if np.any(e.wrong(self.name))]
        usual = [e for e in self.all if e.usual(self.name, self.given)]
        off = [e for e in usual if np.any(e.wrong(self.name))]
        self.usual = usual if off else self.all

    @property
    def usual_wrong(self) -> list[Evidence]:
        return [e for e in self.usual if np.any(e.wrong(self.name))]

    def every(self, candidate: Callable[[Evidence], np.ndarray | None]) -> bool:
        """Whether a candidate explains every usual evidence, also those that are right."""
        made = ((e, candidate(e)) for e in self.usual)
        return all(c is not None and e.explains(self.name, c) for e, c in made)


def near(a: np.ndarray, b: np.ndarray, e: Evidence, slack: float = 4096.0) -> bool:
    """Equal up to ``slack`` roundings of the largest element."""
    size = np.max(np.abs(b), initial=0.0)
    return a.shape == b.shape and bool(np.all(np.abs(a - b) <= slack * e.unit * size))
