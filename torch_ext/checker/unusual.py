"""The same inputs once more, and incoming gradients laid out in memory in unusual ways."""

from __future__ import annotations

import torch
from torch import Tensor

from handgrad.checking.findings import Finding
from torch_ext.checker.arrays import alike, as_dtype, tensor
from torch_ext.checker.budget import Budget
from torch_ext.checker.passes import Pass
from torch_ext.checker.subject import Result, Subject, Variables

_STATE = (
    "differs from one call to the next on the same inputs: it depends on a state that is kept, or on random "
    "numbers of its own"
)
_OVERWRITTEN = (
    "changes when the target is called once more between its forward and backward pass: residuals are kept "
    "on the function, where the next call overwrites them"
)


def repeated(subject: Subject, first: Pass, left: Budget) -> list[Finding]:
    """The same call again, and once with another call between its forward and its backward pass."""
    variables, cotangents = _as_first(first)
    others = {n: v * 0.5 + 0.25 for n, v in variables.items()}
    for i, (between, words) in enumerate(((None, _STATE), (None, _STATE), (others, _OVERWRITTEN))):
        if not left.allows(2):
            break
        try:
            other = subject.analytic(
                variables,
                [None if dy is None else dy.clone() for dy in cotangents],
                first.probe.constants,
                between=between,
                backward_seed=i,
            )
        except Exception:
            continue
        differing = _differing(first.result, other)
        if differing:
            return [Finding("nondeterministic", n, f"the gradient of {n} {words}") for n in differing[:1]]
    return []


def layouts(subject: Subject, first: Pass, left: Budget) -> list[Finding]:
    """Incoming gradients that are not contiguous, or expanded, give the same as plain ones."""
    variables, plain = _as_first(first)
    constant = [None if dy is None else torch.full_like(dy, 0.7) for dy in plain]
    expanded = [None if dy is None else dy.new_full((), 0.7).expand(dy.shape) for dy in plain]
    strided = [None if dy is None else _strided(dy) for dy in plain]
    found = []
    for words, usual, unusual in (
        ("non-contiguous", plain, strided),
        ("expanded", constant, expanded),
    ):
        if not left.allows(2):
            break
        try:
            expected = (
                first.result
                if usual is plain
                else subject.analytic(variables, usual, first.probe.constants, dtype=first.casting)
            )
        except Exception:
            continue
        try:
            got = subject.analytic(variables, unusual, first.probe.constants, dtype=first.casting)
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            in_place = any(w in text for w in ("single memory location", "in-place", "inplace"))
            found.append(
                Finding(
                    "mutates" if in_place else "unknown",
                    "grad_output",
                    f"backward raises on an incoming gradient that is {words}: {text}",
                    {"incoming": words},
                )
            )
            continue
        found += [
            Finding(
                "unknown",
                name,
                f"the gradient of {name} is another one where the incoming gradient is {words}",
                {"incoming": words},
            )
            for name in _differing(expected, got, first.result)
        ]
    return found


def _as_first(first: Pass) -> tuple[Variables, list[Tensor | None]]:
    """Variables and incoming gradients of a pass, as it had them."""
    kind = getattr(torch, first.dtype)
    variables = {n: as_dtype(v, kind) for n, v in first.probe.variables.items()}
    pairs = zip(first.evidence.cotangents, first.result.outputs, strict=True)
    return variables, [None if dy is None else as_dtype(tensor(dy, y), kind) for dy, y in pairs]


def _differing(a: Result, b: Result, usual: Result | None = None) -> list[str]:
    """The gradients that differ: at all, or by more than sums in another order do, whose terms are
    as large as in a ``usual`` pass (they may cancel here)."""
    names = []
    for name, dx in a.gradients.items():
        other, size = b.gradients[name], None if usual is None else usual.gradients[name]
        if isinstance(dx, Tensor) and isinstance(other, Tensor) and not alike(dx, other, size):
            names.append(name)
    return names


def _strided(d: Tensor) -> Tensor:
    return torch.stack([d, torch.zeros_like(d)], -1)[..., 0]
