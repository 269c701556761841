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
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "margin_ranking_loss",
    "mse_loss",
    "nll_loss",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
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


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """``torch.nn.functional.huber_loss``."""
    _regression("huber_loss", input, target)
    how = reduction_of(None, None, reduction)
    loss: Tensor = apply("huber_loss", input, target, *_optional(weight), reduction=how, delta=delta)
    return loss


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """``torch.nn.functional.kl_div``."""
    need_tensors("kl_div", input=input, target=target)
    legacy = size_average is not None or reduce is not None
    if reduction == "mean" and not legacy:
        warnings.warn(
            "kl_div with reduction 'mean' divides by all elements; 'batchmean', by the batch size alone, is "
            "the mathematical definition.",
            stacklevel=2,
        )
    how = (
        reduction
        if reduction == "batchmean" and not legacy
        else reduction_of(size_average, reduce, reduction)
    )
    loss: Tensor = apply("kl_div", input, target, reduction=how, log_target=log_target)
    return loss


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """``torch.nn.functional.gaussian_nll_loss``; ``var`` is a number or broadcasts along one axis."""
    need_tensors("gaussian_nll_loss", input=input, target=target)
    how = reduction_of(None, None, reduction)
    if not isinstance(var, Tensor):
        var = input.new_full(input.shape, var)
    if var.shape != input.shape and var.shape == input.shape[:-1]:
        var = var.unsqueeze(-1)
    along = [m for n, m in zip(input.shape, var.shape, strict=False) if n != m]
    if len(var.shape) != len(input.shape) or along not in ([], [1]):
        raise ValueError(
            "var must have the shape of the input, that shape without its last axis, or 1 along one axis; "
            f"received {tuple(var.shape)} for an input of {tuple(input.shape)}; reshape it."
        )
    loss: Tensor = apply("gaussian_nll_loss", input, target, var, full=full, eps=eps, reduction=how)
    return loss


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``torch.nn.functional.poisson_nll_loss``."""
    need_tensors("poisson_nll_loss", input=input, target=target)
    how = reduction_of(size_average, reduce, reduction)
    loss: Tensor = apply(
        "poisson_nll_loss", input, target, log_input=log_input, full=full, eps=eps, reduction=how
    )
    return loss


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``torch.nn.functional.hinge_embedding_loss``."""
    need_tensors("hinge_embedding_loss", input=input, target=target)
    how = reduction_of(size_average, reduce, reduction)
    loss: Tensor = apply("hinge_embedding_loss", input, target, margin=margin, reduction=how)
    return loss


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``torch.nn.functional.margin_ranking_loss``."""
    need_tensors("margin_ranking_loss", input1=input1, input2=input2, target=target)
    how = reduction_of(size_average, reduce, reduction)
    if not input1.ndim == input2.ndim == target.ndim:
        raise RuntimeError(
            "margin_ranking_loss needs arguments of as many axes each; received "
            f"{tuple(input1.shape)}, {tuple(input2.shape)} and a target {tuple(target.shape)}; add the axes."
        )
    loss: Tensor = apply("margin_ranking_loss", input1, input2, target, margin=margin, reduction=how)
    return loss


def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``torch.nn.functional.soft_margin_loss``."""
    need_tensors("soft_margin_loss", input=input, target=target)
    how = reduction_of(size_average, reduce, reduction)
    loss: Tensor = apply("soft_margin_loss", input, target, reduction=how)
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
