"""Gathering, scattering and selecting: gradients add up where an index repeats."""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import where

from torch_ext.corpus._entry import Operation
from torch_ext.corpus.open import _sources as src
from torch_ext.corpus.open._tools import (
    FULL,
    HALF,
    Accumulating,
    after,
    changed,
    coin,
    distinct,
    exact,
    exchanged,
    filled,
    gauss,
    given,
    indices,
    instead,
    mask,
    operation,
    part,
    plus,
    rounded,
    scaled,
    sum_to,
    turned,
    without,
    wrong,
    zeroed,
)


def zeros(shape, g):
    return torch.zeros(shape, dtype=g.dtype)


# ---- rows of a table: index_select, embedding


def rows_back(g, s):
    shape, i = s
    return zeros(shape, g).index_add(0, i, g), None


def rows_overwritten(g, s):
    shape, i = s
    return zeros(shape, g).index_put((i,), g), None


right = rounded(rows_back)
no_duplicates = given(gauss(6, 3), distinct(6, 4))
index_select = operation(
    "index_select",
    lambda x, index: (x[index], (x.shape, index)),
    right,
    given(gauss(6, 3), indices([0, 2, 2, 5, 2])),
    lambda x, index: x.index_select(0, index),
    [
        wrong("missing-sum", "a row chosen twice keeps the last gradient alone", rounded(rows_overwritten),
              hidden=no_duplicates, also=("missing-term", "region", "local"), source=src.DUPLICATES),
        wrong("permuted", "off by one: the row before gets it", source=src.EMBEDDING_ROW,
              backward=rounded(lambda g, s: rows_back(g, (s[0], (s[1] - 1) % s[0][0])))),
        wrong("missing-factor", "divided by how often a row is chosen",
              hidden=no_duplicates,
              source=src.MAX_TIES_COUNT,
              backward=rounded(lambda g,
              s: (rows_back(g, s)[0] / torch.bincount(s[1], minlength=s[0][0]).clamp(min=1)[:, None], None)),
              also=("region", "local")),
        wrong("permuted", "gathered where it should scatter", also=("unknown",), source=src.GATHER,
              backward=rounded(lambda g, s: (F.pad(g, (0, 0, 0, s[0][0] - len(g))), None))),
        wrong("shape", "the chosen rows' gradient is returned", rounded(lambda g, s: (g, None)),
              source=src.INVALID_SHAPE),
    ],
    {
        "distinct": no_duplicates,
        "one row often": given(gauss(3, 2), indices([1, 1, 1, 1])),
        "none": given(gauss(3, 2), indices([])),
        "turned": given(turned(gauss(4, 3)), indices([3, 0])),
    },
)  # fmt: skip


def embedding_back(g, s):
    shape, i = s
    return None, zeros(shape, g).index_add(0, i.reshape(-1), g.reshape(-1, g.shape[-1]))


def saturated_count(g, s):
    """Sums in bfloat16 stop growing: 256 + 1 is 256 there."""
    shape, i = s
    total = zeros(shape, g).bfloat16()
    for row, d in zip(i.reshape(-1).tolist(), g.reshape(-1, g.shape[-1]).bfloat16(), strict=True):
        total[row] += d
    return total.to(g.dtype)


def weight(f):
    return instead(right, 1, f)


right = rounded(embedding_back)
distinct_tokens = given(lambda g, dtype: torch.randperm(7, generator=g)[:6].reshape(2, 3), gauss(7, 4))
embedding = operation(
    "embedding",
    lambda index, weight: (weight[index], (weight.shape, index)),
    right,
    given(indices([[1, 3, 1], [6, 1, 5]]), gauss(7, 4)),
    F.embedding,
    [
        wrong("missing-sum", "a token that repeats keeps its last gradient alone", argument="weight",
              hidden=distinct_tokens, also=("missing-term", "region", "local"), source=src.EMBEDDING,
              backward=weight(lambda g, s: zeros(s[0], g).index_put((s[1],), g))),
        wrong("permuted", "everything goes to row 0", argument="weight", also=("missing-sum", "unknown"),
              hidden=given(indices([[0, 0]]), gauss(7, 4)), source=src.EMBEDDING_ROW,
              backward=weight(lambda g, s: embedding_back(g, (s[0], 0 * s[1]))[1])),
        wrong("region", "row 0 is taken for padding", argument="weight", source=src.EMBEDDING,
              also=("local", "zero"),
              hidden=given(indices([[1, 3, 1], [6, 1, 5]]), gauss(7, 4)), backward=part(right, 0, 0.0, 1)),
        wrong("scale", "averaged over the tokens", scaled(right, 1 / 6, 1), argument="weight",
              source=src.BATCH_SIZE_WEIGHT),
        wrong("unknown", "gradients are added up in bfloat16", weight(saturated_count), argument="weight",
              dtypes=FULL,
              also=("dtype",), source=src.EMBEDDING_HALF),
        wrong("missing-sum", "the last sentence of the batch counts alone", argument="weight",
              also=("missing-term", "region", "local"),
              hidden=given(indices([[1, 3, 1]]), gauss(7, 4)), source=src.LAYER_NORM_RANK,
              backward=weight(lambda g, s: embedding_back(g[-1:], (s[0], s[1][-1:]))[1])),
        wrong("zero", "the table is frozen", without(right, 1), argument="weight", source=src.RETURNS_NONE),
        wrong("nondeterministic", "the dense gradient's buffer is never cleared", Accumulating(right, 1),
              source=src.ADDED_TWICE),
    ],
    {
        "distinct": distinct_tokens,
        "first row": given(indices([[0, 0, 2]]), gauss(7, 4)),
        "one token": given(indices([3]), gauss(7, 4)),
        "many": given(indices([0] * 300), gauss(2, 2)),
    },
)  # fmt: skip


