"""What the families share: inputs in one line each, and mistakes made from a right backward."""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import inspect
import itertools
from typing import Any

import torch

from torch_ext.corpus._entry import DTYPES, Inputs, Mistake, Operation
from torch_ext.corpus._entry import wide as wide

FULL = ("float64", "float32")  # where an error of 1e-5 stands out of rounding
HALF = ("bfloat16", "float16")
COMPLEX = ("complex128", "complex64")


# ---- computing


def sum_to(grad, shape):
    """Undo broadcasting: sum over the axes that it added or stretched."""
    added = grad.ndim - len(shape)
    if added:
        grad = grad.sum(tuple(range(added)))
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and grad.shape[i] != 1)
    return grad.sum(axes, keepdim=True) if axes else grad


def as_tuple(x):
    return x if isinstance(x, tuple) else (x,)


def rounded(back):
    """A backward: ``back`` in the wide dtype, its gradients rounded to the incoming gradient's."""

    def backward(grad, saved):
        dtype = as_tuple(grad)[0].dtype
        return tuple(None if d is None else d.to(dtype) for d in as_tuple(back(wide(grad), saved)))

    return backward


def keeps_inputs(names, f):
    """The forward of ``f``, whose inputs bear these names; its residuals are the inputs, wide."""

    def forward(*inputs):
        kept = tuple(wide(x) if isinstance(x, torch.Tensor) else x for x in inputs)
        outputs = f(*kept)
        dtype = inputs[0].dtype
        return tuple(y.to(dtype) for y in outputs) if isinstance(outputs, tuple) else outputs.to(dtype), kept

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    named: Any = forward
    named.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in names.split()])
    return named


# ---- inputs: makers (generator, dtype) -> an input


def given(*makers) -> Inputs:
    """The inputs that these makers make; what is no maker is passed as it is."""
    return lambda g, dtype: tuple(m(g, dtype) if callable(m) else m for m in makers)


def gauss(*shape, grad=True):
    def make(g, dtype):
        real = torch.float64 if not dtype.is_complex else torch.complex128
        return torch.randn(shape, generator=g, dtype=real).to(dtype).requires_grad_(grad)

    return make


def between(low, high, *shape, grad=True):
    def make(g, dtype):
        x = low + (high - low) * torch.rand(shape, generator=g, dtype=torch.float64)
        return x.to(dtype).requires_grad_(grad)

    return make


def exact(values, grad=True):
    return lambda g, dtype: torch.tensor(values, dtype=torch.float64).to(dtype).requires_grad_(grad)


def filled(value, *shape, grad=True):
    return lambda g, dtype: torch.full(shape, value, dtype=torch.float64).to(dtype).requires_grad_(grad)


def whole(high, *shape, low=0):
    """Random integers in [low, high)."""
    return lambda g, dtype: torch.randint(low, high, shape, generator=g)


def indices(values):
    return lambda g, dtype: torch.tensor(values, dtype=torch.int64)


def distinct(high, n):
    """``n`` different integers in [0, high)."""
    return lambda g, dtype: torch.randperm(high, generator=g)[:n]


def coin(*shape):
    """A random Boolean mask."""
    return lambda g, dtype: torch.rand(shape, generator=g) < 0.5


def mask(value, *shape):
    return lambda g, dtype: torch.full(shape, value)


def turned(maker):
    """The same numbers in transposed memory: a view that is not contiguous."""

    def make(g, dtype):
        x = maker(g, dtype)
        y = x.detach().transpose(0, -1).contiguous().transpose(0, -1)
        return y.requires_grad_(x.requires_grad)

    return make


def after(maker, change):
    """What ``change`` makes of a tensor."""

    def make(g, dtype):
        x = maker(g, dtype)
        return change(x.detach()).requires_grad_(x.requires_grad)

    return make


# ---- mistakes


def wrong(kind, what, backward=None, **more) -> Mistake:
    """A mistake that shows in every dtype unless told."""
    more.setdefault("dtypes", DTYPES)
    return Mistake(kind, what, backward, **more)


def operation(
    name, forward, backward, inputs, reference, mistakes, further=None, dtypes=DTYPES, **more
) -> Operation:
    return Operation(
        name, forward, backward, inputs, reference, tuple(mistakes), dict(further or {}), dtypes, **more
    )


