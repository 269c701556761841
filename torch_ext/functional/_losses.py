"""Losses: the names of ``torch.nn.functional``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import LinearCrossEntropyOptions

from torch_ext.functional._common import apply, need_floats, need_tensors, reduction_of

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "ctc_loss",
    "gaussian_nll_loss",
    "huber_loss",
    "kl_div",
    "l1_loss",
    "linear_cross_entropy",
    "mse_loss",
    "nll_loss",
    "poisson_nll_loss",
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
    if (
        weight is not None
        and weight.dtype != input.dtype
        and not torch.is_autocast_enabled(input.device.type)
    ):
        raise RuntimeError(
            f"weight must have the dtype of the input; received {weight.dtype} and {input.dtype}; convert it."
        )
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


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor | Sequence[int],
    target_lengths: Tensor | Sequence[int],
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """``torch.nn.functional.ctc_loss``: targets (N, S), or all of them one after the other."""
    how = reduction_of(None, None, reduction)
    need_floats("ctc_loss", log_probs=log_probs)
    need_tensors("ctc_loss", targets=targets)
    if targets.is_floating_point():
        raise RuntimeError(f"targets must be integers; received {targets.dtype}; convert them.")
    alone = log_probs.ndim == 2
    x = log_probs.unsqueeze(1) if alone else log_probs
    lengths = [_lengths(v, targets) for v in (input_lengths, target_lengths)]
    rows = _in_rows(targets, lengths[1]) if targets.ndim == 1 else targets
    options = {"blank": blank, "reduction": how, "zero_infinity": zero_infinity}
    loss: Tensor = apply("ctc_loss", x, rows, *lengths, **options)
    return loss.squeeze(0) if alone and how == "none" else loss


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: LinearCrossEntropyOptions | None = None,
) -> Tensor:
    """``torch.nn.functional.linear_cross_entropy``; of ``options`` the size of the chunks counts."""
    need_floats("linear_cross_entropy", input=input, linear_weight=linear_weight)
    need_tensors("linear_cross_entropy", target=target)
    how = reduction_of(None, None, reduction)
    if target.is_floating_point() and ignore_index is not None:
        raise RuntimeError(
            "ignore_index is for class indices, not for class probabilities; received "
            f"{ignore_index}; leave it out."
        )
    chunk = None
    if options is not None:
        if linear_weight.ndim == 2 and label_smoothing == 0 and target.dtype == torch.int64:
            chunk = _chunk(options, input, linear_weight)
        else:
            warnings.warn(
                "linear_cross_entropy takes chunks for class indices (int64) without label smoothing and one "
                "loss a sample; options are ignored.",
                stacklevel=2,
            )
    loss: Tensor = apply(
        "linear_cross_entropy",
        input,
        linear_weight,
        target,
        linear_bias,
        weight,
        ignore_index=-100 if ignore_index is None else ignore_index,
        label_smoothing=label_smoothing,
        reduction=how,
        chunk=chunk,
    )
    return loss


def _chunk(options: LinearCrossEntropyOptions, x: Tensor, weight: Tensor) -> int:
    """How many rows at a time, as PyTorch's options choose it."""
    rows = x.shape[0] if x.ndim == 2 else 1
    chosen = options._adjust(  # type: ignore[no-untyped-call]
        num_batches=rows,
        in_features=x.shape[-1],
        num_classes=weight.shape[0],
        dtype=x.dtype,
        device=x.device,
    )
    if chosen.acc_dtype not in (x.dtype, torch.float32) or (
        chosen.acc_dtype != x.dtype and x.dtype not in (torch.float16, torch.bfloat16)
    ):
        raise RuntimeError(
            "acc_dtype must be the input's dtype, or float32 for 16-bit inputs; received "
            f"{chosen.acc_dtype} for {x.dtype}; leave it out."
        )
    size: int = chosen.batch_chunk_size
    return size


def _lengths(given: Tensor | Sequence[int], targets: Tensor) -> Tensor:
    lengths = torch.as_tensor(given, device=targets.device)
    if lengths.is_floating_point():
        raise RuntimeError(f"lengths must be integers; received {lengths.dtype}; convert them.")
    return lengths.reshape(-1)


def _in_rows(targets: Tensor, lengths: Tensor) -> Tensor:
    """Targets one after the other (sum of lengths,) -> (N, longest); the rest of each row is arbitrary."""
    hidden = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    total = targets.shape[0]
    if not hidden and int(lengths.sum()) != total:
        raise RuntimeError(
            f"target_lengths must add up to the targets given one after the other, {total}; received "
            f"{lengths.tolist()}; correct them."
        )
    longest = total if hidden else max(lengths.tolist(), default=0)
    place = torch.arange(longest, device=targets.device)
    starts = lengths.cumsum(0) - lengths
    if not total:
        return targets.new_zeros((lengths.shape[0], 0))
    return targets[(starts[:, None] + place).clamp(max=total - 1)]


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
