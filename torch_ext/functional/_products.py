"""Products of vectors, matrices and more: the names of ``torch`` itself."""

from __future__ import annotations

from torch import Tensor

from torch_ext.functional._common import apply, into, need_tensors

__all__ = ["matmul"]


def matmul(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """``torch.matmul``: vectors, matrices and batches of matrices."""
    need_tensors("matmul", input=input, other=other)
    return into(out, apply("matmul", input, other))
