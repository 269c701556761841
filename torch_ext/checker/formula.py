"""A forward pass that was written for no autograd, differentiated as the formula it is.

Inside ``Function.forward`` (and the forward of a plain pair) nothing is recorded, so people detach, switch
gradients off and write into buffers there. As a formula, it is a function of its inputs all the same.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import get_ident
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd import function as autograd_function
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import CheckpointFunction

from torch_ext.checker.recorder import applying, replaced

CONSTANT = "_handgrad_constant"  # of an output that was marked as non-differentiable
_CUTS = {torch.Tensor.detach, torch.detach, torch.Tensor.data.__get__}  # type: ignore[attr-defined]


@contextmanager
def formulas() -> Iterator[None]:
    """Within it every custom Function is its forward's formula, inside torch.func's transforms, too; what is
    compiled runs as it is written."""
    thread, native = get_ident(), vars(autograd_function)["custom_function_call"]

    def transformed(cls: Any, *args: Any, **kwargs: Any) -> Any:
        return (as_formula if get_ident() == thread else native)(cls, *args, **kwargs)

    with ExitStack() as stack:
        stack.enter_context(applying(as_formula))
        stack.enter_context(replaced(autograd_function, "custom_function_call", transformed))
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


class uncut(TorchFunctionMode):  # noqa: N801  (a context manager)
    """Within it, ``detach`` and ``no_grad`` do nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _CUTS:
            return args[0].view_as(args[0])
        if func is torch._C._set_grad_enabled:
            return None
        return func(*args, **(kwargs or {}))


class _Context:
    """Stands for ``ctx``."""

    def __init__(self, needs: tuple[bool, ...]) -> None:
        self.needs_input_grad = needs
        self.saved_tensors: tuple[Any, ...] = ()
        self.constant: tuple[Any, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors

    def mark_non_differentiable(self, *outputs: Any) -> None:
        self.constant = outputs

    def _ignore(self, *_: Any) -> None:
        return None

    save_for_forward = mark_dirty = set_materialize_grads = _ignore


def as_formula(cls: Any, *args: Any, **_: Any) -> Any:
    """In place of ``cls.apply``: the forward pass of a custom Function, for autograd to differentiate."""
    if cls is CheckpointFunction:  # its arguments: a function, whether to keep the random state, the inputs
        return args[0](*args[2:])
    ctx = _Context(tuple(isinstance(a, Tensor) and a.requires_grad for a in args))
    with uncut():
        if cls.setup_context is Function.setup_context:
            outputs = cls.forward(ctx, *args)
        else:
            outputs = cls.forward(*args)
            cls.setup_context(ctx, args, outputs)
    constant = [id(y) for y in ctx.constant]

    def made(y: Any) -> Any:
        if id(y) not in constant:
            return y
        y = y.detach()
        setattr(y, CONSTANT, True)
        return y

    return tuple(map(made, outputs)) if isinstance(outputs, tuple | list) else made(outputs)
