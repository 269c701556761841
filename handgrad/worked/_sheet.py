"""A sheet of worked examples, read from TOML and validated. Its form: docs/worked-examples.md."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from handgrad._arrays import Array
from handgrad._errors import HandgradError, InputError, require
from handgrad.expressions import Expr, Gradient, Name, parse, parse_chain, parse_formula
from handgrad.formulas import did_you_mean, literal

_STRINGS, _STRING_OR_VALUE = "a list of strings", "a number, a list of numbers, or a matrix in quotes"
_SHEET = {
    "title": "a string",
    "source": "a string",
    "rounding": "a string",
    "target": "a string",
    "model": _STRINGS,
    "updates": _STRINGS,
    "inputs": "a table",
    "indices": "a table",
    "line": "tables, [[line]]",
    "statement": "tables, [[statement]]",
    "question": "tables, [[question]]",
}
_LINE = {
    "where": "a string",
    "formula": "a string",
    "printed": "a string",
    "meant": "a string",
    "note": "a string",
    "misprints": _STRINGS,
}
_STATEMENT = {"where": "a string", "text": "a string", "value": "a string", "note": "a string"}
_QUESTION = {
    "where": "a string",
    "text": "a string",
    "options": "a table",
    "value": "a string",
    "decimals": "a whole number",
    "not_needed_for": _STRINGS,
    "answer": "a string",
    "reason": "a string",
    "misprints": _STRINGS,
}


@dataclass(frozen=True)
class Line:
    """One printed calculation: ``left = right`` as a formula, and its parts with numbers put in.

    ``meant`` stands for ``right`` where that is itself a misprint; ``misprints`` are declared.
    """

    where: str
    left: Name | Gradient | None
    right: Expr
    parts: tuple[Expr, ...] = ()
    meant: Expr | None = None
    note: str = ""
    misprints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Statement:
    """Words on the sheet, and what is true. Where ``value`` is an equation it is computed again."""

    where: str
    text: str
    value: str = ""
    note: str = ""


@dataclass(frozen=True)
class Question:
    """A multiple-choice question. Its answer is the option that has ``value``, or the gradient that is
    not needed for those of some parameters, or is stated with its reason."""

    where: str
    text: str
    options: dict[str, str]
    value: Expr | None = None
    decimals: int | None = None
    not_needed_for: tuple[str, ...] = ()
    answer: str = ""
    reason: str = ""
    misprints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sheet:
    """A worked example: inputs, a model (formulas in order), and what is printed."""

    file: str
    title: str
    source: str = ""
    inputs: Mapping[str, Array] = None  # type: ignore[assignment]
    model: tuple[tuple[str, Expr], ...] = ()
    target: str = ""
    updates: tuple[tuple[str, Expr], ...] = ()
    cut: bool = False
    lines: tuple[Line, ...] = ()
    statements: tuple[Statement, ...] = ()
    questions: tuple[Question, ...] = ()


def shipped() -> tuple[str, ...]:
    """Names of the examples that come with handgrad, in the lecture's order."""
    folder = files("handgrad.examples")
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def load(source: str | Path) -> Sheet:
    """A sheet: a shipped example's name, or a TOML file. Raises InputError, naming file and place."""
    if str(source) in shipped():
        text = (files("handgrad.examples") / f"{source}.toml").read_text(encoding="utf-8")
        return read(text, str(source))
    try:
        text = Path(source).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"an example is a TOML file, or one of {', '.join(shipped())}; received {str(source)!r}: "
            f"{error.strerror or error}; check the name."
        ) from None
    except UnicodeDecodeError:
        raise InputError(
            f"{source}: a sheet is UTF-8 text; received other bytes; save it as UTF-8."
        ) from None
    return read(text, str(source))


def read(text: str, file: str) -> Sheet:
    """A sheet from TOML text; ``file`` names it in errors."""
    try:
        data = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, and Python's own for thousands of digits
        reason = str(error).split(";")[0]
        raise InputError(
            f"{file}: a sheet is TOML; received text that breaks ({reason}); correct it there."
        ) from None
    except RecursionError:
        raise InputError(f"{file}: a sheet nests a few levels; received far more; flatten it.") from None
    with _at(file):
        _known(data, _SHEET)
        require(bool(data.get("title")), "a sheet has a title", "none", 'add title = "..."')
        rounding = data.get("rounding", "nearest")
        require(
            rounding in ("nearest", "cut"), 'rounding is "nearest" or "cut"', repr(rounding), "choose one"
        )
    inputs = {name: _input(value, f"{file}: inputs.{name}") for name, value in data.get("inputs", {}).items()}
    indices = {
        name: _index(value, f"{file}: indices.{name}") for name, value in data.get("indices", {}).items()
    }
    model = _definitions(data, "model", file)
    with _at(file):
        twice = set(inputs) & set(indices)
        require(
            not twice, "an input stands in one table", ", ".join(sorted(twice)), "remove it from the other"
        )
        target = data.get("target", model[-1][0] if model else "")
        names = [name for name, _ in model]
        require(
            not target or target in names,
            "the target is a name that the model defines",
            repr(target),
            did_you_mean(target, names),
        )
    return Sheet(
        file=file,
        title=data["title"],
        source=data.get("source", ""),
        inputs={**inputs, **indices},
        model=model,
        target=target,
        updates=_definitions(data, "updates", file),
        cut=rounding == "cut",
        lines=tuple(_each(data, "line", _LINE, _line, file)),
        statements=tuple(_each(data, "statement", _STATEMENT, _statement, file)),
        questions=tuple(_each(data, "question", _QUESTION, _question, file)),
    )


