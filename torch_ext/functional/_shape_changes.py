"""Changes of shape, order and number: the names of ``torch`` itself. Results have memory of their own."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from handgrad._arrays import normalize_axes
from torch_ext.functional._common import apart, apply, into, need_tensors
from torch_ext.functional._indexing import narrow, select

__all__ = [
    "broadcast_to",
    "cat",
    "chunk",
    "concat",
    "expand",
    "expand_as",
    "flatten",
    "flip",
    "fliplr",
    "flipud",
    "hstack",
    "moveaxis",
    "movedim",
    "permute",
    "repeat",
    "reshape",
    "roll",
    "split",
    "split_with_sizes",
    "squeeze",
    "stack",
    "swapaxes",
    "t",
    "tensor_split",
    "tile",
    "transpose",
    "tril",
    "triu",
    "unbind",
    "unflatten",
    "unsqueeze",
    "vstack",
]

Dims = int | Sequence[int]


def reshape(input: Tensor, shape: Sequence[int]) -> Tensor:
    """``torch.reshape``; the result has memory of its own."""
    need_tensors("reshape", input=input)
    return apply("reshape", input, shape=tuple(shape))  # type: ignore[no-any-return]


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """``torch.transpose``; the result has memory of its own."""
    need_tensors("transpose", input=input)
    return apply("transpose", input, dim0=dim0, dim1=dim1)  # type: ignore[no-any-return]


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """``torch.flatten``: neighbouring axes as one."""
    need_tensors("flatten", input=input)
    if not input.ndim:
        return reshape(input, (1,))
    first, last = normalize_axes((start_dim, end_dim), input.ndim)
    if first > last:
        raise RuntimeError(f"flatten needs start_dim before end_dim; received {start_dim} and {end_dim}.")
    shape = tuple(input.shape)
    joined = 1
    for n in shape[first : last + 1]:
        joined *= n
    return reshape(input, (*shape[:first], joined, *shape[last + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """``torch.unflatten``: one axis as several."""
    need_tensors("unflatten", input=input)
    (axis,) = normalize_axes(dim, input.ndim)
    return reshape(input, (*input.shape[:axis], *_filled(sizes, input.shape[axis]), *input.shape[axis + 1 :]))


def _filled(sizes: Sequence[int], n: int) -> tuple[int, ...]:
    """One -1 stands for the length that fits."""
    known = 1
    for m in sizes:
        known *= m if m != -1 else 1
    return tuple(n // known if m == -1 and known else m for m in sizes)


def squeeze(input: Tensor, dim: Dims | None = None) -> Tensor:
    """``torch.squeeze``: axes of length 1 left out."""
    need_tensors("squeeze", input=input)
    every = dim is None
    axes = (
        ()
        if not every and dim == ()
        else normalize_axes(dim if isinstance(dim, int | None) else tuple(dim), input.ndim)
    )
    if len(set(axes)) != len(axes):
        raise RuntimeError(f"squeeze names each axis at most once; received {dim}; leave out repeats.")
    return reshape(input, tuple(n for i, n in enumerate(input.shape) if n != 1 or i not in axes))


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """``torch.unsqueeze``: a new axis of length 1."""
    need_tensors("unsqueeze", input=input)
    (axis,) = normalize_axes(dim, input.ndim + 1)
    return reshape(input, (*input.shape[:axis], 1, *input.shape[axis:]))


def permute(input: Tensor, dims: Sequence[int]) -> Tensor:
    """``torch.permute``."""
    need_tensors("permute", input=input)
    return apply("permute", input, dims=tuple(dims))  # type: ignore[no-any-return]


def movedim(input: Tensor, source: Dims, destination: Dims) -> Tensor:
    """``torch.movedim``: some axes at other places, the rest in order."""
    need_tensors("movedim", input=input)
    one, two = ((d,) if isinstance(d, int) else tuple(d) for d in (source, destination))
    if len(one) != len(two):
        raise RuntimeError(
            f"movedim needs as many destinations as sources; received {len(two)} for {len(one)}."
        )
    came, went = (normalize_axes(d, input.ndim) if d else () for d in (one, two))
    if len(set(came)) != len(came) or len(set(went)) != len(went):
        raise RuntimeError(f"movedim names each axis at most once; received {one} and {two}.")
    rest = iter(axis for axis in range(input.ndim) if axis not in came)
    placed = dict(zip(went, came, strict=True))
    return permute(input, [placed[k] if k in placed else next(rest) for k in range(input.ndim)])


def t(input: Tensor) -> Tensor:
    """``torch.t``: a matrix transposed."""
    need_tensors("t", input=input)
    if input.ndim > 2:
        raise RuntimeError(f"t needs at most two axes; received {input.ndim}; use transpose.")
    return permute(input, tuple(reversed(range(input.ndim))))


def flip(input: Tensor, dims: Dims) -> Tensor:
    """``torch.flip``."""
    need_tensors("flip", input=input)
    return apply("flip", input, dims=dims if isinstance(dims, int) else tuple(dims))  # type: ignore[no-any-return]


def fliplr(input: Tensor) -> Tensor:
    """``torch.fliplr``."""
    need_tensors("fliplr", input=input)
    if input.ndim < 2:
        raise RuntimeError(f"fliplr needs at least two axes; received {input.ndim}; use flip.")
    return flip(input, (1,))


def flipud(input: Tensor) -> Tensor:
    """``torch.flipud``."""
    need_tensors("flipud", input=input)
    if input.ndim < 1:
        raise RuntimeError("flipud needs at least one axis; received a number; reshape it to (1,).")
    return flip(input, (0,))


def roll(input: Tensor, shifts: Dims, dims: Dims | None = None) -> Tensor:
    """``torch.roll``."""
    need_tensors("roll", input=input)
    places = dims if dims is None or isinstance(dims, int) else tuple(dims)
    if not (shifts if isinstance(shifts, int) else len(shifts)) and not isinstance(shifts, int):
        raise RuntimeError("roll needs a shift; received none; give one for each dim.")
    if not input.ndim and places is not None and places != ():
        raise IndexError(
            f"roll needs axes that its input has; received dims {dims} for a number; leave them out."
        )
    return apply("roll", input, shifts=shifts if isinstance(shifts, int) else tuple(shifts), dims=places)  # type: ignore[no-any-return]


def tril(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
    """``torch.tril``: the triangle below."""
    need_tensors("tril", input=input)
    return into(out, apply("tril", input, diagonal=diagonal))


def triu(input: Tensor, diagonal: int = 0, *, out: Tensor | None = None) -> Tensor:
    """``torch.triu``: the triangle above."""
    need_tensors("triu", input=input)
    return into(out, apply("triu", input, diagonal=diagonal))


# --- copies ------------------------------------------------------------------------------


def expand(input: Tensor, *size: Any) -> Tensor:
    """``torch.Tensor.expand``, its copies real ones."""
    need_tensors("expand", input=input)
    return apply("expand", input, size=_several(size))  # type: ignore[no-any-return]


def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """``torch.broadcast_to``, its copies real ones."""
    return expand(input, tuple(size))


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """``torch.Tensor.expand_as``, its copies real ones."""
    return expand(input, tuple(other.shape))


def tile(input: Tensor, dims: Sequence[int]) -> Tensor:
    """``torch.tile``."""
    need_tensors("tile", input=input)
    return apply("tile", input, dims=(dims,) if isinstance(dims, int) else tuple(dims))  # type: ignore[no-any-return]


def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """``torch.Tensor.repeat``."""
    need_tensors("repeat", input=input)
    times = _several(repeats)
    if len(times) < input.ndim:
        raise RuntimeError(f"repeat needs a number for each axis; received {len(times)} for {input.ndim}.")
    return tile(input, times)


def _several(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes given one by one or as one sequence."""
    return tuple(sizes[0]) if len(sizes) == 1 and not hasattr(sizes[0], "__index__") else sizes


