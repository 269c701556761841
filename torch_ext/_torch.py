"""The array namespace of tensors: array_api_compat's, but for what ``torch`` itself does better.

array_api_compat converts Python scalars by ``torch.asarray`` and ``torch.result_type``, which
``torch.compile`` cannot trace, and it calls a few aliases for which PyTorch's vmap for batched
gradients (``is_grads_batched=True``) has no rule. What formulas use most goes straight to torch.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import array_api_compat.torch
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

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
            "abs ceil cos erfc exp expm1 floor isfinite isinf index_select isnan log log1p "
            "logical_and logical_not logical_or round sign sin sqrt square tanh trunc where"
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


def pad_axes(x: Tensor, padding: tuple[tuple[int, int], ...], value: float = 0.0) -> Tensor:
    """``torch.nn.functional.pad``."""
    last_first = [n for pair in reversed(padding) for n in pair]
    return F.pad(x, last_first, value=value) if builtins.any(last_first) else x


def correlate(x: Tensor, w: Tensor, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Tensor:
    """``torch.nn.functional.conv1d`` to ``conv3d``."""
    conv = (torch.conv1d, torch.conv2d, torch.conv3d)[w.ndim - 3]
    return conv(x, w, None, stride, padding, dilation, groups)


def correlate_to_input(
    y: Tensor, w: Tensor, spatial: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Tensor:
    """``torch.nn.functional.conv_transpose1d`` to ``conv_transpose3d``."""
    conv = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)[w.ndim - 3]
    # entries at the end of x that no window reached, since the stride stepped over them
    unseen = tuple(
        (n + 2 * p - d * (k - 1) - 1) % s
        for n, k, s, p, d in zip(spatial, w.shape[2:], stride, padding, dilation, strict=True)
    )
    return conv(y, w, None, stride, padding, unseen, groups, dilation)


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


def argmax_fractional(x: Tensor, u: Tensor, kernel: Ints, out: Ints) -> Tensor:
    """The indices of ``torch.nn.functional.fractional_max_pool2d`` and ``fractional_max_pool3d``."""
    nn = torch._C._nn
    pool = nn.fractional_max_pool2d if len(out) == 2 else nn.fractional_max_pool3d
    index: Tensor = pool(x, kernel, out, u)[1]
    return index
