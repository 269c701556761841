"""Losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from torch_ext.corpus._entry import Mistake, Operation, integers, normal, uniform

from ._tools import edit, fit, leaf, up

# ---------------------------------------------------------------- Tversky loss
ALPHA, BETA, SMOOTH = 0.3, 0.7, 1.0


def _tversky_parts(p, t):
    p, t = up(p), up(t)
    tp, fp, fn = (p * t).sum(1), (p * (1 - t)).sum(1), ((1 - p) * t).sum(1)
    return p, t, tp + SMOOTH, tp + ALPHA * fp + BETA * fn + SMOOTH


def tversky(p, t):
    _, _, num, den = _tversky_parts(p, t)
    return (1 - num / den).mean().to(p.dtype)


def tversky_forward(p, t):
    return tversky(p, t), (p, t)


def tversky_backward(g, res, *, sign=-1.0, mean=True, guard=0.0, quotient=True, fn=True, use_g=True):
    p, t = res
    _, t32, num, den = _tversky_parts(p, t)
    num, den = num[:, None], den[:, None]
    dden = t32 + ALPHA * (1 - t32) - (BETA * t32 if fn else 0)
    d = t32 / den - (num * dden / den**2 if quotient else 0)
    n = (p.shape[0] + guard) if mean else 1
    return (sign * d / n * (up(g) if use_g else 1)).to(p.dtype), None


def _tv(**k):
    return lambda g, res: tversky_backward(g, res, **k)


def _masks(g, dtype, n, m, p=0.4):
    return (torch.rand((n, m), generator=g) < p).to(dtype)


def tversky_inputs(g, dtype):
    return uniform(g, dtype, 4, 6, low=0.05, high=0.95), _masks(g, dtype, 4, 6)


TVERSKY = Operation(
    "tversky_loss",
    tversky_forward,
    tversky_backward,
    tversky_inputs,
    tversky,
    mistakes=(
        Mistake("sign", "gradient of the index, not of one minus the index", _tv(sign=1.0), argument="p"),
        Mistake("scale", "the mean over samples is forgotten: no 1/N", _tv(mean=False), argument="p"),
        Mistake(
            "scale",
            "divides by N + 1e-5, a guard that the forward pass has not",
            _tv(guard=1e-5),
            argument="p",
        ),
        Mistake(
            "missing-term",
            "the denominator is taken as constant (no quotient rule)",
            _tv(quotient=False),
            also=("region", "missing-factor"),
            argument="p",
        ),
        Mistake(
            "missing-term",
            "the false negatives' dependence on p is forgotten",
            _tv(fn=False),
            also=("region", "missing-factor"),
            argument="p",
        ),
        Mistake(
            "scale",
            "grad_output is not multiplied in (right for loss.backward() only)",
            _tv(use_g=False),
            also=("missing-factor",),
            argument="p",
            source="https://github.com/pytorch/tutorials/issues/216",
        ),
        Mistake(
            "zero",
            "thresholded masks in the backward pass: nothing flows back",
            lambda g, res: (torch.zeros_like(res[0]), None),
            argument="p",
        ),
    ),
    further={
        "no_foreground": lambda g, d: (uniform(g, d, 3, 5), torch.zeros(3, 5, dtype=d)),
        "saturated": lambda g, d: (leaf(_masks(g, d, 3, 5)), _masks(g, d, 3, 5)),
        "one_pixel": lambda g, d: (uniform(g, d, 1, 1), torch.ones(1, 1, dtype=d)),
        "no_pixels": lambda g, d: (uniform(g, d, 3, 0), torch.ones(3, 0, dtype=d)),
        "transposed": lambda g, d: (leaf(uniform(g, d, 5, 3).t()), _masks(g, d, 3, 5)),
    },
)

# ---------------------------------------------------------------- triplet margin loss
MARGIN, EPS = 1.0, 1e-6


def triplet(a, p, n):
    x, y, z = up(a), up(p), up(n)
    dp, dn = ((x - y) ** 2).sum(1).add(EPS).sqrt(), ((x - z) ** 2).sum(1).add(EPS).sqrt()
    return F.relu(dp - dn + MARGIN).mean().to(a.dtype)


def triplet_forward(a, p, n):
    return triplet(a, p, n), (a, p, n)


def triplet_backward(
    g, res, *, mask=True, both=True, divide=True, eps=EPS, factor=1.0, nsign=1.0, swap=False
):
    a, p, n = (up(t) for t in res)
    dp = ((a - p) ** 2).sum(1, keepdim=True).add(eps).sqrt()
    dn = ((a - n) ** 2).sum(1, keepdim=True).add(eps).sqrt()
    active = (dp - dn + MARGIN > 0).to(a.dtype) if mask else torch.ones_like(dp)
    c = factor * up(g) / a.shape[0] * active
    u = c * ((a - p) / dp if divide else a - p)
    v = c * ((a - n) / dn if divide else a - n)
    t = res[0].dtype
    ga, gp, gn = (u - v if both else u), -u, nsign * v
    if swap:
        gp, gn = gn, gp
    return ga.to(t), gp.to(t), gn.to(t)


def _tr(**k):
    return lambda g, res: triplet_backward(g, res, **k)


def triplet_inputs(g, dtype):
    a, p, n = normal(g, dtype, 6, 4), normal(g, dtype, 6, 4), normal(g, dtype, 6, 4)
    with torch.no_grad():
        n[0] += 8  # one triplet that is far apart already
        n[3] -= 8
    return a, p, n


def triplet_active(g, dtype):
    a, n = normal(g, dtype, 5, 4), normal(g, dtype, 5, 4)
    return a, leaf(-2 * a - 3), leaf(a + 0.1 * n)


TRIPLET = Operation(
    "triplet_margin_loss",
    triplet_forward,
    triplet_backward,
    triplet_inputs,
    triplet,
    mistakes=(
        Mistake(
            "region",
            "triplets that satisfy the margin get a gradient, too",
            _tr(mask=False),
            also=("local", "missing-factor"),
            hidden=triplet_active,
        ),
        Mistake("sign", "the negative is pulled, not pushed", _tr(nsign=-1.0), argument="n"),
        Mistake(
            "missing-term", "the anchor's gradient lacks the negative's part", _tr(both=False), argument="a"
        ),
        Mistake("scale", "derivative of squared distances: a factor 2", _tr(factor=2.0)),
        Mistake("permuted", "gradients of positive and negative returned in exchanged order", _tr(swap=True)),
        Mistake("missing-factor", "not divided by the distance", _tr(divide=False)),
        Mistake(
            "not-finite",
            "no eps under the root in the backward pass: 0/0 where anchor and positive coincide",
            _tr(eps=0.0),
            also=("missing-factor", "scale"),
            source="https://github.com/pytorch/pytorch/issues/37154",
        ),
    ),
    further={
        "all_inactive": lambda g, d: (normal(g, d, 3, 4), normal(g, d, 3, 4), leaf(normal(g, d, 3, 4) + 20)),
        "positive_is_anchor": lambda g, d: (lambda a: (a, leaf(a.detach().clone()), normal(g, d, 3, 4)))(
            normal(g, d, 3, 4)
        ),
        "positive_is_negative": lambda g, d: (lambda p: (normal(g, d, 3, 4), p, leaf(p.detach().clone())))(
            normal(g, d, 3, 4)
        ),
        "one_row_one_column": lambda g, d: (normal(g, d, 1, 1), normal(g, d, 1, 1), normal(g, d, 1, 1)),
        "strided": lambda g, d: (
            leaf(normal(g, d, 6, 4)[::2]),
            leaf(normal(g, d, 4, 3).t()),
            normal(g, d, 3, 4),
        ),
        "far": lambda g, d: tuple(leaf(100 * normal(g, d, 3, 4)) for _ in range(3)),
    },
)

# ---------------------------------------------------------------- InfoNCE with a learnt temperature


def info_nce(q, k, tau):
    s = up(q) @ up(k).t() / up(tau)
    return (torch.logsumexp(s, 1) - s.diagonal()).mean().to(q.dtype)


def info_nce_forward(q, k, tau):
    s = up(q) @ up(k).t() / up(tau)
    return (torch.logsumexp(s, 1) - s.diagonal()).mean().to(q.dtype), (q, k, tau, s, torch.softmax(s, 1))


def info_nce_backward(g, res, *, positive=True, temperature=True, inplace=False, taus=-1.0):
    q, k, tau, s, p = res
    n = q.shape[0]
    if inplace:
        p.diagonal().sub_(1)
        d = p * up(g) / n
    else:
        d = (p - (torch.eye(n, dtype=p.dtype) if positive else 0)) * up(g) / n
    t = up(tau) if temperature else 1.0
    dq, dk = d @ up(k) / t, d.t() @ up(q) / t
    return dq.to(q.dtype), dk.to(k.dtype), (taus * (d * s).sum() / up(tau)).to(tau.dtype)


def _tau(value, dtype):
    return torch.tensor(value, dtype=dtype).requires_grad_()


def info_nce_inputs(g, dtype):
    return normal(g, dtype, 5, 3), normal(g, dtype, 5, 3), _tau(0.7, dtype)


def _in(**k):
    return lambda g, res: info_nce_backward(g, res, **k)


INFO_NCE = Operation(
    "info_nce",
    info_nce_forward,
    info_nce_backward,
    info_nce_inputs,
    info_nce,
    mistakes=(
        Mistake(
            "zero",
            "keys are taken as detached: no gradient for k",
            edit(info_nce_backward, 1, lambda d, g, r: None),
            argument="k",
        ),
        Mistake(
            "zero",
            "the temperature is taken as a constant",
            edit(info_nce_backward, 2, lambda d, g, r: torch.zeros_like(d)),
            argument="tau",
        ),
        Mistake("missing-term", "softmax alone, without minus one at the positives", _in(positive=False)),
        Mistake("scale", "no division by the temperature", _in(temperature=False), also=("missing-factor",)),
        Mistake("sign", "1/tau differentiated as if it were tau", _in(taus=1.0), argument="tau"),
        Mistake(
            "mutates",
            "subtracts one at the positives in the saved softmax itself",
            _in(inplace=True),
            also=("nondeterministic",),
        ),
        Mistake(
            "transpose",
            "the queries' gradient in column-major order, transposed where N = D",
            lambda g, res: (lambda d: (d[0].t() if d[0].shape[0] == d[0].shape[1] else d[0], d[1], d[2]))(
                info_nce_backward(g, res)
            ),
            argument="q",
            also=("permuted",),
        ),
    ),
    further={
        "one_pair": lambda g, d: (normal(g, d, 1, 3), normal(g, d, 1, 3), _tau(0.5, d)),
        "equal_keys": lambda g, d: (
            normal(g, d, 4, 3),
            leaf(normal(g, d, 1, 3).expand(4, 3).clone()),
            _tau(0.5, d),
        ),
        "zeros": lambda g, d: (
            leaf(torch.zeros(3, 2, dtype=d)),
            leaf(torch.zeros(3, 2, dtype=d)),
            _tau(0.5, d),
        ),
        "cold": lambda g, d: (normal(g, d, 4, 4), normal(g, d, 4, 4), _tau(0.0625, d)),
        "transposed": lambda g, d: (leaf(normal(g, d, 3, 4).t()), normal(g, d, 4, 3), _tau(1.5, d)),
    },
)
# the square case is the usual one, so that a transposed gradient has the right shape


def _square(g, dtype):
    return normal(g, dtype, 4, 4), normal(g, dtype, 4, 4), _tau(0.7, dtype)


INFO_NCE = Operation(
    **{**INFO_NCE.__dict__, "inputs": _square, "further": {**INFO_NCE.further, "oblong": info_nce_inputs}}
)

# ---------------------------------------------------------------- label-smoothed cross entropy
S, IGNORE = 0.1, -100


def smooth_ce(logits, target):
    return F.cross_entropy(up(logits), target, label_smoothing=S, ignore_index=IGNORE).to(logits.dtype)


def smooth_ce_forward(logits, target, *, others=None):
    x = up(logits)
    c = x.shape[1]
    lp = torch.log_softmax(x, 1)
    keep = target != IGNORE
    t = target.clamp_min(0)
    uniform_part = lp.sum(1) / c
    hot = lp.gather(1, t[:, None])[:, 0]
    if others is None:
        each = -(1 - S) * hot - S * uniform_part
    else:  # S shared among the other classes only
        each = -(1 - S) * hot - S * (lp.sum(1) - hot) / (c - 1)
    loss = (each * keep).sum() / keep.sum()
    return loss.to(logits.dtype), (logits, target)


def smooth_ce_backward(
    g, res, *, smooth=True, by_count=True, mask=True, top=None, stable=True, sign=1.0, others=None
):
    logits, target = res
    x = up(logits)
    c = x.shape[1]
    p = torch.softmax(x, 1) if stable else x.exp() / x.exp().sum(1, keepdim=True)
    keep = (target != IGNORE).to(x.dtype)
    t = target.clamp_min(0)
    if top is not None:
        t = t.clamp_max(c + top)
    hot = F.one_hot(t, c).to(x.dtype)
    if others is None:
        d = p - (1 - S) * hot - (S / c if smooth else 0)
    else:
        d = p - (1 - S) * hot - S / (c - 1) * (1 - hot)
    if mask:
        d = d * keep[:, None]
    n = keep.sum() if by_count else x.shape[0]
    return (sign * d / n * up(g)).to(logits.dtype), None


def _ce(**k):
    return lambda g, res: smooth_ce_backward(g, res, **k)


def ce_inputs(g, dtype):
    x = normal(g, dtype, 8, 5)
    return x, torch.tensor([0, 4, 1, IGNORE, 2, 3, 4, IGNORE])


def ce_all(g, dtype):
    return normal(g, dtype, 6, 5), integers(g, 6, high=5)


SMOOTH_CE = Operation(
    "label_smoothed_cross_entropy",
    smooth_ce_forward,
    smooth_ce_backward,
    ce_inputs,
    smooth_ce,
    mistakes=(
        Mistake(
            "offset",
            "the uniform part of the smoothed target, S/C, is forgotten",
            _ce(smooth=False),
            also=("missing-term", "region"),
        ),
        Mistake(
            "region",
            "ignored rows get a gradient, too",
            _ce(mask=False),
            also=("local", "missing-factor"),
            source="https://github.com/pytorch/pytorch/issues/73205",
        ),
        Mistake(
            "scale",
            "divided by all rows, ignored ones included",
            _ce(by_count=False),
            source="https://github.com/eladhoffer/utils.pytorch/issues/4",
        ),
        Mistake(
            "local",
            "the last class counts as the one before it (index clamped to C - 2)",
            _ce(top=-2),
            also=("region", "permuted", "missing-term"),
        ),
        Mistake(
            "not-finite",
            "softmax without subtracting the maximum: inf/inf for large logits",
            _ce(stable=False),
            hidden=ce_inputs,
            dtypes=("float64", "float32"),
        ),
        Mistake("sign", "target minus softmax", _ce(sign=-1.0)),
        Mistake(
            "forward",
            "S is shared among the other classes only, in both passes",
            _ce(others=True),
            lambda x, t: smooth_ce_forward(x, t, others=True),
        ),
    ),
    further={
        "none_ignored": ce_all,
        "one_row": lambda g, d: (normal(g, d, 1, 5), torch.tensor([2])),
        "one_class": lambda g, d: (normal(g, d, 3, 1), torch.tensor([0, 0, 0])),
        "ties": lambda g, d: (leaf(torch.zeros(3, 4, dtype=d)), torch.tensor([0, IGNORE, 3])),
        "saturated": lambda g, d: (leaf(800 * torch.eye(4, dtype=d)), torch.tensor([0, 1, 3, 2])),
        "transposed": lambda g, d: (leaf(normal(g, d, 5, 3).t()), torch.tensor([4, 0, IGNORE])),
    },
)

# ---------------------------------------------------------------- KL divergence of diagonal Gaussians


def kl(m1, v1, m2, v2):
    """m: means, v: log variances; summed over the last axis, mean over the batch."""
    a, b, c, d = (up(t) for t in (m1, v1, m2, v2))
    e = d - b + (b - d).exp() + (a - c) ** 2 * (-d).exp() - 1
    return (0.5 * e.sum(-1)).mean().to(m1.dtype)


def kl_forward(m1, v1, m2, v2):
    return kl(m1, v1, m2, v2), (m1, v1, m2, v2)


def kl_backward(
    g, res, *, summed=True, mean2=False, square=True, minus_one=True, divide=True, std=1.0, s2=-1.0, plus=True
):
    m1, v1, m2, v2 = res
    a, b, c, d = (up(t) for t in res)
    n = a.shape[0]
    w = up(g) / n
    ratio, inv, diff = (b - d).exp(), (-d).exp(), a - c
    dm1 = w * diff * (inv if divide else 1)
    dv1 = std * 0.5 * w * (ratio - (1 if minus_one else 0))
    dm2 = s2 * w * diff * inv
    dv2 = 0.5 * w * ((1 if plus else 0) - ratio - (diff**2 * inv if square else 0))
    if mean2:
        dv2 = dv2.mean(0) if v2.dim() == 1 else dv2
    out2 = fit(dm2, m2) if summed else dm2.to(m2.dtype)
    return fit(dm1, m1), fit(dv1, v1), out2, fit(dv2, v2)


def _kl(**k):
    return lambda g, res: kl_backward(g, res, **k)


def kl_inputs(g, dtype):
    return normal(g, dtype, 4, 3), normal(g, dtype, 4, 3), normal(g, dtype, 3), normal(g, dtype, 3)


def kl_same_mean(g, dtype):
    m = normal(g, dtype, 3)
    return leaf(m.detach().expand(4, 3).clone()), normal(g, dtype, 4, 3), m, normal(g, dtype, 3)


KL = Operation(
    "kl_gaussians",
    kl_forward,
    kl_backward,
    kl_inputs,
    kl,
    mistakes=(
        Mistake(
            "missing-sum",
            "the shared prior's mean: gradient not summed over the batch",
            _kl(summed=False),
            also=("shape",),
            argument="m2",
            source="https://github.com/pytorch/pytorch/issues/65244",
        ),
        Mistake(
            "scale",
            "the shared prior's variance: mean over the batch for the sum",
            _kl(mean2=True),
            argument="v2",
        ),
        Mistake(
            "missing-term",
            "the squared difference of means is forgotten in the second variance",
            _kl(square=False),
            argument="v2",
            hidden=kl_same_mean,
        ),
        Mistake(
            "offset",
            "the derivative of -log var is forgotten",
            _kl(minus_one=False),
            also=("missing-term",),
            argument="v1",
        ),
        Mistake(
            "offset",
            "the derivative of the prior's +log var is forgotten",
            _kl(plus=False),
            also=("missing-term",),
            argument="v2",
        ),
        Mistake(
            "missing-factor",
            "difference of means not divided by the prior's variance",
            _kl(divide=False),
            argument="m1",
        ),
        Mistake("sign", "the second mean's sign", _kl(s2=1.0), argument="m2", hidden=kl_same_mean),
    ),
    further={
        "equal": lambda g, d: tuple(leaf(torch.zeros(3, 2, dtype=d)) for _ in range(4)),
        "no_broadcast": lambda g, d: tuple(normal(g, d, 3, 2) for _ in range(4)),
        "broadcast_keepdim": lambda g, d: (
            normal(g, d, 3, 2),
            normal(g, d, 3, 2),
            normal(g, d, 1, 2),
            normal(g, d, 1, 1),
        ),
        "one": lambda g, d: tuple(normal(g, d, 1, 1) for _ in range(4)),
        "wide": lambda g, d: (
            normal(g, d, 3, 2),
            uniform(g, d, 3, 2, low=-6, high=2),
            normal(g, d, 2),
            uniform(g, d, 2, low=-4, high=4),
        ),
        "transposed": lambda g, d: (
            leaf(normal(g, d, 2, 3).t()),
            normal(g, d, 3, 2),
            normal(g, d, 2),
            normal(g, d, 2),
        ),
    },
)

OPERATIONS = (TVERSKY, TRIPLET, INFO_NCE, SMOOTH_CE, KL)
