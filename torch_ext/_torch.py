"""The array namespace of tensors: array_api_compat's, but for what ``torch`` itself does better.

array_api_compat converts Python scalars by ``torch.asarray`` and ``torch.result_type``, which
``torch.compile`` cannot trace, and it calls a few aliases for which PyTorch's vmap for batched
gradients (``is_grads_batched=True``) has no rule. What formulas use most goes straight to torch.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any

import array_api_compat.torch
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor
from torch.autograd import forward_ad

from handgrad._primitives import logistic
from handgrad._primitives_fused import log_normalized, normalized
from handgrad._primitives_losses import log_sum_exp
from torch_ext._torch_choices import choose as choose
from torch_ext._torch_choices import choose_beyond as choose_beyond
from torch_ext._torch_choices import step as step
from torch_ext._torch_choices import where as where

# The standard's names; of Python's own names only those that the standard gives a meaning.
_SHADOWED = set(vars(builtins)) - {"abs", "all", "any", "bool", "pow", "round"}
globals().update(
    {
        name: value
        for name, value in vars(array_api_compat.torch).items()
        if name[0] != "_" and name not in _SHADOWED
    }
)
globals().update(
    {
        name: getattr(torch, name)
        for name in (
            "abs ceil cos erf erfc exp expm1 floor isfinite isinf index_select isnan log log1p "
            "logical_and logical_not logical_or round sign sin sqrt square tanh trunc"
        ).split()
    }
)

Axis = int | tuple[int, ...] | None


def _pair(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    """Both as tensors; a scalar takes the other's dtype."""
    if not isinstance(a, Tensor):
        return torch.full_like(b, a), b
    return a, b if isinstance(b, Tensor) else torch.full_like(a, b)


def maximum(a: Any, b: Any) -> Tensor:
    """``torch.maximum``, with a scalar too."""
    if not isinstance(b, Tensor):
        return torch.clamp(a, min=b)
    return torch.maximum(*_pair(a, b))


def minimum(a: Any, b: Any) -> Tensor:
    """``torch.minimum``, with a scalar too."""
    if not isinstance(b, Tensor):
        return torch.clamp(a, max=b)
    return torch.minimum(*_pair(a, b))


def floor_divide(a: Tensor, b: Tensor) -> Tensor:
    """``torch.div``, rounded down: unlike ``torch.floor_divide`` it has a forward mode."""
    return torch.div(a, b, rounding_mode="floor")


def clip(x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    """``torch.clamp``."""
    return torch.clamp(x, low, high)


def _axes(x: Tensor, axis: Axis) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(x.ndim))
    return (axis,) if isinstance(axis, int) else tuple(axis)


def sum(x: Tensor, *, axis: Axis = None, keepdims: builtins.bool = False, dtype: Any = None) -> Tensor:
    """``torch.sum``; () sums over no axis, as the standard says."""
    axes = _axes(x, axis)
    if not axes and x.ndim:
        return x if dtype is None else x.to(dtype)
    return torch.sum(x, dim=axes, keepdim=keepdims, dtype=dtype)


def mean(x: Tensor, *, axis: Axis = None, keepdims: builtins.bool = False) -> Tensor:
    """``torch.mean``; () takes the mean over no axis, as the standard says."""
    axes = _axes(x, axis)
    return torch.mean(x, dim=axes, keepdim=keepdims) if axes or not x.ndim else x


def max(x: Tensor, *, axis: Axis = None, keepdims: builtins.bool = False) -> Tensor:
    """``torch.amax``."""
    return torch.amax(x, dim=_axes(x, axis), keepdim=keepdims)


def min(x: Tensor, *, axis: Axis = None, keepdims: builtins.bool = False) -> Tensor:
    """``torch.amin``."""
    return torch.amin(x, dim=_axes(x, axis), keepdim=keepdims)


def all(x: Tensor, *, axis: Axis = None, keepdims: builtins.bool = False) -> Tensor:
    """``torch.all``."""
    return torch.all(x, dim=_axes(x, axis), keepdim=keepdims)


def any(x: Tensor, *, axis: Axis = None, keepdims: builtins.bool = False) -> Tensor:
    """``torch.any``."""
    return torch.any(x, dim=_axes(x, axis), keepdim=keepdims)


def astype(x: Tensor, dtype: torch.dtype, *, copy: builtins.bool = True) -> Tensor:
    """``x.to(dtype)``."""
    return x.to(dtype)


_KINDS: dict[str, Callable[[Any], builtins.bool]] = {
    "bool": lambda d: d == torch.bool,
    "real floating": lambda d: d.is_floating_point,
    "complex floating": lambda d: d.is_complex,
    "integral": lambda d: not (d.is_floating_point or d.is_complex or d == torch.bool),
    "numeric": lambda d: d != torch.bool,
}


