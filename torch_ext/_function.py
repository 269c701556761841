"""Derivation -> ``torch.autograd.Function``, once for all layers.

Three forms of the same mathematics, chosen at each call:

``eager``     plain training. Keeps the residuals of the forward pass; when the backward pass is
              itself differentiated (grad mode on), recomputes them from the saved inputs, since a
              saved intermediate would be a constant and give wrong second derivatives.
``composed``  under a ``torch.func`` transform: ``setup_context`` and a generated vmap rule.
``compiled``  the same without ``jvp``, which ``torch.compile`` cannot trace in training; there the
              compiler itself decides what to save.

See docs/decisions/double-backward.md and docs/decisions/forward-mode.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from handgrad import _arrays
from handgrad._derivation import Derivation, registry
from torch_ext import _autocast, _torch

for _kind in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer):
    _arrays.register_namespace(_kind, _torch)


_TENSOR = "a tensor, saved by autograd"


@dataclass(frozen=True)
class Call:
    """Which derivation with which options. One object, so that ``torch.func`` sees a leaf, not a tree."""

    derivation: Derivation
    options: dict[str, Any]


class Forms(NamedTuple):
    """The three autograd Functions of one derivation."""

    eager: type[Function]
    composed: type[Function]
    compiled: type[Function]


def call(derivation: Derivation, *inputs: Any, **options: Any) -> Any:
    """Apply a derivation to tensors, differentiably. Inputs that are absent are None.

    Returns the output, or a tuple of them. Raises what the derivation's forward raises.
    """
    inputs = tuple(_autocast.cast_inputs(derivation.autocast, inputs))
    form = _form(derivation)
    with _autocast.off(_autocast.device_type(inputs)):
        if form is not None:
            return form.apply(Call(derivation, options), *inputs)
        outputs, _ = derivation.apply(inputs, options)
    return _single(derivation, outputs)


def _form(derivation: Derivation) -> Any:  # a Function class; None: use the formula as it is
    forms = functions(derivation)
    if torch.compiler.is_compiling():
        return forms.compiled
    if not torch._C._are_functorch_transforms_active():
        return forms.eager
    # A custom Function's jvp runs with forward mode off, so an outer jvp would silently see a
    # constant (torch 2.13): leave the derivation's own forward formula to nested forward mode.
    return None if _nested_forward_mode() else forms.composed


def _nested_forward_mode() -> bool:
    stack = torch._C._functorch.get_interpreter_stack() or ()
    return sum(i.key() == torch._C._functorch.TransformType.Jvp for i in stack) > 1


def functions(derivation: Derivation) -> Forms:
    """The autograd Functions of a derivation, made on first use and kept with it."""
    forms: Forms | None = getattr(derivation, "_torch_forms", None)
    return _made(derivation.name) if forms is None else forms


@torch.compiler.assume_constant_result
def _made(name: str) -> Forms:
    """One class a derivation and form, so that a graph's nodes bear the layer's name."""
    derivation = registry[name]
    title = "".join(part.capitalize() for part in name.split("_"))
    body = {"__module__": __name__, "__doc__": derivation.doc}
    forms = Forms(*(type(title, (form,), dict(body)) for form in (_Eager, _Composed, _Compiled)))
    object.__setattr__(derivation, "_torch_forms", forms)
    return forms


class _Layer(Function):
    """What the three forms share: one backward pass."""

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        if all(dy is None for dy in cotangents):
            return (None,) * (1 + ctx.count)
        derivation, options = ctx.call.derivation, ctx.call.options
        values = _join(ctx.others, ctx.saved_tensors)
        inputs, residuals = values[: ctx.count], values[ctx.count :]
        with _autocast.off(_autocast.device_type(inputs)):
            if torch.is_grad_enabled() or not ctx.has_residuals:
                _, residuals = derivation.apply(inputs, options)
            needs = ctx.needs_input_grad[1:]
            return None, *derivation.vjp(cotangents, residuals, inputs, options, needs)


class _Forward(_Layer):
    """Forward mode: the derivation's forward formula on dual numbers."""

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Any) -> Any:
        derivation = ctx.call.derivation
        # forward mode is given the inputs alone, also where residuals were saved for backward
        inputs = _join(ctx.others[: ctx.count], ctx.saved_tensors)
        with _autocast.off(_autocast.device_type(inputs)):
            _, lifted = derivation.jvp(inputs, tangents, ctx.call.options)
        return _single(derivation, lifted)


class _Eager(_Forward):
    @staticmethod
    def forward(ctx: Any, call: Call, *inputs: Any) -> Any:
        outputs, residuals = call.derivation.apply(inputs, call.options)
        # 16-bit layers compute in float32: keeping those residuals would cost twice the memory
        _keep(ctx, call, inputs, outputs, residuals if _same_precision(call.derivation, inputs) else None)
        return _single(call.derivation, outputs)


class _Compiled(_Layer):
    generate_vmap_rule = True

    @staticmethod
    def forward(call: Call, *inputs: Any) -> Any:
        return _single(call.derivation, call.derivation.apply(inputs, call.options)[0])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _keep(ctx, inputs[0], inputs[1:], output, None)


class _Composed(_Forward, _Compiled):
    pass


def _keep(ctx: Any, call: Call, inputs: Sequence[Any], outputs: Any, residuals: Any) -> None:
    """Save the inputs, for a backward pass that is differentiated, and the residuals if there are any."""
    derivation = call.derivation
    ctx.call, ctx.count, ctx.has_residuals = call, len(inputs), residuals is not None
    ctx.others, tensors = _split((*inputs, *(residuals or ())))
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*(x for x in inputs if isinstance(x, Tensor)))
    ctx.set_materialize_grads(len(derivation.outputs) > 1)
    if derivation.constant:
        named = zip(derivation.outputs, outputs, strict=True)
        ctx.mark_non_differentiable(*(o for name, o in named if name in derivation.constant))


def _single(derivation: Derivation, outputs: tuple[Any, ...]) -> Any:
    return outputs[0] if derivation.outputs == ("y",) else outputs


def _same_precision(derivation: Derivation, inputs: Sequence[Any]) -> bool:
    return not derivation.widen or not any(isinstance(x, Tensor) and _arrays.is_half(x) for x in inputs)


def _split(values: Sequence[Any]) -> tuple[tuple[Any, ...], list[Tensor]]:
    """Tensors, which autograd saves, apart from all else (None, shapes, numbers)."""
    tensors = [v for v in values if isinstance(v, Tensor)]
    return tuple(_TENSOR if isinstance(v, Tensor) else v for v in values), tensors


def _join(others: Sequence[Any], tensors: Sequence[Tensor]) -> tuple[Any, ...]:
    """The inverse of :func:`_split`."""
    rest = iter(tensors)
    return tuple(next(rest) if v is _TENSOR else v for v in others)
