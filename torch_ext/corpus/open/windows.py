"""Convolutions by unfolding, attention, low-rank adapters."""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import einsum

from torch_ext.corpus._entry import Operation
from torch_ext.corpus.open import _sources as src
from torch_ext.corpus.open._tools import (
    FULL,
    after,
    as_if_contiguous,
    changed,
    element,
    exchanged,
    filled,
    gauss,
    given,
    instead,
    keeps_inputs,
    noisy,
    operation,
    part,
    rounded,
    scaled,
    turned,
    without,
    wrong,
    zeroed,
)

# ---- conv1d: x (N, C, L), w (O, C, K), stride and padding as integers


def windows(x, size, stride, padding):
    return F.pad(x, (padding, padding)).unfold(2, size, stride)  # (N, C, positions, K)


def conv1d_forward(x, w, b, stride, padding):
    y = einsum("nclk,ock->nol", windows(x, w.shape[2], stride, padding), w)
    return y + b[:, None]


def fold(cols, length, stride, padding, adds=True, shift=0):
    """The transpose of ``windows``: overlapping windows add up."""
    n, c, positions, size = cols.shape
    x = cols.new_zeros(n, c, length + 2 * padding)
    for k in range(size):
        at = slice(k, k + stride * positions, stride)
        if adds:
            x[:, :, at] += cols[..., k]
        else:
            x[:, :, at] = cols[..., k]
    return x[:, :, padding - shift : padding - shift + length]


def conv1d_dx(g, s, flip=False, **how):
    x, w, _, stride, padding = s
    w = w.flip(2) if flip else w
    return fold(einsum("nol,ock->nclk", g, w), x.shape[2], stride, padding, **how)


def conv1d_dw(g, s):
    x, w, _, stride, padding = s
    return einsum("nol,nclk->ock", g, windows(x, w.shape[2], stride, padding))


right = rounded(lambda g, s: (conv1d_dx(g, s), conv1d_dw(g, s), g.sum((0, 2)), None, None))
usual = given(gauss(2, 3, 7), gauss(4, 3, 3), gauss(4), 1, 1)
palindromes = after(gauss(4, 3, 3), lambda w: w + w.flip(2))
conv1d = operation(
    "conv1d",
    keeps_inputs("x w b stride padding", conv1d_forward),
    right,
    usual,
    F.conv1d,
    [
        wrong("permuted", "the kernel's gradient is flipped", changed(right, lambda d: d.flip(2), 1),
              argument="w",
              source=src.CONV_ROT180),
        wrong("permuted", "dx correlates where it should convolve: the kernel is flipped", argument="x",
              hidden=given(gauss(2, 3, 7), palindromes, gauss(4), 1, 1), also=("unknown",),
              backward=instead(right, 0, lambda g, s: conv1d_dx(g, s, flip=True)), source=src.CONV_FLIP),
        wrong("missing-sum", "overlapping windows overwrite instead of add", argument="x",
              hidden=given(gauss(2, 3, 9), gauss(4, 3, 3), gauss(4), 3, 0), also=("missing-term", "unknown"),
              backward=instead(right, 0, lambda g, s: conv1d_dx(g, s, adds=False)), source=src.GATHER),
        wrong("permuted", "the padding is cut off on the right alone: dx is shifted by one", argument="x",
              hidden=given(gauss(2, 3, 7), gauss(4, 3, 3), gauss(4), 1, 0), also=("unknown",),
              backward=instead(right, 0, lambda g, s: conv1d_dx(g, s, shift=s[4])), source=src.CONV_SHAPES),
        wrong("shape", "db is summed over the batch alone", instead(right, 2, lambda g, s: g.sum(0)),
              argument="b",
              also=("missing-sum",), source=src.BIAS),
        wrong("scale", "db is averaged over positions", instead(right, 2, lambda g, s: g.mean(2).sum(0)),
              argument="b", source=src.BIAS),
        wrong("missing-sum", "dw comes from the last example", argument="w", also=("missing-term",),
              hidden=given(gauss(1, 3, 7), gauss(4, 3, 3), gauss(4), 1, 1),
              backward=instead(right, 1, lambda g, s: conv1d_dw(g[-1:], (s[0][-1:], *s[1:]))),
              source=src.MINIBATCH_OF_ONE),
        wrong("region", "the last output channel is left out of dw", part(right, -1, 0.0, 1), argument="w",
              also=("local", "missing-factor")),
    ],
    {
        "stride": given(gauss(2, 3, 8), gauss(4, 3, 3), gauss(4), 2, 1),
        "apart": given(gauss(2, 3, 9), gauss(4, 3, 3), gauss(4), 3, 0),
        "one by one": given(gauss(1, 1, 1), gauss(1, 1, 1), gauss(1), 1, 0),
        "turned": given(turned(gauss(2, 3, 7)), turned(gauss(4, 3, 3)), gauss(4), 1, 1),
    },
)  # fmt: skip


