# ruff: noqa: ARG004  (autograd's signatures)
"""Fused losses: cross entropy with label smoothing, focal, Lovász hinge, JSD, linear + cross entropy."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from torch_ext.corpus._entry import DTYPES, integers, normal
from torch_ext.corpus.public._entry import PublicFunction, Wrong, wide

# --- cross entropy with label smoothing


class SmoothedCrossEntropy(Function):
    """One loss a row; rows whose label is ``padding`` have none."""

    @staticmethod
    def forward(ctx, logits, labels, smoothing, padding):
        z = wide(logits)
        lse = torch.logsumexp(z, -1)
        picked = z.gather(-1, labels[:, None])[:, 0]
        losses = lse - (1 - smoothing) * picked - smoothing * z.mean(-1)
        ctx.save_for_backward(logits, lse, labels)
        ctx.smoothing, ctx.padding = smoothing, padding
        return losses.masked_fill(labels == padding, 0).to(logits.dtype)

    @staticmethod
    def unmasked(ctx, smoothing):
        logits, lse, labels = ctx.saved_tensors
        p = torch.exp(wide(logits) - lse[:, None])
        hot = F.one_hot(labels, logits.shape[-1]).to(p.dtype)
        return p - (1 - ctx.smoothing) * hot - smoothing / logits.shape[-1]

    @staticmethod
    def backward(ctx, grad_output):
        logits, _, labels = ctx.saved_tensors
        g = wide(grad_output).masked_fill(labels == ctx.padding, 0)
        return (
            (g[:, None] * SmoothedCrossEntropy.unmasked(ctx, ctx.smoothing)).to(logits.dtype),
            None,
            None,
            None,
        )


class SmoothedNoUniform(SmoothedCrossEntropy):
    @staticmethod
    def backward(ctx, grad_output):
        logits, _, labels = ctx.saved_tensors
        g = wide(grad_output).masked_fill(labels == ctx.padding, 0)
        return (g[:, None] * SmoothedCrossEntropy.unmasked(ctx, 0.0)).to(logits.dtype), None, None, None


class SmoothedPadding(SmoothedCrossEntropy):
    @staticmethod
    def backward(ctx, grad_output):
        d = SmoothedCrossEntropy.unmasked(ctx, ctx.smoothing)
        return (wide(grad_output)[:, None] * d).to(ctx.saved_tensors[0].dtype), None, None, None


class SmoothedAlone(SmoothedCrossEntropy):
    @staticmethod
    def backward(ctx, grad_output):
        return SmoothedCrossEntropy.backward(ctx, torch.ones_like(grad_output))


SMOOTHED = PublicFunction(
    "smoothed_cross_entropy",
    "SoftmaxCrossEntropyLoss in NVIDIA/apex (contrib/xentropy); Szegedy et al. 2016",
    SmoothedCrossEntropy.apply,
    lambda z, labels, smoothing, padding: F.cross_entropy(
        wide(z), labels, reduction="none", label_smoothing=smoothing, ignore_index=padding
    ).to(z.dtype),
    lambda g, d: (normal(g, d, 5, 6), torch.tensor([3, 0, 5, 1, 2]), 0.1, 0),
    (
        Wrong("missing-term", "the uniform part of the smoothed target is missing", SmoothedNoUniform.apply,
              ("offset",), "logits"),
        Wrong("region", "padded rows have a gradient", SmoothedPadding.apply, ("local", "missing-factor"), "logits"),
        Wrong("missing-factor", "not multiplied by the incoming gradient", SmoothedAlone.apply, argument="logits"),
    ),
    {"large": lambda g, d: ((normal(g, d, 3, 4, grad=False) * 40).requires_grad_(), torch.tensor([1, 2, 3]), 0.2, 0)},
    dtypes=DTYPES,
)  # fmt: skip

# --- focal loss


class FocalLoss(Function):
    """-α_t·(1 - p_t)^γ·log p_t for every logit, with p_t = σ(±x)."""

    @staticmethod
    def forward(ctx, x, targets, alpha, gamma):
        ctx.save_for_backward(x, targets)
        ctx.alpha, ctx.gamma = alpha, gamma
        z = x * (2 * targets - 1)
        weight = torch.where(targets == 1, alpha, 1 - alpha).to(x.dtype)
        return -weight * torch.sigmoid(-z) ** gamma * F.logsigmoid(z)

    @staticmethod
    def parts(ctx):
        x, targets = ctx.saved_tensors
        side = (2 * targets - 1).to(x.dtype)
        weight = side * torch.where(targets == 1, ctx.alpha, 1 - ctx.alpha).to(x.dtype)
        p, q = torch.sigmoid(x * side), torch.sigmoid(-x * side)
        modulated = ctx.gamma * q**ctx.gamma * p * F.logsigmoid(x * side)
        return weight, modulated, q ** (ctx.gamma + 1)

    @staticmethod
    def backward(ctx, grad_output):
        weight, modulated, plain = FocalLoss.parts(ctx)
        return grad_output * weight * (modulated - plain), None, None, None


class FocalConstant(FocalLoss):
    @staticmethod
    def backward(ctx, grad_output):
        weight, _, plain = FocalLoss.parts(ctx)
        return -grad_output * weight * plain, None, None, None


class FocalOneSide(FocalLoss):
    @staticmethod
    def backward(ctx, grad_output):
        weight, modulated, plain = FocalLoss.parts(ctx)
        return grad_output * weight.abs() * (modulated - plain), None, None, None


FOCAL = PublicFunction(
    "focal_loss",
    "FocalLoss in NVIDIA/apex (contrib/focal_loss), SigmoidFocalLoss in open-mmlab/mmcv; Lin et al. 2017",
    FocalLoss.apply,
    lambda x, t, alpha, gamma: (
        -torch.where(t == 1, alpha, 1 - alpha).to(x.dtype)
        * torch.sigmoid(-x * (2 * t - 1)) ** gamma
        * F.logsigmoid(x * (2 * t - 1))
    ),
    lambda g, d: (normal(g, d, 4, 5), integers(g, 4, 5, high=2), 0.25, 2.0),
    (
        Wrong(
            "missing-term",
            "the modulating factor is taken for a constant",
            FocalConstant.apply,
            ("missing-factor",),
            "x",
        ),
        Wrong("region", "the sign of the targets 0 is forgotten", FocalOneSide.apply, ("sign",), "x"),
    ),
)

# --- Lovász hinge


class LovaszHinge(Function):
    """The Lovász extension of the Jaccard loss at the sorted hinge errors."""

    @staticmethod
    def forward(ctx, logits, labels):
        errors = 1 - logits * (2 * labels - 1)
        ordered, order = errors.sort(descending=True, stable=True)
        weight = jaccard_steps(labels[order]).to(logits.dtype)
        ctx.save_for_backward(labels, order, ordered, weight)
        return F.relu(ordered) @ weight

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        labels, order, ordered, weight = ctx.saved_tensors
        d = torch.empty_like(weight)
        d[order] = weight * (ordered > 0)
        return -grad_output * d * (2 * labels - 1), None


class LovaszSorted(LovaszHinge):
    @staticmethod
    def backward(ctx, grad_output):
        labels, order, ordered, weight = ctx.saved_tensors
        return -grad_output * weight * (ordered > 0) * (2 * labels[order] - 1), None


class LovaszOpen(LovaszHinge):
    @staticmethod
    def backward(ctx, grad_output):
        labels, order, _, weight = ctx.saved_tensors
        d = torch.empty_like(weight)
        d[order] = weight
        return -grad_output * d * (2 * labels - 1), None


def jaccard_steps(labels):
    """What the Jaccard loss gains by each error, from the largest on."""
    positives = labels.sum()
    union = positives + (1 - labels).cumsum(0)
    loss = 1 - (positives - labels.cumsum(0)) / union.to(torch.float64)
    return torch.cat([loss[:1], loss[1:] - loss[:-1]])


def lovasz_hinge(logits, labels):
    errors = 1 - logits * (2 * labels - 1)
    ordered, order = errors.sort(descending=True, stable=True)
    return F.relu(ordered) @ jaccard_steps(labels[order]).to(logits.dtype)


LOVASZ = PublicFunction(
    "lovasz_hinge",
    "lovasz_hinge_flat in bermanmaxim/LovaszSoftmax; Berman et al. 2018",
    LovaszHinge.apply,
    lovasz_hinge,
    lambda g, d: (normal(g, d, 9), torch.tensor([1, 0, 0, 1, 1, 0, 1, 0, 0])),
    (
        Wrong("permuted", "left in the order of the sorted errors", LovaszSorted.apply, argument="logits"),
        Wrong("region", "errors below 0 have a gradient, too", LovaszOpen.apply, ("local",), "logits"),
    ),
)

# --- Jensen-Shannon divergence, its gradient computed in the forward pass


class JensenShannon(Function):
    """β·KL(P‖M) + (1-β)·KL(Q‖M) over rows, M = βP + (1-β)Q; student and teacher in logs."""

    @staticmethod
    def forward(ctx, student, teacher, beta):
        x, y = wide(student), wide(teacher)
        q, p = x.exp(), y.exp()
        log_m = torch.logaddexp(y + math.log(beta), x + math.log(1 - beta))
        loss = beta * p * (y - log_m) + (1 - beta) * q * (x - log_m)
        ctx.save_for_backward(((1 - beta) * q * (x - log_m) / len(x)).to(student.dtype))
        ctx.rows = len(x)
        return (loss.sum() / len(x)).to(student.dtype)

    @staticmethod
    def backward(ctx, grad_output):
        (d,) = ctx.saved_tensors
        return grad_output * d, None, None


class JensenShannonAlone(JensenShannon):
    @staticmethod
    def backward(ctx, grad_output):
        return ctx.saved_tensors[0].clone(), None, None


class JensenShannonSum(JensenShannon):
    @staticmethod
    def backward(ctx, grad_output):
        return grad_output * ctx.saved_tensors[0] * ctx.rows, None, None


class JensenShannonInPlace(JensenShannon):
    @staticmethod
    def backward(ctx, grad_output):
        return ctx.saved_tensors[0].mul_(grad_output), None, None


def jensen_shannon(student, teacher, beta):
    x, y = wide(student), wide(teacher)
    log_m = torch.logaddexp(y + math.log(beta), x + math.log(1 - beta))
    kl_p, kl_q = y.exp() * (y - log_m), x.exp() * (x - log_m)
    return ((beta * kl_p + (1 - beta) * kl_q).sum() / len(x)).to(student.dtype)


JSD = PublicFunction(
    "jensen_shannon",
    "LigerJSDFunction in linkedin/Liger-Kernel; Agarwal et al. 2024, generalised JSD",
    JensenShannon.apply,
    jensen_shannon,
    lambda g, d: (
        F.log_softmax(normal(g, d, 4, 5, grad=False), -1).requires_grad_(),
        F.log_softmax(normal(g, d, 4, 5, grad=False), -1),
        0.3,
    ),
    (
        Wrong("missing-factor", "not multiplied by the incoming gradient", JensenShannonAlone.apply,
              ("scale",), "student"),
        Wrong("scale", "not divided by the number of rows", JensenShannonSum.apply, argument="student"),
        Wrong("mutates", "the saved gradient is multiplied in place", JensenShannonInPlace.apply,
              ("nondeterministic",)),
    ),
    dtypes=DTYPES,
)  # fmt: skip

# --- linear layer and cross entropy in chunks


class LinearCrossEntropy(Function):
    """Mean cross entropy of x·Wᵀ over the labels that are not ``ignore``; logits for two rows at a time."""

    @staticmethod
    def accumulate(total, part):
        return total + part

    @staticmethod
    def count(labels, ignore):
        return (labels != ignore).sum().clamp(min=1)

    @staticmethod
    def fused(ctx, cls, x, weight, labels, ignore):
        loss, dx, dw = x.new_zeros(()), [], torch.zeros_like(weight)
        for rows, marks in zip(x.split(2), labels.split(2), strict=True):
            kept = (marks != ignore)[:, None]
            logits = rows @ weight.mT
            logp = F.log_softmax(logits, -1)
            index = marks.where(kept[:, 0], 0)[:, None]
            loss = loss - (logp.gather(-1, index) * kept).sum()
            d = (logp.exp() - torch.zeros_like(logp).scatter(-1, index, 1.0)) * kept
            dx.append(d @ weight)
            dw = cls.accumulate(dw, d.mT @ rows)
        n = cls.count(labels, ignore)
        ctx.save_for_backward(torch.cat(dx) / n, dw / n)
        return loss / (labels != ignore).sum().clamp(min=1)

    @staticmethod
    def forward(ctx, x, weight, labels, ignore):
        return LinearCrossEntropy.fused(ctx, LinearCrossEntropy, x, weight, labels, ignore)

    @staticmethod
    def backward(ctx, grad_output):
        dx, dw = ctx.saved_tensors
        return grad_output * dx, grad_output * dw, None, None


class LinearCrossEntropyLast(LinearCrossEntropy):
    @staticmethod
    def accumulate(total, part):
        return part

    @staticmethod
    def forward(ctx, x, weight, labels, ignore):
        return LinearCrossEntropy.fused(ctx, LinearCrossEntropyLast, x, weight, labels, ignore)


class LinearCrossEntropyAll(LinearCrossEntropy):
    @staticmethod
    def count(labels, ignore):
        return len(labels)

    @staticmethod
    def forward(ctx, x, weight, labels, ignore):
        return LinearCrossEntropy.fused(ctx, LinearCrossEntropyAll, x, weight, labels, ignore)


def linear_cross_entropy(x, weight, labels, ignore):
    loss = F.cross_entropy(x @ weight.mT, labels, ignore_index=ignore, reduction="sum")
    return loss / (labels != ignore).sum().clamp(min=1)


LINEAR_CROSS_ENTROPY = PublicFunction(
    "linear_cross_entropy",
    "LigerFusedLinearCrossEntropyFunction in linkedin/Liger-Kernel, mgmalek/efficient_cross_entropy",
    LinearCrossEntropy.apply,
    linear_cross_entropy,
    lambda g, d: (normal(g, d, 5, 3), normal(g, d, 4, 3), torch.tensor([0, 3, -100, 2, 1]), -100),
    (
        Wrong("missing-term", "weight: each chunk overwrites the last one's", LinearCrossEntropyLast.apply,
              ("missing-sum",), "weight"),
        Wrong("scale", "divided by all labels, the ignored ones included", LinearCrossEntropyAll.apply),
    ),
)  # fmt: skip

FUNCTIONS = (SMOOTHED, FOCAL, LOVASZ, JSD, LINEAR_CROSS_ENTROPY)
