"""Losses: the names of ``torch.nn.functional``."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from torch_ext.functional._common import apply, need_floats, need_tensors, reduction_of

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "l1_loss",
    "mse_loss",
    "nll_loss",
    "smooth_l1_loss",
]


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """``torch.nn.functional.mse_loss``."""
    _regression("mse_loss", input, target)
    how = reduction_of(size_average, reduce, reduction)
    loss: Tensor = apply("mse_loss", input, target, *_optional(weight), reduction=how)
    return loss


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """``torch.nn.functional.l1_loss``."""
    _regression("l1_loss", input, target)
    how = reduction_of(size_average, reduce, reduction)
    loss: Tensor = apply("l1_loss", input, target, *_optional(weight), reduction=how)
    return loss


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """``torch.nn.functional.smooth_l1_loss``."""
    _regression("smooth_l1_loss", input, target)
    how = reduction_of(size_average, reduce, reduction)
    loss: Tensor = apply("smooth_l1_loss", input, target, reduction=how, beta=beta)
    return loss


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``torch.nn.functional.binary_cross_entropy``."""
    how = reduction_of(size_average, reduce, reduction)
    need_floats("binary_cross_entropy", input=input)
    need_tensors("binary_cross_entropy", target=target)
    if input.is_cuda and torch.is_autocast_enabled("cuda"):
        raise RuntimeError(
            "binary_cross_entropy is not safe under autocast; use binary_cross_entropy_with_logits."
        )
    loss: Tensor = apply("binary_cross_entropy", input, target, weight, reduction=how)
    return loss


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """``torch.nn.functional.binary_cross_entropy_with_logits``."""
    how = reduction_of(size_average, reduce, reduction)
    need_floats("binary_cross_entropy_with_logits", input=input)
    need_tensors("binary_cross_entropy_with_logits", target=target)
    loss: Tensor = apply("binary_cross_entropy_with_logits", input, target, weight, pos_weight, reduction=how)
    return loss


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """``torch.nn.functional.cross_entropy``: class indices, or class probabilities."""
    how = reduction_of(size_average, reduce, reduction)
    need_floats("cross_entropy", input=input)
    need_tensors("cross_entropy", target=target)
    loss: Tensor = apply(
        "cross_entropy",
        input,
        target,
        weight,
        ignore_index=ignore_index,
        reduction=how,
        label_smoothing=label_smoothing,
    )
    return loss


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``torch.nn.functional.nll_loss``."""
    how = reduction_of(size_average, reduce, reduction)
    need_floats("nll_loss", input=input)
    need_tensors("nll_loss", target=target)
    loss: Tensor = apply("nll_loss", input, target, weight, ignore_index=ignore_index, reduction=how)
    return loss


def _regression(layer: str, x: Tensor, t: Tensor) -> None:
    need_tensors(layer, input=x, target=t)
    if not (x.is_floating_point() or t.is_floating_point()):
        need_floats(layer, allow_complex=layer == "l1_loss", input=x)
    if x.shape != t.shape:
        warnings.warn(
            f"{layer} broadcasts an input of {tuple(x.shape)} with a target of {tuple(t.shape)}, which is "
            "rarely what is meant; make the shapes equal.",
            stacklevel=3,
        )


def _optional(w: Tensor | None) -> tuple[Tensor, ...]:
    return () if w is None else (w,)
