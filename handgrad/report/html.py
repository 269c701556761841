"""The record as one HTML file: no network, no other file; readable without its script, too."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote, urlsplit

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from handgrad.report import words
from handgrad.report._charts import Axis, axis_labels, histogram, strips
from handgrad.report._errors import ReportError
from handgrad.report._heat import HeatMap, heat_map, thumbnail
from handgrad.report.record import Check, Example, Record, Tally, alike, severity, split

_CARDS = 40  # failures shown in full, each with a heat map ...
_CARDS_A_PLACE = 4  # ... of each layer at most so many, no two alike
_ROWS = 400  # further failures, as rows of a table; the JSON has them all
_THUMBNAILS = 40  # of these rows, so many with a small heat map
_NEAREST = 12  # passing checks listed: those nearest to their limit
_MESSAGE = 2_000  # characters of a message
_STRIP = 214  # pixels of an axis
_DTYPES = ("float64", "float32", "bfloat16", "float16")


def to_html(record: Record, *, derivation_url: str = "") -> str:
    """The record as one HTML page.

    ``derivation_url``: the address (http, https or relative) of the folder that holds the
    derivations, such as ``../handgrad/derivations``; or of one of them, with ``{layer}`` for its
    name, such as ``https://example.org/layers/{layer}.html``. Raises :class:`ReportError` for any
    other. Without it, derivations are named but not linked.
    """
    _check_url(derivation_url)
    script = _file("report.js")
    ratios = [c.ratio for c in record.checks if c.ratio is not None]
    ulps = [size for c in record.checks if (size := _ulps(c)) is not None]
    axes = {
        "ratio": Axis.of(ratios, _STRIP, limit=True),
        "ulps": Axis.of(ulps, _STRIP, limit=False),
    }
    failing = _failing_places(record)
    return render(
        "report.html.j2",
        record=record,
        verdict=words.verdict(record),
        counts=record.counts,
        layers=len({c.layer for c in record.checks if c.layer}),
        nearest=_nearest(record.checks),
        failing=failing,
        unlisted=len(record.failures) - sum(len(p.cards) + len(p.rows) for p in failing),
        groups=_summaries(record.by_group, lambda c: c.group, record.checks, axes, by_dtype=False),
        places=_summaries(record.by_layer, lambda c: c.place, record.checks, axes, by_dtype=True),
        histograms=_histograms(record.checks, axes),
        axes={name: axis_labels(axis) for name, axis in axes.items()},
        named_axis=axis_labels(axes["ratio"], named=True),
        link=lambda layer: _link(derivation_url, layer),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def render(template: str, **values: Any) -> str:
    """One of the templates, filled; it escapes what it is given."""
    return words.clean(_environment().get_template(template).render(values))


# --- what fails ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """A layer (or group) in which something fails."""

    name: str
    layer: str
    tally: Tally
    table: _Pivot
    cards: tuple[Check, ...]
    rows: tuple[tuple[Check, Markup], ...]
    unlisted: int


@dataclass(frozen=True)
class _Pivot:
    """Which of a layer's outputs and gradients fail in which dtypes: (failed, made) a cell."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]


def _failing_places(record: Record) -> list[_Place]:
    checks = dict(split(record.checks, lambda c: c.place))
    cards, rows, thumbnails = _CARDS, _ROWS, _THUMBNAILS
    result = []
    for place, failures in split(record.failures, lambda c: c.place):
        shown = [part[0] for part in alike(failures)][: min(_CARDS_A_PLACE, cards)]
        seen = {check.id for check in shown}
        listed = [check for check in failures if check.id not in seen][:rows]
        drawn = [check.id for check in listed if _has_map(check)][:thumbnails]
        cards, rows, thumbnails = cards - len(shown), rows - len(listed), thumbnails - len(drawn)
        pictures = [_thumbnail(check) if check.id in drawn else Markup("") for check in listed]
        result.append(
            _Place(
                place,
                failures[0].layer,
                Tally.of(checks[place]),
                _pivot(checks[place]),
                tuple(shown),
                tuple(zip(listed, pictures, strict=True)),
                len(failures) - len(shown) - len(listed),
            )
        )
    return result


def _pivot(checks: Sequence[Check]) -> _Pivot:
    dtypes = tuple(sorted({c.dtype for c in checks}, key=_dtype_order))
    rows = []
    for argument, part in split(checks, lambda c: c.argument):
        cells = [[c for c in part if c.dtype == dtype] for dtype in dtypes]
        rows.append((argument, tuple((sum(not c.passed for c in cell), len(cell)) for cell in cells)))
    return _Pivot(dtypes, tuple(rows))


def _nearest(checks: Iterable[Check]) -> list[Check]:
    """The passing checks that come nearest to what is allowed."""
    close = [c for c in checks if c.passed and c.ratio]
    return sorted(close, key=severity)[:_NEAREST]


