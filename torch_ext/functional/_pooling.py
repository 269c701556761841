"""Pooling: the names of ``torch.nn.functional``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torch_ext.functional._common import apply, need_floats, need_tensors

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d",
    "adaptive_max_pool3d_with_indices",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool1d_with_indices",
    "max_pool2d",
    "max_pool2d_with_indices",
    "max_pool3d",
    "max_pool3d_with_indices",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
]

Ints = int | Sequence[int]
OptionalInts = int | None | Sequence[int | None]
Pair = tuple[Tensor, Tensor]


def _windows(kernel_size: Ints, stride: Ints | None, **options: Any) -> dict[str, Any]:
    stride = None if isinstance(stride, Sequence) and not stride else stride
    return {"kernel_size": kernel_size, "stride": stride, **options}


def max_pool1d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """``torch.nn.functional.max_pool1d``: the maxima, with ``return_indices`` their indices too."""
    found = max_pool1d_with_indices(input, kernel_size, stride, padding, dilation, ceil_mode)
    return found if return_indices else found[0]


def max_pool1d_with_indices(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,  # noqa: ARG001 - PyTorch's signature, which ignores it too
) -> Pair:
    """``torch.nn.functional.max_pool1d_with_indices``."""
    need_tensors("max_pool1d", input=input)
    options = _windows(kernel_size, stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode)
    found: Pair = apply("max_pool1d", input, **options)
    return found


def max_pool2d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """``torch.nn.functional.max_pool2d``: the maxima, with ``return_indices`` their indices too."""
    found = max_pool2d_with_indices(input, kernel_size, stride, padding, dilation, ceil_mode)
    return found if return_indices else found[0]


def max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,  # noqa: ARG001 - PyTorch's signature, which ignores it too
) -> Pair:
    """``torch.nn.functional.max_pool2d_with_indices``."""
    need_tensors("max_pool2d", input=input)
    options = _windows(kernel_size, stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode)
    found: Pair = apply("max_pool2d", input, **options)
    return found


def max_pool3d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """``torch.nn.functional.max_pool3d``: the maxima, with ``return_indices`` their indices too."""
    found = max_pool3d_with_indices(input, kernel_size, stride, padding, dilation, ceil_mode)
    return found if return_indices else found[0]


def max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,  # noqa: ARG001 - PyTorch's signature, which ignores it too
) -> Pair:
    """``torch.nn.functional.max_pool3d_with_indices``."""
    need_tensors("max_pool3d", input=input)
    options = _windows(kernel_size, stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode)
    found: Pair = apply("max_pool3d", input, **options)
    return found


def avg_pool1d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """``torch.nn.functional.avg_pool1d``."""
    need_floats("avg_pool1d", input=input)
    options = _windows(kernel_size, stride, padding=padding, ceil_mode=ceil_mode)
    y: Tensor = apply("avg_pool1d", input, count_include_pad=count_include_pad, **options)
    return y


def avg_pool2d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """``torch.nn.functional.avg_pool2d``."""
    need_floats("avg_pool2d", input=input)
    options = _windows(
        kernel_size, stride, padding=padding, ceil_mode=ceil_mode, divisor_override=divisor_override
    )
    y: Tensor = apply("avg_pool2d", input, count_include_pad=count_include_pad, **options)
    return y


def avg_pool3d(
    input: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """``torch.nn.functional.avg_pool3d``."""
    need_floats("avg_pool3d", input=input)
    options = _windows(
        kernel_size, stride, padding=padding, ceil_mode=ceil_mode, divisor_override=divisor_override
    )
    y: Tensor = apply("avg_pool3d", input, count_include_pad=count_include_pad, **options)
    return y


def lp_pool1d(
    input: Tensor,
    norm_type: int | float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """``torch.nn.functional.lp_pool1d``."""
    need_floats("lp_pool1d", input=input)
    options = _windows(kernel_size, stride, ceil_mode=ceil_mode)
    y: Tensor = apply("lp_pool1d", input, norm_type=norm_type, **options)
    return y


def lp_pool2d(
    input: Tensor,
    norm_type: int | float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """``torch.nn.functional.lp_pool2d``."""
    need_floats("lp_pool2d", input=input)
    options = _windows(kernel_size, stride, ceil_mode=ceil_mode)
    y: Tensor = apply("lp_pool2d", input, norm_type=norm_type, **options)
    return y


def lp_pool3d(
    input: Tensor,
    norm_type: int | float,
    kernel_size: Ints,
    stride: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """``torch.nn.functional.lp_pool3d``."""
    need_floats("lp_pool3d", input=input)
    options = _windows(kernel_size, stride, ceil_mode=ceil_mode)
    y: Tensor = apply("lp_pool3d", input, norm_type=norm_type, **options)
    return y


def adaptive_avg_pool1d(input: Tensor, output_size: Ints) -> Tensor:
    """``torch.nn.functional.adaptive_avg_pool1d``."""
    need_floats("adaptive_avg_pool1d", input=input)
    y: Tensor = apply("adaptive_avg_pool1d", input, output_size=output_size)
    return y


def adaptive_avg_pool2d(input: Tensor, output_size: OptionalInts) -> Tensor:
    """``torch.nn.functional.adaptive_avg_pool2d``."""
    need_floats("adaptive_avg_pool2d", input=input)
    y: Tensor = apply("adaptive_avg_pool2d", input, output_size=output_size)
    return y


def adaptive_avg_pool3d(input: Tensor, output_size: OptionalInts) -> Tensor:
    """``torch.nn.functional.adaptive_avg_pool3d``."""
    need_floats("adaptive_avg_pool3d", input=input)
    y: Tensor = apply("adaptive_avg_pool3d", input, output_size=output_size)
    return y


def adaptive_max_pool1d(input: Tensor, output_size: Ints, return_indices: bool = False) -> Any:
    """``torch.nn.functional.adaptive_max_pool1d``: the maxima, with ``return_indices`` their indices too."""
    found = adaptive_max_pool1d_with_indices(input, output_size)
    return found if return_indices else found[0]


def adaptive_max_pool1d_with_indices(
    input: Tensor,
    output_size: Ints,
    return_indices: bool = False,  # noqa: ARG001 - PyTorch's signature, which ignores it too
) -> Pair:
    """``torch.nn.functional.adaptive_max_pool1d_with_indices``."""
    need_floats("adaptive_max_pool1d", input=input)
    found: Pair = apply("adaptive_max_pool1d", input, output_size=output_size)
    return found


def adaptive_max_pool2d(input: Tensor, output_size: OptionalInts, return_indices: bool = False) -> Any:
    """``torch.nn.functional.adaptive_max_pool2d``: the maxima, with ``return_indices`` their indices too."""
    found = adaptive_max_pool2d_with_indices(input, output_size)
    return found if return_indices else found[0]


def adaptive_max_pool2d_with_indices(
    input: Tensor,
    output_size: OptionalInts,
    return_indices: bool = False,  # noqa: ARG001 - PyTorch's signature, which ignores it too
) -> Pair:
    """``torch.nn.functional.adaptive_max_pool2d_with_indices``."""
    need_floats("adaptive_max_pool2d", input=input)
    found: Pair = apply("adaptive_max_pool2d", input, output_size=output_size)
    return found


def adaptive_max_pool3d(input: Tensor, output_size: OptionalInts, return_indices: bool = False) -> Any:
    """``torch.nn.functional.adaptive_max_pool3d``: the maxima, with ``return_indices`` their indices too."""
    found = adaptive_max_pool3d_with_indices(input, output_size)
    return found if return_indices else found[0]


def adaptive_max_pool3d_with_indices(
    input: Tensor,
    output_size: OptionalInts,
    return_indices: bool = False,  # noqa: ARG001 - PyTorch's signature, which ignores it too
) -> Pair:
    """``torch.nn.functional.adaptive_max_pool3d_with_indices``."""
    need_floats("adaptive_max_pool3d", input=input)
    found: Pair = apply("adaptive_max_pool3d", input, output_size=output_size)
    return found


def fractional_max_pool2d(
    input: Tensor,
    kernel_size: Ints,
    output_size: Ints | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """``torch.nn.functional.fractional_max_pool2d``, with the same random numbers from the same seed."""
    found = fractional_max_pool2d_with_indices(
        input, kernel_size, output_size, output_ratio, _random_samples=_random_samples
    )
    return found if return_indices else found[0]


def fractional_max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Ints,
    output_size: Ints | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,  # noqa: ARG001 - PyTorch's signature, which ignores it too
    _random_samples: Tensor | None = None,
) -> Pair:
    """``torch.nn.functional.fractional_max_pool2d_with_indices``."""
    return _fractional(2, input, kernel_size, output_size, output_ratio, _random_samples)


def fractional_max_pool3d(
    input: Tensor,
    kernel_size: Ints,
    output_size: Ints | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """``torch.nn.functional.fractional_max_pool3d``, with the same random numbers from the same seed."""
    found = fractional_max_pool3d_with_indices(
        input, kernel_size, output_size, output_ratio, _random_samples=_random_samples
    )
    return found if return_indices else found[0]


def fractional_max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Ints,
    output_size: Ints | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,  # noqa: ARG001 - PyTorch's signature, which ignores it too
    _random_samples: Tensor | None = None,
) -> Pair:
    """``torch.nn.functional.fractional_max_pool3d_with_indices``."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, _random_samples)


