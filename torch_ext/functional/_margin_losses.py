"""Losses with a margin: the names of ``torch.nn.functional``."""

from __future__ import annotations

import torch
from torch import Tensor

from torch_ext.functional._common import apply, need_floats, need_tensors, reduction_of

__all__ = [
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "soft_margin_loss",
]


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


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``torch.nn.functional.multi_margin_loss``."""
    how = reduction_of(size_average, reduce, reduction)
    need_floats("multi_margin_loss", input=input)
    need_tensors("multi_margin_loss", target=target)
    if p not in (1, 2):
        raise ValueError(f"p of multi_margin_loss must be 1 or 2; received {p}; choose one of these.")
    if weight is not None and weight.ndim != 1:
        raise ValueError(
            f"weight must have one axis, the classes; received {tuple(weight.shape)}; reshape it."
        )
    loss: Tensor = apply("multi_margin_loss", input, target, weight, p=p, margin=margin, reduction=how)
    return loss


def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``torch.nn.functional.multilabel_margin_loss``."""
    how = reduction_of(size_average, reduce, reduction)
    need_floats("multilabel_margin_loss", input=input)
    need_tensors("multilabel_margin_loss", target=target)
    if target.shape != input.shape:
        raise RuntimeError(
            "multilabel_margin_loss needs a target of the shape of the input; received "
            f"{tuple(target.shape)} and {tuple(input.shape)}; fill each row up with -1."
        )
    hidden = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    if target.numel() and target.ndim and not (hidden or target.is_meta):
        # columns behind the longest list of targets cost time alone
        longest = int(((target < 0).cumsum(-1) == 0).sum(-1).max())
        target = target[..., : max(longest, 1)]
    loss: Tensor = apply("multilabel_margin_loss", input, target, reduction=how)
    return loss


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``torch.nn.functional.multilabel_soft_margin_loss``."""
    how = reduction_of(size_average, reduce, reduction)
    need_floats("multilabel_soft_margin_loss", input=input)
    need_tensors("multilabel_soft_margin_loss", target=target)
    loss: Tensor = apply("multilabel_soft_margin_loss", input, target, weight, reduction=how)
    return loss
