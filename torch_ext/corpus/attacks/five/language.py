"""Parts of language models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torch_ext.corpus._entry import Mistake, Operation, integers, normal, uniform, wide

from ._common import positive_or_nan, strided

# ---------------------------------------------------------------- wkv_mixing


def _distances(n: int, device: torch.device) -> Tensor:
    """t - 1 - i, for query t and key i."""
    steps = torch.arange(n, device=device)
    return steps.unsqueeze(-1) - 1 - steps


def _wkv_shares(decay: Tensor, bonus: Tensor, key: Tensor) -> Tensor:
    """Softmax weights [..., query, key, channel]."""
    far = _distances(key.shape[-2], key.device).unsqueeze(-1)
    past = key.unsqueeze(-3) - far.to(key.dtype) * decay
    now = key.unsqueeze(-3) + bonus
    logits = torch.where(far == -1, now, torch.where(far < -1, -torch.inf, past))
    return logits.softmax(-2)


def _wkv_reference(decay: Tensor, bonus: Tensor, key: Tensor, value: Tensor) -> Tensor:
    shares = _wkv_shares(wide(decay), wide(bonus), wide(key))
    return (shares * wide(value).unsqueeze(-3)).sum(-2).to(value.dtype)


def _wkv_forward(decay: Tensor, bonus: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Any]:
    shares = _wkv_shares(wide(decay), wide(bonus), wide(key))
    out = (shares * wide(value).unsqueeze(-3)).sum(-2)
    return out.to(value.dtype), (decay, bonus, key, value, shares, out)


def _wkv_gradients(grad: Tensor, residuals: Any, shift: int) -> tuple[Tensor, ...]:
    decay, bonus, key, value, shares, out = residuals
    g = wide(grad).unsqueeze(-2)
    g_value = (g * shares).sum(-3)
    g_logits = g * shares * (wide(value).unsqueeze(-3) - out.unsqueeze(-2))
    far = _distances(key.shape[-2], key.device).unsqueeze(-1)
    weight = torch.where(far >= 0, far + shift, 0).to(g_logits.dtype)
    axes = tuple(range(g_logits.dim() - 1))
    return (
        -(g_logits * weight).sum(axes).to(decay.dtype),
        torch.where(far == -1, g_logits, 0.0).sum(axes).to(bonus.dtype),
        g_logits.sum(-3).to(key.dtype),
        g_value.to(value.dtype),
    )


def _wkv_backward(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return _wkv_gradients(grad, residuals, 0)


def _wkv_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return _wkv_gradients(grad, residuals, 1)


def _wkv_inputs(g: torch.Generator, d: torch.dtype, *shape: int) -> tuple[Tensor, ...]:
    c = shape[-1]
    return uniform(g, d, c, low=0.1, high=1.0), normal(g, d, c), normal(g, d, *shape), normal(g, d, *shape)


def _wkv_views(g: torch.Generator, d: torch.dtype) -> tuple[Tensor, ...]:
    w, u, k, v = _wkv_inputs(g, d, 2, 4, 3)
    return w, u, strided(k), strided(v)


def _wkv_sharp(g: torch.Generator, d: torch.dtype) -> tuple[Tensor, ...]:
    w, u, k, v = _wkv_inputs(g, d, 2, 5, 3)
    return w, u, (50 * k.detach()).requires_grad_(), v


wkv_mixing = Operation(
    "wkv_mixing",
    _wkv_forward,
    _wkv_backward,
    lambda g, d: _wkv_inputs(g, d, 2, 6, 4),
    reference=_wkv_reference,
    mistakes=(
        Mistake(
            "unknown",
            "the decay's gradient counts the steps to a past token from t, not from t - 1",
            backward=_wkv_wrong,
            argument="decay",
            also=("missing-term", "scale", "missing-factor"),
        ),
    ),
    further={
        "sharp": _wkv_sharp,
        "one_token": lambda g, d: _wkv_inputs(g, d, 3, 1, 4),
        "no_batch": lambda g, d: _wkv_inputs(g, d, 5, 2),
        "view": _wkv_views,
    },
)

# ---------------------------------------------------------------- repetition_penalty


def _seen(logits: Tensor, history: Tensor) -> Tensor:
    return torch.zeros_like(logits, dtype=torch.bool).scatter(-1, history, True)


def _penalty_reference(logits: Tensor, history: Tensor, penalty: Tensor) -> Tensor:
    x, p = wide(logits), positive_or_nan(wide(penalty))
    changed = torch.where(x > 0, x / p, x * p)
    return torch.where(_seen(logits, history), changed, x + 0 * p).to(logits.dtype)  # NaN off the domain


def _penalty_forward(logits: Tensor, history: Tensor, penalty: Tensor) -> tuple[Tensor, Any]:
    return _penalty_reference(logits, history, penalty), (logits, history, penalty)


def _penalty_gradients(grad: Tensor, residuals: Any, times: Tensor) -> tuple[Tensor | None, ...]:
    logits, history, penalty = residuals
    x, p, g = wide(logits), wide(penalty), wide(grad)
    slope = torch.where(x > 0, 1 / p, p)
    g_x = g * torch.where(_seen(logits, history), slope, 1.0)
    g_p = times * g * torch.where(x > 0, -x / p / p, x)
    return g_x.to(logits.dtype), None, g_p.sum().to(penalty.dtype)


def _penalty_backward(grad: Tensor, residuals: Any) -> tuple[Tensor | None, ...]:
    logits, history, _ = residuals
    return _penalty_gradients(grad, residuals, _seen(logits, history).to(wide(logits).dtype))


def _penalty_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor | None, ...]:
    logits, history, _ = residuals
    x = wide(logits)
    one = torch.ones(history.shape, dtype=x.dtype, device=x.device)
    times = torch.zeros_like(x).scatter_add(-1, history, one)
    return _penalty_gradients(grad, residuals, times)


def _strength(g: torch.Generator, d: torch.dtype) -> Tensor:
    return uniform(g, d, low=1.1, high=1.6)


def _no_repeats(g: torch.Generator, d: torch.dtype) -> tuple[Any, ...]:
    history = torch.stack([torch.randperm(11, generator=g)[:6] for _ in range(3)])
    return normal(g, d, 3, 11), history, _strength(g, d)


def _zero_logits(g: torch.Generator, d: torch.dtype) -> tuple[Any, ...]:
    return torch.zeros(2, 5, dtype=d).requires_grad_(), integers(g, 2, 3, high=5), _strength(g, d)


repetition_penalty = Operation(
    "repetition_penalty",
    _penalty_forward,
    _penalty_backward,
    _no_repeats,
    reference=_penalty_reference,
    mistakes=(
        Mistake(
            "unknown",
            "a token that occurs several times in the history counts as often in the penalty's gradient",
            backward=_penalty_wrong,
            argument="penalty",
            also=("scale", "missing-factor", "missing-term", "region"),
            hidden=_no_repeats,
        ),
    ),
    further={
        "repeats": lambda g, d: (normal(g, d, 3, 9), integers(g, 3, 7, high=9), _strength(g, d)),
        "no_history": lambda g, d: (normal(g, d, 2, 5), integers(g, 2, 0, high=5), _strength(g, d)),
        "zero_logits": _zero_logits,
        "view": lambda g, d: (strided(normal(g, d, 2, 6)), integers(g, 2, 4, high=6), _strength(g, d)),
    },
)

OPERATIONS = (wkv_mixing, repetition_penalty)
