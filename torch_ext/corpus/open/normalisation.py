"""Softmax and its logarithm, and normalisation over features, the batch or a vector."""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import torch
import torch.nn.functional as F

from torch_ext.corpus._entry import Operation
from torch_ext.corpus.open import _sources as src
from torch_ext.corpus.open._tools import (
    FULL,
    Accumulating,
    after,
    exact,
    exchanged,
    filled,
    gauss,
    given,
    instead,
    keeps_inputs,
    negated,
    operation,
    rounded,
    scaled,
    turned,
    without,
    wrong,
)

# ---- softmax(x / temperature) and log-softmax


def softmax_back(g, s):
    x, t = s
    y = torch.softmax(x / t, 1)
    return y * (g - (g * y).sum(1, keepdim=True)) / t, None


def softmax_in_grad(g, s):
    y = torch.softmax(s[0] / s[1], 1)
    g.mul_(y)
    return (g - y * g.sum(1, keepdim=True)) / s[1], None


def output(s):
    return torch.softmax(s[0] / s[1], 1)


right = rounded(softmax_back)
temperature_one = given(gauss(5, 5), 1.0)
softmax = operation(
    "softmax",
    keeps_inputs("x temperature", lambda x, t: torch.softmax(x / t, 1)),
    right,
    given(gauss(5, 5), 2.0),
    lambda x, temperature: torch.softmax(x / temperature, 1),
    [
        wrong("missing-term", "the off-diagonal of the Jacobian: y (1 - y) g", argument="x",
              source=src.SOFTMAX,
              backward=instead(right, 0, lambda g, s: output(s) * (1 - output(s)) * g / s[1])),
        wrong("missing-term", "y g: the row's sum is forgotten", argument="x", source=src.SOFTMAX,
              backward=instead(right, 0, lambda g, s: output(s) * g / s[1])),
        wrong("missing-factor", "g - sum(g y): the leading y is forgotten", argument="x", source=src.SOFTMAX,
              backward=instead(right, 0, lambda g, s: (g - (g * output(s)).sum(1, keepdim=True)) / s[1])),
        wrong("missing-sum", "the sum runs over the batch", argument="x", also=("missing-term", "unknown"),
              backward=instead(right, 0, lambda g, s: output(s) * (g - (g * output(s)).sum(0)) / s[1]),
              source=src.RMS_NORM_ROWS),
        wrong("scale", "1/temperature is forgotten",
              instead(right, 0, lambda g, s: softmax_back(g, s)[0] * s[1]), argument="x",
              hidden=temperature_one,
              source=src.ATTENTION),
        wrong("not-finite", "exp(x) / sum exp(x) overflows", argument="x", source=src.SOFTMAX_NAN,
              hidden=given(gauss(5, 5), 2.0),
              backward=instead(right, 0, lambda g,
              s: (lambda e: (lambda y: y * (g - (g * y).sum(1, keepdim=True)) / s[1])(
                  e / e.sum(1, keepdim=True)))((s[0] / s[1]).exp()))),
        wrong("mutates", "g.mul_(y) overwrites the incoming gradient", softmax_in_grad, dtypes=FULL,
              source=src.IN_PLACE_CUSTOM),
        wrong("forward", "the softmax runs over the batch, forward and backward",
              forward=keeps_inputs("x temperature", lambda x, t: torch.softmax(x / t, 0)),
              backward=rounded(lambda g,
              s: ((lambda y: y * (g - (g * y).sum(0)) / s[1])(torch.softmax(s[0] / s[1], 0)), None))),
    ],
    {
        "temperature one": temperature_one,
        "large": given(exact([[0.0, 2000.0, 1999.0], [-1000.0, -1000.0, -1001.0]]), 1.0),
        "constant": given(filled(3.0, 2, 4), 2.0),
        "one class": given(gauss(3, 1), 2.0),
        "turned": given(turned(gauss(3, 4)), 2.0),
    },
)  # fmt: skip


def log_softmax_back(g, s):
    return g - torch.softmax(s[0], 1) * g.sum(1, keepdim=True)


