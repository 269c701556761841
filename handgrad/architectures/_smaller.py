"""Smaller architectures, to shrink a failure: fewer nodes first, then smaller shapes, default options,
simpler numbers, simpler modes.

Whoever shrinks takes the first candidate that still fails in the same way, and asks again. Every candidate is
smaller by :func:`measure`, so that this ends.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, count
from typing import Any

import numpy as np

from handgrad._arrays import Array, Shape, is_floating, size
from handgrad._cases import Spec
from handgrad.architectures._architecture import Architecture, drawn, measure, restricted
from handgrad.architectures._coverage import optional_inputs
from handgrad.graph import Node

Leaves = Mapping[str, Spec]
_FEW = 64  # numbers of a leaf that are written out


def smaller(architecture: Architecture) -> Iterator[Architecture]:
    """Candidates, simplest first within each kind; each can be computed, and has an end to start from."""
    limit = measure(architecture)
    values = _values(architecture)
    if values is None:
        return
    seen = set()
    others = (_smaller_shapes, _default_options, _simpler_numbers, _simpler_modes)
    for candidates in (_fewer_nodes(architecture, values), *(kind(architecture) for kind in others)):
        for candidate in candidates:
            if measure(candidate) < limit and (text := candidate.to_json()) not in seen:
                seen.add(text)
                found = _values(candidate)
                if found is not None and candidate.cotangents(found):
                    yield candidate


def _values(made: Architecture) -> dict[str, Array] | None:
    """All values; None where it cannot be computed, or what it gives is not finite."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing is not a number
            values = made.graph.forward(made.draw()).values
    except Exception:
        return None
    finite = all(bool(np.all(np.isfinite(values[end]))) for end in made.ends if is_floating(values[end]))
    return values if finite else None


def _with(made: Architecture, nodes: Sequence[Node], leaves: Leaves | None = None) -> Architecture:
    return restricted(made.seed, list(nodes), made.leaves if leaves is None else leaves, made.modes)


# --- fewer nodes ------------------------------------------------------------------------------


