"""Element-wise functions that the array API standard lacks, with their slopes."""

from __future__ import annotations

import math

from handgrad._arrays import Array, namespace
from handgrad._dual import elementwise

_NEAR = 1.25  # where the two forms of erf meet


@elementwise(lambda xp, x, y: 2 / math.sqrt(math.pi) * xp.exp(-x * x))
def erf(x: Array) -> Array:
    """2/sqrt(pi) times the integral of exp(-t^2) from 0 to x, as accurate as :func:`erfc`."""
    xp = namespace(x)
    if hasattr(xp, "erf"):
        return xp.erf(x)
    r = xp.abs(x)
    of_r = xp.where(r < _NEAR, _erf_near_0(r), 1 - _erfc_beyond(r))
    return xp.where(x < 0, -of_r, of_r)


@elementwise(lambda xp, x, y: -2 / math.sqrt(math.pi) * xp.exp(-x * x))
def erfc(x: Array) -> Array:
    """1 - erf(x), to about 20 ulps (plus the rounding of x^2) in any real dtype, long double included.

    Source: Abramowitz and Stegun. Near 0 the series 7.1.6, of terms of one sign:
    erf(x) = 2/sqrt(pi) exp(-x^2) sum_n 2^n x^(2n+1)/(2n+1)!!. Beyond, where 1 - erf(x) would cancel,
    the continued fraction 7.1.14: erfc(x) = exp(-x^2)/sqrt(pi) 1/(x + (1/2)/(x + 1/(x + (3/2)/(x + ...)))).
    """
    xp = namespace(x)
    if hasattr(xp, "erfc"):
        return xp.erfc(x)
    r = xp.abs(x)
    of_r = xp.where(r < _NEAR, 1 - _erf_near_0(r), _erfc_beyond(r))
    return xp.where(x < 0, 2 - of_r, of_r)


def _erf_near_0(r: Array) -> Array:
    r = namespace(r).clip(r, 0, _NEAR)
    term = series = r
    for n in range(1, 31):
        term = term * r * r * 2 / (2 * n + 1)
        series = series + term
    return 2 * _density(r) * series


def _erfc_beyond(r: Array) -> Array:
    r = fraction = namespace(r).clip(r, _NEAR, 110)  # erfc(110) is 0 even in an 80-bit long double
    for n in range(150, 0, -1):
        fraction = r + n / 2 / fraction
    return _density(r) / fraction


def _density(r: Array) -> Array:
    """exp(-r^2)/sqrt(pi); math.pi is rounded to double: sqrt(pi) is built in the dtype of r."""
    xp = namespace(r)
    return xp.exp(-r * r) / xp.sqrt(4 * xp.atan(xp.ones_like(r)))


def root(x: Array, n: float = 2) -> Array:
    """The n-th root of x >= 0, its infinite slope at 0 (n > 1) counted as 0: of lengths, deviations."""
    xp = namespace(x)
    zero = x == 0
    safe = xp.where(zero, xp.ones_like(x), x)
    return xp.where(zero, xp.zeros_like(x), xp.sqrt(safe) if n == 2 else safe ** (1 / n))
