"""``swap(..., verify=inputs)``: both models on the same inputs and random numbers, compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from handgrad._errors import require
from handgrad.checking.findings import CheckReport
from torch_ext.checker import check

_PASSES = 8  # of each model, where it is small


class _Call(nn.Module):
    """A model as a function of positional arguments that returns tensors: some take theirs by name, or
    return more."""

    def __init__(self, model: nn.Module, names: tuple[str, ...] | None) -> None:
        super().__init__()
        self.model, self.names = model, names
        self.training = model.training

    def forward(self, *args: Any) -> Any:
        if self.names is None:
            output = self.model(*args)
        else:
            output = self.model(**dict(zip(self.names, args, strict=True)))
        found = tuple(y for y in tree_leaves(output) if isinstance(y, Tensor) and _differentiable(y))
        rule = "verify compares the tensors that a model returns"
        require(bool(found), rule, f"a {type(output).__name__} without any", "return some")
        return found


def compared(new: nn.Module, model: nn.Module, inputs: Any) -> CheckReport:
    """How ``new`` differs from ``model``; nothing of either is changed."""
    names = None
    if isinstance(inputs, Mapping):
        names, inputs = tuple(inputs), tuple(inputs.values())
    elif isinstance(inputs, Tensor):
        inputs = (inputs,)
    rule = "verify takes the model's arguments: a tuple, a dict of those with names, or a tensor"
    require(isinstance(inputs, tuple | list), rule, type(inputs).__name__, "give them as one of these")
    if not any(p.requires_grad for p in model.parameters()):  # the inputs are all that has a gradient
        inputs = [x.detach().requires_grad_() if _differentiable(x) else x for x in inputs]
    calls = _Call(new, names), _Call(model, names)
    report = check(calls[0], tuple(inputs), calls[1], probes=False, budget=_PASSES)
    return replace(
        report,
        target=f"{type(model).__name__}, swapped",
        diffs=tuple(replace(d, name=_own(d.name)) for d in report.diffs),
        findings=tuple(replace(f, where=_own(f.where), message=_own(f.message)) for f in report.findings),
    )


def _differentiable(x: Any) -> bool:
    return isinstance(x, Tensor) and (x.is_floating_point() or x.is_complex())


def _own(text: str) -> str:
    """With names as the model's own user knows them."""
    return re.sub(r"(?<![\w.])model\.", "", text)
