"""Coverage: which (layer, option value, neighbour) triples architectures have had.

Option values come in classes: a number counts as 0, 1, less, more or between, a tuple as the classes of its
members, and an input that may be left out as given or not. What there is to draw is what the cases and the
defaults of the registered derivations name.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from handgrad._cases import Case
from handgrad._derivation import Derivation, registry
from handgrad.architectures._architecture import Architecture
from handgrad.graph import Node

LEAF = "leaf"  # the neighbour of a node that takes an input of the graph
_VIEWS = ("reshape",)  # what lies behind them is the neighbour

Value = tuple[str, str]  # layer, "option=class"
Triple = tuple[str, str, str]


def value_class(value: Any) -> str:
    """The class of an option's value."""
    if isinstance(value, tuple | list):
        return "(" + ",".join(sorted({value_class(v) for v in value})) + ")"
    if isinstance(value, slice) or value is ...:
        return type(value).__name__
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return str(value)
    if value in (0, 1, float("inf"), -float("inf")):
        return f"{value:g}"
    return "<0" if value < 0 else "0..1" if value < 1 else ">1"


def _values(derivation: Derivation, given: Sequence[bool], options: Mapping[str, Any]) -> list[Value]:
    """The option values of one call, defaults included; a call of a layer that has none has one: "()"."""
    found = [f"{name}={value_class(v)}" for name, v in {**_defaults(derivation), **options}.items()]
    for i, name in enumerate(derivation.inputs):
        if name in optional_inputs(derivation):
            found.append(f"{name} {'given' if i < len(given) and given[i] else 'absent'}")
    return [(derivation.name, text) for text in found or ["()"]]


@cache
def optional_inputs(derivation: Derivation) -> frozenset[str]:
    """The inputs that may be left out: those with a default, and those that a case leaves out."""
    parameters = inspect.signature(derivation.forward).parameters
    found = {name for name in derivation.inputs if parameters[name].default is None}
    for case in derivation.cases:
        names = derivation.input_names(len(case.inputs))
        found.update(name for name, spec in zip(names, case.inputs, strict=True) if spec is None)
    return frozenset(found)


def _defaults(derivation: Derivation) -> dict[str, Any]:
    return {name: v for name, v in derivation.options.items() if not isinstance(v, type)}


def case_values(derivation: Derivation, case: Case) -> list[Value]:
    """The option values that a case has."""
    return _values(derivation, [spec is not None for spec in case.inputs], case.options)


def node_values(node: Node) -> list[Value]:
    """The option values that a node has."""
    return _values(node.derivation, [edge is not None for edge in node.args], node.options)


def option_values(layers: Iterable[str] | None = None) -> set[Value]:
    """All that there is to draw: each value that a case of a layer has, and both of every truth value."""
    found: set[Value] = set()
    for name in registry if layers is None else layers:
        derivation = registry[name]
        for case in derivation.cases:
            found.update(case_values(derivation, case))
        for option, default in derivation.options.items():
            if isinstance(default, bool):
                found.update((name, f"{option}={b}") for b in (True, False))
    return found


class Coverage:
    """Counts of what architectures had; they add up, so that workers can count for themselves.

    ``layers``, ``values`` and ``neighbours`` count nodes: by layer, by (layer, option value) and by (layer,
    neighbour). ``triples`` counts (layer, option value, neighbour).
    """

    def __init__(self) -> None:
        self.architectures = 0
        self.layers: Counter[str] = Counter()
        self.values: Counter[Value] = Counter()
        self.neighbours: Counter[tuple[str, str]] = Counter()
        self.triples: Counter[Triple] = Counter()

    def add(self, architecture: Architecture) -> None:
        self.architectures += 1
        nodes = architecture.graph.functions
        made_by = {edge: node for node in nodes for edge in node.edges}
        for node in nodes:
            layer, values = node.layer, node_values(node)
            neighbours = {_neighbour(edge, made_by) for edge in node.args if edge is not None}
            self.layers[layer] += 1
            self.values.update(values)
            self.neighbours.update((layer, neighbour) for neighbour in neighbours)
            self.triples.update((*value, neighbour) for value in values for neighbour in neighbours)

    def merge(self, other: Coverage) -> Coverage:
        """Adds the counts of another; returns itself."""
        self.architectures += other.architectures
        self.layers.update(other.layers)
        self.values.update(other.values)
        self.neighbours.update(other.neighbours)
        self.triples.update(other.triples)
        return self

    def to_dict(self, layers: Iterable[str] | None = None) -> dict[str, Any]:
        """Plain JSON: how much of what there is (default: of all registered layers) has been drawn."""
        names = set(registry if layers is None else layers)
        there = option_values(names)
        return {
            "architectures": self.architectures,
            "layers": _share(self.layers.keys() & names, names),
            "options": _share(self.values.keys() & there, there),
            "neighbours": len(self.neighbours),
            "triples": len(self.triples),
        }


def _share(seen: set[Any], there: set[Any]) -> dict[str, Any]:
    missing = sorted(name if isinstance(name, str) else " ".join(name) for name in there - seen)
    return {
        "drawn": len(seen),
        "of": len(there),
        "share": round(len(seen) / max(len(there), 1), 4),
        "missing": missing,
    }


def _neighbour(edge: str, made_by: Mapping[str, Node]) -> str:
    while edge in made_by and made_by[edge].layer in _VIEWS:
        edge = made_by[edge].args[0] or ""
    return made_by[edge].layer if edge in made_by else LEAF
