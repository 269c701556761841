"""What is called wrong: planted errors are, rounding is not."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from handgrad.checking import (
    allowed,
    compare,
    computational_noise,
    directional_derivative,
    precision,
    yardsticks,
)

FLOAT64 = precision("float64")


def bound(truth, noise=0.0, dtype=FLOAT64, elements=1, own=0.0):
    return allowed(truth, np.asarray(noise), dtype, elements, own)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_precisions_are_torch_s(dtype):
    ours, theirs = precision(dtype), torch.finfo(getattr(torch, dtype))
    assert ours.unit == theirs.eps / 2
    assert ours.largest == theirs.max
    assert ours.subnormal == pytest.approx(theirs.tiny * theirs.eps, rel=1e-12)


@given(st.floats(-1e308, 1e308))
def test_an_ulp_is_the_spacing_of_numbers(x):
    assert FLOAT64.ulp(np.asarray(x)) == np.spacing(abs(x))


@given(st.integers(0, 2**32), st.sampled_from(["float32", "float16", "bfloat16"]))
def test_a_correctly_rounded_result_is_right(seed, dtype):
    truth = np.random.default_rng(seed).standard_normal(20)
    rounded = torch.from_numpy(truth).to(getattr(torch, dtype)).double().numpy()
    assert compare(rounded, truth, bound(truth, dtype=precision(dtype)), precision(dtype)).passed


@given(st.integers(0, 2**32), st.sampled_from([1 + 1e-5, 1 - 1e-5, 1 + 1e-12, -1.0, 0.5]))
def test_a_wrong_scale_is_found_however_small(seed, factor):
    truth = np.random.default_rng(seed).standard_normal((3, 4))
    assert not compare(truth * factor, truth, bound(truth, noise=np.abs(truth)), FLOAT64).passed


@given(st.integers(0, 11))
def test_one_wrong_element_is_found_where_it_is(i):
    truth = np.random.default_rng(i).standard_normal((3, 4))
    wrong = truth.copy()
    wrong.flat[i] *= 1 + 1e-9
    found = compare(wrong, truth, bound(truth), FLOAT64)
    assert not found.passed
    assert found.worst_index == np.unravel_index(i, (3, 4))
    assert found.analytic == wrong.flat[i]
    assert found.reference == truth.flat[i]
    assert found.ulps > found.allowed_ulps


def test_what_is_not_finite():
    truth = np.array([np.nan, np.inf, -np.inf, 1.0])
    assert compare(truth.copy(), truth, bound(truth), FLOAT64).passed
    for i, wrong in enumerate([0.0, 1e300, np.inf, np.nan]):
        computed = truth.copy()
        computed[i] = wrong
        assert not compare(computed, truth, bound(truth), FLOAT64).passed


def test_an_overflow_of_the_dtype_is_right_and_a_wrong_sign_of_it_is_not():
    half, truth = precision("float16"), np.array([1e6])
    assert compare(np.array([np.inf]), truth, bound(truth, dtype=half), half).passed
    assert not compare(np.array([-np.inf]), truth, bound(truth, dtype=half), half).passed


def test_another_shape_is_wrong():
    found = compare(np.zeros((2, 3)), np.zeros(3), np.zeros(3), FLOAT64)
    assert not found.passed
    assert "(2, 3) where the truth has (3,)" in found.message


def test_an_empty_array_is_right():
    assert compare(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)), FLOAT64).passed


def test_noise_sees_cancellation():
    """x - y of two equal numbers is known no better than x and y are."""
    x = np.array([1.0, 1e6])
    (found,) = yardsticks(lambda v: [v[0] - v[1]], None, [x, x], [x - x], np.random.default_rng(0))
    assert np.all(found.noise > 0.01 * x)
    assert np.all(found.noise <= x)


def test_fixed_inputs_and_integers_are_left_alone():
    seen = []
    yardsticks(
        lambda v: [seen.append(v) or v[0]], None, [np.ones(2), np.ones(2), np.arange(2)], [np.ones(2)],
        np.random.default_rng(0), fixed=[1], draws=1,
    )  # fmt: skip
    ((x, y, i),) = seen
    assert np.all(x < 1)
    assert np.all(y == 1)
    assert i.tolist() == [0, 1]


def test_the_own_error_of_the_reference_is_measured():
    def rounded(v):
        return [v[0].astype(np.float32).astype(np.float64)]

    x = np.array([1.23456789])
    (found,) = yardsticks(lambda v: [v[0]], rounded, [x], [x], np.random.default_rng(0))
    assert 0 < found.own < 2**-23


def test_computational_noise_is_seen_and_smooth_change_is_not():
    """(1 + x) - 1 jitters by roundings of 1; log1p(x) does not."""
    x = np.full(200, 1e-3) * np.random.default_rng(0).uniform(0.5, 1, 200)
    (jitter, smooth) = computational_noise(
        lambda v: [(1 + v[0]) - 1, np.log1p(v[0])], [x], np.random.default_rng(1)
    )
    assert 2**-55 < jitter < 2**-51
    assert smooth < 4 * np.spacing(1e-3)


# --- numerical derivatives ------------------------------------------------------------------


@given(st.floats(-2, 2))
def test_a_directional_derivative_to_many_digits(x):
    x = np.longdouble(x)
    found = directional_derivative(lambda s: np.exp(x + s) * np.sin(x + s), size=10.0)
    truth = np.exp(x) * (np.sin(x) + np.cos(x))
    assert abs(found.value - truth) <= found.error + 2e-16 * abs(truth)
    assert found.error < 1e-11


def test_steps_are_shortened_until_they_stay_in_the_domain():
    x = np.longdouble(1e-4)
    found = directional_derivative(lambda s: np.log(x + s), size=10.0)
    assert found.value == pytest.approx(1e4, rel=1e-6)


def test_no_derivative_where_the_function_is_not_finite():
    assert directional_derivative(lambda s: s * np.longdouble("nan"), size=1.0) is None
