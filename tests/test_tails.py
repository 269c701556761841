"""Activations far from 0, where formulas overflow or cancel: against mpmath with 40 digits."""

import mpmath
import numpy as np
import pytest

from handgrad import registry
from handgrad._primitives import erfc

mpmath.mp.dps = 40
EPS = float(np.finfo(np.float64).eps)
FAR = np.array([-1000.0, -38.0, -30.0, -10.0, -5.0, -1.5, -0.3, 1e-9, 0.3, 2.0, 7.0, 19.0, 30.0, 1000.0])


def gelu_tanh(x):
    u = mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3)
    return x / (1 + mpmath.exp(-2 * u))  # (1 + tanh(u)) / 2 cancels in 40 digits, too


def softplus(x):
    return x if x > 20 else mpmath.log1p(mpmath.exp(x))


LAYERS = [
    ("sigmoid", {}, lambda x: 1 / (1 + mpmath.exp(-x))),
    ("silu", {}, lambda x: x / (1 + mpmath.exp(-x))),
    ("softplus", {}, softplus),
    ("tanh", {}, mpmath.tanh),
    ("gelu", {}, lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2),
    ("gelu", {"approximate": "tanh"}, gelu_tanh),
]


@pytest.mark.parametrize(("name", "options", "truth"), LAYERS, ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_value_and_slope(name, options, truth, dtype):
    x = FAR.astype(dtype)
    dy = np.random.default_rng(0).standard_normal(x.shape).astype(dtype)
    (y,), residuals = registry[name].apply((x,), options)
    (dx,) = registry[name].vjp((dy,), residuals, (x,), options)
    eps = float(np.finfo(dtype).eps)
    for xi, dyi, yi, dxi in zip(x, dy, y, dx, strict=True):
        at, dyi, yi, dxi = mpmath.mpf(float(xi)), float(dyi), float(yi), float(dxi)
        slope = float(mpmath.diff(truth, at))
        # the value is relatively right: an error of x is amplified by at most x² (as in exp(-x²/2))
        value = float(truth(at))
        smallest = (1 + abs(float(at))) * float(np.finfo(dtype).smallest_subnormal)
        assert abs(yi - value) <= 8 * eps * (1 + float(at) ** 2) * abs(value) + smallest
        # slopes such as s + x s (1 - s) are right relative to the size of their terms
        assert abs(dxi - dyi * slope) <= 4 * eps * (1 + abs(float(at))) * abs(dyi) + smallest


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_erfc(dtype):
    x = np.linspace(-5, 9, 200).astype(dtype)
    for xi, yi in zip(x, erfc(x), strict=True):
        exact = mpmath.erfc(_exactly(xi))
        error = abs(_exactly(yi) - exact) / exact
        assert error <= 20 * float(np.finfo(dtype).eps) * max(1.0, float(xi) ** 2)


def _exactly(x):
    """A NumPy number as mpmath's, all bits of a long double included."""
    high = float(x)
    return mpmath.mpf(high) + mpmath.mpf(float(x - type(x)(high)))
