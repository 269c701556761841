"""Modes: how an architecture is to be run, drawn. What each means stands in the package's docstring."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from handgrad._arrays import Array, is_floating
from handgrad.architectures._architecture import Architecture

DTYPES = ("float64", "float32", "bfloat16", "float16")
LAYOUTS = ("reversed", "gaps", "offset", "expanded")
ALSO = {  # further comparisons, and how often each is drawn
    "double_backward": 0.15,
    "forward_mode": 0.1,
    "vmap": 0.05,
    "checkpoint": 0.03,
    "repeat": 0.05,
    "steps": 0.03,
    "compile": 0.005,
    "inductor": 0.001,
}


def draw_modes(rng: np.random.Generator, made: Architecture, values: dict[str, Array]) -> dict[str, Any]:
    """Modes for an architecture whose values are known: most are as simple as can be.

    Its own modes, the leaves that are expanded, stay.
    """
    nodes = [node.name for node in made.graph.functions]
    dtype = str(rng.choice(DTYPES, p=(0.7, 0.2, 0.07, 0.03)))
    modes: dict[str, Any] = {
        "dtype": dtype if dtype != "float64" else None,
        "casts": _some(rng, nodes, 0.1, lambda: str(rng.choice([d for d in DTYPES if d != dtype]))),
        "layouts": {
            **_some(rng, made.leaves, 0.2, lambda: str(rng.choice(LAYOUTS[:-1]))),
            **made.modes.get("layouts", {}),
        },
        "cotangents": _cotangents(rng, made, values),
        "in_place": [n for n in _alone(made, values) if rng.uniform() < 0.2],
        "frozen": [n for n in made.wanted if rng.uniform() < 0.15] if rng.uniform() < 0.4 else [],
        "also": [way for way, p in ALSO.items() if rng.uniform() < p],
    }
    if dtype == "float32" and rng.uniform() < 0.4:
        first = int(rng.integers(len(nodes)))
        last = int(rng.integers(first, len(nodes)))
        half = str(rng.choice(["bfloat16", "bfloat16", "float16"]))
        modes["autocast"] = {"dtype": half, "nodes": nodes[first : last + 1]}
        modes["casts"] = {}
    if len(modes["frozen"]) == len(made.wanted):
        modes["frozen"] = []
    return {name: value for name, value in modes.items() if value}


def _some(rng: np.random.Generator, names: Any, p: float, draw: Any) -> dict[str, str]:
    """In one architecture of four, some of the names get one."""
    return {name: draw() for name in names if rng.uniform() < p} if rng.uniform() < 0.25 else {}


def _cotangents(rng: np.random.Generator, made: Architecture, values: dict[str, Array]) -> dict[str, str]:
    """Further outputs of a layer, and ends, now and then go unused; one of them always is used."""
    ends = [edge for edge in made.ends if is_floating(values[edge])]
    found = _some(rng, ends, 0.4, lambda: str(rng.choice(LAYOUTS)))
    for edge in ends:
        if rng.uniform() < (0.4 if "." in edge else 0.05):
            found[edge] = "none"
    if all(found.get(edge) == "none" for edge in ends):
        return {}
    return found


def _alone(made: Architecture, values: dict[str, Array]) -> list[str]:
    """Nodes that could write over their first argument: of the same shape, made by a node, used once."""
    uses = Counter(edge for node in made.graph.functions for edge in node.args)
    return [
        node.name
        for node in made.graph.functions
        if (edge := node.args[0] if node.args else None) is not None
        and edge not in made.leaves
        and uses[edge] == 1
        and len(node.edges) == 1
        and values[node.name].shape == values[edge].shape
    ]