# ---- gather and scatter_add along the last axis


right = rounded(lambda g, s: (zeros(s[0], g).scatter_add(1, s[1], g), None))
apart = given(
    gauss(4, 5), lambda g, dtype: torch.stack([torch.randperm(5, generator=g)[:3] for _ in range(4)])
)
gather = operation(
    "gather",
    lambda x, index: (x.gather(1, index), (x.shape, index)),
    right,
    given(gauss(4, 5), indices([[0, 0, 4], [1, 2, 3], [3, 3, 3], [2, 0, 2]])),
    lambda x, index: x.gather(1, index),
    [
        wrong("missing-sum", "scatter instead of scatter_add: repeats overwrite", hidden=apart,
              source=src.GATHER,
              also=("missing-term", "region", "local"),
              backward=rounded(lambda g, s: (zeros(s[0], g).scatter(1, s[1], g), None))),
        wrong("permuted", "scattered along the other axis", also=("unknown",), source=src.GATHER,
              backward=rounded(lambda g, s: (zeros(s[0], g).scatter_add(0, s[1].clamp(max=3), g), None))),
        wrong("permuted", "written to the first columns in order", also=("unknown",), source=src.GATHER,
              backward=rounded(lambda g, s: (F.pad(g, (0, s[0][1] - g.shape[1])), None))),
        wrong("region", "the last index of each row is dropped",
              also=("missing-term", "local", "missing-sum"),
              backward=rounded(lambda g, s: (zeros(s[0], g).scatter_add(1, s[1][:, :-1], g[:, :-1]), None))),
        wrong("sign", "the sign of a loss", scaled(right, -1.0)),
    ],
    {"distinct": apart, "one": given(gauss(1, 1), indices([[0]])),
    "all the same": given(gauss(2, 3), indices([[1] * 5, [2] * 5]))},
)  # fmt: skip

right = rounded(lambda g, i: (g, g.gather(1, i), None))
scatter_add = operation(
    "scatter_add",
    lambda base, source, index: (base.scatter_add(1, index, source), index),
    right,
    given(gauss(3, 4), gauss(3, 4), indices([[0, 0, 3, 1], [1, 2, 3, 3], [2, 2, 2, 0]])),
    lambda base, source, index: base.scatter_add(1, index, source),
    [
        wrong("zero", "the base is taken for a buffer of zeros", zeroed(right), argument="base",
              source=src.RETURNS_NONE),
        wrong("region", "the base gets none where something was added", argument="base",
              backward=instead(right, 0, lambda g, i: g.scatter(1, i, 0.0)), source=src.DUPLICATES,
              also=("missing-factor", "zero")),
        wrong("permuted", "the source's gradient is not gathered", argument="source", also=("unknown",),
              backward=instead(right, 1, lambda g, i: g), source=src.GATHER,
              hidden=given(gauss(2, 3), gauss(2, 3), indices([[0, 1, 2], [0, 1, 2]]))),
        wrong("permuted", "scattered again instead of gathered", argument="source",
              also=("unknown", "missing-sum"),
              backward=instead(right, 1, lambda g, i: torch.zeros_like(g).scatter_add(1, i, g)),
              source=src.GATHER,
              hidden=given(gauss(2, 3), gauss(2, 3), indices([[0, 1, 2], [0, 1, 2]]))),
        wrong("missing-factor", "divided by the number of summands", argument="source",
              backward=instead(right, 1, lambda g,
              i: (g / torch.zeros_like(g).scatter_add(1, i, torch.ones_like(g)).clamp(min=1)).gather(1, i)),
              hidden=given(gauss(2, 3), gauss(2, 3), indices([[0, 1, 2], [2, 0, 1]])),
              source=src.MAX_TIES_COUNT,
              also=("region", "local")),
    ],
    {"distinct": given(gauss(2, 3), gauss(2, 3), indices([[0, 1, 2], [2, 0, 1]])),
    "narrow": given(gauss(2, 5), gauss(2, 2), indices([[4, 4], [0, 1]]))},
)  # fmt: skip


# ---- choosing by a mask

