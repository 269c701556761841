"""A whole network, hand against autograd: end to end, and in lockstep.

End to end compares every gradient of the network, computed by NumPy and by the autograd
Functions. Lockstep feeds each hand layer the reference's own inputs and incoming gradient, so
that one wrong layer is named and its neighbours are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from handgrad._arrays import size
from handgrad._errors import LayerError
from handgrad.architectures import Architecture, generate
from handgrad.checking import precision
from handgrad.checking.tolerances import ROUNDED, STABLE
from handgrad.graph import Graph, Node
from handgrad.report import Check
from torch_ext import oracles
from torch_ext.crossval import passes
from torch_ext.crossval.layers import describe, generator
from torch_ext.crossval.passes import PRECISION, Values, by_functions, by_numpy, lowest
from torch_ext.limits import Limit, Scale, limits

_DRAWS = 3


@dataclass(frozen=True)
class Network:
    """A graph with its inputs' values and a cotangent for each of its ends, in float64."""

    name: str
    group: str
    graph: Graph
    values: Values
    cotangents: Values
    seed: int = 0
    modes: Mapping[str, Any] = field(default_factory=dict)
    exact: frozenset[str] = frozenset()  # inputs of chosen numbers, which may be those of kinks

    @property
    def variables(self) -> tuple[str, ...]:
        """The inputs whose gradient is asked for: floating, and not frozen."""
        frozen = self.modes.get("frozen", ())
        return tuple(n for n, x in self.values.items() if x.dtype == np.float64 and n not in frozen)

    def check(self) -> list[Check]:
        """Lockstep first: what it names explains an end-to-end difference."""
        try:
            reference = Reference(self)
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

    def lockstep(self, node: Node, reference: Reference) -> Iterator[Check]:
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
            kinks=[i for i, edge in enumerate(node.args) if edge in self.exact],
            arguments=[*(None for _ in truth.outputs), *inputs],
            scale=Scale.of(cotangents, truth.outputs, [*inputs, *truth.outputs]),
            draws=1,
        )
        names = [*derivation.outputs, *(f"d_{n}" for n in derivation.input_names(len(inputs)))]
        for name, a, limit in zip(names, [*outputs, *gradients], each, strict=True):
            yield from self.compared(f"{node.name} / {name}", node.layer, "numpy", "lockstep", name, a, limit)

    # --- end to end -----------------------------------------------------------------------

    def end_to_end(self, library: str, reference: Reference, culprit: str) -> Iterator[Check]:
        """Every end's value and every input's gradient of the whole network."""
        try:
            values, gradients = by_numpy(self) if library == "numpy" else by_functions(self)
        except Exception as error:
            for name in reference.limits:  # under the names they have when all is well: none vanishes
                where = f"end to end / {library} / {name}"
                yield self.failed(where, culprit, f"raises {describe(error)}", name)
            return
        found = {
            **{end: values[end] for end in self.graph.outputs},
            **{f"d_{n}": g for n, g in gradients.items()},
        }
        modes = {} if library == "numpy" else self.modes
        dtype = lowest(modes)
        each = reference.limits if dtype == "float64" else reference.limits_in(modes)
        for name, limit in each.items():
            where = f"end to end / {library} / {name}"
            yield from self.compared(where, culprit, library, "autograd", name, found.get(name), limit, dtype)

    # --- records --------------------------------------------------------------------------

    def compared(
        self, where: str, layer: str, library: str, oracle: str, name: str, a: Any, limit: Limit,
        dtype: str = "float64",
    ) -> Iterator[Check]:  # fmt: skip
        difference = limit.judge(None if a is None else np.asarray(a))
        if difference is not None:
            yield Check(
                id=f"{self.name} / {where}",
                group=self.group,
                # a right value says nothing of a layer: end to end, only a wrong one is attributed
                layer=layer if oracle == "lockstep" or not difference.passed else "",
                case=self.name,
                library=library,
                dtype=dtype,
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
    return drawn(generate(seed, layers))


def drawn(made: Architecture) -> Network:
    """An architecture with its numbers, rounded to the dtype that it runs in."""
    dtype = passes.dtype_of(made.modes)
    values = {name: passes.rounded(x, dtype) for name, x in made.draw().items()}
    computed = made.graph.forward(values).values
    cotangents = {edge: passes.rounded(dy, dtype) for edge, dy in made.cotangents(computed).items()}
    exact = frozenset(name for name, spec in made.leaves.items() if spec.kind == "exactly")
    name = f"architecture {made.seed}"
    return Network(name, "architectures", made.graph, values, cotangents, made.seed, made.modes, exact)


class Reference:
    """The network by PyTorch's own functions: all values, all gradients, and how far rounding moves them."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.values, self.gradients = self.run()
        self.truth = self.ends(self.values, self.gradients)
        inputs = list(network.values)

        def evaluate(moved: list[np.ndarray | None], dtype: torch.dtype) -> oracles.Arrays:
            given = {name: x for name, x in zip(inputs, moved, strict=True) if x is not None}
            return self.listed(self.run(given, {"dtype": str(dtype).removeprefix("torch.")}))

        self.elements = max(size(v.shape) for v in self.values.values())
        each = limits(
            evaluate,
            list(network.values.values()),
            oracles.Results(list(self.truth.values()), []),
            "float64",
            self.elements,
            network.rng("noise"),
            lambda rng: self.listed(self.run(rng=rng)),
            arguments=[network.values.get(name.removeprefix("d_")) for name in self.truth],
            scale=Scale.of(
                network.cotangents.values(),
                [self.values[e] for e in network.cotangents],
                self.values.values(),
            ),
            draws=1,
        )
        self.limits = dict(zip(self.truth, each, strict=True))

    def ends(self, values: Values, gradients: Values) -> dict[str, np.ndarray]:
        """What is compared: the graph's ends, and the gradients of its inputs."""
        graph = self.network.graph
        found = {f"d_{name}": gradients[name] for name in graph.inputs if name in gradients}
        return {**{end: values[end] for end in graph.outputs}, **found}

    def listed(self, found: tuple[Values, Values]) -> list[np.ndarray | None]:
        ends = self.ends(*found)
        return [ends.get(name) for name in self.truth]

    def run(
        self,
        inputs: Values | None = None,
        modes: Mapping[str, Any] | None = None,
        rng: np.random.Generator | None = None,
        step: float = 0.0,
    ) -> tuple[Values, Values]:
        """With ``rng``, every value is nudged on its way, as rounding would, to see where that leads."""
        network, modes = self.network, modes or {}
        leaves = passes.make_leaves(network, modes, inputs)
        if rng is not None:
            leaves = {n: passes.nudged(x, rng, step) for n, x in leaves.items()}
        values = passes.evaluate(network.graph, leaves, passes.native(rng=rng, step=step), modes)
        wanted = [edge for edge, v in values.items() if v.requires_grad]
        return passes.arrays(values), passes.gradients(network, values, wanted)

    def limits_in(self, modes: Mapping[str, Any]) -> dict[str, Limit]:
        """What rounding explains where the network runs in lower precisions.

        One rounded value may flip a kink further on. So an error is as good as its tensor: as PyTorch's
        own, and as those of the exact network whose every value is moved by a unit roundoff.
        """
        p = precision(lowest(modes))
        try:
            own = self.listed(self.run(modes={name: modes[name] for name in modes.keys() & PRECISION}))
        except (RuntimeError, NotImplementedError):  # PyTorch lacks an operator in that dtype
            own = [None for _ in self.truth]
        rng = self.network.rng("low")
        moved = [self.listed(self.run(rng=rng, step=4 * p.unit)) for _ in range(_DRAWS)]
        found = {}
        for i, (name, t) in enumerate(self.truth.items()):
            if t.dtype != np.float64:
                found[name] = Limit(t, None, p.name)
                continue
            error = 2 * _furthest(own[i], t) + STABLE * max(_furthest(m[i], t) for m in moved)
            largest = float(np.max(np.abs(t), where=np.isfinite(t), initial=0.0))
            bound = np.full(t.shape, error + 2 * ROUNDED * p.unit * largest + p.subnormal)
            low = own[i]
            if low is not None:  # an overflow on the way, which PyTorch has too
                bound = np.where(np.isfinite(low) | ~np.isfinite(t), bound, np.inf)
            found[name] = Limit(t, bound, p.name)
        return found


def _furthest(found: np.ndarray | None, truth: np.ndarray) -> float:
    if found is None or found.shape != truth.shape:
        return 0.0
    with np.errstate(all="ignore"):
        error = np.abs(found - truth)
    return float(np.max(error, where=np.isfinite(error), initial=0.0))
