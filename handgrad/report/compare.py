"""Two records, old and new: what regressed, worsened, improved, appeared and vanished."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import RenderableType

from handgrad.report import markdown
from handgrad.report._console import line, rendered, table
from handgrad.report.record import Check, Record, severity, split
from handgrad.report.schema import encode
from handgrad.report.words import ABSENT, count, exact, listing, multiple, number, one_line

KINDS = ("regressed", "vanished", "appeared", "worsened", "improved")
_MESSAGE = 48  # characters of a message in a table: a long exception is not to fill the screen
_DRAWN = "architectures"  # the group whose checks depend on what all layers are
_HEADERS = ("layer", "check", "before", "now", "hand value now", "true value now")


@dataclass(frozen=True)
class Change:
    """One check in the old record and in the new one; ``None`` where it is not in it."""

    old: Check | None
    new: Check | None
    printed: bool = False  # a printed number of a worked example, not a check of the code
    cause: Check | None = None  # a case that now fails as a whole, by which this check vanished

    @property
    def place(self) -> str:
        """Where to look: the layer (or group), of the cause where there is one."""
        return (self.cause or self.check).place

    @property
    def check(self) -> Check:
        check = self.new or self.old
        assert check is not None  # compare() never makes an empty change
        return check

    @property
    def kind(self) -> str:
        """ "regressed", "vanished", "appeared", "worsened", "improved" or "" (no change).

        - regressed: it passed and fails now; or fails still, by more than twice the error, or
          without a number where it had one
        - worsened: it still passes, with more than twice the error and an ulp more: no failure
        - improved: it failed and passes now; or the reverse of worsened
        """
        old, new = self.old, self.new
        if new is None:
            return "vanished"
        if old is None:
            return "appeared"
        if not new.passed and (old.passed or _grew(old, new)):
            return "regressed"
        if (new.passed and not old.passed) or _grew(new, old):
            return "improved"
        return "worsened" if _grew(old, new) else ""

    @property
    def gates(self) -> bool:
        """Whether this change fails a comparison: it regressed, vanished, or is new and wrong.

        A misprint of a new worked example is the sheet's fault, and fails nothing.
        """
        new_and_wrong = self.old is None and not self.check.passed and not self.printed
        return self.kind in ("regressed", "vanished") or new_and_wrong


@dataclass(frozen=True)
class Comparison:
    """What changed from ``old`` to ``new``: each kind in the order worst first, then by name."""

    old: Record
    new: Record
    changes: tuple[Change, ...]

    def of(self, kind: str) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.kind == kind)

    @property
    def regressed(self) -> tuple[Change, ...]:
        return self.of("regressed")

    @property
    def vanished(self) -> tuple[Change, ...]:
        return self.of("vanished")

    @property
    def appeared(self) -> tuple[Change, ...]:
        return self.of("appeared")

    @property
    def worsened(self) -> tuple[Change, ...]:
        return self.of("worsened")

    @property
    def improved(self) -> tuple[Change, ...]:
        return self.of("improved")

    @property
    def passed(self) -> bool:
        """Whether nothing regressed: no check that fails now and did not, and none vanished."""
        return not any(change.gates for change in self.changes)

    @property
    def regressed_layers(self) -> tuple[str, ...]:
        """The layers (or groups, where no layer is named) that regressed, worst first.

        A wrong layer also makes printed numbers wrong that are computed with it: a worked example is
        named only where no layer is.
        """
        gating = [c for c in self.changes if c.gates]
        named = any((c.cause or c.check).layer for c in gating)
        return tuple(dict.fromkeys(c.place for c in gating if not (c.printed and named)))

    @property
    def still_failing(self) -> int:
        """How many checks fail in both records, and not worse than before."""
        fresh = sum(c.gates and not c.printed and c.new is not None for c in self.changes)
        return self.new.counts["failed"] - fresh

    @property
    def by_layer(self) -> dict[str, dict[str, int]]:
        """How many changes of each kind each layer has, those that regressed first."""
        parts = split(self.changes, lambda change: change.place)
        return {place: dict(Counter(change.kind for change in part)) for place, part in parts}

    @property
    def verdict(self) -> str:
        """The whole comparison in one sentence."""
        if self.passed:
            text = f"Nothing regressed in {count(len(self.old.checks), 'check')}"
        else:
            gating = sum(change.gates for change in self.changes)
            text = f"{count(gating, 'regression')}, in {listing(self.regressed_layers)}"
        return text + (f"; {self.still_failing:,} more failed before, too" if self.still_failing else "")

    @property
    def notes(self) -> tuple[str, ...]:
        """What makes the two records hard to compare."""
        found = []
        if self.old.seed != self.new.seed:
            found.append(
                f"The seeds differ ({self.old.seed} before, {self.new.seed} now): "
                "errors within rounding differ by chance."
            )
        if _redrawn(self.old, self.new):
            found.append(
                "The random architectures are others, since the seed or the layers that they are drawn "
                "from differ: those that are in one report alone are left out."
            )
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Plain strict JSON: every change with its check before and now, in the schema's form
        (without the grid of errors); ``None`` where a record has no such check."""
        return {
            "passed": self.passed,
            "verdict": self.verdict,
            "notes": list(self.notes),
            "regressed_layers": list(self.regressed_layers),
            "by_layer": self.by_layer,
            "still_failing": self.still_failing,
            **{kind: [_plain(change) for change in self.of(kind)] for kind in KINDS},
        }

    def to_markdown(self, limit: int = 100) -> str:
        """Markdown with at most ``limit`` changes of each kind."""
        blocks = [f"# {markdown.escape(self.verdict)}", *map(markdown.escape, self.notes)]
        for kind in KINDS:
            changes = self.of(kind)
            if changes:
                rows = [
                    [markdown.code(row[0]), markdown.code(row[1]), *map(markdown.escape, row[2:])]
                    for row in map(_row, changes[:limit])
                ]
                blocks += [f"## {_title(kind, changes)}", markdown.table(_HEADERS, rows)]
                blocks += [f"And {n:,} more." for n in _beyond(changes, limit)]
        return "\n\n".join(blocks) + "\n"

    def to_text(self, *, colour: bool | None = None, width: int | None = None, limit: int = 20) -> str:
        """Text for a terminal, at most ``limit`` changes of each kind; see `report.to_text`."""
        return rendered(self._parts(limit), colour, width)

    def _parts(self, limit: int) -> Iterator[RenderableType]:
        yield line(self.verdict, "bold green" if self.passed else "bold red")
        for note in self.notes:
            yield line(note, "yellow")
        for kind in KINDS:
            changes = self.of(kind)
            if changes:
                alarming = any(change.gates for change in changes)
                yield line("")
                yield line(_title(kind, changes), "bold red" if alarming else "bold")
                rows = [_row(change)[1:] for change in changes[:limit]]
                valued = any(cell != ABSENT for row in rows for cell in row[3:])
                columns = 5 if valued else 3  # the room goes to the words where there are no values
                yield table(_HEADERS[1 : columns + 1], (row[:columns] for row in rows))
                yield from (line(f"and {n:,} more") for n in _beyond(changes, limit))