def _fractional(
    d: int,
    x: Tensor,
    kernel_size: Ints,
    output_size: Ints | None,
    output_ratio: float | Sequence[float] | None,
    u: Tensor | None,
) -> Pair:
    layer = f"fractional_max_pool{d}d"
    need_tensors(layer, input=x)
    if output_size is None:
        if output_ratio is None:
            raise ValueError(
                f"{layer} needs the size of its output; received neither; give output_size or output_ratio."
            )
        ratio = tuple(output_ratio) if isinstance(output_ratio, Sequence) else (output_ratio,) * d
        if len(ratio) != d:
            raise ValueError(f"output_ratio must be one number, or {d}; received {output_ratio}; give {d}.")
        output_size = [int(n * r) for n, r in zip(x.shape[-d:], ratio, strict=True)]
    need_floats(layer, input=x)
    if u is None and x.ndim > d:
        batch = 1 if x.ndim == d + 1 else x.shape[0]
        u = torch.rand(batch, x.shape[-d - 1], d, dtype=x.dtype, device=x.device)
    found: Pair = apply(layer, x, u, kernel_size=kernel_size, output_size=output_size)
    return found


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Ints | None = None,
) -> Tensor:
    """``torch.nn.functional.max_unpool1d``."""
    return _unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Ints | None = None,
) -> Tensor:
    """``torch.nn.functional.max_unpool2d``."""
    return _unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Ints,
    stride: Ints | None = None,
    padding: Ints = 0,
    output_size: Ints | None = None,
) -> Tensor:
    """``torch.nn.functional.max_unpool3d``."""
    return _unpool(3, input, indices, kernel_size, stride, padding, output_size)


