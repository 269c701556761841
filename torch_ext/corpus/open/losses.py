"""Losses, averaged over all elements or the batch."""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import sigmoid, where

from torch_ext.corpus._entry import Operation
from torch_ext.corpus.open import _sources as src
from torch_ext.corpus.open._tools import (
    HALF,
    between,
    changed,
    element,
    exact,
    filled,
    gauss,
    given,
    in_dtype,
    instead,
    keeps_inputs,
    negated,
    noisy,
    operation,
    plus,
    rounded,
    scaled,
    turned,
    without,
    wrong,
)


def unaveraged(backward):
    return changed(backward, lambda d: d * d.numel())


pair = given(gauss(5, 4), gauss(5, 4))
single = given(gauss(1), gauss(1))


def equal(g, dtype):
    """Predictions that hit their targets."""
    x = gauss(5, 4)(g, dtype)
    return x, x.detach().clone().requires_grad_()


def less(g, dtype):
    """Predictions below their targets."""
    return between(-2, -1, 5, 4)(g, dtype), between(0, 1, 5, 4)(g, dtype)


# ---- squared, absolute, Huber


def mse_back(g, s):
    d = 2 * g * (s[0] - s[1]) / s[0].numel()
    return d, -d


right = rounded(mse_back)
mse = operation(
    "mse_loss",
    keeps_inputs("x target", lambda x, t: (x - t).square().mean()),
    right,
    pair,
    F.mse_loss,
    [
        wrong("scale", "the 2 is forgotten", scaled(right, 0.5), argument="x", hidden=equal),
        wrong("scale", "1/N is forgotten", unaveraged(right), argument="x", hidden=single,
              source=src.BATCH_SIZE),
        wrong("scale", "divided by the batch size, not by all elements", scaled(right, 4.0), argument="x",
              hidden=equal, source=src.REDUCTION),
        wrong("sign", "target minus prediction", scaled(right, -1.0), argument="x", hidden=equal),
        wrong("sign", "the target gets the prediction's gradient", scaled(right, -1.0, 1), argument="target",
              hidden=equal),
        wrong("zero", "the target gets none", without(right, 1), argument="target", source=src.RETURNS_NONE),
        wrong("missing-factor", "the incoming gradient is taken for 1", also=("scale",),
              source=src.CROSS_ENTROPY_SCALAR,
              backward=rounded(lambda g, s: mse_back(torch.ones_like(g), s))),
        wrong("region", "|x - t|", changed(right, torch.abs), argument="x", hidden=equal, source=src.NORM_L1,
              also=("sign", "missing-factor")),
        wrong("offset", "0.01 is added to every element", plus(right, 0.01), argument="x"),
        wrong("local", "the first element is left out", element(right, 0), argument="x", hidden=equal),
    ],
    {"single": single, "equal": equal, "turned": given(turned(gauss(3, 4)), gauss(3, 4)),
    "scalar": given(gauss(), gauss())},
)  # fmt: skip


def l1_back(g, s):
    d = g * (s[0] - s[1]).sign() / s[0].numel()
    return d, -d


right = rounded(l1_back)
l1 = operation(
    "l1_loss",
    keeps_inputs("x target", lambda x, t: (x - t).abs().mean()),
    right,
    pair,
    F.l1_loss,
    [
        wrong("not-finite", "d / |d| where the prediction is exact", argument="x", hidden=pair,
              source=src.ABS_ZERO,
              backward=instead(right, 0, lambda g,
              s: g * (s[0] - s[1]) / (s[0] - s[1]).abs() / s[0].numel())),
        wrong("missing-factor", "ones instead of signs", argument="x", also=("region", "sign"),
              source=src.NORM_L1,
              hidden=lambda g, dtype: less(g, dtype)[::-1],
              backward=instead(right, 0, lambda g, s: (g / s[0].numel()).expand(s[0].shape))),
        wrong("missing-factor", "the difference itself, as for the squared loss", argument="x",
              also=("unknown",),
              backward=instead(right, 0, lambda g, s: g * (s[0] - s[1]) / s[0].numel()),
              source=src.SMOOTH_L1),
        wrong("scale", "1/N is forgotten", unaveraged(right), argument="x", hidden=single,
              source=src.BATCH_SIZE),
        wrong("sign", "both signs are exchanged", negated(right), hidden=equal),
    ],
    {"single": single, "equal": equal, "large": given(filled(3e4, 3), filled(-3e4, 3))},
)  # fmt: skip

