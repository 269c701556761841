"""The third oracle: where hand and PyTorch differ, long double and the forward pass alone decide.

A gradient's truth is the numerical derivative of the forward formula in long double, along the axis of the
element that differs. Where there is none (the one-sided slopes differ), the place is a kink. An output's
truth is the formula in long double; where PyTorch is not near to that, it says what the function is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from handgrad._derivation import Derivation
from handgrad._errors import InputError
from handgrad.checking import Directional, directional_derivative
from handgrad.graph import Node
from torch_ext import oracles
from torch_ext.crossval.layers import generator
from torch_ext.crossval.networks import Network, Reference
from torch_ext.fuzz.outcome import Failure

_NEAR = 1e-6  # a relative difference beyond this is another function, not another rounding
_STEEP = 1e6  # a condition from which on a difference that rounding explains is no surprise
_MOST = 400  # elements that are tried one by one


class Element(NamedTuple):
    """One number, three times."""

    name: str
    place: tuple[int, ...]
    hand: float
    native: float
    truth: float | None
    error: float  # of the truth


def decide(network: Network, reference: Reference, found: Failure) -> Failure:
    """The failure with a verdict."""
    if found.verdict:
        return found
    if "raises" in found.message:
        return replace(found, verdict="hand", why="PyTorch gives a result")
    node = network.graph.nodes.get(found.node)
    condition = _condition(network, reference, found)
    found = replace(found, condition=condition)
    if node is None or found.way != "gradients" or found.library == "torch":
        return _by_condition(found, node)
    if found.argument in node.derivation.outputs and "integers" in found.message:
        if _tied(reference, node, found.argument, network.rng("ties")):
            return replace(
                found, verdict="neither", why="a tie: numbers a little apart give the same integers"
            )
        return replace(found, verdict="hand", why="other integers, whatever the numbers")
    try:
        worst = compared(reference, node, found.argument)
    except Exception:
        return found
    if worst is None:
        return _by_condition(found, node)
    if worst.truth is None:
        return replace(found, verdict="neither", why=f"a kink at {worst.name}{list(worst.place)}")
    return _by_truth(found, worst)


def _by_truth(found: Failure, e: Element) -> Failure:
    assert e.truth is not None
    ours, theirs = (abs(x - e.truth) if np.isfinite(x) else np.inf for x in (e.hand, e.native))
    scale = max((abs(x) for x in (e.truth, e.hand, e.native) if np.isfinite(x)), default=0.0)
    allowed = max(
        e.error, found.allowed if found.allowed and np.isfinite(found.allowed) else 0.0, 1e-13 * scale
    )
    why = f"truth {e.truth:.17g} at {e.name}{list(e.place)}, hand {e.hand:.17g}, PyTorch {e.native:.17g}"
    if found.way == "gradients" and not found.argument.startswith("d_") and theirs > _NEAR * scale:
        return replace(found, verdict="hand", why=f"the forward formula is another function: {why}")
    if ours > allowed and theirs > allowed:
        return replace(found, verdict="both", why=why)
    if max(ours, theirs) <= allowed:
        return replace(found, verdict="neither", why=f"ill-conditioned: {why}")
    return replace(found, verdict="hand" if ours > theirs else "pytorch", why=why)


def _tied(reference: Reference, node: Node, argument: str, rng: np.random.Generator) -> bool:
    """Whether integers (places of a maximum, an order) agree as soon as no two numbers are alike."""
    d = node.derivation
    inputs = [None if edge is None else reference.values[edge] for edge in node.args]
    apart = [
        x if x is None or x.dtype != np.float64 else x + 1e-3 * rng.standard_normal(x.shape) for x in inputs
    ]
    i = d.outputs.index(argument)
    native = oracles.autograd(d, apart, node.options, [None] * len(d.outputs)).outputs[i]
    return native is not None and bool(np.array_equal(d.apply(apart, node.options)[0][i], native))


def _by_condition(found: Failure, node: Node | None) -> Failure:
    """No single layer differs by itself: so the network multiplies what each may err."""
    if node is None and found.condition is not None and found.condition > _STEEP:
        why = f"no layer differs by itself, and the network's condition is {found.condition:.1e}"
        return replace(found, verdict="neither", why=why)
    return replace(
        found, verdict="hand" if node is not None else "", why="by its layer alone" if node else ""
    )


def _condition(network: Network, reference: Reference, found: Failure) -> float | None:
    """The relative change of what differs, for a relative change of every value on the way."""
    step = 2.0**-22
    try:
        moved = reference.ends(*reference.run(rng=network.rng("condition"), step=step))
    except Exception:
        return None
    name = found.argument if not found.node else ""
    rates = []
    for key in [name] if name in moved else moved:
        t = reference.truth.get(key)
        if t is None or t.dtype != np.float64 or t.shape != moved[key].shape or not t.size:
            continue
        with np.errstate(all="ignore"):
            rates.append(float(np.max(np.abs(moved[key] - t)) / (step * np.max(np.abs(t)))))
    return max((r for r in rates if np.isfinite(r)), default=None)


# --- beyond the first order ------------------------------------------------------------------------------


def decide_way(network: Network, found: Failure, index: tuple[int, ...] | None) -> Failure:
    """A failure of a second derivative or of forward mode, with a verdict: numerically, in long double.

    The first order agrees here, so that its formula is what is differentiated numerically once more.
    """
    if found.way not in ("double_backward", "forward_mode") or index is None or found.hand is None:
        return replace(found, verdict="hand", why="PyTorch's plain results agree with ours")
    try:
        truth = _second(network, found.argument, index)
    except Exception:
        return found
    if truth is None:
        return replace(found, verdict="neither", why=f"a kink at {found.argument}{list(index)}")
    assert found.native is not None
    return _by_truth(
        found, Element(found.argument, index, found.hand, found.native, truth.value, 4 * truth.error)
    )


def _second(network: Network, argument: str, index: tuple[int, ...]) -> Directional | None:
    """dS/dx or dS/du at one element, S = <v, J'u>; or the element of J v."""
    kind, _, name = argument.partition("_")
    values = {n: _long(x) for n, x in network.values.items()}
    flows = {n: x.astype(np.longdouble) for n, x in network.cotangents.items()}
    vs = {n: direction(network, n, values[n].shape).astype(np.longdouble) for n in network.variables}
    size = 0.0

    def along(step: np.longdouble) -> np.longdouble:
        nonlocal size
        given, incoming = dict(values), dict(flows)
        if kind == "jv":
            given |= {n: x + step * vs[n] for n, x in values.items() if n in vs}
        else:
            moved = given if kind == "dd" else incoming
            moved[name] = np.array(moved[name])
            moved[name][index] += step
        try:
            passed = network.graph.forward(given)
        except InputError:
            return np.longdouble("nan")
        if kind == "jv":
            size = max(size, abs(float(passed.values[name][index])))
            return np.longdouble(passed.values[name][index])
        found = passed.backward(incoming, network.variables)
        products = [found[n] * v for n, v in vs.items() if n in found]
        size = max(size, sum(float(np.sum(np.abs(p))) for p in products))
        return np.longdouble(sum(np.sum(p) for p in products))

    along(np.longdouble(0))
    return directional_derivative(along, size)


