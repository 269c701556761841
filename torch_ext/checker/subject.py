"""What is checked, as one function of named tensors: a callable, a Function, a module or a plain pair.

A subject never touches what the user owns: it works on copies of inputs, parameters and buffers,
restores the random state, and leaves ``.grad`` alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from handgrad._errors import InputError, require
from torch_ext.checker.recorder import Raw, Recorder

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
        require(
            isinstance(inputs, tuple | list),
            "inputs are a tuple of the target's arguments",
            type(inputs).__name__,
            "write (x,) for a single one",
        )
        self.seed = seed
        self.passes = 0  # forward passes so far
        self.pair = target if isinstance(target, tuple) else None
        require(
            callable(target)
            or (self.pair is not None and len(self.pair) == 2 and all(map(callable, self.pair))),
            f"a {what} is a callable, a module, or a (forward, backward) pair",
            f"{type(target).__name__}",
            "give one of these",
        )
        self.target = target
        self.module = target if isinstance(target, nn.Module) else None
        self.name = _name(target)
        self.argument_names = _argument_names(target, len(inputs))
        self.arguments = list(inputs)
        self.variables: Variables = {
            name: x.detach().clone()
            for name, x in zip(self.argument_names, inputs, strict=True)
            if isinstance(x, Tensor) and x.requires_grad
        }
        if self.module is not None:
            for name, p in self.module.named_parameters():
                require(
                    p.device.type != "meta",
                    "a module that is checked has numbers in its parameters",
                    f"{name} on the meta device",
                    "materialise it first, by to_empty() and an initialisation",
                )
                if p.requires_grad:
                    self.variables[name] = p.detach().clone()

    # --- calls ---------------------------------------------------------------------------

    def call(
        self, variables: Variables, constants: Mapping[int, Any] | None = None, dtype: Any = None
    ) -> list[Any]:
        """The outputs (a list) at these variables; ``dtype``: floating constants and buffers in it."""
        arguments = self._arguments(variables, constants, dtype)
        self.passes += 1
        with self._same_random_numbers():
            if self.pair is not None:
                return _listed(self.pair[0](*arguments)[0])
            if self.module is None:
                return _listed(self.target(*arguments))
            own = {n: variables.get(n, p) for n, p in self.module.named_parameters()}
            own.update({n: b.clone() for n, b in self.module.named_buffers()})
            state = {n: _cast(v, dtype) for n, v in own.items()}
            return _listed(torch.func.functional_call(self.module, state, tuple(arguments)))

    def _arguments(self, variables: Variables, constants: Mapping[int, Any] | None, dtype: Any) -> list[Any]:
        given = dict(enumerate(self.arguments)) | dict(constants or {})
        return [
            variables[name] if name in variables else _cast(_copied(given[i]), dtype)
            for i, name in enumerate(self.argument_names)
        ]

    @contextmanager
    def _same_random_numbers(self, more: int = 0) -> Iterator[None]:
        before = torch.get_rng_state()
        torch.default_generator.manual_seed(self.seed + more)
        try:
            yield
        finally:
            torch.set_rng_state(before)

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
        wanted = list(variables) if needs is None else list(needs)
        if self.pair is not None:
            return self._by_pair(variables, cotangents, constants, dtype, between, backward_seed)
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
        with recorder.watching([y for y, _ in ends]), self._same_random_numbers(backward_seed):
            try:
                found = torch.autograd.grad(
                    [y for y, _ in ends],
                    [leaves[n] for n in wanted],
                    [dy for _, dy in ends],
                    allow_unused=True,
                )
            except RuntimeError:
                if not recorder.raw.wrong_shapes:
                    raise
                return Result(outputs, {n: recorder.raw.returned.get(n) for n in wanted}, recorder.raw)
        recorder.after_backward()
        return Result(outputs, dict(zip(wanted, found, strict=True)), recorder.raw)

    def _called(self, leaves: Variables, constants: Any, dtype: Any) -> list[Any]:
        """The outputs; a function that works in place, and says so, gets copies: a leaf forbids it."""
        before = {n: x.detach().clone() for n, x in leaves.items()}
        try:
            return self.call(leaves, constants, dtype)
        except RuntimeError as error:
            if "leaf Variable" not in str(error):
                raise
            for n, x in leaves.items():
                x.data.copy_(before[n])
            return self.call({n: x.clone() for n, x in leaves.items()}, constants, dtype)

    def _by_pair(
        self,
        variables: Variables,
        cotangents: Any,
        constants: Any,
        dtype: Any,
        between: Variables | None,
        seed: int,
    ) -> Result:
        forward, backward = self.pair  # type: ignore[misc]
        copies = {n: v.detach().clone() for n, v in variables.items()}
        arguments = self._arguments(copies, constants, dtype)
        before = {n: v.clone() for n, v in copies.items()}
        recorder = Recorder(copies, before)
        self.passes += 1 if between is None else 2
        with torch.no_grad(), self._same_random_numbers():
            made = forward(*arguments)
            require(
                isinstance(made, tuple) and len(made) == 2,
                "a pair's forward returns (output, residuals)",
                type(made).__name__,
                "return both",
            )
            output, residuals = made
            outputs = _listed(output)
            recorder.after_forward()
            if between is not None:
                forward(*self._arguments({n: v.clone() for n, v in between.items()}, constants, dtype))
            dys = list(cotangents(outputs) if callable(cotangents) else cotangents)
            kept = recorder.keep(residuals, dys)
            dy = tuple(dys) if isinstance(output, tuple | list) else dys[0]
            with self._same_random_numbers(seed):
                returned = backward(dy, residuals)
        recorder.compare(kept)
        returned = returned if isinstance(returned, tuple | list) else (returned,)
        require(
            len(returned) == len(arguments),
            "a pair's backward returns one gradient for each input, None where there is none",
            f"{len(returned)} for {len(arguments)} inputs",
            "return a tuple of that length",
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
    return x.detach().clone() if isinstance(x, Tensor) else x


def _listed(outputs: Any) -> list[Any]:
    if isinstance(outputs, Tensor):
        return [outputs]
    if isinstance(outputs, tuple | list) and all(isinstance(y, Tensor) for y in outputs):
        return list(outputs)
    raise InputError(
        f"a target returns a tensor or a tuple of tensors; received {type(outputs).__name__}; "
        "wrap it in a function that returns tensors."
    )


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


def _argument_names(target: Any, count: int) -> list[str]:
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
