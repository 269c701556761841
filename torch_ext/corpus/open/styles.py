"""Known public styles of custom functions: estimators, reversal, dropout, several outputs, gates."""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import where

from torch_ext.corpus._entry import Operation
from torch_ext.corpus.open import _sources as src
from torch_ext.corpus.open._tools import (
    FULL,
    between,
    coin,
    exact,
    exchanged,
    filled,
    gauss,
    given,
    indices,
    instead,
    keeps_inputs,
    mask,
    negated,
    operation,
    part,
    rounded,
    scaled,
    turned,
    wide,
    without,
    wrong,
)

# ---- gradients agreed on: right by their references, not by the forward pass


def passes_through(f, surrogate):
    """The forward of ``f`` with the gradient of ``surrogate``, as autograd sees it."""
    return lambda x: surrogate(x) + (f(x) - surrogate(x)).detach()


right = rounded(lambda g, _: g)
halves = given(exact([-1.5, -0.5, 0.0, 0.5, 1.5, 2.5]))
ste_round = operation(
    "straight_through_round",
    lambda x: (x.round(), x),
    right,
    given(gauss(4, 5)),
    passes_through(torch.round, lambda x: x),
    [
        wrong("zero", "the true derivative of rounding", rounded(lambda g, x: 0 * g),
              source=src.STRAIGHT_THROUGH),
        wrong("missing-factor", "multiplied by the rounded value",
              rounded(lambda g, x: g * x.to(g.dtype).round()),
              also=("region", "unknown"), source=src.STRAIGHT_THROUGH_SIGN),
        wrong("region", "cancelled where |x| > 1, as for binary weights", also=("missing-factor",),
              backward=rounded(lambda g, x: g * (x.abs() <= 1)), hidden=given(between(-0.9, 0.9, 4, 5)),
              source=src.STRAIGHT_THROUGH_CLIP),
        wrong("unknown", "the sign of the gradient instead of the gradient", rounded(lambda g, x: g.sign()),
              also=("missing-factor",), source=src.STRAIGHT_THROUGH_SIGN),
        wrong("forward", "floor is taken in the forward", forward=lambda x: (x.floor(), x),
              hidden=given(exact([-2.0, 0.0, 1.0, 7.0])), source=src.STRAIGHT_THROUGH),
    ],
    {"halves": halves, "whole": given(exact([-2.0, 0.0, 1.0, 7.0])), "empty": given(gauss(0)),
    "turned": given(turned(gauss(3, 4)))},
    convention=True,
)  # fmt: skip


def sign(x):
    return where(x >= 0, 1.0, -1.0).to(x.dtype)


right = rounded(lambda g, x: g * (x.abs() < 1))
ste_sign = operation(
    "straight_through_sign",
    lambda x: (sign(x), x),
    right,
    given(gauss(5, 5)),
    passes_through(sign, F.hardtanh),
    [
        wrong("missing-factor", "the gradient is not cancelled where |x| > 1", rounded(lambda g, x: g),
              also=("region",),
              hidden=given(between(-0.9, 0.9, 5, 5)), source=src.STRAIGHT_THROUGH),
        wrong("region", "cancelled where |x| < 1: the comparison is inverted",
              also=("unknown", "missing-factor"),
              backward=rounded(lambda g, x: g * (x.abs() > 1)), source=src.CLAMP),
        wrong("region", "cancelled for x > 1 only", rounded(lambda g, x: g * (x < 1)),
              hidden=given(between(-0.9, 2, 5, 5)), source=src.STRAIGHT_THROUGH_CLIP),
        wrong("mutates", "grad[|x| > 1] = 0 writes into the incoming gradient",
              hidden=given(between(-0.9, 0.9, 5, 5)),
              backward=lambda g, x: (g.masked_fill_(x.abs() >= 1, 0),), source=src.IN_PLACE_GRAD),
        wrong("missing-factor", "scaled by 1 - tanh(x)^2, another surrogate", also=("unknown", "region"),
              backward=rounded(lambda g, x: g * (1 - torch.tanh(wide(x)) ** 2)),
              source=src.STRAIGHT_THROUGH_CLIP),
    ],
    {"kinks": given(exact([-1.0, 0.0, 1.0, 2.0])), "inside": given(between(-0.9, 0.9, 3)),
    "one": given(gauss(1))},
    convention=True,
)  # fmt: skip


