"""Passes through a whole network: by NumPy, by the hand-made Functions, by PyTorch's own functions.

What NumPy cannot express (dtypes, casts, autocast, in-place calls, layouts in memory, leaves without a
gradient) stands in the network's ``modes``, which ``handgrad.architectures`` describes. The Functions obey
all of them. PyTorch's own functions obey those that concern precision where they measure what that costs,
and none where they are the truth: that is float64, contiguous, nothing in place.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

import torch_ext
from handgrad._derivation import Derivation
from handgrad.checking import nudge
from handgrad.graph import Graph, Node
from torch_ext import oracles
from torch_ext.functional import _common

if TYPE_CHECKING:
    from torch_ext.crossval.networks import Network

Values = Mapping[str, np.ndarray]
Tensors = dict[str, Tensor]
Caller = Callable[[Node, Sequence[Any]], tuple[Any, ...]]
Modes = Mapping[str, Any]
PRECISION = ("dtype", "casts", "autocast")


def by_numpy(network: Network) -> tuple[Values, Values]:
    """Values and gradients by the derivations alone, in float64."""
    passed = network.graph.forward(network.values)
    return passed.values, passed.backward(network.cotangents, network.variables)


def by_functions(network: Network) -> tuple[Values, Values]:
    """Values and gradients by the hand-made Functions, in the network's modes."""
    leaves = make_leaves(network, network.modes)
    values = evaluate(network.graph, leaves, hand(network.modes), network.modes)
    return arrays(values), gradients(network, values, network.variables, network.modes)


# --- one layer ------------------------------------------------------------------------------


def hand(modes: Modes) -> Caller:
    """Each node by its Function, in place where the modes say so."""
    places = frozenset(modes.get("in_place", ()))

    def call(node: Node, args: Sequence[Any]) -> tuple[Any, ...]:
        args = detached(node.derivation, args)
        if node.name in places and takes_in_place(node.layer):
            y = _common.in_place(node.layer, *args, **node.options)
        else:
            y = torch_ext.call(node.derivation, *args, **node.options)
        return y if isinstance(y, tuple) else (y,)

    return call


def native(
    modes: Modes | None = None,
    rng: np.random.Generator | None = None,
    step: float = 0.0,
    faithful: bool = False,
) -> Caller:
    """Each node by PyTorch's own function; with ``rng`` its values are nudged, as rounding would.

    ``faithful``: with all that PyTorch itself may raise on.
    """
    places = frozenset((modes or {}).get("in_place", ()))

    def call(node: Node, args: Sequence[Any]) -> tuple[Any, ...]:
        # contiguous, values and what flows back into them: some of PyTorch's own backward passes raise
        # otherwise (nll_loss after a transpose, conv_tbc before a concatenation)
        plain = detached(node.derivation, args)
        if not faithful:
            plain = [x if x is None else x.contiguous() for x in plain]
        if node.name in places and takes_in_place(node.layer):
            y = oracles.reference(node.derivation, [plain[0].clone(), *plain[1:]], node.options)[0]
            return (args[0].copy_(y),)
        # a sparse gradient is one of a leaf alone: PyTorch's other functions do not take it back further
        dense = node.options.get("sparse") and not faithful
        options = {**node.options, "sparse": False} if dense else node.options
        outputs = oracles.reference(node.derivation, plain, options)
        for y in outputs:
            if y.grad_fn is not None and not faithful:
                y.register_hook(lambda dy: None if dy is None else dy.contiguous())
        return outputs if rng is None else tuple(nudged(y, rng, step) for y in outputs)

    return call


@cache
def takes_in_place(layer: str) -> bool:
    """Whether PyTorch's function of that name, and so ours, has an argument ``inplace``."""
    function = getattr(torch_ext.functional, layer, None)
    return function is not None and "inplace" in inspect.signature(function).parameters


def detached(derivation: Derivation, args: Sequence[Any]) -> list[Any]:
    """Arguments without a derivative (class weights, indices) carry none, as PyTorch demands of some."""
    return [x if x is None or derivation.has_gradient(i) else x.detach() for i, x in enumerate(args)]


def nudged(y: Tensor, rng: np.random.Generator, step: float = 0.0) -> Tensor:
    """``y``, each element shrunk by its own random fraction of ``step`` (default: that of ``nudge``)."""
    if not y.is_floating_point():
        return y
    ones = np.ones(tuple(y.shape))
    factor = 1 - step * rng.uniform(size=ones.shape) if step else nudge(ones, rng)
    return y * torch.from_numpy(np.asarray(factor)).to(y.dtype)


# --- all layers -------------------------------------------------------------------------------


