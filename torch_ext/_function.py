"""Derivation -> ``torch.autograd.Function``, once for all layers.

Three forms of the same mathematics, chosen at each call:

``eager``     plain training. Keeps the residuals of the forward pass. Where these are not enough
              for a backward pass that is itself differentiated, it keeps the inputs too.
``composed``  under a ``torch.func`` transform: ``setup_context`` and a generated vmap rule.
``compiled``  the same without ``jvp``, which ``torch.compile`` cannot trace in training; there the
              compiler itself decides what to save.

See docs/decisions/double-backward.md and docs/decisions/forward-mode.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from handgrad import _arrays
from handgrad._derivation import Derivation, registry
from torch_ext import _autocast, _torch

for _kind in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer):
    _arrays.register_namespace(_kind, _torch)


class Call:
    """Which derivation with which options. One object, so that ``torch.func`` sees a leaf, not a tree."""

    __slots__ = ("derivation", "options")

    def __init__(self, derivation: Derivation, options: dict[str, Any]) -> None:
        self.derivation, self.options = derivation, options


class Forms(NamedTuple):
    """The three autograd Functions of one derivation."""

    eager: type[Function]
    composed: type[Function]
    compiled: type[Function]


def call(derivation: Derivation | str, *inputs: Any, **options: Any) -> Any:
    """Apply a derivation (or the one of that name) to tensors, differentiably. Absent inputs are None.

    Returns the output, or a tuple of them. Raises what the derivation's forward raises.
    """
    if isinstance(derivation, str):
        derivation = registry[derivation]
    device = _autocast.device_type(inputs)
    if not _autocast.is_on(device):
        return _apply(derivation, inputs, options)
    inputs = tuple(_autocast.cast_inputs(derivation, inputs, device))
    with _autocast.off(device):
        return _apply(derivation, inputs, options)


def _apply(derivation: Derivation, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    if torch.compiler.is_compiling():
        return _Compiled.apply(Call(derivation, options), *inputs)  # type: ignore[no-untyped-call]
    if not torch._C._are_functorch_transforms_active():
        # the C-level apply: Function.apply looks for a transform once more, at a microsecond a call
        return _c_apply(functions(derivation).eager, Call(derivation, options), *inputs)
    if not _nested_forward_mode():
        return functions(derivation).composed.apply(Call(derivation, options), *inputs)  # type: ignore[no-untyped-call]
    # A custom Function's jvp runs with forward mode off, so an outer jvp would silently see a
    # constant (torch 2.13): leave the derivation's own forward formula to nested forward mode.
    return _single(derivation, derivation.apply(inputs, options)[0])


def _c_apply(form: type[Function], *args: Any) -> Any:
    return super(Function, form).apply(*args)  # type: ignore[misc]


def _nested_forward_mode() -> bool:
    stack = torch._C._functorch.get_interpreter_stack() or ()
    return sum(i.key() == torch._C._functorch.TransformType.Jvp for i in stack) > 1


def functions(derivation: Derivation) -> Forms:
    """The autograd Functions of a derivation, made on first use and kept with it.

    Eager and composed ones are classes of their own, so that a graph's nodes bear the layer's
    name. The compiled one serves all: a compiler must find the class under a module's name.
    """
    forms: Forms | None = getattr(derivation, "_torch_forms", None)
    if forms is None:
        title = "".join(part.capitalize() for part in derivation.name.split("_"))
        body = {"__module__": __name__, "__doc__": derivation.doc}
        eager, composed = (type(title, (form,), dict(body)) for form in (_Eager, _Composed))
        forms = Forms(eager, composed, _Compiled)
        object.__setattr__(derivation, "_torch_forms", forms)
    return forms


class _Saved(int):
    """Stands for the tensor that autograd saved under this number."""


class _Like(NamedTuple):
    """What a backward pass must know of an input that was not saved."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class _Layer(Function):
    """What the three forms share: one backward pass."""

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        if all(dy is None for dy in cotangents):
            return (None,) * (1 + len(ctx.inputs))
        derivation, options = ctx.call.derivation, ctx.call.options
        saved = ctx.saved_tensors
        inputs = _restore(ctx.inputs, saved)
        with _autocast.off(_autocast.device_type(cotangents)):
            if ctx.residuals is None or (torch.is_grad_enabled() and not ctx.complete):
                _, residuals = derivation.apply(inputs, options)
            else:
                residuals = _restore(ctx.residuals, saved)
            needs = ctx.needs_input_grad[1:]
            return None, *derivation.vjp(cotangents, residuals, inputs, options, needs)


class _Forward(_Layer):
    """Forward mode: the derivation's forward formula on dual numbers."""

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Any) -> Any:
        derivation = ctx.call.derivation
        given = iter(ctx.saved_tensors)  # in forward mode: the inputs, as save_for_forward had them
        inputs = [next(given) if isinstance(x, _Saved | _Like) else x for x in ctx.inputs]
        with _autocast.off(_autocast.device_type(inputs)):
            _, lifted = derivation.jvp(inputs, tangents, ctx.call.options)
        return _single(derivation, lifted)


