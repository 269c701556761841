"""One architecture, compared in all its ways: what differs, in which layer first, and who is wrong."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from handgrad._errors import LayerError
from handgrad.architectures import Architecture, generate
from handgrad.graph import Graph, Node
from handgrad.report import Check
from torch_ext import oracles
from torch_ext.crossval import passes
from torch_ext.crossval.layers import describe
from torch_ext.crossval.networks import Network, Reference, drawn
from torch_ext.crossval.run import built_on
from torch_ext.fuzz.outcome import Failure, Outcome
from torch_ext.fuzz.truth import decide, decide_way
from torch_ext.fuzz.ways import WAYS, repeated
from torch_ext.limits import Limit, Scale, limits

_RAISED = re.compile(r"raises (\w+):")
FIRST = "gradients"


def compare_seed(seed: int, layers: tuple[str, ...] | None = None) -> Outcome:
    """The architecture of a seed; a layer that fails while it is built is a finding, too."""
    try:
        made = generate(seed, layers)
    except Exception as error:
        layer = error.layer if isinstance(error, LayerError) else ""
        failure = Failure(way="build", layer=layer, message=f"raises {describe(error)}", verdict="hand")
        return Outcome(seed=seed, failures=(failure,))
    return compare(made)


def compare(made: Architecture, judge: bool = True) -> Outcome:
    """All ways of one architecture. ``judge``: also ask the third oracle, where something differs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums keep their order
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return _compared(made, judge)
    finally:
        torch.set_num_threads(threads)


def _compared(made: Architecture, judge: bool) -> Outcome:
    nodes = len(made.graph.functions)
    try:
        network = drawn(made)
    except Exception as error:
        layer = error.layer if isinstance(error, LayerError) else _raising_layer(made)
        failure = Failure(way=FIRST, layer=layer, message=f"raises {describe(error)}", verdict="hand")
        return Outcome(seed=made.seed, nodes=nodes, ways=(FIRST,), failures=(failure,))
    try:
        reference = Reference(network)
    except Exception as error:
        return Outcome(seed=made.seed, nodes=nodes, ways=(FIRST,), failures=(_native_raises(network, error),))
    failures, skipped = list(_first_order(network, reference)), {}
    ways = [FIRST]
    for way in made.modes.get("also", ()):
        if failures:  # what follows from a wrong gradient is no news
            break
        try:
            failures += _way(network, reference, way)
            ways.append(way)
        except _Skipped as reason:
            skipped[way] = str(reason)
    if judge:
        failures = [decide(network, reference, f) for f in failures]
    return Outcome(
        seed=made.seed, nodes=nodes, ways=tuple(ways), skipped=skipped or None, failures=tuple(failures)
    )


class _Skipped(Exception):
    """PyTorch has no such way for one of the layers."""


# --- outputs and gradients ------------------------------------------------------------------------


def _first_order(network: Network, reference: Reference) -> Iterator[Failure]:
    """Lockstep first: what it names explains an end-to-end difference."""
    local = [c for node in network.graph.functions for c in network.lockstep(node, reference) if not c.passed]
    if local:
        yield _failure(_cause(local), network)
        return
    for library in ("numpy", "torch"):
        wrong = [check for check in network.end_to_end(library, reference, "") if not check.passed]
        if not wrong:
            continue
        raised = _RAISED.match(wrong[0].message)
        if library == "torch" and raised and _refused(network, raised[1]):
            if not network.modes.get("in_place"):
                return
            network = replace(network, modes={k: v for k, v in network.modes.items() if k != "in_place"})
            wrong = [check for check in network.end_to_end(library, reference, "") if not check.passed]
            raised = _RAISED.match(wrong[0].message) if wrong else None
            if not wrong or (raised and _refused(network, raised[1])):
                return
        found = _failure(wrong[0], network)
        yield _localised(network, reference, found) if library == "torch" else found
        return


def _cause(wrong: list[Check]) -> Check:
    """The first in the order of the graph; a layer that is built on a wrong one is wrong by its fault."""
    names = {check.layer for check in wrong}
    return next((c for c in wrong if not (c.layer and built_on(c.layer) & names)), wrong[0])


