"""Formulas as text: ``z1 = W1 @ x + b1`` becomes nodes of a computational graph.

``+ - * / ^ **`` and unary minus bind as on paper; ``@`` is the matrix product, ``*`` (also ``·``
and ``⊙``) multiplies element by element, ``^T`` transposes, ``^2`` squares. ``relu(z)``,
``softmax(z, dim=0)``: any registered derivation by name, its options as literals; ``ln`` is log,
``σ(z)`` sigmoid and ``max(0, z)`` relu. ``[1, 2; 3, 4]`` is a matrix, row by row, and ``dL/dW1`` (no
blanks) or ``∂L/∂W1`` a gradient. Nothing is ever evaluated as Python.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

import lark

from handgrad._derivation import registry
from handgrad._errors import HandgradError, InputError, require

GRAMMAR = r"""
chain: sum (_EQUALS sum)*

?sum: product | sum _PLUS product -> add | sum _MINUS product -> subtract
?product: signed | product _TIMES signed -> multiply | product _SLASH signed -> divide
        | product _AT signed -> matmul
?signed: power | _MINUS signed -> negative | _PLUS signed
?power: postfix | postfix _POWER signed -> power
?postfix: atom | postfix _TRANSPOSE -> transpose
?atom: NUMBER -> number | GRADIENT -> gradient | NAME -> name | "(" sum ")"
     | NAME "(" [argument ("," argument)*] ")" -> call
     | "[" row (";" row)* "]" -> matrix
row: sum ("," sum)*
?argument: sum | NAME _EQUALS literal -> option
?literal: SIGN? NUMBER -> number_literal | NAME -> word | STRING -> string
        | "(" [literal ("," literal)* [","]] ")" -> literals

_EQUALS: "=" | "≈"
_PLUS: "+"
_MINUS: "-" | "−"
_TIMES: "*" | "·" | "⊙" | "×"
_SLASH: "/"
_AT: "@"
_POWER.1: "^" | "**"
_TRANSPOSE.2: /\^T(?!\w)/
SIGN: "-"
GRADIENT.2: /d[^\W\d]\w*\/d[^\W\d]\w*|∂\s*[^\W\d]\w*\s*\/\s*∂\s*[^\W\d]\w*/
NAME: /[^\W\d]\w*/
NUMBER: /(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?/
STRING: /'[^']*'|"[^"]*"/
%ignore /\s+/
"""

Span = tuple[int, int]


@dataclass(frozen=True)
class Expr:
    """A formula or a part of one. ``span`` is its place in the text, and no part of its meaning."""

    span: Span = field(default=(0, 0), compare=False, kw_only=True)

    @property
    def parts(self) -> tuple[Expr, ...]:
        return ()


@dataclass(frozen=True)
class Number(Expr):
    """A literal, with its digits as written."""

    text: str

    @property
    def value(self) -> float:
        return float(self.text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Name(Expr):
    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Gradient(Expr):
    """d(of)/d(to)."""

    of: str
    to: str

    def __str__(self) -> str:
        return f"d{self.of}/d{self.to}"


@dataclass(frozen=True)
class Matrix(Expr):
    rows: tuple[tuple[Expr, ...], ...]

    @property
    def parts(self) -> tuple[Expr, ...]:
        return tuple(entry for row in self.rows for entry in row)

    def __str__(self) -> str:
        return "[" + "; ".join(", ".join(map(str, row)) for row in self.rows) + "]"


@dataclass(frozen=True)
class Element(Expr):
    """One element of a matrix, counted from 0; shown as on paper, counted from 1."""

    of: Expr
    row: int
    column: int

    @property
    def parts(self) -> tuple[Expr, ...]:
        return (self.of,)

    def __str__(self) -> str:
        return f"{_bracketed(self.of, 5)}[{self.row + 1}, {self.column + 1}]"


@dataclass(frozen=True)
class Apply(Expr):
    """A function of its arguments: a derivation's name, or "negative", which is -1 times."""

    layer: str
    args: tuple[Expr, ...]
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def parts(self) -> tuple[Expr, ...]:
        return self.args

    def __str__(self) -> str:
        if self.layer in _INFIX and len(self.args) == 2 and not self.options:
            symbol, level = _INFIX[self.layer]
            left, right = self.args
            return f"{_bracketed(left, level)} {symbol} {_bracketed(right, level + 1)}"
        if self.layer == "negative":
            return f"-{_bracketed(self.args[0], 3)}"
        if self.layer in ("square", "transpose") and not self.options:
            return f"{_bracketed(self.args[0], 5)}^{'2' if self.layer == 'square' else 'T'}"
        options = (f"{name}={value!r}" for name, value in self.options)
        return f"{self.layer}({', '.join((*map(str, self.args), *options))})"


