"""Published Functions: the right ones pass the check, the wrong ones are found and named."""

import pytest
import torch

import torch_ext
from torch_ext.corpus.public import FUNCTIONS
from torch_ext.corpus.public._entry import FLOATS

# what the check gets wrong, by test id
KNOWN = {
    "fast_sigmoid_spike-0-missing-factor-float64": "unknown: the factor is 5|u| + 1",
    "linear_cross_entropy-0-missing-term-float64": "unknown: all rows but the last chunk's are missing",
    "learned_step-0-scale-float64": "missing-factor: the factor is another one where the range is another",
}


def case(name, *values):
    marks = pytest.mark.xfail(strict=True, reason=KNOWN[name]) if name in KNOWN else ()
    return pytest.param(*values, id=name, marks=marks)


def makers(function):
    return {"usual": function.inputs, **function.further}


def made(make, dtype):
    return make(torch.Generator().manual_seed(0), getattr(torch, dtype))


RIGHT = [
    case(f"{f.name}-{name}-{dtype}", f, make, dtype)
    for f in FUNCTIONS
    for name, make in makers(f).items()
    for dtype in f.dtypes
]
ALONE = [case(f"{f.name}-{dtype}", f, dtype) for f in FUNCTIONS if not f.convention for dtype in FLOATS]
WRONG = [
    case(f"{f.name}-{i}-{wrong.kind}-{dtype}", f, wrong, dtype)
    for f in FUNCTIONS
    for i, wrong in enumerate(f.wrong)
    for dtype in wrong.dtypes
]


@pytest.mark.parametrize(("function", "make", "dtype"), RIGHT)
def test_a_right_one_passes_with_its_reference(function, make, dtype):
    torch_ext.check(function.right, made(make, dtype), function.reference).raise_if_failed()


@pytest.mark.parametrize(("function", "dtype"), ALONE)
def test_a_right_one_passes_alone(function, dtype):
    torch_ext.check(function.right, made(function.inputs, dtype)).raise_if_failed()


@pytest.mark.parametrize(("function", "wrong", "dtype"), WRONG)
def test_a_wrong_one_is_found_and_named(function, wrong, dtype):
    report = torch_ext.check(wrong.apply, made(function.inputs, dtype), function.reference)
    assert not report.passed
    assert report.findings[0].kind in (wrong.kind, *wrong.also), str(report)
    if wrong.argument and report.findings[0].kind != "mutates":
        assert wrong.argument in report.findings[0].where, str(report)


def flat(x):
    return x if isinstance(x, tuple) else (x,)


def gradients(apply, inputs):
    outputs = [y for y in flat(apply(*inputs)) if y.requires_grad]
    g = torch.Generator().manual_seed(1)
    grads = [torch.randn(y.shape, generator=g, dtype=y.dtype) for y in outputs]
    leaves = [x for x in inputs if isinstance(x, torch.Tensor) and x.requires_grad]
    return torch.autograd.grad(outputs, leaves, grads)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
def test_a_right_one_is_right_by_autograd_alone(function):
    for make in makers(function).values():
        one, other = made(make, "float64"), made(make, "float64")
        for y, truth in zip(flat(function.right(*one)), flat(function.reference(*other)), strict=True):
            assert y.dtype == truth.dtype
            assert torch.allclose(y, truth, rtol=1e-10, atol=1e-10)
        one, other = made(make, "float64"), made(make, "float64")  # running statistics have moved
        mine, true = gradients(function.right, one), gradients(function.reference, other)
        assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-10) for a, b in zip(mine, true, strict=True))


def test_the_corpus_is_as_large_as_it_says():
    assert len({f.name for f in FUNCTIONS}) == len(FUNCTIONS) >= 45
    assert sum(len(f.wrong) for f in FUNCTIONS) >= 100
    assert set(KNOWN) <= {str(p.id) for p in (*RIGHT, *ALONE, *WRONG)}
    for f in FUNCTIONS:
        assert f.source
        assert 1 <= len(f.wrong) <= 3
