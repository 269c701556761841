"""Gathering and scattering: graph pooling, deformable sampling, cost volumes."""

from __future__ import annotations

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from torch_ext.corpus._entry import DTYPES, normal, uniform
from torch_ext.corpus.public._entry import PublicFunction, Wrong, these, wide

# --- scatter mean


class ScatterMean(Function):
    """The mean of the rows that share an index; empty groups are zero."""

    @staticmethod
    def forward(ctx, src, index, size):
        count = torch.zeros(size, dtype=src.dtype).index_add(
            0, index, torch.ones(len(index), dtype=src.dtype)
        )
        count = count.clamp(min=1)[:, None]
        ctx.save_for_backward(index, count)
        return torch.zeros(size, src.shape[1], dtype=src.dtype).index_add(0, index, src) / count

    @staticmethod
    def backward(ctx, grad_output):
        index, count = ctx.saved_tensors
        return (grad_output / count)[index], None, None


class ScatterMeanSum(ScatterMean):
    @staticmethod
    def backward(ctx, grad_output):
        return grad_output[ctx.saved_tensors[0]], None, None


class ScatterMeanOrder(ScatterMean):
    @staticmethod
    def backward(ctx, grad_output):
        index, count = ctx.saved_tensors
        return (grad_output / count)[index.sort().values], None, None


def scatter_mean(src, index, size):
    hot = (index == torch.arange(size)[:, None]).to(src.dtype)
    return hot @ src / hot.sum(1, keepdim=True).clamp(min=1)


SCATTER_MEAN = PublicFunction(
    "scatter_mean",
    "ScatterMean in rusty1s/pytorch_scatter; Fey & Lenssen 2019",
    ScatterMean.apply,
    scatter_mean,
    lambda g, d: (normal(g, d, 7, 2), torch.tensor([2, 0, 2, 1, 0, 2, 4]), 5),
    (
        Wrong("missing-factor", "not divided by the group's size", ScatterMeanSum.apply, ("region",), "src"),
        Wrong(
            "permuted", "gathered in the order of the sorted index", ScatterMeanOrder.apply, argument="src"
        ),
    ),
)

# --- scatter max


class ScatterMax(Function):
    """The largest row element by group, and where it was; ties go to the first."""

    @staticmethod
    def forward(ctx, src, index, size):
        arg = scatter_argmax(src, index, size)
        ctx.save_for_backward(arg)
        ctx.mark_non_differentiable(arg)
        ctx.rows = len(src)
        return src.gather(0, arg), arg

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output, _):
        (arg,) = ctx.saved_tensors
        d = torch.zeros(ctx.rows, arg.shape[1], dtype=grad_output.dtype)
        return d.scatter_add(0, arg, grad_output.contiguous()), None, None


class ScatterMaxShifted(ScatterMax):
    @staticmethod
    def backward(ctx, grad_output, _):
        return ScatterMax.backward(ctx, grad_output, _)[0].roll(1, 0), None, None


class ScatterMaxUnwritten(ScatterMax):
    @staticmethod
    def backward(ctx, grad_output, _):
        d = ScatterMax.backward(ctx, grad_output, _)[0].clone()
        d[-1, -1] = 0
        return d, None, None


def scatter_argmax(src, index, size):
    member = (index == torch.arange(size)[:, None])[:, :, None]
    return torch.where(member, src.detach(), -torch.inf).argmax(1)


def scatter_max(src, index, size):
    arg = scatter_argmax(src, index, size)
    return src.gather(0, arg), arg


SCATTER_MAX = PublicFunction(
    "scatter_max",
    "ScatterMax in rusty1s/pytorch_scatter; Fey & Lenssen 2019",
    ScatterMax.apply,
    scatter_max,
    lambda g, d: (these((0.3, 1.0), (2.0, 0.1), (-1.0, 0.7), (0.2, -0.4), (1.5, 3.0))(d),
                  torch.tensor([0, 1, 0, 1, 2]), 3),
    (
        Wrong("permuted", "written a row too late", ScatterMaxShifted.apply, argument="src"),
        Wrong("local", "the last element is never written", ScatterMaxUnwritten.apply, ("zero", "region"), "src"),
    ),
)  # fmt: skip

# --- softmax over the edges of a node


