# ruff: noqa: ARG004  (autograd's signatures)
"""Activations that keep only their input, and gates fused for language models."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from torch_ext.corpus._entry import DTYPES, normal
from torch_ext.corpus.public._entry import PublicFunction, Wrong, pass_through, these, wide

# --- Swish


class Swish(Function):
    """x·σ(x); only x is kept, and σ(x) computed again."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return grad_output * (s * (1 + x * (1 - s)))


class SwishOneTerm(Swish):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * torch.sigmoid(x)


class SwishOverflow(Swish):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        s = x.exp() / (1 + x.exp())
        return grad_output * (s * (1 + x * (1 - s)))


class SwishInPlace(Swish):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return grad_output.mul_(s * (1 + x * (1 - s)))


SWISH = PublicFunction(
    "swish",
    "SwishJitAutoFn in huggingface/pytorch-image-models, SwishImplementation in lukemelas/EfficientNet-PyTorch; "
    "Ramachandran et al. 2017",
    Swish.apply,
    F.silu,
    lambda g, d: (normal(g, d, 4, 5),),
    (
        Wrong("missing-term", "the product rule's second term is missing", SwishOneTerm.apply, argument="x"),
        Wrong("not-finite", "a sigmoid whose exponentials overflow", SwishOverflow.apply, argument="x"),
        Wrong("mutates", "the incoming gradient is multiplied in place", SwishInPlace.apply),
    ),
    {"saturated": lambda g, d: (these(-800.0, -30.0, 0.0, 30.0, 800.0)(d),)},
)

# --- Mish


class Mish(Function):
    """x·tanh(softplus(x))."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.tanh(F.softplus(x))

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        t = torch.tanh(F.softplus(x))
        return grad_output * (t + x * torch.sigmoid(x) * (1 - t * t))


class MishNoSigmoid(Mish):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        t = torch.tanh(F.softplus(x))
        return grad_output * (t + x * (1 - t * t))


class MishEarly(Mish):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return torch.where(x > 2, grad_output, Mish.backward(ctx, grad_output))


MISH = PublicFunction(
    "mish",
    "MishJitAutoFn in huggingface/pytorch-image-models; Misra 2019, digantamisra98/Mish",
    Mish.apply,
    lambda x: x * torch.tanh(F.softplus(x)),
    lambda g, d: (normal(g, d, 3, 6),),
    (
        Wrong("missing-factor", "softplus's derivative, σ(x), is missing in the second term", MishNoSigmoid.apply,
              also=("missing-term",), argument="x"),
        Wrong("region", "taken for the identity from 2 on", MishEarly.apply, argument="x"),
    ),
)  # fmt: skip

# --- hard Swish


class HardSwish(Function):
    """x·relu6(x + 3)/6."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * (x + 3).clamp(0, 6) / 6

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        inner = torch.where(x <= -3, torch.zeros_like(x), x / 3 + 0.5)
        return grad_output * torch.where(x >= 3, torch.ones_like(x), inner)


class HardSwishOneSide(HardSwish):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * torch.where(x.abs() < 3, x / 3 + 0.5, torch.zeros_like(x))


class HardSwishGate(HardSwish):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * (x + 3).clamp(0, 6) / 6


HARD_SWISH = PublicFunction(
    "hard_swish",
    "HardSwishJitAutoFn in huggingface/pytorch-image-models; Howard et al. 2019, MobileNetV3",
    HardSwish.apply,
    lambda x: x * F.relu6(x + 3) / 6,
    lambda g, d: (normal(g, d, 4, 4),),
    (
        Wrong(
            "region", "zero above 3, where it is one", HardSwishOneSide.apply, also=("zero",), argument="x"
        ),
        Wrong(
            "missing-term",
            "the gate is taken for a constant",
            HardSwishGate.apply,
            also=("region",),
            argument="x",
        ),
    ),
    {"kinks": lambda g, d: (these(-4.0, -3.0, -1.5, 0.0, 1.0, 3.0, 5.0)(d),)},
)

# --- bias + GELU

ROOT, CUBE = math.sqrt(2 / math.pi), 0.044715


def gelu(v):
    return 0.5 * v * (1 + torch.tanh(ROOT * v * (1 + CUBE * v * v)))


def gelu_slope(v):
    v = v.clamp(-10, 10)  # beyond, the slope is 0 or 1, and the cube would overflow
    t = torch.tanh(ROOT * v * (1 + CUBE * v * v))
    return 0.5 * (1 + t) + 0.5 * v * (1 - t * t) * ROOT * (1 + 3 * CUBE * v * v)


