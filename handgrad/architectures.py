"""Random architectures: a seed gives a computational graph of registered layers, as JSON.

Values flow through chains, residual branches, concatenations, shared weights and attention. A
layer says itself how it fits on a value of a given shape (``fit`` in its registration), so that
shapes are known, not guessed; a new derivation takes part without an edit here.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from handgrad._arrays import Array, Shape, is_floating, size
from handgrad._cases import Case, Spec
from handgrad._derivation import Derivation, registry
from handgrad._errors import InputError, LayerError, require
from handgrad.graph import Graph, Node

FORMAT = "handgrad-architecture"
VERSION = 1
_LARGEST = 400  # elements of a value: small networks hide nothing and are fast
_SIZES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Architecture:
    """A graph, and a :class:`Spec` for each of its inputs (data and parameters)."""

    seed: int
    graph: Graph
    leaves: Mapping[str, Spec] = field(default_factory=dict)

    def draw(self) -> dict[str, Array]:
        """The inputs' values: the same for the same seed."""
        return {name: _drawn(self.seed, name, self.leaves[name]) for name in self.graph.inputs}

    def cotangents(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """A Gaussian cotangent for each end of the graph, given the values of a forward pass."""
        rng = np.random.default_rng([self.seed, 2])
        return {edge: rng.standard_normal(values[edge].shape) for edge in self.graph.outputs}

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(sorted({node.layer for node in self.graph.functions}))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "seed": self.seed,
            "leaves": {name: asdict(spec) for name, spec in self.leaves.items()},
            "nodes": [
                {"name": n.name, "layer": n.layer, "args": list(n.args), "options": dict(n.options)}
                for n in self.graph.functions
            ],
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False)


def _drawn(seed: int, name: str, spec: Spec) -> Array:
    """A leaf's numbers depend on its name alone: they stay when other leaves come and go."""
    return spec.draw(np.random.default_rng([seed, zlib.crc32(name.encode())]))


def from_json(text: str) -> Architecture:
    """The architecture that :meth:`Architecture.to_json` wrote.

    Raises InputError for malformed JSON, another version, or an architecture that is none;
    UnknownDerivation for a layer that is not registered.
    """
    try:
        data = json.loads(text)
        require(
            isinstance(data, dict) and data.get("format") == FORMAT and data.get("version") == VERSION,
            f'an architecture has "format": "{FORMAT}" and "version": {VERSION}',
            f"{data.get('format')!r}, {data.get('version')!r}"
            if isinstance(data, dict)
            else type(data).__name__,
            "write it again with this handgrad",
        )
        leaves = {name: Spec(**_tuples(spec)) for name, spec in data["leaves"].items()}
        graph = Graph(Node(name) for name in leaves)
        for node in data["nodes"]:
            graph.apply(node["layer"], *node["args"], name=node["name"], **_tuples(node["options"]))
        return Architecture(int(data["seed"]), graph, leaves)
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError) or type(error).__name__ == "UnknownDerivation":
            raise
        raise InputError(
            f"an architecture is JSON with leaves and nodes; received one that breaks it "
            f"({type(error).__name__}: {error}); write it again with Architecture.to_json."
        ) from None


def _tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists where options have tuples."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in options.items()}


# --- generation -------------------------------------------------------------------------


def generate(seed: int, layers: Sequence[str] | None = None) -> Architecture:
    """The architecture of a seed, drawn from ``layers`` (default: all that say how they fit)."""
    return _Builder(seed, layers).build()


