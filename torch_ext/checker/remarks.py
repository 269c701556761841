"""What a report says besides its findings: what was not looked at, and what may not have been meant."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor, nn

from handgrad.checking.findings import CheckReport, Finding, GradientDiff
from torch_ext.checker.guard import modules_of
from torch_ext.checker.inputs import hidden_inside
from torch_ext.checker.passes import Passes
from torch_ext.checker.recorder import BackwardRaises
from torch_ext.checker.subject import Subject
from torch_ext.checker.truth import sentence


def notes(passes: Passes) -> tuple[str, ...]:
    return tuple(_notes(passes))


def _notes(passes: Passes) -> Iterator[str]:
    subject, truth = passes.subject, passes.truth
    for name in hidden_inside(subject.argument_names, subject.arguments):
        yield f"{name} holds tensors that require a gradient; only arguments that are tensors are checked"
    for module in _unchecked(subject):
        yield (
            f"the parameters of {type(module).__name__}, which the target uses, are not checked: "
            "give the module itself, or its parameters as inputs"
        )
    if not truth.native and not truth.attached:
        yield "the reference's output is detached: autograd gives it no gradient"
        return
    empty = not any(y.numel() for p in passes.seen for y in p.result.outputs)
    for name, v in subject.variables.items():
        if not v.numel():
            yield f"{name} is empty: its gradient has no numbers to compare"
        elif not empty and not any(np.any(p.evidence.truth[name]) for p in passes.seen):
            yield f"the output does not depend on {name}: its gradient is zero"


def _unchecked(subject: Subject) -> list[nn.Module]:
    users = [subject.target] if subject.module is None else []
    users += [x for x in subject.arguments if not isinstance(x, Tensor)]
    return [m for m in modules_of(users) if any(p.requires_grad for p in m.parameters())]


def raised(subject: Subject, error: BackwardRaises, seed: int) -> CheckReport:
    """A backward pass that raises where its forward pass runs: every gradient is wrong."""
    finding = Finding(
        "unknown",
        "backward",
        f"{error.where} raises {sentence(error.error)}, on inputs on which the forward pass runs",
        {"error": type(error.error).__name__},
    )
    diffs = (
        GradientDiff(n, tuple(v.shape), str(v.dtype).removeprefix("torch."), False, diagnosis="unknown")
        for n, v in subject.variables.items()
    )
    return CheckReport(subject.name, tuple(diffs), (finding,), seed, "nothing: its backward pass raises")
