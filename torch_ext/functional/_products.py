"""Products of vectors, matrices and more: the names of ``torch`` itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from torch_ext.functional._common import Number, apply, into, need_tensors

__all__ = [
    "addbmm",
    "addmm",
    "addmv",
    "baddbmm",
    "bmm",
    "dot",
    "einsum",
    "inner",
    "matmul",
    "mm",
    "mv",
    "outer",
    "tensordot",
]


def matmul(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.matmul``: vectors, matrices and batches of matrices."""
    need_tensors("matmul", input=input, other=other)
    return into(out, apply("matmul", input, other))


def mm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.mm``: two matrices."""
    return into(out, _product("mm", (2, 2), input, mat2))


def bmm(input: Tensor, mat2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.bmm``: two batches of matrices."""
    need_tensors("bmm", input=input, mat2=mat2)
    if input.shape[:1] != mat2.shape[:1]:
        raise RuntimeError(f"bmm needs equal batches; received {tuple(input.shape)} and {tuple(mat2.shape)}.")
    return into(out, _product("bmm", (3, 3), input, mat2))


def mv(input: Tensor, vec: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.mv``: a matrix and a vector."""
    return into(out, _product("mv", (2, 1), input, vec))


def dot(input: Tensor, tensor: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.dot``: two vectors, nothing conjugated."""
    return into(out, _product("dot", (1, 1), input, tensor))


def _product(layer: str, ndims: tuple[int, int], a: Tensor, b: Tensor) -> Tensor:
    _fit(layer, ndims, a, b)
    return apply("matmul", a, b)  # type: ignore[no-any-return]


def _fit(layer: str, ndims: tuple[int, ...], *operands: Tensor) -> None:
    need_tensors(layer, **{f"operand {k + 1}": x for k, x in enumerate(operands)})
    shapes = ", ".join(str(tuple(x.shape)) for x in operands)
    if tuple(x.ndim for x in operands) != ndims:
        raise RuntimeError(
            f"{layer} needs operands with {ndims} axes; received shapes {shapes}; reshape them."
        )
    if len({x.dtype for x in operands}) > 1:
        kinds = ", ".join(str(x.dtype) for x in operands)
        raise RuntimeError(f"{layer} needs operands of one dtype; received {kinds}; convert them.")


def outer(input: Tensor, vec2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.outer``: every element of one vector times every one of another."""
    need_tensors("outer", input=input, vec2=vec2)
    if input.ndim != 1 or vec2.ndim != 1:
        raise RuntimeError(
            f"outer needs two vectors; received {input.ndim} and {vec2.ndim} axes; flatten them."
        )
    return into(out, apply("einsum", input, vec2, equation="i,j->ij"))


def inner(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.inner``: a sum along the last axes of both."""
    need_tensors("inner", input=input, other=other)
    if not input.ndim or not other.ndim:
        return into(out, apply("multiply", input, other))
    return into(out, tensordot(input, other, ([-1], [-1])))


def tensordot(a: Tensor, b: Tensor, dims: Any = 2, out: Tensor | None = None) -> Tensor:
    """``torch.tensordot``: a sum along some axes of both."""
    need_tensors("tensordot", a=a, b=b)
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0 or dims > min(a.ndim, b.ndim):
            raise RuntimeError(f"tensordot needs dims in [0, {min(a.ndim, b.ndim)}]; received {dims}.")
        dims = (range(a.ndim - dims, a.ndim), range(dims))
    first, second = ([d % x.ndim for d in ds] for ds, x in zip(dims, (a, b), strict=True))
    if len(first) != len(second):
        raise RuntimeError(f"tensordot needs as many axes of both; received {len(first)} and {len(second)}.")
    pairs = [(a.shape[i], b.shape[j]) for i, j in zip(first, second, strict=True)]
    if any(n != m and 1 not in (n, m) for n, m in pairs):
        raise RuntimeError(f"tensordot needs equal lengths; received {tuple(a.shape)} and {tuple(b.shape)}.")
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    left, right = list(letters[: a.ndim]), list(letters[a.ndim : a.ndim + b.ndim])
    for i, j in zip(first, second, strict=True):
        right[j] = left[i]
    rest = [c for i, c in enumerate(left) if i not in first]
    rest += [c for j, c in enumerate(right) if j not in second]
    equation = f"{''.join(left)},{''.join(right)}->{''.join(rest)}"
    return into(out, apply("einsum", a, b, equation=equation))


def einsum(*args: Any) -> Tensor:
    """``torch.einsum``: an equation and its operands, or operands each with a list of its labels."""
    if not args:
        raise ValueError("einsum needs an equation and operands; received neither.")
    equation, *operands = args if isinstance(args[0], str) else _equation(args)
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = list(operands[0])
    need_tensors("einsum", **{f"operand {k + 1}": x for k, x in enumerate(operands)})
    return apply("einsum", *operands, equation=equation)  # type: ignore[no-any-return]


def _equation(args: Sequence[Any]) -> list[Any]:
    """The equation that lists of numbers stand for, and the operands."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

    def term(labels: Sequence[Any]) -> str:
        return "".join("..." if n is Ellipsis else letters[n] for n in labels)

    terms = ",".join(term(labels) for labels in args[1::2])
    arrow = f"->{term(args[-1])}" if len(args) % 2 else ""
    return [terms + arrow, *args[: len(args) // 2 * 2 : 2]]


def addmm(
    input: Tensor,
    mat1: Tensor,
    mat2: Tensor,
    *,
    beta: Number = 1,
    alpha: Number = 1,
    out: Tensor | None = None,
) -> Tensor:
    """``torch.addmm``: beta input + alpha mat1 mat2."""
    _fit("addmm", (2, 2), mat1, mat2)
    return into(out, _added("addmm", input, mat1, mat2, beta, alpha))


def baddbmm(
    input: Tensor,
    batch1: Tensor,
    batch2: Tensor,
    *,
    beta: Number = 1,
    alpha: Number = 1,
    out: Tensor | None = None,
) -> Tensor:
    """``torch.baddbmm``: beta input + alpha batch1 batch2, matrix by matrix."""
    _fit("baddbmm", (3, 3), batch1, batch2)
    return into(out, _added("baddbmm", input, batch1, batch2, beta, alpha))


def _added(layer: str, c: Tensor, a: Tensor, b: Tensor, beta: Number, alpha: Number) -> Tensor:
    need_tensors(layer, input=c)
    if c.dtype != a.dtype:
        raise RuntimeError(
            f"{layer} needs operands of one dtype; received {c.dtype} and {a.dtype}; convert them."
        )
    return apply(layer, c, a, b, beta=beta, alpha=alpha)  # type: ignore[no-any-return]


def addmv(
    input: Tensor, mat: Tensor, vec: Tensor, *, beta: Number = 1, alpha: Number = 1, out: Tensor | None = None
) -> Tensor:
    """``torch.addmv``: beta input + alpha mat vec, the vectors as columns of one."""
    _fit("addmv", (2, 1), mat, vec)
    columns = (apply("reshape", x, shape=(-1, 1)) for x in (input, vec))
    c, v = columns
    y = _added("addmm", c, mat, v, beta, alpha)
    return into(out, apply("reshape", y, shape=(-1,)))


def addbmm(
    input: Tensor,
    batch1: Tensor,
    batch2: Tensor,
    *,
    beta: Number = 1,
    alpha: Number = 1,
    out: Tensor | None = None,
) -> Tensor:
    """``torch.addbmm``: beta input + alpha the sum of all products of a batch, as one product."""
    _fit("addbmm", (3, 3), batch1, batch2)
    n, rows, k = batch1.shape
    long = apply("reshape", apply("permute", batch1, dims=(1, 0, 2)), shape=(rows, n * k))
    tall = apply("reshape", batch2, shape=(n * k, batch2.shape[2]))
    return into(out, _added("addmm", input, long, tall, beta, alpha))
