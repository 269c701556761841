"""Tensor operations between layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from torch_ext.sweep.own._draw import Functions, Modules, normal


def _pow(g: torch.Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    for exponent in (2, 3.0, -2, 1, 0):
        yield (normal(g, dtype, 3, 4), exponent), {}
    zero = torch.zeros(2, dtype=dtype, requires_grad=True)
    yield (zero, 0), {}
    yield (2.5, normal(g, dtype, 3, 4)), {}


FUNCTIONS: Functions = {"pow": _pow}
MODULES: Modules = {}
