"""The primitives: each transpose is one, all libraries agree, and PyTorch's own operators say the same."""

import math
from dataclasses import dataclass

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torch_ext  # noqa: F401 - gives tensors their namespace
from handgrad import _primitives_correlations
from handgrad._arrays import namespace
from handgrad._dual import Dual
from handgrad._primitives import (
    argmax_windows,
    overlap_add,
    pad_axes,
    scatter,
    windows,
)
from handgrad._primitives_correlations import correlate, correlate_to_input, correlate_to_weight

EPS = np.finfo(np.float64).eps
LIBRARIES = ["numpy", "strict", "torch"]
every_library = pytest.mark.parametrize("library", LIBRARIES)
few = settings(max_examples=25, deadline=None, derandomize=True)


def to(library, a):
    """A fresh array of a library; NumPy's is read-only, so that a primitive that writes raises."""
    if library == "torch":
        return torch.from_numpy(np.array(a))
    if library == "strict":
        return array_api_strict.asarray(a)
    a = np.array(a)
    a.setflags(write=False)
    return a


@dataclass(frozen=True)
class Layout:
    """Sizes and options of a correlation that fit together."""

    batch: int
    channels: int
    outputs: int
    spatial: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    seed: int

    @property
    def how(self):
        return self.stride, self.padding, self.dilation, self.groups

    @property
    def out(self):
        sizes = zip(self.spatial, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes)

    def draw(self):
        """x, w and y: Gaussian."""
        rng = np.random.default_rng(self.seed)
        x = rng.standard_normal((self.batch, self.channels, *self.spatial))
        w = rng.standard_normal((self.outputs, self.channels // self.groups, *self.kernel))
        return x, w, rng.standard_normal((self.batch, self.outputs, *self.out))

    @property
    def terms(self):
        """More than any sum in a correlation or its transposes has."""
        return self.batch * self.channels * self.outputs * math.prod(self.kernel) * math.prod(self.out)


@st.composite
def layouts(draw, *, pool=False):
    """Any number of axes from one to three; every option over its range."""
    axes = []
    for _ in range(draw(st.integers(1, 3))):
        k = draw(st.integers(1, 3))
        p = draw(st.integers(0, k // 2 if pool else 2))
        d = draw(st.integers(1, 3))
        smallest = max(1, d * (k - 1) + 1 - 2 * p, d if pool else 1)
        axes.append((draw(st.integers(smallest, smallest + 4)), k, draw(st.integers(1, 3)), p, d))
    spatial, kernel, stride, padding, dilation = zip(*axes, strict=True)
    groups = draw(st.integers(1, 3))
    return Layout(
        draw(st.integers(1, 3)),
        groups * draw(st.integers(1, 2)),
        groups * draw(st.integers(1, 2)),
        spatial, kernel, stride, padding, dilation, groups,
        draw(st.integers(0, 2**32)),
    )  # fmt: skip


def assert_close(got, wanted, size, terms):
    """Equal up to the rounding of sums of ``terms`` products whose absolute values add up to ``size``."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.shape == wanted.shape
    assert (np.abs(got - wanted) <= 2 * (terms + 1) * EPS * np.asarray(size)).all()


def inner(a, b):
    return float(np.sum(np.asarray(a) * np.asarray(b)))


@every_library
@few
@given(layout=layouts())
def test_overlap_add_is_the_transpose_of_windows(library, layout):
    x = layout.draw()[0]
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in layout.padding)))
    u = windows(to(library, x), layout.kernel, layout.stride, layout.dilation)
    assert tuple(u.shape) == (*x.shape[:2], *layout.out, *layout.kernel)
    v = np.random.default_rng(layout.seed + 1).standard_normal(u.shape)
    back = overlap_add(to(library, v), x.shape[2:], layout.stride, layout.dilation)
    size = inner(np.abs(np.asarray(u)), np.abs(v))
    assert_close(inner(u, v), inner(x, back), size, v.size)


@every_library
@few
@given(layout=layouts())
def test_windows_hold_the_entries_that_their_definition_names(library, layout):
    x = np.pad(layout.draw()[0], ((0, 0), (0, 0), *((p, p) for p in layout.padding)))
    u = np.asarray(windows(to(library, x), layout.kernel, layout.stride, layout.dilation))
    d = len(layout.kernel)
    rng = np.random.default_rng(layout.seed)
    for _ in range(5):
        i = [int(rng.integers(n)) for n in layout.out]
        k = [int(rng.integers(n)) for n in layout.kernel]
        where = [s * a + e * b for s, a, e, b in zip(layout.stride, i, layout.dilation, k, strict=True)]
        assert (u[(..., *i, *k)] == x[(..., *where)]).all()
    assert u.ndim == 2 + 2 * d


@every_library
@few
@given(layout=layouts())
def test_the_three_correlations_are_one_trilinear_form(library, layout):
    x, w, y = layout.draw()
    xs, ws, ys = (to(library, a) for a in (x, w, y))
    form = inner(correlate(xs, ws, *layout.how), y)
    size = inner(correlate(to("numpy", abs(x)), to("numpy", abs(w)), *layout.how), abs(y))
    dx = correlate_to_input(ys, ws, layout.spatial, *layout.how)
    dw = correlate_to_weight(xs, ys, layout.kernel, *layout.how)
    assert tuple(dx.shape) == x.shape
    assert tuple(dw.shape) == w.shape
    assert_close(inner(dx, x), form, size, 2 * layout.terms)
    assert_close(inner(dw, w), form, size, 2 * layout.terms)


@every_library
@few
@given(layout=layouts())
def test_correlate_is_what_pytorch_calls_convolution(library, layout):
    x, w, _ = layout.draw()
    functional = torch.nn.functional
    conv = (functional.conv1d, functional.conv2d, functional.conv3d)[len(layout.kernel) - 1]
    wanted = conv(torch.from_numpy(x), torch.from_numpy(w), None, *layout.how)
    size = conv(torch.from_numpy(abs(x)), torch.from_numpy(abs(w)), None, *layout.how)
    assert_close(correlate(to(library, x), to(library, w), *layout.how), wanted, size, layout.terms)


@few
@given(layout=layouts())
def test_libraries_agree_on_the_transposes_entry_by_entry(layout):
    x, w, y = layout.draw()
    size_x = correlate_to_input(abs(y), abs(w), layout.spatial, *layout.how)
    size_w = correlate_to_weight(abs(x), abs(y), layout.kernel, *layout.how)
    dx, dw = (
        [correlate_to_input(to(lib, y), to(lib, w), layout.spatial, *layout.how) for lib in LIBRARIES],
        [correlate_to_weight(to(lib, x), to(lib, y), layout.kernel, *layout.how) for lib in LIBRARIES],
    )
    for other in (1, 2):
        assert_close(dx[other], dx[0], size_x, layout.terms)
        assert_close(dw[other], dw[0], size_w, layout.terms)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_weights_come_out_the_same_a_few_samples_at_a_time(library, monkeypatch):
    layout = Layout(21, 2, 4, (5, 4), (2, 3), (1, 2), (1, 0), (2, 1), 2, seed=3)
    x, _, y = (to(library, a) for a in layout.draw())
    whole = correlate_to_weight(x, y, layout.kernel, *layout.how)
    size = correlate_to_weight(abs(x), abs(y), layout.kernel, *layout.how)
    samples = 4 * math.prod((*layout.kernel, *layout.out)) * layout.channels
    monkeypatch.setattr(_primitives_correlations, "_AT_ONCE", samples)  # 4, 4, 4, 4, 4 and 1
    assert_close(correlate_to_weight(x, y, layout.kernel, *layout.how), whole, size, layout.terms)


@every_library
@few
@given(layout=layouts())
def test_a_correlation_of_dual_numbers_has_the_exact_central_difference_as_tangent(library, layout):
    """A bilinear function has no third-order term, so the difference with step 1 is exact."""
    x, w, _ = layout.draw()
    rng = np.random.default_rng(layout.seed + 1)
    v, u = rng.standard_normal(x.shape), rng.standard_normal(w.shape)
    lifted = correlate(
        Dual(to(library, x), to(library, v)), Dual(to(library, w), to(library, u)), *layout.how
    )
    ahead, behind = (correlate(x + s * v, w + s * u, *layout.how) for s in (1, -1))
    size = correlate(abs(x) + abs(v), abs(w) + abs(u), *layout.how)
    assert_close(lifted.t, (ahead - behind) / 2, size, layout.terms)


@every_library
@few
@given(
    layout=layouts(pool=True), kind=st.sampled_from(["distinct", "ties", "nan", "-inf"]), ceil=st.booleans()
)
def test_maxima_stand_where_pytorch_finds_them(library, layout, kind, ceil):
    rng = np.random.default_rng(layout.seed)
    shape = (layout.batch, layout.channels, *layout.spatial)
    x = rng.standard_normal(shape) if kind == "distinct" else rng.integers(-1, 2, shape).astype(float)
    if kind in ("nan", "-inf"):
        x[rng.uniform(size=shape) < 0.4] = float(kind)
    functional = torch.nn.functional
    pool = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[len(layout.kernel) - 1]
    where = (layout.kernel, layout.stride, layout.padding, layout.dilation)
    y, index = pool(torch.from_numpy(x), *where, ceil_mode=ceil, return_indices=True)
    got = argmax_windows(to(library, x), *where, tuple(y.shape[2:]))
    np.testing.assert_array_equal(np.asarray(got), index.numpy())
    flat = np.reshape(x, (*shape[:2], -1))
    picked = np.take_along_axis(flat, np.reshape(np.asarray(got), (*shape[:2], -1)), -1)
    np.testing.assert_array_equal(np.reshape(picked, y.shape), y.numpy())


@every_library
@few
@given(rows=st.integers(0, 3), m=st.integers(0, 6), n=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_scatter_is_the_transpose_of_taking(library, rows, m, n, seed):
    rng = np.random.default_rng(seed)
    x, updates = rng.standard_normal((rows, n)), rng.standard_normal((rows, m))
    index = rng.integers(0, n, (rows, m))
    taken = np.take_along_axis(x, index, -1)
    back = scatter(to(library, updates), to(library, index), n)
    assert tuple(back.shape) == x.shape
    assert_close(inner(taken, updates), inner(x, back), inner(abs(taken), abs(updates)), updates.size)


@every_library
def test_padding_surrounds_with_the_value(library):
    x = np.arange(6.0).reshape(1, 2, 3)
    padding = ((1, 0), (0, 2))
    wanted = np.pad(x, ((0, 0), *padding), constant_values=-1.5)
    np.testing.assert_array_equal(np.asarray(pad_axes(to(library, x), padding, -1.5)), wanted)


@pytest.mark.parametrize("value", [0.0, -1.5])
@every_library
def test_padding_has_tangent_zero(library, value):
    x, v = np.arange(6.0).reshape(2, 3), np.ones((2, 3))
    lifted = pad_axes(Dual(to(library, x), to(library, v)), ((1, 0), (0, 2)), value)
    np.testing.assert_array_equal(np.asarray(lifted.t), np.pad(v, ((1, 0), (0, 2))))


def test_the_gradient_of_weights_adds_up_over_all_chunks_of_samples(monkeypatch):
    """Samples go a few at a time: none may be left out, the last and shorter chunk included."""
    monkeypatch.setattr(_primitives_correlations, "_AT_ONCE", 1)
    g = torch.Generator().manual_seed(0)
    x = torch.randn(17, 2, 6, 5, generator=g, dtype=torch.float64)
    w = torch.randn(3, 2, 2, 3, generator=g, dtype=torch.float64, requires_grad=True)
    y = torch.nn.functional.conv2d(x, w)
    dy = torch.randn(y.shape, generator=g, dtype=torch.float64)
    (truth,) = torch.autograd.grad(y, w, dy)
    for make in (lambda t: t, lambda t: t.numpy()):
        found = correlate_to_weight(make(x), make(dy), (2, 3), (1, 1), (0, 0), (1, 1), 1)
        np.testing.assert_allclose(np.asarray(found), truth.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_where_by_bits_is_where(dtype):
    """Large tensors that nothing records are chosen by masks of bits: every bit must be the same."""
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 100, 64, generator=g).to(dtype)
    a[:, ::7], b[:, ::5], a[:, ::9], b[:, ::11] = torch.inf, torch.nan, -0.0, -torch.inf
    condition = torch.rand(100, 64, generator=g) < 0.5
    where = namespace(a).where
    kind = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.itemsize]
    for u, v in ((a, b), (a, 0), (0, b), (a, 1.25), (-torch.inf, b), (a, b.T.contiguous().T), (a, b[:1])):
        with torch.no_grad():
            found = where(condition, u, v)
        assert torch.equal(found.view(kind), torch.where(condition, u, v).view(kind))