# ---- conv2d: x (N, C, H, W), w (O, C, K, K), no padding


def patches(x, size):
    return x.unfold(2, size, 1).unfold(3, size, 1)  # (N, C, H', W', K, K)


def conv2d_dx(g, s):
    x, w, _ = s
    size = w.shape[2]
    around = F.pad(g, (size - 1,) * 4)
    return einsum("nohwkl,ockl->nchw", patches(around, size), w.flip(2, 3)) + 0 * x


def conv2d_dw(g, s):
    return einsum("nohw,nchwkl->ockl", g, patches(s[0], s[1].shape[2]))


right = rounded(lambda g, s: (conv2d_dx(g, s), conv2d_dw(g, s), g.sum((0, 2, 3))))
mirrored = after(gauss(2, 2, 3, 3), lambda w: w + w.flip(2, 3))
conv2d = operation(
    "conv2d",
    keeps_inputs("x w b", lambda x, w,
    b: einsum("nchwkl,ockl->nohw", patches(x, w.shape[2]), w) + b[:, None, None]),
    right,
    given(gauss(2, 2, 5, 5), gauss(2, 2, 3, 3), gauss(2)),
    F.conv2d,
    [
        wrong("permuted", "the kernel's gradient is rotated by 180 degrees",
              changed(right, lambda d: d.flip(2, 3), 1),
              argument="w", source=src.CONV_ROT180),
        wrong("permuted", "the full correlation forgets to rotate the kernel", argument="x",
              also=("unknown",),
              hidden=given(gauss(2, 2, 5, 5), mirrored, gauss(2)), source=src.CONV_FLIP,
              backward=instead(right, 0, lambda g, s: conv2d_dx(g, (s[0], s[1].flip(2, 3), s[2])))),
        wrong("transpose", "height and width are exchanged in dw", changed(right, lambda d: d.mT, 1),
              argument="w",
              source=src.CONV_SWAPAXES),
        wrong("transpose", "input and output channels are exchanged in dw", argument="w",
              source=src.CONV_SWAPAXES,
              backward=changed(right, lambda d: d.transpose(0, 1), 1)),
        wrong("transpose", "input and output channels are exchanged on the way to x", argument="x",
              also=("unknown", "permuted"), source=src.CONV_SWAPAXES,
              backward=instead(right, 0, lambda g, s: conv2d_dx(g, (s[0], s[1].transpose(0, 1), s[2])))),
        wrong("shape", "db is summed over the batch alone", argument="b", also=("missing-sum",),
              source=src.BIAS,
              backward=instead(right, 2, lambda g, s: g.sum(0))),
        wrong("scale", "dw is averaged over the batch", scaled(right, 0.5, 1), argument="w",
              source=src.CONV_ROT180),
        wrong("region", "the last row of the image gets nothing: a loop ends too early",
              part(right, (..., -1, slice(None))), argument="x", also=("local", "missing-factor")),
        wrong("nondeterministic", "atomic additions, exaggerated", noisy(right, 1e-2, 1),
              source=src.ATOMIC_ADD),
    ],
    {
        "batch of one": given(gauss(1, 2, 4, 4), gauss(3, 2, 2, 2), gauss(3)),
        "one window": given(gauss(2, 1, 3, 3), gauss(1, 1, 3, 3), gauss(1)),
        "turned": given(turned(gauss(1, 2, 4, 4)), turned(gauss(3, 2, 2, 2)), gauss(3)),
    },
)  # fmt: skip


