"""Normalisation: RMS norm, layer norm, batch norm with running statistics, weight norm."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from torch_ext.corpus._entry import DTYPES, normal, uniform
from torch_ext.corpus.public._entry import PublicFunction, Wrong, wide

# --- RMS norm


class RmsNorm(Function):
    """x/rms(x)·(offset + weight) over the last axis, computed in float32 where x has 16 bits."""

    @staticmethod
    def forward(ctx, x, weight, eps, offset):
        rstd = torch.rsqrt(wide(x).square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, rstd)
        ctx.offset = offset
        return (wide(x) * rstd * (offset + wide(weight))).to(x.dtype)

    @staticmethod
    def gradients(ctx, grad_output, project=True):
        x, weight, rstd = ctx.saved_tensors
        hat, g = wide(x) * rstd, wide(grad_output)
        d = g * (ctx.offset + wide(weight))
        mean = (d * hat).mean(-1, keepdim=True) if project else 0.0
        return (rstd * (d - hat * mean)).to(x.dtype), (g * hat).to(weight.dtype)

    @staticmethod
    def backward(ctx, grad_output):
        x, weight, rstd = ctx.saved_tensors
        dx, _ = RmsNorm.gradients(ctx, grad_output)
        dweight = (wide(grad_output) * wide(x) * rstd).sum_to_size(weight.shape).to(weight.dtype)
        return dx, dweight, None, None


class RmsNormUnprojected(RmsNorm):
    @staticmethod
    def backward(ctx, grad_output):
        dx, _ = RmsNorm.gradients(ctx, grad_output, project=False)
        return dx, *RmsNorm.backward(ctx, grad_output)[1:]


class RmsNormUnsummed(RmsNorm):
    @staticmethod
    def backward(ctx, grad_output):
        return *RmsNorm.gradients(ctx, grad_output), None, None


class RmsNormNoOffset(RmsNorm):
    @staticmethod
    def backward(ctx, grad_output):
        ctx.offset = 0.0
        return RmsNorm.backward(ctx, grad_output)


def rms_norm(x, weight, eps, offset):
    h = wide(x)
    return (h * torch.rsqrt(h.square().mean(-1, keepdim=True) + eps) * (offset + wide(weight))).to(x.dtype)


RMS_NORM = PublicFunction(
    "rms_norm",
    "LigerRMSNormFunction in linkedin/Liger-Kernel (Gemma's offset); Zhang & Sennrich 2019",
    RmsNorm.apply,
    rms_norm,
    lambda g, d: (normal(g, d, 4, 5), normal(g, d, 5), 1e-6, 1.0),
    (
        Wrong("missing-term", "x: the derivative of the RMS is missing", RmsNormUnprojected.apply, argument="x"),
        Wrong("missing-sum", "weight: not summed over the rows", RmsNormUnsummed.apply, ("shape",), "weight"),
        Wrong("missing-term", "x: the offset to the weight is forgotten", RmsNormNoOffset.apply,
              ("missing-factor",), "x"),
    ),
    {"batched": lambda g, d: (normal(g, d, 2, 3, 4), normal(g, d, 4), 1e-6, 0.0)},
    dtypes=DTYPES,
)  # fmt: skip

# --- layer norm that returns its statistics


class LayerNorm(Function):
    """(y, mean, rstd) over the last axis; the statistics are not differentiable."""

    @staticmethod
    def forward(x, weight, bias, eps):
        mean = x.mean(-1, keepdim=True)
        rstd = torch.rsqrt((x - mean).square().mean(-1, keepdim=True) + eps)
        return (x - mean) * rstd * weight + bias, mean, rstd

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, weight, _, _ = inputs
        _, mean, rstd = output
        ctx.mark_non_differentiable(mean, rstd)
        ctx.save_for_backward(x, weight, mean, rstd)

    @staticmethod
    def gradients(ctx, g, centred=True, projected=True):
        x, weight, mean, rstd = ctx.saved_tensors
        hat, d = (x - mean) * rstd, g * weight
        first = d.mean(-1, keepdim=True) if centred else 0.0
        second = hat * (d * hat).mean(-1, keepdim=True) if projected else 0.0
        return (
            rstd * (d - first - second),
            (g * hat).sum_to_size(weight.shape),
            g.sum_to_size(weight.shape),
            None,
        )

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output, *_):
        return LayerNorm.gradients(ctx, grad_output)


class LayerNormUncentred(LayerNorm):
    @staticmethod
    def backward(ctx, grad_output, *_):
        return LayerNorm.gradients(ctx, grad_output, centred=False)


class LayerNormUnprojected(LayerNorm):
    @staticmethod
    def backward(ctx, grad_output, *_):
        return LayerNorm.gradients(ctx, grad_output, projected=False)


class LayerNormSwapped(LayerNorm):
    @staticmethod
    def backward(ctx, grad_output, *_):
        dx, dweight, dbias, _ = LayerNorm.gradients(ctx, grad_output)
        return dx, dbias, dweight, None


def layer_norm(x, weight, bias, eps):
    mean = x.mean(-1, keepdim=True)
    rstd = torch.rsqrt((x - mean).square().mean(-1, keepdim=True) + eps)
    return (x - mean) * rstd * weight + bias, mean.detach(), rstd.detach()


LAYER_NORM = PublicFunction(
    "layer_norm",
    "FusedLayerNormAffineFunction in NVIDIA/apex, LayerNorm in the triton-lang/triton tutorials; Ba et al. 2016",
    LayerNorm.apply,
    layer_norm,
    lambda g, d: (normal(g, d, 3, 6), normal(g, d, 6), normal(g, d, 6), 1e-5),
    (
        Wrong("missing-term", "x: the derivative of the mean is missing", LayerNormUncentred.apply, argument="x"),
        Wrong("missing-term", "x: the derivative of the variance is missing", LayerNormUnprojected.apply, argument="x"),
        Wrong("permuted", "the gradients of weight and bias are returned in the wrong order", LayerNormSwapped.apply,
              ("missing-factor", "unknown")),
    ),
)  # fmt: skip

# --- batch norm with running statistics


class BatchNorm(Function):
    """Batch norm over (batch, channel, position); the running statistics move in forward."""

    @staticmethod
    def forward(ctx, x, weight, bias, running_mean, running_var, momentum, eps):
        n = x.numel() // x.shape[1]
        if n < 2:
            raise ValueError("batch norm needs more than one value for each channel")
        mean, var = x.mean((0, 2)), x.var((0, 2), correction=0)
        running_mean.mul_(1 - momentum).add_(momentum * mean.detach())
        running_var.mul_(1 - momentum).add_(momentum * var.detach() * n / (n - 1))
        rstd = torch.rsqrt(var + eps)[:, None]
        ctx.save_for_backward(x, weight, mean[:, None], rstd)
        return (x - mean[:, None]) * rstd * weight[:, None] + bias[:, None]

    @staticmethod
    def gradients(ctx, g, mean_of):
        x, weight, mean, rstd = ctx.saved_tensors
        hat = (x - mean) * rstd
        dx = weight[:, None] * rstd * (g - mean_of(g) - hat * mean_of(g * hat))
        return dx, (g * hat).sum((0, 2)), g.sum((0, 2)), None, None, None, None

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        return BatchNorm.gradients(ctx, grad_output, lambda t: t.mean((0, 2))[:, None])


class BatchNormFrozen(BatchNorm):
    @staticmethod
    def backward(ctx, grad_output):
        return BatchNorm.gradients(ctx, grad_output, torch.zeros_like)


class BatchNormOneAxis(BatchNorm):
    @staticmethod
    def backward(ctx, grad_output):
        dx, dweight, _, *rest = BatchNorm.backward(ctx, grad_output)
        return dx, dweight, grad_output.sum(0)[:, 0], *rest


BATCH_NORM = PublicFunction(
    "batch_norm",
    "SyncBatchNorm in pytorch/pytorch (nn/modules/_functions.py), in one process; Ioffe & Szegedy 2015",
    BatchNorm.apply,
    lambda x, weight, bias, mean, var, momentum, eps: F.batch_norm(x, mean, var, weight, bias, True, momentum, eps),
    lambda g, d: (
        normal(g, d, 3, 2, 4),
        normal(g, d, 2),
        normal(g, d, 2),
        normal(g, d, 2, grad=False),
        uniform(g, d, 2, low=0.5, grad=False),
        0.1,
        1e-5,
    ),
    (
        Wrong("missing-term", "x: the batch's mean and variance are taken for constants", BatchNormFrozen.apply,
              argument="x"),
        Wrong("missing-sum", "bias: summed over the batch, not over the positions", BatchNormOneAxis.apply,
              ("missing-term",), "bias"),
    ),
)  # fmt: skip

# --- weight norm


class WeightNormLinear(Function):
    """x·Wᵀ with W = scale·v/‖v‖, row by row."""

    @staticmethod
    def forward(ctx, x, v, scale):
        norm = v.norm(dim=1, keepdim=True)
        ctx.save_for_backward(x, v, scale, norm)
        return x @ (scale * v / norm).mT

    @staticmethod
    def gradients(ctx, g, project=True):
        x, v, scale, norm = ctx.saved_tensors
        unit, dw = v / norm, g.mT @ x
        along = (dw * unit).sum(1, keepdim=True)
        dv = scale / norm * (dw - unit * along if project else dw)
        return g @ (scale * unit), dv, along

    @staticmethod
    def backward(ctx, grad_output):
        return WeightNormLinear.gradients(ctx, grad_output)


class WeightNormUnprojected(WeightNormLinear):
    @staticmethod
    def backward(ctx, grad_output):
        return WeightNormLinear.gradients(ctx, grad_output, project=False)


class WeightNormNoScale(WeightNormLinear):
    @staticmethod
    def backward(ctx, grad_output):
        dx, dv, dscale = WeightNormLinear.gradients(ctx, grad_output)
        return dx, dv / ctx.saved_tensors[2], dscale


WEIGHT_NORM = PublicFunction(
    "weight_norm_linear",
    "Fused_Weight_Norm in NVIDIA/apex (fp16_utils); Salimans & Kingma 2016",
    WeightNormLinear.apply,
    lambda x, v, scale: x @ (scale * v / v.norm(dim=1, keepdim=True)).mT,
    lambda g, d: (normal(g, d, 4, 3), normal(g, d, 5, 3), normal(g, d, 5, 1)),
    (
        Wrong(
            "missing-term",
            "v: the derivative of the norm is missing",
            WeightNormUnprojected.apply,
            argument="v",
        ),
        Wrong("missing-factor", "v: not multiplied by the scale", WeightNormNoScale.apply, argument="v"),
    ),
)

FUNCTIONS = (RMS_NORM, LAYER_NORM, BATCH_NORM, WEIGHT_NORM)