right = rounded(log_softmax_back)
log_softmax = operation(
    "log_softmax",
    keeps_inputs("x", lambda x: torch.log_softmax(x, 1)),
    right,
    given(gauss(5, 5)),
    lambda x: F.log_softmax(x, 1),
    [
        wrong("missing-term", "the sum is forgotten", rounded(lambda g, s: g), source=src.SOFTMAX),
        wrong("missing-factor", "g - y, right for a one-hot gradient only", also=("missing-term", "unknown"),
              backward=rounded(lambda g, s: g - torch.softmax(s[0], 1)), source=src.SOFTMAX_CE),
        wrong("missing-factor", "the sum is not weighted by the softmax", also=("missing-term", "unknown"),
              backward=rounded(lambda g, s: g - g.sum(1, keepdim=True) / s[0].shape[1]),
              hidden=given(filled(1.0, 5, 5)), source=src.SOFTMAX_NAN),
        wrong("missing-sum", "the sum runs over the batch", also=("missing-term", "unknown"),
              backward=rounded(lambda g, s: g - torch.softmax(s[0], 1) * g.sum(0))),
        wrong("missing-term", "the softmax is added instead of subtracted", also=("unknown", "sign"),
              backward=rounded(lambda g, s: g + torch.softmax(s[0], 1) * g.sum(1, keepdim=True))),
        wrong("sign", "the sign is lost", negated(right)),
    ],
    {
        "large": given(exact([[0.0, 1000.0, 999.0], [-1000.0, -1000.0, -1001.0]])),
        "one class": given(gauss(3, 1)),
        "constant": given(filled(1.0, 5, 5)),
    },
)  # fmt: skip


# ---- layer norm over the last axis; batch norm over all but the channels (N, C); root-mean-square norm

EPS = 2.0**-10


def normal_form(x, axis, eps=EPS):
    c = x - x.mean(axis, keepdim=True)
    inverse = (c.square().mean(axis, keepdim=True) + eps).rsqrt()
    return c * inverse, inverse


def norm_dx(g, s, axis, mean=1.0, projection=1.0, gain=True, inverse=True):
    x, w, _ = s
    y, r = normal_form(x, axis)
    d = g * w if gain else g
    d = d - mean * d.mean(axis, keepdim=True) - projection * y * (d * y).mean(axis, keepdim=True)
    return d * r if inverse else d


def layer_back(g, s):
    y, _ = normal_form(s[0], -1)
    axes = tuple(range(g.ndim - 1))
    return norm_dx(g, s, -1), (g * y).sum(axes), g.sum(axes)


def layer_forward(x, weight, bias):
    return normal_form(x, -1)[0] * weight + bias


def dx(**how):
    return instead(right, 0, lambda g, s: norm_dx(g, s, -1, **how))