def isdtype(dtype: torch.dtype, kind: Any) -> builtins.bool:
    """The standard's ``isdtype``, in a form that compilers trace."""
    if isinstance(kind, tuple):
        return builtins.any(isdtype(dtype, k) for k in kind)
    return builtins.bool(_KINDS[kind](dtype)) if isinstance(kind, str) else dtype == kind


def holds(condition: Tensor) -> builtins.bool:
    """False where a condition on values is known to fail somewhere. True where nobody may look yet:
    in a graph being traced, under a transform, on the meta device, and on a GPU, which would wait."""
    hidden = (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or type(condition) is not Tensor  # fake tensors and other subclasses
        or condition.device.type != "cpu"
    )
    return hidden or builtins.bool(torch.all(condition))


def reshape(x: Tensor, shape: tuple[int, ...], *, copy: builtins.bool | None = None) -> Tensor:
    """``torch.reshape``."""
    return torch.reshape(x, shape)


def concat(arrays: Any, *, axis: int | None = 0) -> Tensor:
    """``torch.cat``."""
    if axis is None:
        return torch.cat([a.reshape(-1) for a in arrays])
    return torch.cat(tuple(arrays), dim=axis)


def stack(arrays: Any, *, axis: int = 0) -> Tensor:
    """``torch.stack``."""
    return torch.stack(tuple(arrays), dim=axis)


def unstack(x: Tensor, *, axis: int = 0) -> tuple[Tensor, ...]:
    """``torch.unbind``."""
    return torch.unbind(x, axis)


def take_along_axis(x: Tensor, index: Tensor, *, axis: int = -1) -> Tensor:
    """``torch.gather``."""
    return torch.gather(x, axis, index)


def expand_dims(x: Tensor, *, axis: int = 0) -> Tensor:
    """``torch.unsqueeze``."""
    return torch.unsqueeze(x, axis)


def squeeze(x: Tensor, axis: int | tuple[int, ...]) -> Tensor:
    """``torch.squeeze``."""
    return torch.squeeze(x, axis)


def broadcast_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """``torch.broadcast_to``, by ``expand``."""
    return x.expand(shape)


def moveaxis(x: Tensor, source: int, destination: int) -> Tensor:
    """``torch.movedim``: PyTorch's vmap has no rule for ``torch.moveaxis``."""
    return torch.movedim(x, source, destination)


