"""Parts of tensors, and tensors with parts changed: the names of ``torch`` itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from handgrad._arrays import normalize_axes
from torch_ext.functional._common import Number, apart, apply, into, need_tensors

__all__ = [
    "diagonal",
    "gather",
    "index",
    "index_add",
    "index_select",
    "masked_select",
    "narrow",
    "repeat_interleave",
    "scatter",
    "scatter_add",
    "select",
    "take",
    "take_along_dim",
]


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """``torch.select``: one place of an axis."""
    need_tensors("select", input=input)
    if not input.ndim:
        raise IndexError("select needs an axis; received a number; reshape it to (1,).")
    return apply("select", input, dim=dim, index=int(index))  # type: ignore[no-any-return]


def narrow(input: Tensor, dim: int, start: int | Tensor, length: int) -> Tensor:
    """``torch.narrow``: a range of an axis."""
    need_tensors("narrow", input=input)
    if isinstance(start, Tensor):
        if start.ndim or start.is_floating_point() or start.is_complex() or start.dtype == torch.bool:
            raise RuntimeError(
                f"narrow needs an integer as start; received {start.dtype} of shape {tuple(start.shape)}."
            )
        start = int(start)
    if input.ndim:
        (axis,) = normalize_axes(dim, input.ndim)
        n = input.shape[axis]
        if not -n <= start <= n:
            raise IndexError(f"narrow needs a start in [{-n}, {n}]; received {start}; choose one inside.")
    return apply("narrow", input, dim=dim, start=start, length=length)  # type: ignore[no-any-return]


def index(input: Tensor, key: Any) -> Tensor:
    """``input[key]``: numbers, slices, None, "..." and tensors of integers or booleans."""
    need_tensors("index", input=input)
    parts: list[Any] = []
    indices: list[Tensor] = []
    for k in key if isinstance(key, tuple) else (key,):
        if isinstance(k, list | range):
            k = torch.tensor(k, device=input.device)
        if isinstance(k, bool):
            k = torch.tensor(k, device=input.device)
        if not isinstance(k, Tensor):
            parts.append(k)
        elif k.dtype in (torch.bool, torch.uint8):
            # a mask is the places where it holds; a number has one new axis instead
            places = k.nonzero(as_tuple=True) if k.ndim else (k.reshape(1).nonzero()[:, 0],)
            parts += ["array"] * len(places) if k.ndim else [None, "array"]
            indices += places
        else:
            parts.append("array")
            indices.append(k)
    return apply("index", input, *indices, key=tuple(parts))  # type: ignore[no-any-return]


def masked_select(input: Tensor, mask: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.masked_select``: the elements under a mask, as a vector."""
    need_tensors("masked_select", input=input, mask=mask)
    if mask.dtype != torch.bool:
        raise RuntimeError(f"masked_select needs a boolean mask; received {mask.dtype}; compare first.")
    apart(out, input, mask)
    numbers = torch.arange(input.numel(), device=input.device).reshape(input.shape)
    numbers, mask = torch.broadcast_tensors(numbers, mask)  # type: ignore[no-untyped-call]
    flat = apply("reshape", input, shape=(-1,))
    return into(out, apply("index_select", flat, numbers[mask], dim=0))