DELTA = 0.75


def huber_back(g, s, low=-DELTA, high=DELTA):
    d = g * (s[0] - s[1]).clamp(low, high) / s[0].numel()
    return d, -d


def near(g, dtype):
    x = gauss(5, 4)(g, dtype)
    return x, (x.detach() + between(-0.5, 0.5, 5, 4, grad=False)(g, dtype)).requires_grad_()


right = rounded(huber_back)
huber = operation(
    "huber_loss",
    keeps_inputs("x target", lambda x, t: F.huber_loss(x, t, delta=DELTA)),
    right,
    pair,
    lambda x, target: F.huber_loss(x, target, delta=DELTA),
    [
        wrong("region", "nothing is clipped: the gradient of the squared loss", argument="x", hidden=near,
              backward=instead(right, 0, lambda g, s: g * (s[0] - s[1]) / s[0].numel()), source=src.HUBER),
        wrong("region", "delta is forgotten for large differences", argument="x", hidden=near,
              source=src.SMOOTH_L1,
              backward=instead(right, 0, lambda g, s: g / s[0].numel() * where(
                  (s[0] - s[1]).abs() <= DELTA, s[0] - s[1], (s[0] - s[1]).sign()))),
        wrong("region", "differences below -delta are not clipped", argument="x", hidden=near,
              backward=instead(right, 0, lambda g, s: huber_back(g, s, low=None)[0]), source=src.HUBER),
        wrong("scale", "divided by delta: the smooth L1 loss", scaled(right, 1 / DELTA), argument="x",
              hidden=equal,
              source=src.SMOOTH_L1),
        wrong("scale", "1/N is forgotten", unaveraged(right), argument="x", hidden=single,
              source=src.BATCH_SIZE),
    ],
    {"single": single, "equal": equal, "kinks": given(exact([0.75, -0.75, 1.0]), filled(0.0, 3))},
)  # fmt: skip


# ---- binary cross entropy of probabilities and of logits


def bce_back(g, s):
    p, t = s
    return g * (p - t) / (p * (1 - p)).clamp(min=1e-12) / p.numel(), None


def binary(*shape):
    return lambda g, dtype: (torch.rand(shape, generator=g) < 0.5).to(dtype)


def logs(p):
    return where(p > 0, p.log(), -100.0).clamp(min=-100)


def certain(g, dtype):
    t = binary(5, 4)(g, dtype)
    return t.clone().requires_grad_(), t


right = rounded(bce_back)
usual = given(between(0.1, 0.9, 5, 4), binary(5, 4))
bce = operation(
    "binary_cross_entropy",
    keeps_inputs("p target", lambda p, t: -(t * logs(p) + (1 - t) * logs(1 - p)).mean()),
    right,
    usual,
    lambda p, target: F.binary_cross_entropy(p, target),
    [
        wrong("missing-factor", "p - t, as for logits", source=src.DERIVATIVE_MISSING,
              backward=rounded(lambda g, s: (g * (s[0] - s[1]) / s[0].numel(), None))),
        wrong("missing-factor", "divided by p alone", source=src.SOFTMAX_CE,
              backward=rounded(lambda g, s: (g * (s[0] - s[1]) / s[0] / s[0].numel(), None))),
        wrong("missing-term", "-t/p alone: the term of 1 - t is forgotten", also=("region",),
              source=src.SOFTMAX_CE,
              hidden=given(between(0.1, 0.9, 5, 4), filled(1.0, 5, 4, grad=False)),
              backward=rounded(lambda g, s: (-g * s[1] / s[0] / s[0].numel(), None))),
        wrong("not-finite", "0 / 0 where the prediction is certain and right", hidden=usual,
              source=src.SOFTMAX_NAN,
              backward=rounded(lambda g, s: (g * (s[0] - s[1]) / (s[0] * (1 - s[0])) / s[0].numel(), None))),
        wrong("scale", "1/N is forgotten", unaveraged(right), hidden=given(between(0.1, 0.9, 1), binary(1)),
              source=src.BATCH_SIZE),
        wrong("sign", "t - p", scaled(right, -1.0)),
        wrong("nondeterministic", "labels are smoothed with noise in the backward", noisy(right),
              source=src.SMOOTHING),
    ],
    {"certain": certain, "soft": given(between(0.1, 0.9, 3), between(0, 1, 3, grad=False)),
    "one": given(between(0.1, 0.9, 1), binary(1))},
)  # fmt: skip


