"""Attention where masks take keys away: what is left has an exact answer."""

import numpy as np
import pytest
import torch

import torch_ext
from handgrad import InputError, registry

ATTENTION = registry["scaled_dot_product_attention"]
INF = float("inf")


def leaves(seed, *shapes):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes]


@pytest.mark.parametrize("call", [torch.nn.functional.scaled_dot_product_attention, "ours"])
def test_one_key_left_is_copied_and_none_left_gives_zero(call):
    """A softmax over one number is 1 and constant; over none, PyTorch's convention is 0."""
    if call == "ours":

        def call(*inputs):
            return torch_ext.call(ATTENTION, *inputs)

    q, k, v = leaves(0, (3, 4), (2, 4), (2, 5))
    mask = torch.tensor([[0.5, -INF], [-INF, -INF], [-INF, -1.0]], dtype=torch.float64, requires_grad=True)
    y = call(q, k, v, mask)
    wanted = torch.stack([v[0], torch.zeros(5, dtype=torch.float64), v[1]])
    torch.testing.assert_close(y, wanted, rtol=0, atol=0)
    dy = torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    dq, dk, dv, dmask = torch.autograd.grad(y, (q, k, v, mask), dy)
    torch.testing.assert_close(dv, dy[[0, 2]], rtol=0, atol=0)
    for gradient in (dq, dk, dmask):
        assert torch.count_nonzero(gradient) == 0


def test_second_derivatives_stay_finite_under_masks_of_infinities():
    q, k, v = leaves(1, (3, 4), (3, 4), (3, 2))
    mask = torch.tensor([[0.5, -INF, 1.0], [-INF, -INF, -INF], [0.0, 1.0, -INF]], dtype=torch.float64)
    assert torch.autograd.gradgradcheck(lambda *qkv: torch_ext.call(ATTENTION, *qkv, mask), (q, k, v))


def test_masked_keys_may_as_well_not_exist():
    rng = np.random.default_rng(2)
    q, k, v = rng.standard_normal((4, 3)), rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
    dy = rng.standard_normal((4, 2))
    seen = np.array([True, False, True, True, False, True])

    def run(*inputs):
        y, residuals = ATTENTION.apply(inputs, {})
        return y[0], ATTENTION.vjp([dy], residuals, inputs, {}, (True, True, True, False)[: len(inputs)])

    y, (dq, dk, dv, _) = run(q, k, v, seen)
    short, (short_dq, short_dk, short_dv) = run(q, k[seen], v[seen])
    # both sum the same few numbers of size one, in another order
    close = {"rtol": 0, "atol": 64 * np.finfo(np.float64).eps * (1 + float(np.abs(short_dk).max()))}
    np.testing.assert_allclose(y, short, **close)
    np.testing.assert_allclose(dq, short_dq, **close)
    np.testing.assert_allclose(dk[seen], short_dk, **close)
    np.testing.assert_allclose(dv[seen], short_dv, **close)
    assert not dk[~seen].any()
    assert not dv[~seen].any()


@pytest.mark.parametrize(
    ("shapes", "options", "words"),
    [
        ([(2, 3), (2, 4), (2, 4)], {}, "needs q"),
        ([(2, 3), (4, 3), (5, 3)], {}, "needs q"),
        ([(2, 3)] * 3 + [(2, 2)], {"is_causal": True}, "is_causal"),
        ([(2, 3)] * 3 + [(5, 2, 2)], {}, "broadcast"),
        ([(2, 3)] * 3, {"dropout_p": 0.5}, "dropout"),
        ([(6, 2, 3), (4, 2, 3), (4, 2, 3)], {"enable_gqa": True}, "heads"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(shapes, options, words):
    with pytest.raises(InputError, match=words):
        ATTENTION.apply([np.ones(s) for s in shapes], options)
