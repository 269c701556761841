"""The derivative along a direction, from the forward pass alone.

Central differences at steps h, h/2, h/4, ... each have an error in even powers of the step;
Richardson's extrapolation cancels one power after another. In long double this gives some 15
digits of the truth.

Source: Richardson and Gaunt (1927), The deferred approach to the limit; Ridders (1982).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

_LEVELS = 4


@dataclass(frozen=True)
class Directional:
    """A directional derivative and how far it may be from the truth."""

    value: float
    error: float


def directional_derivative(
    f: Callable[[np.longdouble], np.longdouble], size: float, step: float = 2.0**-8
) -> Directional | None:
    """d f(s)/ds at s = 0, for a scalar function of a step along some direction.

    ``size`` is the sum of the magnitudes of the terms that f adds up: its rounding error is in
    proportion. Steps are shortened where f is not finite at one of them, or not smooth between them;
    None where that does not help.
    """
    unit = float(np.finfo(np.longdouble).eps) / 2
    for shorter in range(4):
        h = np.longdouble(step) / 16**shorter
        with np.errstate(all="ignore"):
            sides = [(f(h / 2**i), f(-h / 2**i)) for i in range(_LEVELS)]
            rows = [(up - down) / (2 * h / 2**i) for i, (up, down) in enumerate(sides)]
            here = f(np.longdouble(0))
            bends = [abs(float((up - 2 * here + down) / (h / 2**i))) for i, (up, down) in enumerate(sides)]
        if not all(np.isfinite(row) for row in rows):
            continue
        rounding = 16 * unit * size / float(h) * 2 ** (_LEVELS - 1)
        value, corrections = _extrapolated(rows)
        if _smooth(corrections, rounding) and not _kinked(bends, rounding):
            return Directional(value, corrections[-1] + rounding)
    return None


def _extrapolated(rows: list[np.longdouble]) -> tuple[float, list[float]]:
    """Richardson's value, and how much each order of extrapolation changed it."""
    best, corrections = rows[-1], []
    for order in range(1, len(rows)):
        rows = [fine + (fine - coarse) / (4**order - 1) for coarse, fine in pairwise(rows)]
        corrections.append(abs(float(rows[-1] - best)))
        best = rows[-1]
    return float(best), corrections


def _kinked(bends: list[float], rounding: float) -> bool:
    """The slopes to both sides differ by as much however short the step: at a smooth point by half of it.

    Right at a kink the central differences are smooth: those of |x| at 0 are all 0.
    """
    return bends[-1] > 8 * rounding and bends[-1] > 0.75 * bends[0]


def _smooth(corrections: list[float], rounding: float) -> bool:
    """Each order corrects far less than the one before it: by h², where no kink lies between the steps.

    A jump of the first or second derivative there leaves terms in 1/h or h, which the extrapolation
    does not cancel: its corrections then shrink by a factor of 8 at most.
    """
    floor = 4 * rounding
    return all(later <= max(earlier / 32, floor) for earlier, later in pairwise(corrections))