_INFIX = {
    "add": ("+", 1),
    "subtract": ("-", 1),
    "multiply": ("*", 2),
    "divide": ("/", 2),
    "matmul": ("@", 2),
}


def _bracketed(e: Expr, level: int) -> str:
    own = 5
    if isinstance(e, Apply):
        own = _INFIX[e.layer][1] if e.layer in _INFIX else {"negative": 3, "square": 4}.get(e.layer, 5)
    elif isinstance(e, Number) and e.text.startswith("-"):
        own = 3
    return str(e) if own >= level else f"({e})"


# --- parsing -------------------------------------------------------------------------


def parse(text: str) -> Expr:
    """One expression. Raises InputError that points at the place where the text breaks."""
    chain = parse_chain(text)
    if len(chain) > 1:
        _refuse(text, chain[1].span[0], "a formula has one side here", "leave out what follows the '='")
    return chain[0]


def parse_chain(text: str) -> tuple[Expr, ...]:
    """Expressions joined by ``=`` or ``≈``, as a sheet prints a calculation."""
    try:
        chain: tuple[Expr, ...] = _ToExpr(text).transform(_PARSER.parse(text))
    except lark.UnexpectedInput as error:
        ended = isinstance(error, lark.UnexpectedToken) and error.token.type == "$END"
        at = len(text) if ended or error.pos_in_stream is None else error.pos_in_stream
        _refuse(text, at, _RULE, _hint(text, at))
    except lark.exceptions.VisitError as error:
        raise error.orig_exc from None
    except RecursionError:
        _refuse(text, 0, "a formula nests at most a few hundred levels deep", "name its parts")
    return chain


def parse_formula(text: str) -> tuple[Name | Gradient | None, Expr]:
    """``left = right``, where left is a name or a gradient; or an expression alone (left is None)."""
    chain = parse_chain(text)
    if len(chain) == 1:
        return None, chain[0]
    left, *rest = chain
    if not isinstance(left, Name | Gradient):
        _refuse(text, left.span[0], "the left side of a formula is a name or a gradient", "name the result")
    if len(rest) > 1:
        _refuse(text, rest[1].span[0], "a formula has one '='", "leave out what follows the second")
    return left, rest[0]


# as papers write them
_ALIASES = {"ln": "log", "σ": "sigmoid"}
_COMMA = re.compile(r"\d,\d")
_CLOSING = {"(": ")", "[": "]"}

_RULE = "a formula is numbers, names and calls joined by + - * / @ ^ and brackets"


def _refuse(text: str, at: int, rule: str, do: str) -> NoReturn:
    """The sentence, with the place marked by an arrow in the text itself."""
    before = text[:at] if at <= 40 else "…" + text[at - 40 : at]
    raise InputError(f"{rule}; received {before!r} ▸ {text[at : at + 40]!r}; {do}.") from None


def _hint(text: str, at: int) -> str:
    before, after = text[:at].rstrip(), text[at:]
    bracket = open_bracket(before)
    if bracket and (not after or after[0] in "=≈") and (before[-1].isalnum() or before[-1] in "_)]"):
        return f"a bracket is not closed: add '{_CLOSING[bracket]}'"
    if not after:
        return "complete it"
    if after[0] == "," and bracket != "[" and before[-1:].isdigit() and after[1:2].isdigit():
        return "write a decimal point, not a comma"
    if after[0] in "[(" or after[0].isalnum():
        inside = before.count("[") > before.count("]")
        return f"put {'a comma' if inside else '* or @'} before {after.split()[0]!r}"
    return f"correct it at {after.split()[0]!r}"


def open_bracket(text: str) -> str:
    """The last bracket that the text opens and does not close, or ""."""
    waiting: list[str] = []
    for c in text:
        if c in _CLOSING:
            waiting.append(c)
        elif waiting and c == _CLOSING[waiting[-1]]:
            waiting.pop()
    return waiting[-1] if waiting else ""


_PARSER = lark.Lark(GRAMMAR, parser="lalr", start="chain", propagate_positions=True)


