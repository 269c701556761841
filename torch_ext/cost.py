"""What a layer costs, in numbers that are the same on every machine: operations, and bytes kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

import torch_ext
from handgrad._cases import Case
from handgrad._derivation import Derivation
from torch_ext import oracles


@dataclass(frozen=True)
class Cost:
    """Array operations of one call, forward and backward, and the bytes kept between the two.

    ``torch_kept``: the bytes that PyTorch's own function keeps for the same call.
    """

    forward: int
    backward: int
    kept: int
    torch_kept: int


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operators that compute; views are free."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not (func.is_view or func.name() == "aten::detach")
        return func(*args, **(kwargs or {}))


def cost(derivation: Derivation, case: Case) -> Cost:
    """The cost of one case in float32."""

    def hand(*inputs: Any) -> tuple[Any, ...]:
        y = torch_ext.call(derivation, *inputs, **case.options)
        return y if isinstance(y, tuple) else (y,)

    def native(*inputs: Any) -> tuple[Any, ...]:
        return oracles.reference(derivation, inputs, case.options)

    forward, backward, kept = _measured(derivation, case, hand)
    return Cost(forward, backward, kept, _measured(derivation, case, native)[2])


def _measured(
    derivation: Derivation, case: Case, function: Callable[..., tuple[Any, ...]]
) -> tuple[int, int, int]:
    inputs = [oracles.tensor(x, torch.float32) for x in case.draw(0)]
    wanted = oracles.differentiable(derivation, inputs)
    for i in wanted:
        inputs[i].requires_grad_()  # type: ignore[union-attr]
    kept: dict[int, int] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return x

    function(*inputs)  # once before: classes are made, operators looked up
    with saved_tensors_hooks(keep, lambda x: x), _Counting() as forward:
        outputs = function(*inputs)
    ends = [y for y in outputs if y.requires_grad]
    with _Counting() as backward:
        if ends:
            torch.autograd.backward(ends, [torch.ones_like(y) for y in ends])
    return forward.count, backward.count - len(ends), sum(kept.values())