def _each(value: Ints, d: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, Sequence) else (value,) * d


def _unpool(
    d: int,
    x: Tensor,
    indices: Tensor,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Ints,
    output_size: Ints | None,
) -> Tensor:
    layer = f"max_unpool{d}d"
    need_tensors(layer, input=x, indices=indices)
    kernel, steps, pads = (
        _each(v, d) for v in (kernel_size, kernel_size if stride is None else stride, padding)
    )
    default = [(n - 1) * s + k - 2 * p for n, k, s, p in zip(x.shape[-d:], kernel, steps, pads, strict=True)]
    out = default if output_size is None else list(_each(output_size, d))
    out = out[2:] if len(out) == d + 2 else out
    if len(out) != d:
        raise ValueError(f"output_size must have {d} or {d + 2} numbers; received {output_size}; give {d}.")
    for n, m, s in zip(default, out, steps, strict=True):
        if not n - s < m < n + s or m < 0:
            raise ValueError(
                f"output_size must be near {default}, within the stride {steps}; received {out}; "
                "give the size of what was pooled."
            )
    need_floats(layer, input=x)
    if indices.dtype != torch.int64:
        raise RuntimeError(
            f"{layer} needs int64 as indices; received {indices.dtype}; give those of a max pooling."
        )
    y: Tensor = apply(layer, x, indices, output_size=out)
    return y
