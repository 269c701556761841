"""Reductions: sums, means, extremes, products and running sums along the last axis."""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import torch
from torch import where

from torch_ext.corpus._entry import Operation
from torch_ext.corpus.open import _sources as src
from torch_ext.corpus.open._tools import (
    FULL,
    Accumulating,
    after,
    as_if_contiguous,
    between,
    changed,
    element,
    exact,
    filled,
    gauss,
    given,
    keeps_inputs,
    operation,
    part,
    rounded,
    scaled,
    turned,
    wrong,
)

constant = given(filled(0.5, 5, 5))
one_column = given(gauss(5, 1))
rows = {"one column": one_column, "empty": given(gauss(0, 4)), "turned": given(turned(gauss(4, 5)))}


def over_rows(f):
    return keeps_inputs("x", f)


right = rounded(lambda g, s: g[:, None].expand(s[0].shape))
total = operation(
    "sum",
    over_rows(lambda x: x.sum(1)),
    right,
    given(gauss(5, 5)),
    lambda x: x.sum(1),
    [
        wrong("shape", "the gradient is a column, not expanded", rounded(lambda g, s: g[:, None]),
              hidden=one_column,
              also=("missing-sum",), source=src.INVALID_SHAPE),
        wrong("transpose", "expanded along the other axis", rounded(lambda g, s: g[None, :].expand(5, 5)),
              also=("permuted",), source=src.BROADCAST_JIT),
        wrong("scale", "divided by the number of summands",
              rounded(lambda g, s: g[:, None].expand(s[0].shape) / s[0].shape[1]),
              hidden=one_column, source=src.REDUCTION),
        wrong("missing-factor", "ones: the incoming gradient is ignored",
              rounded(lambda g, s: torch.ones_like(s[0])),
              source=src.BILINEAR),
        wrong("local", "the first element gets nothing", element(right, 0)),
        ],
    {**rows, "large": given(filled(1e3, 3, 20))},
)  # fmt: skip

right = rounded(lambda g, s: (g[:, None] / s[0].shape[1]).expand(s[0].shape))
mean = operation(
    "mean",
    over_rows(lambda x: x.mean(1)),
    right,
    given(gauss(6, 5)),
    lambda x: x.mean(1),
    [
        wrong("scale", "1/N is forgotten", rounded(lambda g, s: g[:, None].expand(s[0].shape)),
              hidden=one_column,
              source=src.BATCH_SIZE),
        wrong("scale", "divided by all elements instead of the row's", scaled(right, 1 / 6),
              source=src.DIVIDED_TWICE),
        wrong("scale", "divided by N - 1", scaled(right, 5 / 4)),
        wrong("scale", "N is counted in the wrong axis", scaled(right, 5 / 6), source=src.MINIBATCH_OF_ONE),
        wrong("sign", "the sign of a difference to the mean", scaled(right, -1.0)),
        wrong("region", "the last row of the batch is skipped", part(right, -1), also=("local",)),
        wrong("nondeterministic", "the gradient is accumulated in a buffer", Accumulating(right)),
    ],
    {"one column": one_column, "turned": given(turned(gauss(4, 5))), "constant": constant},
)  # fmt: skip


def variance_back(g, s, center=True):
    x = s[0]
    c = x - x.mean(1, keepdim=True) if center else x
    return 2 * g[:, None] * c / (x.shape[1] - 1)


def centred(*shape):
    return after(gauss(*shape), lambda x: torch.cat([x, -x], 1))


right = rounded(variance_back)
variance = operation(
    "variance",
    over_rows(lambda x: x.var(1)),
    right,
    given(gauss(6, 5)),
    lambda x: x.var(1),
    [
        wrong("missing-term", "the mean is not subtracted", rounded(lambda g, s: variance_back(g, s, False)),
              hidden=given(centred(6, 3)), also=("missing-factor",), source=src.BATCH_NORM_STEP),
        wrong("scale", "N instead of N - 1", scaled(right, 4 / 5), hidden=constant,
              source=src.BATCH_NORM_DARKNET),
        wrong("scale", "the 2 is forgotten", scaled(right, 0.5), hidden=constant),
        wrong("sign", "mean minus x", scaled(right, -1.0), hidden=constant),
        wrong("region", "|x - mean|", changed(right, torch.abs),
              hidden=constant, source=src.NORM_L1,
              also=("sign", "missing-factor")),
        wrong("offset", "the mean's own gradient is added once more",
              rounded(lambda g, s: variance_back(g, s) + 0.05), source=src.BATCH_NORM_EXTRA),
    ],
    {"constant": constant, "two": given(gauss(4, 2)), "far": given(after(gauss(3, 6), lambda x: x + 16))},
)  # fmt: skip


