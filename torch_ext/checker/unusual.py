"""The same inputs once more, and incoming gradients laid out in memory in unusual ways."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from handgrad.checking import precision
from handgrad.checking.findings import Finding
from torch_ext.checker.arrays import alike, array, as_dtype, normal, tensor
from torch_ext.checker.budget import Budget
from torch_ext.checker.passes import Pass
from torch_ext.checker.subject import Result, Subject, Variables
from torch_ext.checker.truth import Truth, sentence
from torch_ext.limits import Scale, extent

_STATE = (
    "differs from one call to the next on the same inputs: it depends on a state that is kept, or on random "
    "numbers of its own"
)
_OVERWRITTEN = (
    "changes when the target is called once more between its forward and backward pass: residuals are kept "
    "on the function, where the next call overwrites them"
)


_SEVERAL = 6  # inputs or outputs that are tried alone
_DIRECTIONS = 4


def repeated(subject: Subject, first: Pass, left: Budget) -> list[Finding]:
    """The same call again, and once with another call between its forward and its backward pass."""
    variables, cotangents = as_first(first)
    others = {n: v * 0.5 + 0.25 for n, v in variables.items()}
    for i, (between, words) in enumerate(((None, _STATE), (None, _STATE), (others, _OVERWRITTEN))):
        if not left.allows(2):
            break
        try:
            other = subject.analytic(
                variables,
                [None if dy is None else dy.clone() for dy in cotangents],
                first.probe.constants,
                dtype=first.casting,
                between=between,
                backward_seed=i,
            )
        except Exception:
            continue
        differing = differing_gradients(first.result, other)
        if differing:
            return [Finding("nondeterministic", n, f"the gradient of {n} {words}") for n in differing[:1]]
    return []


def layouts(subject: Subject, first: Pass, left: Budget) -> list[Finding]:
    """Incoming gradients laid out in memory in other ways give the same as plain ones."""
    variables, plain = as_first(first)
    found: list[Finding] = []
    for words, unusual in _laid_out(plain):
        if not left.allows(2):
            break
        contiguous = [
            None if dy is None else dy.clone(memory_format=torch.contiguous_format) for dy in unusual
        ]
        pairs = zip(unusual, plain, strict=True)
        same = all(dy is None or p is None or bool(torch.equal(dy, p)) for dy, p in pairs)
        constants, casting = first.probe.constants, first.casting
        try:
            usual = (
                first.result if same else subject.analytic(variables, contiguous, constants, dtype=casting)
            )
        except Exception:
            continue
        try:
            got = subject.analytic(variables, unusual, constants, dtype=casting)
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
            _misread(subject, first, name, words, unusual, got)
            for name in differing_gradients(usual, got, first)
        ]
    return found


def _laid_out(plain: list[Tensor | None]) -> Iterator[tuple[str, list[Tensor | None]]]:
    """The same numbers with gaps between them, and in another order in memory; one number, and one row,
    repeated without being copied, as a sum's and a mean's backward give them."""
    yield "non-contiguous", [None if dy is None else _strided(dy) for dy in plain]
    if any(dy is not None and dy.ndim > 1 for dy in plain):
        turned = [None if dy is None else dy.mT.contiguous().mT if dy.ndim > 1 else dy for dy in plain]
        yield "transposed in memory", turned
    yield "expanded", [None if dy is None else dy.new_full((), 0.7).expand(dy.shape) for dy in plain]
    if any(dy is not None and dy.ndim > 1 for dy in plain):
        rows = [
            None if dy is None else dy[:1].expand(dy.shape) if dy.ndim and len(dy) else dy for dy in plain
        ]
        yield "one row, expanded", rows


def _misread(
    subject: Subject, first: Pass, name: str, words: str, unusual: list[Tensor | None], got: Result
) -> Finding:
    """Which misreading of the memory explains a gradient that depends on its layout."""
    variables = as_first(first)[0]
    text = f"the gradient of {name} is another one where the incoming gradient is {words}"
    for kind, advice, read in (
        (
            "permuted",
            "its memory is read as if it were contiguous; use its strides, or .contiguous()",
            _in_order,
        ),
        ("missing-factor", "its first number is taken for all; use every element", _first_number),
    ):
        try:
            dys = [None if dy is None else read(dy) for dy in unusual]
            other = subject.analytic(variables, dys, first.probe.constants, dtype=first.casting)
        except Exception:
            continue
        a, b = got.gradients[name], other.gradients[name]
        if isinstance(a, Tensor) and isinstance(b, Tensor) and alike(a, b, b, _rounding(first, name)):
            return Finding(kind, name, f"{text}: {advice}", {"incoming": words})
    return Finding("unknown", name, text, {"incoming": words})


def _in_order(dy: Tensor) -> Tensor:
    """What lies in memory from the first element on."""
    memory = dy.as_strided((dy.untyped_storage().nbytes() // dy.element_size() - dy.storage_offset(),), (1,))
    return memory[torch.arange(dy.numel()) % max(memory.numel(), 1)].reshape(dy.shape)


def _first_number(dy: Tensor) -> Tensor:
    return dy.reshape(-1)[:1].expand(dy.numel()).reshape(dy.shape).clone()


def partial(subject: Subject, first: Pass, left: Budget) -> list[Finding]:
    """Each variable differentiated alone, and each output alone: the same gradients as all together."""
    if not first.result.raw.custom:
        return []
    variables, plain = as_first(first)
    found = []
    for name in list(variables)[:_SEVERAL] if len(variables) > 1 else ():
        words = f"{name} alone requires a gradient"
        found += _one_alone(subject, first, left, plain, plain, [name], words)
    for i, dy in enumerate(plain[:_SEVERAL] if len(plain) > 1 else ()):
        if dy is None:
            continue
        zeros = [d if j == i or d is None else torch.zeros_like(d) for j, d in enumerate(plain)]
        alone = [d if j == i else None for j, d in enumerate(plain)]
        words = f"no gradient comes in for the outputs other than output {i}"
        found += _one_alone(subject, first, left, zeros, alone, list(variables), words)
    return found[:1]


def along_directions(truth: Truth, exact: Pass, seed: int) -> list[Finding]:
    """Where only some elements have a numerical truth, all of them together are checked along directions."""
    if not truth.partial:
        return []
    g = torch.Generator().manual_seed(seed + 21)
    variables, constants = exact.probe.variables, exact.probe.constants
    pairs = zip(exact.evidence.cotangents, exact.result.outputs, strict=True)
    dys = [None if dy is None else tensor(dy, y) for dy, y in pairs]
    for name, v in variables.items():
        dx = exact.result.gradients[name]
        for _ in range(_DIRECTIONS) if exact.differences[name].passed else ():
            direction = normal(v, g)
            found = truth.along(variables, dys, constants, {name: direction})
            if found is None:
                continue
            a = np.zeros(()) if dx is None else array(dx) * array(direction)
            unit = precision(exact.dtype).unit * 64 * float(np.sqrt(np.sum(a * a)))
            if not abs(float(np.sum(a)) - found[0]) <= 10 * found[1] + unit:
                text = (
                    f"the gradient of {name} is wrong along a direction, at elements not looked at one by one"
                )
                return [Finding("unknown", name, text, {"analytic": float(np.sum(a)), "truth": found[0]})]
    return []


def _one_alone(
    subject: Subject,
    first: Pass,
    left: Budget,
    usual: list[Tensor | None],
    unusual: list[Tensor | None],
    needs: list[str],
    words: str,
) -> list[Finding]:
    if not left.allows(2):
        return []
    variables, constants = as_first(first)[0], first.probe.constants
    expected = first.result
    try:
        if usual is not unusual:
            expected = subject.analytic(variables, usual, constants, dtype=first.casting)
    except Exception:
        return []
    where = needs[0] if len(needs) == 1 else "grad_output"
    try:
        got = subject.analytic(variables, unusual, constants, needs, dtype=first.casting)
    except Exception as error:
        return [Finding("unknown", where, f"backward raises where {words}: {sentence(error)}")]
    for name in needs:
        due, dx = expected.gradients[name], got.gradients[name]
        if isinstance(due, Tensor) and bool(torch.any(due != 0)) and not isinstance(dx, Tensor):
            return [Finding("zero", name, f"the gradient of {name} is None where {words}")]
        if (
            isinstance(due, Tensor)
            and isinstance(dx, Tensor)
            and not alike(due, dx, due, _rounding(first, name))
        ):
            return [Finding("unknown", name, f"the gradient of {name} is another one where {words}")]
    return []


def as_first(first: Pass) -> tuple[Variables, list[Tensor | None]]:
    """Variables and incoming gradients of a pass, as it had them."""
    kind = getattr(torch, first.dtype)
    variables = {n: as_dtype(v, kind) for n, v in first.probe.variables.items()}
    pairs = zip(first.evidence.cotangents, first.result.outputs, strict=True)
    return variables, [None if dy is None else as_dtype(tensor(dy, y), kind) for dy, y in pairs]


def differing_gradients(a: Result, b: Result, usual: Pass | None = None) -> list[str]:
    """The gradients that differ: at all, or by more than sums in another order do, whose terms are
    as large as in a ``usual`` pass (they may cancel here)."""
    names = []
    for name, dx in a.gradients.items():
        other = b.gradients[name]
        if not isinstance(dx, Tensor) or not isinstance(other, Tensor):
            continue
        if usual is None:
            if not alike(dx, other):
                names.append(name)
        elif not alike(dx, other, usual.result.gradients[name], _rounding(usual, name)):
            names.append(name)
    return names


def _rounding(first: Pass, name: str) -> float:
    """What another order of summation may change where all terms cancel: see :class:`Scale`."""
    e = first.evidence
    x = e.inputs[name]
    scale = Scale.of(e.cotangents, e.outputs, [*e.inputs.values(), *e.outputs])
    unseen = 4 * e.unit * scale.loss / extent(x) if x.size else np.zeros(1)
    return float(np.max(e.allowed[name], initial=0.0) + np.max(unseen))


def _strided(d: Tensor) -> Tensor:
    return torch.stack([d, torch.zeros_like(d)], -1)[..., 0]
