"""Two arrays compared: how far apart, where most, and whether rounding explains it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from handgrad.checking.tolerances import Precision
from handgrad.report import reduce_errors


@dataclass(frozen=True)
class Difference:
    """A computed array against its truth; the worst element is the one furthest beyond what is allowed.

    ``ulps`` and ``allowed_ulps`` count units in the last place at the worst element.
    ``errors`` is the grid of signed errors that reports draw, kept where the check fails; what rounding
    explains is 0 there, so that the shape of a mistake stands out.
    """

    passed: bool
    max_abs_error: float = 0.0
    max_rel_error: float = 0.0
    ulps: float = 0.0
    allowed_ulps: float = 0.0
    worst_index: tuple[int, ...] | None = None
    analytic: float | None = None
    reference: float | None = None
    errors: tuple[tuple[float, ...], ...] | None = None
    message: str = ""

    def fields(self) -> dict[str, Any]:
        """As keyword arguments of :class:`handgrad.report.Check`."""
        return {name: value for name, value in vars(self).items() if value is not None}


def compare(computed: np.ndarray, truth: np.ndarray, allowed: np.ndarray, dtype: Precision) -> Difference:
    """Compare float64 images of both; ``dtype`` is the precision that ``computed`` had.

    Equal infinities, and NaN where the truth is NaN, are right. A truth beyond the largest number
    of ``dtype`` may come out infinite.
    """
    if computed.shape != truth.shape:
        return Difference(
            False,
            message=f"shape {tuple(computed.shape)} where the truth has {tuple(truth.shape)}",
        )
    if not truth.size:
        return Difference(True)
    with np.errstate(all="ignore"):
        signed = computed - truth
        same = (computed == truth) | (np.isnan(computed) & np.isnan(truth))
        overflow = np.isinf(computed) & (np.abs(truth) > dtype.largest * (1 - dtype.unit))
        right = same | (overflow & (np.sign(computed) == np.sign(truth)))
        error = np.where(right, 0.0, np.where(np.isnan(signed), np.inf, np.abs(signed)))
        ratio = error / allowed
        relative = np.where(error == 0, 0.0, error / np.abs(truth))
        worst = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
        ulp = _ulp(truth, worst, float(allowed[worst]), dtype)
    passed = bool(ratio[worst] <= 1)
    return Difference(
        passed,
        float(error.max()),
        float(relative.max()),
        float(error[worst]) / ulp,
        float(allowed[worst]) / ulp,
        tuple(int(i) for i in worst),
        float(computed[worst]),
        float(truth[worst]),
        None if passed else reduce_errors(np.where(ratio <= 1, 0.0, signed)),
    )


def _ulp(truth: np.ndarray, worst: tuple[Any, ...], allowed: float, dtype: Precision) -> float:
    """An ulp of the true value; zero has none, so there it is one of the largest value beside it."""
    value = float(truth[worst])
    if not np.isfinite(value):
        return dtype.largest
    beside = float(np.max(np.abs(truth), where=np.isfinite(truth), initial=0.0))
    return float(dtype.ulp(np.asarray(value or beside or allowed)))
