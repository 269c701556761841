"""Convolution and pooling: what cannot be done is refused, and what PyTorch gets wrong is not."""

import numpy as np
import pytest
import torch

import torch_ext
from handgrad import InputError, registry

X, W = (1, 2, 5, 5), (3, 2, 2, 2)


@pytest.mark.parametrize(
    ("x", "w", "b", "options", "words"),
    [
        (X, W, None, {"padding": "same", "stride": 2}, "same"),
        (X, W, None, {"padding": "full"}, "full"),
        (X, W, None, {"padding": -1}, "padding"),
        (X, W, None, {"stride": 0}, "stride"),
        (X, W, None, {"dilation": (1, 2, 3)}, "dilation"),
        (X, W, (2,), {}, "bias"),
        (X, (3, 2, 6, 2), None, {}, "kernel"),
        (X, (3, 2, 2), None, {}, "4 axes"),
        (X[1:3], W, None, {}, "axes"),
        ((1, 3, 5, 5), W, None, {}, "channels"),
        (X, (3, 1, 2, 2), None, {"groups": 2}, "groups"),
    ],
)
def test_a_convolution_that_does_not_fit_is_refused(x, w, b, options, words):
    with pytest.raises(InputError, match=words):
        registry["conv2d"].apply([np.ones(x), np.ones(w), None if b is None else np.ones(b)], options)


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((1, 5, 5), {"kernel_size": 2, "padding": 2}, "half"),
        ((1, 5, 5), {"kernel_size": 6}, "fit"),
        ((1, 5, 5), {"kernel_size": 0}, "kernel_size"),
        ((5, 5), {"kernel_size": 2}, "axes"),
    ],
)
def test_a_pool_that_does_not_fit_is_refused(shape, options, words):
    with pytest.raises(InputError, match=words):
        registry["max_pool2d"].apply([np.ones(shape)], options)


@pytest.mark.parametrize("make", [np.ones, torch.ones])
def test_a_window_that_steps_over_the_input_is_refused(make):
    """torch 2.13 returns an index outside the input here, and its backward pass writes there."""
    options = {"kernel_size": (2, 1), "stride": (3, 1), "padding": (1, 0), "dilation": (3, 3)}
    with pytest.raises(InputError, match="window"):
        registry["max_pool2d"].apply([make((1, 1, 2, 3))], options)


def test_a_complex_convolution_has_pytorchs_gradients():
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(s, generator=generator, dtype=torch.complex128) for s in ((2, 4, 5, 5), (4, 2, 3, 2)))
    options = {"stride": (2, 1), "padding": (1, 0), "groups": 2}
    found = []
    for call in (lambda *a: torch_ext.call(registry["conv2d"], *a, **options), torch.nn.functional.conv2d):
        leaves = [x.clone().requires_grad_(), w.clone().requires_grad_()]
        extra = options if call is torch.nn.functional.conv2d else {}
        y = call(*leaves, **extra)
        dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=y.dtype)
        found.append((y.detach(), *torch.autograd.grad(y, leaves, dy)))
    for ours, theirs, terms in zip(*found, (12, 24, 40), strict=True):
        # each is a sum of so many complex products of numbers of size one
        bound = 8 * terms * torch.finfo(torch.float64).eps * float(theirs.abs().max())
        assert float((ours - theirs).abs().max()) <= bound
