"""Dropouts: the names of ``torch.nn.functional``, with the same random numbers from the same seed.

They differ in the mask alone: an entry for each element, or for each channel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torch_ext.functional._common import advise, apply, in_place, need_tensors

__all__ = [
    "alpha_dropout",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "feature_alpha_dropout",
]


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.dropout``, with the same random numbers from the same seed."""
    if _keeps_all("dropout", input, p, training):
        return input
    return _drop("dropout", input, keep_mask(input, p), p, inplace)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.dropout1d``: whole channels, of (N, C, L) or (C, L)."""
    keeps_all = _keeps_all("dropout1d", input, p, training)
    if input.ndim not in (2, 3):
        raise RuntimeError(
            f"dropout1d needs (N, C, L) or (C, L); received {input.ndim} axes; use dropout for other shapes."
        )
    if keeps_all:
        return input
    return _drop("dropout", input, channel_mask(input, p, batched=input.ndim == 3), p, inplace)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.dropout2d``: whole channels, of (N, C, H, W); three axes are (N, C, L)."""
    keeps_all = _keeps_all("dropout2d", input, p, training)
    if input.ndim == 3:
        advise("dropout2d takes three axes as (N, C, L), as PyTorch does; use dropout1d for that.")
    elif input.ndim != 4:
        _warn_of_shape("dropout2d", "(N, C, H, W)", input)
    if keeps_all:
        return input
    return _drop("dropout", input, channel_mask(input, p, batched=True), p, inplace)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.dropout3d``: whole channels, of (N, C, D, H, W) or (C, D, H, W)."""
    keeps_all = _keeps_all("dropout3d", input, p, training)
    if input.ndim not in (4, 5):
        _warn_of_shape("dropout3d", "(N, C, D, H, W) or (C, D, H, W)", input)
    if keeps_all:
        return input
    return _drop("dropout", input, channel_mask(input, p, batched=input.ndim == 5), p, inplace)


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.alpha_dropout``."""
    if _keeps_all("alpha_dropout", input, p, training):
        return input
    return _drop("alpha_dropout", input, drawn_mask(input, input.shape, p), p, inplace)


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """``torch.nn.functional.feature_alpha_dropout``: whole channels, of (N, C, ...)."""
    if _keeps_all("feature_alpha_dropout", input, p, training):
        return input
    return _drop("alpha_dropout", input, channel_mask(input, p, batched=True), p, inplace)


def _keeps_all(name: str, x: Tensor, p: float, training: bool) -> bool:
    """Whether there is nothing to do. Raises for what cannot be done."""
    need_tensors(name, input=x)
    if not 0 <= p <= 1:
        raise ValueError(f"{name} needs a probability, from 0 to 1; received {p}; choose such a p.")
    if not training or p == 0 or x.numel() == 0:
        return True
    if not x.is_floating_point():
        error = NotImplementedError if x.is_complex() else RuntimeError
        raise error(f"{name} needs real floating-point numbers; received {x.dtype}; convert them first.")
    return False


def _warn_of_shape(name: str, shapes: str, x: Tensor) -> None:
    advise(
        f"{name} is for {shapes}, and PyTorch will refuse other shapes; received {x.ndim} axes; use dropout.",
        stacklevel=2,
    )


def _drop(name: str, x: Tensor, mask: Tensor, p: float, inplace: bool) -> Tensor:
    y: Tensor = (in_place if inplace else apply)(name, x, mask, p=p)
    return y


# --- masks --------------------------------------------------------------------------------


def keep_mask(x: Tensor, p: float) -> Tensor:
    """True with probability 1 - p, drawn as PyTorch's dropout draws it; at p = 1 it draws nothing."""
    if p == 1 or x.device.type in ("cpu", "meta"):
        return drawn_mask(x, x.shape, p)
    with torch.no_grad():
        return torch.native_dropout(x.detach(), p, True)[1]  # accelerators draw inside their kernel


def channel_mask(x: Tensor, p: float, *, batched: bool) -> Tensor:
    """One entry for each channel, to be broadcast: (N, C, 1, ...), or (C, 1, ...) without a batch."""
    channels = 2 if batched else 1
    if x.ndim < channels:
        raise RuntimeError(
            f"A dropout of channels needs at least two axes, (N, C, ...); received {x.ndim}; use dropout."
        )
    return drawn_mask(x, (*x.shape[:channels], *(1,) * (x.ndim - channels)), p)


def drawn_mask(x: Tensor, shape: Sequence[int], p: float) -> Tensor:
    """True with probability 1 - p, drawn in the dtype of x; at p = 1 it draws nothing."""
    with torch.no_grad():
        if p == 1:
            return x.new_zeros(shape, dtype=torch.bool)
        drawn = torch.empty_like(x) if shape == x.shape else x.new_empty(shape)
        return drawn.bernoulli_(1 - p).to(torch.bool)
