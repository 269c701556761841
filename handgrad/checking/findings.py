"""What a check of one target found: a difference for each gradient, and findings that name the mistake."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

KINDS = (
    "sign scale transpose missing-sum missing-factor missing-term permuted local region offset zero "
    "not-finite nondeterministic mutates shape dtype forward unknown"
).split()


class GradientMismatch(AssertionError):
    """A gradient is wrong; the text is the report's."""


@dataclass(frozen=True)
class Finding:
    """One mistake: its ``kind`` (one of :data:`KINDS`), ``where`` (an input, parameter or output), a
    ``message`` that says what is wrong and where to look, and the evidence in ``details``."""

    kind: str
    where: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.kind in KINDS, self.kind

    @property
    def beyond(self) -> str:
        """What is wrong, where it is not the first derivative as it is usually computed; else ""."""
        if self.details.get("order") == 2:
            return "the second derivative"
        if self.details.get("mode") == "forward":
            return "forward mode"
        return f"the result under {self.details['transform']}" if "transform" in self.details else ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "where": self.where,
            "message": self.message,
            "details": _plain(self.details),
        }


# causes before what follows from them: a gradient that is summed wrongly has a wrong shape, too
_FIRST = ("mutates", "nondeterministic", "forward")
_LAST = ("not-finite", "shape", "dtype", "unknown")


def likeliest_first(findings: Sequence[Finding]) -> list[Finding]:
    """What explains most comes first; else in the order given."""

    def rank(f: Finding) -> float:
        if f.kind in _FIRST:
            return _FIRST.index(f.kind) - len(_FIRST)
        if "swapped with" in f.details:  # what was not returned for one went to the other
            return -0.5
        return 1 + _LAST.index(f.kind) if f.kind in _LAST else 0

    return sorted(findings, key=rank)


def listed(word: str, numbers: Sequence[int]) -> str:
    """ "axis 0", "axes 0 and 1", "axes 0, 1 and 2"."""
    plural = {"axis": "axes", "index": "indices"}.get(word, f"{word}s")
    if len(numbers) == 1:
        return f"{word} {numbers[0]}"
    return f"{plural} {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


@dataclass(frozen=True)
class GradientDiff:
    """The gradient of one input or parameter against its truth, where it is wrong.

    That is on the inputs given if it is wrong there, else on the probe where it is worst: ``inputs``
    says which. Every probe is computed in the ``dtype`` of the input and in float64, which sees more:
    ``computed_in`` says in which the error shows (the input's own, if it does there).

    max_abs_error   the largest error, and ``max_rel_error`` the largest relative one
    worst_index     where the error is furthest beyond what rounding explains, with both values there,
                    ``analytic`` and ``reference``; in a gradient of ``computed_shape``, since a probe
                    may be longer than the input
    ulps            the error there in units in the last place of ``computed_in``; rounding explains
                    ``allowed_ulps``
    errors          signed errors as a grid: :func:`handgrad.report.reduce_errors`, of an array of
                    ``errors_shape``: complex numbers have a last axis of two
    diagnosis       the kind of the finding that explains the error, "" where the gradient passes
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    passed: bool
    max_abs_error: float = 0.0
    max_rel_error: float = 0.0
    ulps: float = 0.0
    worst_index: tuple[int, ...] | None = None
    analytic: float | complex | None = None
    reference: float | complex | None = None
    diagnosis: str = ""
    inputs: str = "the inputs given"
    errors: tuple[tuple[float, ...], ...] | None = None
    allowed_ulps: float = 0.0
    computed_in: str = ""
    computed_shape: tuple[int, ...] = ()

    @property
    def errors_shape(self) -> tuple[int, ...]:
        return (*self.computed_shape, 2) if self.dtype.startswith("complex") else self.computed_shape

    def to_dict(self) -> dict[str, Any]:
        return dict(_plain(vars(self)))


@dataclass(frozen=True)
class CheckReport:
    """The result of :func:`torch_ext.check`."""

    target: str
    diffs: tuple[GradientDiff, ...]
    findings: tuple[Finding, ...]
    seed: int = 0
    oracle: str = ""
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; numbers that are not finite as strings."""
        return {
            "target": self.target,
            "passed": self.passed,
            "seed": self.seed,
            "oracle": self.oracle,
            "diffs": [diff.to_dict() for diff in self.diffs],
            "findings": [finding.to_dict() for finding in self.findings],
            "notes": list(self.notes),
        }

    def raise_if_failed(self) -> None:
        """Raise :class:`GradientMismatch` with the report's text, where something was found."""
        if not self.passed:
            raise GradientMismatch(str(self))

    def __str__(self) -> str:
        from handgrad.checking.display import to_text

        return to_text(self, colour=False, width=100).rstrip()

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from handgrad.checking.display import to_html

        return to_html(self)


def _plain(value: Any) -> Any:
    """Strict JSON: tuples as lists, NaN and infinities as strings, complex numbers as pairs."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, complex):
        return [_plain(value.real), _plain(value.imag)]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(v) for v in value]
    return value
