"""How large an error rounding explains. No hand-picked atol or rtol.

A computed value may differ from the truth T by what rounding must do to it in its dtype:

    allowed = C sqrt(n) noise + c u |T| + k e + d

- noise: how far T moves when every input is changed by a random relative amount of at most the
  unit roundoff u of the working precision. An algorithm that is as good as its problem allows is
  off by a small multiple of that (backward error analysis), cancellation included.
- n: the number of elements of the largest array in the call. No reduction is longer, and the
  rounding errors of a sum of n terms grow like sqrt(n) (they are as good as random).
- u |T|: rounding the result itself to its dtype.
- e: the reference's own error: where PyTorch's formula is no better, no more is asked. In the
  lower precisions it is measured against float64; in float64 it is the computational noise, the
  part of the reference that jitters where the mathematics is smooth.
- d: one subnormal spacing, for results that underflow.

Sources: Higham, Accuracy and Stability of Numerical Algorithms, sections 1.5, 2.8 and 4.2;
More and Wild (2011), Estimating computational noise, section 3.
docs/decisions/tolerances.md says how the constants were set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Arrays = Sequence[np.ndarray | None]

STABLE = 8.0  # C: a handful of operations, each of which rounds, in a row
ROUNDED = 4.0  # c: an output is rounded, cast and summed over what was broadcast
OWN = 4.0  # k, measured in a low precision: a few tries may miss the worst
# k, estimated in float64: hand and truth err alike, 6 standard deviations of the difference are
# 8.5 of each, and an estimate from a few differences may be half of what it should be
DEVIATIONS = 17.0
STEP = 2.0**-22  # relative change of the inputs: linear, and a few roundings even of float32
_ORDER = 6  # of the differences that leave only noise of a smooth function ...
_POINTS = 10  # ... on so many points, _SPACING apart: spacing^order is below a rounding of float64
_SPACING = 2.0**-11


@dataclass(frozen=True)
class Precision:
    """A floating dtype: ``unit`` roundoff (half an ulp of 1), largest and smallest numbers.

    ``working`` is the unit roundoff inside a formula: float32's for the 16-bit types.
    """

    name: str
    unit: float
    working: float
    largest: float
    subnormal: float

    def ulp(self, x: np.ndarray) -> np.ndarray:
        """The spacing of this dtype's numbers at |x|: one unit in the last place."""
        size = np.maximum(np.abs(x), self.subnormal / (2 * self.unit))
        with np.errstate(invalid="ignore"):
            return np.asarray(np.ldexp(2 * self.unit, np.frexp(size)[1] - 1))


def _precision(name: str, bits: int, exponent: int, working: int) -> Precision:
    """From the significand's bits (the hidden one included) and the largest exponent."""
    return Precision(
        name,
        2.0**-bits,
        2.0**-working,
        (2 - 2.0 ** (1 - bits)) * 2.0**exponent,
        max(2.0 ** (2 - exponent - bits), 5e-324),
    )


_PRECISIONS = {
    p.name: p
    for p in (
        _precision("float64", 53, 1023, 53),
        _precision("float32", 24, 127, 24),
        _precision("float16", 11, 15, 24),
        _precision("bfloat16", 8, 127, 24),
    )
}


def precision(dtype: object) -> Precision:
    """The precision of a dtype of any library, by its name. Raises KeyError for an unknown one."""
    return _PRECISIONS[str(dtype).rsplit(".", maxsplit=1)[-1]]


@dataclass(frozen=True)
class Yardstick:
    """How well a result is known: ``noise`` per unit of relative change, the reference's ``own`` error."""

    noise: np.ndarray
    own: float


