"""Distances and similarities, and the losses made of them: the names of ``torch.nn.functional``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from torch_ext.functional._common import apply, need_tensors, reduction_of

__all__ = [
    "cosine_embedding_loss",
    "cosine_similarity",
    "pairwise_distance",
    "pdist",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """``torch.nn.functional.cosine_similarity``."""
    need_tensors("cosine_similarity", x1=x1, x2=x2)
    common = torch.promote_types(x1.dtype, x2.dtype)
    if not common.is_floating_point:
        raise RuntimeError(
            f"cosine_similarity needs real floating-point numbers; received {x1.dtype} and {x2.dtype}; "
            "convert them."
        )
    y: Tensor = apply("cosine_similarity", x1.to(common), x2.to(common), dim=dim, eps=eps)
    return y


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """``torch.nn.functional.pairwise_distance``."""
    need_tensors("pairwise_distance", x1=x1, x2=x2)
    y: Tensor = apply("pairwise_distance", x1, x2, p=p, eps=eps, keepdim=keepdim)
    return y


def pdist(input: Tensor, p: float = 2) -> Tensor:
    """``torch.nn.functional.pdist``."""
    need_tensors("pdist", input=input)
    y: Tensor = apply("pdist", input, p=p)
    return y


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``torch.nn.functional.cosine_embedding_loss``."""
    need_tensors("cosine_embedding_loss", input1=input1, input2=input2, target=target)
    how = reduction_of(size_average, reduce, reduction)
    loss: Tensor = apply("cosine_embedding_loss", input1, input2, target, margin=margin, reduction=how)
    return loss


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``torch.nn.functional.triplet_margin_loss``."""
    how = reduction_of(size_average, reduce, reduction)
    _triplet("triplet_margin_loss", anchor, positive, negative, margin)
    options = {"margin": margin, "p": p, "eps": eps, "swap": swap, "reduction": how}
    loss: Tensor = apply("triplet_margin_loss", anchor, positive, negative, **options)
    return loss


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """``torch.nn.functional.triplet_margin_with_distance_loss``; a distance given brings its own gradient."""
    how = reduction_of(None, None, reduction)
    _triplet("triplet_margin_with_distance_loss", anchor, positive, negative, margin)
    distance = _ours(distance_function)
    near, far = distance(anchor, positive), distance(anchor, negative)
    between = (distance(positive, negative),) if swap else ()
    loss: Tensor = apply(
        "triplet_margin_with_distance_loss", near, far, *between, margin=margin, reduction=how
    )
    return loss


def _ours(distance: Callable[[Tensor, Tensor], Tensor] | None) -> Callable[[Tensor, Tensor], Tensor]:
    """Our function for a distance of PyTorch's own; any other as it is."""
    if distance is None or distance is torch.nn.functional.pairwise_distance:
        return pairwise_distance
    if distance is torch.nn.functional.cosine_similarity:
        return cosine_similarity
    if type(distance) is torch.nn.PairwiseDistance:
        return partial(pairwise_distance, p=distance.norm, eps=distance.eps, keepdim=distance.keepdim)
    if type(distance) is torch.nn.CosineSimilarity:
        return partial(cosine_similarity, dim=distance.dim, eps=distance.eps)
    return distance


def _triplet(layer: str, anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> None:
    need_tensors(layer, anchor=anchor, positive=positive, negative=negative)
    if margin <= 0:
        raise ValueError(
            f"margin of {layer} must be greater than 0; received {margin}; give a positive number."
        )
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise RuntimeError(
            f"{layer} needs anchor, positive and negative of as many axes each; received "
            f"{tuple(anchor.shape)}, {tuple(positive.shape)} and {tuple(negative.shape)}; add the axes."
        )