def _refused(network: Network, error_type: str) -> bool:
    """Whether PyTorch raises likewise in the same modes, such as where a saved tensor is overwritten.

    It may lack a layer in their dtype: then it is asked in float64.
    """
    for modes in (network.modes, passes.exact(network.modes)):
        leaves = passes.make_leaves(network, modes)
        try:
            values = passes.evaluate(network.graph, leaves, passes.native(modes, faithful=True), modes)
            passes.gradients(network, values, network.variables, modes)
        except Exception as error:
            if type(error).__name__ == error_type:
                return True
    return False


def _localised(network: Network, reference: Reference, found: Failure) -> Failure:
    """The first layer that by itself differs, under the same modes."""
    for node in network.graph.functions:
        alone = single(network, reference, node)
        try:
            its = Reference(alone)
            wrong = [check for check in alone.end_to_end("torch", its, "") if not check.passed]
        except Exception:
            continue
        if wrong:
            return replace(_failure(wrong[0], alone), node=node.name, layer=node.layer)
    return found


def single(network: Network, reference: Reference, node: Node) -> Network:
    """One node of a network, on the reference's own values and incoming gradients."""
    edges = [*dict.fromkeys(edge for edge in node.args if edge is not None)]
    names = {edge: re.sub(r"\W", "_", edge) + "_in" * (edge not in network.values) for edge in edges}
    inner = Node(node.name, node.layer, tuple(names.get(e) if e else None for e in node.args), node.options)
    graph = Graph([*map(Node, names.values()), inner])
    modes = _of_node(network.modes, node, names)
    dtype = passes.dtype_of(modes)
    values = {names[edge]: passes.rounded(reference.values[edge], dtype) for edge in edges}
    cotangents = {
        edge: passes.rounded(reference.gradients[edge], dtype)
        for edge in node.edges
        if edge in reference.gradients
    }
    exact = frozenset(names[edge] for edge in edges if edge in network.exact)
    return Network(
        f"{network.name} / {node.name}", network.group, graph, values, cotangents, network.seed, modes, exact
    )


def _of_node(modes: Mapping[str, Any], node: Node, names: Mapping[str, str]) -> dict[str, Any]:
    kept = {k: v for k, v in modes.items() if k == "dtype"}
    if node.name in modes.get("casts", {}):
        kept["casts"] = {node.name: modes["casts"][node.name]}
    if node.name in modes.get("autocast", {}).get("nodes", ()):
        kept["autocast"] = {**modes["autocast"], "nodes": [node.name]}
    kept["layouts"] = {names[e]: how for e, how in modes.get("layouts", {}).items() if e in names}
    kept["cotangents"] = {e: how for e, how in modes.get("cotangents", {}).items() if e in node.edges}
    return kept


def _failure(check: Check, network: Network) -> Failure:
    place, _, argument = check.id.removeprefix(f"{network.name} / ").partition(" / ")
    at_end = place == "end to end"
    unit_error, unit_allowed = check.max_abs_error, None
    if check.ulps and check.allowed_ulps is not None and check.max_abs_error is not None:
        unit_allowed = check.max_abs_error * check.allowed_ulps / check.ulps
    return Failure(
        way=FIRST,
        layer=check.layer,
        node="" if at_end else place,
        argument=check.argument or argument,
        library=check.library or ("torch" if "torch" in argument else "numpy"),
        dtype=check.dtype,
        message=check.message or "differs",
        hand=check.analytic,
        native=check.reference,
        error=unit_error,
        allowed=unit_allowed,
    )


# --- what raises -------------------------------------------------------------------------------------


def _raising_layer(made: Architecture) -> str:
    """The layer whose derivation raises on the architecture's own values."""
    values: dict[str, Any] = dict(made.draw())
    for node in made.graph.functions:
        try:
            args = [None if edge is None else values[edge] for edge in node.args]
            outputs, _ = node.derivation.apply(args, node.options)
        except Exception:
            return node.layer
        values.update(zip(node.edges, outputs, strict=True))
    return ""


def _native_raises(network: Network, error: Exception) -> Failure:
    """PyTorch raises where the derivations do not: in which layer."""
    found = Failure(
        way=FIRST, library="torch", message=f"PyTorch raises {describe(error)}", verdict="pytorch",
        why="the derivation gives a result",
    )  # fmt: skip
    try:
        values, gradients = passes.by_numpy(network)
    except Exception as ours:
        return replace(found, message=f"both raise {describe(ours)}", verdict="neither", why="both refuse it")
    for node in network.graph.functions:
        args = [None if edge is None else values[edge] for edge in node.args]
        cotangents = [gradients.get(edge) for edge in node.edges]
        try:
            oracles.autograd(node.derivation, args, node.options, cotangents)
        except Exception as alone:
            message = f"PyTorch raises {describe(alone)}"
            return replace(found, layer=node.layer, node=node.name, message=message)
    return found


