"""Normalisation layers as fused kernels write them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_ext.corpus._entry import DTYPES, Mistake, Operation, normal, uniform
from torch_ext.corpus.held_out._tools import HALF, altered, filled, like, turned, wide, zeroed

EPS = 1e-5
LIGER = "https://github.com/linkedin/Liger-Kernel/"


# --- y = s / rms(s) · w with s = x + residual; both y and s are returned (fused_add_rms_norm)


def _rms_norm_add(x: Tensor, residual: Tensor, weight: Tensor, shift: float = 0.0) -> Any:
    s = wide(x) + wide(residual)
    rstd = torch.rsqrt((s * s).mean(-1, keepdim=True) + EPS)
    y = s * rstd * (wide(weight) + shift)
    return (y.to(x.dtype), s.to(x.dtype)), (s, rstd, x, residual, weight, shift)


def _rms_norm_add_backward(g: Any, r: Any, correction: bool = True, through_sum: bool = True) -> Any:
    gy, gs = wide(g[0]), wide(g[1])
    s, rstd, x, residual, weight, shift = r
    hat, gw = s * rstd, gy * (wide(weight) + shift)
    ds = rstd * gw
    if correction:
        ds = ds - rstd * hat * (gw * hat).mean(-1, keepdim=True)
    if through_sum:
        ds = ds + gs
    return like(ds, x), like(ds, residual), like(gy * hat, weight)


def _rms_norm_add_writes_x(x: Tensor, residual: Tensor, weight: Tensor) -> Any:
    result = _rms_norm_add(x, residual, weight)
    x.detach().copy_(result[0][1])  # the sum is stored where x was
    return result


def _rms_norm_add_writes_grad(g: Any, r: Any) -> Any:
    grads = _rms_norm_add_backward(g, r)
    g[0].copy_(grads[0])
    return (g[0], *grads[1:])


def _rms_norm_add_half_squares(g: Any, r: Any) -> Any:
    s, _, x, residual, weight, shift = r
    t = s.to(x.dtype)
    rstd = torch.rsqrt(wide((t * t).sum(-1, keepdim=True)) / t.shape[-1] + EPS)  # the sum overflows
    return _rms_norm_add_backward(g, (s, rstd, x, residual, weight, shift))


def _rms_norm_add_raw_weight(g: Any, r: Any) -> Any:
    return (*_rms_norm_add_backward(g, r)[:2], like(wide(g[0]) * r[0], r[4]))


def _rms_norm_add_last_rows(g: Any, r: Any) -> Any:
    dx, dr, _ = _rms_norm_add_backward(g, r)
    return dx, dr, like((wide(g[0]) * r[0] * r[1])[:-1], r[4])


def _rms_norm_add_reference(x: Tensor, residual: Tensor, weight: Tensor) -> Any:
    s = wide(x) + wide(residual)
    y = F.rms_norm(s, (s.shape[-1],), wide(weight), EPS)
    return y.to(x.dtype), s.to(x.dtype)


RMS_NORM_ADD = Operation(
    "rms_norm_add",
    _rms_norm_add,
    _rms_norm_add_backward,
    lambda g, d: (
        (60 * normal(g, d, 6, 16, grad=False)).requires_grad_(),  # as large as late in a deep network
        (60 * normal(g, d, 6, 16, grad=False)).requires_grad_(),
        uniform(g, d, 16, low=0.5, high=2.0),
    ),
    _rms_norm_add_reference,
    (
        Mistake("missing-term", "the gradient of the returned sum is dropped",
                lambda g, r: _rms_norm_add_backward(g, r, through_sum=False),
                source=LIGER + "pull/182"),
        Mistake("missing-term", "1/rms taken for a constant",
                lambda g, r: _rms_norm_add_backward(g, r, correction=False), dtypes=DTYPES,
                source="https://github.com/paiml/aprender/pull/2196"),
        Mistake("missing-sum", "weight: not summed over the rows",
                lambda g, r: (*_rms_norm_add_backward(g, r)[:2], wide(g[0]) * r[0] * r[1]),
                argument="weight", also=("shape",),
                source="https://github.com/deeplearning4j/nd4j/issues/2424"),
        Mistake("missing-factor", "weight: multiplied by the sum, not by the normalised sum",
                _rms_norm_add_raw_weight, argument="weight",
                source="https://github.com/flagos-ai/FlagGems/pull/5771"),
        Mistake("missing-term", "weight: the last row is left out of the partial sums",
                _rms_norm_add_last_rows, argument="weight", also=("missing-sum", "region"),
                source=LIGER + "pull/182"),
        Mistake("mutates", "the gradient of x is written into the incoming gradient",
                _rms_norm_add_writes_grad, source=LIGER + "pull/1305"),
        Mistake("mutates", "the sum is written into x", forward=_rms_norm_add_writes_x, argument="x",
                source=LIGER + "issues/254"),
        Mistake("zero", "weight: the sum of squares overflows in float16", _rms_norm_add_half_squares,
                also=("missing-term", "scale"), dtypes=("float16",),
                source="https://github.com/pytorch/pytorch/issues/195701"),
        Mistake("forward", "multiplied by 1 + weight, another model's convention",
                forward=lambda x, s, w: _rms_norm_add(x, s, w, 1.0), source=LIGER + "issues/370"),
        Mistake("dtype", "the gradients stay in float32",
                lambda g, r: tuple(wide(d) for d in _rms_norm_add_backward(g, r)), dtypes=HALF,
                source="https://github.com/flagos-ai/FlagGems/pull/177"),
    ),
    {
        "one row": lambda g, d: (normal(g, d, 1, 8), normal(g, d, 1, 8), normal(g, d, 8)),
        "a row of zeros": lambda g, d: (filled(d, 0, 2, 4), filled(d, 0, 2, 4), normal(g, d, 4)),
        "no rows": lambda g, d: (normal(g, d, 0, 4), normal(g, d, 0, 4), normal(g, d, 4)),
        "views, three axes": lambda g, d: (turned(g, d, 2, 3, 4), normal(g, d, 2, 3, 4), normal(g, d, 4)),
    },
)  # fmt: skip


# --- group norm over (N, C, L) with two groups


def _group_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Any:
    n, c, length = x.shape
    t = wide(x).reshape(n, 2, c // 2 * length)
    mean = t.mean(-1, keepdim=True)
    rstd = torch.rsqrt(((t - mean) ** 2).mean(-1, keepdim=True) + EPS)
    hat = ((t - mean) * rstd).reshape(n, c, length)
    y = hat * wide(weight)[:, None] + wide(bias)[:, None]
    return y.to(x.dtype), (hat, rstd, x, weight, bias)


def _group_norm_backward(
    g: Any, r: Any, by_weight: bool = True, first: bool = True, second: bool = True, axes: Any = (2, 3)
) -> Any:
    hat, rstd, x, weight, bias = r
    n, c, length = x.shape
    g = wide(g)
    gw = (g * wide(weight)[:, None] if by_weight else g).reshape(n, 2, c // 2, length)
    h = hat.reshape(gw.shape)
    dx = gw
    if first:
        dx = dx - gw.mean(axes, keepdim=True)
    if second:
        dx = dx - h * (gw * h).mean(axes, keepdim=True)
    dx = (dx * rstd[..., None]).reshape(x.shape)
    return dx.to(x.dtype), (g * hat).sum((0, 2)).to(weight.dtype), g.sum((0, 2)).to(bias.dtype)


def _swap_last(g: Any, r: Any) -> Any:
    dx, dw, db = _group_norm_backward(g, r)
    return dx, db, dw


GROUP_NORM = Operation(
    "group_norm_two",
    _group_norm,
    _group_norm_backward,
    lambda g, d: (normal(g, d, 3, 6, 5), uniform(g, d, 6, low=0.5, high=2), normal(g, d, 6)),
    lambda x, w, b: F.group_norm(wide(x), 2, wide(w), wide(b), EPS).to(x.dtype),
    (
        Mistake("missing-factor", "the weight is left out of the chain",
                lambda g, r: _group_norm_backward(g, r, by_weight=False), argument="x",
                hidden=lambda g, d: (normal(g, d, 3, 6, 5), filled(d, 1, 6), filled(d, 0, 6)),
                source="https://stats.stackexchange.com/questions/328242"),
        Mistake("missing-term", "the mean is taken for a constant",
                lambda g, r: _group_norm_backward(g, r, first=False), argument="x",
                source="https://github.com/openxla/xla/pull/8225"),
        Mistake("missing-term", "the variance is taken for a constant",
                lambda g, r: _group_norm_backward(g, r, second=False), argument="x", dtypes=DTYPES,
                source="https://github.com/HomericIntelligence/Odyssey/pull/3808"),
        Mistake("missing-sum", "the means run over positions only, not over the group's channels",
                lambda g, r: _group_norm_backward(g, r, axes=(3,)), argument="x", also=("missing-term",),
                source=LIGER + "pull/353"),
        Mistake("missing-sum", "bias: summed over the batch, not over positions",
                lambda g, r: (*_group_norm_backward(g, r)[:2], g.sum(0)),
                argument="bias", also=("shape",), source="https://github.com/pytorch/pytorch/issues/2330"),
        Mistake("scale", "bias: averaged over the batch", altered(_group_norm_backward, 2, lambda d: d / 3),
                argument="bias", source="https://github.com/jimfleming/differentiation/issues/1"),
        Mistake("shape", "weight: keeps the axes that were summed",
                altered(_group_norm_backward, 1, lambda d: d[None, :, None]), argument="weight",
                source="https://github.com/pytorch/pytorch/issues/913"),
        Mistake("permuted", "the gradients of weight and bias are returned in the wrong order", _swap_last,
                also=("missing-factor",),
                source="https://github.com/paiml/aprender/pull/2200"),
        Mistake("zero", "weight and bias get no gradient",
                lambda g, r: (_group_norm_backward(g, r)[0], None, None),
                source="https://github.com/paiml/aprender/pull/2200"),
        Mistake("region", "weight: the second group's channels are never written",
                altered(_group_norm_backward, 1, lambda d: torch.cat((d[:3], 0 * d[3:]))),
                argument="weight", also=("zero", "local"),
                source="https://github.com/tenstorrent/tt-metal/pull/56202"),
    ),
    {
        "one sample": lambda g, d: (normal(g, d, 1, 4, 3), normal(g, d, 4), normal(g, d, 4)),
        "zero input": lambda g, d: (filled(d, 0, 2, 4, 3), normal(g, d, 4), normal(g, d, 4)),
        "views": lambda g, d: (turned(g, d, 2, 4, 3), normal(g, d, 4), normal(g, d, 4)),
        "no samples": lambda g, d: (normal(g, d, 0, 4, 3), normal(g, d, 4), normal(g, d, 4)),
    },
)  # fmt: skip


# --- instance norm over the last axis, without weights


def _instance_norm(x: Tensor, ddof: int = 0) -> Any:
    t = wide(x)
    mean = t.mean(-1, keepdim=True)
    rstd = torch.rsqrt(((t - mean) ** 2).sum(-1, keepdim=True) / (t.shape[-1] - ddof) + EPS)
    hat = (t - mean) * rstd
    return hat.to(x.dtype), (hat, rstd, x, t.shape[-1] - ddof)


def _instance_norm_backward(g: Any, r: Any) -> Any:
    hat, rstd, x, n = r
    g = wide(g)
    dx = rstd * (g - g.mean(-1, keepdim=True) - hat * (g * hat).sum(-1, keepdim=True) / n)
    return (dx.to(x.dtype),)


def _instance_norm_no_eps(g: Any, r: Any) -> Any:
    _, _, x, n = r
    t = wide(x)
    t = t - t.mean(-1, keepdim=True)
    std = (t * t).mean(-1, keepdim=True).sqrt()
    return _instance_norm_backward(g, (t / std, 1 / std, x, n))


def _instance_norm_batch_axes(g: Any, r: Any) -> Any:
    hat, rstd, x, _ = r
    g = wide(g)
    dx = rstd * (g - g.mean((0, 2), keepdim=True) - hat * (g * hat).mean((0, 2), keepdim=True))
    return (dx.to(x.dtype),)


def _instance_norm_first_rstd(g: Any, r: Any) -> Any:
    hat, rstd, x, n = r
    return _instance_norm_backward(g, (hat, rstd[:1], x, n))


def _dead_channel(g: torch.Generator, d: torch.dtype) -> tuple[Any, ...]:
    x = normal(g, d, 2, 3, 6, grad=False)
    x[1, 2] = 0  # a channel that a ReLU has switched off
    return (x.requires_grad_(),)


INSTANCE_NORM = Operation(
    "instance_norm_plain",
    _instance_norm,
    _instance_norm_backward,
    _dead_channel,
    lambda x: F.instance_norm(wide(x), eps=EPS).to(x.dtype),
    (
        Mistake("not-finite", "the standard deviation without eps: a constant channel divides by zero",
                _instance_norm_no_eps, also=("missing-term",),
                source="https://github.com/tenstorrent/tt-metal/issues/55585"),
        Mistake("missing-sum", "the means run over the batch as well, as in batch norm",
                _instance_norm_batch_axes, also=("missing-term",),
                source="https://programmerteach.com/p/cs231n-assignment2-q2-batch-normalization"),
        Mistake("region", "every sample takes the first sample's 1/std", _instance_norm_first_rstd,
                also=("missing-factor", "scale"), hidden=lambda g, d: (normal(g, d, 1, 3, 6),),
                source="https://github.com/tenstorrent/tt-metal/pull/56202"),
        Mistake("local", "one element of the tail is left at zero",
                altered(_instance_norm_backward, 0, zeroed((0, 0, -1))),
                also=("zero", "region"),
                source="https://github.com/pytorch/pytorch/issues/194719"),
        Mistake("forward", "the unbiased variance",
                forward=lambda x: _instance_norm(x, 1), source="https://github.com/LBANN/lbann/pull/2024"),
    ),
    {
        "plain": lambda g, d: (normal(g, d, 2, 3, 6),),
        "one channel": lambda g, d: (normal(g, d, 1, 1, 4),),
        "far from zero": lambda g, d: ((8 + normal(g, d, 2, 2, 5, grad=False)).requires_grad_(),),
        "views": lambda g, d: (turned(g, d, 2, 3, 4),),
    },
)  # fmt: skip

OPERATIONS = (RMS_NORM_ADD, GROUP_NORM, INSTANCE_NORM)