def yardsticks(
    exact: Callable[[list[np.ndarray | None]], Arrays],
    rounded: Callable[[list[np.ndarray | None]], Arrays] | None,
    inputs: Arrays,
    truth: Arrays,
    rng: np.random.Generator,
    fixed: Sequence[int] = (),
    draws: int = 3,
) -> list[Yardstick]:
    """A yardstick for each result, from a few tries at inputs a little off.

    exact     the reference in float64; rounded: in a lower precision (None, or one that raises
              RuntimeError or NotImplementedError, gives an own error of 0)
    inputs    float64 ones are nudged (others, and those at the positions ``fixed``, stay): every
              element is shrunk by its own random fraction of a small step, which leaves no domain
    """
    noise = [np.zeros(()) if t is None else np.zeros(np.shape(t)) for t in truth]
    own = [0.0] * len(noise)
    for _ in range(draws):
        nudged = [
            nudge(x, rng) if i not in fixed and x is not None and x.dtype == np.float64 else x
            for i, x in enumerate(inputs)
        ]
        found, low = exact(nudged), _tried(rounded, nudged)
        for i, (y, t) in enumerate(zip(found, truth, strict=True)):
            if y is not None and t is not None and t.dtype == np.float64:
                noise[i] = np.maximum(noise[i], _distance(y, t) / STEP)
                if low is not None and (z := low[i]) is not None:
                    own[i] = max(own[i], float(np.max(_distance(z, y), initial=0.0)))
    return [Yardstick(*pair) for pair in zip(noise, own, strict=True)]


def computational_noise(
    exact: Callable[[list[np.ndarray | None]], Arrays],
    inputs: Arrays,
    rng: np.random.Generator,
    fixed: Sequence[int] = (),
) -> list[float]:
    """The standard deviation of the rounding error of the results of ``exact``: the worst element's.

    High differences along a line of inputs vanish where the result is smooth; what is left is noise,
    multiplied by a known factor. Parameters as in :func:`yardsticks`.
    """
    shrink = [
        rng.uniform(size=x.shape) if i not in fixed and x is not None and x.dtype == np.float64 else None
        for i, x in enumerate(inputs)
    ]
    lines = []
    for point in range(_POINTS):
        moved = [
            x if r is None or x is None else x * (1 - point * _SPACING * r)
            for x, r in zip(inputs, shrink, strict=True)
        ]
        lines.append([np.zeros(()) if y is None else np.asarray(y, float) for y in exact(moved)])
    factor = math.factorial(_ORDER) / math.sqrt(math.factorial(2 * _ORDER))
    deviations = []
    for line in zip(*lines, strict=True):
        with np.errstate(all="ignore"):
            differences = factor * np.diff(np.stack(line), _ORDER, axis=0)
            deviation = np.sqrt(np.mean(differences * differences, axis=0))
        deviations.append(float(np.max(deviation, where=np.isfinite(deviation), initial=0.0)))
    return deviations


def nudge(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``x``, each element shrunk by its own random fraction of :data:`STEP`."""
    return np.asarray(x * (1 - STEP * rng.uniform(size=x.shape)))


def _tried(
    evaluate: Callable[[list[np.ndarray | None]], Arrays] | None, inputs: list[np.ndarray | None]
) -> Arrays | None:
    try:
        return None if evaluate is None else evaluate(inputs)
    except (RuntimeError, NotImplementedError):  # PyTorch has no such operator in that dtype
        return None


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b|; 0 where that is not finite (an overflow in a low precision)."""
    with np.errstate(all="ignore"):
        distance = np.abs(a - b)
    return np.where(np.isfinite(distance), distance, 0)


def allowed(truth: np.ndarray, noise: np.ndarray, dtype: Precision, elements: int, own: float) -> np.ndarray:
    """The largest error that rounding explains, element by element (see the module's docstring).

    ``noise`` per unit of relative change of the inputs; ``elements`` of the largest array in the
    call; ``own``: how much of the error is the reference's (k e above).
    """
    size = np.where(np.isfinite(truth), np.abs(truth), 0)
    grown = STABLE * math.sqrt(max(elements, 1)) * noise * dtype.working
    return np.asarray(grown + ROUNDED * dtype.unit * size + own + dtype.subnormal)
