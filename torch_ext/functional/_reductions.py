"""Reductions, running sums and products, order: the names of ``torch`` itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.return_types import max as MaxResult  # noqa: N812 - a type
from torch.return_types import min as MinResult  # noqa: N812
from torch.return_types import sort as SortResult  # noqa: N812
from torch.return_types import topk as TopkResult  # noqa: N812

from torch_ext.functional._arithmetic import _dims, _to
from torch_ext.functional._common import Number, apply, as_floats, into, need_tensors
from torch_ext.functional._elementwise import maximum, minimum

__all__ = [
    "amax",
    "amin",
    "argsort",
    "cumprod",
    "cumsum",
    "linalg_vector_norm",
    "logcumsumexp",
    "logsumexp",
    "max",
    "min",
    "msort",
    "norm",
    "prod",
    "sort",
    "std",
    "std_mean",
    "topk",
    "var",
    "var_mean",
]

Dims = int | Sequence[int] | None


# --- extremes and order ----------------------------------------------------------------------


def amax(input: Tensor, dim: Dims = (), keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """``torch.amax``: equal largest elements share the gradient evenly."""
    return _extreme("amax", input, dim, keepdim, out)


def amin(input: Tensor, dim: Dims = (), keepdim: bool = False, *, out: Tensor | None = None) -> Tensor:
    """``torch.amin``: equal smallest elements share the gradient evenly."""
    return _extreme("amin", input, dim, keepdim, out)


def _extreme(name: str, input: Tensor, dim: Dims, keepdim: bool, out: Tensor | None) -> Tensor:
    need_tensors(name, input=input)
    _need_order(name, input)
    if out is not None and out.dtype != input.dtype:
        raise RuntimeError(f"{name} needs an out of dtype {input.dtype}; received {out.dtype}.")
    return into(out, apply(name, input, dim=_dims(dim), keepdim=keepdim))


def max(input: Tensor, *args: Any, **kwargs: Any) -> Any:
    """``torch.max``: of all elements, along an axis (values and indices), or of two tensors."""
    return _any_form("max", maximum, MaxResult, input, *args, **kwargs)


def min(input: Tensor, *args: Any, **kwargs: Any) -> Any:
    """``torch.min``: of all elements, along an axis (values and indices), or of two tensors."""
    return _any_form("min", minimum, MinResult, input, *args, **kwargs)


def _any_form(
    name: str,
    of_two: Any,
    result: Any,
    input: Tensor,
    dim: int | Tensor | None = None,
    keepdim: bool = False,
    *,
    other: Tensor | None = None,
    out: Any = None,
) -> Any:
    need_tensors(name, input=input)
    if isinstance(dim, Tensor) or other is not None:
        return of_two(input, dim if other is None else other, out=out)
    _need_order(name, input)
    if dim is None:
        if not input.numel():
            raise RuntimeError(f"{name} needs at least one element; received none; give dim=.")
        return into(out, apply(f"a{name}", input))
    _need_one_axis(name, dim)
    return _pair(result, apply(name, input, dim=dim, keepdim=keepdim), out)


def _pair(result: Any, found: tuple[Tensor, Tensor], out: Any) -> Any:
    """Values and indices under PyTorch's names for them."""
    if out is not None:
        found = (into(out[0], found[0]), into(out[1], found[1]))
    return found if torch.compiler.is_compiling() else result(found)


def _need_one_axis(layer: str, dim: object) -> None:
    if not isinstance(dim, int):
        raise TypeError(f"{layer} needs an integer as dim; received {dim!r}; name one axis.")


def _need_order(layer: str, x: Tensor) -> None:
    if x.is_complex():
        raise RuntimeError(f"{layer} needs real numbers, which have an order; received complex ones.")


def sort(
    input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False, out: Any = None
) -> Any:
    """``torch.sort``: values and indices."""
    need_tensors("sort", input=input)
    _need_order("sort", input)
    return _pair(SortResult, apply("sort", input, dim=dim, descending=descending, stable=stable), out)


