"""Arithmetic, reductions and shapes: the names of ``torch`` itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torch_ext.functional._common import Number, apply, into, need_tensors
from torch_ext.functional._products import matmul as matmul
from torch_ext.functional._shape_changes import concat as concat
from torch_ext.functional._shape_changes import reshape as reshape
from torch_ext.functional._shape_changes import transpose as transpose

__all__ = [
    "add",
    "div",
    "divide",
    "mean",
    "mul",
    "multiply",
    "sub",
    "subtract",
    "sum",
]

Operand = Tensor | Number
Dims = int | Sequence[int] | None


def add(input: Operand, other: Operand, *, alpha: Number = 1, out: Tensor | None = None) -> Tensor:
    """``torch.add``: input + alpha other, broadcast and promoted."""
    _check_alpha("add", input, other, alpha)
    return into(out, binary("add", input, other, alpha=alpha))


def subtract(input: Operand, other: Operand, *, alpha: Number = 1, out: Tensor | None = None) -> Tensor:
    """``torch.subtract``: input - alpha other, broadcast and promoted."""
    _check_alpha("subtract", input, other, alpha)
    if any(isinstance(v, bool) or (isinstance(v, Tensor) and v.dtype == torch.bool) for v in (input, other)):
        raise RuntimeError("subtract needs numbers; received booleans; use ^ or torch.logical_xor.")
    return into(out, binary("subtract", input, other, alpha=alpha))


def multiply(input: Operand, other: Operand, *, out: Tensor | None = None) -> Tensor:
    """``torch.multiply``: element by element, broadcast and promoted."""
    return into(out, binary("multiply", input, other))


def divide(
    input: Operand, other: Operand, *, rounding_mode: str | None = None, out: Tensor | None = None
) -> Tensor:
    """``torch.divide``: element by element, broadcast and promoted; ``rounding_mode`` "trunc" or "floor"."""
    return into(out, binary("divide", input, other, rounding_mode=rounding_mode))


def binary(name: str, a: Operand, b: Operand, **options: Any) -> Tensor:
    """Operands may be numbers, and 0-dimensional tensors do not promote others of their kind."""
    need_operands(name, a, b)
    dtype = result_type(a, b)
    y: Tensor = apply(name, as_operand(a, b, dtype), as_operand(b, a, dtype), **options)
    # the formula may have computed 16-bit floats in float32
    return y.to(dtype) if dtype.is_floating_point and y.dtype != dtype else y


def need_operands(name: str, *operands: Any) -> None:
    """Raise TypeError for what is neither a tensor nor a number."""
    for value in operands:
        if not isinstance(value, Tensor | Number):
            raise TypeError(
                f"{name} needs tensors or numbers; received {type(value).__name__}; convert it with "
                "torch.as_tensor."
            )


def as_operand(value: Operand, other: Operand, dtype: torch.dtype) -> Tensor:
    """An operand as a tensor, where the other is. Numbers are never rounded to 16 bits."""
    if isinstance(value, Tensor):
        mixed = value.is_floating_point() and value.dtype.itemsize == 2 and dtype.itemsize > 2
        return value.to(dtype) if mixed else value  # two 16-bit formats meet in float32
    device = other.device if isinstance(other, Tensor) else None
    if dtype.is_floating_point and dtype.itemsize < 4:
        dtype = torch.float32
    return torch.scalar_tensor(value, dtype=dtype, device=device)


def result_type(*operands: Operand) -> torch.dtype:
    """``torch.result_type`` of any number of operands, which compilers cannot trace.

    Tensors with axes rank before those without, and these before numbers. The lower in rank counts
    only if it is of a higher kind: booleans, integers, real numbers, complex numbers.
    """
    rank, dtype = _rank(operands[0])
    for other in operands[1:]:
        rank, dtype = _promoted((rank, dtype), _rank(other))
    return dtype


def _promoted(a: tuple[int, torch.dtype], b: tuple[int, torch.dtype]) -> tuple[int, torch.dtype]:
    if a[0] != b[0]:
        high, low = (a, b) if a[0] > b[0] else (b, a)
        if _kind(high[1]) >= _kind(low[1]):
            return high
    return max(a[0], b[0]), torch.promote_types(a[1], b[1])


def _rank(value: Operand) -> tuple[int, torch.dtype]:
    if isinstance(value, Tensor):
        return (2 if value.ndim else 1), value.dtype
    if isinstance(value, bool):
        return 0, torch.bool
    if isinstance(value, int):
        return 0, torch.int64
    real = torch.get_default_dtype()
    return 0, real if isinstance(value, float) else real.to_complex()


def _kind(dtype: torch.dtype) -> int:
    if dtype.is_complex:
        return 3
    return 2 if dtype.is_floating_point else int(dtype != torch.bool)


def _check_alpha(layer: str, a: Operand, b: Operand, alpha: Number) -> None:
    if not isinstance(alpha, int) and alpha != 1:
        dtype = result_type(a, b)
        if not (dtype.is_floating_point or dtype.is_complex):
            raise RuntimeError(f"{layer} of integers needs an integer alpha; received {alpha}; round it.")


# --- reductions ---------------------------------------------------------


def sum(
    input: Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """``torch.sum``."""
    need_tensors("sum", input=input)
    return into(out, apply("sum", _to(input, dtype), dim=_dims(dim), keepdim=keepdim))


def mean(
    input: Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """``torch.mean``."""
    need_tensors("mean", input=input)
    return into(out, apply("mean", _to(input, dtype), dim=_dims(dim), keepdim=keepdim))


def _to(x: Tensor, dtype: torch.dtype | None) -> Tensor:
    return x if dtype is None else x.to(dtype)


def _dims(dim: Dims) -> int | tuple[int, ...] | None:
    if dim is None or isinstance(dim, int):
        return dim
    if isinstance(dim, str):
        raise TypeError(f"dim must be an integer or several; received {dim!r}; named axes are not supported.")
    return tuple(dim)


# PyTorch's own short names for the same functions
sub, mul, div = subtract, multiply, divide
