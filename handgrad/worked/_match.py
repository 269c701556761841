"""Which part of a formula each printed number stands for.

``(0.3 + 0.78) + 0.3`` printed for ``W2 @ a1 + b2``: both are a sum, so 0.3 at the end is b2; the
rest is a sum where the formula has a matrix product, which written out is a sum of products, so
0.3 is W2[1, 1] * a1[1, 1]; and a number alone stands for all of its formula. A minus sign printed
where the formula adds is that of the number after it: ``- 0.5 * 2`` is ``+ (-0.5) * 2``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from handgrad._errors import InputError
from handgrad.expressions import Apply, Element, Expr, Matrix, Number
from handgrad.worked._calculation import Calculation

Pairs = list[tuple[Expr, Expr]]


class _Differs(Exception):
    """The printed form and the formula differ at this printed part."""

    def __init__(self, printed: Expr, formula: Expr) -> None:
        super().__init__(str(printed), str(formula))
        self.printed, self.formula = printed, formula


def is_literal(e: Expr) -> bool:
    """A printed number, or a printed matrix of numbers."""
    return isinstance(e, Number) or (isinstance(e, Matrix) and all(isinstance(p, Number) for p in e.parts))


def match(printed: Expr, formula: Expr, calculation: Calculation) -> tuple[Expr, Pairs]:
    """The formula in the form that is printed, and (printed number, its part of the formula) in order.

    Raises InputError where the printed text has another form than the formula.
    """
    pairs: Pairs = []
    try:
        return _match(printed, formula, calculation, pairs), pairs
    except _Differs as differs:
        raise InputError(
            f"a printed calculation has the form of its formula '{formula}', numbers for names; received "
            f"'{differs.printed}' for '{differs.formula}'; give it a line with a formula of its form."
        ) from None


def _match(p: Expr, f: Expr, calculation: Calculation, pairs: Pairs) -> Expr:
    if is_literal(p):
        if not (isinstance(f, Number) and isinstance(p, Number) and f.value == p.value):
            pairs.append((p, f))
        return f
    if p == f:
        return f
    if isinstance(p, Apply) and isinstance(f, Apply) and _same_function(p, f):
        start = len(pairs)
        try:
            args = [_match(a, b, calculation, pairs) for a, b in zip(p.args, f.args, strict=True)]
            return Apply(f.layer, tuple(args), f.options)
        except _Differs:
            del pairs[start:]  # perhaps its elements match
            if calculation.value(f).size != 1:
                raise
    if isinstance(p, Apply) and isinstance(f, Apply) and (p.layer, f.layer) == ("subtract", "add"):
        left, right = p.args
        added = Apply("add", (left, _minus(right, f.args[1], calculation)), span=p.span)
        return _match(added, f, calculation, pairs)
    if isinstance(p, Matrix):
        value = calculation.value(f)
        if value.ndim > 2 or np.atleast_2d(value).shape != (len(p.rows), len(p.rows[0])):
            raise _Differs(p, f)
        return Matrix(
            tuple(
                tuple(_match(e, calculation.element(f, i, j), calculation, pairs) for j, e in enumerate(row))
                for i, row in enumerate(p.rows)
            )
        )
    if isinstance(f, Apply | Matrix) and calculation.value(f).size == 1:
        written_out = calculation.element(f, 0, 0)
        if written_out != f and not isinstance(written_out, Element):
            return _match(p, written_out, calculation, pairs)
    raise _Differs(p, f)


def _minus(p: Expr, f: Expr, calculation: Calculation) -> Expr:
    """What is printed after a minus sign, with the sign on the factor that is negative in ``f``."""
    if isinstance(p, Number):
        return replace(p, text=p.text[1:] if p.text.startswith("-") else f"-{p.text}")
    if isinstance(p, Matrix):
        return replace(p, rows=tuple(tuple(_minus(e, f, calculation) for e in row) for row in p.rows))
    if isinstance(p, Apply) and p.layer in ("multiply", "divide", "matmul"):
        a, b = p.args
        x, y = f.args if isinstance(f, Apply) and f.layer == p.layer else (f, f)
        second = bool(np.all(calculation.value(x) >= 0) and np.any(calculation.value(y) < 0))
        args = (a, _minus(b, y, calculation)) if second else (_minus(a, x, calculation), b)
        return replace(p, args=args)
    return Apply("negative", (p,), span=p.span)


def _same_function(p: Apply, f: Apply) -> bool:
    return p.layer == f.layer and p.options == f.options and len(p.args) == len(f.args)