class SegmentSoftmax(Function):
    """A softmax over the rows that share an index, column by column."""

    @staticmethod
    def forward(ctx, src, index, size):
        y = segment_softmax(wide(src), index, size).to(src.dtype)
        ctx.save_for_backward(y, index)
        ctx.size = size
        return y

    @staticmethod
    def gradient(ctx, grad_output, total):
        y, index = ctx.saved_tensors
        yg = wide(y) * wide(grad_output)
        return (yg - wide(y) * total(yg, index, ctx.size)).to(y.dtype), None, None

    @staticmethod
    def backward(ctx, grad_output):
        return SegmentSoftmax.gradient(ctx, grad_output, segment_sum)


class SegmentSoftmaxAll(SegmentSoftmax):
    @staticmethod
    def backward(ctx, grad_output):
        return SegmentSoftmax.gradient(ctx, grad_output, lambda t, *_: t.sum(0))


class SegmentSoftmaxDiagonal(SegmentSoftmax):
    @staticmethod
    def backward(ctx, grad_output):
        return SegmentSoftmax.gradient(ctx, grad_output, lambda t, *_: torch.zeros_like(t))


def segment_sum(t, index, size):
    return torch.zeros(size, t.shape[1], dtype=t.dtype).index_add(0, index, t)[index]


def segment_softmax(src, index, size):
    same = (index[:, None] == index[None])[:, :, None]
    peak = torch.where(same, src.detach()[None], -torch.inf).amax(1)
    e = torch.exp(src - peak)
    return e / segment_sum(e, index, size)


SEGMENT_SOFTMAX = PublicFunction(
    "segment_softmax",
    "EdgeSoftmax in dmlc/dgl, softmax in pyg-team/pytorch_geometric; Veličković et al. 2018",
    SegmentSoftmax.apply,
    lambda src, index, size: segment_softmax(wide(src), index, size).to(src.dtype),
    lambda g, d: (normal(g, d, 7, 2), torch.tensor([2, 0, 2, 1, 0, 2, 1]), 3),
    (
        Wrong("missing-sum", "the sum runs over all edges, not over the node's", SegmentSoftmaxAll.apply,
              ("missing-term",), "src"),
        Wrong("missing-term", "the off-diagonal part is missing", SegmentSoftmaxDiagonal.apply, argument="src"),
    ),
    dtypes=DTYPES,
)  # fmt: skip

# --- multi-scale deformable attention, one-dimensional


def corners(value, length, start, at):
    """For both neighbours of positions (queries, points): index, weight, its slope, and the values there."""
    low = at.floor()
    f = (at - low)[..., None]
    for shift, weight, slope in ((0, 1 - f, -1.0), (1, f, 1.0)):
        index = low.long() + shift
        inside = ((index >= 0) & (index < length))[..., None]
        index = start + index.clamp(0, length - 1)
        yield index, weight * inside, slope * inside, value[index]


def deformable(value, sizes, places, weights):
    out, start = 0, 0
    for level, length in enumerate(sizes):
        at = places[:, level] * length - 0.5
        sampled = sum(w * v for _, w, _, v in corners(value, length, start, at))
        out = out + (weights[:, level, :, None] * sampled).sum(1)
        start += length
    return out


class DeformableAttention(Function):
    """Weighted linear samples from levels of a signal.

    value: (Σ sizes, channels), places and weights: (queries, levels, points), places from 0 to 1.
    """

    @staticmethod
    def forward(ctx, value, sizes, places, weights):
        ctx.save_for_backward(value, places, weights)
        ctx.sizes = sizes
        return deformable(value, sizes, places, weights)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        value, places, weights = ctx.saved_tensors
        dvalue, dplaces, dweights = map(torch.zeros_like, (value, places, weights))
        g, start = grad_output[:, None], 0
        for level, length in enumerate(ctx.sizes):
            at = places[:, level] * length - 0.5
            weight = weights[:, level]
            for index, w, slope, v in corners(value, length, start, at):
                dvalue.index_put_((index,), weight[..., None] * w * g, accumulate=True)
                dweights[:, level] += (w * v * g).sum(-1)
                dplaces[:, level] += weight * (slope * v * g).sum(-1) * length
            start += length
        return dvalue, None, dplaces, dweights


