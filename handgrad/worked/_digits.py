"""Printed digits: what they allow, and values written in as many."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal

import numpy as np

from handgrad._arrays import Array
from handgrad._errors import require
from handgrad.expressions import Expr, Matrix, Number
from handgrad.formulas import literal, shape
from handgrad.worked._calculation import SLACK

_LARGEST = 300  # powers of ten that float64 holds, with room on both sides


@dataclass(frozen=True)
class Digits:
    """A printed number or matrix: its value, and the unit of each element's last digit."""

    value: Array
    unit: Array
    text: str

    @classmethod
    def of(cls, printed: Expr) -> Digits:
        """Raises InputError where more digits are printed than float64 can check."""
        value, rows = literal(printed), printed.rows if isinstance(printed, Matrix) else ((printed,),)
        unit = np.asarray([[10.0 ** _exponent(str(e)) for e in row] for row in rows]).reshape(value.shape)
        require(
            bool(np.all(unit > 4 * SLACK * np.abs(value))),
            "a printed number has at most 12 significant digits, which float64 can check",
            str(printed),
            "print fewer",
        )
        return cls(value, unit, str(printed))

    def fit(self, value: Array) -> Array:
        """``value`` in the printed shape: a number may stand for a 1 x 1 matrix, a row for a vector."""
        fits = self.value.size == value.size == 1 or np.atleast_2d(value).shape == self.value.shape
        require(
            fits,
            "a printed number has the shape of its value",
            f"{self.text} for {shape(value)}",
            "print it in that shape",
        )
        return value.reshape(self.value.shape)

    def rounds(self, value: Array) -> Array:
        """Where the value rounds to the digits: half up and half to even are both right."""
        return np.abs(value - self.value) <= self.unit / 2 + self._slack(value)

    def cuts(self, value: Array) -> Array:
        """Where the value, cut off after the last digit, is what is printed."""
        beyond = (value - self.value) * np.where(value < 0, -1, 1)
        return (beyond >= -self._slack(value)) & (beyond < self.unit)

    def write(self, value: Array, cut: bool = False) -> str:
        """The value with as many digits as printed."""
        rows = [
            ", ".join(_write(v, u, cut) for v, u in zip(vs, us, strict=True))
            for vs, us in zip(np.atleast_2d(value), np.atleast_2d(self.unit), strict=True)
        ]
        return f"[{'; '.join(rows)}]" if self.value.ndim else rows[0]

    def _slack(self, value: Array) -> Array:
        return SLACK * (np.abs(value) + self.unit)


def decimals(text: str) -> int:
    """How many decimals a printed number has."""
    return max(0, -_exponent(text))


def number(text: str) -> Number | None:
    """A printed number, or None for other words."""
    try:
        Decimal(text)
    except ArithmeticError:
        return None
    return Number(text)


def _exponent(text: str) -> int:
    """The power of ten of the last digit."""
    try:
        exponent = int(Decimal(text).as_tuple().exponent)
    except ArithmeticError:  # beyond what even decimals hold
        exponent = _LARGEST + 1
    rule = f"the last digit of a printed number lies between 1e-{_LARGEST} and 1e{_LARGEST}"
    require(abs(exponent) <= _LARGEST, rule, text, "print it with a smaller exponent")
    return exponent


def _write(value: float, unit: float, cut: bool) -> str:
    # 15 digits first, so that 0.285 is a tie in decimal, as on paper
    exact = Decimal(f"{value:.15g}")
    quantum = Decimal(1).scaleb(round(float(np.log10(unit))))
    rounded = exact.quantize(quantum, ROUND_DOWN if cut else ROUND_HALF_UP, Context(prec=700))
    return f"{abs(rounded) if rounded == 0 else rounded:f}"