def permute_dims(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """``torch.permute``."""
    return torch.permute(x, axes)


# --- primitives of handgrad, by PyTorch's own forward operators -------------------------

Ints = tuple[int, ...]


def wide_sum(x: Tensor, axes: Ints) -> Tensor:
    """The sum of float32 numbers in float64; on the CPU a copy in float64 is summed faster than x itself."""
    if x.dtype != torch.float32 or x.device.type == "mps":  # which has no float64
        return torch.sum(x, dim=axes, keepdim=True)
    if x.device.type == "cpu":
        return torch.sum(x.double(), dim=axes, keepdim=True)
    return torch.sum(x, dim=axes, keepdim=True, dtype=torch.float64)


def sigmoid(x: Tensor) -> Tensor:
    """``torch.sigmoid``; by its formula where it is differentiated in its turn, so that no native node with a
    backward operator of its own stands in a second backward pass."""
    formula = x.is_complex() or (torch.is_grad_enabled() and x.requires_grad)
    return logistic(x) if formula else torch.sigmoid(x)


def _recorded(*values: Any) -> builtins.bool:
    """Whether what is done with these may be differentiated. Under a transform nobody can tell: yes."""
    return (
        (torch.is_grad_enabled() and builtins.any(isinstance(v, Tensor) and v.requires_grad for v in values))
        or forward_ad._current_level >= 0
        or torch._C._are_functorch_transforms_active()
    )


def in_one_pass(name: str, formula: Callable[..., Tensor], x: Tensor, *rest: Any) -> Tensor:
    """``torch.nn.functional.NAME``; its formula where it is differentiated in its turn (see ``sigmoid``)."""
    coarse = name == "hardsigmoid" and x.dtype == torch.float64  # its 1/6 has the digits of float32
    if coarse or x.is_complex() or _recorded(x, *rest):
        return formula(x, *rest)
    y: Tensor = getattr(F, name)(x, *rest)
    return y


def affine(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """``torch.nn.functional.linear``."""
    return F.linear(x, w, b)


def softmax(x: Tensor, axis: tuple[int, ...]) -> Tensor:
    """``torch.softmax``; by its formula where it is differentiated in its turn (see ``sigmoid``)."""
    formula = not axis or (torch.is_grad_enabled() and x.requires_grad)
    return normalized(x, axis) if formula else torch.softmax(x, axis[0])


def log_softmax(x: Tensor, axis: tuple[int, ...]) -> Tensor:
    """``torch.log_softmax``; by its formula where it is differentiated in its turn (see ``sigmoid``)."""
    formula = not axis or x.is_complex() or _recorded(x)
    return log_normalized(x, axis) if formula else torch.log_softmax(x, axis[0])


def log_add_exp(a: Tensor, b: Tensor) -> Tensor:
    """``torch.logaddexp``; by its formula where it is differentiated in its turn (see ``sigmoid``)."""
    return log_sum_exp(torch.stack([a, b]), 0) if _recorded(a, b) else torch.logaddexp(a, b)


def pad_axes(x: Tensor, padding: tuple[tuple[int, int], ...], value: float = 0.0) -> Tensor:
    """``torch.nn.functional.pad``."""
    last_first = [n for pair in reversed(padding) for n in pair]
    return F.pad(x, last_first, value=value) if builtins.any(last_first) else x


def correlate(
    x: Tensor, w: Tensor, stride: Ints, padding: Ints, dilation: Ints, groups: int, b: Tensor | None = None
) -> Tensor:
    """``torch.nn.functional.conv1d`` to ``conv3d``."""
    conv = (torch.conv1d, torch.conv2d, torch.conv3d)[w.ndim - 3]
    return conv(x, w, b, stride, padding, dilation, groups)


def correlate_to_input(
    y: Tensor,
    w: Tensor,
    spatial: Ints,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    groups: int,
    b: Tensor | None = None,
) -> Tensor:
    """``torch.nn.functional.conv_transpose1d`` to ``conv_transpose3d``."""
    conv = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)[w.ndim - 3]
    # entries at the end of x behind the last window: the stride stepped over them
    sizes = zip(spatial, y.shape[2:], w.shape[2:], stride, padding, dilation, strict=True)
    unseen = tuple(n + 2 * p - d * (k - 1) - 1 - s * (m - 1) for n, m, k, s, p, d in sizes)
    return conv(y, w, b, stride, padding, unseen, groups, dilation)


def correlate_to_weight(
    x: Tensor, y: Tensor, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Tensor | None:
    """For one channel a group, ``conv1d`` or ``conv2d`` of x with y for the kernel, each sample by itself.

    ``conv3d`` sums such long kernels number by number: less exactly than a matrix product.
    """
    n, c = x.shape[:2]
    if not n or groups != c or y.shape[1] != c or x.ndim > 4:
        return None
    pictures, kernels = x.reshape(1, n * c, *x.shape[2:]), y.reshape(n * c, 1, *y.shape[2:])
    w = correlate(pictures, kernels, dilation, padding, stride, n * c)
    for i, k in enumerate(kernel):
        if w.shape[2 + i] > k:  # the stride stepped over the end
            w = w.narrow(2 + i, 0, k)
    return w.reshape(n, c, 1, *kernel).sum(0)


def argmax_windows(x: Tensor, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, out: Ints) -> Tensor:
    """The indices of ``torch.nn.functional.max_pool1d`` to ``max_pool3d``."""
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(kernel) - 1]
    sizes = zip(x.shape[-len(kernel) :], kernel, stride, padding, dilation, strict=True)
    fit = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes)
    return pool(x, kernel, stride, padding, dilation, ceil_mode=fit != out, return_indices=True)[1]


def sum_windows(x: Tensor, kernel: Ints, stride: Ints, padding: Ints, out: Ints) -> Tensor:
    """``torch.nn.functional.avg_pool2d`` and ``avg_pool3d`` with divisor 1."""
    if len(kernel) == 1:
        y = sum_windows(x.unsqueeze(-2), (1, *kernel), (1, *stride), (0, *padding), (1, *out))
        return y.squeeze(-2)
    sizes = zip(x.shape[-len(kernel) :], kernel, stride, padding, strict=True)
    ceil = tuple((n + 2 * p - k) // s + 1 for n, k, s, p in sizes) != out
    pool = F.avg_pool2d if len(kernel) == 2 else F.avg_pool3d
    return pool(x, kernel, stride, padding, ceil_mode=ceil, divisor_override=1)


def adaptive_means(x: Tensor, out: Ints) -> Tensor:
    """``torch.nn.functional.adaptive_avg_pool1d`` to ``adaptive_avg_pool3d``."""
    pools: Any = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
    y: Tensor = pools[len(out) - 1](x, out)
    return y


def argmax_adaptive(x: Tensor, out: Ints) -> Tensor:
    """The indices of ``torch.nn.functional.adaptive_max_pool1d`` to ``adaptive_max_pool3d``."""
    pool = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)[len(out) - 1]
    return pool(x, out, return_indices=True)[1]