right = rounded(lambda g, strength: (-strength * g, None))
strength_one = given(gauss(4, 5), 1.0)
reversal = operation(
    "gradient_reversal",
    lambda x, strength: (x.clone(), strength),
    right,
    given(gauss(4, 5), 0.5),
    lambda x, strength: -strength * x + ((1 + strength) * x).detach(),
    [
        wrong("sign", "the gradient is scaled but not reversed", rounded(lambda g, a: (a * g, None)),
              source=src.REVERSAL),
        wrong("scale", "the strength is forgotten", rounded(lambda g, a: (-g, None)), hidden=strength_one,
              source=src.REVERSAL_LAMBDA),
        wrong("scale", "the strength is squared", rounded(lambda g, a: (-a * a * g, None)),
              hidden=strength_one,
              source=src.REVERSAL_LAMBDA),
        wrong("mutates", "grad.neg_() reverses the incoming gradient itself", source=src.IN_PLACE_GRAD,
              backward=lambda g, a: (g.neg_().mul(a), None)),
        wrong("scale", "not called at all: the gradient of the identity", rounded(lambda g, a: (g, None)),
              also=("sign",),
              source=src.RETURNS_NONE),
        wrong("forward", "the forward is reversed, too", forward=lambda x, strength: (-x, strength),
              source=src.REVERSAL),
    ],
    {"strength one": strength_one, "off": given(gauss(3), 0.0), "empty": given(gauss(0, 2), 0.5)},
    convention=True,
)  # fmt: skip


def padded_back(g, s):
    shape, i = s
    d = torch.zeros(shape, dtype=g.dtype).index_add(0, i.reshape(-1), g.reshape(-1, g.shape[-1]))
    d[0] = 0
    return None, d


right = rounded(padded_back)
no_padding = given(indices([[1, 3, 1], [4, 1, 3]]), gauss(5, 3))
padded = operation(
    "embedding_with_padding",
    lambda index, weight: (weight[index], (weight.shape, index)),
    right,
    given(indices([[1, 3, 1], [4, 0, 0]]), gauss(5, 3)),
    lambda index, weight: F.embedding(index, weight, padding_idx=0),
    [
        wrong("region", "the padding's row gets a gradient", argument="weight",
              also=("local", "missing-factor"),
              hidden=no_padding, source=src.EMBEDDING,
              backward=instead(right, 1, lambda g, s: torch.zeros(s[0], dtype=g.dtype).index_add(
                  0, s[1].reshape(-1), g.reshape(-1, g.shape[-1])))),
        wrong("region", "the last row is taken for padding, too", part(right, -1, 0.0, 1), argument="weight",
              also=("local", "missing-factor"), hidden=given(indices([[1, 3], [0, 0]]), gauss(5, 3))),
        wrong("missing-sum", "repeats overwrite each other", argument="weight",
              also=("missing-term", "region", "local"),
              hidden=given(indices([[1, 3, 4]]), gauss(5, 3)), source=src.DUPLICATES,
              backward=instead(right, 1, lambda g, s: torch.zeros(s[0], dtype=g.dtype).index_put((s[1],), g)
                               * (torch.arange(s[0][0]) > 0)[:, None])),
        wrong("scale", "averaged over the tokens that are no padding", scaled(right, 0.25, 1),
              argument="weight",
              source=src.IGNORED),
    ],
    {"no padding": no_padding, "only padding": given(indices([0, 0]), gauss(5, 3))},
    convention=True,
)  # fmt: skip


# ---- dropout with a mask that is given

KEEP = 0.75


def redrawn(g, m):
    return g * (torch.rand(g.shape) < KEEP) / KEEP, None


right = rounded(lambda g, m: (where(m, g / KEEP, 0.0), None))
all_kept = given(gauss(4, 5), mask(True, 4, 5))
dropout = operation(
    "dropout_with_mask",
    lambda x, kept: (where(kept, wide(x) / KEEP, 0.0).to(x.dtype), kept),
    right,
    given(gauss(4, 5), coin(4, 5)),
    lambda x, kept: x * kept / KEEP,
    [
        wrong("missing-factor", "the mask is not applied in the backward",
              rounded(lambda g, m: (g / KEEP, None)),
              hidden=all_kept, also=("region",), source=src.DROPOUT),
        wrong("scale", "1/(1 - p) is forgotten", rounded(lambda g, m: (where(m, g, 0.0), None)),
              source=src.DROPOUT),
        wrong("scale", "times 1 - p instead of divided by it",
              rounded(lambda g, m: (where(m, g * KEEP, 0.0), None)),
              source=src.DROPOUT),
        wrong("nondeterministic", "the backward draws a mask of its own", rounded(redrawn),
              source=src.DROPOUT),
        wrong("region", "dropped elements pass the gradient where the output is zero", hidden=all_kept,
              source=src.DROPOUT_ZERO,
              also=("missing-factor", "unknown"),
              backward=rounded(lambda g, m: (where(m, g / KEEP, g), None))),
        wrong("missing-factor", "the mask is inverted", also=("region", "unknown"),
              backward=rounded(lambda g, m: (where(m, 0.0, g / KEEP), None)), source=src.IGNORED),
        wrong("mutates", "grad.mul_(mask) writes into the incoming gradient", lambda g,
              m: (g.mul_(m).div(KEEP), None),
              source=src.IN_PLACE_GRAD),
    ],
    {"all kept": all_kept, "none kept": given(gauss(2, 3), mask(False, 2, 3)),
    "zeros": given(filled(0.0, 3), coin(3)), "empty": given(gauss(0, 3), coin(0, 3))},
)  # fmt: skip


