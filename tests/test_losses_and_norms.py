"""Corners of losses and normalisations that the cases of a derivation cannot hold: values without a
derivative, wrong inputs, and accuracy where PyTorch itself rounds."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

import torch_ext
from handgrad import InputError, registry

INF = float("inf")


def agree(ours, theirs):
    torch.testing.assert_close(ours, theirs, equal_nan=True)


def class_inputs(kind):
    """Logits, class indices and options in float64."""
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(6, 4, generator=draw, dtype=torch.float64)
    t = torch.randint(0, 3, (6,), generator=draw)
    if kind == "an impossible class":
        x[:, 3] = -INF
    elif kind == "all ignored":
        t = torch.full_like(t, -100)
    elif kind == "unbatched":
        x, t = x[0], t[0]
    elif kind == "images":
        x, t = x.reshape(2, 4, 3), t.reshape(2, 3)
    elif kind == "empty":
        x, t = x[:0], t[:0]
    return x, t, {"ignore_index": 1} if kind == "images" else {}


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("weights", ["none", "random", "zero"])
@pytest.mark.parametrize("smoothing", [None, 0.0, 0.3, 1.0])  # None: nll_loss
@pytest.mark.parametrize(
    "kind", ["plain", "an impossible class", "all ignored", "unbatched", "images", "empty"]
)
def test_class_losses_at_their_edges(kind, smoothing, weights, reduction):
    x, t, options = class_inputs(kind)
    w = {"none": None, "random": torch.rand(4).double() + 0.2, "zero": torch.zeros(4).double()}[weights]
    options |= {"reduction": reduction} | ({} if smoothing is None else {"label_smoothing": smoothing})
    name = "nll_loss" if smoothing is None else "cross_entropy"
    x.requires_grad_()
    ours = torch_ext.call(registry[name], x, t, w, **options)
    theirs = getattr(F, name)(x, t, weight=w, **options)
    agree(ours, theirs)
    dy = torch.randn(ours.shape, dtype=torch.float64)
    agree(torch.autograd.grad(ours, x, dy), torch.autograd.grad(theirs, x, dy))


def test_bce_at_certain_probabilities():
    x = torch.tensor([0.0, 1.0, 0.0, 1.0, 1e-45, 0.3], requires_grad=True)
    t = torch.tensor([1.0, 0.0, 0.5, 1.0, 1.0, 0.3], requires_grad=True)
    ours = torch_ext.call(registry["binary_cross_entropy"], x, t, reduction="none")
    theirs = F.binary_cross_entropy(x, t, reduction="none")
    agree(ours, theirs)
    dy = torch.randn(6)
    agree(torch.autograd.grad(ours, (x, t), dy), torch.autograd.grad(theirs, (x, t), dy))


def test_bce_with_logits_has_a_second_derivative_at_zero():
    x, t = torch.zeros(3, dtype=torch.float64), torch.rand(3, dtype=torch.float64)

    def loss(x):
        return torch_ext.call(registry["binary_cross_entropy_with_logits"], x, t, reduction="sum")

    agree(torch.func.hessian(loss)(x), 0.25 * torch.eye(3, dtype=torch.float64))  # σ'(0)
    agree(torch.func.jacfwd(torch.func.jacfwd(loss))(x), 0.25 * torch.eye(3, dtype=torch.float64))


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_class_indices_under_vmap(name):
    x, t = torch.randn(3, 5, 4, dtype=torch.float64), torch.randint(0, 4, (3, 5))
    ours = torch.func.vmap(torch.func.grad(lambda x, t: torch_ext.call(registry[name], x, t)))(x, t)
    agree(ours, torch.func.vmap(torch.func.grad(getattr(F, name)))(x, t))


@pytest.mark.parametrize("name", ["layer_norm", "batch_norm"])
@pytest.mark.parametrize("mean", [0.0, 1e3, 1e6])
def test_norms_are_accurate_where_the_mean_is_large(name, mean):
    rng = np.random.default_rng(5)
    x = (rng.standard_normal((64, 32)) + mean).astype(np.float32)
    dy = rng.standard_normal(x.shape).astype(np.float32)
    options = {"normalized_shape": (32,)} if name == "layer_norm" else {"training": True}

    def both(dtype):
        outputs, residuals = registry[name].apply((x.astype(dtype),), options)
        cotangents = [dy.astype(dtype)] + [None] * (len(outputs) - 1)
        return outputs[0], registry[name].vjp(cotangents, residuals, (x.astype(dtype),), options)[0]

    # sums of up to 64 numbers, and a few roundings on the way, of numbers up to about 10
    bound = 64 * 10 * np.finfo(np.float32).eps / 2
    for low, high in zip(both(np.float32), both(np.float64), strict=True):
        assert np.abs(low - high).max() < bound


X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
ONES = np.ones(3, np.float32)
WRONG = {
    "class too large": ("cross_entropy", (X, np.array([0, 3])), {}, "a class index must be from 0 to 2"),
    "negative class": ("nll_loss", (X, np.array([0, -1])), {}, "a class index must be from 0 to 2"),
    "float indices": ("nll_loss", (X, ONES[:2]), {}, "targets must be class indices"),
    "too many targets": ("cross_entropy", (X, np.array([0, 1, 2])), {}, "class indices must have shape"),
    "probabilities of another shape": ("cross_entropy", (X, ONES), {}, "must have the shape of the input"),
    "ignored probabilities": ("cross_entropy", (X, X), {"ignore_index": 1}, "ignore_index"),
    "smoothing": ("cross_entropy", (X, np.array([0, 1])), {"label_smoothing": 2}, "between 0 and 1"),
    "weights of classes": ("cross_entropy", (X, np.array([0, 1]), ONES[:2]), {}, "one weight for each class"),
    "no classes": ("cross_entropy", (X[0, 0], np.array(0)), {}, "axis of classes"),
    "no probability": ("binary_cross_entropy", (2 * ONES, ONES), {}, "input should be between 0 and 1"),
    "NaN target": ("binary_cross_entropy", (ONES, np.nan * ONES), {}, "target should be between 0 and 1"),
    "bce shapes": ("binary_cross_entropy_with_logits", (X, ONES), {}, "the same shape"),
    "bce weights": ("binary_cross_entropy_with_logits", (X, X, X[None]), {}, "weight must broadcast"),
    "reduction": ("mse_loss", (X, X), {"reduction": "avg"}, "reduction must be one of"),
    "weights": ("l1_loss", (X, X, ONES), {}, "weight must have the shape"),
    "beta": ("smooth_l1_loss", (X, X), {"beta": -1}, "beta"),
    "one element": ("batch_norm", (X[:1],), {"training": True}, "more than 1 value per channel"),
    "no statistics": ("batch_norm", (X,), {}, "running statistics"),
    "one statistic": ("batch_norm", (X, ONES), {"training": True}, "both be None or neither"),
    "no channels": ("batch_norm", (ONES,), {"training": True}, r"\(N, C, ...\)"),
    "eps": ("batch_norm", (X,), {"training": True, "eps": 0}, "eps must be positive"),
    "channels": ("batch_norm", (X, None, None, ONES[:2]), {"training": True}, "one for each channel"),
    "normalized_shape": ("layer_norm", (X,), {"normalized_shape": (2,)}, "ends the shape of the input"),
    "weight of rms_norm": ("rms_norm", (X, ONES[:2]), {"normalized_shape": (3,)}, "shape normalized_shape"),
}


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("what", WRONG)
def test_wrong_inputs_get_one_sentence(what, make):
    name, inputs, options, message = WRONG[what]
    inputs = [None if a is None else make(a) for a in inputs]
    with pytest.raises(InputError, match=message):
        registry[name].apply(inputs, options)


def test_batch_norm_of_two_parts_is_that_of_the_whole():
    """Two threads, each with a part of the batch, stand for the processes of SyncBatchNorm."""
    rng, batch_norm, options = np.random.default_rng(3), registry["batch_norm"], {"training": True}
    x, dy = rng.standard_normal((2, 7, 3, 2))
    w, statistics = rng.standard_normal(3), (np.zeros(3), np.ones(3))
    meeting, parts = threading.Barrier(2), [None, None]

    def one(i, rows):
        def across(a):
            parts[i] = a
            meeting.wait()
            total = parts[0] + parts[1]
            meeting.wait()  # all have read both
            return total

        inputs = (x[rows], *statistics, w)
        y, residuals = batch_norm.apply(inputs, {**options, "across": across})
        return y, batch_norm.vjp((dy[rows], None, None), residuals, inputs, {**options, "across": across})

    with ThreadPoolExecutor(2) as pool:
        (y1, d1), (y2, d2) = pool.map(one, (0, 1), (slice(0, 3), slice(3, 7)))
    y, residuals = batch_norm.apply((x, *statistics, w), options)
    d = batch_norm.vjp((dy, None, None), residuals, (x, *statistics, w), options)
    close = partial(np.testing.assert_allclose, rtol=0, atol=1e-14)
    close(np.concatenate([y1[0], y2[0]]), y[0])
    for part in (y1, y2):
        close(part[1], y[1])
        close(part[2], y[2])
    close(np.concatenate([d1[0], d2[0]]), d[0])
    close(d1[3] + d2[3], d[3])
