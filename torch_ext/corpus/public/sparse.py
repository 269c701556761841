# ruff: noqa: ARG004  (autograd's signatures)
"""Sparse and relaxed choices: sparsemax, entmax, Gumbel softmax, hard concrete, k winners, vector quantisation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.autograd import Function

from torch_ext.corpus._entry import normal, uniform
from torch_ext.corpus.public._entry import PublicFunction, Wrong, pass_through, these

# --- sparsemax


def sparse_support(z, dim):
    """Where sparsemax is positive."""
    ordered = z.sort(dim, descending=True).values
    shape = [1] * z.ndim
    shape[dim] = -1
    rank = torch.arange(1, z.shape[dim] + 1, dtype=z.dtype).view(shape)
    size = (1 + rank * ordered > ordered.cumsum(dim)).sum(dim, keepdim=True)
    return z >= ordered.gather(dim, size - 1)


def sparsemax(z, dim=-1):
    z = z - z.detach().amax(dim, keepdim=True)
    inside = sparse_support(z.detach(), dim)
    tau = ((z * inside).sum(dim, keepdim=True) - 1) / inside.sum(dim, keepdim=True)
    return F.relu(z - tau)


class Sparsemax(Function):
    """The projection onto the simplex along ``dim``."""

    @staticmethod
    def forward(ctx, z, dim=-1):
        p = sparsemax(z, dim)
        ctx.dim = dim
        ctx.save_for_backward(p)
        return p

    @staticmethod
    def backward(ctx, grad_output):
        (p,) = ctx.saved_tensors
        inside = p > 0
        mean = (grad_output * inside).sum(ctx.dim, keepdim=True) / inside.sum(ctx.dim, keepdim=True)
        return inside * (grad_output - mean), None


class SparsemaxUncentred(Sparsemax):
    @staticmethod
    def backward(ctx, grad_output):
        (p,) = ctx.saved_tensors
        return grad_output * (p > 0), None


class SparsemaxEverywhere(Sparsemax):
    @staticmethod
    def backward(ctx, grad_output):
        (p,) = ctx.saved_tensors
        inside = p > 0
        masked = grad_output * inside
        return masked - masked.sum(ctx.dim, keepdim=True) / inside.sum(ctx.dim, keepdim=True), None


SPARSEMAX = PublicFunction(
    "sparsemax",
    "SparsemaxFunction in deep-spin/entmax; Martins & Astudillo 2016",
    Sparsemax.apply,
    sparsemax,
    lambda g, d: (normal(g, d, 4, 5), -1),
    (
        Wrong("missing-term", "the mean over the support is not subtracted", SparsemaxUncentred.apply, argument="z"),
        Wrong("region", "the mean is subtracted outside the support, too", SparsemaxEverywhere.apply,
              ("missing-factor",), "z"),
    ),
    {"first axis": lambda g, d: (normal(g, d, 5, 3), 0)},
)  # fmt: skip

# --- 1.5-entmax


def entmax15(z, dim=-1):
    z = (z - z.detach().amax(dim, keepdim=True)) / 2
    ordered = z.detach().sort(dim, descending=True).values
    shape = [1] * z.ndim
    shape[dim] = -1
    rank = torch.arange(1, z.shape[dim] + 1, dtype=z.dtype).view(shape)
    mean = ordered.cumsum(dim) / rank
    spread = (ordered.square().cumsum(dim) / rank - mean.square()) * rank
    tau = mean - ((1 - spread) / rank).clamp(min=0).sqrt()
    size = (tau < ordered).sum(dim, keepdim=True)
    inside = z >= ordered.gather(dim, size - 1)
    mean = (z * inside).sum(dim, keepdim=True) / size
    spread = ((z - mean).square() * inside).sum(dim, keepdim=True)
    return F.relu(z - mean + ((1 - spread) / size).sqrt()).square()


class Entmax15(Function):
    """Tsallis entmax with α = 1.5 along ``dim``."""

    @staticmethod
    def forward(ctx, z, dim=-1):
        p = entmax15(z, dim)
        ctx.dim = dim
        ctx.save_for_backward(p)
        return p

    @staticmethod
    def backward(ctx, grad_output):
        (p,) = ctx.saved_tensors
        root = p.sqrt()
        d = grad_output * root
        return d - root * d.sum(ctx.dim, keepdim=True) / root.sum(ctx.dim, keepdim=True), None


class Entmax15Uncentred(Entmax15):
    @staticmethod
    def backward(ctx, grad_output):
        (p,) = ctx.saved_tensors
        return grad_output * p.sqrt(), None


class Entmax15Doubled(Entmax15):
    @staticmethod
    def backward(ctx, grad_output):
        return 2 * Entmax15.backward(ctx, grad_output)[0], None


ENTMAX15 = PublicFunction(
    "entmax15",
    "Entmax15Function in deep-spin/entmax; Peters et al. 2019",
    Entmax15.apply,
    entmax15,
    lambda g, d: (normal(g, d, 3, 6), -1),
    (
        Wrong("missing-term", "the weighted mean is not subtracted", Entmax15Uncentred.apply, argument="z"),
        Wrong("scale", "the inner division by 2 is forgotten", Entmax15Doubled.apply, argument="z"),
    ),
)

# --- Gumbel softmax with straight-through


def one_hot_of(y):
    return F.one_hot(y.argmax(-1), y.shape[-1]).to(y.dtype)


class GumbelSoftmax(Function):
    """The one-hot of the largest perturbed logit, with the gradient of the softmax at ``tau``."""

    @staticmethod
    def forward(logits, noise, tau):
        y = torch.softmax((logits + noise) / tau, -1)
        return one_hot_of(y), y

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.tau = inputs[2]
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx, grad_output, _):
        (y,) = ctx.saved_tensors
        mean = (grad_output * y).sum(-1, keepdim=True)
        return y * (grad_output - mean) / ctx.tau, None, None


class GumbelNoTau(GumbelSoftmax):
    @staticmethod
    def backward(ctx, grad_output, _):
        return GumbelSoftmax.backward(ctx, grad_output * ctx.tau, _)


class GumbelDiagonal(GumbelSoftmax):
    @staticmethod
    def backward(ctx, grad_output, _):
        (y,) = ctx.saved_tensors
        return y * grad_output / ctx.tau, None, None


def gumbel_softmax(logits, noise, tau):
    y = torch.softmax((logits + noise) / tau, -1)
    return pass_through(one_hot_of(y), y), y.detach()


GUMBEL = PublicFunction(
    "gumbel_softmax",
    "F.gumbel_softmax(hard=True) in pytorch/pytorch; Jang et al. 2017, Maddison et al. 2017",
    GumbelSoftmax.apply,
    gumbel_softmax,
    lambda g, d: (normal(g, d, 4, 5), normal(g, d, 4, 5, grad=False), 0.5),
    (
        Wrong("scale", "not divided by the temperature", GumbelNoTau.apply, argument="logits"),
        Wrong(
            "missing-term",
            "the softmax's off-diagonal part is missing",
            GumbelDiagonal.apply,
            argument="logits",
        ),
    ),
    convention=True,
)

# --- hard concrete gates


class HardConcrete(Function):
    """clamp(σ((log u - log(1-u) + a)/β)·(high - low) + low, 0, 1)."""

    @staticmethod
    def forward(ctx, a, u, beta, low, high):
        s = torch.sigmoid((u.log() - (1 - u).log() + a) / beta)
        ctx.save_for_backward(s)
        ctx.options = beta, low, high
        return (s * (high - low) + low).clamp(0, 1)

    @staticmethod
    def backward(ctx, grad_output):
        (s,) = ctx.saved_tensors
        beta, low, high = ctx.options
        stretched = s * (high - low) + low
        open_ = (stretched >= 0) & (stretched <= 1)
        return grad_output * open_ * s * (1 - s) * (high - low) / beta, None, None, None, None


class HardConcreteUnstretched(HardConcrete):
    @staticmethod
    def backward(ctx, grad_output):
        _, low, high = ctx.options
        return HardConcrete.backward(ctx, grad_output / (high - low))


class HardConcreteOpen(HardConcrete):
    @staticmethod
    def backward(ctx, grad_output):
        (s,) = ctx.saved_tensors
        beta, low, high = ctx.options
        return grad_output * s * (1 - s) * (high - low) / beta, None, None, None, None


def hard_concrete(a, u, beta, low, high):
    s = torch.sigmoid((u.log() - (1 - u).log() + a) / beta)
    return (s * (high - low) + low).clamp(0, 1)


HARD_CONCRETE = PublicFunction(
    "hard_concrete",
    "L0Dense in AMLab-Amsterdam/L0_regularization; Louizos et al. 2018",
    HardConcrete.apply,
    hard_concrete,
    lambda g, d: (normal(g, d, 4, 5), uniform(g, d, 4, 5, low=0.2, high=0.8, grad=False), 2 / 3, -0.1, 1.1),
    (
        Wrong("scale", "the stretch is forgotten", HardConcreteUnstretched.apply, argument="a"),
        Wrong("region", "passed on where the gate is clipped", HardConcreteOpen.apply, ("local",), "a"),
    ),
)

# --- k winners


class KWinners(Function):
    """All but the k largest of a row become zero."""

    @staticmethod
    def forward(ctx, x, k):
        mask = torch.zeros_like(x).scatter(-1, x.topk(k, dim=-1).indices, 1.0)
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx, grad_output):
        (mask,) = ctx.saved_tensors
        return grad_output * mask, None


class KWinnersAll(KWinners):
    @staticmethod
    def backward(ctx, grad_output):
        return grad_output.clone(), None


K_WINNERS = PublicFunction(
    "k_winners",
    "KWinners in numenta/nupic.torch; Ahmad & Scheinkman 2019",
    KWinners.apply,
    lambda x, k: x * torch.zeros_like(x).scatter(-1, x.topk(k, dim=-1).indices, 1.0),
    lambda g, d: (normal(g, d, 4, 6), 2),
    (
        Wrong("region", "the losers have a gradient, too", KWinnersAll.apply, ("missing-factor",), "x"),
    ),
)  # fmt: skip

# --- vector quantisation


class VectorQuantize(Function):
    """The nearest code of each row and its index; straight through to the rows, summed for the codes."""

    @staticmethod
    def forward(ctx, z, codebook):
        index = nearest(z, codebook)
        ctx.save_for_backward(index, codebook)
        ctx.mark_non_differentiable(index)
        return codebook[index], index

    @staticmethod
    def backward(ctx, grad_output, _):
        index, codebook = ctx.saved_tensors
        dz = dcodes = None
        if ctx.needs_input_grad[0]:
            dz = grad_output.clone()
        if ctx.needs_input_grad[1]:
            dcodes = torch.zeros_like(codebook).index_add(0, index, grad_output.contiguous())
        return dz, dcodes


class VectorQuantizeOverwritten(VectorQuantize):
    @staticmethod
    def backward(ctx, grad_output, _):
        index, codebook = ctx.saved_tensors
        dcodes = torch.zeros_like(codebook)
        for row, code in zip(grad_output, index, strict=True):
            dcodes[code] = row
        return grad_output.clone(), dcodes


class VectorQuantizeBlocked(VectorQuantize):
    @staticmethod
    def backward(ctx, grad_output, _):
        return None, VectorQuantize.backward(ctx, grad_output, _)[1]


def nearest(z, codebook):
    return (z[:, None] - codebook[None]).square().sum(-1).argmin(-1)


def vector_quantize(z, codebook):
    index = nearest(z, codebook)
    return pass_through(codebook[index], z, codebook[index]), index


VECTOR_QUANTIZE = PublicFunction(
    "vector_quantize",
    "VectorQuantizationStraightThrough in ritheshkumar95/pytorch-vqvae; van den Oord et al. 2017",
    VectorQuantize.apply,
    vector_quantize,
    lambda g, d: (normal(g, d, 7, 2), these((0.5, 1.0), (-1.0, 0.2), (0.7, -0.9))(d)),
    (
        Wrong("missing-sum", "codebook: of the rows that share a code only the last counts",
              VectorQuantizeOverwritten.apply, ("missing-term", "local", "region"), "codebook"),
        Wrong("zero", "z: not passed through", VectorQuantizeBlocked.apply, argument="z"),
    ),
    convention=True,
)  # fmt: skip

FUNCTIONS = (SPARSEMAX, ENTMAX15, GUMBEL, HARD_CONCRETE, K_WINNERS, VECTOR_QUANTIZE)