class _Eager(_Forward):
    @staticmethod
    def forward(ctx: Any, call: Call, *inputs: Any) -> Any:
        outputs, residuals = _run(call, inputs)
        if True not in ctx.needs_input_grad and forward_ad._current_level < 0:
            return _single(call.derivation, outputs)
        # 16-bit layers compute in float32: keeping those residuals would cost twice the memory
        _keep(ctx, call, inputs, outputs, residuals if _same_precision(call.derivation, inputs) else None)
        return _single(call.derivation, outputs)


class _Compiled(_Layer):
    generate_vmap_rule = True

    @staticmethod
    def forward(call: Call, *inputs: Any) -> Any:
        return _single(call.derivation, _run(call, inputs)[0])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        outputs = output if isinstance(output, tuple) else (output,)
        _keep(ctx, inputs[0], inputs[1:], outputs, None)


class _Composed(_Forward, _Compiled):
    pass


def _run(call: Call, inputs: Sequence[Any]) -> tuple[tuple[Tensor, ...], Sequence[Any]]:
    """Outputs and residuals. No output is an input or a view, which could not be changed in place."""
    outputs, residuals = call.derivation.apply(inputs, call.options)
    return tuple(_independent(y, inputs) for y in outputs), residuals


def _independent(y: Tensor, inputs: Sequence[Any]) -> Tensor:
    """An output as a tensor of its own. A view of an intermediate may keep that one's memory."""
    if any(y is x for x in inputs):
        return y.clone()
    if torch.compiler.is_compiling() or y._is_view():  # a compiler cannot ask, and pays nothing
        view: Tensor = torch.ops.aten._unsafe_view.default(y, y.shape)
        return view
    return y


def _keep(
    ctx: Any, call: Call, inputs: Sequence[Any], outputs: Sequence[Any], residuals: Sequence[Any] | None
) -> None:
    """Save what the backward pass needs, each tensor once."""
    derivation = call.derivation
    ctx.call = call
    ctx.complete = residuals is not None and _complete(derivation, inputs, outputs, residuals)
    saved: list[Tensor] = []
    ctx.residuals = None if residuals is None else tuple(_save(r, saved) for r in residuals)
    if ctx.complete:
        ctx.inputs = tuple(_like(x, saved) for x in inputs)
    else:
        ctx.inputs = tuple(_save(x, saved) for x in inputs)
    ctx.save_for_backward(*saved)
    ctx.save_for_forward(*(x for x in inputs if isinstance(x, Tensor)))
    ctx.set_materialize_grads(len(derivation.outputs) - len(derivation.constant) > 1)
    if derivation.constant:
        named = zip(derivation.outputs, outputs, strict=True)
        ctx.mark_non_differentiable(*(o for name, o in named if name in derivation.constant))


def _complete(
    derivation: Derivation, inputs: Sequence[Any], outputs: Sequence[Any], residuals: Sequence[Any]
) -> bool:
    """Whether residuals suffice for a backward pass that is differentiated itself.

    They do if each is an input or an output, which autograd saves with its place in the graph, or
    has no derivative (masks, indices, shapes). Any other would be a constant to autograd, and
    second derivatives would be silently wrong.
    """
    linked = [*inputs, *outputs]
    if derivation.constant:
        named = zip(derivation.outputs, outputs, strict=True)
        linked = [*inputs, *(o for name, o in named if name not in derivation.constant)]
    return all(
        not isinstance(r, Tensor)
        or not (r.is_floating_point() or r.is_complex())
        or any(r is known for known in linked)
        for r in residuals
    )


def _save(value: Any, saved: list[Tensor]) -> Any:
    """The number of a tensor among those saved; anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    for i, known in enumerate(saved):
        if value is known:
            return _Saved(i)
    saved.append(value)
    return _Saved(len(saved) - 1)


def _like(value: Any, saved: list[Tensor]) -> Any:
    """As :func:`_save`, but what is not saved already is described only."""
    if not isinstance(value, Tensor) or any(value is known for known in saved):
        return _save(value, saved)
    return _Like(tuple(value.shape), value.dtype)


def _restore(values: Sequence[Any], saved: Sequence[Tensor]) -> tuple[Any, ...]:
    """The inverse of :func:`_save`."""
    return tuple(saved[v] if isinstance(v, _Saved) else v for v in values)


def _single(derivation: Derivation, outputs: tuple[Any, ...]) -> Any:
    return outputs[0] if len(derivation.outputs) == 1 else outputs


def _same_precision(derivation: Derivation, inputs: Sequence[Any]) -> bool:
    return not derivation.widen or not any(isinstance(x, Tensor) and _arrays.is_half(x) for x in inputs)
