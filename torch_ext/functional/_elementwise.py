"""Functions of one tensor, element by element, and choices between tensors: the names of ``torch`` itself."""

from __future__ import annotations

from typing import Any, overload

import torch
from torch import Tensor

from torch_ext.functional._arithmetic import Operand, as_operand, binary, need_operands, result_type
from torch_ext.functional._common import Number, apply, as_floats, into, need_tensors

__all__ = [
    "abs",
    "absolute",
    "clamp",
    "clamp_max",
    "clamp_min",
    "clip",
    "cos",
    "erf",
    "exp",
    "expm1",
    "float_power",
    "log",
    "log1p",
    "masked_fill",
    "maximum",
    "minimum",
    "neg",
    "negative",
    "pow",
    "reciprocal",
    "rsqrt",
    "sign",
    "sin",
    "sqrt",
    "square",
    "where",
]


def _of_floats(name: str, input: Tensor, out: Tensor | None) -> Tensor:
    return into(out, apply(name, as_floats(name, input)))


def exp(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.exp``."""
    return _of_floats("exp", input, out)


def expm1(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.expm1``: exp(x) - 1, accurate near 0."""
    return _of_floats("expm1", input, out)


def log(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.log``."""
    return _of_floats("log", input, out)


def log1p(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.log1p``: log(1 + x), accurate near 0."""
    return _of_floats("log1p", input, out)


def sqrt(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.sqrt``."""
    return _of_floats("sqrt", input, out)


def rsqrt(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.rsqrt``."""
    return _of_floats("rsqrt", input, out)


def reciprocal(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.reciprocal``."""
    return _of_floats("reciprocal", input, out)


def sin(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.sin``."""
    return _of_floats("sin", input, out)


def cos(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.cos``."""
    return _of_floats("cos", input, out)


def erf(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.erf``."""
    return _of_floats("erf", input, out)


def square(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.square``."""
    need_tensors("square", input=input)
    return into(out, apply("square", input.to(torch.int64) if input.dtype == torch.bool else input))


def negative(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.negative``."""
    need_tensors("negative", input=input)
    if input.dtype == torch.bool:
        raise RuntimeError("negative needs numbers; received booleans; use ~ or torch.logical_not.")
    return into(out, apply("negative", input))


def abs(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.abs``: of complex numbers, too."""
    need_tensors("abs", input=input)
    return into(out, apply("abs", input))


def sign(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.sign``."""
    need_tensors("sign", input=input)
    if input.is_complex():
        raise RuntimeError("sign needs real numbers; received complex ones; use torch.sgn.")
    return into(out, apply("sign", input))


def pow(input: Operand, exponent: Operand, *, out: Tensor | None = None) -> Tensor:
    """``torch.pow``: tensors or numbers, broadcast and promoted."""
    need_operands("pow", input, exponent)
    if not result_type(input, exponent).is_floating_point and not result_type(input, exponent).is_complex:
        # whole numbers have no gradient: PyTorch's own checks and rules
        return into(out, torch.pow(input, exponent))  # type: ignore[arg-type]
    return into(out, binary("pow", input, exponent))


def float_power(input: Operand, exponent: Operand, *, out: Tensor | None = None) -> Tensor:
    """``torch.float_power``: :func:`pow` in float64 or complex128."""
    need_operands("float_power", input, exponent)
    if not isinstance(input, Tensor) and not isinstance(exponent, Tensor):
        raise TypeError("float_power needs a tensor; received two numbers; convert one with torch.as_tensor.")
    wide = torch.complex128 if result_type(input, exponent).is_complex else torch.float64
    a, b = (v.to(wide) if isinstance(v, Tensor) else torch.tensor(v, dtype=wide) for v in (input, exponent))
    return into(out, apply("pow", a, b))


# --- choices -----------------------------------------------------------------------------


def maximum(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.maximum``."""
    return into(out, _chosen("maximum", input, other))


def minimum(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.minimum``."""
    return into(out, _chosen("minimum", input, other))


def _chosen(name: str, input: Tensor, other: Tensor) -> Tensor:
    need_tensors(name, input=input, other=other)
    _need_real(name, input, other)
    return binary(name, input, other)


def _need_real(name: str, *values: Any) -> None:
    if any(isinstance(v, complex) or (isinstance(v, Tensor) and v.is_complex()) for v in values):
        raise RuntimeError(f"{name} needs real numbers, which have an order; received complex ones.")


def clamp(
    input: Tensor, min: Operand | None = None, max: Operand | None = None, *, out: Tensor | None = None
) -> Tensor:
    """``torch.clamp``: bounds are tensors or numbers."""
    need_tensors("clamp", input=input)
    bounds = [b for b in (min, max) if b is not None]
    if not bounds:
        raise RuntimeError("clamp needs a bound; received neither min nor max; give one.")
    need_operands("clamp", *bounds)
    _need_real("clamp", input, *bounds)
    dtype = result_type(input, *bounds)
    low, high = (None if b is None else as_operand(b, input, dtype) for b in (min, max))
    y: Tensor = apply("clamp", input.to(dtype), low, high)
    return into(out, y.to(dtype))


def clamp_min(input: Tensor, min: Operand, *, out: Tensor | None = None) -> Tensor:
    """``torch.clamp_min``."""
    return clamp(input, min=min, out=out)


def clamp_max(input: Tensor, max: Operand, *, out: Tensor | None = None) -> Tensor:
    """``torch.clamp_max``."""
    return clamp(input, max=max, out=out)


@overload
def where(condition: Tensor, input: Operand, other: Operand, *, out: Tensor | None = None) -> Tensor: ...
@overload
def where(condition: Tensor) -> tuple[Tensor, ...]: ...
def where(
    condition: Tensor,
    input: Operand | None = None,
    other: Operand | None = None,
    *,
    out: Tensor | None = None,
) -> Any:
    """``torch.where``; without operands the indices of what is true."""
    need_tensors("where", condition=condition)
    if input is None or other is None:
        if input is not other:
            raise TypeError("where needs two operands, or none; received one; give the other.")
        return torch.where(condition)
    need_operands("where", input, other)
    if condition.dtype not in (torch.bool, torch.uint8):
        raise RuntimeError(f"where needs a boolean condition; received {condition.dtype}; compare first.")
    dtype = result_type(input, other)
    a, b = (v.to(dtype) if isinstance(v, Tensor) else _scalar(v, condition, dtype) for v in (input, other))
    return into(out, apply("where", condition.to(torch.bool), a, b))


def _scalar(value: Number | None, like: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.scalar_tensor(value, dtype=dtype, device=like.device)  # type: ignore[arg-type]


def masked_fill(input: Tensor, mask: Tensor, value: Operand) -> Tensor:
    """``torch.masked_fill``: ``value``, one number, where the mask holds."""
    need_tensors("masked_fill", input=input, mask=mask)
    need_operands("masked_fill", value)
    if mask.dtype != torch.bool:
        raise RuntimeError(f"masked_fill needs a boolean mask; received {mask.dtype}; compare first.")
    if isinstance(value, Tensor) and value.ndim:
        raise RuntimeError(f"masked_fill needs one number; received shape {tuple(value.shape)}; use where.")
    if not torch.can_cast(result_type(value), input.dtype):
        raise RuntimeError(f"masked_fill cannot write {value} into {input.dtype}; convert one of them.")
    if not isinstance(value, Tensor):
        value = _scalar(value, input, input.dtype)
    return apply("masked_fill", input, mask, value)  # type: ignore[no-any-return]


neg, absolute, clip = negative, abs, clamp
