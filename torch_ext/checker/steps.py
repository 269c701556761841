"""Whole steps of a large model, forward and backward, compared tensor by tensor in the model's own memory.

One set of gradients is kept; the others are compared and freed as the backward pass makes them. Parameters
are shared with the user's model, after a first step on copies has shown that nothing writes into them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from handgrad._errors import InputError, require
from handgrad.report import reduce_errors
from torch_ext.checker.arrays import array, as_dtype, cotangent, differentiable
from torch_ext.checker.inputs import require_numbers, require_target, require_variables
from torch_ext.checker.layer import small
from torch_ext.checker.lockstep import Layers, Side, hooked
from torch_ext.checker.naming import kind_of_layer
from torch_ext.checker.recorder import Raw, Recorder, applying
from torch_ext.checker.spread import Noise, Nudge, Spread, noise, spread
from torch_ext.checker.subject import Subject
from torch_ext.checker.truth import as_formula, sentence

_NUDGED = 100_000  # elements of a parameter that is nudged, too: a copy is needed
_SAMPLE = 1 << 16  # elements of an input that is kept
_DRAWN, _GRIDS = 1_000_000, 12  # elements of a gradient whose error is drawn, and how many are

Leaves = dict[str, Tensor]


class Watch(Recorder):
    """A recorder that copies nothing: what is written into is seen by version, and told by layer."""

    def __init__(self, leaves: Mapping[str, Tensor], target: nn.Module, entered: Any = None) -> None:
        super().__init__(leaves, {})
        self.layers = Layers(target, self, small, entered)
        self.by_layer: dict[str, Raw] = {}

    def _leaves_changed(self, _: str) -> None:
        return

    def keep(self, residuals: Any, cotangents: Sequence[Any]) -> list[tuple[str, Tensor, Any]]:
        found = [("grad_output", dy, dy._version) for dy in cotangents if isinstance(dy, Tensor)]
        saved = [x for x in tree_flatten(residuals)[0] if isinstance(x, Tensor)]
        return found + [("a saved tensor", x, x._version) for x in saved]

    def compare(self, kept: list[tuple[str, Tensor, Any]]) -> None:
        for what, x, version in kept:
            if x._version != version:
                self.raw.changed.setdefault(what, "the backward pass")

    def _watched(self, cls: type, backward: Any, edges: Mapping[Any, Any]) -> Any:
        inner = super()._watched(cls, backward, edges)

        def by_layer(ctx: Any, *grads: Any) -> Any:
            self.raw = Raw(custom=True)
            returned = inner(ctx, *grads)
            made = self.by_layer.setdefault(self.layers[ctx], Raw())
            made.changed.update(self.raw.changed)
            made.wrong_shapes.update(self.raw.wrong_shapes)
            made.wrong_dtypes.update(self.raw.wrong_dtypes)
            return returned

        return by_layer

    def forget(self) -> None:
        """Let go of the graph, and what it holds."""
        self.leaves = {}
        self.tensors.clear()
        self.layers.of.clear()
        self.layers.entered = None  # else the memory of a step waits for the collector of cycles

    @property
    def blamed(self) -> list[str]:
        """The layers whose backward did what none may do."""
        return [n for n, raw in self.by_layer.items() if raw.changed or raw.wrong_shapes or raw.wrong_dtypes]


class Model:
    """Target and reference over the same parameters: those of the target, which are not copied."""

    def __init__(self, target: nn.Module, inputs: Sequence[Any], reference: Any, seed: int) -> None:
        require_target(target, "target")
        self.target, self.seed, self.formula = target, seed, reference is None
        self.reference: nn.Module = target if reference is None else reference
        self.frame = Subject(target.forward, inputs, seed)  # names and copies of the inputs
        self.parameters = {n: p for n, p in target.named_parameters() if p.requires_grad}
        for name, x in [*target.named_parameters(), *target.named_buffers()]:
            require_numbers(name, x, "a module that is checked")
        require_variables([*self.frame.variables, *self.parameters], inputs)
        self.theirs = self._matched()
        self.names = [*self.frame.variables, *self.parameters]
        self.copies = False  # of the parameters, where a forward pass writes into them
        self.longest = max((n for p in self.parameters.values() for n in _sums(p)), default=1)

    def _matched(self) -> dict[str, str]:
        """The target's name of each parameter of the reference."""
        rule, do = "a reference of a large model is a module with the same parameters", "give such a one"
        require(isinstance(self.reference, nn.Module), rule, type(self.reference).__name__, do)
        theirs = dict(self.reference.named_parameters())
        missing = [n for n in self.parameters if n not in theirs]
        own = list(self.parameters)
        if missing and len([p for p in theirs.values() if p.requires_grad]) == len(own):
            own = [n for n, p in theirs.items() if p.requires_grad]
            missing = []
        require(not missing, rule, f"none for {', '.join(missing[:3])}", do)
        names = dict(zip(own, self.parameters, strict=True))
        for mine, other in names.items():
            shapes = tuple(theirs[mine].shape), tuple(self.parameters[other].shape)
            require(shapes[0] == shapes[1], rule, f"{mine} of shape {shapes[0]}, not {shapes[1]}", do)
        return names

    def leaves(self, dtype: Any = None, copies: bool = False) -> Leaves:
        """New leaves over the same numbers; copies where ``dtype`` or ``copies`` asks for them."""

        def leaf(x: Tensor) -> Tensor:
            made = x.detach() if dtype is None else as_dtype(x.detach(), dtype)
            copied = made.dtype == x.dtype and (copies or self.copies)
            return (_copy(made) if copied else made).requires_grad_()

        return {n: leaf(x) for n, x in [*self.frame.variables.items(), *self.parameters.items()]}

    def side(self, of_target: bool, leaves: Leaves, dtype: Any = None) -> Side:
        """One of the two, for :mod:`lockstep`."""
        if of_target:
            return Side(self.target, leaves, dtype)
        values = {mine: leaves[n] for mine, n in self.theirs.items()}
        return Side(self.reference, values, dtype, self.formula)

    def outputs(self, side: Side, values: Leaves, dtype: Any = None) -> list[Tensor]:
        """The outputs of one of the two at ``values`` of inputs and parameters."""
        names = dict.fromkeys(self.parameters) if side.module is self.target else self.theirs
        state = {mine: values[other or mine] for mine, other in names.items()}
        if dtype is not None:
            frozen = [(n, p) for n, p in side.module.named_parameters() if n not in state]
            state |= {n: as_dtype(p.detach(), dtype) for n, p in frozen}

        def run(*args: Any) -> Any:
            buffers = {n: b.detach().clone() for n, b in side.module.named_buffers()}
            if dtype is not None:
                buffers = {n: as_dtype(b, dtype) for n, b in buffers.items()}
            return torch.func.functional_call(side.module, {**state, **buffers}, args)

        self.frame.target = run
        inputs = {n: values[n].clone() for n in self.frame.variables}
        with applying(as_formula) if side.formula else nullcontext():
            return self.frame.call(inputs, None, dtype)

    def cotangents(self, outputs: Sequence[Tensor]) -> list[Tensor | None]:
        g = torch.Generator().manual_seed(self.seed + 1)
        return [_cotangent(y, g) for y in outputs]