def msort(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.msort``: along the first axis, values alone."""
    return into(out, sort(input, 0)[0])


def argsort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Tensor:
    """``torch.argsort``: indices, which have no gradient."""
    return torch.argsort(input.detach(), dim=dim, descending=descending, stable=stable)


def topk(
    input: Tensor,
    k: int,
    dim: int | None = None,
    largest: bool = True,
    sorted: bool = True,
    *,
    out: Any = None,
) -> Any:
    """``torch.topk``: values and indices."""
    need_tensors("topk", input=input)
    _need_order("topk", input)
    axis = -1 if dim is None else dim
    return _pair(TopkResult, apply("topk", input, k=k, dim=axis, largest=largest, sorted=sorted), out)


# --- sums of a kind --------------------------------------------------------------------------


def prod(
    input: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """``torch.prod``."""
    need_tensors("prod", input=input)
    return into(out, apply("prod", _summable(input, dtype), dim=dim, keepdim=keepdim))


def _summable(x: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Integers and booleans become int64, unless a dtype is given."""
    exact = not (x.is_floating_point() or x.is_complex())
    return x.to(torch.int64) if dtype is None and exact else _to(x, dtype)


def logsumexp(
    input: Tensor, dim: int | Sequence[int], keepdim: bool = False, *, out: Tensor | None = None
) -> Tensor:
    """``torch.logsumexp``."""
    axes = dim if isinstance(dim, int) else tuple(dim)
    return into(out, apply("logsumexp", as_floats("logsumexp", input), dim=axes, keepdim=keepdim))


def var(
    input: Tensor,
    dim: Dims | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Number | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """``torch.var``."""
    return into(out, _spread("var", input, dim, unbiased, keepdim, correction))


def std(
    input: Tensor,
    dim: Dims | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Number | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """``torch.std``."""
    return into(out, _spread("std", input, dim, unbiased, keepdim, correction))


def var_mean(
    input: Tensor,
    dim: Dims | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Number | None = None,
) -> tuple[Tensor, Tensor]:
    """``torch.var_mean``."""
    return _spread("var", input, dim, unbiased, keepdim, correction), _mean(input, dim, keepdim)


def std_mean(
    input: Tensor,
    dim: Dims | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: Number | None = None,
) -> tuple[Tensor, Tensor]:
    """``torch.std_mean``."""
    return _spread("std", input, dim, unbiased, keepdim, correction), _mean(input, dim, keepdim)


def _spread(
    name: str,
    input: Tensor,
    dim: Dims | bool,
    unbiased: bool | None,
    keepdim: bool,
    correction: Number | None,
) -> Tensor:
    """The second argument of PyTorch's short form is ``unbiased``."""
    need_tensors(name, input=input)
    if not (input.is_floating_point() or input.is_complex()):
        raise RuntimeError(f"{name} needs floating or complex numbers; received {input.dtype}; convert them.")
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    y: Tensor = apply(name, input, dim=_dims(dim), correction=correction, keepdim=keepdim)
    return y


def _mean(input: Tensor, dim: Dims | bool, keepdim: bool) -> Tensor:
    axes = None if isinstance(dim, bool) else _dims(dim)
    return apply("mean", input, dim=axes, keepdim=keepdim)  # type: ignore[no-any-return]


def linalg_vector_norm(
    x: Tensor,
    ord: float = 2,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """``torch.linalg.vector_norm``."""
    need_tensors("vector_norm", x=x)
    x = _to(x, dtype)
    if not (x.is_floating_point() or x.is_complex()):
        raise RuntimeError(
            f"vector_norm needs floating or complex numbers; received {x.dtype}; convert them."
        )
    return into(out, apply("linalg_vector_norm", x, ord=ord, dim=_dims(dim), keepdim=keepdim))


def norm(
    input: Tensor,
    p: float | str | None = "fro",
    dim: Dims = None,
    keepdim: bool = False,
    out: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """``torch.norm``, the nuclear norm aside."""
    if p == "nuc":
        raise NotImplementedError(
            "norm has no derivation of the nuclear norm; received p='nuc'; use torch.norm."
        )
    if isinstance(p, str) and p != "fro":
        raise ValueError(f'norm needs a number, "fro" or "nuc" as p; received {p!r}.')
    order = 2.0 if p is None or p == "fro" else float(p)
    return linalg_vector_norm(input, order, dim, keepdim, dtype=dtype, out=out)


# --- running ---------------------------------------------------------------------------------


def cumsum(input: Tensor, dim: int, *, dtype: torch.dtype | None = None, out: Tensor | None = None) -> Tensor:
    """``torch.cumsum``."""
    need_tensors("cumsum", input=input)
    return into(out, apply("cumsum", _summable(input, dtype), dim=dim))


def cumprod(
    input: Tensor, dim: int, *, dtype: torch.dtype | None = None, out: Tensor | None = None
) -> Tensor:
    """``torch.cumprod``."""
    need_tensors("cumprod", input=input)
    return into(out, apply("cumprod", _summable(input, dtype), dim=dim))


def logcumsumexp(input: Tensor, dim: int, *, out: Tensor | None = None) -> Tensor:
    """``torch.logcumsumexp``."""
    need_tensors("logcumsumexp", input=input)
    if out is not None and out.dtype != input.dtype:
        raise RuntimeError(f"logcumsumexp needs an out of dtype {input.dtype}; received {out.dtype}.")
    if not (input.is_floating_point() or input.is_complex()):
        raise NotImplementedError(
            f"logcumsumexp needs floating numbers; received {input.dtype}; convert them."
        )
    return into(out, apply("logcumsumexp", input, dim=dim))
