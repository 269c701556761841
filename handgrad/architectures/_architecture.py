"""The record of an architecture: a graph, its leaves and its modes; its numbers; how large it is."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from handgrad._arrays import Array, is_floating, size
from handgrad._cases import Spec
from handgrad.graph import Graph, Node

FORMAT = "handgrad-architecture"
VERSION = 1
FLOATING = ("normal", "uniform", "distinct", "smooth", "simplex", "exactly")  # kinds of Spec


@dataclass(frozen=True, eq=False)
class Architecture:
    """A graph, a :class:`Spec` for each of its inputs (data and parameters), and modes: see the package."""

    seed: int
    graph: Graph
    leaves: Mapping[str, Spec] = field(default_factory=dict)
    modes: Mapping[str, Any] = field(default_factory=dict)

    # --- numbers ---------------------------------------------------------------------

    def draw(self) -> dict[str, Array]:
        """The inputs' values: the same for the same seed."""
        layouts = self.modes.get("layouts", {})
        return {
            name: laid(drawn(self.seed, name, self.leaves[name]), layouts.get(name))
            for name in self.graph.inputs
        }

    def cotangents(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """A Gaussian cotangent for each end of the graph, given the values of a forward pass."""
        how = self.modes.get("cotangents", {})
        ends = [edge for edge in self.ends if is_floating(values[edge]) and how.get(edge) != "none"]
        return {edge: self._cotangent(edge, tuple(values[edge].shape), how.get(edge)) for edge in ends}

    def _cotangent(self, edge: str, shape: tuple[int, ...], how: str | None) -> Array:
        rng = np.random.default_rng([self.seed, 2, zlib.crc32(edge.encode())])
        return laid(np.asarray(rng.standard_normal(shape)), how)

    # --- structure -------------------------------------------------------------------

    @property
    def ends(self) -> tuple[str, ...]:
        """Every output that has a gradient and that no node uses."""
        used = {edge for node in self.graph.functions for edge in node.args}
        return tuple(
            edge
            for node in self.graph.functions
            for edge, output in zip(node.edges, node.derivation.outputs, strict=True)
            if edge not in used and output not in node.derivation.constant
        )

    @property
    def wanted(self) -> tuple[str, ...]:
        """The leaves whose gradients are asked for: floating, and not frozen."""
        frozen = self.modes.get("frozen", ())
        return tuple(n for n in self.graph.inputs if self.leaves[n].kind in FLOATING and n not in frozen)

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(sorted({node.layer for node in self.graph.functions}))

    # --- JSON ------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plain, strict JSON: infinities and NaN are the strings "inf", "-inf" and "nan"."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "seed": self.seed,
            "leaves": {name: _spec(spec) for name, spec in self.leaves.items()},
            "nodes": [
                {"name": n.name, "layer": n.layer, "args": list(n.args), "options": encoded(n.options)}
                for n in self.graph.functions
            ],
            "modes": encoded(self.modes),
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)


def drawn(seed: int, name: str, spec: Spec) -> Array:
    """A leaf's numbers depend on its name alone: they stay when other leaves come and go."""
    return spec.draw(np.random.default_rng([seed, zlib.crc32(name.encode())]))


def laid(x: Array, layout: str | None) -> Array:
    """Of an expanded array, all along its first long axis are the first."""
    axis = next((i for i, n in enumerate(x.shape) if n > 1), None)
    if layout != "expanded" or axis is None:
        return x
    return np.repeat(np.take(x, [0], axis=axis), x.shape[axis], axis=axis)


def restricted(
    seed: int, nodes: list[Node], leaves: Mapping[str, Spec], modes: Mapping[str, Any]
) -> Architecture:
    """The architecture of these function nodes: leaves and modes of what is no longer there are left out."""
    used = {edge for node in nodes for edge in node.args}
    kept = {name: spec for name, spec in leaves.items() if name in used}
    graph = Graph([*map(Node, kept), *nodes])
    made = Architecture(seed, graph, kept, modes)
    names, ends = {node.name for node in nodes}, set(made.ends)
    there = {
        "layouts": kept.keys(),
        "frozen": kept.keys(),
        "in_place": names,
        "casts": names,
        "cotangents": ends,
    }
    clean: dict[str, Any] = {}
    for mode, value in modes.items():
        if mode == "autocast":
            inside = [n for n in value["nodes"] if n in names]
            value = {**value, "nodes": inside} if inside else None
        elif mode in there:
            value = _only(value, there[mode])
        if value:
            clean[mode] = value
    return Architecture(seed, graph, kept, clean)


def _only(value: Any, names: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: v for name, v in value.items() if name in names}
    return [name for name in value if name in names]


_DEFAULTS = {f.name: f.default for f in fields(Spec)}


def _spec(spec: Spec) -> dict[str, Any]:
    """A Spec as JSON, defaults left out."""
    return {
        name: encoded(value)
        for name in _DEFAULTS
        if (value := getattr(spec, name)) != _DEFAULTS[name] or name in ("shape", "kind")
    }


def encoded(value: Any) -> Any:
    """Options and modes as strict JSON: see ``_read.decoded``."""
    if isinstance(value, Mapping):
        return {name: encoded(v) for name, v in value.items()}
    if isinstance(value, tuple | list):
        return [encoded(v) for v in value]
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    if value is ...:
        return "..."
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


# --- size ---------------------------------------------------------------------------------


def measure(architecture: Architecture) -> tuple[int, ...]:
    """How large it is, for shrinking: nodes, then shapes, options, numbers and modes, in this order."""
    nodes, specs = architecture.graph.functions, architecture.leaves.values()
    shapes = [[n or 3 for n in spec.shape] for spec in specs]  # nothing at all is no simple example
    return (
        len(nodes),
        sum(math.prod(shape) + sum(shape) for shape in shapes),
        sum(_unlike_default(node) for node in nodes),
        sum(map(_plainness, specs)),
        len(json.dumps(encoded(architecture.modes))),
    )


def _unlike_default(node: Node) -> int:
    return sum(node.derivation.options.get(name, ...) != v for name, v in node.options.items())


def _plainness(spec: Spec) -> int:
    """Few digits are simpler than many, and any written number than one that must be drawn."""
    if spec.kind in ("exactly", "labels"):
        return sum(len(repr(v).strip("-0").rstrip("0.")) for v in spec.values)
    return 20 * max(size(spec.shape), 1)
