"""Operations that move values: interpolation, pooling, convolution, scans."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_ext.corpus._entry import DTYPES, Mistake, Operation, integers, normal, uniform
from torch_ext.corpus.held_out._tools import HALF, altered, filled, like, memory, spiked, turned, wide

FLA = "https://github.com/fla-org/flash-linear-attention/"


# --- bilinear interpolation of an image (H, W) at points (P, 2) in pixels, (row, column)


def _bilinear(image: Tensor, points: Tensor) -> Any:
    im, pt = wide(image), wide(points)
    corner = pt.detach().floor().long()
    y = corner[:, 0].clamp(0, im.shape[0] - 2)
    x = corner[:, 1].clamp(0, im.shape[1] - 2)
    v, u = pt[:, 0] - y, pt[:, 1] - x
    a, b, c, d = im[y, x], im[y, x + 1], im[y + 1, x], im[y + 1, x + 1]
    value = (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * c + u * d)
    return value.to(image.dtype), (y, x, v, u, (a, b, c, d), image, points)


def _bilinear_backward(
    g: Any, r: Any, accumulate: bool = True, start: float = 0.0, mirror: bool = False
) -> Any:
    y, x, v, u, (a, b, c, d), image, points = r
    g = wide(g)
    dimage = torch.full_like(wide(image), start)
    s, t = (1 - v, 1 - u) if mirror else (v, u)
    for row, column, weight in (
        (y, x, (1 - s) * (1 - t)),
        (y, x + 1, (1 - s) * t),
        (y + 1, x, s * (1 - t)),
        (y + 1, x + 1, s * t),
    ):
        new = g * weight if accumulate else dimage[row, column] + g * weight
        dimage.index_put_((row, column), new, accumulate=accumulate)
    dv = g * ((1 - u) * (c - a) + u * (d - b))
    du = g * ((1 - v) * (b - a) + v * (d - c))
    return like(dimage, image), torch.stack((dv, du), -1).to(points.dtype)


def _bilinear_points(low: float, high: float, h: int = 5, w: int = 5, p: int = 8) -> Any:
    return lambda g, d: (normal(g, d, h, w), uniform(g, d, p, 2, low=low, high=high))


def _apart(g: torch.Generator, d: torch.dtype) -> tuple[Any, ...]:
    cells = torch.tensor([[0.0, 0], [0, 3], [3, 0], [3, 3]])
    return normal(g, d, 5, 5), (cells + uniform(g, d, 4, 2, low=0.1, high=0.9, grad=False)).to(
        d
    ).requires_grad_()


def _bilinear_reference(image: Tensor, points: Tensor) -> Tensor:
    return _bilinear(image, points)[0]  # differentiable as it stands, with the same convention at integers


BILINEAR = Operation(
    "bilinear_at_points",
    _bilinear,
    _bilinear_backward,
    _bilinear_points(0, 4, p=24),
    _bilinear_reference,
    (
        Mistake("missing-term", "image: points in one cell overwrite each other",
                lambda g, r: (_bilinear_backward(g, r, accumulate=False)[0], _bilinear_backward(g, r)[1]),
                argument="image", also=("local", "region", "missing-sum"), hidden=_apart,
                source="https://github.com/apache/mxnet/issues/9172"),
        Mistake("offset", "image: the buffer is not cleared",
                lambda g, r: _bilinear_backward(g, r, start=1.0), argument="image",
                source="https://github.com/pytorch/pytorch/issues/185495"),
        Mistake("permuted", "points: row and column exchanged",
                altered(_bilinear_backward, 1, lambda d: d.flip(-1)), argument="points",
                source="https://github.com/speedinghzl/AlignSeg/issues/7"),
        Mistake("zero", "points: only the image gets a gradient",
                altered(_bilinear_backward, 1, lambda d: None), argument="points",
                source="https://github.com/NVlabs/stylegan3/issues/220"),
        Mistake("unknown", "image: the four weights go to the opposite corners",
                lambda g, r: _bilinear_backward(g, r, mirror=True), argument="image", also=("permuted",),
                source="https://github.com/pytorch/pytorch/issues/20785"),
        Mistake("region", "points: the column's derivative has the wrong sign",
                altered(_bilinear_backward, 1, lambda d: torch.cat((d[:, :1], -d[:, 1:]), 1)),
                argument="points", also=("sign",), source="https://github.com/pytorch/pytorch/issues/23925"),
        Mistake("nondeterministic", "image: additions are lost in a race",
                altered(_bilinear_backward, 0, lambda d: d * (torch.rand(d.shape) > 0.3)), argument="image",
                source="https://github.com/jmschrei/cherimoya/issues/25"),
    ),
    {
        "on the grid": lambda g, d: (normal(g, d, 3, 4), integers(g, 6, 2, high=3).to(d).requires_grad_()),
        "one cell": _bilinear_points(0, 1, 2, 2, 5),
        "outside": _bilinear_points(-1, 4, 3, 4),
        "no points": _bilinear_points(0, 1, 3, 3, 0),
    },
)  # fmt: skip


# --- average pooling over the last axis, window 3, step 2

WINDOW, STEP = 3, 2


def _avg_pool(x: Tensor, divisor: int = WINDOW) -> Any:
    y = wide(x).unfold(-1, WINDOW, STEP).sum(-1) / divisor
    return y.to(x.dtype), (x, divisor)


def _avg_pool_backward(g: Any, r: Any, add: bool = True, start: float = 0.0, last: bool = True) -> Any:
    x, divisor = r
    g = wide(g) / divisor
    dx = torch.full_like(wide(x), start)
    for k in range(g.shape[-1] if last else g.shape[-1] - 1):
        at = dx[..., k * STEP : k * STEP + WINDOW]
        at.copy_(at + g[..., k : k + 1] if add else g[..., k : k + 1].expand_as(at))
    return (dx.to(x.dtype),)


AVG_POOL = Operation(
    "avg_pool_overlapping",
    _avg_pool,
    _avg_pool_backward,
    lambda g, d: (normal(g, d, 2, 3, 8),),
    lambda x: F.avg_pool1d(wide(x), WINDOW, STEP).to(x.dtype),
    (
        Mistake("scale", "not divided by the window", altered(_avg_pool_backward, 0, lambda d: d * WINDOW),
                source="https://github.com/tracel-ai/burn/issues/5604"),
        Mistake("missing-term", "windows that overlap overwrite each other",
                lambda g, r: _avg_pool_backward(g, r, add=False), also=("local", "region", "missing-sum"),
                hidden=lambda g, d: (normal(g, d, 2, 3, 4),),
                source="https://github.com/deeplearning4j/deeplearning4j/pull/1951"),
        Mistake("permuted", "shifted by one position",
                altered(_avg_pool_backward, 0, lambda d: d.roll(1, -1)),
                source="https://github.com/KonduitAI/deeplearning4j/pull/90"),
        Mistake("permuted", "float32 only: the vectorised path stores four values in reverse",
                altered(_avg_pool_backward, 0, lambda d: d.unflatten(-1, (-1, 4)).flip(-1).flatten(-2)
                        if d.dtype == torch.float32 else d),
                dtypes=("float32",), source="https://github.com/HKUSTDial/flash-sparse-attention/issues/121"),
        Mistake("missing-term", "the last window is left out",
                lambda g, r: _avg_pool_backward(g, r, last=False), also=("local", "region", "zero"),
                source="https://github.com/pytorch/pytorch/issues/198119"),
        Mistake("offset", "the buffer starts from 1e-3",
                lambda g, r: _avg_pool_backward(g, r, start=1e-3),
                source="https://github.com/pytorch/FBGEMM/pull/5754"),
        Mistake("forward", "divided by the step, not by the window", forward=lambda x: _avg_pool(x, STEP),
                source="https://github.com/BVLC/caffe/issues/6297"),
        Mistake("permuted", "the incoming gradient is read as if it were contiguous",
                lambda g, r: _avg_pool_backward(memory(g), r), also=("unknown", "missing-factor", "transpose"),
                source="https://github.com/torch/nn/pull/345"),
    ),
    {
        "one window": lambda g, d: (normal(g, d, 1, 1, 3),),
        "a tail": lambda g, d: (normal(g, d, 1, 2, 6),),
        "views": lambda g, d: (turned(g, d, 2, 3, 7),),
        "no batch": lambda g, d: (normal(g, d, 0, 2, 5),),
    },
)  # fmt: skip


# --- causal depthwise convolution: x (B, C, L), weight (C, K), bias (C,)


def _causal_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Any:
    k = weight.shape[1]
    windows = F.pad(wide(x), (k - 1, 0)).unfold(-1, k, 1)  # (B, C, L, K)
    y = (windows * wide(weight)[:, None]).sum(-1) + wide(bias)[:, None]
    return y.to(x.dtype), (windows, x, weight, bias)


def _causal_conv_backward(g: Any, r: Any, taps: int | None = None, shift: int = 0) -> Any:
    windows, x, weight, bias = r
    g, w, k = wide(g), wide(weight), weight.shape[1]
    dx = torch.zeros_like(wide(x))
    for j in range(taps or k):  # the tap that looks j steps back
        late = g[..., min(j + shift, g.shape[-1]) :]
        dx[..., : late.shape[-1]] += late * w[:, k - 1 - j, None]
    dw = (g[..., None] * windows).sum((0, 2))
    return dx.to(x.dtype), dw.to(weight.dtype), g.sum((0, 2)).to(bias.dtype)


def _causal_conv_first_sample(g: Any, r: Any) -> Any:
    dx, _, db = _causal_conv_backward(g, r)
    return dx, (wide(g)[0, ..., None] * r[0][0]).sum(1).to(r[2].dtype), db


def _causal_conv_race(g: Any, r: Any) -> Any:
    dx, dw, db = _causal_conv_backward(g, r)
    return dx * (1 + 0.5 * (torch.rand(dx.shape) < 0.2)), dw, db


def _causal_conv_with_buffer(x: Tensor, weight: Tensor, bias: Tensor) -> Any:
    y, residuals = _causal_conv(x, weight, bias)
    return y, (residuals, torch.zeros_like(bias))


def _causal_conv_accumulates(g: Any, r: Any) -> Any:
    dx, dw, db = _causal_conv_backward(g, r[0])
    return dx, dw, r[1].add_(db)  # right once: the next backward pass adds to what is there


def _causal_inputs(b: int, c: int, length: int, k: int) -> Any:
    return lambda g, d: (normal(g, d, b, c, length), normal(g, d, c, k), normal(g, d, c))


CAUSAL_CONV = Operation(
    "causal_depthwise_conv",
    _causal_conv,
    _causal_conv_backward,
    _causal_inputs(2, 3, 6, 3),
    lambda x, w, b: F.conv1d(
        F.pad(wide(x), (w.shape[1] - 1, 0)), wide(w)[:, None], wide(b), groups=w.shape[0]
    ).to(x.dtype),
    (
        Mistake("permuted", "weight: the taps in reverse",
                altered(_causal_conv_backward, 1, lambda d: d.flip(-1)), argument="weight", dtypes=DTYPES,
                source="https://github.com/Dao-AILab/causal-conv1d/issues/22"),
        Mistake("permuted", "x: one step too early",
                lambda g, r: _causal_conv_backward(g, r, shift=1), argument="x", also=("local", "unknown"),
                source="https://github.com/KonduitAI/deeplearning4j/pull/90"),
        Mistake("missing-term", "x: the oldest tap is left out",
                lambda g, r: _causal_conv_backward(g, r, taps=2), argument="x", source=FLA + "issues/1140"),
        Mistake("missing-sum", "weight: the first sample only", _causal_conv_first_sample, argument="weight",
                also=("missing-term",), hidden=_causal_inputs(1, 3, 6, 3), source=FLA + "pull/955"),
        Mistake("missing-sum", "bias: not summed over the batch",
                lambda g, r: (*_causal_conv_backward(g, r)[:2], g.sum(-1)), argument="bias", also=("shape",),
                source="https://github.com/tracel-ai/burn/pull/248"),
        Mistake("nondeterministic", "x: overlapping additions race", _causal_conv_race, argument="x",
                source="https://github.com/jmschrei/cherimoya/issues/25"),
        Mistake("nondeterministic", "bias: accumulated in a buffer that is cleared by the forward pass only",
                _causal_conv_accumulates, _causal_conv_with_buffer, argument="bias", also=("mutates", "scale"),
                source="https://github.com/torch/nn/issues/792"),
        Mistake("permuted", "the incoming gradient is read as if it were contiguous",
                lambda g, r: _causal_conv_backward(memory(g), r), also=("unknown", "missing-factor", "transpose"),
                source=FLA + "pull/871"),
        Mistake("dtype", "weight and bias: accumulated and returned in float32",
                lambda g, r: tuple(d if i == 0 else d.float()
                                   for i, d in enumerate(_causal_conv_backward(g, r))),
                dtypes=HALF, source="https://github.com/linkedin/Liger-Kernel/pull/1253"),
    ),
    {
        "shorter than the kernel": _causal_inputs(2, 2, 2, 4),
        "one tap": _causal_inputs(1, 2, 3, 1),
        "views": lambda g, d: (turned(g, d, 2, 3, 4), turned(g, d, 3, 2), normal(g, d, 3)),
        "no batch": _causal_inputs(0, 2, 4, 3),
    },
)  # fmt: skip


# --- cumulative product along the last axis, safe at zeros


def _cumprod(x: Tensor) -> Any:
    y = torch.cumprod(wide(x), -1)
    return y.to(x.dtype), (y, x)


def _cumprod_backward(g: Any, r: Any, own: bool = True) -> Any:
    y, x = r[0], wide(r[1])
    before = torch.cat((torch.ones_like(y[..., :1]), y[..., :-1]), -1)
    g, tail = wide(g), torch.zeros_like(x)
    after = torch.zeros_like(x[..., :1])
    for k in reversed(range(x.shape[-1])):
        here = g[..., k : k + 1] + after
        tail[..., k : k + 1] = here if own else after
        after = x[..., k : k + 1] * here
    return ((before * tail).to(r[1].dtype),)


def _cumprod_divided(g: Any, r: Any, safe: bool = False) -> Any:
    y, x = r[0], wide(r[1])
    total = (wide(g) * y).flip(-1).cumsum(-1).flip(-1)
    return ((torch.where(x == 0, 0, total / x.where(x != 0, 1)) if safe else total / x).to(r[1].dtype),)


CUMPROD = Operation(
    "cumprod_zero_safe",
    _cumprod,
    _cumprod_backward,
    lambda g, d: (spiked(normal(g, d, 3, 5), 1.5, 0.0),),
    lambda x: torch.cumprod(wide(x), -1).to(x.dtype),
    (
        Mistake("not-finite", "divided by x: 0/0", _cumprod_divided,
                hidden=lambda g, d: (uniform(g, d, 3, 5, low=0.5, high=2),),
                source="https://github.com/tensorflow/tensorflow/issues/3862"),
        Mistake("region", "divided by x, and 0 where x = 0",
                lambda g, r: _cumprod_divided(g, r, safe=True), also=("local", "zero"),
                hidden=lambda g, d: (uniform(g, d, 3, 5, low=0.5, high=2),),
                source="https://github.com/pymc-devs/pytensor/pull/1911"),
        Mistake("missing-term", "the product that ends at the element itself is left out",
                lambda g, r: _cumprod_backward(g, r, own=False),
                source="https://github.com/Theano/Theano/issues/5197"),
        Mistake("unknown", "summed forwards, not backwards",
                lambda g, r: (((wide(g) * r[0]).cumsum(-1) / wide(r[1]).where(r[1] != 0, 1)).to(g.dtype),),
                also=("missing-term", "missing-sum"), source="https://github.com/pymc-devs/pytensor/pull/1956"),
    ),
    {
        "two zeros": lambda g, d: (spiked(normal(g, d, 2, 4), 0, 2, 0),),
        "all zeros": lambda g, d: (filled(d, 0, 2, 3),),
        "one element": lambda g, d: (normal(g, d, 1),),
        "views": lambda g, d: (turned(g, d, 3, 4),),
    },
)  # fmt: skip

OPERATIONS = (BILINEAR, AVG_POOL, CAUSAL_CONV, CUMPROD)
