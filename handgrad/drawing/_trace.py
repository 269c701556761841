"""Each step as on the blackboard: values forward; local derivative x incoming = outgoing backward."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from handgrad._arrays import Array
from handgrad.drawing._numbers import DIGITS, inline
from handgrad.drawing._scene import SYMBOLS
from handgrad.formulas import is_negation
from handgrad.graph import Node, Pass, Step

_INFIX = ("add", "subtract", "multiply", "divide", "matmul")


def trace(
    run: Pass, target: str, steps: list[Step], gradients: Mapping[str, Array], digits: int = DIGITS
) -> Iterator[str]:
    """Lines of text: the forward pass, then each application of the chain rule.

    ``steps`` and ``gradients`` as :meth:`Pass.steps` gives them for the gradient of ``target``.
    """
    names = {name: inline(v, digits) for name, v in run.values.items() if name.startswith("#")}

    def word(edge: str | None) -> str:
        return names.get(edge or "", edge or "None")

    def show(value: Array) -> str:
        return inline(value, digits)

    yield "Forward pass"
    for name in run.graph.inputs:
        if not name.startswith("#"):
            yield f"  {name} = {show(run.values[name])}"
    for node in run.graph.functions:
        shown = _call(node, [word(a) for a in node.args])
        numbers = _call(node, ["None" if a is None else show(run.values[a]) for a in node.args])
        yield f"  {node.name} = {shown} = {numbers} = {show(run.values[node.name])}"
    yield "Backward pass"
    yield f"  d{target}/d{target} = {show(gradients[target])}  (base case)"
    left = {edge: sum(s.edge == edge for s in steps) for edge in {s.edge for s in steps}}
    parts: dict[str, list[str]] = {}
    for step in steps:
        edge, name = step.edge, word(step.edge)
        into = f"d{target}/d{step.node.name}"
        several = sum(s.edge == edge for s in steps) > 1
        line = f"  d{target}/d{name} {'gets' if several else '='} {_product(step, run, into, digits)}"
        yield f"{line} = {show(step.outgoing)}"
        left[edge] -= 1
        parts.setdefault(edge, []).append(_signed(show(step.outgoing)))
        if several and not left[edge]:
            total = f"{' + '.join(parts[edge])} = {show(gradients[edge])}"
            yield f"  d{target}/d{name} = {total}  (used {len(parts[edge])} times: added)"


def _product(step: Step, run: Pass, into: str, digits: int) -> str:
    """local derivative x incoming, in names and then in numbers."""
    node, incoming = step.node, step.incoming[0]
    if incoming is None or len([dy for dy in step.incoming if dy is not None]) > 1:
        return f"{node.layer}'s backward of what flows into its outputs"
    values = [None if a is None else run.values[a] for a in node.args]
    dy = _signed(inline(incoming, digits))
    if node.layer == "matmul" and all(v is not None and v.ndim == 2 for v in values):
        other = node.args[1 - step.position]
        t = _signed(inline(np.swapaxes(run.values[other or ""], 0, 1), digits))
        return (
            f"{into} @ {other}^T = {dy} @ {t}" if step.position == 0 else f"{other}^T @ {into} = {t} @ {dy}"
        )
    symbol = f"∂{node.name}/∂{step.edge}"  # round, since d{target}/d{edge} is what is wanted
    local = _local(step, run)
    if local is None:
        return f"{symbol} · {into}, by {node.layer}'s backward of {dy}"
    summed = ", summed over the copies" if local.shape != step.outgoing.shape else ""
    return f"{symbol} · {into} = {_signed(inline(local, digits))} · {dy}{summed}"


def _local(step: Step, run: Pass) -> Array | None:
    """The local derivative as numbers, where each output element depends on its own element alone."""
    node, incoming = step.node, step.incoming[0]
    assert incoming is not None
    args = [None if a is None else run.values[a] for a in node.args]
    x, y = run.values[step.edge], run.values[node.name]
    # a copy of the argument for each output element, so that nothing is summed
    wide = [
        np.broadcast_to(a, y.shape) if i == step.position and a is not None and y.size > a.size else a
        for i, a in enumerate(args)
    ]
    if y.size != 1 and y.shape != np.broadcast_shapes(x.shape, y.shape):
        return None
    _, residuals = node.derivation.apply(wide, node.options)

    def back(dy: Array) -> Array | None:
        needs = tuple(i == step.position for i in range(len(wide)))
        return node.derivation.vjp((dy,), residuals, wide, node.options, needs)[step.position]

    slope = back(np.ones_like(y))
    if slope is None or not np.all(np.isfinite(slope)):
        return None
    seed = np.arange(1.0, y.size + 1).reshape(y.shape)
    if y.size > 1:
        seeded = back(seed)
        if slope.shape != y.shape or seeded is None or not np.allclose(seeded, seed * slope):
            return None
    return np.asarray(slope)


def _call(node: Node, args: list[str]) -> str:
    if is_negation(node):
        return f"-{_signed(args[1])}"
    if node.layer in _INFIX and len(args) == 2 and not node.options:
        return f"{_signed(args[0])} {SYMBOLS[node.layer]} {_signed(args[1])}"
    options = [f"{name}={value!r}" for name, value in node.options.items()]
    return f"{node.layer}({', '.join((*args, *options))})"


def _signed(text: str) -> str:
    return f"({text})" if text.startswith("-") else text
