"""Masks of bits choose as ``torch.where`` does, to the bit: at NaN, at both zeros, at infinities."""

from operator import ge, gt, le, lt

import pytest
import torch

from torch_ext._torch_choices import choose, choose_beyond, step, where

SPECIAL = [0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1.0, -0.5]


@pytest.fixture(params=[torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def numbers(request):
    """Three arrays large enough for masks."""
    g = torch.Generator().manual_seed(4)
    found = [torch.randn(7000, generator=g).to(request.param) for _ in range(3)]
    for i, x in enumerate(found):
        x[i : i + len(SPECIAL)] = torch.tensor(SPECIAL, dtype=request.param)
    return found


def same(a, b):
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    return a.dtype == b.dtype and torch.equal(a.view(bits), b.view(bits))


@pytest.mark.parametrize("relation", [gt, ge, lt, le])
@pytest.mark.parametrize("bound", [0.0, -0.5, 1.0])
def test_choices_are_those_of_where(numbers, relation, bound):
    x, a, b = numbers
    condition = relation(x, bound)
    with torch.no_grad():
        for one, other in ((a, b), (0, b), (a, 0), (1.5, b), (a, 2.0)):
            expected = torch.where(condition, one, other)
            assert same(choose(relation, x, bound, one, other), expected)
            assert same(where(condition, one, other), expected)
        assert same(step(relation, x, bound, 0.25), torch.where(condition, torch.ones_like(x), 0.25))


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.5, 0.5), (0.0, 6.0)])
def test_beyond_two_bounds(numbers, low, high):
    x, a, b = numbers
    with torch.no_grad():
        for one, other in ((a, b), (0, b)):
            expected = torch.where((x <= low) | (x >= high), one, other)
            assert same(choose_beyond(x, low, high, one, other), expected)
