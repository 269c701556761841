"""Likelihoods, scores and filters."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from torch_ext.corpus._entry import Mistake, Operation, integers, normal, uniform, wide

from ._common import positive_or_nan, strided, sum_to

# ---------------------------------------------------------------- cox_partial_likelihood


def _cox_reference(score: Tensor, time: Tensor, event: Tensor) -> Tensor:
    at_risk = time.unsqueeze(-2) >= time.unsqueeze(-1)
    total = torch.where(at_risk, score.unsqueeze(-2), -torch.inf).logsumexp(-1)
    lost = torch.where(event, total - score, 0.0).sum(-1)
    return lost / event.sum(-1).clamp(min=1)


def _cox_forward(score: Tensor, time: Tensor, event: Tensor) -> tuple[Tensor, Any]:
    return _cox_reference(score, time, event), (score, time, event)


def _cox_gradients(grad: Tensor, residuals: Any, at_risk: Tensor) -> tuple[Tensor | None, ...]:
    score, _, event = residuals
    share = torch.where(at_risk, score.unsqueeze(-2), -torch.inf).softmax(-1)
    happened = event.to(score.dtype)
    g = (grad / event.sum(-1).clamp(min=1)).unsqueeze(-1)
    return g * ((happened.unsqueeze(-1) * share).sum(-2) - happened), None, None


def _cox_backward(grad: Tensor, residuals: Any) -> tuple[Tensor | None, ...]:
    time = residuals[1]
    return _cox_gradients(grad, residuals, time.unsqueeze(-2) >= time.unsqueeze(-1))


def _cox_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor | None, ...]:
    time = residuals[1]
    itself = torch.eye(time.shape[-1], dtype=torch.bool, device=time.device)
    return _cox_gradients(grad, residuals, (time.unsqueeze(-2) > time.unsqueeze(-1)) | itself)


def _events(g: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=g) < 0.7


def _distinct_days(g: torch.Generator, d: torch.dtype) -> tuple[Any, ...]:
    days = torch.stack([torch.randperm(12, generator=g) for _ in range(3)])
    return normal(g, d, 3, 12), days, _events(g, 3, 12)


cox_partial_likelihood = Operation(
    "cox_partial_likelihood",
    _cox_forward,
    _cox_backward,
    _distinct_days,
    reference=_cox_reference,
    mistakes=(
        Mistake(
            "region",
            "those with the same time as an event are left out of its risk set",
            backward=_cox_wrong,
            argument="score",
            also=("unknown", "missing-term", "local"),
            hidden=_distinct_days,
            dtypes=("float64", "float32"),
        ),
    ),
    further={
        "tied_days": lambda g, d: (normal(g, d, 2, 10), integers(g, 2, 10, high=4), _events(g, 2, 10)),
        "no_events": lambda g, d: (normal(g, d, 6), integers(g, 6, high=9), torch.zeros(6).bool()),
        "large_scores": lambda g, d: (
            (200 * normal(g, d, 8, grad=False)).requires_grad_(),
            integers(g, 8, high=5),
            _events(g, 8),
        ),
        "one_person": lambda g, d: (normal(g, d, 2, 1), integers(g, 2, 1, high=3), torch.ones(2, 1).bool()),
    },
    dtypes=("float64", "float32"),
)

# ---------------------------------------------------------------- student_t_nll


def _student_reference(x: Tensor, mu: Tensor, sigma: Tensor, nu: Tensor) -> Tensor:
    s, n = positive_or_nan(wide(sigma)), positive_or_nan(wide(nu))
    z = (wide(x) - wide(mu)) / s
    constant = torch.lgamma(n / 2) - torch.lgamma((n + 1) / 2) + 0.5 * (n * math.pi).log()
    return (constant + s.log() + (n + 1) / 2 * torch.log1p(z * z / n)).to(x.dtype)


def _student_forward(x: Tensor, mu: Tensor, sigma: Tensor, nu: Tensor) -> tuple[Tensor, Any]:
    return _student_reference(x, mu, sigma, nu), (x, mu, sigma, nu)


def _student_parts(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    x, mu, sigma, nu = wide(residuals)
    g = wide(grad)
    z = (x - mu) / sigma
    weight = (nu + 1) / (nu + z * z)
    by_nu = 0.5 * (torch.digamma(nu / 2) - torch.digamma((nu + 1) / 2) + 1 / nu + torch.log1p(z * z / nu))
    by_nu = by_nu - 0.5 * weight * z * z / nu
    return g * weight * z / sigma, g * (1 - weight * z * z) / sigma, g * by_nu


def _student_backward(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    by_x, by_sigma, by_nu = _student_parts(grad, residuals)
    parts = (by_x, -by_x, by_sigma, by_nu)
    return tuple(sum_to(p, r.shape).to(r.dtype) for p, r in zip(parts, residuals, strict=True))


def _student_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    gx, gmu, gsigma, gnu = _student_backward(grad, residuals)
    by_sigma = _student_parts(grad, residuals)[1]
    count = max(by_sigma.numel() // max(gsigma.numel(), 1), 1)
    mean = sum_to(by_sigma, gsigma.shape) / count
    return gx, gmu, mean.to(gsigma.dtype), gnu


def _spread(g: torch.Generator, d: torch.dtype, *shape: int) -> Tensor:
    return uniform(g, d, *shape, low=0.5, high=2.0)


def _freedom(g: torch.Generator, d: torch.dtype, *shape: int) -> Tensor:
    return uniform(g, d, *shape, low=1.5, high=8.0)


student_t_nll = Operation(
    "student_t_nll",
    _student_forward,
    _student_backward,
    lambda g, d: (normal(g, d, 6, 5), normal(g, d, 5), _spread(g, d, 5), _freedom(g, d)),
    reference=_student_reference,
    mistakes=(
        Mistake(
            "scale",
            "the scale's gradient is averaged over the batch instead of summed",
            backward=_student_wrong,
            argument="sigma",
            also=("missing-sum",),
        ),
    ),
    further={
        "same_shape": lambda g, d: (
            normal(g, d, 3, 4),
            normal(g, d, 3, 4),
            _spread(g, d, 3, 4),
            _freedom(g, d, 3, 4),
        ),
        "at_the_centre": lambda g, d: (
            torch.ones(3, 4, dtype=d).requires_grad_(),
            torch.ones(4, dtype=d).requires_grad_(),
            _spread(g, d, 4),
            _freedom(g, d),
        ),
        "size_one": lambda g, d: (
            normal(g, d, 2, 1, 4),
            normal(g, d, 1, 4),
            _spread(g, d, 1),
            _freedom(g, d, 2, 1, 1),
        ),
        "empty": lambda g, d: (normal(g, d, 0, 3), normal(g, d, 3), _spread(g, d, 3), _freedom(g, d)),
    },
)

# ---------------------------------------------------------------- von_mises_nll


def _mises_reference(angle: Tensor, mu: Tensor, kappa: Tensor) -> Tensor:
    k = positive_or_nan(wide(kappa))
    half = (wide(angle) - wide(mu)) / 2
    out = 2 * k * half.sin() ** 2 + torch.special.i0e(k).log() + math.log(2 * math.pi)
    return out.to(angle.dtype)


def _mises_forward(angle: Tensor, mu: Tensor, kappa: Tensor) -> tuple[Tensor, Any]:
    return _mises_reference(angle, mu, kappa), (angle, mu, kappa)


def _mises_gradients(grad: Tensor, residuals: Any, scaled: bool) -> tuple[Tensor, ...]:
    angle, mu, kappa = wide(residuals)
    g = wide(grad)
    half = (angle - mu) / 2
    by_angle = g * kappa * (2 * half).sin()
    by_kappa = 2 * half.sin() ** 2 + torch.special.i1e(kappa) / torch.special.i0e(kappa)
    if scaled:
        by_kappa = by_kappa - 1
    parts = (by_angle, -by_angle, g * by_kappa)
    return tuple(sum_to(p, r.shape).to(r.dtype) for p, r in zip(parts, residuals, strict=True))


def _mises_backward(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return _mises_gradients(grad, residuals, True)


def _mises_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return _mises_gradients(grad, residuals, False)


def _angles(g: torch.Generator, d: torch.dtype, *shape: int) -> Tensor:
    return uniform(g, d, *shape, low=-3.0, high=3.0)


von_mises_nll = Operation(
    "von_mises_nll",
    _mises_forward,
    _mises_backward,
    lambda g, d: (_angles(g, d, 5, 6), _angles(g, d, 6), uniform(g, d, 6, low=0.2, high=5.0)),
    reference=_mises_reference,
    mistakes=(
        Mistake(
            "missing-term",
            "the scaled Bessel function is differentiated as the unscaled one",
            backward=_mises_wrong,
            argument="kappa",
            also=("offset", "unknown"),
        ),
    ),
    further={
        "nearly_uniform": lambda g, d: (
            _angles(g, d, 3, 4),
            _angles(g, d, 4),
            uniform(g, d, 4, low=0.001, high=0.01),
        ),
        "one_direction": lambda g, d: (strided(_angles(g, d, 3, 4)), _angles(g, d), _spread(g, d)),
        "size_one": lambda g, d: (
            _angles(g, d, 4, 1),
            _angles(g, d, 1, 3).detach().requires_grad_(),
            _spread(g, d, 4, 3),
        ),
        "empty": lambda g, d: (_angles(g, d, 0, 3), _angles(g, d, 3), _spread(g, d, 3)),
    },
)

# ---------------------------------------------------------------- crps_ensemble


def _crps_weight(m: int, fair: bool) -> float:
    if m < 1 + fair:
        raise ValueError("too few members")
    return 0.5 / (m * (m - 1) if fair else m * m)


def _crps_reference(members: Tensor, truth: Tensor, fair: bool = False) -> Tensor:
    x, y = wide(members), wide(truth)
    spread = (x.unsqueeze(-1) - x.unsqueeze(-2)).abs().sum((-2, -1))
    error = (x - y.unsqueeze(-1)).abs().mean(-1)
    return (error - _crps_weight(x.shape[-1], fair) * spread).to(members.dtype)


def _crps_forward(members: Tensor, truth: Tensor, fair: bool = False) -> tuple[Tensor, Any]:
    return _crps_reference(members, truth, fair), (members, truth, fair)


def _crps_gradients(grad: Tensor, residuals: Any, times: int) -> tuple[Tensor | None, ...]:
    members, truth, fair = residuals
    x, y, g = wide(members), wide(truth), wide(grad).unsqueeze(-1)
    m = x.shape[-1]
    side = (x - y.unsqueeze(-1)).sign() / m
    rank = (x.unsqueeze(-1) - x.unsqueeze(-2)).sign().sum(-1)
    g_x = g * (side - times * _crps_weight(m, fair) * rank)
    return g_x.to(members.dtype), (-g * side).sum(-1).to(truth.dtype), None


def _crps_backward(grad: Tensor, residuals: Any) -> tuple[Tensor | None, ...]:
    return _crps_gradients(grad, residuals, 2)


def _crps_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor | None, ...]:
    return _crps_gradients(grad, residuals, 1)


def _tied_members(g: torch.Generator, d: torch.dtype) -> tuple[Any, ...]:
    members, truth = integers(g, 4, 6, high=3), integers(g, 4, high=3)
    return members.to(d).requires_grad_(), truth.to(d).requires_grad_(), True


crps_ensemble = Operation(
    "crps_ensemble",
    _crps_forward,
    _crps_backward,
    lambda g, d: (normal(g, d, 4, 7), normal(g, d, 4), False),
    reference=_crps_reference,
    mistakes=(
        Mistake(
            "missing-term",
            "a member's part in the spread is counted as the first of a pair only, not as the second",
            backward=_crps_wrong,
            argument="members",
            also=("unknown", "scale", "missing-factor"),
        ),
    ),
    further={
        "tied": _tied_members,
        "fair": lambda g, d: (normal(g, d, 2, 3, 5), normal(g, d, 2, 3), True),
        "one_member": lambda g, d: (normal(g, d, 5, 1), normal(g, d, 5), False),
        "view": lambda g, d: (strided(normal(g, d, 3, 4)), strided(normal(g, d, 3)), False),
    },
)

# ---------------------------------------------------------------- local_level_filter


def _level_reference(y: Tensor, observed: Tensor, log_q: Tensor, log_r: Tensor, prior: float = 1.0) -> Tensor:
    q, r = log_q.exp(), log_r.exp()
    mean = y.new_zeros(y.shape[:-1])
    var = torch.full_like(mean, prior)
    total = torch.zeros_like(mean)
    for t in range(y.shape[-1]):
        seen = observed[..., t]
        var = var + q
        s = var + r
        v = torch.where(seen, y[..., t] - mean, 0.0)
        gain = torch.where(seen, var / s, 0.0)
        total = total + torch.where(seen, 0.5 * (s.log() + v * v / s + math.log(2 * math.pi)), 0.0)
        mean = mean + gain * v
        var = (1 - gain) * var
    return total


def _level_forward(
    y: Tensor, observed: Tensor, log_q: Tensor, log_r: Tensor, prior: float = 1.0
) -> tuple[Tensor, Any]:
    q, r = log_q.exp(), log_r.exp()
    mean = y.new_zeros(y.shape[:-1])
    var = torch.full_like(mean, prior)
    total = torch.zeros_like(mean)
    steps = []
    for t in range(y.shape[-1]):
        seen = observed[..., t]
        var = var + q
        s = var + r
        v = torch.where(seen, y[..., t] - mean, 0.0)
        gain = torch.where(seen, var / s, 0.0)
        steps.append((seen, var, s, v, gain))
        total = total + torch.where(seen, 0.5 * (s.log() + v * v / s + math.log(2 * math.pi)), 0.0)
        mean = mean + gain * v
        var = (1 - gain) * var
    return total, (y, q, r, steps)


def _level_gradients(grad: Tensor, residuals: Any, always: bool) -> tuple[Tensor | None, ...]:
    y, q, r, steps = residuals
    g_mean, g_var = torch.zeros_like(grad), torch.zeros_like(grad)
    g_q, g_r = torch.zeros_like(q), torch.zeros_like(r)
    out = []
    for seen, var, s, v, gain in reversed(steps):
        g_gain = torch.where(seen, g_mean * v - g_var * var, 0.0)
        g_v = torch.where(seen, g_mean * gain + grad * v / s, 0.0)
        g_s = torch.where(seen, 0.5 * grad * (1 - v * v / s) / s - g_gain * var / s / s, 0.0)
        g_var = g_var * (1 - gain) + g_gain / s + g_s
        g_r = g_r + g_s.sum()
        g_q = g_q + (g_var if always else torch.where(seen, g_var, 0.0)).sum()
        g_mean = g_mean - g_v
        out.append(g_v)
    g_y = torch.stack(out[::-1], -1) if out else torch.zeros_like(y)
    return g_y, None, g_q * q, g_r * r, None


def _level_backward(grad: Tensor, residuals: Any) -> tuple[Tensor | None, ...]:
    return _level_gradients(grad, residuals, True)


def _level_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor | None, ...]:
    return _level_gradients(grad, residuals, False)


def _all_seen(g: torch.Generator, d: torch.dtype) -> tuple[Any, ...]:
    return normal(g, d, 3, 9), torch.ones(3, 9).bool(), normal(g, d), normal(g, d), 1.0


local_level_filter = Operation(
    "local_level_filter",
    _level_forward,
    _level_backward,
    _all_seen,
    reference=_level_reference,
    mistakes=(
        Mistake(
            "missing-term",
            "a step without an observation adds nothing to the gradient of the level's noise",
            backward=_level_wrong,
            argument="log_q",
            also=("unknown", "scale", "region"),
            hidden=_all_seen,
            dtypes=("float64", "float32"),
        ),
    ),
    further={
        "some_missing": lambda g, d: (normal(g, d, 3, 8), _events(g, 3, 8), normal(g, d), normal(g, d), 2.0),
        "none_seen": lambda g, d: (
            normal(g, d, 2, 4),
            torch.zeros(2, 4).bool(),
            normal(g, d),
            normal(g, d),
            1.0,
        ),
        "one_step": lambda g, d: (normal(g, d, 4, 1), _events(g, 4, 1), normal(g, d), normal(g, d), 0.5),
        "no_batch": lambda g, d: (strided(normal(g, d, 6)), _events(g, 6), normal(g, d), normal(g, d), 1.0),
    },
    dtypes=("float64", "float32"),
)

OPERATIONS = (cox_partial_likelihood, student_t_nll, von_mises_nll, crps_ensemble, local_level_filter)