def _fewer_nodes(made: Architecture, values: Mapping[str, Array]) -> Iterator[Architecture]:
    """One node on new leaves; one node and all before it; parts cut off at their start; nodes left out."""
    nodes = made.graph.functions
    if len(nodes) > 1:
        for node in nodes:
            yield from _on_leaves(made, [node], values)
        for first in range(len(nodes) - 1):
            yield from _on_leaves(made, nodes[first : first + 2], values)
        for node in nodes:
            yield _with(made, _before(nodes, node))
        for half in (nodes[len(nodes) // 2 :], *((nodes[i:]) for i in range(1, len(nodes)))):
            yield from _on_leaves(made, half, values)
    used = {edge for node in nodes for edge in node.args}
    for i, node in enumerate(nodes):
        rest = (*nodes[:i], *nodes[i + 1 :])
        if rest and not used & set(node.edges):
            yield _with(made, rest)
        for edge in node.args:
            if rest and edge is not None and values[edge].shape == values[node.name].shape:
                yield from _on_leaves(made, [_moved(n, {node.name: edge}) for n in rest], values)
    for node in nodes:
        others = [n for n in nodes if n is not node]
        if others and used & set(node.edges):
            yield from _on_leaves(made, others, values)


def _before(nodes: Sequence[Node], last: Node) -> list[Node]:
    """A node and all that it depends on."""
    wanted, kept = {last.name}, []
    for node in reversed(nodes):
        if node.name in wanted:
            kept.append(node)
            wanted.update(edge.split(".")[0] for edge in node.args if edge)
    return kept[::-1]


def _moved(node: Node, now: Mapping[str, str]) -> Node:
    return replace(node, args=tuple(None if edge is None else now.get(edge, edge) for edge in node.args))


def _on_leaves(
    made: Architecture, nodes: Sequence[Node], values: Mapping[str, Array]
) -> Iterator[Architecture]:
    """These nodes alone: what the others gave them is a leaf, of Gaussian numbers or of the very same."""
    args = {edge for node in nodes for edge in node.args}
    there = {*(made.leaves.keys() & args), *(edge for node in nodes for edge in node.edges)}
    missing = [*dict.fromkeys(edge for node in nodes for edge in node.args if edge and edge not in there)]
    now: dict[str, str] = {}
    for edge in missing:
        now[edge] = _called(edge, nodes, {*there, *now.values()})
    moved = [_moved(node, now) for node in nodes]
    if all(is_floating(values[edge]) for edge in missing) and missing:
        new = {now[edge]: Spec(tuple(values[edge].shape)) for edge in missing}
        yield _with(made, moved, {**made.leaves, **new})
    if all(values[edge].dtype.kind in "fi" for edge in missing):
        yield _with(made, moved, {**made.leaves, **{now[edge]: _exactly(values[edge]) for edge in missing}})


def _called(edge: str, nodes: Sequence[Node], taken: Container[str]) -> str:
    """A new leaf's name: that of the first argument that takes it."""
    node, i = next((node, node.args.index(edge)) for node in nodes if edge in node.args)
    name = node.derivation.input_names(len(node.args))[i]
    names = chain([name], (f"{name}_{n}" for n in count(1)))
    return next(new for new in names if new not in taken)


def _exactly(x: Array) -> Spec:
    whole = x.dtype.kind == "i"
    numbers = tuple(int(v) if whole else float(v) for v in np.ravel(x))
    return Spec(tuple(x.shape), "labels" if whole else "exactly", values=numbers)


# --- smaller shapes -----------------------------------------------------------------------------


def _smaller_shapes(made: Architecture) -> Iterator[Architecture]:
    """A length made shorter wherever it occurs, in options too; one of a leaf alone; an axis left out."""
    leaves = made.leaves
    lengths = sorted({n for spec in leaves.values() for n in spec.shape}, reverse=True)
    for n in lengths:
        for m in _less(n):
            resized = _all_resized(made, partial(_swapped, n, m))
            yield _with(made, made.graph.functions, resized)
            nodes = [replace(node, options=_renumbered(node.options, n, m)) for node in made.graph.functions]
            yield _with(made, nodes, resized)
    for axis in range(max((len(spec.shape) for spec in leaves.values()), default=0)):
        for m in (1, 2):  # the same axis, counted from the front or the back, of all leaves that have it
            for at in (axis, -1 - axis):
                resized = _all_resized(made, partial(_put, at, m))
                yield _with(made, made.graph.functions, resized)
    yield _with(made, made.graph.functions, _all_resized(made, lambda shape: shape[1:]))
    for name, spec in leaves.items():
        for shape in _shorter(spec.shape):
            yield _with(made, made.graph.functions, {**leaves, name: _resized(spec, shape, made.seed, name)})


def _all_resized(made: Architecture, change: Callable[[Shape], Shape]) -> dict[str, Spec]:
    return {name: _resized(spec, change(spec.shape), made.seed, name) for name, spec in made.leaves.items()}


def _swapped(n: int, m: int, shape: Shape) -> Shape:
    return tuple(m if length == n else length for length in shape)


def _put(at: int, m: int, shape: Shape) -> Shape:
    if not -len(shape) <= at < len(shape) or shape[at] <= m:
        return shape
    return tuple(m if i == at % len(shape) else n for i, n in enumerate(shape))


def _shorter(shape: Shape) -> Iterator[Shape]:
    if not shape:
        return
    yield ()
    yield shape[1:]
    for axis, n in enumerate(shape):
        for m in _less(n):
            yield (*shape[:axis], m, *shape[axis + 1 :])


def _less(n: int) -> list[int]:
    """Simpler lengths than n, best first: 0 is less simple than 2, since it leaves nothing to see."""
    return [m for m in dict.fromkeys((1, 2, 0, n // 2, n - 1)) if m >= 0 and (m or 3) < (n or 3)]


def _resized(spec: Spec, shape: Shape, seed: int, name: str) -> Spec:
    """The spec in another shape; of written numbers, those at the start of each axis."""
    if shape == spec.shape or spec.kind not in ("exactly", "labels"):
        return replace(spec, shape=shape)
    x = drawn(seed, name, spec)
    if len(shape) < x.ndim and 0 not in x.shape[: x.ndim - len(shape)]:
        x = x[(0,) * (x.ndim - len(shape))]
    return _exactly(x[tuple(map(slice, shape))]) if x.ndim == len(shape) else spec


def _renumbered(options: Mapping[str, Any], n: int, m: int) -> dict[str, Any]:
    def now(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(now, value))
        return m if value == n and isinstance(value, int) and not isinstance(value, bool) else value

    return {name: now(value) for name, value in options.items()}


# --- options, numbers, modes ----------------------------------------------------------------------


def _default_options(made: Architecture) -> Iterator[Architecture]:
    """An option left out; a smaller number for it; an optional argument left out."""
    nodes = made.graph.functions
    for i, node in enumerate(nodes):
        for name, value in node.options.items():
            rest = {k: v for k, v in node.options.items() if k != name}
            yield _with(made, [*nodes[:i], replace(node, options=rest), *nodes[i + 1 :]])
            for plainer in _plainer(value):
                changed = replace(node, options={**node.options, name: plainer})
                yield _with(made, [*nodes[:i], changed, *nodes[i + 1 :]])
        names = node.derivation.input_names(len(node.args))
        for j, edge in enumerate(node.args):
            if edge is not None and names[j] in optional_inputs(node.derivation):
                args = (*node.args[:j], None, *node.args[j + 1 :])
                yield _with(made, [*nodes[:i], replace(node, args=args), *nodes[i + 1 :]])


def _plainer(value: Any) -> Iterator[Any]:
    if isinstance(value, float) and value not in (0.0, 1.0):
        yield from (1.0, 0.5, 2.0, float(f"{value:.0e}"))
    if isinstance(value, tuple) and value and len(set(value)) == 1:
        yield value[0]


def _simpler_numbers(made: Architecture) -> Iterator[Architecture]:
    """The numbers of a leaf written out, and rounded: to integers, halves, one digit or two."""
    leaves, nodes = made.leaves, made.graph.functions
    short = {name for name, spec in leaves.items() if 0 < size(spec.shape) <= _FEW and spec.kind != "mask"}
    for names in ([*short], *([name] for name in sorted(short))) if len(short) > 1 else ([*short],):
        for rounded in _ROUNDED:
            new = {name: _exactly(rounded(drawn(made.seed, name, leaves[name]))) for name in names}
            if new:
                yield _with(made, nodes, {**leaves, **new})


_ROUNDED = (
    np.ones_like,
    np.round,
    lambda x: x if x.dtype.kind == "i" else np.round(2 * x) / 2,
    lambda x: np.round(x, 1),
    lambda x: np.round(x, 2),
)


def _simpler_modes(made: Architecture) -> Iterator[Architecture]:
    """No modes; each left out; each with one of its entries left out."""
    modes = made.modes
    if not modes:
        return
    yield replace(made, modes={})
    for mode, value in modes.items():
        rest = {name: v for name, v in modes.items() if name != mode}
        if mode == "dtype" and "autocast" in rest:
            del rest["autocast"]
        yield replace(made, modes=rest)
        if mode == "autocast":
            inside = value["nodes"]
            shorter = [inside[: len(inside) // 2], inside[len(inside) // 2 :], inside[1:], inside[:-1]]
            for run in shorter if len(inside) > 1 else []:
                yield replace(made, modes={**modes, mode: {**value, "nodes": run}})
        elif isinstance(value, Mapping) and len(value) > 1:
            for name in value:
                yield replace(made, modes={**modes, mode: {k: v for k, v in value.items() if k != name}})
        elif isinstance(value, list | tuple) and len(value) > 1:
            for name in value:
                yield replace(made, modes={**modes, mode: [v for v in value if v != name]})