def weight_of(t, w):
    return w * t + 1 - t


def logits_back(g, s, weight=True, extra=False):
    x, t, w = s
    w = w if weight else 1.0
    y = sigmoid(x)
    d = (1 - t) * y - w * t * sigmoid(-x)
    return g * d * (y * (1 - y) if extra else 1) / x.numel(), None, None


right = rounded(logits_back)
usual = given(gauss(5, 4), binary(5, 4), 3.0)
unweighted = given(gauss(5, 4), binary(5, 4), 1.0)
bce_logits = operation(
    "bce_with_logits",
    keeps_inputs("x target weight", lambda x, t, w: (
        (1 - t) * x + weight_of(t, w) * (torch.log1p(torch.exp(-x.abs())) + (-x).clamp(min=0))).mean()),
    right,
    usual,
    lambda x, target, weight: F.binary_cross_entropy_with_logits(
        x, target, pos_weight=torch.tensor(weight, dtype=x.dtype)),
    [
        wrong("missing-factor", "the weight of the positives is forgotten", hidden=unweighted,
              also=("region",),
              backward=rounded(lambda g, s: logits_back(g, s, False)), source=src.IGNORED),
        wrong("missing-factor", "multiplied by the sigmoid's derivative once more",
              source=src.DERIVATIVE_EXTRA,
              backward=rounded(lambda g, s: logits_back(g, s, True, True))),
        wrong("not-finite", "exp(x) / (1 + exp(x)) is inf / inf", hidden=usual, source=src.SOFTPLUS,
              backward=rounded(lambda g,
              s: (g * (weight_of(s[1], s[2]) * (s[0].exp() / (1 + s[0].exp())) - s[2] * s[1]) / s[0].numel(),
                                             None, None))),
        wrong("missing-factor", "x - t: the sigmoid is forgotten", also=("unknown",), hidden=None,
              source=src.SIGMOID_OUTPUT,
              backward=rounded(lambda g,
              s: (g * (s[0] - s[1]) * weight_of(s[1], s[2]) / s[0].numel(), None, None))),
        wrong("missing-term", "the targets are not subtracted", also=("region", "unknown"),
              source=src.SOFTMAX_CE,
              hidden=given(gauss(5, 4), filled(0.0, 5, 4, grad=False), 3.0),
              backward=rounded(lambda g,
              s: (g * weight_of(s[1], s[2]) * sigmoid(s[0]) / s[0].numel(), None, None))),
        wrong("scale", "divided by the batch size, not by all elements", scaled(right, 4.0),
              source=src.REDUCTION),
        wrong("dtype", "the loss is kept in float32, its gradient, too", in_dtype(right, torch.float32),
              dtypes=HALF,
              source=src.GRAD_DTYPE_HALF),
    ],
    {"large": given(exact([-1000.0, -30.0, 30.0, 1000.0]), exact([1.0, 0.0, 1.0, 0.0], grad=False), 2.0),
    "unweighted": unweighted},
)  # fmt: skip

OPERATIONS: tuple[Operation, ...] = (mse, l1, huber, bce, bce_logits)
