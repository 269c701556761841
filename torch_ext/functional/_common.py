"""What the functions share: checks of arguments as PyTorch makes them, ``out=``, in-place forms."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.nn import _reduction

from handgrad._derivation import registry
from torch_ext._function import call
from torch_ext._in_place import Copy, InPlace

Number = int | float | complex


def apply(name: str, *inputs: Any, **options: Any) -> Any:
    """The derivation registered as ``name``, applied to tensors."""
    return call(registry[name], *inputs, **options)


# --- arguments --------------------------------------------------------------------------


def need_tensors(layer: str, **arguments: Any) -> None:
    """Raise TypeError for an argument that is no tensor, as PyTorch does."""
    for name, value in arguments.items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{layer} needs a tensor as {name}; received {type(value).__name__}; convert it with "
                "torch.as_tensor."
            )


def need_floats(layer: str, *, allow_complex: bool = False, **arguments: Tensor) -> None:
    """Raise NotImplementedError for integers, as PyTorch's kernels do."""
    need_tensors(layer, **arguments)
    for name, x in arguments.items():
        if not (x.is_floating_point() or (allow_complex and x.is_complex())):
            raise NotImplementedError(
                f"{layer} needs floating-point numbers as {name}; received {x.dtype}; convert them first."
            )


def need_ints(layer: str, **arguments: Any) -> None:
    """Raise TypeError for what is neither an integer nor several of them, as PyTorch does."""
    for name, value in arguments.items():
        several = value if isinstance(value, tuple | list) else (value,)
        if not all(hasattr(n, "__index__") for n in several):
            raise TypeError(f"{layer} needs integers as {name}; received {value!r}; round it.")


def as_floats(layer: str, x: Tensor) -> Tensor:
    """Integers become the default dtype, as in PyTorch's element-wise functions."""
    need_tensors(layer, input=x)
    return x if x.is_floating_point() or x.is_complex() else x.to(torch.get_default_dtype())


def reduction_of(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """``reduction``, or what the deprecated arguments mean. Raises ValueError for an unknown one."""
    if size_average is not None or reduce is not None:
        reduction = _reduction.legacy_get_string(size_average, reduce)
    return ("none", "mean", "sum")[_reduction.get_enum(reduction)]


def advise(text: str, stacklevel: int = 1) -> None:
    """Warn the caller of the function that calls this; compilers trace no warnings."""
    if not torch.compiler.is_compiling():
        warnings.warn(text, stacklevel=stacklevel + 2)


# --- results ----------------------------------------------------------------------------


def into(out: Tensor | None, y: Tensor) -> Tensor:
    """``y``, written to ``out`` where one is given, which cannot be differentiated."""
    if out is None:
        return y
    if torch.is_grad_enabled() and (y.requires_grad or out.requires_grad):
        raise RuntimeError(
            "out= does not support automatic differentiation; received an argument that requires grad; "
            "leave out= away, or call under torch.no_grad()."
        )
    if not torch.can_cast(y.dtype, out.dtype):
        raise RuntimeError(f"out= must be able to hold the result; received {out.dtype} for {y.dtype}.")
    if out.shape != y.shape:
        out.resize_(y.shape)
    return out.copy_(y)


def apart(out: Tensor | None, *inputs: Tensor) -> None:
    """An output that shares memory with an input cannot be written while that is read."""
    if out is not None and out.numel():
        kept = out.untyped_storage().data_ptr()
        strided = any(n > 1 and s == 0 for n, s in zip(out.shape, out.stride(), strict=True))
        if strided or any(x.untyped_storage().data_ptr() == kept for x in inputs):
            raise RuntimeError("out= shares memory with an input, or with itself; received such a tensor.")


def in_place(name: str, x: Tensor, *inputs: Any, **options: Any) -> Tensor:
    """Overwrite ``x`` by the layer's output, and return it.

    The layer computes from a copy where gradients are recorded: what it saved must stay as it was.
    Raises RuntimeError for a leaf that requires grad.
    """
    if not (torch.is_grad_enabled() and x.requires_grad):
        return x.copy_(apply(name, x, *inputs, **options))
    if torch.compiler.is_compiling():  # a graph has no nodes of PyTorch's own, and copies as it likes
        return x.copy_(apply(name, x.clone(), *inputs, **options))
    result: Tensor = InPlace.apply(x, apply(name, Copy.apply(x), *inputs, **options))  # type: ignore[no-untyped-call]
    return result