def compare(old: Record, new: Record) -> Comparison:
    """Match the checks of two records by id and say what changed.

    A printed number of a worked example counts too: it passes unless it is a misprint.
    """
    changed = []
    for printed in (False, True):
        parts = [_printed(r) if printed else r.checks for r in (old, new)]
        before, now = ({check.id: check for check in part} for part in parts)
        whole = {(c.group, c.case): c for c in now.values() if not c.passed and c.id == f"{c.case} / call"}
        pairs = (
            Change(b, n, printed, whole.get((b.group, b.case)) if b and not n else None)
            for b, n in ((before.get(name), now.get(name)) for name in before.keys() | now.keys())
        )
        changed += [change for change in pairs if change.kind]
    if _redrawn(old, new):
        changed = [c for c in changed if c.check.group != _DRAWN or (c.old and c.new) or _fails(c.new)]
    return Comparison(old, new, tuple(sorted(changed, key=_order)))


def _redrawn(old: Record, new: Record) -> bool:
    """Whether both have random architectures, and not the same ones: another seed, or other layers."""
    if not all(any(c.group == _DRAWN for c in record.checks) for record in (old, new)):
        return False
    before, now = ({c.layer for c in record.checks if c.group == "layers"} for record in (old, new))
    return old.seed != new.seed or before != now


def _fails(check: Check | None) -> bool:
    return check is not None and not check.passed


def _printed(record: Record) -> Iterator[Check]:
    seen: Counter[str] = Counter()
    for example in record.examples:
        for printed in example.printed:
            name = f"{example.title} / {printed.where} / {printed.what}"
            seen[name] += 1
            yield Check(
                id=f"printed: {name}" + (f" ({seen[name]})" if seen[name] > 1 else ""),
                group=example.title,
                passed=printed.verdict != "misprint",
                message=f"{printed.printed} is printed, {printed.value or 'another value'} follows",
            )


def _grew(small: Check, large: Check) -> bool:
    """Whether the error more than doubled, by more than an ulp."""
    before, now = _size(small), _size(large)
    return before is not None and now is not None and now > 2 * before and now > before + 1


def _size(check: Check) -> float | None:
    """The error in ulps; a failure without a number, such as an exception, is the worst."""
    if check.ulps is None:
        return None if check.passed else math.inf
    return math.inf if math.isnan(check.ulps) else check.ulps


def _order(change: Change) -> tuple[bool, int, tuple[Any, ...]]:
    return not change.gates, KINDS.index(change.kind), severity(change.check)


def _error(check: Check | None) -> str:
    if check is None:
        return "absent"
    state = "passed" if check.passed else "failed"
    if check.ulps is None:
        return (
            f"{state}: {one_line(check.message, _MESSAGE)}" if check.message and not check.passed else state
        )
    beside = "" if check.ratio is None else f" ({multiple(check.ratio)})"
    return f"{state}, {number(check.ulps)} ulps{beside}"


def _row(change: Change) -> tuple[str, ...]:
    new = change.new
    return (
        change.place,
        change.check.id,
        _error(change.old),
        _error(new),
        exact(new.analytic if new else None),
        exact(new.reference if new else None),
    )


def _plain(change: Change) -> dict[str, Any]:
    return {
        "id": change.check.id,
        "layer": change.check.layer,
        "group": change.check.group,
        "regression": change.gates,
        "old": None if change.old is None else encode(replace(change.old, errors=None)),
        "new": None if change.new is None else encode(replace(change.new, errors=None)),
    }


def _title(kind: str, changes: Sequence[Change]) -> str:
    wrong = sum(change.gates for change in changes)
    failing = f", {wrong:,} of them wrong" if kind == "appeared" and wrong else ""
    return f"{kind.capitalize()}: {len(changes):,}{failing}"


def _beyond(changes: Sequence[Change], limit: int) -> list[int]:
    return [len(changes) - limit] if len(changes) > limit else []
