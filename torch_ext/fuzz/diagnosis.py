"""What kind of mistake: the layer that differs, by the gradient checker, on the very numbers it had."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import torch_ext
from handgrad._derivation import Derivation
from handgrad.architectures import Architecture
from handgrad.checking.findings import CheckReport
from torch_ext import oracles
from torch_ext.crossval import passes
from torch_ext.crossval.networks import Reference, drawn
from torch_ext.fuzz.compare import single
from torch_ext.fuzz.outcome import Failure

_TRANSFORMS = {"vmap": "vmap", "compile": "compile", "inductor": "compile"}
_BUDGET = 200  # forward passes


@dataclass(frozen=True)
class Diagnosis:
    """``kind`` is one of the checker's, ``where`` an input or an output of the layer."""

    layer: str
    kind: str
    where: str
    message: str


def diagnose(made: Architecture, failure: Failure) -> Diagnosis | None:
    """The likeliest mistake of the layer that failed; None where the checker finds none, or none is named."""
    try:
        with np.errstate(all="ignore"):
            return _diagnosed(made, failure)
    except Exception:
        return None  # a layer that raises has its exception as diagnosis


def _diagnosed(made: Architecture, failure: Failure) -> Diagnosis | None:
    network = drawn(made)
    nodes = network.graph.functions
    node = network.graph.nodes.get(failure.node) or (nodes[0] if len(nodes) == 1 else None)
    if node is None or not node.layer:
        return None
    alone = single(network, Reference(network), node)
    call = Alone.of(node.derivation, alone, node.options)
    for report in call.reports(failure):
        if report.findings:
            first = report.findings[0]
            return Diagnosis(node.layer, first.kind, call.named(first.where), call.named(first.message))
    return None


@dataclass(frozen=True)
class Alone:
    """A layer with its options as a function of its tensors alone."""

    derivation: Derivation
    options: dict[str, Any]
    places: tuple[int, ...]  # of the tensors among the arguments
    count: int
    tensors: tuple[torch.Tensor, ...]

    @classmethod
    def of(cls, derivation: Derivation, network: Any, options: Any) -> Alone:
        (node,) = network.graph.functions
        leaves = passes.make_leaves(network, {})
        args = [None if edge is None else leaves[edge] for edge in node.args]
        places = tuple(i for i, x in enumerate(args) if x is not None)
        tensors = tuple(
            x.detach().clone().requires_grad_(x.is_floating_point() and derivation.has_gradient(i))
            for i, x in enumerate(args)
            if x is not None
        )
        return cls(derivation, dict(options), places, len(args), tensors)

    def reports(self, failure: Failure) -> Any:
        """The formulas first, then the Function made of them, in the way that failed."""
        yield self.check((self.forward, self.backward))
        yield self.check(
            self.function,
            second_order=failure.way == "double_backward",
            forward_mode=failure.way == "forward_mode",
            transforms=(_TRANSFORMS[failure.way],) if failure.way in _TRANSFORMS else (),
        )

    def check(self, target: Any, **more: Any) -> CheckReport:
        return torch_ext.check(target, self.tensors, self.reference, budget=_BUDGET, **more)

    def named(self, text: str) -> str:
        """The checker counts arguments; the derivation has names for them."""
        names = self.derivation.input_names(self.count)
        return re.sub(r"\bgiven(\d+)\b", lambda found: names[self.places[int(found[1])]], text)

    def _all(self, given: Sequence[Any]) -> list[Any]:
        args: list[Any] = [None] * self.count
        for place, x in zip(self.places, given, strict=True):
            args[place] = x
        return args

    def _kept(self, outputs: Sequence[Any]) -> Any:
        """Outputs that have a gradient."""
        kept = tuple(
            y
            for name, y in zip(self.derivation.outputs, outputs, strict=True)
            if name not in self.derivation.constant
        )
        return kept[0] if len(kept) == 1 else kept

    @property
    def forward(self) -> Callable[..., Any]:
        def forward(*given: Any) -> Any:
            args = self._all(given)
            outputs, residuals = self.derivation.apply(args, self.options)
            return self._kept(outputs), (residuals, args)

        return forward

    @property
    def backward(self) -> Callable[..., Any]:
        d = self.derivation

        def backward(incoming: Any, kept: Any) -> Any:
            residuals, args = kept
            flows = iter(incoming if isinstance(incoming, tuple) else (incoming,))
            cotangents = [None if name in d.constant else next(flows) for name in d.outputs]
            gradients = d.vjp(cotangents, residuals, args, self.options)
            return tuple(gradients[place] for place in self.places)

        return backward

    @property
    def function(self) -> Callable[..., Any]:
        def function(*given: Any) -> Any:
            y = torch_ext.call(
                self.derivation, *passes.detached(self.derivation, self._all(given)), **self.options
            )
            return self._kept(y if isinstance(y, tuple) else (y,))

        return function

    @property
    def reference(self) -> Callable[..., Any]:
        def reference(*given: Any) -> Any:
            args = passes.detached(self.derivation, self._all(given))
            return self._kept(oracles.reference(self.derivation, args, self.options))

        return reference
