"""Dropouts: the names of ``torch.nn.functional``, with the same random numbers from the same seed."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_ext.functional._common import apply, in_place, need_tensors

__all__ = [
    "dropout",
]


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.dropout``, with the same random numbers from the same seed."""
    need_tensors("dropout", input=input)
    if not 0 <= p <= 1:
        raise ValueError(f"dropout needs a probability, from 0 to 1; received {p}; choose such a p.")
    if not training or p == 0 or input.numel() == 0:
        return input
    y: Tensor = (in_place if inplace else apply)("dropout", input, keep_mask(input, p), p=p)
    return y


def keep_mask(x: Tensor, p: float) -> Tensor:
    """True with probability 1 - p, drawn as PyTorch draws it; at p = 1 it draws nothing."""
    if p == 1:
        return torch.zeros_like(x, dtype=torch.bool)
    with torch.no_grad():
        if x.device.type in ("cpu", "meta"):
            return torch.empty_like(x).bernoulli_(1 - p).to(torch.bool)
        return torch.native_dropout(x.detach(), p, True)[1]  # accelerators draw inside their kernel
