"""Losses, reduced and not, with hinges, masks and ignored rows."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_ext.corpus._entry import DTYPES, Mistake, Operation, integers, normal
from torch_ext.corpus.held_out._tools import HALF, altered, filled, like, spiked, turned, wide

LIGER = "https://github.com/linkedin/Liger-Kernel/"
BOTH = ("float64", "float32")

# --- cross-entropy with label smoothing 0.1, the mean over the rows not ignored (target -100)

SMOOTH = 0.1


def _smoothed(logits: Tensor, target: Tensor, others: int = 0) -> Any:
    x = wide(logits)
    kept = target != -100
    logp = x - torch.logsumexp(x, -1, keepdim=True)
    q = torch.full_like(x, SMOOTH / (x.shape[-1] - others))
    hit = F.one_hot(target.clamp(min=0), x.shape[-1]).bool()
    q = torch.where(hit, (0 if others else q) + 1 - SMOOTH, q) * kept[:, None]
    loss = -(q * logp).sum() / kept.sum()
    return loss.to(logits.dtype), (logp.exp() * kept[:, None], q, kept.sum(), logits, target)


def _smoothed_backward(g: Any, r: Any) -> Any:
    p, q, count, logits, _ = r
    return (wide(g) * (p - q) / count).to(logits.dtype), None


def _smoothed_writes_logits(logits: Tensor, target: Tensor) -> Any:
    loss, (p, q, count, _, _) = _smoothed(logits, target)
    x = logits.detach()
    x.copy_((p - q) / count)  # the gradient is stored where the logits were
    return loss, (p, q, count, logits, target)


def _smoothed_ignored(g: Any, r: Any) -> Any:
    _, q, count, logits, _ = r
    return (wide(g) * (torch.softmax(wide(logits), -1) - q) / count).to(logits.dtype), None


def _smoothed_no_max(g: Any, r: Any) -> Any:
    _, q, count, logits, target = r
    e = torch.exp(wide(logits))
    p = e / e.sum(-1, keepdim=True) * (target != -100)[:, None]
    return _smoothed_backward(g, (p, q, count, logits, target))


def _smoothed_hard(g: Any, r: Any) -> Any:
    p, q, count, logits, target = r
    return _smoothed_backward(g, (p, (q - SMOOTH / q.shape[-1]).clamp(min=0), count, logits, target))


def _token_batch(g: torch.Generator, d: torch.dtype) -> tuple[Any, ...]:
    target = integers(g, 6, high=7)
    target[2] = -100
    return spiked(normal(g, d, 6, 7), 900), target


def _all_kept(g: torch.Generator, d: torch.dtype) -> tuple[Any, ...]:
    return normal(g, d, 6, 7), integers(g, 6, high=7)


SMOOTHED = Operation(
    "label_smoothed_cross_entropy",
    _smoothed,
    _smoothed_backward,
    _token_batch,
    lambda x, t: F.cross_entropy(wide(x), t, label_smoothing=SMOOTH).to(x.dtype),
    (
        Mistake("scale", "divided by all rows, the ignored ones included",
                lambda g, r: _smoothed_backward(g, (*r[:2], r[4].numel(), *r[3:])), hidden=_all_kept,
                source="https://github.com/unslothai/unsloth/issues/569"),
        Mistake("scale", "the sum's gradient for the mean",
                lambda g, r: (_smoothed_backward(g, r)[0] * r[2], None),
                source="https://github.com/paiml/aprender/pull/2182"),
        Mistake("scale", "the incoming gradient is ignored",
                lambda g, r: _smoothed_backward(torch.ones_like(g), r), also=("missing-factor",),
                source="https://github.com/unslothai/unsloth/issues/569"),
        Mistake("region", "ignored rows get a gradient", _smoothed_ignored, hidden=_all_kept,
                also=("missing-factor", "local"), source=LIGER + "issues/968"),
        Mistake("missing-term", "the smoothed part ε/K of the target is left out", _smoothed_hard,
                also=("offset",), source=LIGER + "pull/198"),
        Mistake("not-finite", "a softmax whose exponentials overflow", _smoothed_no_max, hidden=_all_kept,
                dtypes=BOTH, source="https://github.com/pytorch/pytorch/issues/31829"),
        Mistake("mutates", "the forward pass stores its gradient in the logits",
                forward=_smoothed_writes_logits, source=LIGER + "pull/1251"),
        Mistake("forward", "ε is shared by the K - 1 other classes",
                forward=lambda x, t: _smoothed(x, t, 1),
                source="https://github.com/huggingface/pytorch-image-models/issues/1040"),
        Mistake("zero", "the loss is detached", lambda g, r: (torch.zeros_like(r[3]), None),
                source="https://github.com/microsoft/DirectML/issues/740"),
    ),
    {
        "all rows kept": _all_kept,
        "one row": lambda g, d: (normal(g, d, 1, 3), integers(g, 1, high=3)),
        "ties": lambda g, d: (filled(d, 1, 2, 4), integers(g, 2, high=4)),
        "views": lambda g, d: (turned(g, d, 4, 5), integers(g, 4, high=5)),
    },
)  # fmt: skip


# --- sigmoid focal loss, γ = 2, α = 0.25, the sum over all divided by the number of positives

ALPHA, GAMMA = 0.25, 2


def _focal(logits: Tensor, target: Tensor, power: bool = True) -> Any:
    s = 2 * wide(target) - 1
    z = s * wide(logits)
    logp = -F.softplus(-z)
    alpha = torch.where(s > 0, ALPHA, 1 - ALPHA)
    away = torch.sigmoid(-z)
    weight = alpha * (away**GAMMA if power else away * GAMMA)
    count = target.sum().clamp(min=1)
    return (-(weight * logp).sum() / wide(count)).to(logits.dtype), (
        z,
        s,
        logp,
        alpha,
        wide(count),
        logits,
        power,
    )


def _focal_backward(g: Any, r: Any, modulated: bool = True, gamma: int = GAMMA) -> Any:
    z, s, logp, alpha, count, logits, power = r
    p, away = torch.sigmoid(z), torch.sigmoid(-z)
    if power:
        dz = alpha * away**gamma * ((GAMMA * p * logp if modulated else 0) - away)
    else:
        dz = alpha * GAMMA * away * (p * logp - away)
    return (wide(g) * s * dz / count).to(logits.dtype), None


def _focal_log_of_sigmoid(g: Any, r: Any) -> Any:
    z, s, _, alpha, count, logits, power = r
    return _focal_backward(g, (z, s, torch.log(torch.sigmoid(z)), alpha, count, logits, power))


def _focal_one_alpha(g: Any, r: Any) -> Any:
    z, s, logp, alpha, count, logits, power = r
    return _focal_backward(g, (z, s, logp, torch.full_like(alpha, ALPHA), count, logits, power))


def _focal_no_sign(g: Any, r: Any) -> Any:
    z, s, *rest = r
    return _focal_backward(g, (z, torch.ones_like(s), *rest))


def _focal_reference(logits: Tensor, target: Tensor) -> Tensor:
    x, t = wide(logits), wide(target)
    p, entropy = torch.sigmoid(x), F.binary_cross_entropy_with_logits(x, t, reduction="none")
    weight = (ALPHA * t + (1 - ALPHA) * (1 - t)) * ((1 - p) * t + p * (1 - t)) ** GAMMA
    return ((weight * entropy).sum() / t.sum().clamp(min=1)).to(logits.dtype)


def _boxes(g: torch.Generator, d: torch.dtype, spike: bool = True) -> tuple[Any, ...]:
    target = torch.zeros(5, 4, dtype=d)
    target[:, 0] = 1
    x = (2 * normal(g, d, 5, 4, grad=False)).requires_grad_()
    return (spiked(x, -900, 900) if spike else x), target


FOCAL = Operation(
    "sigmoid_focal_loss",
    _focal,
    _focal_backward,
    _boxes,
    _focal_reference,
    (
        Mistake("missing-term", "the modulating factor is taken for a constant",
                lambda g, r: _focal_backward(g, r, modulated=False), dtypes=DTYPES,
                source="https://github.com/open-mmlab/mmdetection/issues/7907"),
        Mistake("missing-factor", "one power of 1 - p too few",
                lambda g, r: _focal_backward(g, r, gamma=GAMMA - 1),
                source="https://github.com/facebookresearch/sam3/pull/484"),
        Mistake("region", "negatives are weighted by α as well", _focal_one_alpha, also=("scale",),
                hidden=lambda g, d: (normal(g, d, 5, 4), torch.ones(5, 4, dtype=d)),
                source="https://github.com/yqyao/SSD_Pytorch/issues/32"),
        Mistake("region", "the sign of the logit is not turned for negatives", _focal_no_sign,
                also=("sign",), hidden=lambda g, d: (normal(g, d, 5, 4), torch.ones(5, 4, dtype=d)),
                source="https://github.com/facebookresearch/maskrcnn-benchmark/issues/1002"),
        Mistake("not-finite", "log of a sigmoid that underflows: 0 · -inf", _focal_log_of_sigmoid,
                hidden=lambda g, d: _boxes(g, d, False), dtypes=BOTH,
                source="https://github.com/facebookresearch/sam3/pull/484"),
        Mistake("scale", "1e-4 is added to the number of positives",
                lambda g, r: (_focal_backward(g, r)[0] * (r[4] / (r[4] + 1e-4)), None),
                source="https://github.com/open-mmlab/mmdetection/issues/1299"),
        Mistake("forward", "(1 - p)·γ instead of (1 - p)^γ", forward=lambda x, t: _focal(x, t, False),
                source="https://github.com/fudannlp16/focal-loss/issues/2"),
    ),
    {
        "plain": lambda g, d: _boxes(g, d, False),
        "no positives": lambda g, d: (normal(g, d, 3, 2), torch.zeros(3, 2, dtype=d)),
        "logits of zero": lambda g, d: (filled(d, 0, 2, 2), torch.eye(2, dtype=d)),
        "empty": lambda g, d: (normal(g, d, 0, 2), torch.zeros(0, 2, dtype=d)),
    },
)  # fmt: skip


# --- log-cosh loss, the mean; the target may broadcast and is differentiated, too


def _log_cosh(prediction: Tensor, target: Tensor) -> Any:
    e = (wide(prediction) - wide(target)).abs()
    y = e + torch.log1p(torch.exp(-2 * e)) - torch.log(torch.tensor(2.0, dtype=e.dtype))
    return y.mean().to(prediction.dtype), (prediction, target)


def _log_cosh_backward(g: Any, r: Any) -> Any:
    e = wide(r[0]) - wide(r[1])
    d = wide(g) * torch.tanh(e) / e.numel()
    return like(d, r[0]), like(-d, r[1])


def _log_cosh_ratio(g: Any, r: Any) -> Any:
    e = wide(r[0]) - wide(r[1])
    d = wide(g) * torch.sinh(e) / torch.cosh(e) / e.numel()
    return like(d, r[0]), like(-d, r[1])


def _log_cosh_reference(x: Tensor, t: Tensor) -> Tensor:
    e = wide(x) - wide(t)
    return torch.logaddexp(e, -e).sub(torch.tensor(2.0, dtype=e.dtype).log()).mean().to(x.dtype)


LOG_COSH = Operation(
    "log_cosh_loss",
    _log_cosh,
    _log_cosh_backward,
    lambda g, d: (spiked(normal(g, d, 5, 3), 800), normal(g, d, 3)),
    _log_cosh_reference,
    (
        Mistake("scale", "the mean's 1/n is left out",
                lambda g, r: tuple(d * 15 for d in _log_cosh_backward(g, r)),
                source="https://github.com/BVLC/caffe/issues/3242"),
        Mistake("sign", "target: the sign of the prediction's gradient",
                altered(_log_cosh_backward, 1, lambda d: -d), argument="target", dtypes=DTYPES,
                source="https://github.com/tensorflow/swift-apis/pull/341"),
        Mistake("zero", "target: no gradient", altered(_log_cosh_backward, 1, lambda d: None),
                argument="target", source="https://github.com/paiml/aprender/pull/2200"),
        Mistake("not-finite", "tanh as sinh / cosh overflows", _log_cosh_ratio, dtypes=BOTH,
                hidden=lambda g, d: (normal(g, d, 5, 3), normal(g, d, 3)),
                source="https://github.com/pytorch/pytorch/issues/31829"),
        Mistake("missing-sum", "target: not summed over the rows it was broadcast over",
                lambda g, r: (_log_cosh_backward(g, r)[0], -_log_cosh_backward(g, r)[0]),
                argument="target", also=("shape",), source="https://github.com/pytorch/pytorch/issues/1787"),
        Mistake("permuted", "prediction: the rows come back in reverse",
                altered(_log_cosh_backward, 0, lambda d: d.flip(0)), argument="prediction",
                source="https://github.com/KonduitAI/deeplearning4j/pull/90"),
    ),
    {
        "equal": lambda g, d: (filled(d, 1, 2, 3), filled(d, 1, 2, 3)),
        "far apart": lambda g, d: ((50 * normal(g, d, 4, grad=False)).requires_grad_(), normal(g, d, 4)),
        "a column and a row": lambda g, d: (normal(g, d, 3, 1), normal(g, d, 2)),
        "views": lambda g, d: (turned(g, d, 3, 4), normal(g, d, 4)),
    },
)  # fmt: skip


# --- triplet margin loss with Euclidean distances and margin 1, the mean


def _triplet(anchor: Tensor, positive: Tensor, negative: Tensor) -> Any:
    up, un = wide(anchor) - wide(positive) + 1e-6, wide(anchor) - wide(negative) + 1e-6
    dp, dn = (up * up).sum(-1, keepdim=True).sqrt(), (un * un).sum(-1, keepdim=True).sqrt()
    hinge = (dp - dn + 1).clamp(min=0)
    return hinge.mean().to(anchor.dtype), (up, un, dp, dn, hinge, anchor)


def _triplet_backward(g: Any, r: Any, hinged: bool = True, by_distance: bool = True) -> Any:
    up, un, dp, dn, hinge, anchor = r
    g = wide(g) / hinge.numel() * (hinge > 0 if hinged else torch.ones_like(hinge))
    tp = g * up / (dp.where(dp > 0, 1) if by_distance else 1)
    tn = g * un / (dn.where(dn > 0, 1) if by_distance else 1)
    return (tp - tn).to(anchor.dtype), (-tp).to(anchor.dtype), tn.to(anchor.dtype)


def _triplet_half_anchor(g: Any, r: Any) -> Any:
    _, dp, dn = _triplet_backward(g, r)
    return -dp, dp, dn


def _triplet_swapped(g: Any, r: Any) -> Any:
    a, p, n = _triplet_backward(g, r)
    return a, n, p


def _triplets(g: torch.Generator, d: torch.dtype, far: float = 6.0) -> tuple[Any, ...]:
    n = normal(g, d, 6, 4, grad=False)
    n[::2] *= far  # half of the triplets are far beyond the margin
    return normal(g, d, 6, 4), normal(g, d, 6, 4), n.requires_grad_()


def _active(g: torch.Generator, d: torch.dtype) -> tuple[Any, ...]:
    a, p, _ = _triplets(g, d)
    return a, p, (a.detach() + 0.1 * normal(g, d, 6, 4, grad=False)).requires_grad_()


TRIPLET = Operation(
    "triplet_margin",
    _triplet,
    _triplet_backward,
    _triplets,
    lambda a, p, n: F.triplet_margin_loss(wide(a), wide(p), wide(n)).to(a.dtype),
    (
        Mistake("region", "triplets beyond the margin get a gradient",
                lambda g, r: _triplet_backward(g, r, hinged=False), hidden=_active,
                also=("missing-factor",), source="https://github.com/luhaofang/tripletloss/issues/56"),
        Mistake("missing-term", "anchor: the negative's share is left out", _triplet_half_anchor,
                argument="anchor", source="https://github.com/jhjin/triplet-criterion/issues/2"),
        Mistake("sign", "negative: the wrong sign", altered(_triplet_backward, 2, lambda d: -d),
                argument="negative", source="https://github.com/luhaofang/tripletloss/issues/41"),
        Mistake("permuted", "the gradients of positive and negative are returned in the wrong order",
                _triplet_swapped, source="https://github.com/BVLC/caffe/pull/3123"),
        Mistake("missing-factor", "not divided by the distances, as for squared distances",
                lambda g, r: _triplet_backward(g, r, by_distance=False),
                source="https://github.com/pytorch/pytorch/issues/37154"),
        Mistake("dtype", "anchor: the gradient stays in float32", altered(_triplet_backward, 0, wide),
                argument="anchor", dtypes=HALF, source="https://github.com/flagos-ai/FlagGems/pull/177"),
    ),
    {
        "all active": _active,
        "one triplet": lambda g, d: (normal(g, d, 1, 3), normal(g, d, 1, 3), normal(g, d, 1, 3)),
        "none active": lambda g, d: (filled(d, 0, 2, 2), filled(d, 0.25, 2, 2), filled(d, 9, 2, 2)),
        "views": lambda g, d: (turned(g, d, 3, 4), normal(g, d, 3, 4), turned(g, d, 3, 4)),
    },
)  # fmt: skip

OPERATIONS = (SMOOTHED, FOCAL, LOG_COSH, TRIPLET)