right = rounded(layer_back)
ones_weight = given(gauss(2, 3, 5), filled(1.0, 5), filled(0.0, 5))
flat_input = given(gauss(4, 5), gauss(5), gauss(5))
layer_norm = operation(
    "layer_norm",
    keeps_inputs("x weight bias", layer_forward),
    right,
    given(gauss(2, 3, 5), gauss(5), gauss(5)),
    lambda x, weight, bias: F.layer_norm(x, (5,), weight, bias, EPS),
    [
        wrong("missing-term", "the mean's own gradient is forgotten", dx(mean=0.0), argument="x",
              source=src.BATCH_NORM_TERMS),
        wrong("missing-term", "the variance's own gradient is forgotten", dx(projection=0.0), argument="x",
              source=src.BATCH_NORM_TERMS),
        wrong("missing-term", "mean and variance are taken for constants", dx(mean=0.0, projection=0.0),
              argument="x", source=src.BATCH_NORM),
        wrong("missing-term", "the mean's gradient is subtracted twice", dx(mean=2.0), argument="x",
              source=src.LAYER_NORM_SUBTRACT),
        wrong("missing-factor", "the weight is forgotten in dx", dx(gain=False), argument="x",
              hidden=ones_weight,
              source=src.LAYER_NORM_WEIGHT),
        wrong("missing-factor", "1/sigma is forgotten in dx", dx(inverse=False), argument="x"),
        wrong("missing-factor", "dweight is the sum of g: the normal form is forgotten", argument="weight",
              backward=instead(right, 1, lambda g, s: g.sum((0, 1))), source=src.LAYER_NORM_WEIGHT),
        wrong("permuted", "dweight and dbias are exchanged", exchanged(right, 1, 2),
              source=src.LAYER_NORM_SWAP,
              also=("missing-factor",)),
        wrong("missing-sum", "the input is taken for a matrix: one axis is left in dweight",
              argument="weight",
              hidden=flat_input, also=("shape",), source=src.LAYER_NORM_RANK,
              backward=instead(right, 1, lambda g, s: (g * normal_form(s[0], -1)[0]).sum(0))),
        wrong("missing-sum", "dbias comes from the first sequence", argument="bias",
              also=("missing-term", "unknown"),
              hidden=given(gauss(1, 3, 5), gauss(5), gauss(5)), source=src.LAYER_NORM_RANK,
              backward=instead(right, 2, lambda g, s: g[0].sum(0))),
        wrong("missing-factor", "eps is forgotten in the backward", argument="x", also=("unknown",),
              backward=instead(right, 0, lambda g,
              s: norm_dx(g, s, -1) * normal_form(s[0], -1, 0.0)[1] / normal_form(s[0], -1)[1]),
              dtypes=FULL, source=src.NORMALIZE_EPS),
        wrong("zero", "the weight gets None", without(right, 1), argument="weight", source=src.RMS_NORM_NONE),
        wrong("scale", "dweight is off by 1e-5", scaled(right, 1 + 1e-5, 1), argument="weight",
              dtypes=("float64",)),
        wrong("forward", "the unbiased variance", forward=keeps_inputs("x weight bias", lambda x, w, b: (
            normal_form(x, -1)[0] * w * 0.8**0.5 + b)), backward=rounded(lambda g, s: (
                norm_dx(g, s, -1) * 0.8**0.5, (g * normal_form(s[0], -1)[0] * 0.8**0.5).sum((0, 1)),
                g.sum((0, 1))))),
    ],
    {
        "matrix": flat_input,
        "ones": ones_weight,
        "constant rows": given(filled(0.5, 2, 5), gauss(5), gauss(5)),
        "empty": given(gauss(0, 5), gauss(5), gauss(5)),
        "turned": given(turned(gauss(4, 5)), gauss(5), gauss(5)),
        "large": given(after(gauss(4, 5), lambda x: 100 * x), gauss(5), gauss(5)),
    },
)  # fmt: skip


class RunningStatistics:
    """Batch norm in training: statistics of the batch are used, running ones kept on the side."""

    def __init__(self):
        self.mean = self.variance = 0.0

    def __call__(self, x, weight, bias):
        self.mean = 0.9 * self.mean + 0.1 * x.detach().double().mean()
        self.variance = 0.9 * self.variance + 0.1 * x.detach().double().var(correction=0)
        return normal_form(x, 0)[0] * weight + bias


def batch_back(g, s):
    return norm_dx(g, s, 0), (g * normal_form(s[0], 0)[0]).sum(0), g.sum(0)


def dx_batch(**how):
    return instead(right, 0, lambda g, s: norm_dx(g, s, 0, **how))


right = rounded(batch_back)
batch_norm = operation(
    "batch_norm",
    keeps_inputs("x weight bias", RunningStatistics()),
    right,
    given(gauss(5, 5), gauss(5), gauss(5)),
    lambda x, weight, bias: F.batch_norm(x, None, None, weight, bias, True, eps=EPS),
    [
        wrong("missing-term", "the statistics are taken for constants, as in evaluation", argument="x",
              backward=dx_batch(mean=0.0, projection=0.0), source=src.BATCH_NORM),
        wrong("missing-term", "the variance's path is forgotten", dx_batch(projection=0.0), argument="x",
              source=src.BATCH_NORM_DARKNET),
        wrong("missing-term", "a second path through the mean is added", dx_batch(mean=1.2), argument="x",
              source=src.BATCH_NORM_EXTRA),
        wrong("missing-sum", "means run over the channels", argument="x", also=("unknown", "missing-term"),
              backward=instead(right, 0, lambda g, s: (lambda y, r, d: r * (
                  d - d.mean(1, keepdim=True) - y * (d * y).mean(1, keepdim=True)))(*normal_form(s[0], 0),
                  g * s[1]))),
        wrong("missing-sum", "dweight is summed over the channels", argument="weight", also=("unknown",),
              backward=instead(right, 1, lambda g, s: (g * normal_form(s[0], 0)[0]).sum(1)), source=src.BIAS),
        wrong("scale", "dbias is the batch's mean", instead(right, 2, lambda g, s: g.mean(0)),
              argument="bias",
              source=src.BATCH_SIZE_WEIGHT),
        wrong("missing-factor", "the weight is forgotten in dx", dx_batch(gain=False), argument="x",
              hidden=given(gauss(5, 5), filled(1.0, 5), gauss(5))),
        wrong("nondeterministic", "dweight is accumulated from call to call", Accumulating(right, 1)),
    ],
    {
        "two": given(gauss(2, 3), gauss(3), gauss(3)),
        "constant": given(filled(1.0, 4, 3), gauss(3), gauss(3)),
        "ones": given(gauss(6, 3), filled(1.0, 3), filled(0.0, 3)),
        "turned": given(turned(gauss(5, 3)), gauss(3), gauss(3)),
    },
)  # fmt: skip


