"""The array namespace of tensors: array_api_compat's, but for what ``torch`` itself does better.

PyTorch's vmap for batched gradients (``is_grads_batched=True``) has no rule for a few aliases
that array_api_compat calls; the functions they stand for have one.
"""

from __future__ import annotations

import array_api_compat.torch
import torch
from torch import Tensor

globals().update(
    {name: value for name, value in vars(array_api_compat.torch).items() if name[0] != "_"}
)


def broadcast_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``torch.broadcast_to``, by ``expand``."""
    return x.expand(shape)


def permute_dims(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """``torch.permute``."""
    return torch.permute(x, axes)
