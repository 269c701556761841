"""Formulas as graphs and as values: every operation is a registered derivation's own forward."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from handgrad._arrays import Array
from handgrad._derivation import registry
from handgrad._errors import InputError, require
from handgrad.expressions import Apply, Element, Expr, Gradient, Matrix, Name, Number
from handgrad.graph import Graph, Node

_MINUS_ONE = Number("-1")
_NEGATION = "#-"  # so begins the name of a -1 that stands for a minus sign


class WritingError(InputError):
    """A formula that says nothing, whatever the numbers: its writer's mistake, not the sheet's."""


def build(formulas: Iterable[tuple[str, Expr]], inputs: Iterable[str]) -> tuple[Graph, dict[str, Array]]:
    """The graph of an ordered model, and the values of its constants.

    Each formula's name becomes a node; what it calls on the way becomes a node ``u1``, ``u2`` and so
    on. A literal becomes an input ``#1``, ``#2``: give it its value beside those of the inputs. So does
    the -1 of a minus sign, see :func:`is_negation`.
    Raises InputError for a name that is not known, or twice.
    """
    formulas, inputs = list(formulas), list(inputs)
    graph, constants = Graph(), dict[str, Array]()
    taken = {*inputs, *(name for name, _ in formulas)}
    fresh = (name for i in itertools.count(1) if (name := f"u{i}") not in taken)
    for name in inputs:
        graph.input(name)
    for name, expr in formulas:
        if isinstance(expr, Apply):
            _node(graph, constants, expr, fresh, name)
        else:  # y = x: an own node, so that it has an own name
            _node(graph, constants, Apply("multiply", (Number("1"), expr)), fresh, name)
    return graph, constants


def _node(graph: Graph, constants: dict[str, Array], expr: Expr, fresh: Iterator[str], name: str = "") -> str:
    if isinstance(expr, Apply):
        if expr.layer == "negative":
            minus = graph.input(f"{_NEGATION}{len(constants) + 1}")
            constants[minus] = literal(_MINUS_ONE)
            inner = _node(graph, constants, expr.args[0], fresh)
            return graph.apply("multiply", minus, inner, name=name or next(fresh))
        args = [_node(graph, constants, arg, fresh) for arg in expr.args]
        return graph.apply(expr.layer, *args, name=name or next(fresh), **dict(expr.options))
    if isinstance(expr, Name):
        require(
            expr.name in graph.nodes,
            "a formula uses inputs and names that formulas before it define",
            repr(expr.name),
            did_you_mean(expr.name, [n for n in graph.nodes if n.isidentifier()]),
        )
        return expr.name
    if isinstance(expr, Number | Matrix):
        edge = graph.input(f"#{len(constants) + 1}")
        constants[edge] = literal(expr)
        return edge
    raise InputError(
        f"a model is made of functions of values; received {str(expr)!r}; use it in updates and lines only, "
        "and write a division with blanks, a / b."
    )


def is_negation(node: Node) -> bool:
    """Whether a node of :func:`build`'s, -1 times its second argument, was written as a minus sign."""
    return node.layer == "multiply" and str(node.args[0]).startswith(_NEGATION)


def literal(expr: Expr) -> Array:
    """The value of a number () or of a matrix of numbers (rows, columns), in float64."""
    rows = expr.rows if isinstance(expr, Matrix) else ((expr,),)
    require(
        all(isinstance(e, Number) for row in rows for e in row),
        "a value is a number or a matrix of numbers, such as [1, 2; 3, 4]",
        repr(str(expr)),
        "write it out",
    )
    value = np.asarray([[float(str(e)) for e in row] for row in rows])
    require(bool(np.all(np.isfinite(value))), "a number is at most 1.8e308", str(expr), "give a smaller one")
    return value if isinstance(expr, Matrix) else value.reshape(())


def evaluate(expr: Expr, leaf: Callable[[Expr], Array]) -> Array:
    """The value of a formula, by the derivations' own forwards. ``leaf`` knows names and gradients.

    Raises InputError where shapes do not fit or a value is not finite.
    """
    if isinstance(expr, Apply):
        return call(expr, [evaluate(arg, leaf) for arg in expr.args])
    if isinstance(expr, Element):
        return element(evaluate(expr.of, leaf), expr.row, expr.column)
    if isinstance(expr, Matrix):
        entries = [[evaluate(e, leaf) for e in row] for row in expr.rows]
        return np.asarray([[e.reshape(()) for e in row] for row in entries])
    return literal(expr) if isinstance(expr, Number) else leaf(expr)


def call(expr: Apply, args: Sequence[Array]) -> Array:
    """One function applied to values. Raises InputError, naming the formula, where they do not fit."""
    layer = expr.layer
    if layer == "negative":
        layer, args = "multiply", (np.asarray(-1.0), *args)
    if layer == "multiply" and len(args) == 2:
        require(
            args[0].shape == args[1].shape or 1 in (args[0].size, args[1].size),
            f"* multiplies element by element, equal shapes or one a single number, in '{expr}'",
            f"{shape(args[0])} times {shape(args[1])}",
            "write @ for the matrix product",
        )
    if layer == "transpose" and not expr.options:
        _require_matrix(expr, args[0])
    try:
        with np.errstate(all="ignore"):
            outputs, _ = registry[layer].apply(args, dict(expr.options))
    except InputError as error:  # the derivation's own sentence
        raise InputError(f"in '{expr}': {error}") from None
    except (ValueError, IndexError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"in '{expr}': shapes and options must fit; received {' and '.join(map(shape, args))} "
            f"({reason}); change one of them."
        ) from None
    require(
        bool(np.all(np.isfinite(outputs[0]))),
        "each value must be a finite number",
        f"{'NaN' if np.any(np.isnan(outputs[0])) else 'infinity'} for '{expr}'",
        "keep the inputs where the formula is defined",
    )
    return outputs[0]


def _require_matrix(expr: Apply, value: Array) -> None:
    (operand,) = expr.args
    if value.ndim == 1:
        shown = "; ".join(f"{v:.6g}" for v in value[:4]) + ("; ..." if value.size > 4 else "")
        do = f'make {operand} a column: "[{shown}]"'
        if not isinstance(operand, Name):
            do = 'make its operands columns, such as "[1; 2]"'
    else:
        do = "leave out ^T"
    received = f"a list of {value.size}" if value.ndim else shape(value)
    require(value.ndim >= 2, f"^T transposes a matrix, in '{expr}'", received, do, WritingError)


def element(value: Array, row: int, column: int) -> Array:
    """One element of a value seen as a matrix; a vector is a row."""
    return np.asarray(np.atleast_2d(value)[row, column])


def shape(value: Array) -> str:
    """A shape in words: ``2 x 1``, or ``a number``."""
    return " x ".join(map(str, value.shape)) or "a number"


def did_you_mean(
    name: str, known: Iterable[str], otherwise: str = "define it first, or correct the name"
) -> str:
    """What to do about an unknown name; ``otherwise`` where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]}?" if near else otherwise


def leaves(expr: Expr) -> Iterator[Name | Gradient]:
    """The names and gradients that a formula uses, from left to right."""
    if isinstance(expr, Name | Gradient):
        yield expr
    for part in expr.parts:
        yield from leaves(part)
