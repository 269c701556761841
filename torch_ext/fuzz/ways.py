"""Further ways to compare a network, beyond outputs and first-order gradients.

A way is a function of a network, of how its layers are called, and of its leaves: it returns the tensors to
be compared. By hand it goes the way its name says; PyTorch goes the same way, or a plainer one that leads
to the same numbers (vmap: a loop; forward mode: two backward passes; compiled, checkpointed: neither).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from torch_ext.crossval import passes
from torch_ext.crossval.networks import Network
from torch_ext.crossval.passes import Caller, Tensors
from torch_ext.fuzz.truth import direction

Way = Callable[[Network, Caller, Tensors], Tensors]
_COPIES = 2
_STEPS, _RATE = 3, 0.01


def _direction(network: Network, name: str, like: Tensor) -> Tensor:
    return torch.from_numpy(direction(network, name, tuple(like.shape))).to(like.dtype)


def _forward(network: Network, call: Caller) -> Callable[..., tuple[Tensor, ...]]:
    """The network as a function of its variables alone, to its ends."""
    return lambda leaves: tuple(
        passes.evaluate(network.graph, leaves, call)[end] for end in network.cotangents
    )


def _cotangents(network: Network, ends: Sequence[Tensor]) -> list[Tensor]:
    layouts = network.modes.get("cotangents", {})
    return [
        passes.laid(torch.from_numpy(np.array(network.cotangents[e])).to(y.dtype), layouts.get(e))
        for e, y in zip(network.cotangents, ends, strict=True)
    ]


def _named(
    prefix: str, names: Sequence[str], like: Sequence[Tensor], found: Sequence[Tensor | None]
) -> Tensors:
    """No gradient is one of zeros: which of the two is said depends on the graph alone."""
    return {
        f"{prefix}_{name}": torch.zeros_like(x) if dx is None else dx
        for name, x, dx in zip(names, like, found, strict=True)
    }


def _backward(
    network: Network, ends: Sequence[Tensor], leaves: Tensors, create_graph: bool = False
) -> tuple[list[Tensor | None], list[Tensor]]:
    xs = [leaves[n] for n in network.variables]
    cotangents = _cotangents(network, ends)
    if create_graph:
        cotangents = [dy.requires_grad_() for dy in cotangents]
    pairs = [(y, dy) for y, dy in zip(ends, cotangents, strict=True) if y.requires_grad]
    if not pairs or not xs:
        return [None] * len(xs), cotangents
    found = torch.autograd.grad(
        [y for y, _ in pairs], xs, [dy for _, dy in pairs], create_graph=create_graph, allow_unused=True
    )
    return list(found), cotangents


def double_backward(network: Network, call: Caller, leaves: Tensors) -> Tensors:
    """The gradient of <v, J'u> with respect to the variables and to u."""
    xs = [leaves[n] for n in network.variables]
    first, us = _backward(network, _forward(network, call)(leaves), leaves, create_graph=True)
    pairs = [
        (g, _direction(network, name, g))
        for name, g in zip(network.variables, first, strict=True)
        if g is not None and g.requires_grad
    ]
    found: Sequence[Tensor | None] = [None] * (len(xs) + len(us))
    if pairs:
        found = torch.autograd.grad(
            [g for g, _ in pairs], [*xs, *us], [v for _, v in pairs], allow_unused=True
        )
    return {
        **_named("dd", network.variables, xs, found[: len(xs)]),
        **_named("du", list(network.cotangents), us, found[len(xs) :]),
    }


def forward_mode(network: Network, call: Caller, leaves: Tensors) -> Tensors:
    """J v, by forward mode."""
    names = network.variables
    xs = tuple(leaves[n].detach() for n in names)
    fixed = {n: x.detach() for n, x in leaves.items() if n not in names}

    def f(*given: Tensor) -> tuple[Tensor, ...]:
        return _forward(network, call)({**fixed, **dict(zip(names, given, strict=True))})

    vs = tuple(_direction(network, n, x) for n, x in zip(names, xs, strict=True))
    tangents: Sequence[Tensor] = torch.func.jvp(f, xs, vs)[1]
    return {f"jv_{end}": t for end, t in zip(network.cotangents, tangents, strict=True)}


def _forward_or_twice_backward(network: Network, call: Caller, leaves: Tensors) -> Tensors:
    """J v, where PyTorch has no forward mode as the gradient of <v, J'u> with respect to u."""
    try:
        return forward_mode(network, call, leaves)
    except (RuntimeError, NotImplementedError):
        pass
    found = double_backward(network, call, leaves)
    return {f"jv_{end}": found[f"du_{end}"] for end in network.cotangents}