class BiasGelu(Function):
    """gelu(x + bias) in tanh form; the bias is broadcast over the leading axes."""

    @staticmethod
    def forward(ctx, x, bias):
        ctx.save_for_backward(x, bias)
        return gelu(x + bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        x, bias = ctx.saved_tensors
        dx = grad_output * gelu_slope(x + bias)
        return dx, dx.sum_to_size(bias.shape)


class BiasGeluUnsummed(BiasGelu):
    @staticmethod
    def backward(ctx, grad_output):
        dx, _ = BiasGelu.backward(ctx, grad_output)
        return dx, dx


class BiasGeluNoBias(BiasGelu):
    @staticmethod
    def backward(ctx, grad_output):
        x, bias = ctx.saved_tensors
        dx, _ = BiasGelu.backward(ctx, grad_output)
        return dx, (grad_output * gelu_slope(x + bias))[0]


BIAS_GELU = PublicFunction(
    "bias_gelu",
    "GeLUFunction (fused_bias_gelu) in NVIDIA/Megatron-LM; Hendrycks & Gimpel 2016",
    BiasGelu.apply,
    lambda x, bias: F.gelu(x + bias, approximate="tanh"),
    lambda g, d: (normal(g, d, 4, 5), normal(g, d, 5)),
    (
        Wrong("missing-sum", "bias: not summed over the batch", BiasGeluUnsummed.apply, ("shape",), "bias"),
        Wrong("missing-sum", "bias: the first row stands for the whole batch", BiasGeluNoBias.apply,
              ("missing-term",), "bias"),
    ),
)  # fmt: skip

# --- GEGLU


class Geglu(Function):
    """gelu(a)·b, in float32 where the inputs have 16 bits."""

    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return (gelu(wide(a)) * wide(b)).to(a.dtype)

    @staticmethod
    def backward(ctx, grad_output):
        a, b = ctx.saved_tensors
        g = wide(grad_output)
        da = db = None
        if ctx.needs_input_grad[0]:
            da = (g * wide(b) * gelu_slope(wide(a))).to(a.dtype)
        if ctx.needs_input_grad[1]:
            db = (g * gelu(wide(a))).to(b.dtype)
        return da, db


class GegluSwapped(Geglu):
    @staticmethod
    def backward(ctx, grad_output):
        return Geglu.backward(ctx, grad_output)[::-1]


class GegluNoGate(Geglu):
    @staticmethod
    def backward(ctx, grad_output):
        a, _ = ctx.saved_tensors
        return (wide(grad_output) * gelu_slope(wide(a))).to(a.dtype), Geglu.backward(ctx, grad_output)[1]


class GegluWide(Geglu):
    @staticmethod
    def backward(ctx, grad_output):
        return tuple(None if d is None else wide(d) for d in Geglu.backward(ctx, grad_output))


GEGLU = PublicFunction(
    "geglu",
    "LigerGELUMulFunction in linkedin/Liger-Kernel; Shazeer 2020, GLU Variants Improve Transformer",
    Geglu.apply,
    lambda a, b: (F.gelu(wide(a), approximate="tanh") * wide(b)).to(a.dtype),
    lambda g, d: (normal(g, d, 3, 4), normal(g, d, 3, 4)),
    (
        Wrong("permuted", "the gradients of a and b are returned in the wrong order", GegluSwapped.apply,
              also=("missing-factor", "unknown")),
        Wrong("missing-factor", "a: not multiplied by b", GegluNoGate.apply, argument="a", dtypes=DTYPES),
        Wrong("dtype", "returned in float32", GegluWide.apply, dtypes=("bfloat16", "float16")),
    ),
    dtypes=DTYPES,
)  # fmt: skip

# --- exponential with a bounded gradient


class TruncExp(Function):
    """exp(x), whose gradient is bounded as if |x| were at most 15; float32 under autocast."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.exp(x)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * torch.exp(x.clamp(-15, 15))


class TruncExpDead(TruncExp):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return torch.where(x.abs() <= 15, grad_output * torch.exp(x), torch.zeros_like(x))


class TruncExpPlain(TruncExp):
    @staticmethod
    def backward(ctx, grad_output):
        return grad_output.clone()


TRUNC_EXP = PublicFunction(
    "trunc_exp",
    "_trunc_exp in ashawkey/torch-ngp, TruncExp in kwea123/ngp_pl; Müller et al. 2022, Instant NGP",
    TruncExp.apply,
    lambda x: pass_through(torch.exp(x), torch.exp(x.clamp(-15, 15)).detach() * x),
    lambda g, d: (normal(g, d, 4, 4),),
    (
        Wrong("region", "no gradient beyond the bound", TruncExpDead.apply, also=("zero",), argument="x"),
        Wrong(
            "missing-factor", "the incoming gradient is passed on as it is", TruncExpPlain.apply, argument="x"
        ),
    ),
    {"beyond the bound": lambda g, d: (these(-40.0, -15.0, 0.0, 3.0, 15.0, 16.0, 40.0)(d),)},
    convention=True,
)

FUNCTIONS = (SWISH, MISH, HARD_SWISH, BIAS_GELU, GEGLU, TRUNC_EXP)