# ---- two outputs


def mean_variance_back(g, s):
    gm, gv = g
    x = s[0]
    n = x.shape[1]
    return gm[:, None] / n + 2 * gv[:, None] * (x - x.mean(1, keepdim=True)) / (n - 1)


def added_into_first(g, s):
    x, n = s[0], s[0].shape[1]
    scale = 2 * n / (n - 1) * g[1][:, None] * (x - x.mean(1, keepdim=True))
    return (g[0].div_(n)[:, None] + scale / n,)


right = rounded(mean_variance_back)
mean_variance = operation(
    "mean_and_variance",
    keeps_inputs("x", lambda x: (x.mean(1), x.var(1))),
    right,
    given(gauss(4, 5)),
    lambda x: (x.mean(1), x.var(1)),
    [
        wrong("missing-term", "the mean's gradient is forgotten", source=src.BATCH_NORM_TERMS,
              backward=rounded(lambda g, s: mean_variance_back((0 * g[0], g[1]), s))),
        wrong("missing-term", "the variance's gradient is forgotten", hidden=given(filled(0.5, 4, 5)),
              source=src.BATCH_NORM_TERMS,
              backward=rounded(lambda g, s: mean_variance_back((g[0], 0 * g[1]), s))),
        wrong("unknown", "the outputs' gradients are exchanged",
              rounded(lambda g, s: mean_variance_back(g[::-1], s)), source=src.LAYER_NORM_SWAP,
              also=("permuted", "missing-term")),
        wrong("missing-term", "1/N is forgotten for the mean", also=("missing-factor", "unknown"),
              source=src.BATCH_SIZE,
              backward=rounded(lambda g, s: mean_variance_back((g[0] * s[0].shape[1], g[1]), s))),
        wrong("sign", "both signs are lost", negated(right)),
        wrong("mutates", "the second gradient is added into the first", also=(), dtypes=FULL,
              source=src.IN_PLACE_GRAD,
              backward=lambda g, s: added_into_first(g, s)),
    ],
    {"constant": given(filled(0.5, 4, 5)), "two": given(gauss(3, 2)), "turned": given(turned(gauss(3, 4)))},
)  # fmt: skip


def polar_back(g, s):
    gr, ga = g
    x, y = s
    r2 = x * x + y * y
    r = r2.sqrt()
    return gr * x / r - ga * y / r2, gr * y / r + ga * x / r2


right = rounded(polar_back)
polar = operation(
    "polar_coordinates",
    keeps_inputs("x y", lambda x, y: ((x * x + y * y).sqrt(), torch.atan2(y, x))),
    right,
    given(gauss(4, 5), gauss(4, 5)),
    lambda x, y: (torch.hypot(x, y), torch.atan2(y, x)),
    [
        wrong("missing-term", "the angle's gradient is forgotten in dx", argument="x",
              hidden=given(gauss(4, 5), filled(0.0, 4, 5)),
              backward=instead(right, 0, lambda g, s: g[0] * s[0] / (s[0] ** 2 + s[1] ** 2).sqrt())),
        wrong("missing-term", "the sign of the angle's term in dx", argument="x", also=("sign", "unknown"),
              hidden=given(gauss(4, 5), filled(0.0, 4, 5)),
              backward=instead(right, 0, lambda g, s: polar_back((g[0], -g[1]), s)[0])),
        wrong("permuted", "dx and dy are exchanged", exchanged(right),
              source=src.LAYER_NORM_SWAP),
        wrong("missing-term", "1/r instead of 1/r^2 for the angle", argument="y",
              also=("missing-factor", "unknown"),
              backward=instead(right, 1, lambda g,
              s: (g[0] * s[1] + g[1] * s[0]) / (s[0] ** 2 + s[1] ** 2).sqrt())),
        wrong("zero", "y gets none", without(right, 1), argument="y", source=src.RETURNS_NONE),
    ],
    {"axes": given(exact([1.0, 0.0, -2.0]), exact([0.0, -1.0, 0.0])), "one": given(gauss(1), gauss(1))},
)  # fmt: skip

OPERATIONS: tuple[Operation, ...] = (
    ste_round, ste_sign, reversal, padded, dropout, mean_variance, polar
)  # fmt: skip