def place(key: str, number: int, where: str = "") -> str:
    """A table's place in its file: ``[[line]] 3 (forward)``."""
    return f"[[{key}]] {number}" + (f" ({where})" if where else "")


@contextlib.contextmanager
def _at(place: str) -> Iterator[None]:
    """Errors name the file and the place."""
    try:
        yield
    except HandgradError as error:
        raise InputError(f"{place}: {error}") from None
    except RecursionError:
        raise InputError(
            f"{place}: formulas nest a few hundred levels deep in all; received more; name their parts."
        ) from None


def _known(table: Mapping[str, Any], keys: Mapping[str, str]) -> None:
    for key, value in table.items():
        require(key in keys, f"the keys here are {', '.join(keys)}", repr(key), did_you_mean(key, keys))
        kind = keys[key]
        right = {
            "a string": isinstance(value, str),
            "a whole number": isinstance(value, int) and not isinstance(value, bool) and value >= 0,
            _STRINGS: isinstance(value, list) and all(isinstance(v, str) for v in value),
            "a table": isinstance(value, dict),
        }.get(kind, isinstance(value, list) and all(isinstance(v, dict) for v in value))
        require(right, f"{key} is {kind}", repr(value)[:60], "write it so")


def _each(data: Mapping[str, Any], key: str, keys: Mapping[str, str], make: Any, file: str) -> Iterator[Any]:
    for i, table in enumerate(data.get(key, []), start=1):
        with _at(f"{file}: {place(key, i)}"):
            _known(table, keys)
        with _at(f"{file}: {place(key, i, table.get('where', ''))}"):
            require(bool(table.get("where")), f"each {key} says where it is printed", "no where", "add it")
            fields = {name: tuple(v) if isinstance(v, list) else v for name, v in table.items()}
            yield make(**fields)


def _line(*, where: str, formula: str = "", printed: str = "", meant: str = "", **rest: Any) -> Line:
    require(bool(formula), "a line has a formula", "none", 'add formula = "z = W @ x + b"')
    left, right = parse_formula(formula)
    return Line(
        where, left, right, parse_chain(printed) if printed else (), parse(meant) if meant else None, **rest
    )


def _statement(*, where: str, text: str = "", **rest: str) -> Statement:
    require(bool(text), "a statement says what the sheet says", "no text", 'add text = "..."')
    return Statement(where, text, **rest)


def _question(
    *, text: str = "", options: dict[str, Any] | None = None, value: str = "", **rest: Any
) -> Question:
    options = options or {}
    require(
        all(isinstance(o, str) for o in options.values()) and len(options) > 1,
        "a question has two options or more, each a string with the digits as printed",
        repr(options),
        'write options = { a = "12", b = "10" }',
    )
    answer = rest.get("answer", "")
    require(
        not answer or answer in options,
        "the answer is one of the options' letters",
        repr(answer),
        f"choose from {', '.join(options)}",
    )
    kinds = [bool(value), bool(rest.get("not_needed_for")), bool(answer and rest.get("reason"))]
    require(
        any(kinds),
        "a question has a value, not_needed_for, or an answer with its reason",
        "none of them",
        "add one",
    )
    return Question(text=text, options=options, value=parse(value) if value else None, **rest)


def _definitions(data: Mapping[str, Any], key: str, file: str) -> tuple[tuple[str, Expr], ...]:
    result: list[tuple[str, Expr]] = []
    for i, text in enumerate(data.get(key, []), start=1):
        with _at(f"{file}: {key}, formula {i}"):
            left, right = parse_formula(text)
            require(
                isinstance(left, Name),
                "a formula here has a name on its left",
                repr(text),
                "write it as name = formula",
            )
            result.append((str(left), right))
    return tuple(result)


def _input(value: Any, place: str) -> Array:
    """A number, nested lists of numbers (any depth), or a matrix in quotes; float64 and finite."""
    with _at(place):
        if isinstance(value, str):
            return literal(parse(value))
        array = _array(value)
        require(array.dtype.kind in "iuf", f"an input is {_STRING_OR_VALUE}", repr(value)[:60], "write it so")
        exact = array.dtype.kind == "f" or bool(np.all(np.abs(array) <= 2**53))
        require(
            exact, "a whole number is exact in float64 up to 2^53", repr(value)[:60], "give a smaller one"
        )
        require(array.size > 0, "an input has at least one number", "none", "fill it in")
        finite = bool(np.all(np.isfinite(array)))
        require(finite, "inputs are finite numbers", repr(value)[:60], "replace NaN and infinities")
        return np.asarray(array, dtype=np.float64)


def _index(value: Any, place: str) -> Array:
    with _at(place):
        array = _array(value)
        require(
            array.dtype.kind == "i", "indices are whole numbers", repr(value)[:60], "put others under inputs"
        )
        return array


def _array(value: Any) -> Array:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        raise InputError(
            f"the rows of an input have one length; received {repr(value)[:60]}; fill in what is missing."
        ) from None
    return array
