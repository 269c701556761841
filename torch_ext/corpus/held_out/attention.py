"""Attention and its parts: causal attention, a masked softmax, rotary embedding, Gumbel-softmax."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_ext.corpus._entry import DTYPES, Mistake, Operation, normal
from torch_ext.corpus.held_out._tools import HALF, altered, filled, memory, turned, wide, zeroed

FLASH = "https://github.com/Dao-AILab/flash-attention/issues/"


# --- causal attention over (B, T, D)


def _attention(q: Tensor, k: Tensor, v: Tensor, power: float = 0.5) -> Any:
    scale = q.shape[-1] ** -power
    s = wide(q) @ wide(k).mT * scale
    future = torch.ones(s.shape[-2:], dtype=torch.bool).triu(1)
    p = torch.softmax(s.masked_fill(future, -math.inf), -1)
    return (p @ wide(v)).to(q.dtype), (q, k, v, p, scale)


def _attention_backward(g: Any, r: Any, delta: bool = True, diagonal: bool = True) -> Any:
    q, k, v, p, scale = r
    g = wide(g)
    if not diagonal:
        p = p.tril(-1)
    dp = g @ wide(v).mT
    ds = p * (dp - (p * dp).sum(-1, keepdim=True) if delta else dp) * scale
    return (ds @ wide(k)).to(q.dtype), (ds.mT @ wide(q)).to(q.dtype), (p.mT @ g).to(q.dtype)


def _attention_diagonal(g: Any, r: Any) -> Any:
    return (*_attention_backward(g, r)[:2], _attention_backward(g, r, diagonal=False)[2])


def _attention_race(g: Any, r: Any) -> Any:
    dq, dk, dv = _attention_backward(g, r)
    lost = torch.rand(dq.shape) < 0.3  # one block overwrites what another has added
    return torch.where(lost, dq / 2, dq), dk, dv


def _attention_swapped(g: Any, r: Any) -> Any:
    dq, dk, dv = _attention_backward(g, r)
    return dk, dq, dv


def _attention_float(g: Any, r: Any) -> Any:
    dq, dk, dv = _attention_backward(g, r)
    return dq, dk.float(), dv.float()


def _attention_memory(g: Any, r: Any) -> Any:
    return _attention_backward(memory(g), r)


ATTENTION = Operation(
    "causal_attention",
    _attention,
    _attention_backward,
    lambda g, d: (normal(g, d, 2, 4, 4), normal(g, d, 2, 4, 4), normal(g, d, 2, 4, 4)),
    lambda q, k, v: F.scaled_dot_product_attention(wide(q), wide(k), wide(v), is_causal=True).to(q.dtype),
    (
        Mistake("scale", "q: the factor 1/√D is left out", altered(_attention_backward, 0, lambda d: d * 2),
                argument="q", source="https://github.com/triton-lang/triton/issues/4174"),
        Mistake("missing-term", "the softmax's row sum is left out",
                lambda g, r: _attention_backward(g, r, delta=False),
                source="https://github.com/pytorch/pytorch/pull/60877"),
        Mistake("missing-term", "v: the mask of the backward pass excludes the diagonal",
                _attention_diagonal, argument="v", source=FLASH + "1915"),
        Mistake("region", "q: the last query is not written",
                altered(_attention_backward, 0, zeroed((..., -1, slice(None)))), argument="q",
                also=("zero", "local"), dtypes=DTYPES, source=FLASH + "443"),
        Mistake("nondeterministic", "q: partial sums are lost in a race", _attention_race, argument="q",
                source="https://github.com/jmschrei/cherimoya/issues/25"),
        Mistake("permuted", "the incoming gradient is read as if it were contiguous", _attention_memory,
                also=("unknown", "transpose", "missing-factor"), source=FLASH + "355"),
        Mistake("transpose", "v: returned as (B, D, T)",
                altered(_attention_backward, 2, lambda d: d.mT), argument="v",
                source=FLASH + "1149"),
        Mistake("permuted", "the gradients of q and k are returned in the wrong order",
                _attention_swapped,
                source=FLASH + "1149"),
        Mistake("dtype", "k and v accumulate and return in float32",
                _attention_float, dtypes=HALF, source="https://github.com/HKUSTDial/flash-sparse-attention/pull/59"),
        Mistake("forward", "scaled by 1/D", forward=lambda q, k, v: _attention(q, k, v, 1.0),
                source="https://github.com/unslothai/unsloth-zoo/pull/930"),
        Mistake("local", "k: one key takes the value of its neighbour's last channel",
                altered(_attention_backward, 1, lambda d: d.index_put(
                    (torch.tensor(0), torch.tensor(1), torch.tensor(2)), d[0, 1, 3])),
                argument="k", source="https://github.com/HKUSTDial/flash-sparse-attention/issues/121"),
    ),
    {
        "one position": lambda g, d: (normal(g, d, 1, 1, 4), normal(g, d, 1, 1, 4), normal(g, d, 1, 1, 4)),
        "large scores": lambda g, d: (
            (30 * normal(g, d, 1, 3, 4, grad=False)).requires_grad_(), normal(g, d, 1, 3, 4),
            normal(g, d, 1, 3, 4)),
        "equal keys": lambda g, d: (normal(g, d, 1, 3, 4), filled(d, 1, 1, 3, 4), normal(g, d, 1, 3, 4)),
        "views": lambda g, d: (turned(g, d, 2, 3, 4), turned(g, d, 2, 3, 4), normal(g, d, 2, 3, 4)),
    },
)  # fmt: skip


# --- scaled masked softmax; a row that is masked altogether gives zeros

FACTOR = 0.25


def _masked_softmax(x: Tensor, mask: Tensor) -> Any:
    s = torch.where(mask, wide(x) * FACTOR, -math.inf)
    top = s.amax(-1, keepdim=True)
    e = torch.exp(s - top.where(top.isfinite(), 0))
    y = e / e.sum(-1, keepdim=True).where(mask.any(-1, keepdim=True), 1)
    return y.to(x.dtype), (y, x, mask)


def _masked_softmax_backward(g: Any, r: Any, axis: int = -1, centred: bool = True) -> Any:
    y, x, _ = r
    gy = wide(g) * y
    dx = FACTOR * (gy - y * gy.sum(axis, keepdim=True) if centred else gy)
    return dx.to(x.dtype), None


def _masked_softmax_recomputed(g: Any, r: Any) -> Any:
    _, x, mask = r
    y = torch.softmax(torch.where(mask, wide(x) * FACTOR, -math.inf), -1)
    return _masked_softmax_backward(g, (y, x, mask))


def _masked_softmax_writes_g(g: Any, r: Any) -> Any:
    return _masked_softmax_backward(g.masked_fill_(~r[2], 0), r)


def _scores(g: torch.Generator, d: torch.dtype, full: bool = False) -> tuple[Any, ...]:
    mask = torch.rand((2, 5, 5), generator=g) < 0.7
    mask[..., 0] = True
    if not full:
        mask[1, 3] = False  # padding attends to nothing
    return (4 * normal(g, d, 2, 5, 5, grad=False)).requires_grad_(), mask


def _masked_softmax_reference(x: Tensor, mask: Tensor) -> Tensor:
    y = torch.softmax((wide(x) * FACTOR).masked_fill(~mask, -1e30), -1)
    return (y * mask.any(-1, keepdim=True)).to(x.dtype)


MASKED_SOFTMAX = Operation(
    "scaled_masked_softmax",
    _masked_softmax,
    _masked_softmax_backward,
    _scores,
    _masked_softmax_reference,
    (
        Mistake("not-finite", "rows masked altogether are 0/0 in the backward pass",
                _masked_softmax_recomputed, hidden=lambda g, d: _scores(g, d, True),
                source="https://github.com/pytorch/pytorch/pull/71502"),
        Mistake("scale", "the scale is left out", altered(_masked_softmax_backward, 0, lambda d: d / FACTOR),
                source="https://github.com/unslothai/unsloth-zoo/pull/930"),
        Mistake("scale", "bfloat16 only: a factor 1/256 against overflow is not undone",
                altered(_masked_softmax_backward, 0, lambda d: d / 256 if d.dtype == torch.bfloat16 else d),
                dtypes=("bfloat16",), source="https://github.com/pytorch/pytorch/issues/195701"),
        Mistake("missing-sum", "the sum runs over the queries, not over the keys",
                lambda g, r: _masked_softmax_backward(g, r, axis=-2), also=("missing-term",),
                source="https://github.com/pytorch/pytorch/pull/62124"),
        Mistake("missing-term", "the sum over the keys is left out",
                lambda g, r: _masked_softmax_backward(g, r, centred=False), dtypes=DTYPES,
                source="https://github.com/pytorch/pytorch/pull/62124"),
        Mistake("mutates", "the mask is applied to the incoming gradient in place", _masked_softmax_writes_g,
                source="https://github.com/microsoft/nni/pull/3160"),
        Mistake("permuted", "the incoming gradient is read as if it were contiguous",
                lambda g, r: _masked_softmax_backward(memory(g), r),
                also=("unknown", "transpose", "missing-factor"),
                source="https://github.com/ROCm/TransformerEngine/pull/623"),
    ),
    {
        "all kept": lambda g, d: _scores(g, d, True),
        "all masked": lambda g, d: (normal(g, d, 2, 3), torch.zeros(2, 3, dtype=torch.bool)),
        "ties": lambda g, d: (filled(d, 3, 2, 3), torch.ones(3, dtype=torch.bool)),
        "saturated": lambda g, d: (
            (400 * normal(g, d, 2, 3, grad=False)).requires_grad_(), torch.ones(2, 3, dtype=torch.bool)),
        "one key": lambda g, d: (normal(g, d, 2, 1), torch.ones(2, 1, dtype=torch.bool)),
    },
)  # fmt: skip


# --- rotary embedding of (B, T, D), halves rotated against each other


def _rotary(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool = False) -> Any:
    t = wide(x)
    if interleaved:
        a, b = t[..., ::2], t[..., 1::2]
        y = torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2)
    else:
        a, b = t.chunk(2, -1)
        y = torch.cat((a * cos - b * sin, b * cos + a * sin), -1)
    return y.to(x.dtype), (wide(cos), wide(sin), x, interleaved)


def _rotary_backward(g: Any, r: Any, turn: float = 1.0) -> Any:
    cos, sin, x, interleaved = r
    g, sin = wide(g), turn * sin
    if interleaved:
        a, b = g[..., ::2], g[..., 1::2]
        dx = torch.stack((a * cos + b * sin, b * cos - a * sin), -1).flatten(-2)
    else:
        a, b = g.chunk(2, -1)
        dx = torch.cat((a * cos + b * sin, b * cos - a * sin), -1)
    return dx.to(x.dtype), None, None


def _rotary_in_place(g: Any, r: Any) -> Any:
    return g.copy_(_rotary_backward(g, r)[0]), None, None


def _rotary_reference(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    t = wide(x)
    turned_by_90 = torch.cat((-t[..., 3:], t[..., :3]), -1)
    return (t * wide(cos).repeat(1, 2) + turned_by_90 * wide(sin).repeat(1, 2)).to(x.dtype)


def _angles(g: torch.Generator, d: torch.dtype, start: int = 0, t: int = 5) -> tuple[Any, ...]:
    angle = (start + torch.arange(t)[:, None]) * torch.tensor([1.0, 0.1, 0.01])
    return normal(g, d, 2, t, 6), angle.cos().to(d), angle.sin().to(d)


ROTARY = Operation(
    "rotary_embedding",
    _rotary,
    _rotary_backward,
    _angles,
    _rotary_reference,
    (
        Mistake("sign", "rotated onwards, not back: the sign of sin is not changed",
                lambda g, r: _rotary_backward(g, r, turn=-1.0), also=("missing-term", "region", "missing-factor"),
                hidden=lambda g, d: _angles(g, d, t=1),
                source="https://github.com/huggingface/candle/pull/3612"),
        Mistake("permuted", "the two halves come back exchanged",
                altered(_rotary_backward, 0, lambda d: d.roll(3, -1)),
                source="https://github.com/Oneflow-Inc/oneflow/pull/10517"),
        Mistake("permuted", "the halves are returned interleaved",
                altered(_rotary_backward, 0, lambda d: d.unflatten(-1, (2, 3)).mT.flatten(-2)),
                source="https://github.com/karpathy/nanochat/pull/489"),
        Mistake("mutates", "the incoming gradient is rotated in place", _rotary_in_place,
                source="https://github.com/linkedin/Liger-Kernel/pull/1305"),
        Mistake("zero", "no backward pass is registered", lambda g, r: (None, None, None),
                source="https://github.com/huggingface/candle/pull/3612"),
        Mistake("forward", "neighbouring channels are rotated, not the halves",
                forward=lambda x, c, s: _rotary(x, c, s, True),
                source="https://github.com/karpathy/nanochat/pull/489"),
        Mistake("shape", "the batch axis of one is added",
                altered(_rotary_backward, 0, lambda d: d[None]), also=("missing-sum",),
                source="https://github.com/pytorch/pytorch/issues/82644"),
    ),
    {
        "position zero": lambda g, d: _angles(g, d, t=1),
        "late positions": lambda g, d: _angles(g, d, start=100),
        "views": lambda g, d: (turned(g, d, 2, 5, 6), *_angles(g, d)[1:]),
        "no batch": lambda g, d: (normal(g, d, 0, 5, 6), *_angles(g, d)[1:]),
    },
)  # fmt: skip


# --- Gumbel-softmax with given noise, temperature 0.5

TAU = 0.5


def _gumbel(logits: Tensor, noise: Tensor) -> Any:
    y = torch.softmax((wide(logits) + wide(noise)) / TAU, -1)
    return y.to(logits.dtype), (y, logits)


def _gumbel_backward(g: Any, r: Any, axis: int = -1) -> Any:
    y, logits = r
    gy = wide(g) * y
    return ((gy - y * gy.sum(axis, keepdim=True)) / TAU).to(logits.dtype), None


def _gumbel_redrawn(g: Any, r: Any) -> Any:
    noise = -torch.empty_like(r[1]).exponential_().log()
    return _gumbel_backward(g, (_gumbel(r[1], noise)[1][0], r[1]))


def _noisy(g: torch.Generator, d: torch.dtype) -> tuple[Any, ...]:
    u = torch.rand((4, 4), generator=g, dtype=torch.float64)
    return normal(g, d, 4, 4), (-(-u.log()).log()).to(d)


GUMBEL = Operation(
    "gumbel_softmax_given_noise",
    _gumbel,
    _gumbel_backward,
    _noisy,
    lambda x, n: torch.softmax((wide(x) + wide(n)) / TAU, -1).to(x.dtype),
    (
        Mistake("scale", "the temperature is left out", altered(_gumbel_backward, 0, lambda d: d * TAU), dtypes=DTYPES,
                source="https://arxiv.org/abs/1611.01144"),
        Mistake("nondeterministic", "the noise is drawn anew in the backward pass", _gumbel_redrawn,
                source="https://github.com/openai/guided-diffusion/issues/167"),
        Mistake("missing-sum", "the sum runs over the batch", lambda g, r: _gumbel_backward(g, r, axis=0),
                also=("missing-term",), source="https://github.com/pytorch/pytorch/pull/62124"),
        Mistake("local", "the first logit's gradient is lost",
                altered(_gumbel_backward, 0, zeroed((0, 0))), also=("zero",),
                source="https://github.com/ROCm/aiter/issues/3551"),
        Mistake("sign", "the exponent is negated in the backward pass",
                altered(_gumbel_backward, 0, lambda d: -d), source="https://arxiv.org/abs/1611.01144"),
    ),
    {
        "no noise": lambda g, d: (normal(g, d, 3, 4), filled(d, 0, 3, 4, grad=False)),
        "saturated": lambda g, d: ((50 * normal(g, d, 3, 4, grad=False)).requires_grad_(), _noisy(g, d)[1][:3]),
        "two classes, views": lambda g, d: (turned(g, d, 3, 2), filled(d, 0, 3, 2, grad=False)),
        "one class": lambda g, d: (normal(g, d, 3, 1), filled(d, 0, 3, 1, grad=False)),
    },
)  # fmt: skip

OPERATIONS = (ATTENTION, MASKED_SOFTMAX, ROTARY, GUMBEL)
