"""What is checked, as one function of named tensors: a callable, a Function, a module or a plain pair.

A subject never touches what the user owns: it works on copies of inputs, parameters and buffers, and
leaves ``.grad`` alone. What a target reaches otherwise, :mod:`torch_ext.checker.guard` puts back.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import Function

from handgrad._errors import require
from torch_ext.checker.guard import GENERATORS, same_random_numbers
from torch_ext.checker.inputs import listed, require_inputs, require_numbers, require_target
from torch_ext.checker.recorder import BackwardRaises, Raw, Recorder
from torch_ext.checker.widening import widening

T = TypeVar("T")
Variables = dict[str, Tensor]


@dataclass
class Result:
    """One forward and backward pass: outputs, gradients by name, and what backward itself returned."""

    outputs: list[Tensor]
    gradients: dict[str, Tensor | None]
    raw: Raw = field(default_factory=Raw)


class Subject:
    """``target`` with its arguments: ``variables`` are differentiated, ``constants`` passed through."""

    def __init__(self, target: Any, inputs: Sequence[Any], seed: int, what: str = "target") -> None:
        require_inputs(inputs)
        require_target(target, what)
        self.seed, self.what = seed, what
        self.passes = 0  # forward passes so far
        self.renamed: dict[str, str] = {}  # its own names of parameters, where the variables have others
        self.widened = False  # whether it takes more than its inputs to have it in float64
        self.accumulates = False  # whether a part of it refuses torch.autograd.grad
        self.pair = target if isinstance(target, tuple) else None
        self.target = target
        self.module = target if isinstance(target, nn.Module) else None
        self.name = _name(target)
        parameters = dict(self.module.named_parameters()) if self.module is not None else {}
        self.argument_names = _distinct(argument_names(target, len(inputs)), parameters)
        self.arguments = list(inputs)
        self.variables: Variables = {}
        for name, x in [*zip(self.argument_names, inputs, strict=True), *parameters.items()]:
            if isinstance(x, Tensor):
                whose = "a module that is checked" if name in parameters else "an input"
                require_numbers(name, x, whose)
                if x.requires_grad:
                    self.variables[name] = x.detach().clone()
        for name, b in self.module.named_buffers() if self.module is not None else ():
            require_numbers(name, b, "a module that is checked")

    # --- calls ---------------------------------------------------------------------------

    def call(
        self, variables: Variables, constants: Mapping[int, Any] | None = None, dtype: Any = None
    ) -> list[Any]:
        """The outputs (a list) at these variables; ``dtype``: floating constants and buffers in it."""
        return self._fitting(dtype, lambda: self._call(variables, constants, dtype))

    def _call(self, variables: Variables, constants: Mapping[int, Any] | None, dtype: Any) -> list[Any]:
        self.passes += 1
        with same_random_numbers(self.seed), self._in(dtype):
            arguments = self.arguments_at(variables, constants, dtype)
            if self.pair is not None:
                return listed(self._forward(arguments)[0], self.what, nested=False)
            if self.module is None:
                return listed(self.target(*arguments), self.what)
            own = {n: variables.get(self.renamed.get(n, n), p) for n, p in self.module.named_parameters()}
            own.update({n: b.detach().clone() for n, b in self.module.named_buffers()})
            state = {n: _cast(v, dtype) for n, v in own.items()}
            return listed(torch.func.functional_call(self.module, state, tuple(arguments)), self.what)

    def _fitting(self, dtype: Any, run: Callable[[], T]) -> T:
        """``run()``; where tensors that the target holds in its closure are of another dtype, they are
        converted, too."""
        try:
            return run()
        except Exception as error:
            if self.widened or dtype is None or "type" not in str(error):
                raise
            self.widened = True
            try:
                return run()
            except Exception:
                self.widened = False
                raise error from None

    def _in(self, dtype: Any) -> AbstractContextManager[Any]:
        return widening(dtype) if self.widened and dtype is not None else nullcontext()

    def _forward(self, arguments: Sequence[Any]) -> Any:
        made = self.pair[0](*arguments)  # type: ignore[index]
        require(
            isinstance(made, tuple) and len(made) == 2,
            "a pair's forward returns (output, residuals)",
            type(made).__name__,
            "return both",
        )
        return made

    def arguments_at(
        self, variables: Variables, constants: Mapping[int, Any] | None, dtype: Any
    ) -> list[Any]:
        """All arguments of a call, in their order."""
        given = dict(enumerate(self.arguments)) | dict(constants or {})
        return [
            variables[name] if name in variables else _cast(_copied(given[i]), dtype)
            for i, name in enumerate(self.argument_names)
        ]

    def analytic(
        self,
        variables: Variables,
        cotangents: Sequence[Tensor | None] | Callable[[list[Any]], Sequence[Tensor | None]],
        constants: Mapping[int, Any] | None = None,
        needs: Sequence[str] | None = None,
        dtype: Any = None,
        between: Variables | None = None,
        backward_seed: int = 0,
    ) -> Result:
        """Forward, and the target's own backward, watched by a :class:`Recorder`.

        ``between``: the target is called once more, at these variables, before the backward pass: one
        that keeps its residuals on itself then uses the wrong ones. Raises what the target raises.
        """
        by = self._by_engine if self.pair is None else self._by_pair
        wanted = list(variables) if needs is None else list(needs)
        return self._fitting(
            dtype, lambda: by(variables, cotangents, constants, wanted, dtype, between, backward_seed)
        )

    def _by_engine(
        self,
        variables: Variables,
        cotangents: Any,
        constants: Any,
        wanted: list[str],
        dtype: Any,
        between: Variables | None,
        seed: int,
    ) -> Result:
        leaves = {n: v.detach().clone().requires_grad_(n in wanted) for n, v in variables.items()}
        before = {n: v.detach().clone() for n, v in leaves.items()}
        recorder = Recorder(leaves, before)
        with recorder.calls():
            outputs = self._called(leaves, constants, dtype)
        recorder.after_forward()
        if between is not None:
            self._called({n: v.clone().requires_grad_() for n, v in between.items()}, constants, dtype)
        dys = list(cotangents(outputs) if callable(cotangents) else cotangents)
        ends = [(y, dy) for y, dy in zip(outputs, dys, strict=True) if dy is not None and y.requires_grad]
        if not ends:
            return Result(outputs, dict.fromkeys(variables), recorder.raw)
        ys, incoming = [y for y, _ in ends], [dy for _, dy in ends]
        try:
            with recorder.watching(ys), same_random_numbers(seed), self._in(dtype):
                if self.accumulates:
                    torch.autograd.backward(ys, incoming)
                    found: Sequence[Any] = [leaves[n].grad for n in wanted]
                else:
                    found = torch.autograd.grad(ys, [leaves[n] for n in wanted], incoming, allow_unused=True)
        except Exception as error:
            if "incompatible with .grad()" in str(error) and not self.accumulates:  # a reentrant checkpoint
                self.accumulates = True
                return self._by_engine(variables, cotangents, constants, wanted, dtype, between, seed)
            if not (isinstance(error, RuntimeError) and recorder.raw.wrong_shapes):
                raise BackwardRaises(recorder.raised, error) from error
            return Result(outputs, {n: recorder.raw.returned.get(n) for n in wanted}, recorder.raw)
        recorder.after_backward()
        return Result(outputs, dict(zip(wanted, found, strict=True)), recorder.raw)

    def _called(self, leaves: Variables, constants: Any, dtype: Any) -> list[Any]:
        """The outputs; a function that works in place, and says so, gets copies: a leaf forbids it."""
        before = {n: x.detach().clone() for n, x in leaves.items()}
        try:
            return self._call(leaves, constants, dtype)
        except RuntimeError as error:
            if "leaf Variable" not in str(error):
                raise
            for n, x in leaves.items():
                x.data.copy_(before[n])
            return self._call({n: x.clone() for n, x in leaves.items()}, constants, dtype)

    def _by_pair(
        self,
        variables: Variables,
        cotangents: Any,
        constants: Any,
        _: list[str],
        dtype: Any,
        between: Variables | None,
        seed: int,
    ) -> Result:
        copies = {n: v.detach().clone() for n, v in variables.items()}
        arguments = self.arguments_at(copies, constants, dtype)
        before = {n: v.clone() for n, v in copies.items()}
        recorder = Recorder(copies, before)
        self.passes += 1 if between is None else 2
        with torch.no_grad(), same_random_numbers(self.seed), self._in(dtype):
            output, residuals = self._forward(arguments)
            outputs = listed(output, nested=False)
            recorder.after_forward()
            if between is not None:
                self._forward(self.arguments_at({n: v.clone() for n, v in between.items()}, constants, dtype))
            dys = list(cotangents(outputs) if callable(cotangents) else cotangents)
            kept = recorder.keep(residuals, dys)
            dy = tuple(dys) if isinstance(output, tuple | list) else dys[0]
            with same_random_numbers(seed):
                try:
                    returned = self.pair[1](dy, residuals)  # type: ignore[index]
                except Exception as error:
                    raise BackwardRaises("backward", error) from error
        recorder.compare(kept)
        returned = returned if isinstance(returned, tuple | list) else (returned,)
        # constants at the end need no None of their own
        due = max((i + 1 for i, n in enumerate(self.argument_names) if n in variables), default=0)
        if due <= len(returned) < len(arguments):
            returned = (*returned, *(None,) * (len(arguments) - len(returned)))
        while len(returned) > len(arguments) and returned[-1] is None:  # arguments left at their defaults
            returned = returned[:-1]
        strange = [type(dx).__name__ for dx in returned if not (dx is None or isinstance(dx, Tensor))]
        require(
            len(returned) == len(arguments) and not strange,
            "a pair's backward returns one gradient for each input, a tensor, or None where there is none",
            f"a {strange[0]}" if strange else f"{len(returned)} for {len(arguments)} inputs",
            "return a tuple of them",
        )
        gradients: dict[str, Tensor | None] = {}
        for name, dx in zip(self.argument_names, returned, strict=True):
            if name in variables:
                gradients[name] = dx
                recorder.raw.returned[name] = dx
                recorder.raw.note(name, dx, variables[name])
        return Result(outputs, gradients, recorder.raw)


def _cast(x: Any, dtype: Any) -> Any:
    if dtype is None or not isinstance(x, Tensor) or not (x.is_floating_point() or x.is_complex()):
        return x
    return x.to(torch.complex128 if x.is_complex() else dtype)


def _copied(x: Any) -> Any:
    """Tensors and generators of random numbers copied, also those in lists and dicts."""
    if isinstance(x, Tensor):
        return x.detach().clone()
    if isinstance(x, GENERATORS):
        return x.clone_state() if isinstance(x, torch.Generator) else copy.deepcopy(x)
    if type(x) in (tuple, list):
        return type(x)(map(_copied, x))
    return {k: _copied(v) for k, v in x.items()} if type(x) is dict else x


def function_class(target: Any) -> Any:
    """The Function class whose ``apply`` the target is; None for anything else."""
    owner = getattr(target, "__self__", None)
    return owner if isinstance(owner, type) and issubclass(owner, Function) else None


def _name(target: Any) -> str:
    if isinstance(target, tuple):
        return getattr(target[0], "__qualname__", "pair").replace("<locals>.", "")
    owner = function_class(target)
    if owner is not None:
        return f"{owner.__name__}.apply"
    return str(getattr(target, "__qualname__", type(target).__name__)).replace("<locals>.", "")


def argument_names(target: Any, count: int) -> list[str]:
    """The names of the first ``count`` arguments, from the signature where there is one."""
    owner = function_class(target)
    function = target[0] if isinstance(target, tuple) else target
    function = function.forward if isinstance(function, nn.Module) else function
    skip = 0
    if owner is not None:
        function = owner.forward
        skip = 0 if owner.setup_context is not Function.setup_context else 1
    try:
        parameters = list(inspect.signature(function).parameters.values())[skip:]
    except (TypeError, ValueError):
        parameters = []
    names: list[str] = []
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}{i}" for i in range(count - len(names))]
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            names.append(parameter.name)
    names = names[:count]
    return names + [f"input{i}" for i in range(len(names), count)]


def _distinct(names: Sequence[str], taken: Iterable[str]) -> list[str]:
    """Names of arguments that are not those of parameters, nor twice the same."""
    found: list[str] = []
    for name in names:
        while name in found or name in taken:
            name = f"{name}_"
        found.append(name)
    return found
