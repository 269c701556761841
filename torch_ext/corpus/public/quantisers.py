# ruff: noqa: ARG004  (autograd's signatures)
"""Quantisers with straight-through gradients and learned ranges: the reference states the convention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.autograd import Function

from torch_ext.corpus._entry import normal, uniform
from torch_ext.corpus.public._entry import PublicFunction, Wrong, pass_through

# --- DoReFa


class QuantizeK(Function):
    """round(x·n)/n with n = 2^bits - 1; the gradient passes."""

    @staticmethod
    def forward(ctx, x, bits):
        n = 2**bits - 1
        ctx.n = n
        return torch.round(x * n) / n

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output.clone(), None


class QuantizeScaled(QuantizeK):
    @staticmethod
    def backward(ctx, grad_output):
        return grad_output / ctx.n, None


DOREFA = PublicFunction(
    "quantize_k",
    "qfn in zzzxxxttt/pytorch_DoReFaNet; Zhou et al. 2016, DoReFa-Net",
    QuantizeK.apply,
    lambda x, bits: pass_through(torch.round(x * (2**bits - 1)) / (2**bits - 1), x),
    lambda g, d: (uniform(g, d, 4, 4), 3),
    (Wrong("scale", "divided by n, though the n in forward cancel", QuantizeScaled.apply, argument="x"),),
    convention=True,
)

# --- learned step size


class LearnedStep(Function):
    """round(clamp(x/step, low, high))·step, with a gradient for the step."""

    @staticmethod
    def forward(ctx, x, step, low, high, scale):
        v = x / step
        ctx.save_for_backward(v)
        ctx.options = low, high, scale
        return torch.round(v.clamp(low, high)) * step

    @staticmethod
    def step_slope(v, low, high):
        inner = torch.round(v) - v
        return torch.where(v < low, low, torch.where(v > high, high, inner)).to(v.dtype)

    @staticmethod
    def backward(ctx, grad_output):
        (v,) = ctx.saved_tensors
        low, high, scale = ctx.options
        dx = grad_output * ((v >= low) & (v <= high))
        dstep = (grad_output * LearnedStep.step_slope(v, low, high)).sum() * scale
        return dx, dstep, None, None, None


class LearnedStepUnscaled(LearnedStep):
    @staticmethod
    def backward(ctx, grad_output):
        dx, dstep, *rest = LearnedStep.backward(ctx, grad_output)
        return dx, dstep / ctx.options[2], *rest


class LearnedStepUnsummed(LearnedStep):
    @staticmethod
    def backward(ctx, grad_output):
        (v,) = ctx.saved_tensors
        low, high, scale = ctx.options
        dx, _, *rest = LearnedStep.backward(ctx, grad_output)
        return dx, grad_output * LearnedStep.step_slope(v, low, high) * scale, *rest


class LearnedStepOpen(LearnedStep):
    @staticmethod
    def backward(ctx, grad_output):
        _, *rest = LearnedStep.backward(ctx, grad_output)
        return grad_output.clone(), *rest


def learned_step(x, step, low, high, scale):
    slow = pass_through(step, step * scale)
    v = (x / slow).clamp(low, high)
    return pass_through(torch.round(v), v) * slow


LSQ = PublicFunction(
    "learned_step",
    "FunLSQ in hustzxd/LSQuantization; Esser et al. 2020, Learned Step Size Quantization",
    LearnedStep.apply,
    learned_step,
    lambda g, d: (normal(g, d, 4, 5), torch.tensor(0.4, dtype=d, requires_grad=True), -2, 3, 0.125),
    (
        Wrong("scale", "step: the gradient's scale is forgotten", LearnedStepUnscaled.apply, argument="step"),
        Wrong("missing-sum", "step: not summed over the elements it is shared by", LearnedStepUnsummed.apply,
              ("shape",), "step"),
        Wrong("region", "x: passed on beyond the clip", LearnedStepOpen.apply, ("missing-factor",), "x"),
    ),
    convention=True,
)  # fmt: skip

# --- PACT


class Pact(Function):
    """clamp(x, 0, alpha) on a grid of 2^bits levels; alpha is learned."""

    @staticmethod
    def forward(ctx, x, alpha, bits):
        ctx.save_for_backward(x, alpha)
        return pact_value(x, alpha, bits)

    @staticmethod
    def backward(ctx, grad_output):
        x, alpha = ctx.saved_tensors
        above = x >= alpha
        dx = grad_output * ((x > 0) & ~above)
        return dx, (grad_output * above).sum().reshape(alpha.shape), None


class PactConstant(Pact):
    @staticmethod
    def backward(ctx, grad_output):
        return Pact.backward(ctx, grad_output)[0], None, None


class PactMean(Pact):
    @staticmethod
    def backward(ctx, grad_output):
        dx, dalpha, _ = Pact.backward(ctx, grad_output)
        return dx, dalpha / grad_output.numel(), None


def pact_value(x, alpha, bits):
    n = 2**bits - 1
    clipped = torch.where(x >= alpha, alpha, x.clamp(min=0))
    return torch.round(clipped * n / alpha) * alpha / n


PACT = PublicFunction(
    "pact",
    "ActFn in KwangHoonAn/PACT; Choi et al. 2018, PACT",
    Pact.apply,
    lambda x, alpha, bits: pass_through(
        pact_value(x, alpha, bits), torch.where(x >= alpha, alpha, F.relu(x))
    ),
    lambda g, d: (normal(g, d, 5, 4), torch.tensor([0.8], dtype=d, requires_grad=True), 4),
    (
        Wrong("zero", "alpha: taken for a constant", PactConstant.apply, argument="alpha"),
        Wrong("scale", "alpha: averaged, not summed", PactMean.apply, ("missing-sum",), "alpha"),
    ),
    convention=True,
)

FUNCTIONS = (DOREFA, LSQ, PACT)
