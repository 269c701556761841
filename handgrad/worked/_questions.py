"""Multiple-choice questions: which option follows."""

from __future__ import annotations

from collections.abc import Iterator

from handgrad._errors import require
from handgrad.expressions import Expr, Gradient, parse
from handgrad.formulas import did_you_mean
from handgrad.report.record import Printed
from handgrad.worked._calculation import Calculation
from handgrad.worked._digits import Digits, decimals, number
from handgrad.worked._sheet import Question


def answer(question: Question, calculation: Calculation) -> Iterator[Printed]:
    """The answer to a question, and whether its options keep to the decimals asked for."""
    if question.value is not None:
        yield from _by_value(question, question.value, calculation)
    elif question.not_needed_for:
        yield _by_graph(question, calculation)
    else:
        option = f"({question.answer}) {question.options[question.answer]}"
        yield Printed(
            what=question.text,
            where=question.where,
            printed="",
            verdict="statement",
            value=option,
            note=question.reason,
        )


def _by_value(question: Question, value: Expr, calculation: Calculation) -> Iterator[Printed]:
    exact = calculation.value(value)
    right = []
    for letter, text in question.options.items():
        printed = number(text)
        require(
            printed is not None,
            "the options of a question with a value are numbers",
            repr(text),
            "print their digits, with a decimal point",
        )
        assert printed is not None
        digits = Digits.of(printed)
        rounded = digits.fit(exact)
        if (digits.cuts if calculation.sheet.cut else digits.rounds)(rounded):
            right.append(letter)
    shown = {letter: f"({letter}) {text}" for letter, text in question.options.items()}
    printed_answer = shown.get(question.answer) or ", ".join(shown[r] for r in right or shown)
    most = max(question.options.values(), key=decimals)
    plain = number(most)
    assert plain is not None
    follows = len(right) == 1 and question.answer in ("", *right)
    note = (
        ""
        if follows
        else (
            "more than one option follows"
            if len(right) > 1
            else f"{shown[right[0]]} follows"
            if right
            else "no option follows"
        )
    )
    yield Printed(
        what=str(value),
        where=question.where,
        printed=printed_answer,
        verdict="follows" if follows else "misprint",
        value=Digits.of(plain).write(exact),
        note="; ".join(filter(None, (note, question.reason))),
    )
    if question.decimals is not None:
        counts = sorted({decimals(text) for text in question.options.values()})
        if counts != [question.decimals]:
            asked = number("0." + "0" * question.decimals) if question.decimals else number("0")
            assert asked is not None
            yield Printed(
                what=f"decimals of {value}",
                where=question.where,
                printed=f"round to {question.decimals} decimal places",
                verdict="misprint",
                value=Digits.of(asked).write(exact),
                note=f"the options have {' and '.join(map(str, counts))} decimals",
            )


def _by_graph(question: Question, calculation: Calculation) -> Printed:
    """Which gradient is not needed: that of a value which does not depend on a parameter."""
    graph = calculation.graph
    for name in question.not_needed_for:
        require(
            name in graph.inputs,
            "not_needed_for names inputs of the model",
            repr(name),
            did_you_mean(name, graph.inputs),
        )
    needed = graph.depends_on(question.not_needed_for)
    free = {}
    for letter, text in question.options.items():
        gradient = parse(text)
        require(
            isinstance(gradient, Gradient),
            "these options are gradients, such as dL/dx",
            repr(text),
            "write it so",
        )
        assert isinstance(gradient, Gradient)
        calculation.value(gradient)  # raises for unknown names
        if gradient.to not in needed:
            free[letter] = gradient
    value = ", ".join(f"({letter}) {gradient}" for letter, gradient in free.items()) or "every one is needed"
    parameters = ", ".join(question.not_needed_for)
    leaving = [str(g.to) for g in free.values()]
    note = f"in the graph, {' and '.join(leaving)} depends on none of {parameters}" if free else ""
    wrong = bool(question.answer) and list(free) != [question.answer]
    return Printed(
        what=question.text,
        where=question.where,
        printed=question.options.get(question.answer, ""),
        verdict="misprint" if wrong else "statement",
        value=value,
        note="; ".join(filter(None, (note, question.reason))),
    )
