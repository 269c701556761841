"""The truth taken apart: what each operation of its forward pass contributes to a gradient.

Autograd's gradient is a sum over paths through the graph of the forward pass, and a product along each. A
mistake in a derivation is most often one step of that: an operation that is treated as a constant, one whose
derivative is forgotten, a matrix that is not transposed. Each is tried, by changing what one node of the
graph passes on, and compared with the gradient under test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor

from handgrad.checking.evidence import Step
from torch_ext.checker.arrays import Cotangents, array
from torch_ext.checker.formula import formulas
from torch_ext.checker.truth import Truth

_MOST = 120  # nodes: a larger graph is not taken apart
_PLAIN = ("CloneBackward0", "ToCopyBackward0", "AliasBackward0", "AccumulateGrad")

Grads = tuple[Tensor | None, ...]
# (node, edge, what it passes on at that edge, what came in) -> what it passes on instead
Change = Callable[[Any, int, Tensor, Tensor], Tensor | None]


def _nothing(_: Any, __: int, dx: Tensor, ___: Tensor) -> Tensor | None:
    return torch.zeros_like(dx)


def _as_it_came(_: Any, __: int, dx: Tensor, dy: Tensor) -> Tensor | None:
    """The local derivative is left out."""
    return dy.sum_to_size(dx.shape) if _reduces(dy.shape, dx.shape) else None


def _twice(_: Any, __: int, dx: Tensor, dy: Tensor) -> Tensor | None:
    """The local derivative counts twice."""
    return dx * torch.where(dy == 0, 0, dx / dy) if dx.shape == dy.shape else None


def _turned(node: Any, edge: int, dx: Tensor, dy: Tensor) -> Tensor | None:
    """A matrix product with the other matrix as it is, not transposed."""
    other = getattr(node, "_saved_mat2" if edge == 0 else "_saved_self", None)
    if other is None or other.ndim < 2:
        return None
    try:
        turned = dy @ other if edge == 0 else other @ dy
    except RuntimeError:
        return None
    return turned if turned.shape == dx.shape else None


def _reduces(large: Sequence[int], small: Sequence[int]) -> bool:
    try:
        return tuple(np.broadcast_shapes(tuple(large), tuple(small))) == tuple(large)
    except ValueError:
        return False


_CHANGES: Mapping[str, Change] = {
    "term": _nothing,
    "factor": _as_it_came,
    "twice": _twice,
    "transpose": _turned,
}
# what mixes elements has no derivative that is a factor
_MIXING = ("softmax", "norm", "cum", "mm", "conv", "prod", "sort", "fft", "linalg", "attention")


def _possible(kind: str) -> list[str]:
    mixing = any(word in kind.lower() for word in _MIXING)
    return [how for how in _CHANGES if not (mixing and how in ("factor", "twice"))]


class Paths:
    """The graph of the truth at one point, seen from the variable ``name``."""

    def __init__(
        self,
        truth: Truth,
        variables: Mapping[str, Tensor],
        cotangents: Cotangents,
        constants: Mapping[int, Any],
        name: str,
    ) -> None:
        self.leaves = {n: v.detach().clone().requires_grad_() for n, v in variables.items()}
        self.name, self.native = name, truth.native
        with torch.enable_grad():
            outputs = truth.outputs({n: v.clone() for n, v in self.leaves.items()}, constants, torch.float64)
        pairs = [
            (y, dy) for y, dy in zip(outputs, cotangents, strict=True) if dy is not None and y.requires_grad
        ]
        self.ends, self.dys = [y for y, _ in pairs], [dy.to(y.dtype) for y, dy in pairs]
        self.nodes = _nodes(self.ends, self.leaves[name])

    def steps(self) -> list[Step]:
        """What may be changed: single edges first, then all nodes of a kind together."""
        if len(self.nodes) > _MOST:
            return []
        found = [
            Step(how, kind, number, edge)
            for (kind, number), (_, edges) in self.nodes.items()
            if kind not in _PLAIN
            for edge in edges
            for how in _possible(kind)
        ]
        found += [
            Step(how, kind, number, -1)  # both factors of x · x
            for (kind, number), (_, edges) in self.nodes.items()
            if len(edges) > 1 and kind not in _PLAIN
            for how in _possible(kind)
        ]
        kinds = Counter(kind for kind, _ in self.nodes)
        found += [
            Step(how, kind, -1, edge)
            for kind, count in kinds.items()
            if count > 1 and kind not in _PLAIN
            for edge in sorted({e for (k, _), (_, edges) in self.nodes.items() if k == kind for e in edges})
            for how in _possible(kind)
        ]
        return found

    def gradient(self, step: Step | None = None) -> np.ndarray | None:
        """The gradient with a step changed; None where it cannot be."""
        chosen = [
            (node, edge)
            for (kind, number), (node, edges) in self.nodes.items()
            if step is not None and kind == step.kind and step.number in (number, -1)
            for edge in edges
            if step.edge in (edge, -1)
        ]
        if step is not None and not chosen:
            return None
        possible = True

        def hook(node: Any, edge: int, change: Change) -> Callable[[Grads, Grads], Grads | None]:
            def changed(made: Grads, came: Grads) -> Grads | None:
                nonlocal possible
                old, dy = made[edge], came[0]
                dx = None if old is None or dy is None else change(node, edge, old, dy)
                if dx is None:
                    possible = False
                    return None
                return tuple(dx if i == edge else m for i, m in enumerate(made))

            return changed

        with ExitStack() as stack:
            stack.enter_context(formulas()) if self.native else None
            for node, edge in chosen:
                assert step is not None
                handle = node.register_hook(hook(node, edge, _CHANGES[step.how]))
                stack.callback(handle.remove)
            try:
                (dx,) = torch.autograd.grad(
                    self.ends, [self.leaves[self.name]], self.dys, retain_graph=True, allow_unused=True
                )
            except RuntimeError:
                return None
        return array(dx) if possible and dx is not None else None


def _nodes(ends: Sequence[Tensor], leaf: Tensor) -> dict[tuple[str, int], tuple[Any, list[int]]]:
    """(kind, number) -> (node, its edges that lead to the leaf), in the order of the backward pass."""
    order: list[Any] = []
    seen: set[Any] = set()
    leads: dict[Any, list[int]] = {}
    stack: list[tuple[Any, bool]] = [(y.grad_fn, False) for y in ends if y.grad_fn is not None]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
            own = [i for i, (n, _) in enumerate(node.next_functions) if n is not None and leads.get(n)]
            leads[node] = own or ([-1] if getattr(node, "variable", None) is leaf else [])
            continue
        if node in seen:
            continue
        seen.add(node)
        stack.append((node, True))
        stack += [(n, False) for n, _ in node.next_functions if n is not None]
    counts: Counter[str] = Counter()
    found = {}
    for node in reversed(order):
        if leads[node] and leads[node] != [-1]:
            kind = node.name().rsplit("::", maxsplit=1)[-1]
            found[kind, counts[kind]] = (node, leads[node])
            counts[kind] += 1
    return found
