"""The verdict on each printed number: follows, carried, or misprint.

A number *follows* if the exact value rounds to its digits. It is *carried* if it follows only when
some operands of its formula are taken as the sheet printed them before, rounded or wrong. Which
ones is searched, the fewest first. What is neither is a *misprint*.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from handgrad._arrays import Array
from handgrad._errors import InputError, require
from handgrad.expressions import Apply, Element, Expr, Matrix, Name
from handgrad.formulas import WritingError, call, element, shape
from handgrad.report.record import Example, Printed
from handgrad.worked._calculation import Calculation
from handgrad.worked._digits import Digits
from handgrad.worked._match import match
from handgrad.worked._questions import answer
from handgrad.worked._sheet import Line, Sheet, _at, load, place, shipped
from handgrad.worked._statements import require_true

_MOST = 256  # choices of exact and printed operands that are tried for one formula


class Judged(NamedTuple):
    """One verdict: the ``number``-th of a place, and what is surprising if its misprint is not declared."""

    place: str
    number: int
    printed: Printed
    surprise: str


@dataclass(frozen=True)
class Judgement:
    """A sheet's example record, its verdicts on numbers and questions one by one, and ``surprises``:
    where its misprints are not the declared ones."""

    example: Example
    surprises: tuple[str, ...]
    judged: tuple[Judged, ...] = ()


class Choice(NamedTuple):
    """A value of a formula: with which operands as printed (their words), or all exact."""

    value: Array
    used: tuple[str, ...]


@dataclass
class Ledger:
    """What the sheet has printed so far, and the formulas that it has given."""

    calculation: Calculation
    printed: dict[Expr, list[Choice]] = field(default_factory=dict)
    formulas: dict[Expr, list[Expr]] = field(default_factory=dict)

    def note(self, e: Expr, digits: Digits, where: str) -> None:
        known = self.printed.setdefault(e, [])
        if not any(np.array_equal(choice.value, digits.value) for choice in known):
            known.append(Choice(digits.value, (f"{e} = {digits.text} ({where})",)))

    def define(self, e: Expr, formula: Expr) -> None:
        if formula not in self.formulas.setdefault(e, []):
            self.formulas[e].append(formula)

    def choices(self, e: Expr, inside: frozenset[Expr] = frozenset()) -> list[Choice]:
        """Values of ``e``, the exact one first, then by how many operands are taken as printed."""
        exact = Choice(self.calculation.value(e), ())
        before = [Choice(c.value.reshape(exact.value.shape), c.used) for c in self.printed.get(e, [])]
        return _distinct([exact, *before, *self.computed(e, inside, bool(before))])

    def computed(self, e: Expr, inside: frozenset[Expr], printed: bool = False) -> Iterator[Choice]:
        """Values that follow from choices for the operands of ``e``."""
        if isinstance(e, Apply):
            for chosen in itertools.product(*(self.choices(arg, inside) for arg in e.args)):
                try:
                    yield Choice(np.asarray(call(e, [c.value for c in chosen])), _used(chosen))
                except InputError:
                    continue  # a printed 1.00 in log(1 - y_hat)
        elif isinstance(e, Element):
            for c in self.choices(e.of, inside):
                yield Choice(element(c.value, e.row, e.column), c.used)
        elif isinstance(e, Matrix):
            last = [[self.choices(entry, inside)[-1] for entry in row] for row in e.rows]
            value = np.asarray([[c.value.reshape(()) for c in row] for row in last])
            yield Choice(value, _used([c for row in last for c in row]))
        elif e not in inside and not (inside and printed):
            # the formula of an operand counts only where the operand itself was not printed
            for formula in self.formulas.get(e, []):
                yield from self.choices(formula, inside | {e})


def judge(sheet: Sheet, *, svg: bool = False) -> Judgement:
    """Every printed number, statement and question of a sheet, judged; with its graph as SVG if asked.

    Raises InputError, naming file and place, for what does not fit together.
    """
    calculation = Calculation(sheet)
    ledger = Ledger(calculation)
    for name, formula in (*sheet.model, *sheet.updates):
        ledger.define(Name(name), formula)
    printed: list[Printed] = []
    judged: list[Judged] = []
    surprises: list[str] = []

    def settle(at: str, verdicts: list[Printed], declared: Iterable[str]) -> None:
        printed.extend(verdicts)
        found, stale = _declared(at, verdicts, declared)
        judged.extend(found)
        surprises.extend(dict.fromkeys(filter(None, (item.surprise for item in found))))
        surprises.extend(stale)

    for i, line in enumerate(sheet.lines, start=1):
        at = place("line", i, line.where)
        with _at(f"{sheet.file}: {at}"):
            verdicts = list(_line(line, ledger))
        settle(at, verdicts, line.misprints)
    for i, s in enumerate(sheet.statements, start=1):
        with _at(f"{sheet.file}: {place('statement', i, s.where)}"):
            require_true(s, calculation)
        printed.append(
            Printed(what=s.text, where=s.where, printed="", verdict="statement", value=s.value, note=s.note)
        )
    for i, question in enumerate(sheet.questions, start=1):
        at = place("question", i, question.where)
        with _at(f"{sheet.file}: {at}"):
            verdicts = list(answer(question, calculation))
        settle(at, verdicts, question.misprints)
    graph_svg = None
    if svg and sheet.model:
        from handgrad.drawing import to_svg

        graph_svg = to_svg(*calculation.drawing)
    example = Example(title=sheet.title, source=sheet.source, graph_svg=graph_svg, printed=tuple(printed))
    return Judgement(example, tuple(surprises), tuple(judged))


def shipped_examples() -> list[Example]:
    """The records of all shipped examples, with their graphs: the lecture's part of a report."""
    return [judge(load(name), svg=True).example for name in shipped()]


