"""A whole network, hand against autograd: end to end, and in lockstep.

End to end compares every gradient of the network, computed by NumPy and by the autograd
Functions. Lockstep feeds each hand layer the reference's own inputs and incoming gradient, so
that one wrong layer is named and its neighbours are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import torch_ext
from handgrad._arrays import size
from handgrad._derivation import Derivation
from handgrad._errors import LayerError
from handgrad.architectures import generate
from handgrad.checking import nudge
from handgrad.graph import Graph, Node
from handgrad.report import Check
from torch_ext import oracles
from torch_ext.crossval.layers import describe, generator
from torch_ext.limits import Limit, Scale, limits

Values = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Network:
    """A graph with its inputs' values and a cotangent for each of its ends, in float64."""

    name: str
    group: str
    graph: Graph
    values: Values
    cotangents: Values
    seed: int = 0

    def check(self) -> list[Check]:
        """Lockstep first: what it names explains an end-to-end difference."""
        try:
            reference = _Reference(self)
        except Exception as error:
            return [self.failed("reference", "", f"PyTorch raises {describe(error)}")]
        local = [check for node in self.graph.functions for check in self.lockstep(node, reference)]
        culprits = [check.layer for check in local if not check.passed]
        culprit = culprits[0] if culprits else ""
        return [
            *local,
            *self.end_to_end("numpy", reference, culprit),
            *self.end_to_end("torch", reference, culprit),
        ]

    # --- lockstep -----------------------------------------------------------------------

    def lockstep(self, node: Node, reference: _Reference) -> Iterator[Check]:
        """One layer on the reference's own inputs and incoming gradient."""
        derivation = node.derivation
        inputs = [None if edge is None else reference.values[edge] for edge in node.args]
        cotangents = [reference.gradients.get(edge) for edge in node.edges]

        def evaluate(values: list[np.ndarray | None], dtype: torch.dtype) -> oracles.Arrays:
            n = len(inputs)
            return oracles.autograd(derivation, values[:n], node.options, values[n:], dtype).all

        try:
            truth = oracles.autograd(derivation, inputs, node.options, cotangents)
            outputs, residuals = derivation.apply(inputs, node.options)
            gradients: Sequence[Any] = [None] * len(inputs)
            if any(dy is not None for dy in cotangents):
                needs = [g is not None for g in truth.gradients]
                gradients = derivation.vjp(cotangents, residuals, inputs, node.options, needs)
        except Exception as error:
            yield self.failed(node.name, node.layer, f"raises {describe(error)}")
            return
        elements = max(size(x.shape) for x in [*inputs, *outputs] if x is not None)
        rng = self.rng(node.name)
        each = limits(
            evaluate,
            [*inputs, *cotangents],
            truth,
            "float64",
            elements,
            rng,
            arguments=[*(None for _ in truth.outputs), *inputs],
            scale=Scale.of(cotangents, truth.outputs, [*inputs, *truth.outputs]),
        )
        names = [*derivation.outputs, *(f"d_{n}" for n in derivation.input_names(len(inputs)))]
        for name, a, limit in zip(names, [*outputs, *gradients], each, strict=True):
            yield from self.compared(f"{node.name} / {name}", node.layer, "numpy", "lockstep", name, a, limit)

    # --- end to end -----------------------------------------------------------------------

    def end_to_end(self, library: str, reference: _Reference, culprit: str) -> Iterator[Check]:
        """Every end's value and every input's gradient of the whole network."""
        try:
            values, gradients = _by_numpy(self) if library == "numpy" else _by_functions(self)
        except Exception as error:
            for name in reference.limits:  # under the names they have when all is well: none vanishes
                where = f"end to end / {library} / {name}"
                yield self.failed(where, culprit, f"raises {describe(error)}", name)
            return
        found = {
            **{end: values[end] for end in self.graph.outputs},
            **{f"d_{n}": g for n, g in gradients.items()},
        }
        for name, limit in reference.limits.items():
            where = f"end to end / {library} / {name}"
            yield from self.compared(where, culprit, library, "autograd", name, found.get(name), limit)

    # --- records --------------------------------------------------------------------------

    def compared(
        self, where: str, layer: str, library: str, oracle: str, name: str, a: Any, limit: Limit
    ) -> Iterator[Check]:
        difference = limit.judge(None if a is None else np.asarray(a))
        if difference is not None:
            yield Check(
                id=f"{self.name} / {where}",
                group=self.group,
                # a right value says nothing of a layer: end to end, only a wrong one is attributed
                layer=layer if oracle == "lockstep" or not difference.passed else "",
                case=self.name,
                library=library,
                dtype="float64",
                oracle=oracle,
                argument=name,
                shape=() if limit.truth is None else limit.truth.shape,
                **difference.fields(),
            )

    def failed(self, where: str, layer: str, message: str, argument: str = "") -> Check:
        """A check that came to no number."""
        return Check(
            id=f"{self.name} / {where}", group=self.group, passed=False, layer=layer,
            case=self.name, argument=argument, message=message,
        )  # fmt: skip

    def rng(self, *names: object) -> np.random.Generator:
        return generator(self.seed, self.name, *names)


def check_architectures(seeds: Sequence[int], layers: Sequence[str] | None = None) -> list[Check]:
    """The random architectures of these seeds, drawn from ``layers`` (default: all that fit)."""
    return [check for seed in seeds for check in check_architecture(seed, layers)]


