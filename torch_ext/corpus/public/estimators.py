# ruff: noqa: ARG004  (autograd's signatures)
"""Straight-through estimators, reversed and regularised gradients: the reference states the convention."""

from __future__ import annotations

import torch
from torch.autograd import Function

from torch_ext.corpus._entry import DTYPES, normal
from torch_ext.corpus.public._entry import PublicFunction, Wrong, pass_through, these

# --- gradient reversal


class GradientReversal(Function):
    """The identity; its gradient is turned round and scaled by ``strength``."""

    @staticmethod
    def forward(ctx, x, strength):
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad_output):
        return -ctx.strength * grad_output, None


class NotReversed(GradientReversal):
    @staticmethod
    def backward(ctx, grad_output):
        return ctx.strength * grad_output, None


class ReversedUnscaled(GradientReversal):
    @staticmethod
    def backward(ctx, grad_output):
        return -grad_output, None


GRADIENT_REVERSAL = PublicFunction(
    "gradient_reversal",
    "ReverseLayerF in fungtion/DANN; Ganin & Lempitsky 2015",
    GradientReversal.apply,
    lambda x, strength: pass_through(x, -strength * x),
    lambda g, d: (normal(g, d, 4, 3), 0.5),
    (
        Wrong("sign", "not reversed", NotReversed.apply, argument="x", dtypes=DTYPES),
        Wrong("scale", "the strength is forgotten", ReversedUnscaled.apply, argument="x", dtypes=DTYPES),
    ),
    dtypes=DTYPES,
    convention=True,
)

# --- binarised


class Binarize(Function):
    """sign(x) with the gradient of clamp(x, -1, 1)."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output * (x.abs() <= 1)


class BinarizeOpen(Binarize):
    @staticmethod
    def backward(ctx, grad_output):
        return grad_output.clone()


class BinarizeTrue(Binarize):
    @staticmethod
    def backward(ctx, grad_output):
        return torch.zeros_like(grad_output)


class BinarizeInPlace(Binarize):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        grad_output[x.abs() > 1] = 0
        return grad_output


BINARIZE = PublicFunction(
    "binarize",
    "Binarize in itayhubara/BinaryNet.pytorch; Hubara et al. 2016, Bengio et al. 2013",
    Binarize.apply,
    lambda x: pass_through(torch.where(x >= 0, 1.0, -1.0).to(x.dtype), x.clamp(-1, 1)),
    lambda g, d: (normal(g, d, 5, 4),),
    (
        Wrong(
            "region",
            "passed on beyond |x| = 1, too",
            BinarizeOpen.apply,
            also=("missing-factor",),
            argument="x",
        ),
        Wrong("zero", "the derivative of sign itself", BinarizeTrue.apply, argument="x"),
        Wrong("mutates", "the incoming gradient is masked in place", BinarizeInPlace.apply),
    ),
    {"kinks": lambda g, d: (these(-2.0, -1.0, -0.5, 0.0, 1.0, 1.5)(d),)},
    dtypes=DTYPES,
    convention=True,
)

# --- spikes


class FastSigmoidSpike(Function):
    """A spike where the potential is above 0; the slope is that of u/(1 + k|u|)."""

    @staticmethod
    def forward(ctx, u, slope):
        ctx.save_for_backward(u)
        ctx.slope = slope
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx, grad_output):
        (u,) = ctx.saved_tensors
        return grad_output / (ctx.slope * u.abs() + 1) ** 2, None


class SpikeUnsquared(FastSigmoidSpike):
    @staticmethod
    def backward(ctx, grad_output):
        (u,) = ctx.saved_tensors
        return grad_output / (ctx.slope * u.abs() + 1), None


class SpikeFloat(FastSigmoidSpike):
    @staticmethod
    def backward(ctx, grad_output):
        return FastSigmoidSpike.backward(ctx, grad_output)[0].float(), None


SPIKE = PublicFunction(
    "fast_sigmoid_spike",
    "FastSigmoid in jeshraghian/snntorch; Zenke & Ganguli 2018, SuperSpike",
    FastSigmoidSpike.apply,
    lambda u, slope: pass_through((u > 0).to(u.dtype), u / ((slope * u.abs() + 1) ** 2).detach()),
    lambda g, d: (normal(g, d, 4, 4), 5.0),
    (
        Wrong("missing-factor", "the square is missing", SpikeUnsquared.apply, argument="u"),
        Wrong("dtype", "returned in float32", SpikeFloat.apply, argument="u"),
    ),
    convention=True,
)

# --- a bound that lets the gradient back in


class LowerBound(Function):
    """max(x, bound); the gradient passes where x is inside or would be pushed inside."""

    @staticmethod
    def forward(ctx, x, bound):
        ctx.save_for_backward(x, bound)
        return torch.max(x, bound)

    @staticmethod
    def backward(ctx, grad_output):
        x, bound = ctx.saved_tensors
        return grad_output * ((x >= bound) | (grad_output < 0)), None


class LowerBoundClosed(LowerBound):
    @staticmethod
    def backward(ctx, grad_output):
        x, bound = ctx.saved_tensors
        return grad_output * (x >= bound), None


def lower_bound(x, bound):
    y = x.clone()
    if y.requires_grad:
        y.register_hook(lambda g: g * ((x >= bound) | (g < 0)))
    return pass_through(torch.max(x, bound), y)


LOWER_BOUND = PublicFunction(
    "lower_bound",
    "LowerBoundFunction in InterDigitalInc/CompressAI; Ballé et al. 2018",
    LowerBound.apply,
    lower_bound,
    lambda g, d: (normal(g, d, 4, 4), torch.tensor([0.1], dtype=d)),
    (
        Wrong("region", "never passed on below the bound", LowerBoundClosed.apply, ("zero", "local"), "x"),
    ),
    convention=True,
)  # fmt: skip

# --- a penalty in the backward pass


class L1Penalty(Function):
    """The identity; its gradient gains that of weight·|x|."""

    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x)
        ctx.weight = weight
        return x.clone()

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output + ctx.weight * x.sign(), None


class L1PenaltyAlone(L1Penalty):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return ctx.weight * x.sign(), None


class L1PenaltyForgotten(L1Penalty):
    @staticmethod
    def backward(ctx, grad_output):
        return grad_output.clone(), None


def l1_penalty(x, weight):
    y = x.clone()
    if y.requires_grad:
        y.register_hook(lambda g: g + weight * x.detach().sign())
    return y


L1_PENALTY = PublicFunction(
    "l1_penalty",
    "L1Penalty in PyTorch forum thread 3703 on sparse autoencoders; nn.L1Penalty in torch/nn",
    L1Penalty.apply,
    l1_penalty,
    lambda g, d: (normal(g, d, 4, 4), 0.1),
    (
        Wrong(
            "missing-term",
            "the penalty alone, without the incoming gradient",
            L1PenaltyAlone.apply,
            ("missing-factor",),
            "x",
        ),
        Wrong("missing-term", "the penalty is forgotten", L1PenaltyForgotten.apply, argument="x"),
    ),
    convention=True,
)

FUNCTIONS = (GRADIENT_REVERSAL, BINARIZE, SPIKE, LOWER_BOUND, L1_PENALTY)