# ---- attention


def scores_back(g, s, scale=True):
    q, k = s
    g = g / math.sqrt(q.shape[-1]) if scale else g
    return g @ k, g.mT @ q


right = rounded(scores_back)
depth_one = given(gauss(2, 4, 1), gauss(2, 4, 1))
scores = operation(
    "attention_scores",
    keeps_inputs("q k", lambda q, k: einsum("bid,bjd->bij", q, k) / math.sqrt(q.shape[-1])),
    right,
    given(gauss(2, 4, 3), gauss(2, 4, 3)),
    lambda q, k: q @ k.mT / math.sqrt(q.shape[-1]),
    [
        wrong("scale", "1/sqrt(d) is forgotten for q", argument="q", hidden=depth_one, source=src.ATTENTION,
              backward=instead(right, 0, lambda g, s: scores_back(g, s, False)[0])),
        wrong("scale", "1/sqrt(d) is forgotten in both gradients",
              rounded(lambda g, s: scores_back(g, s, False)),
              hidden=depth_one, source=src.ATTENTION),
        wrong("scale", "1/sqrt(d) is applied twice for k", argument="k", hidden=depth_one,
              source=src.DIVIDED_TWICE,
              backward=instead(right, 1, lambda g, s: scores_back(g, s)[1] / math.sqrt(s[0].shape[-1]))),
        wrong("transpose", "dk = g q: the scores' gradient is not transposed", argument="k",
              also=("unknown",),
              backward=instead(right, 1, lambda g, s: scores_back(g.mT, s)[1]), source=src.DOUBLE_TRANSPOSE),
        wrong("permuted", "dq and dk are exchanged", exchanged(right),
              source=src.ATTENTION),
        wrong("missing-sum", "the heads' gradients for k are averaged over queries", argument="k",
              also=("scale",),
              backward=instead(right, 1, lambda g, s: scores_back(g, s)[1] / s[0].shape[1]),
              source=src.ATTENTION),
        wrong("unknown", "the strides of the incoming gradient are ignored", as_if_contiguous(right),
              also=("permuted", "transpose"), source=src.NOT_CONTIGUOUS),
    ],
    {"depth one": depth_one, "one key": given(gauss(2, 3, 4), gauss(2, 1, 4)),
    "cross": given(gauss(2, 2, 4), gauss(2, 5, 4))},
)  # fmt: skip


def attend(q, k, v):
    return torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1) @ v


def attention_back(g, s, center=True, scale=True):
    q, k, v = s
    root = math.sqrt(q.shape[-1])
    p = torch.softmax(q @ k.mT / root, -1)
    dp = g @ v.mT
    ds = p * (dp - (p * dp).sum(-1, keepdim=True)) if center else p * dp
    ds = ds / root if scale else ds
    return ds @ k, ds.mT @ q, p.mT @ g