# --- one line ----------------------------------------------------------------------------


def _line(line: Line, ledger: Ledger) -> Iterator[Printed]:
    calculation, whole = ledger.calculation, line.left or line.right
    truth = calculation.value(whole)
    formula: Expr | None = line.right
    if line.left is not None:
        checked = _formula(line, line.left, truth, calculation)
        yield checked
        formula = line.meant if checked.verdict == "misprint" else line.right
        if formula is not None:
            ledger.define(line.left, formula)
    results = [whole] if formula is None else [whole, formula]  # what the last number of a line stands for
    for part in line.parts:
        form, pairs = match(part, line.right, calculation)
        for printed, e in pairs:
            digits = Digits.of(printed)
            es = results if e == line.right else [e]
            verdict, value, note = _number(digits, calculation.value(es[0]), es, ledger)
            note = _join(note, line.note if verdict == "misprint" else "")
            yield Printed(
                what=str(es[0]),
                where=line.where,
                printed=digits.text,
                verdict=verdict,
                value=value,
                note=note,
            )
            for known in es[:2]:
                ledger.note(known, digits, line.where)
        if form != line.right and formula == line.right:
            results.append(form)


def _formula(line: Line, left: Expr, truth: Array, calculation: Calculation) -> Printed:
    """The formula itself, as printed: does it have the value of its left side?"""
    what = f"{left} = {line.right}"
    try:
        value = calculation.value(line.right)
    except WritingError:
        raise
    except InputError as error:
        value, note = None, str(error).rstrip(".")
    else:
        note = f"it is {shape(value)}, but {left} is {shape(truth)}"
    if value is not None and calculation.equal(value, truth):
        require(
            line.meant is None,
            "meant corrects a formula that does not hold",
            f"it for {what}",
            "leave it out",
        )
        return Printed(what=str(left), where=line.where, printed=str(line.right), verdict="follows")
    if value is not None and value.shape == truth.shape:
        note = "it has another value"
    if line.meant is not None:
        meant = calculation.value(line.meant)
        require(
            calculation.equal(meant, truth),
            f"meant has the value of {left}",
            f"'{line.meant}'",
            "correct it",
        )
    value_text = str(line.meant) if line.meant is not None else ""
    return Printed(
        what=str(left),
        where=line.where,
        printed=str(line.right),
        verdict="misprint",
        value=value_text,
        note=_join(note, line.note),
    )


