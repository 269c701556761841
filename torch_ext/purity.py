"""Is every gradient ours? No native node in a graph, nothing of autograd in a backward pass.

What the contract sets aside: accumulation, views and casts between dtypes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from torch_ext._distributed import Across
from torch_ext._function import _Layer
from torch_ext._in_place import Copy, InPlace

_OURS = (_Layer, InPlace, Copy, Across)
_VIEWS = (
    "Alias AsStrided Chunk Detach Diagonal Expand Narrow Permute ReshapeAlias Select Slice Split "
    "SplitWithSizes Squeeze T Transpose Unbind UnsafeView Unsqueeze View ViewAsReal ViewAsComplex"
).split()
_SET_ASIDE = {"AccumulateGrad", "CopySlices", "ToCopyBackward0"} | {
    f"{view}Backward{n}" for view in _VIEWS for n in range(4)
}
_ENTRANCES = [
    "torch.autograd.grad",
    "torch.autograd.backward",
    "torch.Tensor.backward",
    "torch.func.grad",
    "torch.func.vjp",
    "torch.func.jvp",
    "torch.func.jacrev",
    "torch.func.jacfwd",
    "torch.enable_grad.__enter__",
    "torch.set_grad_enabled.__init__",
]


def nodes(outputs: Sequence[Tensor]) -> tuple[int, list[str]]:
    """How many nodes of ours lead to ``outputs``, and the names of the foreign ones."""
    seen: set[Any] = set()
    front = [y.grad_fn for y in outputs if y.requires_grad]
    ours, foreign = 0, []
    while front:
        node = front.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        form = getattr(type(node), "_forward_cls", None)
        if form is not None and issubclass(form, _OURS):
            ours += 1
        elif type(node).__name__ not in _SET_ASIDE:
            foreign.append(type(node).__name__)
        front += [parent for parent, _ in node.next_functions]
    return ours, foreign


class Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the operators that run, and whether gradients were recorded meanwhile."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []
        self.recorded = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        self.recorded |= torch.is_grad_enabled()
        return func(*args, **(kwargs or {}))

    @property
    def faults(self) -> list[str]:
        """What a hand-derived backward pass would not have run, in words."""
        found = sorted({f"{n} runs in a backward pass" for n in self.names if "_backward" in n})
        return [*found, "a backward pass records a graph"] if self.recorded else found


@contextmanager
def autograd_locked() -> Iterator[None]:
    """Whoever calls autograd by one of its names meanwhile gets an AssertionError."""
    patches = [patch(e, side_effect=AssertionError(f"a backward pass enters {e}")) for e in _ENTRANCES]
    for p in patches:
        p.start()
    try:
        yield
    finally:
        for p in patches:
            p.stop()


def backward_faults(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], cotangents: Sequence[Tensor]
) -> list[str]:
    """Run the backward pass, gradients thrown away, and say what in it is not ours."""
    run = torch.autograd.grad  # before it is made to raise
    with Operators() as operators, autograd_locked():
        try:
            run(outputs, inputs, cotangents, allow_unused=True, retain_graph=True)
        except AssertionError as error:
            return [str(error)]
    faults: list[str] = operators.faults
    return faults