def rms(x, eps=EPS):
    return (x.square().mean(-1, keepdim=True) + eps).rsqrt()


def rms_dx(g, s, correction=1.0, of=lambda c: c):
    x, w = s
    r = rms(x)
    y, d = x * r, g * w
    return r * (d - correction * y * of((d * y).mean(-1, keepdim=True)))


def rms_in_half(g, s):
    """The squares are taken in float16: 300^2 is infinite there."""
    x, w = s
    squares = torch.where(x.abs() < 256, x.square(), torch.inf)
    r = (squares.mean(-1, keepdim=True) + EPS).rsqrt()
    y, d = x * r, g * w
    return r * (d - y * (d * y).mean(-1, keepdim=True))


right = rounded(lambda g, s: (rms_dx(g, s), (g * s[0] * rms(s[0])).sum(tuple(range(g.ndim - 1)))))
rms_norm = operation(
    "rms_norm",
    keeps_inputs("x weight", lambda x, w: x * rms(x) * w),
    right,
    given(gauss(5, 5), gauss(5)),
    lambda x, weight: F.rms_norm(x, (x.shape[-1],), weight, EPS),
    [
        wrong("missing-term", "the correction along x is forgotten", argument="x",
              source=src.RMS_NORM_VARIANCE,
              backward=instead(right, 0, lambda g, s: rms_dx(g, s, 0.0))),
        wrong("missing-term", "a row's correction is used along a column", argument="x",
              source=src.RMS_NORM_ROWS,
              hidden=given(gauss(1, 1), gauss(1)), also=("unknown", "missing-sum", "permuted"),
              backward=instead(right, 0, lambda g, s: rms_dx(g, s, of=lambda c: c.mT))),
        wrong("missing-term", "the correction is summed, not averaged", argument="x",
              also=("missing-factor", "unknown"),
              backward=instead(right, 0, lambda g, s: rms_dx(g, s, s[0].shape[-1])), source=src.RMS_NORM_SUM),
        wrong("zero", "the weight gets None", without(right, 1), argument="weight", source=src.RMS_NORM_NONE),
        wrong("missing-sum", "dweight is not summed over the rows", argument="weight", also=("shape",),
              backward=instead(right, 1, lambda g, s: g * s[0] * rms(s[0])), source=src.RMS_NORM_SUM),
        wrong("missing-factor", "dweight lacks 1/rms", argument="weight", also=("unknown",),
              backward=instead(right, 1, lambda g, s: (g * s[0]).sum(0))),
        wrong("missing-factor", "the variance is read where 1/rms was meant", argument="x",
              backward=instead(right, 0, lambda g, s: rms_dx(g, s) / rms(s[0]) ** 3),
              source=src.RMS_NORM_VARIANCE),
        wrong("zero", "squares overflow in float16, and the gradient vanishes", argument="x",
              backward=instead(right, 0, rms_in_half), dtypes=("float16",),
              hidden=given(gauss(5, 5), gauss(5)),
              also=("region", "missing-factor"), source=src.GRAD_DTYPE_HALF),
    ],
    {
        "three axes": given(gauss(2, 3, 4), gauss(4)),
        "zero rows": given(filled(0.0, 2, 4), gauss(4)),
        "one": given(gauss(1, 1), gauss(1)),
        "large": given(after(gauss(3, 4), lambda x: 2000 * x.sign()), gauss(4)),
    },
)  # fmt: skip

OPERATIONS: tuple[Operation, ...] = (softmax, log_softmax, layer_norm, batch_norm, rms_norm)