@lark.v_args(meta=True)
class _ToExpr(lark.Transformer[lark.Token, Any]):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def __default__(self, data: str, children: list[Any], meta: Any) -> Expr:
        return Apply(str(data), tuple(children), span=_span(meta))

    def chain(self, meta: Any, children: list[Expr]) -> tuple[Expr, ...]:  # noqa: ARG002
        return tuple(children)

    def number(self, meta: Any, children: list[lark.Token]) -> Expr:
        return Number(str(children[0]), span=_span(meta))

    def name(self, meta: Any, children: list[lark.Token]) -> Expr:
        return Name(str(children[0]), span=_span(meta))

    def gradient(self, meta: Any, children: list[lark.Token]) -> Expr:
        of, to = (part.strip()[1:].lstrip() for part in str(children[0]).split("/"))
        return Gradient(of, to, span=_span(meta))

    def negative(self, meta: Any, children: list[Expr]) -> Expr:
        (u,) = children
        if isinstance(u, Number) and not u.text.startswith("-"):
            return Number("-" + u.text, span=_span(meta))
        return Apply("negative", (u,), span=_span(meta))

    def power(self, meta: Any, children: list[Expr]) -> Expr:
        base, exponent = children
        if base == Name("e") and exponent != Number("2"):
            rule = "a power of e is written with the function exp"
            _refuse(self.text, base.span[0], rule, f"write exp({exponent})")
        if exponent != Number("2"):
            rule = "the one power of this language is the square, x^2"
            _refuse(self.text, exponent.span[0], rule, "write others as products, such as x * x^2")
        return Apply("square", (base,), span=_span(meta))

    def row(self, meta: Any, children: list[Expr]) -> tuple[Expr, ...]:  # noqa: ARG002
        return tuple(children)

    def matrix(self, meta: Any, children: list[tuple[Expr, ...]]) -> Expr:
        if len({len(row) for row in children}) > 1:
            lengths = ", ".join(str(len(row)) for row in children)
            rule = f"the rows of a matrix have one length (here {lengths})"
            _refuse(self.text, meta.start_pos, rule, "fill in what is missing")
        return Matrix(tuple(children), span=_span(meta))

    def call(self, meta: Any, children: list[Any]) -> Expr:
        name, *rest = children
        arguments = [c for c in rest if c is not None]
        args = tuple(c for c in arguments if isinstance(c, Expr))
        options = tuple(c for c in arguments if not isinstance(c, Expr))
        name = _ALIASES.get(name, name)
        if name == "max" and len(args) == 2 and isinstance(args[0], Number) and args[0].value == 0:
            return Apply("relu", args[1:], span=_span(meta))  # as sheets write it
        try:
            _check_call(str(name), len(args), options)
        except HandgradError as error:
            here = self.text[slice(*_span(meta))]
            comma = ", and a number has a decimal point, not a comma" if _COMMA.search(here) else ""
            raise InputError(f"{error} (at {here!r}{comma})") from None
        return Apply(str(name), args, options, span=_span(meta))

    def option(self, meta: Any, children: list[Any]) -> tuple[str, Any]:  # noqa: ARG002
        return str(children[0]), children[1]

    def number_literal(self, meta: Any, children: list[lark.Token]) -> int | float:  # noqa: ARG002
        text = "".join(children)
        return int(text) if text.lstrip("-").isdigit() else float(text)

    def word(self, meta: Any, children: list[lark.Token]) -> bool | None:
        words = {"true": True, "false": False, "none": None}
        if children[0].lower() not in words:
            rule = "an option's value is a number, a quoted word, true, false, none or a tuple of these"
            _refuse(self.text, meta.start_pos, rule, f"quote it: '{children[0]}'")
        return words[children[0].lower()]

    def string(self, meta: Any, children: list[lark.Token]) -> str:  # noqa: ARG002
        return str(children[0])[1:-1]

    def literals(self, meta: Any, children: list[Any]) -> tuple[Any, ...]:  # noqa: ARG002
        return tuple(c for c in children if c is not None)


def _span(meta: Any) -> Span:
    return (meta.start_pos, meta.end_pos)


def _check_call(layer: str, count: int, options: tuple[tuple[str, Any], ...]) -> None:
    derivation = registry[layer]  # raises for an unknown one
    names, known = derivation.inputs, ", ".join(derivation.options) or "none"
    parameters = inspect.signature(derivation.forward).parameters.values()
    least = sum(p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty for p in parameters)
    require(
        least <= count and (derivation.variadic or count <= len(names)),
        f"{layer} takes the arguments {', '.join(names)}",
        f"{count} of them",
        "give these, separated by commas",
    )
    for name, _ in options:
        require(
            name in derivation.options, f"the options of {layer} are: {known}", repr(name), "use one of these"
        )
