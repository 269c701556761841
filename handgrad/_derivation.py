"""The record that a derivation fills, and the registry of all of them.

One file a layer in ``handgrad/derivations`` ends with one call of :func:`register`. From that
record come its ``autograd.Function``, its tests, its report rows, its place in random
architectures and its row in ``handgrad layers``.
"""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from handgrad._arrays import (
    Array,
    Shape,
    cast,
    is_array,
    is_floating,
    is_half,
    library,
    namespace,
    unbroadcast,
)
from handgrad._cases import Case
from handgrad._dual import jvp
from handgrad._errors import DuplicateDerivation, InputError, UnknownDerivation

Residuals = tuple[Any, ...]
Options = Mapping[str, Any]
Fit = Callable[[np.random.Generator, Shape], Case | None]


@dataclass(frozen=True, eq=False)
class Derivation:
    """One layer, derived by hand.

    ``forward(*inputs, **options) -> (y, residuals)`` and
    ``backward(dy, residuals, **options) -> (dx, ...)``, one gradient for each input (None for one
    that has none), not yet summed over broadcast axes. With several outputs ``y`` and ``dy`` are
    tuples. A ``backward`` with a parameter ``needs`` is told which gradients are wanted (a tuple
    of bools, one for each input) and may leave out the others.

    name             of the layer, as ``handgrad layers`` and ``torch_ext.functional`` know it
    torch            the PyTorch name of the same function, or "" where PyTorch has none
    cases            sample calls: every option, every kind of difficulty
    differentiable   names of the inputs that can have a gradient (default: all)
    outputs          names of the outputs
    constant         outputs that have no gradient: indices, running statistics
    fit              how to place the layer on a value of a given shape, for random architectures:
                     (rng, shape) -> a case whose first input has that shape, or None where it does
                     not fit. A first input with a domain of its own (uniform numbers, integers) is
                     drawn anew; a Gaussian one is the value itself
    reference        the same call in PyTorch, where it is more than ``torch(*inputs, **options)``:
                     a function ``(torch, *inputs, **options) -> output``
    truth            the same function in PyTorch's elementary operations, where PyTorch's own is the less
                     accurate one (a page of docs/findings says so): a function
                     ``(torch, *arguments of the PyTorch function) -> output``
    composed         whether ``reference`` is made of elementary operations: PyTorch's layer lacks a gradient
                     or an input that ours has
    autocast         what PyTorch's autocast does with it: "half", "float32", "loss" (float32 on the CPU
                     too), "cpu" (float32 there alone), "widest" or ""
    widen            whether 16-bit inputs are computed in float32 (False where products already
                     accumulate in float32, or nothing is rounded)
    """

    name: str
    forward: Callable[..., tuple[Any, Residuals]]
    backward: Callable[..., Any]
    torch: str = ""
    cases: tuple[Case, ...] = ()
    differentiable: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ("y",)
    constant: tuple[str, ...] = ()
    fit: Fit | None = None
    reference: Callable[..., Any] | None = None
    truth: Callable[..., Any] | None = None
    composed: bool = False
    autocast: str = ""
    widen: bool = True
    doc: str = ""
    inputs: tuple[str, ...] = field(init=False)
    variadic: bool = field(init=False)
    options: dict[str, Any] = field(init=False)
    told_needs: bool = field(init=False)

    def __post_init__(self) -> None:
        parameters = inspect.signature(self.forward).parameters.values()
        positional = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
        put = object.__setattr__
        put(self, "inputs", tuple(p.name for p in positional))
        put(self, "variadic", any(p.kind is p.VAR_POSITIONAL for p in positional))
        put(self, "options", {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY})
        put(self, "told_needs", "needs" in inspect.signature(self.backward).parameters)
        put(self, "differentiable", self.differentiable or self.inputs)

    # --- words -----------------------------------------------------------------------

    @property
    def formula(self) -> str:
        """The first line of the derivation: its forward formula."""
        return self.doc.strip().split("\n", maxsplit=1)[0]

    @property
    def source(self) -> str:
        """What follows ``Source:`` in the derivation."""
        _, _, source = self.doc.partition("Source:")
        return " ".join(source.split())

    def input_names(self, n: int) -> tuple[str, ...]:
        """Names of ``n`` inputs; a variadic ``*xs`` gives ``xs0, xs1, ...``."""
        if not self.variadic:
            return self.inputs[:n]
        fixed, rest = self.inputs[:-1], self.inputs[-1]
        return (*fixed, *(f"{rest}{i}" for i in range(n - len(fixed))))

    def has_gradient(self, i: int) -> bool:
        """Whether input ``i`` can have a gradient."""
        return self.inputs[min(i, len(self.inputs) - 1)] in self.differentiable

    # --- mathematics -----------------------------------------------------------------

    def apply(self, inputs: Sequence[Any], options: Options) -> tuple[tuple[Array, ...], Residuals]:
        """Outputs (always a tuple) and residuals; 16-bit inputs are computed in float32."""
        inputs, half = self._widened(inputs)
        y, residuals = self.forward(*inputs, **options)
        outputs = y if len(self.outputs) > 1 or isinstance(y, tuple) else (y,)
        if half is not None:
            outputs = tuple(cast(o, half) if is_floating(o) else o for o in outputs)
        return outputs, residuals

    def vjp(
        self,
        cotangents: Sequence[Array | None],
        residuals: Residuals,
        inputs: Sequence[Any],
        options: Options,
        needs: Sequence[bool] | None = None,
    ) -> tuple[Array | None, ...]:
        """Gradients of the inputs, each in the shape and dtype of its input.

        ``cotangents``: one for each output; None stands for zero.
        """
        wanted = tuple(needs) if needs is not None else tuple(map(self.has_gradient, range(len(inputs))))
        gradients = self.raw_vjp(cotangents, residuals, inputs, options, wanted)
        return tuple(
            None if dx is None or not want else cast(_fold_back(dx, x), x.dtype)
            for dx, x, want in zip(gradients, inputs, wanted, strict=True)
        )

    def raw_vjp(
        self,
        cotangents: Sequence[Array | None],
        residuals: Residuals,
        inputs: Sequence[Any],
        options: Options,
        needs: tuple[bool, ...],
    ) -> tuple[Array | None, ...]:
        """What ``backward`` itself returns: broadcasting not undone."""
        cotangents = [
            dy if dy is None or not is_half(dy) or not self._widens(dy) else _widen(dy) for dy in cotangents
        ]
        dy = cotangents[0] if len(cotangents) == 1 else tuple(cotangents)
        extra = {"needs": needs} if self.told_needs else {}
        gradients: Any = self.backward(dy, residuals, **options, **extra)
        if not isinstance(gradients, tuple):
            gradients = (gradients,)
        # optional inputs may have been left out; trailing ones without a gradient need not be spelled out
        while len(gradients) > len(inputs) and gradients[-1] is None:
            gradients = gradients[:-1]
        padded: tuple[Array | None, ...] = gradients + (None,) * (len(inputs) - len(gradients))
        if len(padded) != len(inputs):
            raise InputError(
                f"backward of {self.name!r} must return one gradient for each input; received "
                f"{len(padded)} for {len(inputs)} inputs; return None where there is none."
            )
        return padded

    def jvp(
        self, inputs: Sequence[Any], tangents: Sequence[Array | None], options: Options
    ) -> tuple[tuple[Array, ...], tuple[Array | None, ...]]:
        """Outputs and their tangents J v: ``forward`` on dual numbers. A tangent None is zero."""
        inputs, half = self._widened(inputs)
        wide = [_widen(v) if v is not None and self._widens(v) else v for v in tangents]
        outputs, lifted = jvp(self.forward, inputs, wide, options)
        if self.constant:
            lifted = tuple(
                None if n in self.constant else v for n, v in zip(self.outputs, lifted, strict=True)
            )
        if half is None:
            return outputs, lifted
        narrow = [o if o is None or not is_floating(o) else cast(o, half) for o in (*outputs, *lifted)]
        return tuple(narrow[: len(outputs)]), tuple(narrow[len(outputs) :])

    def _widens(self, x: Array) -> bool:
        """NumPy always widens: its float16 sums are rounded at every step, and not fast either."""
        return self.widen or library(namespace(x)) == "numpy"

    def _widened(self, inputs: Sequence[Any]) -> tuple[Sequence[Any], Any]:
        """Inputs with 16-bit floats made float32, and the 16-bit dtype to return to (or None)."""
        half = next((x.dtype for x in inputs if is_array(x) and is_half(x)), None)
        if half is None or not any(self._widens(x) for x in inputs if is_array(x)):
            return inputs, None
        wide = tuple(_widen(x) if is_array(x) else x for x in inputs)
        keeps_half = all(is_half(x) for x in inputs if is_array(x) and is_floating(x))
        return wide, half if keeps_half else None


