"""Whether longer inputs are still the same function: what broadcast before, broadcasts, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from torch_ext.checker.subject import Subject, Variables


class _Broadcasts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts, by operator, the calls in which an axis of length one meets a longer one.

    Where that axis was reduced in the forward pass itself, as a mean that is subtracted, it is meant.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: Counter[str] = Counter()
        self.reduced: dict[int, Tensor] = {}  # kept, so that no other tensor takes its place in memory

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        y = (
            made
            if isinstance(made, Tensor)
            else next((t for t in _listed(made) if isinstance(t, Tensor)), None)
        )
        operands = [a for a in args if isinstance(a, Tensor) and a.ndim]
        if y is None or not operands:
            return made
        own = [a for a in operands if id(a) not in self.reduced]
        if not own or (
            len(operands) == 1
            and y.numel() < operands[0].numel()
            and y.ndim == operands[0].ndim
            and not func.is_view
        ):
            for t in _listed(made):
                if isinstance(t, Tensor):
                    self.reduced[id(t)] = t
        short = [a for a in operands if _repeated(a, y)]
        # an outer product repeats both: a matrix product over one element
        if torch.Tag.pointwise in func.tags and len(short) == 1 and id(short[0]) not in self.reduced:
            axes = [
                -1 - i
                for i, (n, m) in enumerate(zip(short[0].shape[::-1], y.shape[::-1], strict=False))
                if n == 1 != m
            ]
            self.seen[f"{func} {axes}"] += 1
        return made


def _repeated(a: Tensor, y: Tensor) -> bool:
    return any(n == 1 != m for n, m in zip(reversed(a.shape), reversed(y.shape), strict=False))


def _listed(made: Any) -> list[Any]:
    return list(made) if isinstance(made, tuple | list) else [made]


def broadcasts(subject: Subject, variables: Variables, constants: Mapping[int, Any]) -> Counter[str] | None:
    """Where the forward pass broadcasts an axis of length one; None where it does not run."""
    mode = _Broadcasts()
    try:
        with torch.no_grad(), mode:
            subject.call({n: v.clone() for n, v in variables.items()}, constants, torch.float64)
    except Exception:
        return None
    return mode.seen