def _cotangent(y: Tensor, g: torch.Generator) -> Tensor | None:
    if y.dtype == torch.float32:  # as they are many: without a detour through float64
        return torch.randn(y.shape, generator=g).to(y.device)
    dy = cotangent(y, g)
    return None if dy is None else dy.to(y.device)


def _copy(x: Tensor) -> Tensor:
    """A copy that takes memory only once it, or what it is made of, is written into."""
    lazily = getattr(torch, "_lazy_clone", torch.clone)  # not public: may go
    made: Tensor = lazily(x)
    return made


def _written(copied: Tensor, before: Tensor) -> bool:
    """Whether the numbers of a copy are others than before."""
    still_lazy = getattr(torch._C, "_is_cow_tensor", lambda _: False)
    return not (still_lazy(copied) or torch.equal(copied.detach(), before))


def _sums(p: Tensor) -> tuple[int, ...]:
    return (*p.shape, p.numel() // max(1, p.shape[0] if p.ndim else 1))


def _backward(
    outputs: Sequence[Tensor],
    cotangents: Sequence[Tensor | None],
    leaves: Leaves,
    take: Callable[[str, Tensor], None],
) -> None:
    """``take(name, gradient)`` as soon as each is there; it is freed then."""
    ends = [(y, dy) for y, dy in zip(outputs, cotangents, strict=True) if dy is not None and y.requires_grad]
    if not ends:
        return

    def taken(name: str, leaf: Tensor) -> None:
        dx, leaf.grad = leaf.grad, None
        if dx is not None:
            take(name, dx.to_dense() if dx.layout != torch.strided else dx)

    handles = [
        x.register_post_accumulate_grad_hook(partial(taken, n))  # type: ignore[no-untyped-call]
        for n, x in leaves.items()
    ]
    with hooked(*handles):
        torch.autograd.backward(
            [y for y, _ in ends], [dy for _, dy in ends], inputs=list(leaves.values()) or None
        )


class Steps:
    """The steps of both in one dtype, and how far apart they are."""

    def __init__(self, model: Model, dtype: Any = None) -> None:
        self.model, self.dtype = model, dtype
        self.kept: dict[str, Tensor] = {}
        self.apart: dict[str, Spread | None] = {}  # by name; outputs as "output 0"
        self.wrong: list[str] = []
        self.grids: dict[str, Any] = {}
        self.samples: dict[Any, tuple[str, Any]] = {}
        self.written: list[str] = []
        self.noisy = False  # whether rounding was measured
        self.raised = ""

    def target(self) -> None:
        """The target's own step; its gradients are kept."""
        model = self.model
        leaves = model.leaves(self.dtype, copies=True)
        self.watch = watch = Watch(leaves, model.target, self._sample if self.dtype is None else None)
        try:
            with watch.layers.watching():
                outputs = model.outputs(model.side(True, leaves, self.dtype), leaves, self.dtype)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"a target computes its output and its gradient; received {sentence(error)}; "
                "check that it runs on these inputs."
            ) from error
        due = any(differentiable(y) for y in outputs)
        kinds = ", ".join(str(y.dtype) for y in outputs)
        require(due, "a target has a floating or complex output", kinds, "return the one to differentiate")
        finite = all(bool(torch.isfinite(y).all()) for y in outputs if differentiable(y))
        rule = "the target's output is finite on the inputs given"
        require(finite, rule, "NaN or infinity", "give inputs inside its domain")
        self.cotangents = model.cotangents(outputs)
        self.longest = max([model.longest, *(y.numel() // max(1, y.shape[-1]) for y in outputs if y.ndim)])
        given = [None if dy is None else dy.clone() for dy in self.cotangents]
        try:
            with watch.watching([y for y in outputs if y.requires_grad]):
                _backward(outputs, given, leaves, self.kept.__setitem__)
        except Exception as error:
            self.raised = sentence(error)
        for i, y in enumerate(outputs):
            self.kept[f"output {i}"] = y.detach()
        before = {**model.frame.variables, **model.parameters}
        if self.dtype is None:
            self.written = [n for n, x in leaves.items() if _written(x, before[n])]
            model.copies = bool(self.written)
        watch.forget()

    def _sample(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        """A small part of what goes into the first layer of each kind, to check it alone."""
        key = kind_of_layer(module)
        if key not in self.samples:
            made = small((args, kwargs))
            if all(x.numel() <= _SAMPLE for x in tree_flatten(made)[0] if isinstance(x, Tensor)):
                self.samples[key] = name, made

    def reference(self) -> None:
        """The reference's step, compared with the target's as it comes, in whose place it is kept."""
        model = self.model
        leaves = model.leaves(self.dtype)
        try:
            outputs = model.outputs(model.side(False, leaves, self.dtype), leaves, self.dtype)
        except InputError:
            raise
        except Exception as error:
            if model.formula:
                raise NoFormula(sentence(error)) from error
            raise InputError(
                f"a reference runs on the inputs given; received {sentence(error)}; give one that does."
            ) from error
        shapes = [
            [tuple(y.shape) for y in outputs],
            [tuple(dy.shape) for dy in self.cotangents if dy is not None],
        ]
        fits = len(outputs) == len(self.cotangents) and all(
            dy is None or y.shape == dy.shape for y, dy in zip(outputs, self.cotangents, strict=True)
        )
        rule, do = "a reference has the target's outputs", "give one of the same function"
        require(fits, rule, f"shapes {shapes[0]} where the target's are {shapes[1]}", do)
        for i, y in enumerate(outputs):
            if differentiable(y):
                self._take(f"output {i}", y.detach())
        seen: set[str] = set()

        def take(name: str, truth: Tensor) -> None:
            seen.add(name)
            if not self.raised:
                self._take(name, truth)

        dys = [None if dy is None else dy.to(y.dtype) for y, dy in zip(outputs, self.cotangents, strict=True)]
        _backward(outputs, dys, leaves, take)
        for name in [n for n in self.kept if n in leaves and n not in seen]:
            self._take(name, torch.zeros_like(self.kept[name]))
        self.explain(None)

    def _take(self, name: str, truth: Tensor) -> None:
        own = self.kept.get(name)
        own = torch.zeros_like(truth) if own is None else own
        found = spread(own.to(truth.dtype), truth)
        self.apart[name] = found
        large = truth.numel() > _DRAWN or len(self.grids) >= _GRIDS
        if found is not None and found.gross() and not (large or name.startswith("output")):
            self.grids[name] = reduce_errors(_signed(own, truth))
        self.kept[name] = truth

    def nudged(self) -> None:
        """The reference's step with every intermediate value a rounding off; it may differ by as much."""
        model, self.noisy = self.model, True
        leaves = model.leaves(self.dtype)
        device = next(iter(leaves.values())).device
        nudged = Nudge(torch.Generator(device=device).manual_seed(model.seed + 2))
        side = model.side(False, leaves, self.dtype)

        def nudge(_: nn.Module, __: Any, y: Any) -> Any:
            return tree_map(moved, y)

        def moved(y: Any) -> Any:
            if not isinstance(y, Tensor) or not differentiable(y):
                return y
            y = nudged(y)
            if y.requires_grad:
                y.register_hook(nudged)
            return y

        values = {
            n: nudged(x) if x.numel() <= _NUDGED or n not in model.parameters else x
            for n, x in leaves.items()
        }
        ends = [m for m in side.module.modules() if not any(m.children())]
        found: dict[str, Noise] = {}
        with hooked(*(m.register_forward_hook(nudge) for m in ends)):
            outputs = model.outputs(side, values, self.dtype)
            for i, y in enumerate(outputs):
                if differentiable(y):
                    found[f"output {i}"] = noise(y.detach(), self.kept[f"output {i}"])
            dys = [
                None if dy is None else nudged(dy.to(y.dtype))
                for y, dy in zip(outputs, self.cotangents, strict=True)
            ]

            def take(name: str, dx: Tensor) -> None:
                if self.apart.get(name) is not None:
                    found[name] = noise(dx, self.kept[name])

            _backward(outputs, dys, leaves, take)
        self.explain(found)

    def explain(self, noises: Mapping[str, Noise] | None) -> None:
        """The names of what rounding does not explain."""
        self.wrong = [
            name
            for name, found in self.apart.items()
            if found is not None
            and not found.rounded()
            and (noises is None or not found.within(noises.get(name), self.longest))
        ]

    @property
    def gross(self) -> list[str]:
        """Those in which half of the digits are wrong, and not only because they should cancel."""
        sizes = sorted(float(s.row_truth.max()) for s in self.apart.values() if s is not None)
        typical = sizes[len(sizes) // 2] if sizes else 0.0
        found = [(n, s) for n in self.wrong if (s := self.apart[n]) is not None and s.gross()]
        return [n for n, s in found if s.largest > s.precision.unit**0.5 * typical]


class NoFormula(Exception):
    """The target's own forward is no formula that autograd differentiates."""


def _signed(a: Tensor, t: Tensor) -> Any:
    return array(a) - array(t)