def resample(
    x: Tensor,
    out: Ints,
    factors: tuple[float | None, ...],
    mode: str,
    corners: builtins.bool,
    antialias: builtins.bool,
) -> Tensor:
    """``torch.nn.functional.interpolate``, its own operator for each mode."""
    name = f"upsample_{mode}{len(out)}d"
    if mode == "nearest-exact":
        name = f"_upsample_nearest_exact{len(out)}d"
    elif antialias:
        name = f"_{name}_aa"
    align = () if mode.startswith("nearest") else (corners,)
    y: Tensor = getattr(torch.ops.aten, name).default(x, out, *align, *factors)
    return y


def sample_grid(
    x: Tensor, grid: Tensor, mode: str, padding_mode: str, align_corners: builtins.bool
) -> Tensor | None:
    """``torch.nn.functional.grid_sample``; None where a transform may want derivatives that it lacks."""
    if torch._C._are_functorch_transforms_active():
        return None
    how = (
        ("bilinear", "nearest", "bicubic").index(mode),
        ("zeros", "border", "reflection").index(padding_mode),
    )
    return torch.grid_sampler(x, grid, *how, align_corners)


def argmax_fractional(x: Tensor, u: Tensor, kernel: Ints, out: Ints) -> Tensor:
    """The indices of ``torch.nn.functional.fractional_max_pool2d`` and ``fractional_max_pool3d``."""
    nn = torch._C._nn
    pool = nn.fractional_max_pool2d if len(out) == 2 else nn.fractional_max_pool3d
    index: Tensor = pool(x, kernel, out, u)[1]
    return index


def argmax_rows(rows: Tensor, group: Tensor, n: int) -> Tensor:
    """By ``torch.scatter_reduce``: the largest of each group, then the first row that has it."""
    m, d = rows.shape
    at = torch.clamp(group, max=n)[:, None].expand(m, d)
    largest = rows.new_full((n + 1, d), -math.inf).scatter_reduce(0, at, rows, "amax")
    has_it = (rows == torch.gather(largest, 0, at)) | torch.isnan(rows)
    places = torch.arange(m, device=rows.device)[:, None]
    none = places.new_full((n + 1, d), m)
    first = none.scatter_reduce(0, at, torch.where(has_it, places, m), "amin")[:n]
    return torch.where(first < m, first, -1)


def columns(x: Tensor, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints) -> Tensor | None:
    """``torch.nn.functional.unfold`` under a transform; elsewhere windows of the tensor itself are faster.

    Their own derivative, ``unfold_backward``, is what PyTorch's vmap has no rule for.
    """
    if len(kernel) != 2 or not torch._C._are_functorch_transforms_active():
        return None
    return F.unfold(x, kernel, dilation, padding, stride)


def add_columns(
    u: Tensor, spatial: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> Tensor:
    """``torch.nn.functional.fold``."""
    return F.fold(u, spatial, kernel, dilation, padding, stride)


def packed(x: Tensor) -> Tensor:
    """A contiguous clone."""
    return x.clone(memory_format=torch.contiguous_format)


def log_of_one_and_exp(x: Tensor) -> Tensor:
    """``torch.nn.functional.softplus``, with a threshold beyond which even float64 knows no difference."""
    return F.softplus(x, threshold=40)


def integers(x: Tensor) -> list[int] | None:
    """The numbers in ``x`` (n,); None where nobody may look at them (see :func:`holds`)."""
    hidden = (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or type(x) is not Tensor
        or x.device.type == "meta"
    )
    return None if hidden else x.tolist()


def place_of_extreme(x: Tensor, axis: int, largest: builtins.bool) -> Tensor:
    """The indices of ``torch.max`` and ``torch.min``."""
    return (torch.max if largest else torch.min)(x, axis, keepdim=True)[1]


def order(x: Tensor, axis: int, descending: builtins.bool, stable: builtins.bool) -> Tensor:
    """The indices of ``torch.sort``."""
    return torch.sort(x, dim=axis, descending=descending, stable=stable)[1]


def first_places(x: Tensor, k: int, axis: int, largest: builtins.bool, ordered: builtins.bool) -> Tensor:
    """The indices of ``torch.topk``."""
    return torch.topk(x, k, axis, largest, ordered)[1]


def running_logsumexp(x: Tensor, axis: int) -> Tensor:
    """``torch.logcumsumexp``."""
    return torch.logcumsumexp(x, axis)


def cumulative_sum(x: Tensor, *, axis: int) -> Tensor:
    """``torch.cumsum``."""
    return torch.cumsum(x, axis)


def cumulative_prod(x: Tensor, *, axis: int) -> Tensor:
    """``torch.cumprod``."""
    return torch.cumprod(x, axis)


def prod(x: Tensor, *, axis: int, keepdims: builtins.bool = False) -> Tensor:
    """``torch.prod``, along one axis."""
    return torch.prod(x, axis, keepdims)


def addmm(c: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``torch.addmm``, and ``torch.baddbmm`` of batches."""
    return (torch.addmm if a.ndim == 2 else torch.baddbmm)(c, a, b)