def logsumexp_back(g, s):
    return g[:, None] * torch.softmax(s[0], 1)


right = rounded(logsumexp_back)
logsumexp = operation(
    "logsumexp",
    over_rows(lambda x: torch.logsumexp(x, 1)),
    right,
    given(gauss(5, 5)),
    lambda x: torch.logsumexp(x, 1),
    [
        wrong("not-finite", "the maximum is not subtracted: exp overflows", hidden=given(gauss(5, 5)),
              backward=rounded(lambda g, s: g[:, None] * s[0].exp() / s[0].exp().sum(1, keepdim=True)),
              source=src.LOGSUMEXP),
        wrong("missing-factor", "exp(x): the normaliser is forgotten",
              rounded(lambda g, s: g[:, None] * s[0].exp()),
              source=src.SOFTMAX),
        wrong("missing-factor", "1/n: softmax is taken for the mean", also=("unknown",),
              backward=rounded(lambda g, s: (g[:, None] / s[0].shape[1]).expand(s[0].shape)),
              hidden=given(filled(0.5, 5, 5))),
        wrong("region", "all goes to the largest: log-sum-exp is taken for the maximum",
              also=("unknown", "missing-factor"),
              backward=rounded(lambda g, s: g[:, None] * (s[0] == s[0].amax(1, keepdim=True)))),
        wrong("missing-sum", "the softmax runs over the batch", also=("missing-factor", "unknown"),
              backward=rounded(lambda g, s: g[:, None] * torch.softmax(s[0], 0)), source=src.RMS_NORM_ROWS),
    ],
    {**rows, "large": given(exact([[0.0, 1000.0, 999.0], [-1000.0, -1000.0, -1001.0]])),
    "constant": constant},
)  # fmt: skip


def amax_back(g, s, split=True):
    x = s[0]
    hit = (x == x.amax(1, keepdim=True)).to(g.dtype)
    return g[:, None] * (hit / hit.sum(1, keepdim=True) if split else hit)


def count_in_half(g, s):
    """The ties are counted in the gradient's own 16 bits."""
    hit = (s[0] == s[0].amax(1, keepdim=True)).to(g.dtype)
    return (g[:, None] * (hit / hit.sum(1, keepdim=True, dtype=g.dtype)),)


def first_only(g, s):
    x = s[0]
    return torch.zeros_like(x).scatter_(1, x.argmax(1, keepdim=True), g[:, None])


def few_values(*shape):
    """Whole numbers below 3: ties in most rows."""
    return lambda g, dtype: torch.randint(0, 3, shape, generator=g).to(dtype).requires_grad_()


right = rounded(amax_back)
distinct_values = given(gauss(5, 5))
largest = operation(
    "amax",
    over_rows(lambda x: x.amax(1)),
    right,
    given(gauss(6, 5)),
    lambda x: x.amax(1),
    [
        wrong("region", "every tie gets the whole gradient", rounded(lambda g, s: amax_back(g, s, False)),
              hidden=distinct_values, source=src.MAX_TIES_SPLIT,
              also=("missing-factor", "local")),
        wrong("region", "the first of a tie gets everything, not its share", rounded(first_only),
              hidden=distinct_values, also=("local", "missing-term"), source=src.MAX_TIES),
        wrong("permuted", "off by one: the element after the largest gets it",
              backward=changed(right, lambda d: d.roll(1, 1)), source=src.ROLL,
              also=("region",)),
        wrong("zero", "ties are counted in float16, whose largest number is 65504", count_in_half,
              hidden=distinct_values, dtypes=("float16",), also=("region",), source=src.MAX_TIES_COUNT),
        wrong("missing-factor", "the mask is forgotten: every element gets the gradient", also=("region",),
              backward=rounded(lambda g, s: g[:, None].expand(s[0].shape)), hidden=one_column),
        wrong("permuted", "the largest in size gets it: |x|", hidden=given(between(0.1, 1, 5, 5)),
              backward=rounded(lambda g, s: amax_back(g, (s[0].abs(),))),
              also=("region",)),
    ],
    {
        "ties": given(few_values(6, 5)), "constant": constant, "one column": one_column,
        "negative": given(between(-3, -1, 4, 5)),
        "many ties": given(filled(1.0, 1, 70000)),
    },
)  # fmt: skip