def _copies(network: Network, leaves: Tensors) -> list[Tensors]:
    """The leaves, and others a little smaller: inside every domain that holds the first."""
    copies = []
    for k in range(_COPIES):
        moved = {n: x.detach() * (1 - 0.01 * k) if n in network.variables else x for n, x in leaves.items()}
        copies.append(moved)
    return copies


def vmap(network: Network, call: Caller, leaves: Tensors) -> Tensors:
    """Gradients of each of several copies at once: vmap over vjp."""
    names = network.variables
    fixed = {n: x.detach() for n, x in leaves.items() if n not in names}
    copies = _copies(network, leaves)
    stacked = [torch.stack([c[n] for c in copies]) for n in names]

    def each(*xs: Tensor) -> tuple[Tensor, ...]:
        def f(*given: Tensor) -> tuple[Tensor, ...]:
            return _forward(network, call)({**fixed, **dict(zip(names, given, strict=True))})

        ends, pull = torch.func.vjp(f, *xs)[:2]
        return tuple(pull(tuple(_cotangents(network, ends))))

    found = torch.func.vmap(each)(*stacked)
    return _named("vmap", names, stacked, found)


def _loop(network: Network, call: Caller, leaves: Tensors) -> Tensors:
    """Gradients of each of several copies, one after the other."""
    found: list[list[Tensor]] = []
    for copy in _copies(network, leaves):
        given = {n: x.requires_grad_() if n in network.variables else x for n, x in copy.items()}
        first, _ = _backward(network, _forward(network, call)(given), given)
        pairs = zip(network.variables, first, strict=True)
        found.append([torch.zeros_like(given[n]) if g is None else g for n, g in pairs])
    return {
        f"vmap_{n}": torch.stack(list(gs))
        for n, gs in zip(network.variables, zip(*found, strict=True), strict=True)
    }


def _gradients(network: Network, call: Caller, leaves: Tensors) -> Tensors:
    ends = _forward(network, call)(leaves)
    found, _ = _backward(network, ends, leaves)
    return {
        **dict(zip(network.cotangents, ends, strict=True)),
        **_named("d", network.variables, [leaves[n] for n in network.variables], found),
    }


def checkpointed(network: Network, call: Caller, leaves: Tensors) -> Tensors:
    """Gradients with the whole network under torch.utils.checkpoint."""
    ends = checkpoint(_forward(network, call), leaves, use_reentrant=False)
    found, _ = _backward(network, ends, leaves)
    return _named("d", network.variables, [leaves[n] for n in network.variables], found)


def _plain(network: Network, call: Caller, leaves: Tensors) -> Tensors:
    found = _gradients(network, call, leaves)
    return {name: x for name, x in found.items() if name.startswith("d_")}


def compiled(backend: str) -> Way:
    """Outputs and gradients of the network compiled as one graph."""

    def way(network: Network, call: Caller, leaves: Tensors) -> Tensors:
        torch._dynamo.reset()
        try:
            ends = torch.compile(_forward(network, call), backend=backend, fullgraph=True)(leaves)
            found, _ = _backward(network, ends, leaves)
        finally:
            torch._dynamo.reset()
        return {
            **dict(zip(network.cotangents, ends, strict=True)),
            **_named("d", network.variables, [leaves[n] for n in network.variables], found),
        }

    return way


def steps(network: Network, call: Caller, leaves: Tensors) -> Tensors:
    """The variables after a few steps of gradient descent on <u, f(x)>, short ones that stay near."""
    now, rate = dict(leaves), None
    for _ in range(_STEPS):
        found, _ = _backward(network, _forward(network, call)(now), now)
        if rate is None:
            largest = max((float(g.abs().max()) for g in found if g is not None and g.numel()), default=1.0)
            rate = _RATE * 2.0 ** -np.ceil(np.log2(max(largest, 1.0)))  # a power of two: the same for all
        with torch.no_grad():
            for name, g in zip(network.variables, found, strict=True):
                if g is not None:
                    now[name] = (now[name] - rate * g).detach().requires_grad_()
    return {f"step_{n}": now[n] for n in network.variables}


WAYS: Mapping[str, tuple[Way, Way]] = {  # by hand, by PyTorch
    "double_backward": (double_backward, double_backward),
    "forward_mode": (forward_mode, _forward_or_twice_backward),
    "vmap": (vmap, _loop),
    "checkpoint": (checkpointed, _plain),
    "steps": (steps, steps),
    "compile": (compiled("eager"), _gradients),
    "inductor": (compiled("inductor"), _gradients),
}


def repeated(network: Network) -> str:
    """Which result differs in its bits when all is computed a second time by hand; "" where none does."""
    first, second = (passes.by_functions(network) for _ in range(2))
    for prefix, a, b in zip(("", "d_"), first, second, strict=True):
        for name in a:
            if name in b and not np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f"):
                return prefix + name
    return ""
