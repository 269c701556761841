"""Volatility and risk along price paths."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torch_ext.corpus._entry import Mistake, Operation, normal, uniform, wide

from ._common import positive_or_nan, strided

# ---------------------------------------------------------------- garch_nll


def _garch_variances(shock: Tensor, omega: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """h[0] is the mean square, then h[t] = omega + alpha shock[t - 1]^2 + beta h[t - 1]."""
    square = shock * shock
    h = [square.mean(-1)]
    for t in range(1, shock.shape[-1]):
        h.append(omega + alpha * square[..., t - 1] + beta * h[-1])
    return torch.stack(h, -1)


def _garch_reference(shock: Tensor, omega: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    h = _garch_variances(shock, omega, alpha, beta)
    return 0.5 * (h.log() + shock * shock / h).sum(-1)


def _garch_forward(shock: Tensor, omega: Tensor, alpha: Tensor, beta: Tensor) -> tuple[Tensor, Any]:
    h = _garch_variances(shock, omega, alpha, beta)
    return 0.5 * (h.log() + shock * shock / h).sum(-1), (shock, omega, alpha, beta, h)


def _garch_gradients(grad: Tensor, residuals: Any, start: bool) -> tuple[Tensor, ...]:
    shock, omega, alpha, beta, h = residuals
    n = shock.shape[-1]
    square = shock * shock
    direct = 0.5 * grad.unsqueeze(-1) * (1 - square / h) / h
    carried = torch.zeros_like(grad)
    out: list[Tensor] = []
    for t in range(n - 1, -1, -1):
        carried = direct[..., t] + beta * carried
        out.append(carried)
    adjoint = torch.stack(out[::-1], -1)
    later = adjoint[..., 1:]
    g_square = 0.5 * grad.unsqueeze(-1) / h + torch.nn.functional.pad(alpha * later, (0, 1))
    if start:
        g_square = g_square + adjoint[..., :1] / n
    return (
        2 * shock * g_square,
        later.sum(),
        (later * square[..., :-1]).sum(),
        (later * h[..., :-1]).sum(),
    )


def _garch_backward(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return _garch_gradients(grad, residuals, True)


def _garch_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return _garch_gradients(grad, residuals, False)


def _garch_scalars(g: torch.Generator, d: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    return (
        uniform(g, d, low=0.05, high=0.3),
        uniform(g, d, low=0.05, high=0.3),
        uniform(g, d, low=0.4, high=0.7),
    )


garch_nll = Operation(
    "garch_nll",
    _garch_forward,
    _garch_backward,
    lambda g, d: (normal(g, d, 4, 10), *_garch_scalars(g, d)),
    reference=_garch_reference,
    mistakes=(
        Mistake(
            "missing-term",
            "the starting variance, a mean of the shocks' squares, is treated as a constant",
            backward=_garch_wrong,
            argument="shock",
            also=("unknown",),
            dtypes=("float64", "float32"),
        ),
    ),
    further={
        "one_day": lambda g, d: (uniform(g, d, 3, 1, low=0.5), *_garch_scalars(g, d)),
        "one_path": lambda g, d: (normal(g, d, 7), *_garch_scalars(g, d)),
        "view": lambda g, d: (strided(normal(g, d, 2, 6)), *_garch_scalars(g, d)),
        "empty": lambda g, d: (normal(g, d, 0, 5), *_garch_scalars(g, d)),
    },
    dtypes=("float64", "float32"),
)

# ---------------------------------------------------------------- max_drawdown


def _drawdown_reference(price: Tensor) -> Tensor:
    p = positive_or_nan(wide(price))
    return (1 - p / p.cummax(-1).values).max(-1).values.to(price.dtype)


def _drawdown_forward(price: Tensor) -> tuple[Tensor, Any]:
    p = positive_or_nan(wide(price))
    peak, at = p.cummax(-1)
    worst, trough = (1 - p / peak).max(-1, keepdim=True)
    return worst.squeeze(-1).to(price.dtype), (price, trough, at.gather(-1, trough))


def _drawdown_trough(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    price, trough, top = residuals
    p, g = wide(price), wide(grad).unsqueeze(-1)
    low, high = p.gather(-1, trough), p.gather(-1, top)
    out = torch.zeros_like(p).scatter(-1, trough, -g / high)
    return out, g * (low / high) / high


def _drawdown_backward(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    price, _, top = residuals
    out, by_peak = _drawdown_trough(grad, residuals)
    return (out.scatter_add(-1, top, by_peak).to(price.dtype),)


def _drawdown_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    out, _ = _drawdown_trough(grad, residuals)
    return (out.to(residuals[0].dtype),)


def _prices(g: torch.Generator, d: torch.dtype, *shape: int) -> Tensor:
    moves = normal(g, torch.float64, *shape, grad=False)
    return (0.2 * moves).cumsum(-1).exp().to(d).requires_grad_()


max_drawdown = Operation(
    "max_drawdown",
    _drawdown_forward,
    _drawdown_backward,
    lambda g, d: (_prices(g, d, 5, 12),),
    reference=_drawdown_reference,
    mistakes=(
        Mistake(
            "missing-term",
            "the running peak is treated as a constant",
            backward=_drawdown_wrong,
            argument="price",
            also=("local", "zero", "unknown"),
        ),
    ),
    further={
        "only_rising": lambda g, d: (_prices(g, d, 3, 6).detach().sort(-1).values.requires_grad_(),),
        "flat": lambda g, d: (torch.full((2, 5), 1.5, dtype=d).requires_grad_(),),
        "one_day": lambda g, d: (_prices(g, d, 4, 1),),
        "view": lambda g, d: (_prices(g, d, 6, 3).detach().mT.requires_grad_(),),
    },
)

OPERATIONS = (garch_nll, max_drawdown)