right = rounded(lambda g, s: (None, sum_to(where(s[0], g, 0.0), s[1]), sum_to(where(s[0], 0.0, g), s[2])))
select = operation(
    "where",
    lambda condition, a, b: (where(condition, a, b), (condition, a.shape, b.shape)),
    right,
    given(coin(5, 4), gauss(5, 4), gauss(4)),
    torch.where,
    [
        wrong("missing-factor", "a gets the gradient where b was chosen, too", argument="a", also=("region",),
              hidden=given(mask(True, 5, 4), gauss(5, 4), gauss(4)),
              backward=instead(right, 1, lambda g, s: g),
              source=src.WHERE_NAN),
        wrong("missing-factor", "the mask is not inverted for b", argument="b", also=("region", "unknown"),
              source=src.CLAMP,
              backward=instead(right, 2, lambda g, s: sum_to(where(s[0], g, 0.0), s[2]))),
        wrong("missing-sum", "db is not summed to its shape", argument="b", also=("shape",),
              source=src.BROADCAST,
              backward=instead(right, 2, lambda g, s: where(s[0], 0.0, g))),
        wrong("scale", "db is averaged over the rows", scaled(right, 0.2, 2), argument="b", source=src.BIAS,
              hidden=given(mask(True, 5, 4), gauss(5, 4), gauss(4))),
        wrong("shape", "the two gradients are exchanged", exchanged(right, 1, 2),
              also=("permuted", "missing-sum")),
        wrong("zero", "b is a constant", without(right, 2), argument="b", source=src.RETURNS_NONE),
    ],
    {
        "all": given(mask(True, 5, 4), gauss(5, 4), gauss(4)),
        "none": given(mask(False, 3, 4), gauss(3, 4), gauss(4)),
        "scalar": given(coin(3, 4), gauss(3, 4), gauss()),
        "broadcast": given(coin(4), gauss(3, 4), gauss(3, 1)),
        "equal": given(coin(3, 4), filled(1.0, 3, 4), filled(1.0, 4)),
    },
)  # fmt: skip

right = rounded(lambda g, m: (where(m, 0.0, g), None))
nothing = given(gauss(4, 5), mask(False, 4, 5))
masked_fill = operation(
    "masked_fill",
    lambda x, m: (x.masked_fill(m, -1e4), m),
    right,
    given(gauss(4, 5), coin(4, 5)),
    lambda x, m: x.masked_fill(m, -1e4),
    [
        wrong("missing-factor", "the gradient passes through masked elements",
              rounded(lambda g, m: (g, None)), hidden=nothing,
              also=("region",), source=src.CLAMP),
        wrong("region", "the last row's mask is taken for all rows", also=("missing-factor", "unknown"),
              backward=rounded(lambda g, m: (where(m[-1:], 0.0, g), None)),
              hidden=given(gauss(1, 5), coin(1, 5))),
        wrong("mutates", "grad.masked_fill_ writes into the incoming gradient", lambda g,
              m: (g.masked_fill_(m, 0), None),
              hidden=nothing, source=src.IN_PLACE_GRAD),
        wrong("mutates", "the forward fills its input in place", hidden=nothing, source=src.IN_PLACE_FORWARD,
              forward=lambda x, m: (x.detach().masked_fill_(m, -1e4).clone(), m)),
        wrong("offset", "the fill value's share is added: 1e-2 everywhere", plus(right, 1e-2)),
        wrong("dtype", "the mask promotes to float64", changed(right, lambda d: d.double()),
              dtypes=("float32", *HALF),
              source=src.GRAD_DTYPE),
    ],
    {"nothing": nothing, "everything": given(gauss(2, 3), mask(True, 2, 3)),
    "row mask": given(gauss(3, 4), coin(4))},
)  # fmt: skip


# ---- order


def sort_back(g, order):
    return torch.zeros_like(g).scatter(1, order, g)


right = rounded(sort_back)
ordered = given(after(gauss(4, 5), lambda x: x.sort(1).values))
sort = operation(
    "sort",
    lambda x: tuple(x.sort(dim=1, stable=True)),
    right,
    given(gauss(4, 5)),
    lambda x: x.sort(dim=1, stable=True).values,
    [
        wrong("permuted", "the order is not undone", rounded(lambda g, order: g), hidden=ordered,
              source=src.PERMUTE),
        wrong("permuted", "gathered where it should scatter: the inverse is forgotten", hidden=ordered,
              source=src.GATHER,
              backward=rounded(lambda g, order: g.gather(1, order))),
        wrong("permuted", "the order of descending values",
              rounded(lambda g, order: sort_back(g.flip(1), order)),
              hidden=given(gauss(4, 1)), source=src.CUMSUM_FLIP),
        wrong("region", "the largest of each row gets nothing", also=("missing-factor", "local"),
              source=src.CONCAT,
              backward=rounded(lambda g, order: sort_back(F.pad(g[:, :-1], (0, 1)), order))),
    ],
    {"ordered": ordered, "one": given(gauss(1, 1)), "reversed": given(exact([[3.0, 2.0, 1.0]])),
    "empty": given(gauss(0, 3))},
)  # fmt: skip

OPERATIONS: tuple[Operation, ...] = (index_select, embedding, gather, scatter_add, select, masked_fill, sort)
