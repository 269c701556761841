"""Two records, old and new: what regressed, worsened, improved, appeared and vanished."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType

from handgrad.report import markdown
from handgrad.report._console import line, rendered, table
from handgrad.report.record import Check, Record, severity, split
from handgrad.report.words import count, exact, multiple, number, one_line

KINDS = ("regressed", "vanished", "appeared", "worsened", "improved")
_HEADERS = ("layer", "check", "before", "now", "hand value now", "true value now")


@dataclass(frozen=True)
class Change:
    """One check in the old record and in the new one; ``None`` where it is not in it."""

    old: Check | None
    new: Check | None

    @property
    def check(self) -> Check:
        check = self.new or self.old
        assert check is not None  # compare() never makes an empty change
        return check

    @property
    def kind(self) -> str:
        """ "regressed", "vanished", "appeared", "worsened", "improved" or "" (no change).

        - regressed: it passed and fails now; or fails still, by more than twice the error
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
        if new.passed and not old.passed or _grew(new, old):
            return "improved"
        return "worsened" if _grew(old, new) else ""

    @property
    def gates(self) -> bool:
        """Whether this change fails a comparison: it regressed, vanished, or is new and wrong."""
        new_and_wrong = self.old is None and not self.check.passed
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
        """The layers (or groups, where no layer is named) that regressed, worst first."""
        return tuple(dict.fromkeys(c.check.place for c in self.changes if c.gates))

    @property
    def by_layer(self) -> dict[str, dict[str, int]]:
        """How many changes of each kind each layer has, those that regressed first."""
        parts = split(self.changes, lambda change: change.check.place)
        return {place: dict(Counter(change.kind for change in part)) for place, part in parts}

    @property
    def verdict(self) -> str:
        """The whole comparison in one sentence."""
        if self.passed:
            return f"Nothing regressed in {count(len(self.old.checks), 'check')}"
        gating = sum(change.gates for change in self.changes)
        layers = ", ".join(map(one_line, self.regressed_layers))
        return f"{count(gating, 'regression')}, in {layers}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What makes the two records hard to compare."""
        if self.old.seed == self.new.seed:
            return ()
        return (
            f"The seeds differ ({self.old.seed} before, {self.new.seed} now): "
            "errors within rounding differ by chance.",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain strict JSON: every change with its id, layer, and both errors as words."""
        return {
            "passed": self.passed,
            "verdict": self.verdict,
            "notes": list(self.notes),
            "regressed_layers": list(self.regressed_layers),
            "by_layer": self.by_layer,
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

    def to_text(
        self, *, colour: bool | None = None, width: int | None = None, limit: int = 20
    ) -> str:
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
                yield table(_HEADERS[1:], (_row(change)[1:] for change in changes[:limit]))
                yield from (line(f"and {n:,} more") for n in _beyond(changes, limit))


def compare(old: Record, new: Record) -> Comparison:
    """Match the checks of two records by id and say what changed.

    A printed number of a worked example counts too: it passes unless it is a misprint.
    """
    before, now = ({check.id: check for check in _checks(record)} for record in (old, new))
    pairs = (Change(before.get(name), now.get(name)) for name in before.keys() | now.keys())
    changed = [change for change in pairs if change.kind]
    return Comparison(old, new, tuple(sorted(changed, key=_order)))


def _checks(record: Record) -> Iterator[Check]:
    yield from record.checks
    seen: Counter[str] = Counter()
    for example in record.examples:
        for printed in example.printed:
            name = f"{example.title} / {printed.where} / {printed.what}"
            seen[name] += 1
            yield Check(
                id=f"printed: {name}" + (f" ({seen[name]})" if seen[name] > 1 else ""),
                group=example.title,
                passed=printed.verdict != "misprint",
                message=f"{printed.printed} is a {printed.verdict}, {printed.value} follows",
            )


def _grew(small: Check, large: Check) -> bool:
    """Whether the error more than doubled, by more than an ulp."""
    if small.ulps is None or large.ulps is None:
        return False
    before, now = (math.inf if math.isnan(ulps) else ulps for ulps in (small.ulps, large.ulps))
    return now > 2 * before and now > before + 1


def _order(change: Change) -> tuple[bool, int, tuple[Any, ...]]:
    return not change.gates, KINDS.index(change.kind), severity(change.check)


def _error(check: Check | None) -> str:
    if check is None:
        return "absent"
    state = "passed" if check.passed else "failed"
    if check.ratio is None:
        return state
    return f"{state}, {number(check.ulps)} ulps ({multiple(check.ratio)})"


def _row(change: Change) -> tuple[str, ...]:
    new = change.new
    return (
        change.check.place,
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
        "old": _error(change.old),
        "new": _error(change.new),
        "regression": change.gates,
        "message": change.check.message if not change.check.passed else "",
    }


def _title(kind: str, changes: Sequence[Change]) -> str:
    wrong = sum(change.gates for change in changes)
    failing = f", {wrong:,} of them wrong" if kind == "appeared" and wrong else ""
    return f"{kind.capitalize()}: {len(changes):,}{failing}"


def _beyond(changes: Sequence[Change], limit: int) -> list[int]:
    return [len(changes) - limit] if len(changes) > limit else []
