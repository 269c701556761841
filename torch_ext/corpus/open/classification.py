"""Losses of classifiers: cross entropy and its variants, divergence, hinge."""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import where

from torch_ext.corpus._entry import Operation
from torch_ext.corpus.open import _sources as src
from torch_ext.corpus.open._tools import (
    FULL,
    Accumulating,
    between,
    changed,
    element,
    exact,
    filled,
    gauss,
    given,
    indices,
    instead,
    keeps_inputs,
    kept_outside,
    negated,
    operation,
    rounded,
    scaled,
    turned,
    wide,
    without,
    wrong,
)

IGNORED = -100


def one_hot(t, x):
    return torch.zeros_like(x).scatter_(1, t.clamp(min=0)[:, None], 1.0)


# ---- cross entropy with class indices, some of them ignored


def entropy_forward(x, target):
    logs, kept = torch.log_softmax(wide(x), 1), target != IGNORED
    losses = where(kept, -logs.gather(1, target.clamp(min=0)[:, None])[:, 0], 0.0)
    return (losses.sum() / kept.sum()).to(x.dtype), (wide(x), target)


def entropy_back(g, s, subtract=1.0, keep_all=False, count=None, probabilities=torch.softmax):
    x, t = s
    kept = (t != IGNORED) | keep_all
    n = (t != IGNORED).sum() if count is None else count
    return kept[:, None] * g * (probabilities(x, 1) - subtract * one_hot(t, x)) / n, None


def entropy(**how):
    return rounded(lambda g, s: entropy_back(g, s, **how))


def naive_softmax(x, axis):
    return x.exp() / x.exp().sum(axis, keepdim=True)


right = entropy()
none_ignored = given(gauss(6, 5), indices([0, 4, 2, 2, 1, 3]))
cross_entropy = operation(
    "cross_entropy",
    entropy_forward,
    right,
    given(gauss(6, 5), indices([0, 4, IGNORED, 2, 1, IGNORED])),
    lambda x, target: F.cross_entropy(x, target),
    [
        wrong("missing-term", "the one-hot target is not subtracted", entropy(subtract=0.0),
              source=src.SOFTMAX_CE),
        wrong("region", "ignored rows get a gradient", entropy(keep_all=True), hidden=none_ignored,
              also=("missing-factor",), source=src.IGNORED),
        wrong("scale", "ignored rows count in the mean", entropy(count=6), hidden=none_ignored,
              source=src.IGNORED),
        wrong("scale", "the sum instead of the mean", entropy(count=1), source=src.REDUCTION,
              hidden=given(gauss(1, 5), indices([3]))),
        wrong("scale", "divided by the number of classes, too", scaled(right, 1 / 5),
              source=src.DIVIDED_TWICE),
        wrong("missing-term", "the one-hot target is subtracted twice", entropy(subtract=2.0),
              source=src.ADDED_TWICE),
        wrong("permuted", "classes are counted from 1", also=("unknown",), source=src.EMBEDDING_ROW,
              backward=rounded(lambda g, s: entropy_back(g, (s[0].roll(-1, 1), s[1])))),
        wrong("not-finite", "the maximum is not subtracted: exp overflows", hidden=none_ignored,
              backward=entropy(probabilities=naive_softmax), source=src.SOFTMAX_NAN),
        wrong("missing-factor", "the incoming gradient is taken for 1", also=("scale",),
              backward=rounded(lambda g, s: entropy_back(torch.ones_like(g), s)),
              source=src.CROSS_ENTROPY_SCALAR),
        wrong("sign", "target minus probability", negated(right)),
        wrong("local", "the last class of the last kept row is off", element(right, 24, 0.5),
              source=src.LAYER_NORM_RANK),
        wrong("scale", "off by 1e-5", scaled(right, 1 + 1e-5), dtypes=FULL),
    ],
    {
        "none ignored": none_ignored,
        "one row": given(gauss(1, 5), indices([3])),
        "large": given(exact([[0.0, 1000.0, 999.0], [-1000.0, -1000.0, -1001.0]]), indices([1, 2])),
        "alike": given(filled(2.0, 3, 4), indices([0, 1, 3])),
        "turned": given(turned(gauss(3, 4)), indices([0, 1, 3])),
    },
)  # fmt: skip


# ---- softmax and cross entropy fused: the gradient is computed in the forward and scaled in the backward


