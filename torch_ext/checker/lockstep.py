"""Which layer of a model is wrong: each is given the reference's own inputs and incoming gradient.

One wrong layer makes the gradients of all layers before it wrong, and a wrong forward those after it. So
every submodule is compared alone, with the inputs and the incoming gradient that it has in the reference.
The innermost ones that differ are named; their neighbours are right, and so are the layers around them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import _SingleLevelFunction
from torch.autograd.graph import get_gradient_edge
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from torch_ext.checker.arrays import as_dtype, differentiable
from torch_ext.checker.recorder import Recorder, applying
from torch_ext.checker.spread import Nudge, Spread, noise, spread
from torch_ext.checker.subject import argument_names
from torch_ext.checker.truth import as_formula

_CALLS = 3  # of one submodule that are compared


@dataclass
class Call:
    """One call of a submodule in the reference: what went in, and the gradients that came to its outputs."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    edges: list[Any]
    cotangents: list[Tensor | None] = field(default_factory=list)


@dataclass
class Side:
    """A module with the tensors that stand for its parameters. ``dtype``: all floating numbers in it;
    ``formula``: custom Functions are replaced by their own forward formula."""

    module: nn.Module
    values: Mapping[str, Tensor]
    dtype: torch.dtype | None = None
    formula: bool = False

    def __post_init__(self) -> None:
        self._by_id = {id(p): self.values.get(n, p) for n, p in self.module.named_parameters()}

    def cast(self, x: Tensor) -> Tensor:
        return x if self.dtype is None else as_dtype(x, self.dtype)

    def leaves(self, sub: nn.Module, nudge: Nudge | None = None) -> dict[str, Tensor]:
        """New leaves over the same numbers, for the parameters of ``sub``; with ``g`` nudged ones."""
        found = {}
        for name, p in sub.named_parameters():
            v = self.cast(self._by_id.get(id(p), p).detach())
            found[name] = (v if nudge is None else nudge(v)).detach().requires_grad_(p.requires_grad)
        return found

    def call(self, sub: nn.Module, leaves: Mapping[str, Tensor], args: Any, kwargs: Any) -> Any:
        """The output of ``sub``; buffers are copies."""
        buffers = {n: self.cast(b.detach().clone()) for n, b in sub.named_buffers()}
        with applying(as_formula) if self.formula else nullcontext(), torch.enable_grad():
            return torch.func.functional_call(sub, {**leaves, **buffers}, args, kwargs)


@contextmanager
def hooked(*handles: Any) -> Iterator[None]:
    """The hooks are taken away again, whatever happens."""
    with ExitStack() as stack:
        for handle in handles:
            stack.callback(handle.remove)
        yield


def captured(
    reference: nn.Module,
    names: Sequence[str],
    run: Callable[[], Sequence[Tensor]],
    cotangents: Sequence[Tensor | None],
) -> dict[str, list[Call]]:
    """The calls of the submodules ``names`` while ``run`` calls the reference and ``cotangents`` come in."""
    calls: dict[str, list[Call]] = {n: [] for n in names}
    open_calls: list[tuple[str, Call | None]] = []

    def before(name: str) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            kept = None
            if len(calls[name]) < _CALLS:
                kept = Call(tree_map(_kept, args), tree_map(_kept, kwargs), [])
            open_calls.append((name, kept))

        return hook

    def after(name: str) -> Any:
        def hook(_: nn.Module, __: Any, ___: Any, output: Any) -> None:
            while open_calls:  # one that raised, and was caught by the model, stays open
                opened, call = open_calls.pop()
                if opened != name:
                    continue
                if call is not None:
                    call.edges = [
                        get_gradient_edge(y) if isinstance(y, Tensor) and y.requires_grad else None
                        for y in tree_flatten(output)[0]
                    ]
                    calls[name].append(call)
                return

        return hook

    modules = dict(reference.named_modules())
    handles = []
    with ExitStack() as stack:
        for name in names:
            handles = [
                modules[name].register_forward_pre_hook(before(name), with_kwargs=True, prepend=True),
                modules[name].register_forward_hook(after(name), with_kwargs=True),
            ]
            stack.enter_context(hooked(*handles))
        outputs = run()
    ends = [(y, dy) for y, dy in zip(outputs, cotangents, strict=True) if dy is not None and y.requires_grad]
    edges = [(call, edge) for made in calls.values() for call in made for edge in call.edges]
    wanted = [edge for _, edge in edges if edge is not None]
    found: Iterator[Tensor | None] = iter(())
    if ends and wanted:
        found = iter(
            torch.autograd.grad([y for y, _ in ends], wanted, [dy for _, dy in ends], allow_unused=True)
        )
    for call, edge in edges:
        call.cotangents.append(None if edge is None else next(found))
        call.edges = []
    return calls


