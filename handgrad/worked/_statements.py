"""Statements: where what they call true is an equation, it is computed again."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from handgrad._errors import InputError, require
from handgrad.expressions import Expr, open_bracket, parse_chain
from handgrad.worked._calculation import Calculation
from handgrad.worked._digits import Digits
from handgrad.worked._match import is_literal
from handgrad.worked._sheet import Statement

_BETWEEN = re.compile(r"[,;]|\band\b")


def require_true(statement: Statement, calculation: Calculation) -> None:
    """Raises InputError where ``value`` is an equation, or several with commas, and one does not hold.

    Words that are no equation are not checked.
    """
    for text in _clauses(statement.value):
        try:
            chain = parse_chain(text)
        except InputError:
            continue  # words
        if len(chain) > 1:
            _require_equal(text.strip(), chain, calculation)


def _clauses(text: str) -> Iterator[str]:
    """The parts between commas, leaving alone those inside brackets."""
    start = 0
    for found in _BETWEEN.finditer(text):
        if not open_bracket(text[: found.start()]):
            yield text[start : found.start()]
            start = found.end()
    yield text[start:]


def _require_equal(text: str, chain: tuple[Expr, ...], calculation: Calculation) -> None:
    first = next((e for e in chain if not is_literal(e)), chain[0])
    exact = calculation.value(first)
    for e in chain:
        if is_literal(e):
            digits = Digits.of(e)
            agrees = digits.cuts if calculation.sheet.cut else digits.rounds
            holds, wanted = bool(np.all(agrees(digits.fit(exact)))), f"{first} is not {e}"
        else:
            holds, wanted = calculation.equal(calculation.value(e), exact), f"{e} is not {first}"
        if exact.size == 1:
            wanted += f" but {float(exact.reshape(())):.6g}"
        require(holds, "the value of a statement is what is true", f"'{text}', where {wanted}", "correct it")
