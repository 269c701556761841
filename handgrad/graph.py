"""Computational graphs: nodes are functions, edges are their arguments.

A node applies one derivation. The forward pass computes every value and keeps each node's
residuals (the partial results that its backward needs). The backward pass walks the nodes in
reverse: what flows into a node, dL/d(output), times its local derivative flows out to each
argument, and where a value is used more than once the flows are added.

Source: the lecture's sections 5 and 6; Griewank and Walther, Evaluating Derivatives, chapter 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handgrad._arrays import Array, is_array, is_floating, namespace
from handgrad._derivation import Derivation, Residuals, registry
from handgrad._errors import require

Values = dict[str, Array]


@dataclass(frozen=True)
class Node:
    """One function of the graph, or an input (``layer`` is then "").

    ``args`` are edges: the name of a node is its first output, ``node.output`` a further one
    ("pool.indices"). None stands for an argument left out.
    """

    name: str
    layer: str = ""
    args: tuple[str | None, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def derivation(self) -> Derivation:
        return registry[self.layer]

    @property
    def edges(self) -> tuple[str, ...]:
        """The names of its outputs: its own name first, then ``name.output``."""
        further = self.derivation.outputs[1:] if self.layer else ()
        return (self.name, *(f"{self.name}.{output}" for output in further))


@dataclass(frozen=True)
class Step:
    """One application of the chain rule: what flowed into ``node``, and out along its argument ``edge``.

    ``incoming`` holds one cotangent for each output of the node (None where nothing flows);
    ``outgoing`` is this node's contribution to the gradient of ``edge``.
    """

    node: Node
    position: int
    edge: str
    incoming: tuple[Array | None, ...]
    outgoing: Array


class Graph:
    """A directed acyclic graph, built in an order in which it can be computed.

    >>> g = Graph()
    >>> x, y, z = g.input("x"), g.input("y"), g.input("z")
    >>> f = g.apply("multiply", g.apply("add", x, y, name="q"), z, name="f")
    """

    def __init__(self, nodes: Iterable[Node] = ()) -> None:
        self.nodes: dict[str, Node] = {}
        self._edges: set[str] = set()
        for node in nodes:
            self._append(node)

    def input(self, name: str) -> str:
        """Declare an input (data or a parameter); returns its edge."""
        return self._append(Node(name))

    def apply(self, layer: str, *args: str | None, name: str = "", **options: Any) -> str:
        """Add a node that applies the derivation ``layer`` to edges; returns its first output's edge.

        Raises InputError for a name in use or an edge that does not exist, UnknownDerivation for
        a layer without a derivation.
        """
        return self._append(Node(name or self._fresh(layer), layer, args, options))

    def _append(self, node: Node) -> str:
        edges = node.edges  # raises for an unknown layer
        require(
            node.name not in self.nodes and bool(node.name) and "." not in node.name,
            "each node of a graph has a name of its own, without a dot",
            repr(node.name),
            "choose another name",
        )
        for edge in node.args:
            require(
                edge is None or edge in self._edges,
                f"the arguments of node {node.name!r} must exist before it",
                repr(edge),
                "declare it first, by input() or apply()",
            )
        self.nodes[node.name] = node
        self._edges.update(edges)
        return node.name

    def _fresh(self, layer: str) -> str:
        n = sum(node.layer == layer for node in self.nodes.values())
        return next(
            name for i in range(n, n + len(self.nodes) + 1) if (name := f"{layer}{i}") not in self.nodes
        )

    # --- structure -------------------------------------------------------------------

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.nodes.values() if not node.layer)

    @property
    def functions(self) -> tuple[Node, ...]:
        """The nodes that are functions, in an order in which they can be computed."""
        return tuple(node for node in self.nodes.values() if node.layer)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The first outputs that nothing uses: where the graph ends."""
        used = {edge.split(".")[0] for node in self.nodes.values() for edge in node.args if edge}
        return tuple(node.name for node in self.functions if node.name not in used)

    def depends_on(self, wanted: Iterable[str]) -> set[str]:
        """The edges whose value depends on one of the ``wanted`` inputs: those that need a gradient.

        An output without a derivative (indices), and an input that has none, pass nothing on.
        """
        reached = set(wanted)
        for node in self.functions:
            d = node.derivation
            if any(edge in reached and d.has_gradient(i) for i, edge in enumerate(node.args)):
                reached.update(e for e, o in zip(node.edges, d.outputs, strict=True) if o not in d.constant)
        return reached

    # --- passes ----------------------------------------------------------------------

    def evaluate(
        self, inputs: Mapping[str, Array], call: Callable[[Derivation, Sequence[Any], Mapping[str, Any]], Any]
    ) -> Values:
        """Every edge's value, each node computed by ``call(derivation, inputs, options) -> outputs``."""
        values = self._given(inputs)
        for node in self.functions:
            args = [None if edge is None else values[edge] for edge in node.args]
            outputs = call(node.derivation, args, node.options)
            values.update(zip(node.edges, outputs if isinstance(outputs, tuple) else (outputs,), strict=True))
        return values

    def forward(self, inputs: Mapping[str, Array]) -> Pass:
        """The forward pass: every value, and the residuals of every node."""
        residuals: list[Residuals] = []

        def call(derivation: Derivation, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
            outputs, kept = derivation.apply(args, options)
            residuals.append(kept)
            return outputs

        values = self.evaluate(inputs, call)
        return Pass(self, values, dict(zip((node.name for node in self.functions), residuals, strict=True)))

    def _given(self, inputs: Mapping[str, Array]) -> Values:
        require(
            set(inputs) == set(self.inputs),
            f"a graph needs a value for each of its inputs ({', '.join(self.inputs)})",
            ", ".join(inputs) or "none",
            "give these and no others",
        )
        return dict(inputs)


@dataclass(frozen=True)
class Pass:
    """A forward pass: ``values`` of every edge, ``residuals`` of every function node."""

    graph: Graph
    values: Values
    residuals: dict[str, Residuals]

    def backward(
        self, cotangents: Mapping[str, Array] | None = None, wanted: Iterable[str] | None = None
    ) -> Values:
        """The gradient of every edge that has one, by the chain rule.

        cotangents   what flows into the graph's ends: {edge: array of its shape}. By default 1 into
                     the one output, which must then be a scalar.
        wanted       inputs whose gradients are asked for (default: all floating ones); nothing that
                     only other inputs need is computed.
        """
        gradients: Values = {}
        for _ in self.steps(gradients, cotangents, wanted):
            pass
        return gradients

    def steps(
        self,
        gradients: Values,
        cotangents: Mapping[str, Array] | None = None,
        wanted: Iterable[str] | None = None,
    ) -> Iterator[Step]:
        """:meth:`backward`, one application of the chain rule at a time, filling ``gradients``."""
        values = self.values
        gradients.update(self._base_case() if cotangents is None else cotangents)
        floating = [
            name for name in self.graph.inputs if is_array(values[name]) and is_floating(values[name])
        ]
        needed = self.graph.depends_on(floating if wanted is None else wanted)
        for node in reversed(self.graph.functions):
            incoming = tuple(gradients.get(edge) for edge in node.edges)
            if all(dy is None for dy in incoming):
                continue
            args = [None if edge is None else values[edge] for edge in node.args]
            needs = tuple(
                edge in needed and node.derivation.has_gradient(i) for i, edge in enumerate(node.args)
            )
            outgoing = node.derivation.vjp(incoming, self.residuals[node.name], args, node.options, needs)
            for i, (edge, dx) in enumerate(zip(node.args, outgoing, strict=True)):
                if edge is not None and dx is not None:
                    gradients[edge] = gradients[edge] + dx if edge in gradients else dx
                    yield Step(node, i, edge, incoming, dx)

    def _base_case(self) -> Values:
        """dL/dL = 1."""
        ends = self.graph.outputs
        scalar = len(ends) == 1 and tuple(self.values[ends[0]].shape) in ((), (1,), (1, 1))
        require(
            scalar,
            "without cotangents, backward starts from the graph's one output, a scalar",
            ", ".join(f"{e} {tuple(self.values[e].shape)}" for e in ends) or "no output",
            "give backward a cotangent for each output",
        )
        (end,) = ends
        return {end: namespace(self.values[end]).ones_like(self.values[end])}
