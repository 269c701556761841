"""Activations and gates, fused the way that language-model kernels fuse them."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_ext.corpus._entry import DTYPES, Mistake, Operation, normal, uniform
from torch_ext.corpus.held_out._tools import HALF, altered, filled, like, spiked, turned, wide, zeroed

LIGER = "https://github.com/linkedin/Liger-Kernel/"


def _positive(*shape: int) -> Any:
    return lambda g, d: (uniform(g, d, *shape, low=0.1, high=3),)


# --- SwiGLU: silu(a) · b


def _swiglu(a: Tensor, b: Tensor) -> Any:
    s = torch.sigmoid(wide(a))
    return (wide(a) * s * wide(b)).to(a.dtype), (a, b)


def _swiglu_backward(g: Any, r: Any) -> Any:
    a, b, g = wide(r[0]), wide(r[1]), wide(g)
    s = torch.sigmoid(a)
    return like(g * b * s * (1 + a * (1 - s)), r[0]), like(g * a * s, r[1])


def _swiglu_no_term(g: Any, r: Any) -> Any:
    return like(wide(g) * wide(r[1]) * torch.sigmoid(wide(r[0])), r[0]), _swiglu_backward(g, r)[1]


def _swiglu_no_gate(g: Any, r: Any) -> Any:
    return _swiglu_backward(g, (r[0], torch.ones_like(r[1])))[0], _swiglu_backward(g, r)[1]


def _swiglu_overflow(g: Any, r: Any) -> Any:
    a, b, g = wide(r[0]), wide(r[1]), wide(g)
    s = torch.exp(a) / (1 + torch.exp(a))
    return like(g * b * s * (1 + a * (1 - s)), r[0]), like(g * a * s, r[1])


def _swiglu_in_place(g: Any, r: Any) -> Any:
    da, db = _swiglu_backward(g, r)
    return r[0].detach().copy_(da), r[1].detach().copy_(db)


SWIGLU = Operation(
    "swiglu",
    _swiglu,
    _swiglu_backward,
    lambda g, d: (spiked(normal(g, d, 4, 6), 800, -800), normal(g, d, 4, 6)),
    lambda a, b: (F.silu(wide(a)) * wide(b)).to(a.dtype),
    (
        Mistake("missing-term", "a: the derivative of a·sigmoid(a) without its second term", _swiglu_no_term,
                argument="a", dtypes=DTYPES, source="https://github.com/torch/torch7/issues/232"),
        Mistake("missing-factor", "a: not multiplied by b", _swiglu_no_gate, argument="a",
                hidden=lambda g, d: (normal(g, d, 4, 6), filled(d, 1, 4, 6)),
                source="https://github.com/ooples/AiDotNet.Tensors/pull/185"),
        Mistake("not-finite", "a sigmoid whose exponentials overflow", _swiglu_overflow,
                hidden=lambda g, d: (normal(g, d, 4, 6), normal(g, d, 4, 6)), dtypes=("float64", "float32"),
                source="https://github.com/facebookresearch/maskrcnn-benchmark/issues/1002"),
        Mistake("mutates", "the gradients are written into the saved inputs", _swiglu_in_place,
                source=LIGER + "issues/254"),
        Mistake("permuted", "the gradients of a and b are returned in the wrong order",
                lambda g, r: _swiglu_backward(g, r)[::-1], also=("missing-factor",),
                source="https://github.com/pytorch/tutorials/pull/3520"),
        Mistake("local", "b: the last element lies past the kernel's last block",
                altered(_swiglu_backward, 1, zeroed((-1, -1))), argument="b", also=("zero",),
                source=LIGER + "pull/182"),
        Mistake("zero", "b is taken for a constant gate",
                lambda g, r: (_swiglu_backward(g, r)[0], torch.zeros_like(r[1])), argument="b",
                source="https://github.com/huggingface/candle/issues/2168"),
    ),
    {
        "plain": lambda g, d: (normal(g, d, 3, 5), normal(g, d, 3, 5)),
        "b broadcast": lambda g, d: (normal(g, d, 3, 4), normal(g, d, 4)),
        "one element": lambda g, d: (normal(g, d, 1), normal(g, d, 1)),
        "empty": lambda g, d: (normal(g, d, 0, 4), normal(g, d, 0, 4)),
        "views, zeros": lambda g, d: (turned(g, d, 3, 4), filled(d, 0, 3, 4)),
    },
)  # fmt: skip


# --- bias + GELU, tanh form

C, K = math.sqrt(2 / math.pi), 0.044715


def _bias_gelu(x: Tensor, bias: Tensor) -> Any:
    v = wide(x) + wide(bias)
    return (0.5 * v * (1 + torch.tanh(C * v * (1 + K * v * v)))).to(x.dtype), (x, bias)


def _bias_gelu_slope(v: Tensor, cubic: bool = True) -> Tensor:
    t = torch.tanh(C * v * (1 + K * v * v))
    return 0.5 * (1 + t) + 0.5 * v * (1 - t * t) * C * (1 + 3 * K * v * v if cubic else 1)


def _bias_gelu_backward(g: Any, r: Any, cubic: bool = True) -> Any:
    dv = wide(g) * _bias_gelu_slope(wide(r[0]) + wide(r[1]), cubic)
    return like(dv, r[0]), like(dv, r[1])


def _bias_gelu_unsummed(g: Any, r: Any) -> Any:
    dx = _bias_gelu_backward(g, r)[0]
    return dx, dx


def _bias_gelu_early(g: Any, r: Any) -> Any:
    v = wide(r[0]) + wide(r[1])
    dv = wide(g) * torch.where(v > 1.5, 1.0, _bias_gelu_slope(v))
    return like(dv, r[0]), like(dv, r[1])


def _bias_gelu_no_slope(g: Any, r: Any) -> Any:
    return like(wide(g), r[0]), _bias_gelu_backward(g, r)[1]


BIAS_GELU = Operation(
    "bias_gelu_tanh",
    _bias_gelu,
    _bias_gelu_backward,
    lambda g, d: ((2 * normal(g, d, 5, 4, grad=False)).requires_grad_(), normal(g, d, 4)),
    lambda x, b: F.gelu(wide(x) + wide(b), approximate="tanh").to(x.dtype),
    (
        Mistake("missing-sum", "bias: returned as the gradient of x, never summed", _bias_gelu_unsummed,
                argument="bias", also=("shape",), source="https://github.com/csarofeen/pytorch/issues/888"),
        Mistake("missing-term", "the cubic term of the inner function is not differentiated",
                lambda g, r: _bias_gelu_backward(g, r, cubic=False), also=("missing-factor",),
                source="https://github.com/csarofeen/pytorch/issues/888"),
        Mistake("scale", "bias: averaged over the rows", altered(_bias_gelu_backward, 1, lambda d: d / 5),
                argument="bias", source="https://github.com/jimfleming/differentiation/issues/1"),
        Mistake("region", "the slope is taken as 1 from 1.5 on", _bias_gelu_early,
                hidden=lambda g, d: (uniform(g, d, 5, 4, low=-2, high=0.5), uniform(g, d, 4)),
                source="https://github.com/pytorch/pytorch/issues/55587"),
        Mistake("missing-factor", "x: the activation's derivative is left out", _bias_gelu_no_slope,
                argument="x", source="https://github.com/Bot-Academy/NeuralNetworkFromScratch/pull/3"),
        Mistake("dtype", "x: the gradient stays in float32",
                altered(_bias_gelu_backward, 0, wide), argument="x", dtypes=HALF,
                source="https://github.com/flagos-ai/FlagGems/pull/177"),
        Mistake("scale", "bias: scaled by 1 + 1e-5", altered(_bias_gelu_backward, 1, lambda d: d * (1 + 1e-5)),
                argument="bias", source="https://github.com/flagos-ai/FlagGems/pull/177"),
    ),
    {
        "saturated": lambda g, d: (spiked(normal(g, d, 2, 3), 60, -60, 8, -8), normal(g, d, 3)),
        "bias of the same shape": lambda g, d: (normal(g, d, 2, 3), normal(g, d, 2, 3)),
        "three axes": lambda g, d: (normal(g, d, 2, 2, 3), normal(g, d, 3)),
        "no rows": lambda g, d: (normal(g, d, 0, 3), normal(g, d, 3)),
    },
)  # fmt: skip


# --- Mish: x · tanh(softplus(x))


def _mish(x: Tensor) -> Any:
    return (wide(x) * torch.tanh(F.softplus(wide(x)))).to(x.dtype), (x,)


def _mish_backward(g: Any, r: Any, second: bool = True, sigmoid: bool = True) -> Any:
    x = wide(r[0])
    t = torch.tanh(torch.clamp(x, min=0) + torch.log1p(torch.exp(-x.abs())))
    slope = t
    if second:
        slope = slope + x * (1 - t * t) * (torch.sigmoid(x) if sigmoid else 1)
    return ((wide(g) * slope).to(r[0].dtype),)


def _mish_overflow(g: Any, r: Any) -> Any:
    x = wide(r[0])
    e = torch.exp(x)
    w = 4 * (x + 1) + 4 * e * e + e**3 + e * (4 * x + 6)
    return ((wide(g) * e * w / (2 * e + e * e + 2) ** 2).to(r[0].dtype),)


def _mish_threshold(g: Any, r: Any) -> Any:
    return (torch.where(r[0] > 2, g, _mish_backward(g, r)[0]),)


MISH = Operation(
    "mish_by_hand",
    _mish,
    _mish_backward,
    lambda g, d: (spiked((2 * normal(g, d, 4, 6, grad=False)).requires_grad_(), 500, -500, 2.5),),
    lambda x: F.mish(wide(x)).to(x.dtype),
    (
        Mistake("missing-term", "tanh(softplus(x)) is taken for a constant",
                lambda g, r: _mish_backward(g, r, second=False),
                source="https://github.com/pytorch/pytorch/pull/58648"),
        Mistake("missing-factor", "softplus is differentiated as if it were x",
                lambda g, r: _mish_backward(g, r, sigmoid=False), also=("missing-term",), dtypes=DTYPES,
                source="https://github.com/explosion/thinc/pull/578"),
        Mistake("not-finite", "the closed form in exp(x) overflows", _mish_overflow,
                hidden=lambda g, d: (normal(g, d, 4, 6),), dtypes=("float64", "float32"),
                source="https://github.com/tracel-ai/burn/issues/5373"),
        Mistake("region", "the slope is taken as 1 for x > 2; the threshold should be 20", _mish_threshold,
                hidden=lambda g, d: (uniform(g, d, 4, 6, low=-3, high=1.9),),
                source="https://github.com/explosion/thinc/pull/578"),
        Mistake("offset", "1e-5 is added to the gradient",
                altered(_mish_backward, 0, lambda d: d + 1e-5),
                source="https://github.com/facebookresearch/higher/issues/17"),
        Mistake("dtype", "the gradient is returned in float32", altered(_mish_backward, 0, lambda d: d.float()),
                source="https://github.com/flagos-ai/FlagGems/pull/177"),
    ),
    {
        "far out": lambda g, d: ((20 * normal(g, d, 5, grad=False)).requires_grad_(),),
        "zeros": lambda g, d: (filled(d, 0, 3),),
        "a scalar": lambda g, d: (normal(g, d),),
        "empty": lambda g, d: (normal(g, d, 0),),
        "views": lambda g, d: (turned(g, d, 3, 4),),
    },
)  # fmt: skip


# --- Softsign: x / (1 + |x|)


def _softsign(x: Tensor) -> Any:
    return (wide(x) / (1 + wide(x).abs())).to(x.dtype), (x,)


def _softsign_backward(g: Any, r: Any) -> Any:
    return ((wide(g) / (1 + wide(r[0]).abs()) ** 2).to(r[0].dtype),)


def _some_zeros(g: torch.Generator, d: torch.dtype) -> tuple[Any, ...]:
    return (spiked(normal(g, d, 5, 6), 0, 0, 0),)


SOFTSIGN = Operation(
    "softsign_by_hand",
    _softsign,
    _softsign_backward,
    _some_zeros,
    lambda x: F.softsign(wide(x)).to(x.dtype),
    (
        Mistake("missing-factor", "the denominator is not squared",
                lambda g, r: ((wide(g) / (1 + wide(r[0]).abs())).to(g.dtype),),
                source="https://github.com/pytorch/pytorch/issues/4355"),
        Mistake("region", "|x| is written as x: wrong for x < 0",
                lambda g, r: ((wide(g) / (1 + wide(r[0])) ** 2).to(g.dtype),), hidden=_positive(5, 6),
                source="https://github.com/torch/torch7/issues/232"),
        Mistake("region", "multiplied by sign(x): negated for x < 0, zero at x = 0",
                lambda g, r: (_softsign_backward(g, r)[0] * torch.sign(r[0]),), hidden=_positive(5, 6),
                also=("sign",), source="https://github.com/pytorch/pytorch/issues/4355"),
        Mistake("region", "multiplied by sign(x)²: zero at x = 0",
                lambda g, r: (_softsign_backward(g, r)[0] * torch.sign(r[0]) ** 2,),
                hidden=lambda g, d: (normal(g, d, 5, 6),), also=("local", "zero"),
                source="https://github.com/tinygrad/tinygrad/pull/17404"),
        Mistake("scale", "a constant that is rounded: 1e-5 too large",
                altered(_softsign_backward, 0, lambda d: d * (1 + 1e-5)),
                source="https://github.com/pytorch/pytorch/issues/4355"),
        Mistake("permuted", "the flattened gradient is returned one place further on",
                altered(_softsign_backward, 0, lambda d: d.flatten().roll(1).reshape(d.shape)), dtypes=DTYPES,
                source="https://github.com/KonduitAI/deeplearning4j/pull/90"),
        Mistake("permuted", "the gradient is transposed, then reshaped into place",
                altered(_softsign_backward, 0, lambda d: d.T.reshape(d.shape)), also=("transpose",),
                source="https://github.com/huggingface/candle/issues/3735"),
    ),
    {
        "tiny": lambda g, d: (uniform(g, d, 4, low=-1e-4, high=1e-4),),
        "huge": lambda g, d: ((3000 * normal(g, d, 4, grad=False)).requires_grad_(),),
        "zeros": lambda g, d: (filled(d, 0, 2, 2),),
        "empty": lambda g, d: (normal(g, d, 2, 0),),
    },
)  # fmt: skip


# --- SELU

ALPHA, SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def _selu(x: Tensor, alpha: float = ALPHA) -> Any:
    t = wide(x)
    y = SCALE * torch.where(t > 0, t, alpha * torch.expm1(t.clamp(max=0)))
    return y.to(x.dtype), (x, alpha)


def _selu_backward(g: Any, r: Any, left: float = SCALE, right: float = SCALE) -> Any:
    t = wide(r[0])
    return ((wide(g) * torch.where(t > 0, right, left * r[1] * torch.exp(t.clamp(max=0)))).to(r[0].dtype),)


def _selu_from_output(g: Any, r: Any) -> Any:
    y = wide(_selu(r[0])[0])
    return ((wide(g) * torch.where(r[0] > 0, SCALE, SCALE * (y + ALPHA))).to(g.dtype),)


def _selu_masks(g: Any, r: Any) -> Any:
    t = wide(r[0])
    right = (t > 0).to(t.dtype)
    slope = SCALE * (right + (1 - right) * ALPHA * torch.exp(t))
    return ((wide(g) * slope).to(g.dtype),)


SELU = Operation(
    "selu_by_hand",
    _selu,
    _selu_backward,
    lambda g, d: (spiked(normal(g, d, 5, 6), 800, -800),),
    lambda x: F.selu(wide(x)).to(x.dtype),
    (
        Mistake("region", "the scale is left out for x < 0", lambda g, r: _selu_backward(g, r, left=1.0),
                hidden=_positive(5, 6), also=("scale",), source="https://arxiv.org/abs/1706.02515"),
        Mistake("scale", "the scale is left out", lambda g, r: _selu_backward(g, r, 1.0, 1.0),
                source="https://arxiv.org/abs/1706.02515"),
        Mistake("region", "the derivative from the output forgets that the output is scaled",
                _selu_from_output, hidden=_positive(5, 6),
                source="https://github.com/RubixML/ML/pull/427"),
        Mistake("not-finite", "masks that multiply: 0 · exp(800)", _selu_masks, dtypes=("float64", "float32"),
                hidden=lambda g, d: (normal(g, d, 5, 6),),
                source="https://github.com/pytorch/pytorch/issues/31829"),
        Mistake("forward", "the constants of ELU", forward=lambda x: _selu(x, 1.0),
                source="https://arxiv.org/abs/1706.02515"),
        Mistake("zero", "the output is detached", lambda g, r: (None,),
                source="https://github.com/paiml/aprender/pull/2196"),
        Mistake("mutates", "the slope is multiplied into the incoming gradient",
                lambda g, r: (g.mul_(_selu_backward(torch.ones_like(g), r)[0]),), dtypes=("float64", "float32"),
                source=LIGER + "pull/1305"),
    ),
    {
        "plain": lambda g, d: (normal(g, d, 3, 3),),
        "the kink": lambda g, d: (filled(d, 0, 3),),
        "far out": lambda g, d: ((40 * normal(g, d, 6, grad=False)).requires_grad_(),),
        "one element": lambda g, d: (normal(g, d, 1),),
    },
)  # fmt: skip

OPERATIONS = (SWIGLU, BIAS_GELU, MISH, SOFTSIGN, SELU)