def probabilities(*shape):
    return lambda g, dtype: torch.softmax(torch.randn(shape, generator=g, dtype=torch.float64), 1).to(dtype)


def fused_forward(x, target):
    logs = torch.log_softmax(wide(x), 1)
    loss = -(wide(target) * logs).sum(1).mean()
    return loss.to(x.dtype), (logs.exp() * wide(target).sum(1, keepdim=True) - wide(target)) / len(x)


def fused_in_saved(g, saved):
    return saved.mul_(g), None


right = rounded(lambda g, saved: (g * saved, None))
fused = operation(
    "fused_softmax_cross_entropy",
    fused_forward,
    right,
    given(gauss(5, 4), probabilities(5, 4)),
    lambda x, target: -(target * torch.log_softmax(x, 1)).sum(1).mean(),
    [
        wrong("mutates", "the saved gradient is scaled in place: right once", fused_in_saved, dtypes=FULL,
              source=src.IN_PLACE_SAVED),
        wrong("missing-factor", "the incoming gradient is ignored: right for loss.backward() alone",
              rounded(lambda g, saved: (saved + 0 * g, None)), also=("scale",),
              source=src.CROSS_ENTROPY_SCALAR),
        wrong("unknown", "the gradient is kept in bfloat16 from forward to backward", dtypes=FULL,
              also=("dtype",),
              backward=rounded(lambda g, saved: (g * saved.bfloat16().to(g.dtype), None)),
              source=src.EMBEDDING_HALF),
        wrong("nondeterministic", "one buffer serves all calls", Accumulating(right), source=src.ADDED_TWICE),
        wrong("forward", "the loss is summed over the batch, and so is its gradient", source=src.REDUCTION,
              forward=lambda x, target: (lambda y, s: (y * len(x), s * len(x)))(*fused_forward(x, target))),
        kept_outside(fused_forward, right, source=src.STATE),
    ],
    {
        "hard": given(gauss(3, 4), lambda g, dtype: torch.eye(4)[:3].to(dtype)),
        "large": given(exact([[0.0, 1000.0, 999.0]]), exact([[0.0, 1.0, 0.0]], grad=False)),
        "one class": given(gauss(2, 1), filled(1.0, 2, 1, grad=False)),
    },
)  # fmt: skip

SMOOTH = 0.125


def smooth_back(g, s, target=1 - SMOOTH, rest=SMOOTH):
    x, t = s
    return g * (torch.softmax(x, 1) - target * one_hot(t, x) - rest / x.shape[1]) / len(x), None


def smooth_forward(x, target):
    logs = torch.log_softmax(wide(x), 1)
    picked = logs.gather(1, target[:, None])[:, 0]
    return -((1 - SMOOTH) * picked + SMOOTH * logs.mean(1)).mean().to(x.dtype), (wide(x), target)


def smoothed(**how):
    return rounded(lambda g, s: smooth_back(g, s, **how))


smoothing = operation(
    "label_smoothing",
    smooth_forward,
    smoothed(),
    given(gauss(5, 4), indices([0, 3, 2, 2, 1])),
    lambda x, target: F.cross_entropy(x, target, label_smoothing=SMOOTH),
    [
        wrong("missing-term", "the backward does not smooth", smoothed(target=1.0, rest=0.0),
              source=src.SMOOTHING),
        wrong("offset", "the uniform part is forgotten", smoothed(rest=0.0), also=("missing-term",),
              source=src.SMOOTHING),
        wrong("offset", "the uniform part is not divided by the number of classes", smoothed(rest=SMOOTH * 4),
              also=("missing-term",), source=src.SMOOTHING),
        wrong("missing-term", "the target's part is not reduced", smoothed(target=1.0), source=src.SMOOTHING,
              also=("local", "region")),
        wrong("scale", "the sum instead of the mean", changed(smoothed(), lambda d: d * len(d)),
              source=src.REDUCTION,
              hidden=given(gauss(1, 4), indices([2]))),
    ],
    {"one row": given(gauss(1, 4), indices([2])), "alike": given(filled(1.0, 2, 4), indices([0, 1]))},
)  # fmt: skip


# ---- Kullback-Leibler divergence, averaged over the batch, of log-probabilities and a differentiable target


