"""The record as JSON, in and out, under a published schema (``schema.json``, draft 7)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

import fastjsonschema

from handgrad.report._errors import ReportError
from handgrad.report.record import Check, Example, Printed, Record

FORMAT = "handgrad-report"
VERSION = 1


def schema() -> dict[str, Any]:
    """The published JSON schema of a report."""
    text = files("handgrad.report").joinpath("schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def to_dict(record: Record) -> dict[str, Any]:
    """The record as strict JSON (NaN and infinities as strings); defaults are left out."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "title": record.title,
        "seed": record.seed,
        "command": record.command,
        "passed": record.passed,
        "checks": [encode(check) for check in record.checks],
        "examples": [encode(example) for example in record.examples],
        "volatile": {
            "environment": dict(record.environment),
            "seconds": {name: encode(value) for name, value in record.seconds.items()},
        },
    }


def to_json(record: Record) -> str:
    """The record as JSON text with one check a line, so that two reports diff well."""
    parts = (f"{_dumps(key)}: {_lines(value)}" for key, value in to_dict(record).items())
    return "{\n" + ",\n".join(parts) + "\n}\n"


def from_dict(data: dict[str, Any]) -> Record:
    """The record that :func:`to_dict` gave ``data``. Raises ReportError for anything else."""
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ReportError(
            f'a report is a JSON object with "format": "{FORMAT}"; received '
            f"{_describe(data)}; give a report.json that handgrad wrote."
        )
    version = data.get("version")
    if version != VERSION or isinstance(version, bool):
        raise ReportError(
            f"this handgrad reads reports of schema version {VERSION}; received version "
            f"{_shorten(repr(version))}; write the report again with this handgrad."
        )
    try:
        _validator()(data)
    except fastjsonschema.JsonSchemaValueException as error:
        raise ReportError(
            f"a report follows handgrad/report/schema.json; received one where "
            f"{_shorten(error.message)}; write the report again."
        ) from None
    try:
        record = Record(
            title=data["title"],
            seed=data["seed"],
            command=data["command"],
            checks=tuple(Check(**check) for check in data["checks"]),
            examples=tuple(_example(example) for example in data["examples"]),
            environment=data["volatile"]["environment"],
            seconds=data["volatile"]["seconds"],
        )
    except OverflowError:
        raise ReportError(
            "a report's numbers are float64; received an integer beyond them; write the report again."
        ) from None
    if data["passed"] != record.passed:
        raise ReportError(
            f'a report\'s "passed" follows from its checks; received {json.dumps(data["passed"])} where '
            f"{record.counts['failed']} of {record.counts['checks']} checks failed; "
            "write the report again."
        )
    return record


def from_json(text: str) -> Record:
    """The record that :func:`to_json` wrote. Raises ReportError for malformed or foreign text."""
    try:
        data = json.loads(text, parse_constant=_refuse, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise ReportError(
            f"a report is well-formed JSON; received text that breaks at line {error.lineno}, "
            f"column {error.colno} ({error.msg}); write the report again."
        ) from None
    except ReportError:
        raise
    except ValueError:  # Python's own limit on the digits of an integer
        raise ReportError(
            "a report's numbers are float64; received an integer of thousands of digits; "
            "write the report again."
        ) from None
    except RecursionError:
        raise ReportError(
            "a report is a JSON object of a few levels; received one nested too deeply to read; "
            "give a report.json that handgrad wrote."
        ) from None
    return from_dict(data)


def load(path: str | Path) -> Record:
    """Read a ``report.json``.

    Raises :class:`ReportError`, one sentence that begins with the path, where the file cannot
    be read, is not JSON, is not a report, or has another schema version.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ReportError(
            f"{path}: a report is a file that can be read; received: {reason}; check the path."
        ) from None
    except UnicodeDecodeError:
        raise ReportError(
            f"{path}: a report is UTF-8 text; received other bytes; give a report.json that handgrad wrote."
        ) from None
    try:
        return from_json(text)
    except ReportError as error:
        raise ReportError(f"{path}: {error}") from None


@cache
def _validator() -> Callable[[Any], Any]:
    compiled: Callable[[Any], Any] = fastjsonschema.compile(schema())
    return compiled


def encode(value: Any) -> Any:
    """A part of a record as strict JSON, defaults left out."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if isinstance(value, Check | Example | Printed):
        return {
            f.name: encode(getattr(value, f.name))
            for f in fields(value)
            if f.name == "printed" or f.default is MISSING or getattr(value, f.name) != f.default
        }
    return value


def _example(data: dict[str, Any]) -> Example:
    return Example(**{**data, "printed": tuple(Printed(**p) for p in data["printed"])})


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _lines(value: Any) -> str:
    if isinstance(value, list) and value:
        return "[\n" + _joined(map(_dumps, value)) + "\n]"
    if isinstance(value, dict):
        return "{\n" + _joined(f"{_dumps(k)}: {_dumps(v)}" for k, v in value.items()) + "\n}"
    return _dumps(value)


def _joined(items: Iterable[str]) -> str:
    return ",\n".join(" " + item for item in items)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ReportError(
            f"each key of a JSON object stands once; received {_shorten(repr(twice))} twice; "
            "write the report again."
        )
    return result


def _refuse(constant: str) -> NoReturn:
    raise ReportError(
        f'a report is strict JSON, with NaN and infinities as the strings "nan", "inf" and '
        f'"-inf"; received a bare {constant}; write the report again.'
    )


def _describe(data: Any) -> str:
    if isinstance(data, dict):
        return f"an object with {_shorten(', '.join(map(repr, data)) or 'no keys')}"
    return f"a JSON {'array' if isinstance(data, list) else type(data).__name__}"


def _shorten(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
