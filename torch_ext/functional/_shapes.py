"""Padding and shapes: the names of ``torch.nn.functional``."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from torch_ext.functional._common import apply, need_tensors

__all__ = [
    "pad",
]


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """``torch.nn.functional.pad``, in all four modes."""
    need_tensors("pad", input=input)
    if any(not isinstance(n, int) for n in pad):
        raise TypeError(f"pad must hold integers; received {tuple(pad)}; round them.")
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise NotImplementedError(
            f"pad has modes constant, reflect, replicate and circular; received {mode!r}; use one of these."
        )
    d = len(pad) // 2
    if mode != "constant" and len(pad) % 2 == 0 and not (1 <= d <= 3 and d + 1 <= input.ndim <= d + 2):
        raise NotImplementedError(
            f"{mode} padding of d axes, 1 to 3, needs an input with d + 1 or d + 2 axes; received {d} and "
            f"{input.ndim}; reshape the input."
        )
    y: Tensor = apply("pad", input, pad=tuple(pad), mode=mode, value=value)
    return y
