"""Results under PyTorch's transforms equal those without."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from handgrad.checking.findings import Finding
from torch_ext.checker.arrays import alike, array, as_dtype, differentiable, widened
from torch_ext.checker.orders import Checked
from torch_ext.checker.passes import Pass, Passes
from torch_ext.checker.recorder import custom_nodes
from torch_ext.checker.subject import Result, Subject, Variables
from torch_ext.checker.truth import sentence, shrunk
from torch_ext.checker.unusual import as_first, differing_gradients

_BATCH = 3
_VARIED = 0.3  # by which the samples of a batch differ

Incoming = list[Tensor | None]
Compared = tuple[str, Result, Result]  # how, without the transform, and with it


def transformed(passes: Passes, name: str) -> Checked:
    """Findings where ``name``, one of :data:`torch_ext.checker.options.TRANSFORMS`, changes a result; a note
    where the target does not run under it."""
    if passes.subject.pair is not None:
        return [], [f"{name} is not checked: a pair (forward, backward) has no autograd of its own"]
    first = passes.seen[0]
    classes = list({node._forward_cls for node in custom_nodes(first.result.outputs)})
    try:
        for how, usual, got in _TRANSFORMS[name](passes, first):
            found = _compared(first, name, how, usual, got)
            if found is not None:
                return [found], []
    except Exception as error:
        own = [cls.__name__ for cls in classes if cls.vmap is not Function.vmap]
        if own and name == "vmap":
            text = f"the vmap rule of {own[0]} raises {sentence(error)}"
            return [Finding("unknown", "vmap", text, {"transform": name})], []
        old = [cls.__name__ for cls in classes if cls.setup_context is Function.setup_context]
        why = f"the target does not run under it ({sentence(error)})"
        if old and "setup_context" in str(error):
            why = f"{old[0]} has no setup_context, without which torch.func refuses it"
        return [], [f"{name} is not checked: {why}"]
    return [], []


def _compared(first: Pass, name: str, how: str, usual: Result, got: Result) -> Finding | None:
    details = {"transform": name}
    largest = max((float(abs(array(y)).max()) for y in first.result.outputs if y.numel()), default=0.0)
    several = len(usual.outputs) > 1
    for i, (y, other) in enumerate(zip(usual.outputs, got.outputs, strict=True)):
        same = (
            alike(other, y, y, first.evidence.unit * largest) if differentiable(y) else torch.equal(other, y)
        )
        if not same:
            where = f"output {i}" if several else "the output"
            return Finding("forward", where, f"{where} is another one {how} than without", details)
    missing = [n for n, dx in usual.gradients.items() if (dx is None) != (got.gradients[n] is None)]
    for n in missing:
        there, here = usual.gradients[n], got.gradients[n]
        value = there if here is None else here
        if value is not None and bool(torch.any(value != 0)):
            word = "None" if here is None else "not None"
            return Finding("zero", n, f"the gradient of {n} is {word} {how}, unlike without", details)
    for n in differing_gradients(usual, got, first):
        return Finding("unknown", n, f"the gradient of {n} is another one {how} than without", details)
    return None


# --- each of them: (how, results without, results with) -------------------------------------------


def _grad(passes: Passes, first: Pass) -> Iterator[Compared]:
    variables, dys = as_first(first)
    outputs, pull = _pulled(_function(passes.subject, first), list(variables.values()))
    found = pull(tuple(dy for dy in dys if dy is not None))
    usual = Result(_differentiated_ones(first.result.outputs, dys), first.result.gradients)
    yield "under torch.func.vjp", usual, Result(list(outputs), dict(zip(variables, found, strict=True)))


def _batched(passes: Passes, first: Pass) -> Iterator[Compared]:
    """Several incoming gradients at once."""
    variables, dys = as_first(first)
    leaves, outputs = _recorded(passes.subject, first, variables)
    scaled = [[None if dy is None else dy.roll(k) * (1 + k) for dy in dys] for k in range(_BATCH)]
    found = _through(_differentiated_ones(outputs, dys), leaves, _stacks(scaled), is_grads_batched=True)
    usual = [passes.subject.analytic(variables, each, first.probe.constants).gradients for each in scaled]
    gradients = {n: _stacked([g[n] for g in usual]) for n in variables}
    how = "under torch.autograd.grad(is_grads_batched=True)"
    yield how, Result([], gradients), Result([], dict(zip(leaves, found, strict=True)))


def _compile(passes: Passes, first: Pass) -> Iterator[Compared]:
    variables, dys = as_first(first)
    compiled = copy.copy(passes.subject)
    compiled.target, compiled.module = torch.compile(_flat(compiled, variables), backend="eager"), None
    compiled.argument_names = [*compiled.argument_names, *_parameters(passes.subject, variables)]
    yield "under torch.compile", first.result, _differentiated(compiled, first, variables, dys)


def _vmap(passes: Passes, first: Pass) -> Iterator[Compared]:
    """A batch of points along the first axis, along the last one, and of one variable alone: outputs, and
    gradients through them. Then the gradients of each sample, by vmap of torch.func.vjp."""
    subject, f = passes.subject, _function(passes.subject, first)
    variables, dys = as_first(first)
    g = torch.Generator().manual_seed(passes.seed + 51)
    wide = {n: widened(v) for n, v in variables.items()}
    kind = getattr(torch, first.dtype)
    drawn = [wide, *(shrunk(wide, g, _VARIED) for _ in range(_BATCH - 1))]
    samples = [{n: as_dtype(v, kind) for n, v in each.items()} for each in drawn]
    incoming = [[None if dy is None else dy.roll(k) * (1 + k) for dy in dys] for k in range(_BATCH)]
    names = list(variables)
    layouts = [("under vmap", names, 0), ("under vmap along the last axis", names, -1)]
    if len(names) > 1:
        layouts += [(f"under vmap of {n} alone", [n], 0) for n in names[:4]]
    for how, batched, axis in layouts:
        points = [{n: (s if n in batched else variables)[n] for n in names} for s in samples]
        each = [
            subject.analytic(p, dys_k, first.probe.constants)
            for p, dys_k in zip(points, incoming, strict=True)
        ]
        leaves = {
            n: (torch.stack([s[n] for s in samples], axis) if n in batched else variables[n].clone())
            .detach()
            .requires_grad_()
            for n in names
        }
        in_dims = tuple(axis if n in batched else None for n in names)
        outputs = torch.func.vmap(f, in_dims, randomness="same")(*leaves.values())
        found = _through(outputs, leaves, _stacks(incoming))
        gradients: dict[str, Tensor | None] = {}
        for n in names:
            stacked = _stacked([e.gradients[n] for e in each], axis if n in batched else 0)
            gradients[n] = stacked if n in batched or stacked is None else stacked.sum(0)
        expected = _stacks([_differentiated_ones(e.outputs, dys) for e in each])
        yield how, Result(expected, gradients), Result(list(outputs), dict(zip(names, found, strict=True)))
        if batched is names and axis == 0:
            yield _per_sample(f, leaves, incoming, expected, gradients)


def _per_sample(
    f: Callable[..., tuple[Tensor, ...]],
    leaves: Variables,
    incoming: Sequence[Incoming],
    expected: list[Tensor],
    gradients: dict[str, Tensor | None],
) -> Compared:

    def one(xs: Sequence[Tensor], dys: tuple[Tensor, ...]) -> Any:
        outputs, pull = _pulled(f, xs)
        return outputs, pull(dys)

    batched = tuple(x.detach() for x in leaves.values())
    outputs, found = torch.func.vmap(one, randomness="same")(batched, tuple(_stacks(incoming)))
    got = Result(list(outputs), dict(zip(leaves, found, strict=True)))
    return "under vmap of torch.func.vjp", Result(expected, gradients), got


_TRANSFORMS: dict[str, Callable[[Passes, Pass], Iterator[Compared]]] = {
    "vmap": _vmap,
    "compile": _compile,
    "grad": _grad,
    "batched": _batched,
}


# --- calls -----------------------------------------------------------------------------------------


def _function(subject: Subject, first: Pass) -> Callable[..., tuple[Tensor, ...]]:
    """The outputs that are differentiated, as a function of the variables in their order."""
    names, constants, dys = list(subject.variables), first.probe.constants, as_first(first)[1]

    def f(*xs: Tensor) -> tuple[Tensor, ...]:
        outputs = subject.call(dict(zip(names, xs, strict=True)), constants, first.casting)
        return tuple(_differentiated_ones(outputs, dys))

    return f


def _pulled(f: Callable[..., Any], xs: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Callable[..., Any]]:
    """Outputs, and gradients for incoming ones."""
    made: Any = torch.func.vjp(f, *xs)
    return made[0], made[1]


def _parameters(subject: Subject, variables: Variables) -> list[str]:
    return [n for n in variables if n not in subject.argument_names]


def _flat(subject: Subject, variables: Variables) -> Callable[..., Any]:
    """The target as a function of its arguments, and then of its parameters, with nothing of the check's
    in it."""
    target, module = subject.target, subject.module
    count, names = len(subject.argument_names), _parameters(subject, variables)

    def f(*flat: Any) -> Any:
        if not isinstance(module, nn.Module):
            return target(*flat)
        state = dict(zip(names, flat[count:], strict=True))
        state |= {n: b.clone() for n, b in module.named_buffers()}
        return torch.func.functional_call(module, state, flat[:count])

    f.__code__ = f.__code__.replace()  # of its own: one that is compiled often is compiled no more
    return f


def _recorded(subject: Subject, first: Pass, variables: Variables) -> tuple[Variables, list[Tensor]]:
    leaves = {n: v.detach().clone().requires_grad_() for n, v in variables.items()}
    return leaves, subject.call(dict(leaves), first.probe.constants, first.casting)


def _differentiated(subject: Subject, first: Pass, variables: Variables, dys: Incoming) -> Result:
    leaves, outputs = _recorded(subject, first, variables)
    given = [dy for dy in dys if dy is not None]
    found = _through(_differentiated_ones(outputs, dys), leaves, given)
    return Result(outputs, dict(zip(leaves, found, strict=True)))


def _through(
    outputs: Sequence[Tensor], leaves: Variables, dys: Sequence[Tensor], **how: bool
) -> Sequence[Tensor | None]:
    """Gradients of the leaves, None where there is none."""
    ends = [(y, dy) for y, dy in zip(outputs, dys, strict=True) if y.requires_grad]
    if not ends:
        return [None] * len(leaves)
    ys, incoming = zip(*ends, strict=True)
    return torch.autograd.grad(ys, list(leaves.values()), incoming, allow_unused=True, **how)


def _differentiated_ones(outputs: Sequence[Tensor], dys: Incoming) -> list[Tensor]:
    return [y for y, dy in zip(outputs, dys, strict=True) if dy is not None]


def _stacks(each: Sequence[Sequence[Tensor | None]]) -> list[Tensor]:
    """Samples, tensor by tensor, in a batch."""
    pairs = [[x for x in xs if x is not None] for xs in zip(*each, strict=True)]
    return [torch.stack(xs) for xs in pairs if xs]


def _stacked(each: Sequence[Any], axis: int = 0) -> Tensor | None:
    present = [dx for dx in each if isinstance(dx, Tensor)]
    return torch.stack(present, axis) if len(present) == len(each) else None