def direction(network: Network, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The direction v along which a variable is moved."""
    return np.asarray(generator(network.seed, "direction", name).standard_normal(shape))


# --- one layer, three ways -----------------------------------------------------------------------------


def compared(reference: Reference, node: Node, argument: str) -> Element | None:
    """The element of one output or gradient of one layer that differs most, with its truth."""
    d, options = node.derivation, node.options
    inputs = [None if edge is None else reference.values[edge] for edge in node.args]
    cotangents = [reference.gradients.get(edge) for edge in node.edges]
    native = oracles.autograd(d, inputs, options, cotangents)
    outputs, residuals = d.apply(inputs, options)
    if argument in d.outputs:
        i = d.outputs.index(argument)
        index = _worst(outputs[i], native.outputs[i])
        wide, _ = d.apply([_long(x) for x in inputs], options)
        numbers: list[Any] = [outputs[i], native.outputs[i], wide[i]]
        ours, its, right = (float(y[index]) for y in numbers)
        return Element(argument, index, ours, its, right, 0.0)
    needs = [g is not None for g in native.gradients]
    gradients = d.vjp(cotangents, residuals, inputs, options, needs)
    names = [f"d_{n}" for n in d.input_names(len(inputs))]
    if argument not in names:
        return None
    i = names.index(argument)
    hand, theirs = gradients[i], native.gradients[i]
    if hand is None or theirs is None or hand.shape != theirs.shape:
        return None
    index = _worst(hand, theirs)
    truth = derivative(d, inputs, options, cotangents, i, index, float(theirs[index]))
    value, error = (None, 0.0) if truth is None else truth
    return Element(argument, index, float(hand[index]), float(theirs[index]), value, error)


def _worst(a: Any, b: Any) -> tuple[int, ...]:
    with np.errstate(all="ignore"):
        off = np.abs(np.asarray(a, float) - np.asarray(b, float))
    off = np.where(np.isnan(off), np.inf, off)
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(off)), off.shape))


def _long(x: Any) -> Any:
    return x.astype(np.longdouble) if x is not None and x.dtype == np.float64 else x


def derivative(
    d: Derivation, inputs: Any, options: Any, cotangents: Any, i: int, index: tuple[int, ...], size: float
) -> tuple[float, float] | None:
    """d<dy, f(x)>/dx_i[index] and its uncertainty; None at a kink. By the forward formula in long double."""
    wide = [_long(x) for x in inputs]
    flows = [None if dy is None else dy.astype(np.longdouble) for dy in cotangents]
    terms = 0.0

    def along(step: np.longdouble) -> np.longdouble:
        nonlocal terms
        x = np.array(wide[i])
        x[index] += step
        try:
            outputs, _ = d.apply([*wide[:i], x, *wide[i + 1 :]], options)
        except InputError:
            return np.longdouble("nan")
        products = [dy * y for dy, y in zip(flows, outputs, strict=True) if dy is not None]
        terms = max(terms, *(float(np.sum(np.abs(p))) for p in products))
        return np.longdouble(sum(np.sum(p) for p in products))

    along(np.longdouble(0))
    found = directional_derivative(along, terms + abs(size * float(wide[i][index])))
    return None if found is None else (found.value, 4 * found.error)
