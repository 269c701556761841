"""Tensors for samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

Functions = dict[str, Callable[[torch.Generator, torch.dtype], Iterator[tuple[Any, ...]]]]
Modules = dict[str, Callable[[torch.Generator, torch.dtype], Iterator[tuple[Any, ...]]]]


def normal(g: torch.Generator, dtype: torch.dtype, *shape: int, grad: bool = True) -> Tensor:
    """Gaussian numbers."""
    return torch.randn(shape, generator=g, dtype=torch.float64).to(dtype).requires_grad_(grad)


def integers(g: torch.Generator, *shape: int, high: int, low: int = 0) -> Tensor:
    """Integers in [low, high)."""
    return torch.randint(low, high, shape, generator=g)