class _Builder:
    """Grows a graph, and computes it as it grows, so that every shape is known."""

    def __init__(self, seed: int, layers: Sequence[str] | None) -> None:
        self.seed = seed
        self.rng = np.random.default_rng([seed, 0])
        self.graph = Graph()
        self.leaves: dict[str, Spec] = {}
        self.values: dict[str, Array] = {}
        names = list(registry) if layers is None else layers
        self.layers = [name for name in names if registry[name].fit is not None]
        require(
            bool(self.layers),
            "random architectures need layers that say how they fit",
            ", ".join(names) or "none",
            "give the registration of at least one a `fit`",
        )

    def build(self) -> Architecture:
        shape = tuple(int(self.rng.choice(_SIZES)) for _ in range(self.rng.integers(1, 5)))
        value = self.leaf(Spec(shape), "x")
        for _ in range(self.rng.integers(2, 9)):
            value = self.motif(value)
        used = {edge for node in self.graph.functions for edge in node.args}
        nodes = [node for node in self.graph.nodes.values() if node.layer or node.name in used]
        return Architecture(
            self.seed, Graph(nodes), {name: spec for name, spec in self.leaves.items() if name in used}
        )

    def motif(self, value: str) -> str:
        motifs = (
            self.chain,
            self.chain,
            self.chain,
            self.residual,
            self.concatenation,
            self.shared,
            self.attention,
        )
        return motifs[self.rng.integers(len(motifs))](value)

    def chain(self, value: str, layers: Sequence[str] | None = None) -> str:
        """One more layer on top; the value itself where none that was tried fits."""
        choices = [name for name in layers or self.layers if name in self.layers]
        for _ in range(8 if choices else 0):
            name = str(self.rng.choice(choices))
            fit = registry[name].fit
            try:
                case = fit(self.rng, self.shape(value)) if fit is not None else None
            except Exception as error:
                raise LayerError(name, error) from error
            if case is not None and (result := self.place(registry[name], case, value)):
                return result
        return value

    def residual(self, value: str) -> str:
        """value + f(value), where f keeps the shape."""
        branch = self.chain(self.chain(value))
        if "add" in self.layers and branch != value and self.shape(branch) == self.shape(value):
            return self.apply("add", branch, value) or branch
        return branch

    def concatenation(self, value: str) -> str:
        """Two branches side by side, along an axis in which alone they may differ."""
        a, b = self.chain(value), self.chain(value)
        left, right = self.shape(a), self.shape(b)
        differing = [i for i, (m, n) in enumerate(zip(left, right, strict=False)) if m != n]
        if "concat" not in self.layers or not left or len(left) != len(right) or len(differing) > 1:
            return a
        axis = differing[0] if differing else int(self.rng.integers(len(left)))
        return self.apply("concat", a, b, dim=axis) or a

    def shared(self, value: str) -> str:
        """The same weight twice: its gradient is the sum over both uses."""
        shape = self.shape(value)
        if "linear" not in self.layers or not shape:
            return self.chain(value)
        w = self.leaf(Spec((shape[-1], shape[-1]), "normal", 0.0, 0.5), "w")
        first = self.apply("linear", value, w, None)
        return self.apply("linear", self.chain(first or value, _ELEMENTWISE), w, None) or value

    def attention(self, value: str) -> str:
        """Heads over one value: query, key and value are three linear maps of it."""
        shape = self.shape(value)
        if "scaled_dot_product_attention" not in self.layers or len(shape) < 2:
            return self.chain(value)
        maps = [self.leaf(Spec((3, shape[-1])), name) for name in ("wq", "wk", "wv")]
        q, k, v = (self.apply("linear", value, w, None) for w in maps)
        if q is None or k is None or v is None:
            return value
        causal = bool(self.rng.integers(2))
        return self.apply("scaled_dot_product_attention", q, k, v, is_causal=causal) or value

    # --- placing one node -----------------------------------------------------------------

    def place(self, derivation: Derivation, case: Case, value: str) -> str | None:
        """A case on a value: its first input is the value, the others new leaves or values at hand.

        A first input with a domain of its own (indices, probabilities) is a new leaf, too.
        """
        args: list[str | None] = []
        for i, spec in enumerate(case.inputs):
            if spec is None:
                args.append(None)
            elif i == 0 and spec.kind in _ANYWHERE:
                args.append(value)
            else:
                name = derivation.input_names(len(case.inputs))[i]
                args.append(self.at_hand(spec) or self.leaf(spec, name))
        return self.apply(derivation.name, *args, **case.options)

    def at_hand(self, spec: Spec) -> str | None:
        """Now and then a value that exists already, used once more, instead of a new leaf."""
        if spec.kind != "normal" or self.rng.uniform() > 0.3:
            return None
        same = [e for e, v in self.values.items() if v.shape == spec.shape and is_floating(v)]
        return str(self.rng.choice(same)) if same else None

    def apply(self, layer: str, *args: str | None, **options: Any) -> str | None:
        """Add a node; None (and no node) where its value would be too large or not finite."""
        derivation = registry[layer]
        try:
            outputs, _ = derivation.apply([None if a is None else self.values[a] for a in args], options)
        except Exception as error:
            raise LayerError(layer, error) from error
        if size(outputs[0].shape) > _LARGEST or not np.all(np.abs(outputs[0]) < 1e3):
            return None
        name = self.graph.apply(layer, *args, **options)
        self.values.update(zip(self.graph.nodes[name].edges, outputs, strict=True))
        return name

    def leaf(self, spec: Spec, name: str) -> str:
        names = (name, *(f"{name}_{i}" for i in range(len(self.leaves))))
        edge = self.graph.input(next(n for n in names if n not in self.graph.nodes))
        self.leaves[edge] = spec
        self.values[edge] = _drawn(self.seed, edge, spec)
        return edge

    def shape(self, edge: str) -> Shape:
        return tuple(self.values[edge].shape)


_ANYWHERE = ("normal", "smooth", "distinct")  # any real number will do
_ELEMENTWISE = ("relu", "tanh", "sigmoid", "silu", "softplus")