def evaluate(graph: Graph, leaves: Mapping[str, Tensor], call: Caller, modes: Modes | None = None) -> Tensors:
    """Every edge's value. Of the modes, those of precision: casts of single nodes and autocast."""
    modes = modes or {}
    plain = dtype_of(modes)
    casts, region = modes.get("casts", {}), modes.get("autocast", {})
    inside = frozenset(region.get("nodes", ()))
    half = getattr(torch, region.get("dtype", "bfloat16"))
    values = dict(leaves)

    def compute(enter: Callable[[torch.dtype | None], None] | None) -> None:
        for node in graph.functions:
            args = [None if edge is None else values[edge] for edge in node.args]
            if enter is not None:
                enter(half if node.name in inside else None)
                if node.name not in inside:
                    args = [_cast(x, plain) for x in args]
            if node.name in casts:
                low = getattr(torch, casts[node.name])
                outputs = [_cast(y, plain) for y in call(node, [_cast(x, low) for x in args])]
            else:
                outputs = list(call(node, args))
            values.update(zip(node.edges, outputs, strict=True))

    if not inside:
        compute(None)
        return values
    with _region() as enter:
        compute(enter)
    return {edge: v if edge in leaves else _cast(v, plain) for edge, v in values.items()}


@contextmanager
def _region() -> Iterator[Callable[[torch.dtype | None], None]]:
    """One autocast region for a run of nodes: entered at its first and left after its last."""
    now: list[Any] = [None, nullcontext()]

    def enter(dtype: torch.dtype | None) -> None:
        if dtype is now[0]:
            return
        now[1].__exit__(None, None, None)
        now[:] = [dtype, nullcontext() if dtype is None else torch.autocast("cpu", dtype)]
        now[1].__enter__()

    try:
        yield enter
    finally:
        now[1].__exit__(None, None, None)


def _cast(x: Any, dtype: torch.dtype) -> Any:
    return x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x


def dtype_of(modes: Modes) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, modes.get("dtype", "float64"))
    return dtype


def lowest(modes: Modes) -> str:
    """The least precise of all dtypes in use, by name."""
    used = {modes.get("dtype", "float64"), *modes.get("casts", {}).values()}
    used.add(modes.get("autocast", {}).get("dtype", "float64"))
    return next(name for name in ("bfloat16", "float16", "float32", "float64") if name in used)


def exact(modes: Modes) -> dict[str, Any]:
    """The modes without those of precision."""
    return {name: value for name, value in modes.items() if name not in PRECISION}


def rounded(x: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """The nearest numbers that ``dtype`` has, in float64; integers and booleans as they are."""
    return oracles.array(oracles.tensor(x, dtype)) if x.dtype == np.float64 else x


# --- leaves and gradients -----------------------------------------------------------------------


def make_leaves(network: Network, modes: Modes, values: Values | None = None) -> Tensors:
    """New leaf tensors: in the modes' dtype and layouts, with a gradient where one is asked for."""
    dtype, layouts = dtype_of(modes), modes.get("layouts", {})
    made = {}
    for name, x in (network.values if values is None else values).items():
        leaf = laid(oracles.tensor(x, dtype), layouts.get(name))
        made[name] = leaf.requires_grad_(name in network.variables)
    return made


def laid(x: Any, layout: str | None) -> Tensor:
    """The same numbers, elsewhere in memory: see ``handgrad.architectures``."""
    y: Tensor = x
    if layout == "reversed":
        axes = tuple(reversed(range(x.ndim)))
        y = x.permute(axes).contiguous().permute(axes)
    elif layout == "gaps" and x.ndim:
        buffer = x.new_zeros((*x.shape[:-1], 2 * x.shape[-1]))
        buffer[..., ::2] = x
        y = buffer[..., ::2]
    elif layout == "offset":
        y = torch.cat([x.new_zeros(1), x.reshape(-1)])[1:].view(x.shape)
    elif layout == "expanded":
        axis = next((i for i, n in enumerate(x.shape) if n > 1), None)
        y = x if axis is None else x.narrow(axis, 0, 1).expand(x.shape)
    return y


def arrays(values: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {edge: oracles.array(v) for edge, v in values.items()}


def ends_of(
    network: Network, values: Mapping[str, Tensor], modes: Modes | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    """The ends that have a gradient, and the cotangent of each."""
    layouts = (modes or {}).get("cotangents", {})
    ends = [end for end in network.cotangents if values[end].requires_grad]
    return [values[e] for e in ends], [
        laid(oracles.tensor(network.cotangents[e], values[e].dtype), layouts.get(e)) for e in ends
    ]


def gradients(
    network: Network, values: Mapping[str, Tensor], wanted: Sequence[str], modes: Modes | None = None
) -> dict[str, np.ndarray]:
    """The gradients of the edges ``wanted``; those that nothing flows into are left out."""
    ends, cotangents = ends_of(network, values, modes)
    edges = [edge for edge in wanted if values[edge].requires_grad]
    if not ends or not edges:
        return {}
    found = torch.autograd.grad(ends, [values[e] for e in edges], cotangents, allow_unused=True)
    return {edge: oracles.array(dx) for edge, dx in zip(edges, found, strict=True) if dx is not None}
