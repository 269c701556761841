"""Small helpers that several operations share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torch_ext.corpus._entry import wide as up  # noqa: F401

HALF = (torch.bfloat16, torch.float16)


def fit(grad: Tensor, like: Tensor) -> Tensor:
    """Summed over the axes along which ``like`` was broadcast, and in its dtype."""
    return grad.sum_to_size(like.shape).to(like.dtype)


def edit(backward: Callable[..., Any], i: int, change: Callable[..., Any]) -> Callable[..., Any]:
    """The backward with its i-th gradient replaced by change(gradient, grad_output, residuals)."""

    def wrong(g: Any, res: Any) -> Any:
        grads = list(backward(g, res))
        grads[i] = change(grads[i], g, res)
        return tuple(grads)

    return wrong


def as_if_contiguous(g: Tensor) -> Tensor:
    """The memory of g from its first element on, read row by row whatever its strides (past its end: from the start)."""
    n = g.untyped_storage().nbytes() // g.element_size()
    memory = torch.as_strided(g.detach(), (n,), (1,), 0)
    where = (torch.arange(g.numel()) + g.storage_offset()) % max(n, 1)
    return memory[where].reshape(g.shape)


def leaf(t: Tensor, grad: bool = True) -> Tensor:
    """A leaf that keeps its strides (views included)."""
    return t.detach().requires_grad_(grad)
