"""The record: everything one run found out. JSON stores it; every other report is a view of it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from handgrad.report._errors import ReportError
from handgrad.report.grid import LIMIT

T = TypeVar("T")

VERDICTS = ("follows", "carried", "misprint", "statement")
_SIZES = ("max_abs_error", "max_rel_error", "ulps", "allowed_ulps")
_FLOATS = (*_SIZES, "analytic", "reference")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One output or one gradient, compared with its truth.

    Numbers may come as any scalar (NumPy, torch, Python): they are stored as Python's own, so
    that a record reads back from JSON as it was. ``None`` says that a number does not apply.

    id             unique in its record, and the same from run to run: ``compare`` matches by it
    group          the part of the run, such as "lecture", "layers" or "architectures"
    layer          the derivation's name, or "" where no single one is meant
    argument       what is compared: an output ("y") or a gradient ("d_weight")
    ulps           the error in units in the last place of ``dtype``; right up to ``allowed_ulps``
    worst_index    where the error is largest; ``analytic`` and ``reference`` are the values there
    errors         a failing check's signed errors as a grid of at most 32 x 32: `reduce_errors`
    message        what is wrong, in words, or the exception
    """

    id: str
    group: str
    passed: bool
    layer: str = ""
    case: str = ""
    library: str = ""
    dtype: str = ""
    oracle: str = ""
    argument: str = ""
    shape: tuple[int, ...] = ()
    max_abs_error: float | None = None
    max_rel_error: float | None = None
    ulps: float | None = None
    allowed_ulps: float | None = None
    worst_index: tuple[int, ...] | None = None
    analytic: float | None = None
    reference: float | None = None
    errors: tuple[tuple[float, ...], ...] | None = None
    message: str = ""

    def __post_init__(self) -> None:
        settle: dict[str, Any] = {"passed": bool(self.passed), "shape": _integers(self.shape)}
        for name in _FLOATS:  # float() also reads the "nan", "inf" and "-inf" of the JSON
            value = getattr(self, name)
            settle[name] = None if value is None else float(value)
        if self.worst_index is not None:
            settle["worst_index"] = _integers(self.worst_index)
        if self.errors is not None:
            settle["errors"] = tuple(tuple(float(e) for e in row) for row in self.errors)
        for name, value in settle.items():
            object.__setattr__(self, name, value)
        self._require_form()

    def _require_form(self) -> None:
        """What the schema asks for, so that every record written can be read."""
        if not self.id:
            raise ReportError("a check has an id; received an empty one; name what is compared.")
        if min((*self.shape, *(self.worst_index or ())), default=0) < 0:
            raise ReportError(
                f"a shape and an index count from 0; received {self.shape} and {self.worst_index} for "
                f"{self.id!r}; count from the front."
            )
        for name in _SIZES:
            if (getattr(self, name) or 0.0) < 0:
                raise ReportError(
                    f"{name} is at least 0, or NaN; received {getattr(self, name)} for {self.id!r}; "
                    "give its magnitude."
                )
        widths = {len(row) for row in self.errors or ()}
        if len(self.errors or ()) > LIMIT or len(widths) > 1 or max(widths, default=0) > LIMIT:
            raise ReportError(
                f"a grid of errors is rectangular, of at most {LIMIT} x {LIMIT} numbers; received "
                f"{len(self.errors or ())} rows of {sorted(widths)} for {self.id!r}; "
                "use handgrad.report.reduce_errors."
            )

    @property
    def ratio(self) -> float | None:
        """The error as a multiple of what rounding allows: right up to 1. NaN counts as inf."""
        if self.ulps is None or self.allowed_ulps is None:
            return None
        if math.isnan(self.ulps) or math.isnan(self.allowed_ulps):
            return math.inf
        if self.allowed_ulps == 0 or math.isinf(self.ulps):
            return math.inf if self.ulps else 0.0
        return self.ulps / self.allowed_ulps

    @property
    def place(self) -> str:
        """The part of the run a reader looks for: the layer, or the group where there is none."""
        return self.layer or f"({self.group})"


@dataclass(frozen=True, kw_only=True)
class Printed:
    """One printed number or statement of a worked example, and whether it follows.

    ``verdict``: "follows"; "carried" (only from the sheet's own rounded values); "misprint";
    or "statement" (words, with what is true in ``value``). ``printed`` has the digits as
    printed, ``value`` the ones that follow.
    """

    what: str
    where: str
    printed: str
    verdict: str
    value: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ReportError(
                f"a printed number's verdict is one of {', '.join(VERDICTS)}; "
                f"received {self.verdict!r} for {self.what!r}; choose one of them."
            )