# --- further ways -----------------------------------------------------------------------------------


def _way(network: Network, reference: Reference, way: str) -> list[Failure]:
    """Everything in float64: precision is the first order's business."""
    if way == "repeat":
        try:
            name = repeated(network)
        except Exception as error:  # as PyTorch does in these modes: the first order has looked
            raise _Skipped(describe(error)) from None
        return (
            [Failure(way=way, argument=name, library="torch", message="other bits the second time")]
            if name
            else []
        )
    network = replace(network, modes=_plain(network.modes))
    found = _differs(network, way)
    if found is None:
        return []
    for node in network.graph.functions:
        try:
            alone = _differs(replace(single(network, reference, node)), way)
        except Exception:
            continue
        if alone is not None:
            return [replace(alone, layer=node.layer, node=node.name)]
    return [found]


def _plain(modes: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in modes.items() if k in ("layouts", "cotangents", "frozen")}


def _differs(network: Network, way: str) -> Failure | None:
    """The first result of this way that differs, or the exception by hand; None where all agree."""
    by_hand, by_torch = WAYS[way]
    if not network.variables or not network.cotangents:
        return None

    def native(values: passes.Values | None = None, rng: np.random.Generator | None = None) -> passes.Values:
        leaves = passes.make_leaves(network, {}, values)
        if rng is not None:
            leaves = {n: _again(passes.nudged(x.detach(), rng), x) for n, x in leaves.items()}
        return passes.arrays(by_torch(network, passes.native(rng=rng), leaves))

    try:
        truth = native()
    except Exception as error:
        raise _Skipped(f"PyTorch raises {describe(error)}") from None
    try:
        leaves = passes.make_leaves(network, network.modes)
        found = passes.arrays(by_hand(network, passes.hand({}), leaves))
    except Exception as error:
        _skip_if_alike(network, way, error)
        return Failure(
            way=way, library="torch", dtype="float64", message=f"raises {describe(error)}",
            verdict="hand", why="PyTorch gives a result",
        )  # fmt: skip
    for name, limit in _limits(network, truth, native).items():
        difference = limit.judge(found.get(name))
        if difference is not None and not difference.passed:
            failure = Failure(
                way=way, argument=name, library="torch", dtype="float64",
                message=difference.message or "differs", hand=difference.analytic,
                native=difference.reference, error=difference.max_abs_error,
                allowed=_allowed(difference),
            )  # fmt: skip
            return decide_way(network, failure, difference.worst_index)
    return None


def _skip_if_alike(network: Network, way: str, ours: Exception) -> None:
    """PyTorch's own layers, going the very same way, may raise as well: of an expanded tensor, for one."""
    try:
        leaves = passes.make_leaves(network, network.modes)
        WAYS[way][0](network, passes.native(faithful=True), leaves)
    except Exception as theirs:
        if type(theirs) is type(ours):
            raise _Skipped(f"PyTorch raises {describe(theirs)}") from None


def _allowed(difference: Any) -> float | None:
    if not difference.ulps:
        return None
    return float(difference.max_abs_error * difference.allowed_ulps / difference.ulps)


def _again(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return x.requires_grad_(like.requires_grad)


def _limits(network: Network, truth: passes.Values, native: Any) -> dict[str, Limit]:
    values = network.graph.forward(network.values).values
    scale = Scale.of(network.cotangents.values(), [values[e] for e in network.cotangents], values.values())
    names, inputs = list(truth), list(network.values)

    def listed(found: passes.Values) -> list[np.ndarray | None]:
        return [found.get(name) for name in names]

    def evaluate(moved: list[np.ndarray | None], _: torch.dtype) -> oracles.Arrays:
        return listed(native({n: x for n, x in zip(inputs, moved, strict=True) if x is not None}))

    each = limits(
        evaluate,
        [network.values[n] for n in inputs],
        oracles.Results(listed(truth), []),
        "float64",
        max((x.size for x in (*network.values.values(), *truth.values())), default=1),
        network.rng("noise", "way"),
        lambda rng: listed(native(rng=rng)),
        arguments=[network.values.get(name.partition("_")[2]) for name in names],
        scale=scale,
        draws=1,
    )
    return dict(zip(names, each, strict=True))
