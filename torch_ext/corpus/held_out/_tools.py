"""Small helpers that the held-out operations share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torch_ext.corpus._entry import Backward, normal
from torch_ext.corpus._entry import wide as wide

HALF = ("bfloat16", "float16")


def like(grad: Tensor, x: Tensor) -> Tensor:
    """``grad`` summed over the axes that broadcasting added to ``x``, in the dtype of ``x``."""
    return grad.sum_to_size(x.shape).to(x.dtype)


def altered(backward: Backward, place: int, change: Callable[[Any], Any]) -> Backward:
    """``backward`` with the gradient at ``place`` changed."""

    def wrong(g: Any, residuals: Any) -> Any:
        grads = list(backward(g, residuals))
        grads[place] = change(grads[place])
        return tuple(grads)

    return wrong


def zeroed(index: Any) -> Callable[[Tensor], Tensor]:
    """A change: the elements at ``index`` become zero."""

    def change(grad: Tensor) -> Tensor:
        grad = grad.clone()
        grad[index] = 0
        return grad

    return change


def memory(g: Tensor) -> Tensor:
    """What a kernel reads that takes ``g`` for contiguous: its memory in order, whatever its strides."""
    storage = g.untyped_storage().nbytes() // g.element_size() - g.storage_offset()
    cells = g.as_strided((min(storage, g.numel()),), (1,))
    return cells.repeat(-(-g.numel() // max(cells.numel(), 1)))[: g.numel()].reshape(g.shape)


def turned(g: torch.Generator, dtype: torch.dtype, *shape: int) -> Tensor:
    """Gaussian numbers whose memory runs along the first axis: not contiguous."""
    x = normal(g, dtype, *reversed(shape), grad=False)
    return x.permute(*reversed(range(x.ndim))).requires_grad_()


def spiked(x: Tensor, *values: float) -> Tensor:
    """``x`` with its first elements replaced."""
    y = x.detach().clone()
    y.view(-1)[: len(values)] = torch.tensor(values, dtype=y.dtype)
    return y.requires_grad_(x.requires_grad)


def filled(dtype: torch.dtype, value: float, *shape: int, grad: bool = True) -> Tensor:
    """One value everywhere."""
    return torch.full(shape, value, dtype=dtype).requires_grad_(grad)