def take(input: Tensor, index: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.take``: elements by their number, counted row by row."""
    need_tensors("take", input=input, index=index)
    _need_index("take", index)
    apart(out, input, index)
    n = input.numel()
    if n == 0 and index.numel():
        raise IndexError("take needs elements to take from; received none; give an empty index.")
    flat = apply("reshape", input, shape=(-1,))
    picked = apply("index_select", flat, _from_the_front(index, n).reshape(-1), dim=0)
    return into(out, apply("reshape", picked, shape=tuple(index.shape)))


def _from_the_front(index: Tensor, n: int) -> Tensor:
    return torch.where(index < 0, index + n, index)


def index_select(input: Tensor, dim: int, index: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.index_select``: places of an axis."""
    need_tensors("index_select", input=input, index=index)
    if index.dtype not in (torch.int32, torch.int64):
        raise RuntimeError(f"index_select needs integers as index; received {index.dtype}; convert it.")
    if index.ndim > 1:
        raise IndexError(f"index_select needs a vector as index; received {index.ndim} axes; flatten it.")
    apart(out, input, index)
    return into(out, apply("index_select", input, index, dim=dim))


def repeat_interleave(
    input: Tensor, repeats: int | Tensor, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """``torch.repeat_interleave``: each place of an axis so many times."""
    need_tensors("repeat_interleave", input=input)
    x = apply("reshape", input, shape=(-1,)) if dim is None or not input.ndim else input
    (axis,) = normalize_axes(0 if dim is None else dim, x.ndim)
    n = x.shape[axis]
    places = torch.arange(n, device=x.device)
    counts = repeats if isinstance(repeats, int) else repeats.expand(n) if repeats.numel() == 1 else repeats
    y: Tensor = apply(
        "index_select", x, torch.repeat_interleave(places, counts, output_size=output_size), dim=axis
    )
    return y


def gather(
    input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False, out: Tensor | None = None
) -> Tensor:
    """``torch.gather``; gradients are dense."""
    del sparse_grad
    need_tensors("gather", input=input, index=index)
    _need_index("gather", index)
    apart(out, input, index)
    if out is not None and out.dtype != input.dtype:
        raise RuntimeError(f"gather needs an out of dtype {input.dtype}; received {out.dtype}.")
    return into(out, apply("gather", input, index, dim=dim))


def take_along_dim(
    input: Tensor, indices: Tensor, dim: int | None = None, *, out: Tensor | None = None
) -> Tensor:
    """``torch.take_along_dim``: :func:`gather`, broadcast; without ``dim`` from all elements in a row."""
    need_tensors("take_along_dim", input=input, indices=indices)
    if dim is None:
        x, index, dim = (
            apply("reshape", input, shape=(-1,)),
            _from_the_front(indices.reshape(-1), input.numel()),
            0,
        )
        return gather(x, dim, index, out=out)
    (axis,) = normalize_axes(dim, input.ndim)
    beside = [b if a == 1 else a for a, b in zip(input.shape, indices.shape, strict=True)]
    sizes = [(*beside[:axis], x.shape[axis], *beside[axis + 1 :]) for x in (input, indices)]
    x = input if tuple(input.shape) == sizes[0] else apply("expand", input, size=sizes[0])
    return gather(x, axis, _from_the_front(indices, x.shape[axis]).expand(sizes[1]), out=out)


def scatter(
    input: Tensor, dim: int, index: Tensor, src: Tensor | Number, *, reduce: str | None = None
) -> Tensor:
    """``torch.scatter``: a tensor or a number written at places of an axis."""
    need_tensors("scatter", input=input, index=index)
    _need_index("scatter", index)
    if not isinstance(src, Tensor):
        src = torch.full(index.shape, src, dtype=input.dtype, device=input.device)
    if src.dtype != input.dtype:
        raise RuntimeError(f"scatter needs a src of dtype {input.dtype}; received {src.dtype}; convert it.")
    if reduce is None:
        return apply("scatter", input, index, src, dim=dim)  # type: ignore[no-any-return]
    if reduce not in ("add", "multiply"):
        raise RuntimeError(f'scatter has the reductions "add" and "multiply"; received {reduce!r}.')
    if input.requires_grad or src.requires_grad:
        raise NotImplementedError("scatter with reduce has no gradient, as in PyTorch; use scatter_add.")
    return torch.scatter(input, dim, index, src, reduce=reduce)


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """``torch.scatter_add``: a tensor added at places of an axis."""
    need_tensors("scatter_add", input=input, index=index, src=src)
    _need_index("scatter_add", index)
    if src.dtype != input.dtype:
        raise RuntimeError(
            f"scatter_add needs a src of dtype {input.dtype}; received {src.dtype}; convert it."
        )
    return apply("scatter_add", input, index, src, dim=dim)  # type: ignore[no-any-return]


def index_add(
    input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Number = 1, out: Tensor | None = None
) -> Tensor:
    """``torch.index_add``: slices added at places of an axis."""
    need_tensors("index_add", input=input, index=index, source=source)
    apart(out, input, index, source)
    if source.dtype != input.dtype:
        raise RuntimeError(f"index_add needs a source of dtype {input.dtype}; received {source.dtype}.")
    if index.dtype not in (torch.int32, torch.int64):
        raise RuntimeError(f"index_add needs integers as index; received {index.dtype}; convert it.")
    return into(out, apply("index_add", input, index, source, dim=dim, alpha=alpha))


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """``torch.diagonal``: of the matrices along two axes, as the last axis of the result."""
    need_tensors("diagonal", input=input)
    if input.ndim < 1:
        raise IndexError("diagonal needs two axes; received a number; give a matrix.")
    first, second = normalize_axes((dim1, dim2), input.ndim)
    if first == second:
        raise RuntimeError(f"diagonal needs two different axes; received {dim1} and {dim2}.")
    rest = [axis for axis in range(input.ndim) if axis not in (first, second)]
    n, m = input.shape[first], input.shape[second]
    length = max(min(n, m - offset) if offset >= 0 else min(n + offset, m), 0)
    steps = torch.arange(length, device=input.device)
    x = apply("permute", input, dims=(*rest, first, second))
    return apply("index", x, steps - min(offset, 0), steps + max(offset, 0), key=(..., "array", "array"))  # type: ignore[no-any-return]


def _need_index(layer: str, index: Tensor) -> None:
    if index.numel() and index.dtype not in (torch.int64, torch.int32):
        raise RuntimeError(f"{layer} needs integers (int64) as index; received {index.dtype}; convert it.")
