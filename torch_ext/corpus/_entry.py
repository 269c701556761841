"""What a corpus of planted mistakes is made of: operations, each with a right backward and wrong ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

# (generator, dtype) -> the inputs; those with requires_grad=True are differentiated
Inputs = Callable[[torch.Generator, torch.dtype], tuple[Any, ...]]
Forward = Callable[..., tuple[Any, Any]]  # forward(*inputs) -> (output, residuals)
Backward = Callable[[Any, Any], Any]  # backward(grad_output, residuals) -> gradients, one for each input

DTYPES = ("float64", "float32", "bfloat16", "float16")
KINDS = (
    "sign scale transpose missing-sum missing-factor missing-term permuted local region offset zero "
    "not-finite nondeterministic mutates shape dtype forward unknown"
).split()


@dataclass(frozen=True)
class Mistake:
    """One way to get an operation wrong.

    kind       what the first finding should be called: one of :data:`KINDS`
    also       kinds that name it as well (a bias gradient that was never summed has a wrong shape, too)
    what       the mistake in words
    backward   the wrong backward (None: the operation's own)
    forward    the wrong forward (None: the operation's own); kind "forward" or "mutates"
    argument   the name of the input whose gradient is wrong, where it is one
    hidden     inputs that hide it: a checker that looks at these alone sees nothing
    dtypes     where it shows
    source     where people make it: an issue, a forum thread, a paper
    """

    kind: str
    what: str
    backward: Backward | None = None
    forward: Forward | None = None
    also: tuple[str, ...] = ()
    argument: str = ""
    hidden: Inputs | None = None
    dtypes: tuple[str, ...] = ("float64",)
    source: str = ""

    def __post_init__(self) -> None:
        assert self.kind in KINDS, self.kind
        assert set(self.also) <= set(KINDS), self.also


@dataclass(frozen=True)
class Operation:
    """A function with its right backward, as a derivation's plain pair on tensors.

    forward    forward(*inputs) -> (output or tuple of outputs, residuals)
    backward   backward(grad_output or tuple of them, residuals) -> one gradient for each input, None
               where there is none
    inputs     usual inputs, made for a generator and a dtype
    reference  the same function in PyTorch, differentiable by autograd, where there is one
    further    more inputs on which the right backward is right, by name: kinks, ties, saturation,
               empty and one-element tensors, broadcasting, views
    dtypes     in which the right pair is right
    convention the gradient is not that of the forward pass but one agreed on, such as a straight-through
               estimator's: the reference states it, and without the reference it is wrong
    """

    name: str
    forward: Forward
    backward: Backward
    inputs: Inputs
    reference: Callable[..., Any] | None = None
    mistakes: tuple[Mistake, ...] = ()
    further: Mapping[str, Inputs] = field(default_factory=dict)
    dtypes: tuple[str, ...] = DTYPES
    convention: bool = False

    def pair(self, mistake: Mistake | None = None) -> tuple[Forward, Backward]:
        """(forward, backward), with a mistake in one of them or none."""
        if mistake is None:
            return self.forward, self.backward
        return mistake.forward or self.forward, mistake.backward or self.backward

    def function(self, mistake: Mistake | None = None) -> Callable[..., Any]:
        """The same as ``autograd.Function.apply``."""
        forward, backward = self.pair(mistake)
        return as_function(self.name, forward, backward)


def as_function(name: str, forward: Forward, backward: Backward) -> Callable[..., Any]:
    """A pair as an autograd.Function, the way people write one: residuals kept on ``ctx``."""

    def run(ctx: Any, *inputs: Any) -> Any:
        output, ctx.residuals = forward(*inputs)
        ctx.count = len(inputs)
        return output

    def back(ctx: Any, *grads: Any) -> Any:
        result = backward(grads[0] if len(grads) == 1 else grads, ctx.residuals)
        result = result if isinstance(result, tuple) else (result,)
        return result + (None,) * (ctx.count - len(result))

    body = {"forward": staticmethod(run), "backward": staticmethod(back)}
    made: Any = type("".join(p.capitalize() for p in name.split("_")), (torch.autograd.Function,), body)
    apply: Callable[..., Any] = made.apply
    return apply


def normal(g: torch.Generator, dtype: torch.dtype, *shape: int, grad: bool = True) -> Tensor:
    """Gaussian numbers, rounded to ``dtype``."""
    x = torch.randn(shape, generator=g, dtype=torch.float64).to(dtype)
    return x.requires_grad_(grad)


def uniform(
    g: torch.Generator,
    dtype: torch.dtype,
    *shape: int,
    low: float = 0.0,
    high: float = 1.0,
    grad: bool = True,
) -> Tensor:
    """Uniform numbers in [low, high)."""
    x = (low + (high - low) * torch.rand(shape, generator=g, dtype=torch.float64)).to(dtype)
    return x.requires_grad_(grad)


def integers(g: torch.Generator, *shape: int, high: int, low: int = 0) -> Tensor:
    """Integers in [low, high)."""
    return torch.randint(low, high, shape, generator=g)


def wide(x: Any) -> Any:
    """16 bits are too few to compute in: float32 for these, anything else as it is; tuples by their parts."""
    if isinstance(x, tuple):
        return tuple(map(wide, x))
    half = isinstance(x, Tensor) and x.dtype in (torch.bfloat16, torch.float16)
    return x.float() if half else x