def check_architecture(seed: int, layers: Sequence[str] | None = None) -> list[Check]:
    """The random architecture of a seed; where it cannot even be built, a failed check says so."""
    try:
        with np.errstate(all="ignore"):  # what is not finite is compared, too
            return architecture(seed, layers).check()
    except Exception as error:
        name = f"architecture {seed}"
        return [
            Check(
                id=f"{name} / call",
                group="architectures",
                passed=False,
                layer=error.layer if isinstance(error, LayerError) else "",
                case=name,
                message=f"raises {describe(error)}",
            )
        ]


def architecture(seed: int, layers: Sequence[str] | None = None) -> Network:
    """The random architecture of a seed, drawn."""
    made = generate(seed, layers)
    values = made.draw()
    computed = made.graph.forward(values).values
    return Network(
        f"architecture {seed}", "architectures", made.graph, values, made.cotangents(computed), seed
    )


# --- three ways to compute a network ---------------------------------------------------------


def _by_numpy(network: Network) -> tuple[Values, Values]:
    passed = network.graph.forward(network.values)
    return passed.values, passed.backward(network.cotangents)


def _by_functions(network: Network) -> tuple[Values, Values]:
    def call(derivation: Derivation, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        return torch_ext.call(derivation, *_detached(derivation, args), **options)

    values = network.graph.evaluate(_leaves(network.values), call)
    return _arrays(values), _gradients(network, values, network.graph.inputs)


class _Reference:
    """The network by PyTorch's own functions: all values, all gradients, and how far rounding moves them."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.values, self.gradients = self.run()
        truth = self.ends(self.values, self.gradients)
        inputs = list(network.values)

        def listed(found: tuple[Values, Values]) -> list[np.ndarray | None]:
            ends = self.ends(*found)
            return [ends.get(name) for name in truth]

        def evaluate(moved: list[np.ndarray | None], dtype: torch.dtype) -> oracles.Arrays:
            given = {name: x for name, x in zip(inputs, moved, strict=True) if x is not None}
            return listed(self.run(given, dtype))

        elements = max(size(v.shape) for v in self.values.values())
        each = limits(
            evaluate,
            list(network.values.values()),
            oracles.Results(list(truth.values()), []),
            "float64",
            elements,
            network.rng("noise"),
            lambda rng: listed(self.run(rng=rng)),
            arguments=[network.values.get(name.removeprefix("d_")) for name in truth],
            scale=Scale.of(
                network.cotangents.values(),
                [self.values[e] for e in network.cotangents],
                self.values.values(),
            ),
        )
        self.limits = dict(zip(truth, each, strict=True))

    def ends(self, values: Values, gradients: Values) -> dict[str, np.ndarray]:
        """What is compared: the graph's ends, and the gradients of its inputs."""
        graph = self.network.graph
        found = {f"d_{name}": gradients[name] for name in graph.inputs if name in gradients}
        return {**{end: values[end] for end in graph.outputs}, **found}

    def run(
        self,
        inputs: Values | None = None,
        dtype: torch.dtype = torch.float64,
        rng: np.random.Generator | None = None,
    ) -> tuple[Values, Values]:
        """With ``rng``, every value is nudged on its way, as rounding would, to see where that leads."""

        def call(derivation: Derivation, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
            # contiguous, values and what flows back into them: some of PyTorch's own backward passes raise
            # otherwise (nll_loss after a transpose, conv_tbc before a concatenation)
            plain = [x if x is None else x.contiguous() for x in _detached(derivation, args)]
            outputs = oracles.reference(derivation, plain, options)
            for y in outputs:
                if y.grad_fn is not None:
                    y.register_hook(lambda dy: None if dy is None else dy.contiguous())
            return outputs if rng is None else tuple(_nudged(y, rng) for y in outputs)

        leaves = _leaves(self.network.values if inputs is None else inputs, dtype)
        given = leaves if rng is None else {name: _nudged(x, rng) for name, x in leaves.items()}
        values = self.network.graph.evaluate(given, call)
        wanted = [edge for edge, v in values.items() if v.requires_grad]
        return _arrays(values), _gradients(self.network, values, wanted)


def _detached(derivation: Derivation, args: Sequence[Any]) -> list[Any]:
    """Arguments without a derivative (class weights, indices) carry none, as PyTorch demands of some."""
    return [x if x is None or derivation.has_gradient(i) else x.detach() for i, x in enumerate(args)]


def _nudged(y: Tensor, rng: np.random.Generator) -> Tensor:
    if not y.is_floating_point():
        return y
    return y * torch.from_numpy(nudge(np.ones(tuple(y.shape)), rng)).to(y.dtype)


def _leaves(values: Values, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    made = {name: oracles.tensor(x, dtype) for name, x in values.items()}
    return {name: x.requires_grad_(x.is_floating_point()) for name, x in made.items() if x is not None}


def _arrays(values: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {edge: oracles.array(v) for edge, v in values.items()}


def _gradients(
    network: Network, values: Mapping[str, Tensor], wanted: Sequence[str]
) -> dict[str, np.ndarray]:
    """The gradients of the edges ``wanted``; those that nothing flows into are left out."""
    ends = [end for end in network.cotangents if values[end].requires_grad]
    cotangents = [network.cotangents[end] for end in ends]
    edges = [edge for edge in wanted if values[edge].requires_grad]
    found = oracles.gradients(
        [values[e] for e in ends], [values[e] for e in edges], range(len(edges)), cotangents
    )
    return {edge: dx for edge, dx in zip(edges, found, strict=True) if dx is not None}