def instead(right, which, back):
    """The right backward, with another formula for one gradient."""

    def backward(grad, saved):
        grads = list(as_tuple(right(grad, saved)))
        dtype = as_tuple(grad)[0].dtype
        new = back(wide(grad), saved)
        grads[which] = None if new is None else new.to(dtype)
        return tuple(grads)

    return backward


def changed(right, change, which=0):
    """The right backward, with one gradient changed afterwards."""

    def backward(grad, saved):
        grads = list(as_tuple(right(grad, saved)))
        grads[which] = change(grads[which])
        return tuple(grads)

    return backward


def scaled(right, factor, which=0):
    return changed(right, lambda d: d * factor, which)


def exchanged(right, i=0, j=1):
    """Two gradients returned in each other's place."""

    def backward(grad, saved):
        grads = list(as_tuple(right(grad, saved)))
        grads[i], grads[j] = grads[j], grads[i]
        return tuple(grads)

    return backward


def negated(right):
    """Every gradient with the opposite sign."""
    return lambda grad, saved: tuple(None if d is None else -d for d in as_tuple(right(grad, saved)))


def without(right, which=0):
    return changed(right, lambda d: None, which)


def zeroed(right, which=0):
    return changed(right, torch.zeros_like, which)


def plus(right, constant, which=0):
    return changed(right, lambda d: d + constant, which)


def noisy(right, size=1e-2, which=0):
    return changed(right, lambda d: d + size * torch.randn_like(d), which)


def element(right, index, factor=0.0, which=0):
    """One element (of the gradient laid out flat) multiplied by a factor."""

    def change(d):
        d = d.clone(memory_format=torch.contiguous_format)
        if d.numel():
            d.view(-1)[index % d.numel()] *= factor
        return d

    return changed(right, change, which)


def part(right, where, factor=0.0, which=0):
    """A part, such as ``(..., -1)``, multiplied by a factor."""

    def change(d):
        d = d.clone(memory_format=torch.contiguous_format)
        if d.numel():
            d[where] *= factor
        return d

    return changed(right, change, which)


def in_dtype(right, dtype, which=0):
    return changed(right, lambda d: d.to(dtype), which)


def as_if_contiguous(right):
    """Reads the incoming gradient as kernels do that trust ``data_ptr`` and forget strides."""

    def read(g):
        room = g.untyped_storage().nbytes() // g.element_size() - g.storage_offset()
        flat = g.as_strided((min(g.numel(), room),), (1,))
        return torch.nn.functional.pad(flat, (0, g.numel() - flat.numel())).reshape(g.shape)

    return lambda grad, saved: right(read(grad), saved)


class Accumulating:
    """A gradient buffer that nobody sets to zero: the second call returns the sum of both."""

    def __init__(self, right, which=0):
        self.right, self.which, self.buffers = right, which, {}

    def __call__(self, grad, saved):
        grads = list(as_tuple(self.right(grad, saved)))
        d = grads[self.which]
        key = (tuple(d.shape), d.dtype)
        grads[self.which] = self.buffers[key] = self.buffers.get(key, 0) + d.detach()
        return tuple(grads)


class Alternating:
    """Every second call is off by a factor: a flag that is toggled instead of set."""

    def __init__(self, right, factor=2.0, which=0):
        self.right, self.factor, self.which, self.calls = right, factor, which, itertools.count()

    def __call__(self, grad, saved):
        factor = self.factor if next(self.calls) % 2 else 1.0
        return scaled(self.right, factor, self.which)(grad, saved)


class Shared:
    """Residuals kept on the function object rather than on the call's context.

    The backward of a first call then uses what a second call left there.
    """

    def __init__(self, forward, backward):
        self.of_forward, self.of_backward, self.saved = forward, backward, None

    def forward(self, *inputs):
        output, self.saved = self.of_forward(*inputs)
        return output, None

    def backward(self, grad, _):
        return self.of_backward(grad, self.saved)


def kept_outside(forward, backward, **more) -> Mistake:
    """Residuals on the function object: the backward of a first call uses the second call's."""
    shared = Shared(forward, backward)
    return wrong(
        "nondeterministic",
        "residuals are kept on the function: a second call overwrites those of the first",
        shared.backward,
        forward=shared.forward,
        also=("missing-factor", "region", "unknown"),
        **more,
    )
