"""Linear maps, convolutions and windows: the names of ``torch.nn.functional``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torch_ext._autocast import device_type, is_on
from torch_ext.functional._common import apply, need_ints, need_tensors

__all__ = [
    "bilinear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_tbc",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "fold",
    "grouped_mm",
    "linear",
    "unfold",
]

Ints = int | Sequence[int]


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``."""
    need_tensors("linear", input=input, weight=weight)
    y: Tensor = apply("linear", input, weight, bias)
    return y


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.bilinear``."""
    need_tensors("bilinear", input1=input1, input2=input2, weight=weight)
    _need_one_dtype("bilinear", input1, input2, weight, bias)
    y: Tensor = apply("bilinear", input1, input2, weight, bias)
    return y


def grouped_mm(
    mat_a: Tensor,
    mat_b: Tensor,
    *,
    offs: Tensor | None = None,
    bias: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """``torch.nn.functional.grouped_mm``; it takes any floating dtype and any strides."""
    need_tensors("grouped_mm", mat_a=mat_a, mat_b=mat_b)
    _need_one_dtype("grouped_mm", mat_a, mat_b)
    if bias is not None:
        raise RuntimeError("grouped_mm has no bias in PyTorch either; received one; add it to the result.")
    if out_dtype not in (None, mat_a.dtype):
        raise RuntimeError(f"out_dtype must be that of mat_a; received {out_dtype}; cast the result.")
    if offs is not None and offs.dtype != torch.int32:
        raise RuntimeError(f"offs must be int32; received {offs.dtype}; convert it.")
    y: Tensor = apply("grouped_mm", mat_a, mat_b, offs)
    return y


def _need_one_dtype(layer: str, *tensors: Tensor | None) -> None:
    """Raise RuntimeError where dtypes differ, as PyTorch does; autocast makes them one."""
    given = [t for t in tensors if t is not None]
    if len({t.dtype for t in given}) > 1 and not is_on(device_type(given)):
        dtypes = ", ".join(str(t.dtype) for t in given)
        raise RuntimeError(f"{layer} needs all tensors in one dtype; received {dtypes}; convert them.")


# --- convolutions -----------------------------------------------------------------------


def _convolution(name: str, x: Tensor, w: Tensor, b: Tensor | None, **options: Any) -> Tensor:
    need_tensors(name, input=x, weight=w, **({} if b is None else {"bias": b}))
    _need_one_dtype(name, x, w, b)
    need_ints(name, **{k: v for k, v in options.items() if not (k == "padding" and isinstance(v, str))})
    y: Tensor = apply(name, x, w, b, **options)
    return y


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """``torch.nn.functional.conv1d``."""
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return _convolution("conv1d", input, weight, bias, **options)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """``torch.nn.functional.conv2d``."""
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return _convolution("conv2d", input, weight, bias, **options)


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """``torch.nn.functional.conv3d``."""
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return _convolution("conv3d", input, weight, bias, **options)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """``torch.nn.functional.conv_transpose1d``."""
    options = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
    return _convolution("conv_transpose1d", input, weight, bias, **options, groups=groups)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """``torch.nn.functional.conv_transpose2d``."""
    options = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
    return _convolution("conv_transpose2d", input, weight, bias, **options, groups=groups)


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """``torch.nn.functional.conv_transpose3d``."""
    options = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
    return _convolution("conv_transpose3d", input, weight, bias, **options, groups=groups)


def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """``torch.nn.functional.conv_tbc``: time, batch, channels."""
    need_tensors("conv_tbc", bias=bias)
    return _convolution("conv_tbc", input, weight, bias, pad=pad)


# --- windows ----------------------------------------------------------------------------


def _need_no_integers(layer: str, input: Tensor) -> None:
    need_tensors(layer, input=input)
    if not (input.is_floating_point() or input.is_complex() or input.dtype == torch.bool):
        raise NotImplementedError(f"{layer} takes no integers; received {input.dtype}; convert them first.")


def unfold(
    input: Tensor, kernel_size: Ints, dilation: Ints = 1, padding: Ints = 0, stride: Ints = 1
) -> Tensor:
    """``torch.nn.functional.unfold``: the windows of pictures as columns."""
    _need_no_integers("unfold", input)
    options = {"kernel_size": kernel_size, "dilation": dilation, "padding": padding, "stride": stride}
    need_ints("unfold", **options)
    y: Tensor = apply("unfold", input, **options)
    return y


def fold(
    input: Tensor,
    output_size: Ints,
    kernel_size: Ints,
    dilation: Ints = 1,
    padding: Ints = 0,
    stride: Ints = 1,
) -> Tensor:
    """``torch.nn.functional.fold``: columns as windows, added up where they overlap."""
    _need_no_integers("fold", input)
    options = {"kernel_size": kernel_size, "dilation": dilation, "padding": padding, "stride": stride}
    need_ints("fold", output_size=output_size, **options)
    y: Tensor = apply("fold", input, output_size=output_size, **options)
    return y