right = rounded(attention_back)
attention = operation(
    "attention",
    keeps_inputs("q k v", attend),
    right,
    given(gauss(2, 4, 3), gauss(2, 4, 3), gauss(2, 4, 3)),
    lambda q, k, v: F.scaled_dot_product_attention(q, k, v),
    [
        wrong("missing-term", "the softmax's row sum is forgotten",
              rounded(lambda g, s: attention_back(g, s, False)),
              source=src.ATTENTION),
        wrong("scale", "dq and dk lack 1/sqrt(d)", rounded(lambda g, s: attention_back(g, s, True, False)),
              hidden=given(gauss(2, 4, 1), gauss(2, 4, 1), gauss(2, 4, 1)), source=src.ATTENTION),
        wrong("transpose", "dv = P g instead of P^T g", argument="v", also=("unknown",),
              source=src.DOUBLE_TRANSPOSE,
              backward=instead(right, 2, lambda g,
              s: torch.softmax(s[0] @ s[1].mT / math.sqrt(s[0].shape[-1]), -1) @ g)),
        wrong("permuted", "dk and dv are exchanged", exchanged(right, 1, 2),
              source=src.ATTENTION),
        wrong("zero", "no gradient for the values: they are cached", without(right, 2), argument="v",
              source=src.RETURNS_NONE),
        wrong("forward", "the softmax runs over queries",
              forward=lambda q, k, v: (
                  torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -2) @ v,
                  (q.detach(), k.detach(), v.detach())),
              backward=rounded(lambda g, s: queries_back(g, *s)), dtypes=FULL),
    ],
    {
        "one key": given(gauss(2, 3, 4), gauss(2, 1, 4), gauss(2, 1, 2)),
        "sharp": given(filled(3.0, 1, 2, 3), gauss(1, 4, 3), gauss(1, 4, 3)),
        "alike": given(gauss(1, 3, 2), filled(0.0, 1, 3, 2), gauss(1, 3, 2)),
    },
)  # fmt: skip


def queries_back(g, q, k, v):
    root = math.sqrt(q.shape[-1])
    p = torch.softmax(q @ k.mT / root, -2)
    dp = g @ v.mT
    ds = p * (dp - (p * dp).sum(-2, keepdim=True)) / root
    return ds @ k, ds.mT @ q, p.mT @ g


# ---- a low-rank adapter: y = 2 x A^T B^T, where B starts at zero


def adapter_back(g, s):
    x, a, b = s
    h = 2 * g @ b
    return h @ a, h.mT @ x, 2 * g.mT @ (x @ a.mT)


right = rounded(adapter_back)
fresh = given(gauss(6, 5), gauss(2, 5), filled(0.0, 4, 2))
adapter = operation(
    "low_rank_adapter",
    keeps_inputs("x a b", lambda x, a, b: 2 * (x @ a.mT) @ b.mT),
    right,
    given(gauss(6, 5), gauss(2, 5), gauss(4, 2)),
    lambda x, a, b: 2 * F.linear(F.linear(x, a), b),
    [
        wrong("scale", "dA lacks the adapter's scaling", scaled(right, 0.5, 1), argument="a", hidden=fresh),
        wrong("zero", "dx is forgotten: only adapters are trained", zeroed(right), argument="x", hidden=fresh,
              source=src.RETURNS_NONE),
        wrong("sign", "dA has the wrong sign", scaled(right, -1.0, 1), argument="a", hidden=fresh),
        wrong("local", "an element of dA is lost", element(right, 3, 0.0, 1), argument="a", hidden=fresh),
        wrong("scale", "dB has the scaling twice", scaled(right, 2.0, 2), argument="b"),
        wrong("missing-sum", "dB comes from the first example", argument="b", also=("missing-term",),
              hidden=given(gauss(1, 5), gauss(2, 5), gauss(4, 2)), source=src.MINIBATCH_OF_ONE,
              backward=instead(right, 2, lambda g, s: adapter_back(g[:1], (s[0][:1], *s[1:]))[2])),
    ],
    {"fresh": fresh, "batch of one": given(gauss(1, 5), gauss(2, 5), gauss(4, 2)),
    "rank one": given(gauss(3, 5), gauss(1, 5), gauss(4, 1))},
)  # fmt: skip

OPERATIONS: tuple[Operation, ...] = (conv1d, conv2d, scores, attention, adapter)