def kl_back(g, s):
    logs, t = s
    return -g * t / len(t), g * (t.log() + 1 - logs) / len(t)


right = rounded(kl_back)
kl = operation(
    "kl_div",
    keeps_inputs("logs target", lambda x, t: (t * (t.log() - x)).sum() / len(t)),
    right,
    given(gauss(5, 4), between(0.1, 1, 5, 4)),
    lambda logs, target: F.kl_div(logs, target, reduction="batchmean"),
    [
        wrong("offset", "d (t log t) is log t: the + 1 is forgotten", argument="target",
              also=("missing-term",),
              backward=instead(right, 1, lambda g, s: g * (s[1].log() - s[0]) / len(s[1])),
              source=src.SOFTMAX_CE),
        wrong("scale", "averaged over all elements", scaled(right, 0.25), argument="logs",
              source=src.REDUCTION),
        wrong("scale", "1/N is forgotten", scaled(right, 5.0), argument="logs", source=src.BATCH_SIZE,
              hidden=None),
        wrong("sign", "the minus is forgotten", scaled(right, -1.0), argument="logs"),
        wrong("missing-term", "exp(x) - t: the gradient for logits", argument="logs", also=("unknown",),
              backward=instead(right, 0, lambda g, s: g * (s[0].exp() - s[1]) / len(s[1])),
              source=src.SOFTMAX_CE),
        wrong("missing-factor", "1/t: the logarithm is derived, the factor t forgotten", argument="target",
              also=("unknown",), backward=instead(right, 1, lambda g, s: g / s[1] / len(s[1]))),
        wrong("zero", "the target gets none", without(right, 1), argument="target", source=src.RETURNS_NONE),
    ],
    {"one row": given(gauss(1, 4), between(0.1, 1, 1, 4)),
    "turned": given(turned(gauss(3, 4)), between(0.1, 1, 3, 4))},
)  # fmt: skip


# ---- hinge: mean(max(0, 1 - x t)) with t = +-1


def signs(*shape):
    return lambda g, dtype: (2.0 * (torch.rand(shape, generator=g) < 0.5) - 1).to(dtype)


def hinge_back(g, s):
    x, t = s
    return where(1 - x * t > 0, -g * t / x.numel(), 0.0), None


right = rounded(hinge_back)
inside = given(between(-0.9, 0.9, 5, 4), signs(5, 4))
hinge = operation(
    "hinge_loss",
    keeps_inputs("x target", lambda x, t: (1 - x * t).clamp(min=0).mean()),
    right,
    given(between(-2, 2, 5, 4), signs(5, 4)),
    lambda x, target: F.relu(1 - x * target).mean(),
    [
        wrong("missing-factor", "examples beyond the margin count, too", hidden=inside, also=("region",),
              backward=rounded(lambda g, s: (-g * s[1] / s[0].numel(), None)),
              source=src.DERIVATIVE_MISSING_HIDDEN),
        wrong("missing-factor", "the target's sign is forgotten", also=("region", "sign"), source=src.NORM_L1,
              hidden=given(between(-2, 2, 5, 4), filled(1.0, 5, 4, grad=False)),
              backward=rounded(lambda g, s: (where(1 - s[0] * s[1] > 0, -g / s[0].numel(), 0.0), None))),
        wrong("region", "the margin is 0 instead of 1", also=("missing-factor",), source=src.CLAMP,
              hidden=given(between(-2, -0.1, 5, 4), filled(1.0, 5, 4, grad=False)),
              backward=rounded(lambda g, s: (where(s[0] * s[1] < 0, -g * s[1] / s[0].numel(), 0.0), None))),
        wrong("sign", "the minus is forgotten", scaled(right, -1.0)),
        wrong("scale", "1/N is forgotten", changed(right, lambda d: d * d.numel()), source=src.BATCH_SIZE,
              hidden=given(gauss(1), signs(1))),
    ],
    {
        "inside": inside,
        "outside": given(filled(3.0, 2, 3), filled(1.0, 2, 3, grad=False)),
        "kinks": given(exact([1.0, -1.0, 1.0, 0.0]), exact([1.0, -1.0, -1.0, 1.0], grad=False)),
        "one": given(gauss(1), signs(1)),
    },
)  # fmt: skip

OPERATIONS: tuple[Operation, ...] = (cross_entropy, fused, smoothing, kl, hinge)