class DeformableUnscaled(DeformableAttention):
    @staticmethod
    def backward(ctx, grad_output):
        dvalue, _, dplaces, dweights = DeformableAttention.backward(ctx, grad_output)
        return dvalue, None, dplaces / dplaces.new_tensor(ctx.sizes)[:, None], dweights


class DeformableOneLevel(DeformableAttention):
    @staticmethod
    def backward(ctx, grad_output):
        dvalue, _, dplaces, dweights = DeformableAttention.backward(ctx, grad_output)
        return dvalue, None, dplaces, torch.cat([dweights[:, :1], torch.zeros_like(dweights[:, 1:])], 1)


class DeformableUnweighted(DeformableAttention):
    @staticmethod
    def backward(ctx, grad_output):
        value, _, dplaces, dweights = DeformableAttention.backward(ctx, grad_output)
        return value, None, dplaces / ctx.saved_tensors[2], dweights


DEFORMABLE = PublicFunction(
    "deformable_attention",
    "MSDeformAttnFunction in fundamentalvision/Deformable-DETR, in one dimension; Zhu et al. 2021",
    DeformableAttention.apply,
    deformable,
    lambda g, d: (
        normal(g, d, 7, 2),
        (4, 3),
        uniform(g, d, 3, 2, 2),
        uniform(g, d, 3, 2, 2, low=0.1),
    ),
    (
        Wrong("missing-factor", "places: not scaled by the level's length", DeformableUnscaled.apply, ("scale",),
              "places"),
        Wrong("region", "weights: only the first level's", DeformableOneLevel.apply, ("local", "zero"), "weights"),
        Wrong("missing-factor", "places: not multiplied by the attention weight", DeformableUnweighted.apply,
              argument="places"),
    ),
)  # fmt: skip

# --- cost volume


def shifted(b, d):
    """b moved so that position x holds b[x + d], zero outside."""
    out = torch.zeros_like(b)
    width = b.shape[-1]
    if d >= 0:
        out[..., : max(width - d, 0)] = b[..., d:]
    else:
        out[..., -d:] = b[..., : max(width + d, 0)]
    return out


class CostVolume(Function):
    """Channel means of a[x]·b[x + d] for |d| ≤ reach; a, b: (channels, width)."""

    @staticmethod
    def forward(ctx, a, b, reach):
        ctx.save_for_backward(a, b)
        ctx.reach = reach
        return torch.stack([(a * shifted(b, d)).mean(0) for d in range(-reach, reach + 1)])

    @staticmethod
    def backward(ctx, grad_output):
        a, b = ctx.saved_tensors
        moves = range(-ctx.reach, ctx.reach + 1)
        g = grad_output / a.shape[0]
        da = sum(row * shifted(b, d) for row, d in zip(g, moves, strict=True))
        db = sum(shifted(row * a, -d) for row, d in zip(g, moves, strict=True))
        return da, db, None


class CostVolumeSum(CostVolume):
    @staticmethod
    def backward(ctx, grad_output):
        return CostVolume.backward(ctx, grad_output * ctx.saved_tensors[0].shape[0])


class CostVolumeCentre(CostVolume):
    @staticmethod
    def backward(ctx, grad_output):
        da, _, _ = CostVolume.backward(ctx, grad_output)
        a, _ = ctx.saved_tensors
        return da, grad_output[ctx.reach] * a / a.shape[0], None


def cost_volume(a, b, reach):
    padded = torch.nn.functional.pad(b, (reach, reach))
    return (padded.unfold(1, b.shape[1], 1) * a[:, None]).mean(0)


COST_VOLUME = PublicFunction(
    "cost_volume",
    "SpatialCorrelationSamplerFunction in ClementPinard/Pytorch-Correlation-extension; Dosovitskiy et al. 2015",
    CostVolume.apply,
    cost_volume,
    lambda g, d: (normal(g, d, 3, 5), normal(g, d, 3, 5), 1),
    (
        Wrong("scale", "not divided by the number of channels", CostVolumeSum.apply),
        Wrong(
            "missing-term", "b: only the middle displacement", CostVolumeCentre.apply, ("missing-sum",), "b"
        ),
    ),
)

FUNCTIONS = (SCATTER_MEAN, SCATTER_MAX, SEGMENT_SOFTMAX, DEFORMABLE, COST_VOLUME)
