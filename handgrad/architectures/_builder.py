"""Grows a graph, and computes it as it grows, so that every shape and value is known.

A layer is placed on a value by its ``fit``, where that takes the value's shape, or by one of its cases: the
value is then led to the case's shape by a reshape, a cut or a linear map, and into the case's domain. So
every layer can follow every other. What has a domain of its own that no map leads to (indices, labels, the
very numbers of a kink) is a new leaf.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np

from handgrad._arrays import Array, Shape, is_floating, size
from handgrad._cases import Case, Spec, exactly, normal
from handgrad._derivation import Derivation, registry
from handgrad._errors import LayerError, require
from handgrad.architectures._architecture import drawn, laid
from handgrad.graph import Node

LARGEST = 1500  # elements of a value: small networks hide nothing and are fast
_LARGE = 30.0  # a larger value is scaled down, lest a chain of layers explodes
_TOO_LARGE = 1e5
_EXPANDED = 0.02  # of the leaves have a stride of 0
_REAL = ("normal", "smooth", "distinct")  # any real number will do


class Builder:
    """The graph so far, its leaves and all its values. ``attempts`` and ``rejected`` count nodes."""

    def __init__(self, seed: int, rng: np.random.Generator, layers: Sequence[str]) -> None:
        require(
            bool(layers) and all(registry[name].fit or registry[name].cases for name in layers),
            "random architectures need layers with a `fit` or with cases",
            ", ".join(layers) or "none",
            "name at least one, and none without",
        )
        self.seed, self.rng, self.layers = seed, rng, tuple(layers)
        self.known = frozenset(layers)
        self.nodes: dict[str, Node] = {}
        self.leaves: dict[str, Spec] = {}
        self.values: dict[str, Array] = {}
        self.layouts: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        self.attempts = self.rejected = 0

    # --- a layer on a value -------------------------------------------------------------

    def place(self, name: str, value: str, case: Case | None = None) -> str | None:
        """The layer on top of a value, as it fits or as a case has it. None where its value would not do."""
        derivation = registry[name]
        case = case or self._fitted(derivation, self.shape(value))
        if case is None:
            if not derivation.cases:
                return None
            case = derivation.cases[self.rng.integers(len(derivation.cases))]
        alone = bool(case.options.get("sparse"))  # a sparse gradient goes to a leaf and nowhere else
        carrier = None if alone else self._carrier(derivation, case)
        known = any(other.kink for other in derivation.cases)
        args: list[str | None] = []
        names = derivation.input_names(len(case.inputs))
        for i, (spec, called) in enumerate(zip(case.inputs, names, strict=True)):
            edge = None
            if spec is not None:
                if i == carrier:
                    edge = self.lead(value, spec, known)
                elif not alone:
                    edge = self.at_hand(spec, {value, *args})
                edge = edge or self._drawn(name, spec, called)
            args.append(edge)
        return self.apply(name, *args, **case.options)

    def _drawn(self, layer: str, spec: Spec, name: str) -> str:
        try:
            return self.leaf(spec, name)
        except ValueError as error:  # numbers that cannot be drawn: no class to choose from
            raise LayerError(layer, error) from error

    def _fitted(self, derivation: Derivation, shape: Shape) -> Case | None:
        if derivation.fit is None or (derivation.cases and self.rng.uniform() < 0.3):
            return None
        try:
            return derivation.fit(self.rng, shape)
        except Exception as error:
            raise LayerError(derivation.name, error) from error

    def _carrier(self, derivation: Derivation, case: Case) -> int | None:
        """Which input the value goes into: mostly the first that takes real numbers."""
        if case.kink:
            return None
        real = [
            i
            for i, spec in enumerate(case.inputs)
            if spec is not None and spec.kind in (*_REAL, "uniform", "simplex") and derivation.has_gradient(i)
        ]
        if not real:
            return None
        return real[0] if self.rng.uniform() < 0.85 else int(self.rng.choice(real))

    def at_hand(self, spec: Spec, but: Container[str | None]) -> str | None:
        """Now and then a value that exists already, used once more, instead of a new leaf.

        Not what the layer takes already: a value's distance from itself has a gradient of rounding alone.
        """
        if self.rng.uniform() > 0.3:
            return None
        if spec.kind == "normal":
            near = abs(spec.low) <= 1 and 0.3 <= spec.high <= 3
            found = self.values.items() if near else ()
            same = [e for e, v in found if v.shape == spec.shape and is_floating(v)]
        elif spec.kind in ("integers", "places"):
            same = [e for e, v in self.values.items() if v.shape == spec.shape and _within(v, spec)]
        else:
            return None
        same = [edge for edge in same if edge not in but]
        return same[self.rng.integers(len(same))] if same else None

    # --- leading a value to where a layer takes it ---------------------------------------

    def lead(self, value: str, spec: Spec, known: bool) -> str | None:
        """An edge of the shape and domain of ``spec``, made from ``value``. None where no way is known.

        Kinks and ties are stepped aside from, but for those hit exactly where the convention is ``known``.
        """
        if spec.kind == "normal" and not (abs(spec.low) <= 2 and 0.05 <= spec.high <= 3):
            return None
        edge = self.shaped(value, spec.shape)
        if edge is None:
            return None
        if spec.kind == "uniform":
            return self._into(edge, spec.low, spec.high)
        if spec.kind == "simplex":
            return self.known_apply("softmax", edge, dim=int(spec.low)) if size(spec.shape) else None
        if spec.kind in ("smooth", "distinct"):
            return self._off_kinks(edge, spec, known)
        return edge

    def shaped(self, value: str, shape: Shape) -> str | None:
        """The value's numbers in another shape: reshaped, cut, filled up, or mixed by a linear map."""
        have, rng = self.shape(value), self.rng
        if have == shape:
            return value
        n, m = size(have), size(shape)
        if n == m:
            return self.known_apply("reshape", value, shape=shape)
        if len(have) == len(shape) and 0 not in have and rng.uniform() < 0.6:
            if have[:-1] == shape[:-1] and rng.integers(2):
                return self._mixed(value, shape[-1])
            return self._padded(value, shape)
        flat = value if have == (n,) else self.known_apply("reshape", value, shape=(n,))
        if flat is None:
            return None
        mix = n > 0 and (m > n or rng.integers(2)) and n * m <= 4 * LARGEST
        changed = self._mixed(flat, m) if mix else None
        changed = changed or self._padded(flat, (m,))
        if changed is None or shape == (m,):
            return changed
        return self.known_apply("reshape", changed, shape=shape)

    def _mixed(self, value: str, m: int) -> str | None:
        n = self.shape(value)[-1]
        if "linear" not in self.known or n * m > 4 * LARGEST:
            return None
        w = self.leaf(normal(m, n, scale=round(1 / math.sqrt(max(n, 1)), 3)), "w")
        return self.apply("linear", value, w, None)

    def _padded(self, value: str, shape: Shape) -> str | None:
        """Cut or filled up at the ends of axes."""
        pad: list[int] = []
        for n, m in zip(reversed(self.shape(value)), reversed(shape), strict=True):
            before = int(self.rng.integers(2)) * (m - n)
            pad += [before, m - n - before]
        return self.known_apply("pad", value, pad=tuple(pad), value=0.5)

    def _into(self, value: str, low: float, high: float) -> str | None:
        """low + (high - low) sigmoid(value)."""
        if not {"sigmoid", "multiply", "add"} <= self.known:
            return None
        edge = self.apply("sigmoid", value)
        if edge is not None and high - low != 1:
            edge = self.apply("multiply", edge, self.leaf(exactly(high - low), "width"))
        if edge is not None and low != 0:
            edge = self.apply("add", edge, self.leaf(exactly(low), "low"))
        return edge

    def _off_kinks(self, value: str, spec: Spec, known: bool) -> str | None:
        """The value, moved where it comes near to a kink or a tie."""
        x = self.values[value]
        if spec.kind == "distinct":
            order = np.argsort(x, axis=None, kind="stable")
            gaps = np.diff(x.ravel()[order])
            if not np.any((gaps < 1e-5) & ~(known & (gaps == 0))):
                return value
            apart = np.empty(x.size)
            apart[order] = np.arange(x.size) * round(2 / x.size, 3)  # the order stays: no new ties
            return self.known_apply("add", value, self.leaf(exactly(apart.reshape(x.shape)), "apart"))
        near = np.zeros(x.shape)
        for kink in spec.values:
            off = x - kink
            close = (np.abs(off) < spec.high) & ~(known & (off == 0))
            near = np.where(close, np.where(off < 0, -1, 1), near)
        if not np.any(near):
            return value
        return self.known_apply("add", value, self.leaf(exactly(near * 2 * spec.high), "off"))

    # --- one node, one leaf -------------------------------------------------------------------

    def known_apply(self, layer: str, *args: str | None, **options: Any) -> str | None:
        return self.apply(layer, *args, **options) if layer in self.known else None

    def apply(self, layer: str, *args: str | None, **options: Any) -> str | None:
        """Add a node, scaled down where it is large; None (and no node) where its value will not do."""
        derivation = registry[layer]
        self.attempts += 1
        try:
            with np.errstate(all="ignore"):
                outputs, _ = derivation.apply([None if a is None else self.values[a] for a in args], options)
        except Exception as error:
            raise LayerError(layer, error) from error
        y = outputs[0]
        largest = float(np.max(np.abs(y), initial=0.0)) if is_floating(y) else 0.0
        if size(y.shape) > LARGEST or not largest <= _TOO_LARGE:
            self.rejected += 1
            return None
        n = self.counts[layer] = self.counts.get(layer, -1) + 1
        node = Node(f"{layer}{n}", layer, args, options)
        self.nodes[node.name] = node
        self.values.update(zip(node.edges, outputs, strict=True))
        if largest > _LARGE and "multiply" in self.known:
            factor = float(f"{3 / largest:.1e}")
            return self.apply("multiply", node.name, self.leaf(exactly(factor), "scale"))
        return node.name

    def leaf(self, spec: Spec, name: str) -> str:
        n = self.counts[name] = self.counts.get(name, -1) + 1
        edge = f"{name}_{n}" if n else name
        self.leaves[edge] = spec
        self.values[edge] = drawn(self.seed, edge, spec)
        if spec.kind == "normal" and self.rng.uniform() < _EXPANDED:  # now: its values are other ones
            self.layouts[edge] = "expanded"
            self.values[edge] = laid(self.values[edge], "expanded")
        return edge

    def shape(self, edge: str) -> Shape:
        return tuple(self.values[edge].shape)

    def loose_ends(self) -> list[str]:
        """Floating values that no node uses yet, the latest last."""
        used = {edge for node in self.nodes.values() for edge in node.args}
        return [n for n in self.nodes if n not in used and is_floating(self.values[n])]

    # --- the same nodes once more -----------------------------------------------------------

    def repeat(self, nodes: Sequence[Node], moved: Mapping[str, str], end: str) -> str | None:
        """These nodes on other values, with the same leaves: where ``end`` then comes out.

        ``moved`` says which edge is now which, of the same shape.
        """
        now = dict(moved)
        for node in nodes:
            args = [edge if edge is None else now.get(edge, edge) for edge in node.args]
            name = self._again(node, args)
            if name is None:
                return None
            now.update(zip(node.edges, self.nodes[name].edges, strict=True))
        return now.get(end)

    def _again(self, node: Node, args: list[str | None]) -> str | None:
        before = len(self.nodes)
        if self.apply(node.layer, *args, **node.options) is None:
            return None
        return list(self.nodes)[before]  # the node itself, not what scales it down


def _within(x: Array, spec: Spec) -> bool:
    """Whether integers at hand (the indices that a pool gave) are such as the spec asks for."""
    if x.dtype.kind != "i" or not bool(np.all((x >= spec.low) & (x < spec.high))):
        return False
    return spec.kind != "places" or len(np.unique(x)) == x.size
