"""Piecewise functions, and gradients that are agreed on rather than derived: their references state them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_ext.corpus._entry import DTYPES, Mistake, Operation, normal, uniform
from torch_ext.corpus.held_out._tools import HALF, altered, filled, like, spiked, turned, wide

AO = "https://github.com/pytorch/ao/pull/4806"


# --- PReLU with a slope for each channel of (N, C, L)


def _prelu(x: Tensor, weight: Tensor) -> Any:
    t = wide(x)
    return torch.where(t > 0, t, wide(weight)[:, None] * t).to(x.dtype), (x, weight)


def _prelu_backward(g: Any, r: Any, axes: Any = (0, 2), masked: bool = True, slope: str = "own") -> Any:
    x, weight = r
    g, t, w = wide(g), wide(x), wide(weight)[:, None]
    w = {"own": w, "first": w[:1], "none": torch.ones_like(w)}[slope]
    dw = g * torch.where(t > 0, 0, t) if masked else g * t
    return torch.where(t > 0, g, w * g).to(x.dtype), dw.sum(axes).to(weight.dtype)


def _negatives(*shape: int) -> Any:
    return lambda g, d: (uniform(g, d, *shape, low=-2, high=-0.1), normal(g, d, shape[1]))


PRELU = Operation(
    "prelu_channels",
    _prelu,
    _prelu_backward,
    lambda g, d: (normal(g, d, 2, 4, 4), normal(g, d, 4)),
    lambda x, w: F.prelu(wide(x), wide(w)).to(x.dtype),
    (
        Mistake("missing-sum", "weight: summed over the channels, not over positions",
                lambda g, r: _prelu_backward(g, r, axes=(0, 1)), argument="weight", also=("unknown", "permuted"),
                source="https://github.com/kulinseth/pytorch/pull/334"),
        Mistake("missing-factor", "weight: positive inputs count as well",
                lambda g, r: _prelu_backward(g, r, masked=False), argument="weight",
                also=("missing-term", "region"), hidden=_negatives(2, 4, 4),
                source="https://github.com/kulinseth/pytorch/pull/334"),
        Mistake("region", "x: the slope is left out for x < 0",
                lambda g, r: _prelu_backward(g, r, slope="none"), argument="x", also=("missing-factor",),
                hidden=lambda g, d: (normal(g, d, 2, 4, 4), filled(d, 1, 4)), dtypes=DTYPES,
                source="https://github.com/pytorch/pytorch/issues/47671"),
        Mistake("region", "x: every channel takes the first one's slope",
                lambda g, r: _prelu_backward(g, r, slope="first"), argument="x", also=("missing-factor",),
                hidden=lambda g, d: (normal(g, d, 2, 4, 4), filled(d, 0.25, 4)),
                source="https://github.com/tenstorrent/tt-metal/pull/56202"),
        Mistake("zero", "weight: a constant slope", altered(_prelu_backward, 1, torch.zeros_like),
                argument="weight", source="https://github.com/paiml/aprender/pull/2200"),
        Mistake("offset", "weight: the buffer starts from one", altered(_prelu_backward, 1, lambda d: d + 1),
                argument="weight", source="https://github.com/pytorch/FBGEMM/pull/5754"),
    ),
    {
        "the kink": lambda g, d: (filled(d, 0, 1, 2, 2), normal(g, d, 2)),
        "positive": lambda g, d: (uniform(g, d, 2, 3, 2, low=0.1), normal(g, d, 3)),
        "negative": _negatives(2, 3, 2),
        "views": lambda g, d: (turned(g, d, 2, 3, 4), normal(g, d, 3)),
        "no batch": lambda g, d: (normal(g, d, 0, 3, 4), normal(g, d, 3)),
    },
)  # fmt: skip


# --- quantisation to -8 … 7 with a learned step (LSQ): rounding passes the gradient straight through

LOW, HIGH = -8, 7


def _quantise(x: Tensor, step: Tensor) -> Any:
    v = wide(x) / wide(step)
    q = v.clamp(LOW, HIGH).round()
    return (q * wide(step)).to(x.dtype), (v, q, x, step)


def _quantise_backward(g: Any, r: Any, strict: bool = False, outside: bool = True, total: bool = True) -> Any:
    v, q, x, step = r
    g = wide(g)
    inside = (q > LOW) & (q < HIGH) if strict else (v >= LOW) & (v <= HIGH)
    ds = g * (torch.where(inside, q - v, q if outside else torch.zeros_like(q)))
    return torch.where(inside, g, 0).to(x.dtype), like(ds, step) if total else ds.to(step.dtype)


def _quantise_stochastic(g: Any, r: Any) -> Any:
    dx, ds = _quantise_backward(g, r)
    return torch.floor(dx * 64 + torch.rand(dx.shape)) / 64, ds


def _quantise_reference(x: Tensor, step: Tensor) -> Tensor:
    s = wide(step)
    v = wide(x) / s
    inside = (v >= LOW) & (v <= HIGH)
    c = torch.where(inside, v, v.detach().clamp(LOW, HIGH))
    return ((c.round().detach() + c - c.detach()) * s).to(x.dtype)


def _activations(scale: float, step: float = 0.5) -> Any:
    return lambda g, d: ((scale * normal(g, d, 4, 6, grad=False)).requires_grad_(), filled(d, step))


QUANTISE = Operation(
    "quantise_straight_through",
    _quantise,
    _quantise_backward,
    lambda g, d: (spiked((1.5 * normal(g, d, 4, 6, grad=False)).requires_grad_(), 6, -9, 3.4, -3.9),
                  filled(d, 0.5)),
    _quantise_reference,
    (
        Mistake("region", "x: values beyond the range get a gradient",
                lambda g, r: (g.clone(), _quantise_backward(g, r)[1]), argument="x",
                also=("missing-factor", "local"), hidden=_activations(0.5),
                source="https://github.com/pytorch/pytorch/issues/38600"),
        Mistake("missing-term", "step: values beyond the range are left out",
                lambda g, r: _quantise_backward(g, r, outside=False), argument="step", hidden=_activations(0.5),
                also=("unknown", "region"), source="https://arxiv.org/abs/1902.08153"),
        Mistake("missing-sum", "step: not summed", lambda g, r: _quantise_backward(g, r, total=False),
                argument="step", also=("shape",), source="https://github.com/pytorch/pytorch/issues/65244"),
        Mistake("scale", "x: multiplied by 1/step", altered(_quantise_backward, 0, lambda d: d * 2),
                argument="x", source="https://github.com/huggingface/optimum-quanto/issues/146"),
        Mistake("zero", "x: the derivative of rounding", altered(_quantise_backward, 0, torch.zeros_like),
                argument="x", dtypes=DTYPES, source="https://github.com/Oneflow-Inc/oneflow/issues/8649"),
        Mistake("region", "the mask is taken from the clamped values: the outermost levels are cut off",
                lambda g, r: _quantise_backward(g, r, strict=True), also=("zero", "local"),
                hidden=_activations(0.5), source=AO),
        Mistake("nondeterministic", "x: stochastic rounding of the gradient", _quantise_stochastic,
                argument="x", source="https://github.com/google/qkeras/pull/118"),
    ),
    {
        "within the range": _activations(0.5),
        "beyond the range": _activations(50),
        "halves": lambda g, d: ((torch.arange(-12, 12) * 0.25).to(d).requires_grad_(), filled(d, 0.5)),
        "one element": lambda g, d: (normal(g, d, 1), filled(d, 0.5)),
    },
    convention=True,
)  # fmt: skip


# --- the identity, whose gradient is clipped to [-0.5, 0.5]


def _clip(x: Tensor) -> Any:
    return x.clone(), ()


def _clip_backward(g: Any, _: Any) -> Any:
    return (g.clamp(-0.5, 0.5),)


def _clip_reference(x: Tensor) -> Tensor:
    y = x.clone()
    if y.requires_grad:
        y.register_hook(lambda g: g.clamp(-0.5, 0.5))
    return y


CLIP = Operation(
    "clip_gradient",
    _clip,
    _clip_backward,
    lambda g, d: (normal(g, d, 4, 5),),
    _clip_reference,
    (
        Mistake("region", "not clipped", lambda g, r: (g.clone(),), also=("missing-factor", "unknown"),
                source="https://github.com/pytorch/pytorch/issues/1110"),
        Mistake("region", "clipped from above only", lambda g, r: (g.clamp(max=0.5),), also=("unknown",),
                source="https://github.com/pytorch/pytorch/issues/1110"),
        Mistake("mutates", "the incoming gradient is clipped in place",
                lambda g, r: (g.clamp_(-0.5, 0.5),),
                source="https://github.com/pytorch/pytorch/issues/1110"),
    ),
    {
        "one element": lambda g, d: (normal(g, d, 1),),
        "empty": lambda g, d: (normal(g, d, 0, 2),),
        "views": lambda g, d: (turned(g, d, 3, 4),),
    },
    convention=True,
)  # fmt: skip


# --- gradient reversal with λ = 0.3


def _reverse(x: Tensor) -> Any:
    return x.clone(), ()


def _reverse_backward(g: Any, _: Any) -> Any:
    return ((-0.3 * wide(g)).to(g.dtype),)


def _reverse_reference(x: Tensor) -> Tensor:
    t = wide(x)
    return (t.detach() - 0.3 * (t - t.detach())).to(x.dtype)


REVERSE = Operation(
    "reverse_gradient",
    _reverse,
    _reverse_backward,
    lambda g, d: (normal(g, d, 4, 5),),
    _reverse_reference,
    (
        Mistake("sign", "scaled, but not reversed", altered(_reverse_backward, 0, lambda d: -d),
                source="https://github.com/CuthbertCai/pytorch_DANN/issues/10"),
        Mistake("scale", "reversed, but λ is left out", lambda g, r: (-g,),
                source="https://github.com/p2irc/UDA4POC/issues/3"),
        Mistake("scale", "passed on as it is", lambda g, r: (g.clone(),),
                source="https://github.com/hash2430/pitchtron/issues/3"),
        Mistake("dtype", "returned in float32", lambda g, r: (-0.3 * g.float(),), dtypes=HALF,
                source="https://github.com/flagos-ai/FlagGems/pull/177"),
    ),
    {
        "one element": lambda g, d: (normal(g, d, 1),),
        "empty": lambda g, d: (normal(g, d, 0, 2),),
        "views": lambda g, d: (turned(g, d, 3, 4),),
    },
    convention=True,
)  # fmt: skip

OPERATIONS = (PRELU, QUANTISE, CLIP, REVERSE)