def _widen(x: Array) -> Array:
    return cast(x, namespace(x).float32) if is_half(x) else x


def _fold_back(dx: Array, x: Array) -> Array:
    """Undo broadcasting, and keep only the real part where the input is real."""
    xp = namespace(dx)
    if xp.isdtype(dx.dtype, "complex floating") and not xp.isdtype(x.dtype, "complex floating"):
        dx = xp.real(dx)
    return unbroadcast(dx, tuple(x.shape))


class Registry(Mapping[str, Derivation]):
    """Derivations by name. A second registration of a name raises; a missing one too."""

    def __init__(self) -> None:
        self._by_name: dict[str, Derivation] = {}

    def add(self, derivation: Derivation) -> Derivation:
        name = derivation.name
        if name in self._by_name:
            first = sys.modules.get(self._by_name[name].forward.__module__)
            raise DuplicateDerivation(
                f"A derivation is registered once; received {name!r} a second time (the first is in "
                f"{getattr(first, '__file__', 'this session')}); choose another name."
            )
        self._by_name[name] = derivation
        return derivation

    def remove(self, name: str) -> None:
        """Forget a derivation: for tests and notebooks that redefine one."""
        del self._by_name[self[name].name]

    def __getitem__(self, name: str) -> Derivation:
        try:
            return self._by_name[name]
        except KeyError:
            near = difflib.get_close_matches(str(name), self._by_name, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "`handgrad layers` lists them all."
            raise UnknownDerivation(
                f"A layer must have a registered derivation; received {name!r}; {hint}"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._by_name))

    def __len__(self) -> int:
        return len(self._by_name)


registry = Registry()


def register(
    forward: Callable[..., tuple[Any, Residuals]],
    backward: Callable[..., Any],
    *,
    name: str = "",
    cases: Sequence[Case] = (),
    **fields: Any,
) -> Derivation:
    """Register the derivation that stands in the caller's module, under the module's name.

    The module's docstring is the derivation in words. Further fields: see :class:`Derivation`.
    """
    module = sys.modules[forward.__module__]
    return registry.add(
        Derivation(
            name=name or forward.__module__.rsplit(".", maxsplit=1)[-1],
            forward=forward,
            backward=backward,
            cases=tuple(cases),
            doc=fields.pop("doc", None) or inspect.getdoc(module) or "",
            **fields,
        )
    )
