"""Survival times and rankings."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from torch_ext.corpus._entry import Mistake, Operation, integers, normal, uniform, wide

from ._tools import back_to, leaf

# Cox partial likelihood with Breslow's treatment of ties


def _at_risk(time: Tensor) -> Tensor:
    return time.unsqueeze(-2) >= time.unsqueeze(-1)


def cox_reference(risk: Tensor, time: Tensor, event: Tensor) -> Tensor:
    x = wide(risk)
    table = x.unsqueeze(-2).expand(*x.shape, x.shape[-1]).masked_fill(~_at_risk(time), -math.inf)
    each = table.logsumexp(-1) - x
    return (each * event).sum(-1).to(risk.dtype)


def cox_forward(risk: Tensor, time: Tensor, event: Tensor) -> tuple[Tensor, Any]:
    return cox_reference(risk, time, event), (risk, time, event)


def cox_backward(grad: Tensor, residuals: Any, ties: bool = True) -> tuple[Any, ...]:
    risk, time, event = residuals
    x = wide(risk)
    held = _at_risk(time)
    if not ties:
        own = torch.eye(x.shape[-1], dtype=torch.bool)
        held = own | (time.unsqueeze(-2) > time.unsqueeze(-1))
    table = x.unsqueeze(-2).expand(*x.shape, x.shape[-1]).masked_fill(~held, -math.inf)
    share = table.softmax(-1) * event.unsqueeze(-1)
    return (wide(grad).unsqueeze(-1) * (share.sum(-2) - event.to(x.dtype))).to(risk.dtype), None, None


def _patients(g: torch.Generator, dtype: torch.dtype, *shape: int, high: int = 6) -> tuple[Any, ...]:
    time = integers(g, *shape, low=1, high=high).to(dtype)
    return normal(g, dtype, *shape), time, integers(g, *shape, high=4) > 0


def _no_ties(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    risk, _, event = _patients(g, dtype, 3, 9)
    time = torch.stack([torch.randperm(9, generator=g) for _ in range(3)]) + 1
    return risk, time.to(dtype), event


cox = Operation(
    "cox_loss_of_groups",
    cox_forward,
    cox_backward,
    lambda g, d: _patients(g, d, 3, 9),
    cox_reference,
    (
        Mistake(
            "region",
            "those with the same time are left out of the risk set",
            partial(cox_backward, ties=False),
            also=("local", "missing-term", "unknown"),
            argument="risk",
            hidden=_no_ties,
        ),
    ),
    {
        "no ties": _no_ties,
        "all tied": lambda g, d: _patients(g, d, 2, 5, high=2),
        "nobody died": lambda g, d: (*_patients(g, d, 2, 5)[:2], torch.zeros(2, 5, dtype=torch.bool)),
        "far apart": lambda g, d: (leaf(normal(g, d, 6, grad=False) * 50), *_patients(g, d, 6)[1:]),
        "one patient": lambda g, d: _patients(g, d, 2, 1),
        "no group": lambda g, d: _patients(g, d, 0, 3),
    },
)

# censored Weibull likelihood


def weibull_reference(time: Tensor, event: Tensor, log_scale: Tensor, log_shape: Tensor) -> Tensor:
    ls, lk = wide(log_scale), wide(log_shape)
    z = wide(time).log() - ls
    density = lk - ls + (lk.exp() - 1) * z
    loss = (lk.exp() * z).exp() - torch.where(event, density, torch.zeros_like(density))
    return loss.to(log_scale.dtype)


def weibull_forward(time: Tensor, event: Tensor, log_scale: Tensor, log_shape: Tensor) -> tuple[Tensor, Any]:
    return weibull_reference(time, event, log_scale, log_shape), (time, event, log_scale, log_shape)


def weibull_backward(grad: Tensor, residuals: Any, mean: bool = False) -> tuple[Any, ...]:
    time, event, log_scale, log_shape = residuals
    g, k = wide(grad), wide(log_shape).exp()
    z = wide(time).log() - wide(log_scale)
    hazard = (k * z).exp()
    zero = torch.zeros_like(hazard)
    g_z = torch.where(hazard > 0, k * hazard, zero) - torch.where(event, k - 1, zero)
    g_scale = torch.where(event, 1 - g_z, -g_z)
    g_shape = torch.where(hazard > 0, k * z * hazard, zero) - torch.where(event, 1 + k * z, zero)
    g_shape = (g * g_shape).sum_to_size(log_shape.shape)
    if mean:
        g_shape = g_shape * (log_shape.numel() / max(g.numel(), 1))
    return None, None, back_to(g * g_scale, log_scale), g_shape.to(log_shape.dtype)


def _lives(g: torch.Generator, dtype: torch.dtype, n: int = 6, c: int = 3) -> tuple[Any, ...]:
    time = uniform(g, dtype, n, c, low=0.2, high=3.0, grad=False)
    return time, integers(g, n, c, high=2).bool(), normal(g, dtype, n, c), leaf(normal(g, dtype, c) * 0.5)


def _common(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    time, event, scale, shape = _lives(g, dtype)
    return time, event, leaf(scale[:, :1]), leaf(shape[0])


weibull = Operation(
    "weibull_censored",
    weibull_forward,
    weibull_backward,
    _lives,
    weibull_reference,
    (
        Mistake(
            "scale",
            "the shape's gradient is averaged over the axis it was broadcast along, not summed",
            partial(weibull_backward, mean=True),
            also=("missing-factor",),
            argument="log_shape",
        ),
    ),
    {
        "common scale": _common,
        "one column": partial(_lives, c=1),
        "nobody": partial(_lives, n=0),
    },
)

# Plackett-Luce likelihood of observed rankings


def ranking_reference(scores: Tensor, order: Tensor) -> Tensor:
    s = wide(scores).gather(-1, order)
    return (s.flip(-1).logcumsumexp(-1) - s.flip(-1)).sum(-1).to(scores.dtype)


def _tails(s: Tensor) -> Tensor:
    """Row k: the scores from place k on, minus infinity before."""
    n = s.shape[-1]
    ahead = torch.ones(n, n, dtype=torch.bool).triu()
    return s.unsqueeze(-2).expand(*s.shape, n).masked_fill(~ahead, -math.inf)


def ranking_forward(scores: Tensor, order: Tensor) -> tuple[Tensor, Any]:
    s = wide(scores).gather(-1, order)
    return (_tails(s).logsumexp(-1) - s).sum(-1).to(scores.dtype), (scores, order)


def ranking_backward(grad: Tensor, residuals: Any, scatter: bool = True) -> tuple[Any, ...]:
    scores, order = residuals
    x = wide(scores)
    g = _tails(x.gather(-1, order)).softmax(-1).sum(-2) - 1
    g = wide(grad).unsqueeze(-1) * g
    g_scores = torch.zeros_like(x).scatter_add(-1, order, g) if scatter else g.gather(-1, order)
    return g_scores.to(scores.dtype), None


def _rankings(g: torch.Generator, dtype: torch.dtype, rows: int = 4, n: int = 7) -> tuple[Any, ...]:
    order = torch.rand(rows, n, generator=g).argsort(-1)
    return normal(g, dtype, rows, n), order


def _in_order(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 4, 7), torch.arange(7).repeat(4, 1)


ranking = Operation(
    "plackett_luce_ranking",
    ranking_forward,
    ranking_backward,
    _rankings,
    ranking_reference,
    (
        Mistake(
            "permuted",
            "the gradient is gathered by the order once more, not put back by it",
            partial(ranking_backward, scatter=False),
            argument="scores",
            hidden=_in_order,
        ),
    ),
    {
        "one item": partial(_rankings, n=1),
        "two items": partial(_rankings, rows=5, n=2),
        "far apart": lambda g, d: (leaf(normal(g, d, 3, 5, grad=False) * 80), _rankings(g, d, 3, 5)[1]),
        "no rows": partial(_rankings, rows=0),
        "view": lambda g, d: (leaf(normal(g, d, 5, 3, grad=False).t()), _rankings(g, d, 3, 5)[1]),
    },
)

OPERATIONS: tuple[Operation, ...] = (cox, weibull, ranking)