def _kept(x: Any) -> Any:
    """A copy: what goes in may be overwritten later."""
    return x.detach().clone().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x


@dataclass
class Local:
    """A submodule on one call: its outputs and its gradients by name (of arguments and parameters)."""

    outputs: list[Any]
    gradients: dict[str, Tensor | None]


def local(
    side: Side,
    name: str,
    call: Call,
    names: Sequence[str],
    seed: int,
    nudge: Nudge | None = None,
) -> Local:
    """Forward and backward of one submodule alone; with ``nudge`` at inputs, parameters and incoming
    gradients that are a rounding off. ``names`` of the leaves of the arguments."""
    sub = side.module.get_submodule(name)

    def leaf(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        moved = x.detach() if nudge is None else nudge(x.detach())
        return side.cast(moved).detach().requires_grad_(x.requires_grad)

    parameters = side.leaves(sub, nudge)
    flat, spec = tree_flatten((call.args, call.kwargs))
    leaves = [leaf(x) for x in flat]
    args, kwargs = tree_unflatten([x.clone() if isinstance(x, Tensor) else x for x in leaves], spec)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        outputs = tree_flatten(side.call(sub, parameters, args, kwargs))[0]
        ends = [
            (y, leaf(dy).to(y.dtype).detach())
            for y, dy in zip(outputs, call.cotangents, strict=True)
            if dy is not None and isinstance(y, Tensor) and y.requires_grad
        ]
        wanted = {n: x for n, x in zip(names, leaves, strict=True) if isinstance(x, Tensor)} | parameters
        wanted = {n: x for n, x in wanted.items() if x.requires_grad}
        found: Sequence[Tensor | None] = [None] * len(wanted)
        if ends and wanted:
            found = torch.autograd.grad(
                [y for y, _ in ends], list(wanted.values()), [dy for _, dy in ends], allow_unused=True
            )
    tensors = [y.detach() for y in outputs if isinstance(y, Tensor) and differentiable(y)]
    return Local(tensors, dict(zip(wanted, found, strict=True)))


def _leaf_names(sub: nn.Module, call: Call) -> list[str]:
    """A name for every leaf of the arguments, as a report names them."""
    names = []
    for name, value in [
        *zip(argument_names(sub, len(call.args)), call.args, strict=True),
        *call.kwargs.items(),
    ]:
        count = len(tree_flatten(value)[0])
        names += [name] if count == 1 else [f"{name}[{i}]" for i in range(count)]
    return names


@dataclass
class Suspect:
    """A submodule that differs from the reference's: how its outputs and gradients do, by name ("" is an
    output), with both gradients."""

    name: str
    call: Call
    spreads: dict[str, Spread | None]
    gradients: dict[str, tuple[Tensor | None, Tensor | None]]
    error: str = ""


def differs(target: Side, reference: Side, name: str, call: Call, seed: int, length: int) -> Suspect | None:
    """The submodule ``name`` of both, on one call of the reference's: None where rounding explains all, or
    where it cannot be called alone."""
    names = _leaf_names(target.module.get_submodule(name), call)
    try:
        t = local(reference, name, call, names, seed)
    except Exception:
        return None
    try:
        a = local(target, name, call, names, seed)
    except Exception as error:
        return Suspect(name, call, {}, {}, f"{type(error).__name__}: {error}")
    suspect = Suspect(name, call, {}, {})
    moved: Local | None = None
    pairs = [("", y, z) for y, z in zip(a.outputs, t.outputs, strict=False)]
    pairs += [(n, a.gradients.get(n), truth) for n, truth in t.gradients.items()]
    for position, (label, x, truth) in enumerate(pairs):
        like = x if truth is None else truth
        if like is None:
            continue
        x, truth = (torch.zeros_like(like) if v is None else v for v in (x, truth))
        found = None
        if x.shape == truth.shape:
            found = spread(x.to(truth.dtype), truth)
            if found is None or found.rounded():
                continue
            if moved is None:
                g = torch.Generator(device=truth.device).manual_seed(seed)
                moved = local(reference, name, call, names, seed, Nudge(g))
            off = moved.outputs[position] if label == "" else moved.gradients[label]
            if found.within(None if off is None else noise(off.to(truth.dtype), truth), length):
                continue
        suspect.spreads[label], suspect.gradients[label] = found, (x, truth)
    return suspect if suspect.spreads else None


def innermost(suspects: Sequence[Suspect]) -> list[Suspect]:
    """Those that contain no other: what is around a wrong layer is wrong for that reason."""
    names = {s.name for s in suspects}
    return [s for s in suspects if not any(n != s.name and n.startswith(f"{s.name}.") for n in names)]


class Layers:
    """Which submodule called which custom Function: ``of`` by node, ``functions`` by qualified name ("" is
    the model itself), each with the arguments of its first call there, made small by ``kept``.
    ``entered(name, module, args, kwargs)`` is told of every call of a submodule."""

    def __init__(
        self,
        target: nn.Module,
        recorder: Recorder,
        kept: Callable[[Any], Any],
        entered: Callable[..., None] | None = None,
    ) -> None:
        self.target, self.recorder, self.kept, self.entered = target, recorder, kept, entered
        self.of: dict[Any, str] = {}
        self.functions: dict[str, dict[type, Any]] = {}
        self._inside = [""]

    def __getitem__(self, node: Any) -> str:
        return self.of.get(node, "")

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While the forward pass runs."""
        with ExitStack() as stack:
            for name, sub in self.target.named_modules():
                if name:
                    enter = sub.register_forward_pre_hook(self._enter(name), with_kwargs=True, prepend=True)
                    stack.enter_context(hooked(enter))
                    leave = sub.register_forward_hook(self._leave(name), always_call=True)
                    stack.enter_context(hooked(leave))
            with self.recorder.calls():
                recording = vars(_SingleLevelFunction)["apply"].__func__

                def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
                    here = self.functions.setdefault(self._inside[-1], {})
                    if cls not in here:
                        here[cls] = self.kept(args)
                    return recording(cls, *args, **kwargs)

                with applying(apply):
                    yield
            self._assign()

    def _assign(self) -> None:
        """What was called since, the module being called has called."""
        for node in list(self.recorder.tensors)[len(self.of) :]:
            self.of[node] = self._inside[-1]

    def _enter(self, name: str) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            self._assign()
            self._inside.append(name)
            if self.entered is not None:
                self.entered(name, module, args, kwargs)

        return hook

    def _leave(self, name: str) -> Any:
        def hook(*_: Any) -> None:
            self._assign()
            while len(self._inside) > 1 and self._inside.pop() != name:
                pass

        return hook


def candidates(
    target: nn.Module, reference: nn.Module, own: Collection[str], everything: bool = False
) -> list[str]:
    """The submodules of both that may differ: those that call custom Functions themselves, or are of
    another class; ``everything``: all of them."""
    theirs = dict(reference.named_modules())
    return [
        name
        for name, sub in target.named_modules()
        if name and name in theirs and (everything or name in own or type(sub) is not type(theirs[name]))
    ]
