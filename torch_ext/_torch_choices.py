"""Choosing between two values element by element, faster than by ``torch.where`` on a CPU.

``torch.where`` and comparisons that give bools are not vectorised there (torch 2.13: 0.8 ms and 0.12 ms for
200,000 elements, where a product takes 0.05). Masks of bits, and comparisons written into floats, are.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import ge, le
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

Relation = Callable[[Any, Any], Any]

_BITS = {
    torch.float64: torch.int64,
    torch.float32: torch.int32,
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
}


def where(condition: Any, a: Any, b: Any) -> Tensor:
    """``torch.where``; on a CPU, and where nothing records it, by masks of bits, three times as fast."""
    x = a if isinstance(a, Tensor) else b
    if (
        type(condition) is Tensor
        and condition.dtype == torch.bool
        and type(x) is Tensor
        and _plain(x)
        and _alike(condition, x.dtype, a, b)
    ):
        return _masked(condition.to(_BITS[x.dtype]), a, b)
    return torch.where(condition, a, b)


def choose(relation: Relation, x: Tensor, bound: float, a: Any, b: Any) -> Tensor:
    """``torch.where(relation(x, bound), a, b)``, by masks of bits where :func:`where` takes them."""
    if type(x) is Tensor and _plain(x) and _alike(x, x.dtype, a, b):
        return _masked(_ones(_compared(relation, x, bound)), a, b)
    return torch.where(relation(x, bound), a, b)


def choose_beyond(x: Tensor, low: float, high: float, a: Any, b: Any) -> Tensor:
    """:func:`choose` by whether x ≤ low or x ≥ high."""
    if type(x) is Tensor and _plain(x) and _alike(x, x.dtype, a, b):
        # 1 on one side at least: where low = high, on both
        either = _compared(le, x, low)
        torch.maximum(either, _compared(ge, x, high), out=either)
        return _masked(_ones(either), a, b)
    return torch.where((x <= low) | (x >= high), a, b)


def step(relation: Relation, x: Tensor, bound: float, otherwise: float) -> Tensor:
    """1 where the relation holds, else ``otherwise``, in the dtype of x."""
    if type(x) is Tensor and _plain(x):
        return torch.threshold(_compared(relation, x, bound), 0.5, otherwise)
    return torch.where(relation(x, bound), torch.ones_like(x), otherwise)


def _compared(relation: Relation, x: Tensor, bound: float) -> Tensor:
    """1 where the relation holds, else 0, in the dtype of x."""
    compare: Any = getattr(torch, relation.__name__)
    y: Tensor = compare(x, bound, out=torch.empty_like(x))
    return y


def _ones(x: Tensor) -> Tensor:
    """1.0 and 0.0 as integers of as many bits, in place: 1.0 is 001... in every format."""
    bits = x.view(_BITS[x.dtype])
    return bits.bitwise_right_shift_(8 * x.element_size() - 3)


def _masked(ones: Tensor, a: Any, b: Any) -> Tensor:
    """a where ``ones`` is 1, b where it is 0; it is overwritten. In two's complement -1 is all ones."""
    bits = ones.dtype
    x = a if isinstance(a, Tensor) else b
    if not isinstance(a, Tensor) and a == 0:
        y = ones.sub_(1).bitwise_and_(b.view(bits))
    elif not isinstance(b, Tensor) and b == 0:
        y = ones.neg_().bitwise_and_(a.view(bits))
    else:
        u, v = (w if isinstance(w, Tensor) else torch.tensor(w, dtype=x.dtype) for w in (a, b))
        u, v = u.view(bits), v.view(bits)
        y = ones.neg_().bitwise_and_(u ^ v).bitwise_xor_(v)  # v ^ (u ^ v) is u
    chosen: Tensor = y.view(x.dtype)
    return chosen


def _plain(x: Tensor) -> bool:
    """Whether nothing records or transforms what is done with x, and it is worth the while."""
    return (
        not torch.is_grad_enabled()
        and forward_ad._current_level < 0
        and x.numel() > 4096  # below, calls cost more than they save
        and x.dtype in _BITS
        and x.device.type == "cpu"
        and not torch._C._are_functorch_transforms_active()
        and not torch.compiler.is_compiling()
        and torch._C._get_tracing_state() is None
    )


def _alike(mask: Tensor, dtype: torch.dtype, *values: Any) -> bool:
    """Whether the tensors have one dtype and one shape, element after element in memory."""
    return mask.is_contiguous() and all(
        v.shape == mask.shape and v.dtype == dtype and v.is_contiguous()
        for v in values
        if isinstance(v, Tensor)
    )