@dataclass(frozen=True, kw_only=True)
class Example:
    """A worked example: what it prints, judged, and its computational graph as SVG text."""

    title: str
    source: str = ""
    graph_svg: str | None = None
    printed: tuple[Printed, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "printed", tuple(self.printed))


@dataclass(frozen=True)
class Tally:
    """How many of some checks were made, how many failed, and the worst of them."""

    checks: int
    failed: int
    worst: Check | None

    @classmethod
    def of(cls, checks: Iterable[Check]) -> Tally:
        worst_first = sorted(checks, key=severity)
        failed = sum(not check.passed for check in worst_first)
        return cls(len(worst_first), failed, worst_first[0] if worst_first else None)


@dataclass(frozen=True, kw_only=True)
class Record:
    """All results of one run. Only ``environment`` and ``seconds`` may differ between two runs.

    Raises :class:`ReportError` where two checks share an id.
    """

    title: str
    seed: int
    checks: tuple[Check, ...] = ()
    examples: tuple[Example, ...] = ()
    command: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settle: dict[str, Any] = {
            "seed": int(self.seed),
            "checks": tuple(self.checks),
            "examples": tuple(self.examples),
            "environment": {str(k): str(v) for k, v in self.environment.items()},
            "seconds": {str(k): float(v) for k, v in self.seconds.items()},
        }
        for name, value in settle.items():
            object.__setattr__(self, name, value)
        twice = [name for name, n in Counter(c.id for c in self.checks).items() if n > 1]
        if twice:
            raise ReportError(
                f"each check of a record has an id of its own; received {twice[0]!r} twice; "
                "tell them apart by case, library, dtype, oracle or argument."
            )

    @property
    def passed(self) -> bool:
        """Whether every check passed. A misprint is the sheet's fault, not the code's, and fails
        nothing; a record of nothing at all has not passed."""
        return bool(self.checks or self.examples) and all(check.passed for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        """The failed checks, worst first."""
        return tuple(sorted((c for c in self.checks if not c.passed), key=severity))

    @property
    def failed_places(self) -> tuple[str, ...]:
        """The layers that failed (or groups, where no layer is named), worst first."""
        return tuple(dict.fromkeys(check.place for check in self.failures))

    @property
    def counts(self) -> dict[str, int]:
        """checks, passed, failed; examples, and how many printed numbers have each verdict."""
        failed = sum(not check.passed for check in self.checks)
        verdicts = Counter(p.verdict for example in self.examples for p in example.printed)
        return {
            "checks": len(self.checks),
            "passed": len(self.checks) - failed,
            "failed": failed,
            "examples": len(self.examples),
            **{verdict: verdicts[verdict] for verdict in VERDICTS},
        }

    @property
    def by_group(self) -> dict[str, Tally]:
        """A tally for each group, in the order in which the record names them."""
        return {name: Tally.of(part) for name, part in split(self.checks, lambda c: c.group)}

    @property
    def by_layer(self) -> dict[str, Tally]:
        """A tally for each layer (or group, where no layer is named), worst first."""
        tallies = {name: Tally.of(part) for name, part in split(self.checks, lambda c: c.place)}
        return dict(sorted(tallies.items(), key=lambda item: _worst_key(item[1])))

    def stable(self) -> Record:
        """The record without what differs from run to run: its reports are byte-identical."""
        return replace(self, environment={}, seconds={})


def severity(check: Check) -> tuple[bool, float, float, float, str]:
    """A sort key that puts the worst check first: failed, then furthest beyond the allowed.

    A failure without a number (an exception) or with NaN comes before every finite one.
    """
    missing = 0.0 if check.passed else math.inf
    sizes = (check.ratio, check.ulps, check.max_abs_error)
    ratio, ulps, error = (missing if s is None else math.inf if s != s else s for s in sizes)
    return check.passed, -ratio, -ulps, -error, check.id


def alike(failures: Iterable[Check]) -> list[tuple[Check, ...]]:
    """Failures in parts that say the same: one layer, one output or gradient, and the same words
    but for the numbers in them. The order of the failures is kept."""
    parts = split(failures, lambda c: "\0".join((c.place, c.argument, re.sub(r"\d+", "", c.message))))
    return [part for _, part in parts]


def split(items: Iterable[T], key: Callable[[T], str]) -> list[tuple[str, tuple[T, ...]]]:
    """The items in parts that share a key, in the order in which the keys first occur."""
    parts: dict[str, list[T]] = {}
    for item in items:
        parts.setdefault(key(item), []).append(item)
    return [(name, tuple(part)) for name, part in parts.items()]


def _worst_key(tally: Tally) -> tuple[bool, float, float, float, str]:
    assert tally.worst is not None  # a part is never empty
    return severity(tally.worst)


def _integers(values: Iterable[Any]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