# --- several tensors -----------------------------------------------------------------------


def concat(tensors: Sequence[Tensor], dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    """``torch.concat``."""
    if isinstance(tensors, Tensor):
        raise TypeError("concat needs a list of tensors; received one tensor; put it into a list.")
    if not tensors:
        raise ValueError("concat needs at least one tensor; received none; give a non-empty list.")
    need_tensors("concat", **{f"tensors[{i}]": x for i, x in enumerate(tensors)})
    apart(out, *tensors)
    # PyTorch passes over tensors of shape (0,), whatever the shape of the others
    full = [x for x in tensors if x.shape != (0,)] or tensors[:1]
    return into(out, apply("concat", *full, dim=dim))


def stack(tensors: Sequence[Tensor], dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    """``torch.stack``."""
    _need_some("stack", tensors)
    need_tensors("stack", **{f"tensors[{i}]": x for i, x in enumerate(tensors)})
    return into(out, apply("stack", *tensors, dim=dim))


def _need_some(layer: str, tensors: Sequence[Tensor]) -> None:
    if not tensors:
        raise RuntimeError(f"{layer} needs at least one tensor; received none; give a non-empty list.")


def hstack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """``torch.hstack``."""
    _need_some("hstack", tensors)
    need_tensors("hstack", **{f"tensors[{i}]": x for i, x in enumerate(tensors)})
    rows = [x if x.ndim else reshape(x, (1,)) for x in tensors]
    return concat(rows, 0 if rows and rows[0].ndim == 1 else 1, out=out)


def vstack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """``torch.vstack``."""
    _need_some("vstack", tensors)
    need_tensors("vstack", **{f"tensors[{i}]": x for i, x in enumerate(tensors)})
    return concat([x if x.ndim > 1 else reshape(x, (1, -1)) for x in tensors], 0, out=out)


def split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """``torch.split``: pieces of one length (the last one shorter), or of given lengths."""
    need_tensors("split", tensor=tensor)
    if not isinstance(split_size_or_sections, int):
        return split_with_sizes(tensor, split_size_or_sections, dim)
    n, length = _length(tensor, dim), split_size_or_sections
    if length < 0 or (length == 0 and n):
        raise RuntimeError(f"split needs pieces of positive length; received {length}; give a larger one.")
    count = builtins.max(-(-n // length), 1) if length else 1
    return _pieces(tensor, [length] * (count - 1) + [n - length * (count - 1)], dim)


def split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """``torch.split_with_sizes``."""
    need_tensors("split", input=input)
    n = _length(input, dim)
    if builtins.sum(split_sizes) != n or builtins.min(split_sizes, default=0) < 0:
        raise RuntimeError(f"split needs lengths that sum to {n}; received {list(split_sizes)}.")
    return _pieces(input, split_sizes, dim)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """``torch.chunk``: at most so many pieces of one length, the last one shorter."""
    need_tensors("chunk", input=input)
    if chunks < 1:
        raise RuntimeError(f"chunk needs a positive number of chunks; received {chunks}.")
    n = _length(input, dim)
    if not n:
        return _pieces(input, [0] * chunks, dim)
    return split(input, -(-n // chunks), dim)


def tensor_split(
    input: Tensor, indices_or_sections: int | Sequence[int] | Tensor, dim: int = 0
) -> tuple[Tensor, ...]:
    """``torch.tensor_split``: pieces of about one length, or between given places."""
    need_tensors("tensor_split", input=input)
    n = _length(input, dim)
    given = indices_or_sections.tolist() if isinstance(indices_or_sections, Tensor) else indices_or_sections
    if isinstance(given, int):
        if given < 1:
            raise RuntimeError(f"tensor_split needs a positive number of sections; received {given}.")
        return _pieces(input, [n // given + (k < n % given) for k in range(given)], dim)
    places = [slice(p, None).indices(n)[0] for p in given]
    ends = [*places, n]
    starts = [0, *places]
    return tuple(narrow(input, dim, a, builtins.max(b - a, 0)) for a, b in zip(starts, ends, strict=True))


def _length(x: Tensor, dim: int) -> int:
    if not x.ndim:
        raise RuntimeError("a tensor without axes cannot be split; received a number; reshape it to (1,).")
    (axis,) = normalize_axes(dim, x.ndim)
    return x.shape[axis]


def _pieces(x: Tensor, lengths: Sequence[int], dim: int) -> tuple[Tensor, ...]:
    pieces, start = [], 0
    for n in lengths:
        pieces.append(narrow(x, dim, start, n))
        start += n
    return tuple(pieces)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """``torch.unbind``: one tensor for each place of an axis."""
    need_tensors("unbind", input=input)
    if not input.ndim:
        raise IndexError("unbind needs an axis; received a number; reshape it to (1,).")
    return tuple(select(input, dim, k) for k in range(_length(input, dim)))


# PyTorch's own other names for the same functions
cat, swapaxes, moveaxis = concat, transpose, movedim
