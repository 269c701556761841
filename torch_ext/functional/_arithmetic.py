"""Arithmetic, reductions and shapes: the names of ``torch`` itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torch_ext.functional._common import Number, apply, as_floats, into, need_tensors

__all__ = [
    "add",
    "cat",
    "concat",
    "div",
    "divide",
    "exp",
    "log",
    "matmul",
    "mean",
    "mul",
    "multiply",
    "reshape",
    "square",
    "sub",
    "subtract",
    "sum",
    "transpose",
]

Operand = Tensor | Number
Dims = int | Sequence[int] | None


def add(input: Operand, other: Operand, *, alpha: Number = 1, out: Tensor | None = None) -> Tensor:
    """``torch.add``: input + alpha other, broadcast and promoted."""
    _check_alpha("add", input, other, alpha)
    return into(out, _binary("add", input, other, alpha=alpha))


def subtract(input: Operand, other: Operand, *, alpha: Number = 1, out: Tensor | None = None) -> Tensor:
    """``torch.subtract``: input - alpha other, broadcast and promoted."""
    _check_alpha("subtract", input, other, alpha)
    if any(isinstance(v, bool) or (isinstance(v, Tensor) and v.dtype == torch.bool) for v in (input, other)):
        raise RuntimeError("subtract needs numbers; received booleans; use ^ or torch.logical_xor.")
    return into(out, _binary("subtract", input, other, alpha=alpha))


def multiply(input: Operand, other: Operand, *, out: Tensor | None = None) -> Tensor:
    """``torch.multiply``: element by element, broadcast and promoted."""
    return into(out, _binary("multiply", input, other))


def divide(
    input: Operand, other: Operand, *, rounding_mode: str | None = None, out: Tensor | None = None
) -> Tensor:
    """``torch.divide``: element by element, broadcast and promoted; ``rounding_mode`` "trunc" or "floor"."""
    return into(out, _binary("divide", input, other, rounding_mode=rounding_mode))


def _binary(name: str, a: Operand, b: Operand, **options: Any) -> Tensor:
    """Operands may be numbers, and 0-dimensional tensors do not promote others of their kind."""
    for value in (a, b):
        if not isinstance(value, Tensor | Number):
            raise TypeError(
                f"{name} needs tensors or numbers; received {type(value).__name__}; convert it with "
                "torch.as_tensor."
            )
    dtype = _result_type(a, b)
    y: Tensor = apply(name, _tensor(a, b, dtype), _tensor(b, a, dtype), **options)
    # the formula may have computed 16-bit floats in float32
    return y.to(dtype) if dtype.is_floating_point and y.dtype != dtype else y


def _tensor(value: Operand, other: Operand, dtype: torch.dtype) -> Tensor:
    """An operand as a tensor, where the other is. Numbers are never rounded to 16 bits."""
    if isinstance(value, Tensor):
        mixed = value.is_floating_point() and value.dtype.itemsize == 2 and dtype.itemsize > 2
        return value.to(dtype) if mixed else value  # two 16-bit formats meet in float32
    device = other.device if isinstance(other, Tensor) else None
    if dtype.is_floating_point and dtype.itemsize < 4:
        dtype = torch.float32
    return torch.scalar_tensor(value, dtype=dtype, device=device)


def _result_type(a: Operand, b: Operand) -> torch.dtype:
    """``torch.result_type``, which compilers cannot trace.

    Tensors with axes rank before those without, and these before numbers. The lower in rank counts
    only if it is of a higher kind: booleans, integers, real numbers, complex numbers.
    """
    (rank_a, dtype_a), (rank_b, dtype_b) = _rank(a), _rank(b)
    if rank_a > rank_b and _kind(dtype_a) >= _kind(dtype_b):
        return dtype_a
    if rank_b > rank_a and _kind(dtype_b) >= _kind(dtype_a):
        return dtype_b
    return torch.promote_types(dtype_a, dtype_b)


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
        dtype = _result_type(a, b)
        if not (dtype.is_floating_point or dtype.is_complex):
            raise RuntimeError(f"{layer} of integers needs an integer alpha; received {alpha}; round it.")


# --- element by element -----------------------------------------------------------------


def square(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.square``."""
    need_tensors("square", input=input)
    return into(out, apply("square", input.to(torch.int64) if input.dtype == torch.bool else input))


def exp(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.exp``."""
    return into(out, apply("exp", as_floats("exp", input)))


def log(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.log``."""
    return into(out, apply("log", as_floats("log", input)))


# --- matrices, reductions, shapes ---------------------------------------------------------


def matmul(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.matmul``: vectors, matrices and batches of matrices."""
    need_tensors("matmul", input=input, other=other)
    return into(out, apply("matmul", input, other))


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


def concat(tensors: Sequence[Tensor], dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    """``torch.concat``."""
    if not tensors:
        raise ValueError("concat needs at least one tensor; received none; give a non-empty list.")
    need_tensors("concat", **{f"tensors[{i}]": x for i, x in enumerate(tensors)})
    # PyTorch passes over tensors of shape (0,), whatever the shape of the others
    full = [x for x in tensors if x.shape != (0,)] or tensors[:1]
    return into(out, apply("concat", *full, dim=dim))


def reshape(input: Tensor, shape: Sequence[int]) -> Tensor:
    """``torch.reshape``; the result has memory of its own."""
    need_tensors("reshape", input=input)
    return apply("reshape", input, shape=tuple(shape))  # type: ignore[no-any-return]


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """``torch.transpose``; the result has memory of its own."""
    need_tensors("transpose", input=input)
    return apply("transpose", input, dim0=dim0, dim1=dim1)  # type: ignore[no-any-return]


def _to(x: Tensor, dtype: torch.dtype | None) -> Tensor:
    return x if dtype is None else x.to(dtype)


def _dims(dim: Dims) -> int | tuple[int, ...] | None:
    if dim is None or isinstance(dim, int):
        return dim
    if isinstance(dim, str):
        raise TypeError(f"dim must be an integer or several; received {dim!r}; named axes are not supported.")
    return tuple(dim)


# PyTorch's own short names for the same functions
cat, sub, mul, div = concat, subtract, multiply, divide