def product_back(g, s):
    x = s[0]
    ones = torch.ones_like(x[:, :1])
    before = torch.cat([ones, x.cumprod(1)[:, :-1]], 1)
    beyond = torch.cat([x.flip(1).cumprod(1).flip(1)[:, 1:], ones], 1)
    return g[:, None] * before * beyond


right = rounded(product_back)
product = operation(
    "product",
    over_rows(lambda x: x.prod(1)),
    right,
    given(gauss(5, 4)),
    lambda x: x.prod(1),
    [
        wrong("not-finite", "y / x is 0 / 0 where a factor is zero", hidden=given(gauss(5, 4)),
              source=src.POW_ZERO,
              backward=rounded(lambda g, s: g[:, None] * s[0].prod(1, keepdim=True) / s[0])),
        wrong("region", "zero instead of the product of the others where x = 0", hidden=given(gauss(5, 4)),
              also=("local", "zero"), source=src.WHERE_NAN,
              backward=rounded(lambda g, s: where(s[0] == 0, 0.0, product_back(g, s)))),
        wrong("missing-factor", "y: the element itself is not divided out", hidden=given(filled(1.0, 5, 4)),
              backward=rounded(lambda g, s: g[:, None] * s[0].prod(1, keepdim=True).expand(s[0].shape)),
              source=src.DERIVATIVE_EXTRA),
        wrong("missing-factor", "only the factors before the element count", also=("unknown",),
              hidden=given(filled(1.0, 5, 4)), source=src.CUMSUM,
              backward=rounded(lambda g,
              s: g[:, None] * torch.cat([torch.ones_like(s[0][:, :1]), s[0].cumprod(1)[:, :-1]], 1))),
    ],
    {
        "one zero": given(exact([[0.0, 2.0, 3.0], [1.0, -1.0, 0.0]])),
        "two zeros": given(exact([[0.0, 0.0, 3.0]])),
        "one column": one_column,
        "ones": given(filled(1.0, 2, 3)),
    },
)  # fmt: skip


def reversed_cumsum(g):
    return g.flip(1).cumsum(1).flip(1)


def cumsum_in_place(g, _):
    total, own = g.sum(1, keepdim=True), g.clone()
    return (total - g.cumsum_(1) + own,)


right = rounded(lambda g, s: reversed_cumsum(g))
cumsum = operation(
    "cumsum",
    over_rows(lambda x: x.cumsum(1)),
    right,
    given(gauss(5, 5)),
    lambda x: x.cumsum(1),
    [
        wrong("permuted", "the sum is not turned back", rounded(lambda g, s: g.flip(1).cumsum(1)),
              hidden=one_column,
              source=src.CUMSUM_FLIP),
        wrong("unknown", "the sum runs forward as in the forward pass", rounded(lambda g, s: g.cumsum(1)),
              hidden=one_column, source=src.CUMSUM,
              also=("missing-sum", "missing-term")),
        wrong("missing-term", "the element's own gradient is left out",
              rounded(lambda g, s: reversed_cumsum(g) - g),
              source=src.CUMSUM),
        wrong("missing-sum", "the gradient is passed through", rounded(lambda g, s: g), hidden=one_column,
              also=("missing-term",)),
        wrong("missing-sum", "the sum runs over the other axis", also=("unknown",),
              backward=rounded(lambda g, s: g.flip(0).cumsum(0).flip(0)), source=src.CUMSUM),
        wrong("unknown", "the strides of the incoming gradient are ignored", as_if_contiguous(right),
              also=("permuted", "transpose"), source=src.NOT_CONTIGUOUS_MEAN),
        wrong("mutates", "the incoming gradient is summed in place", cumsum_in_place, dtypes=FULL,
              hidden=one_column, source=src.IN_PLACE_GRAD),
    ],
    rows,
)  # fmt: skip

OPERATIONS: tuple[Operation, ...] = (total, mean, variance, logsumexp, largest, product, cumsum)
