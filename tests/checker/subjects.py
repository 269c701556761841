"""Functions to check, right and with a mistake, in every style that a check takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

Pair = tuple[Callable[..., Any], Callable[..., Any]]


def drawn(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Gaussian numbers that require a gradient."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g, dtype=torch.float64).to(dtype).requires_grad_()


def linear_forward(x: Tensor, weight: Tensor, bias: Tensor) -> Any:
    return x @ weight.mT + bias, (x, weight)


def linear_backward(dy: Tensor, residuals: Any) -> Any:
    x, weight = residuals
    return dy @ weight, dy.mT @ x, dy.sum(0)


def linear_inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    return drawn(5, 3, dtype=dtype), drawn(4, 3, dtype=dtype, seed=1), drawn(4, dtype=dtype, seed=2)


class Square(Function):
    """x², and its backward times a factor of the class."""

    factor = 2.0

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @classmethod
    def backward(cls, ctx: Any, dy: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return cls.factor * x * dy


class WrongSquare(Square):
    factor = 3.0


class Affine(nn.Module):
    """A module over the pair, with a mistake or none in its backward."""

    def __init__(self, backward: Callable[..., Any] = linear_backward) -> None:
        super().__init__()
        self.weight = nn.Parameter(drawn(4, 3, seed=1).detach())
        self.bias = nn.Parameter(drawn(4, seed=2).detach())
        self.register_buffer("calls", torch.zeros(()))
        self.layer = applied((linear_forward, backward))

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        return self.layer(x, self.weight, self.bias)


def applied(pair: Pair) -> Callable[..., Any]:
    """A pair as ``Function.apply``."""
    forward, backward = pair

    class Made(Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> Any:
            y, ctx.residuals = forward(*inputs)
            return y

        @staticmethod
        def backward(ctx: Any, *dys: Any) -> Any:
            return backward(dys[0] if len(dys) == 1 else dys, ctx.residuals)

    apply: Callable[..., Any] = Made.apply
    return apply


def wrong_linear(change: Callable[[Tensor, Tensor, Tensor], Any]) -> Pair:
    """The linear layer, its gradients changed."""
    return linear_forward, lambda dy, residuals: change(*linear_backward(dy, residuals))