def _map(check: Check) -> HeatMap | None:
    return heat_map(check.errors, check.shape) if check.errors and _has_map(check) else None


def _thumbnail(check: Check) -> Markup:
    return thumbnail(check.errors, check.shape) if check.errors else Markup("")


def _has_map(check: Check) -> bool:
    return bool(check.errors and any(check.errors))


def _differing(value: float | None, other: float | None) -> Markup:
    """A value with the digits marked from where it differs from the other."""
    mine, theirs = words.exact(value), words.exact(other)
    if value is None or other is None or mine == theirs:
        return escape(mine)
    same = next((i for i, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), None)
    same = min(len(mine), len(theirs)) if same is None else same
    return Markup("{}<mark>{}</mark>").format(mine[:same], mine[same:])


# --- summaries -----------------------------------------------------------------------


@dataclass(frozen=True)
class _Summary:
    name: str
    layer: str
    tally: Tally
    ratio: Markup
    ulps: Markup


def _summaries(
    tallies: dict[str, Tally],
    key: Any,
    checks: Iterable[Check],
    axes: dict[str, Axis],
    *,
    by_dtype: bool,
) -> list[_Summary]:
    parts = dict(split(checks, key))
    result = []
    for name, tally in tallies.items():
        part = parts[name]
        dtypes = sorted(split(part, lambda c: c.dtype), key=lambda item: _dtype_order(item[0]))
        measured = [(d, same) for d, same in dtypes if d or any(_ulps(c) is not None for c in same)]
        series = measured if by_dtype else [("all", part)]
        boxes = [(dtype or "–", same) for dtype, same in series]
        result.append(
            _Summary(
                name,
                part[0].layer if by_dtype else "",
                tally,
                strips(
                    [(d, *_sizes(same, lambda c: c.ratio)) for d, same in boxes],
                    axes["ratio"],
                    named=by_dtype,
                ),
                strips([(d, *_sizes(same, _ulps)) for d, same in boxes], axes["ulps"], named=False),
            )
        )
    return result


def _histograms(checks: Iterable[Check], axes: dict[str, Axis]) -> list[tuple[str, int, Markup, Markup]]:
    """For each dtype: name, number of checks, the histograms of multiples and of ulps."""
    measured = [c for c in checks if c.ratio is not None]
    parts = sorted(split(measured, lambda c: c.dtype), key=lambda item: _dtype_order(item[0]))
    return [
        (
            dtype or "other",
            len(part),
            histogram(*_sizes(part, lambda c: c.ratio), axes["ratio"]),
            histogram(*_sizes(part, _ulps), axes["ulps"]),
        )
        for dtype, part in parts
    ]


def _sizes(checks: Iterable[Check], size: Any) -> tuple[list[float], list[float]]:
    """The sizes of the errors that pass, and of those that fail."""
    right: list[float] = []
    wrong: list[float] = []
    for check in checks:
        value = size(check)
        if value is not None:
            (right if check.passed else wrong).append(value)
    return right, wrong


def _ulps(check: Check) -> float | None:
    """The error in ulps; NaN counts as infinite."""
    return float("inf") if check.ulps is not None and check.ulps != check.ulps else check.ulps


def _dtype_order(dtype: str) -> tuple[int, str]:
    return (_DTYPES.index(dtype) if dtype in _DTYPES else len(_DTYPES), dtype)


# --- the page ------------------------------------------------------------------------


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_file),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "line": words.one_line,
        "message": lambda text: words.clean(text)[:_MESSAGE],
        "number": words.number,
        "exact": words.exact,
        "index": words.index,
        "shape": words.shape,
        "multiple": words.multiple,
        "worst": words.worst,
        "noun": words.count,
        "map": _map,
        "drawing": _drawing,
        "against": lambda value, other: _differing(value, other),
        "sortable": lambda value: "inf" if value is None else repr(float(value)),
    }
    return environment


@cache
def _file(name: str) -> str:
    return files("handgrad.report").joinpath("templates", name).read_text(encoding="utf-8")


def _drawing(example: Example) -> str:
    """The graph as an address for ``<img>``: there, no browser runs a script of an SVG or lets it
    load anything."""
    svg = words.clean(example.graph_svg or "")
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _check_url(url: str) -> None:
    if not url.isprintable() or " " in url or urlsplit(url).scheme not in ("", "http", "https"):
        raise ReportError(
            "the address of derivations is http, https or relative, without spaces; "
            f"received {url!r}; give one such as https://example.org/derivations/{{layer}}.html."
        )


def _link(url: str, layer: str) -> str:
    if not url or not layer:
        return ""
    pattern = url if "{layer}" in url else url.rstrip("/") + "/{layer}.py"
    return pattern.replace("{layer}", quote(layer, safe="", errors="replace"))