def _number(digits: Digits, exact: Array, es: Sequence[Expr], ledger: Ledger) -> tuple[str, str, str]:
    """The verdict on one printed number, the value that follows, and a note."""
    cut = ledger.calculation.sheet.cut
    agrees = digits.cuts if cut else digits.rounds
    exact = digits.fit(exact)
    value = digits.write(exact, cut)
    if np.all(agrees(exact)):
        whole = bool(np.all(digits.unit >= 1)) and not np.all(exact == digits.value)
        return "follows", digits.text, "rounded to whole numbers" if whole else ""
    found = (Choice(digits.fit(c.value), c.used) for e in es for c in ledger.choices(e))
    choices = _distinct(found)
    best = max(choices, key=lambda c: int(np.sum(agrees(c.value))))  # the first, so the fewest printed
    if np.all(agrees(best.value)):
        return "carried", value, f"from {', '.join(best.used)}"
    if not np.any(agrees(best.value)):
        best = choices[-1]
    cut_off = next((c for c in choices if not cut and np.all(digits.cuts(c.value))), None)
    notes = [_wrong(digits, best, exact, agrees(best.value), cut)]
    if digits.value.size == 1:
        more = Digits(digits.value, digits.unit / 10, digits.text).write(exact, cut)
        notes.insert(0, f"{more} with one digit more" if float(more) != float(value) else "")
    if cut_off is not None:
        source = "" if cut_off is best else f" of {digits.write(cut_off.value)}"
        notes.append(f"the digits{source} are cut off, not rounded")
    return "misprint", value, _join(*notes)


def _wrong(digits: Digits, best: Choice, exact: Array, right: Array, cut: bool) -> str:
    """Which elements are wrong, and what follows from the sheet's own numbers where that differs."""
    own = digits.write(best.value, cut)
    source = f"from {', '.join(best.used)}" if best.used else ""
    if not np.any(right) or digits.value.size == 1:
        return f"{own} {source}" if source and own != digits.write(exact, cut) else ""
    places = []
    for i, j in np.argwhere(~right):
        one = Digits(digits.value[i, j], digits.unit[i, j], "")
        follows = f"{one.write(best.value[i, j], cut)} {source}" if source else one.write(exact[i, j], cut)
        places.append(f"row {i + 1}, column {j + 1} is {one.write(one.value)}, but {follows}".rstrip())
    return "; ".join(places)


def _declared(
    at: str, verdicts: Iterable[Printed], declared: Iterable[str]
) -> tuple[list[Judged], list[str]]:
    """Each verdict with whether its misprint is declared, and the declarations that no misprint meets."""
    expected = Counter(" ".join(d.split()) for d in declared)
    found = []
    for i, printed in enumerate(verdicts, start=1):
        surprise = ""
        if printed.verdict == "misprint" and expected[printed.printed] > 0:
            expected[printed.printed] -= 1
        elif printed.verdict == "misprint":
            surprise = f"{at}: {printed.printed} does not follow, and is not declared as a misprint"
        found.append(Judged(at, i, printed, surprise))
    return found, [f"{at}: {text} is declared as a misprint, but is none" for text in +expected]


def _used(chosen: Iterable[Choice]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words for c in chosen for words in c.used))


def _distinct(choices: Iterable[Choice]) -> list[Choice]:
    """Without repeated values, the fewest printed operands first; the last is kept where there are many."""
    ordered = sorted(itertools.islice(choices, 16 * _MOST), key=lambda c: len(c.used))
    seen: dict[bytes, Choice] = {}
    for c in ordered:
        seen.setdefault(np.asarray(c.value, dtype=np.float64).tobytes(), c)
    kept = list(seen.values())
    return kept if len(kept) <= _MOST else [*kept[: _MOST - 1], kept[-1]]


def _join(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
