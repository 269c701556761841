"""The JSON record: round trips, its schema, and everything that is no report."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import fastjsonschema
import numpy as np
import pytest
from hypothesis import given, settings

from handgrad import InputError
from handgrad.report import (
    Check,
    Printed,
    ReportError,
    from_dict,
    from_json,
    load,
    reduce_errors,
    schema,
    to_dict,
    to_json,
)
from tests.report.records import NAMED, exception, failing, mixed, passing, record, records

validate = fastjsonschema.compile(schema())


@settings(max_examples=60, deadline=None)
@given(records())
def test_a_record_reads_back_as_it_was(drawn: Any) -> None:
    text = to_json(drawn)
    assert repr(from_json(text)) == repr(drawn)  # repr: NaN equals itself, -0.0 is not 0.0
    assert to_json(from_json(text)) == text


@settings(max_examples=60, deadline=None)
@given(records())
def test_what_is_written_follows_the_schema(drawn: Any) -> None:
    validate(json.loads(to_json(drawn), parse_constant=pytest.fail))


@pytest.mark.parametrize("name", NAMED)
def test_the_named_records_too(name: str) -> None:
    validate(json.loads(to_json(NAMED[name])))
    assert repr(from_json(to_json(NAMED[name]))) == repr(NAMED[name])


def test_scalars_of_numpy_become_numbers_of_python() -> None:
    check = passing(
        ulps=np.float32(1.5), passed=np.bool_(True), shape=np.array([3, 4]), worst_index=[np.int64(1), 2]
    )
    assert check == passing()
    assert type(check.passed) is bool
    validate(to_dict(record(check)))


def test_one_check_stands_on_one_line() -> None:
    text = to_json(record(passing("a"), passing("b")))
    assert sum(line.startswith(' {"id"') for line in text.splitlines()) == 2


def _with(**changes: Any) -> str:
    return json.dumps({**to_dict(mixed()), **changes})


def _check(**changes: Any) -> str:
    return _with(checks=[{"id": "a", "group": "g", "passed": True, **changes}], passed=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1"),
        ("{", "well-formed JSON"),
        ("\ufeff{}", "well-formed JSON"),
        ("[]", "a JSON array"),
        ("3", "a JSON int"),
        ('{"some": "json"}', "'some'"),
        ("[" * 100_000, "nested too deeply"),
        (_with(version=2), "version 2"),
        (_with(version=None), "version None"),
        (_with(version=True), "version True"),
        (_with(version="9" * 9_999), "version '99"),
        (_with(extra=1), "extra"),
        (_with(checks={}), "checks"),
        (_with(passed=True), "3 of 4 checks failed"),
        (_check(ulps=None), "ulps"),
        (_check(ulps="big"), "ulps"),
        (_check(ulps=-1), "ulps"),
        (_check(allowed_ulps="-inf"), "allowed_ulps"),
        (_check(passed="yes"), "passed"),
        (_check(id=""), "id"),
        (_check(shape=[-1]), "shape"),
        (_check(errors=[[1.0] * 33]), "errors"),
        (_check(errors=[[1.0], [1.0, 2.0]]), "rectangular"),
        (_check(new_key=1), "new_key"),
        (_check(ulps=0).replace('"ulps": 0', '"ulps": NaN'), "bare NaN"),
        (_check(ulps=0).replace('"ulps": 0', '"ulps": -Infinity'), "bare -Infinity"),
        (_check(ulps=0).replace('"ulps": 0', f'"ulps": {"9" * 400}'), "float64"),
        (_check(ulps=0).replace('"ulps": 0', f'"ulps": {"9" * 9_999}'), "thousands of digits"),
        (_check().replace('"passed": true}', '"passed": true, "passed": false}', 1), "'passed' twice"),
        (_with(checks=[{"id": "a", "group": "g", "passed": True}] * 2, passed=True), "'a' twice"),
    ],
)
def test_what_is_no_report_is_refused_in_one_sentence(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ReportError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert says in message
    assert "received" in message
    assert len(message.splitlines()) == 1
    assert len(message) < 700
    assert isinstance(caught.value, InputError)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe{")
    for name in ("missing.json", ".", "bytes.json"):
        with pytest.raises(ReportError, match="received"):
            load(tmp_path / name)


def test_an_object_that_is_no_dict_is_refused() -> None:
    with pytest.raises(ReportError, match="a JSON array"):
        from_dict([])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {"id": ""},
        {"shape": (-1,)},
        {"worst_index": (0, -2)},
        {"errors": ((1.0,), (1.0, 2.0))},
        {"ulps": -1.0},
        {"max_abs_error": -math.inf},
        {"errors": ((0.0,) * 33,)},
        {"errors": ((0.0,),) * 33},
    ],
)
def test_a_check_that_could_not_be_read_back_cannot_be_made(fields: dict[str, Any]) -> None:
    with pytest.raises(ReportError, match="received"):
        failing(**{"name": fields.pop("id", "a"), **fields})


def test_two_checks_cannot_share_an_id_and_verdicts_are_four() -> None:
    with pytest.raises(ReportError, match="twice"):
        record(passing("a"), failing("a"))
    with pytest.raises(ReportError, match="right"):
        Printed(what="L", where="8.1", printed="0", verdict="right")


def test_ratio_counts_nan_and_more_than_nothing_as_infinite() -> None:
    def ratio(ulps: float | None, allowed: float | None) -> float | None:
        return Check(id="a", group="g", passed=True, ulps=ulps, allowed_ulps=allowed).ratio

    assert ratio(3, 4) == 0.75
    assert ratio(0, 0) == 0
    assert ratio(0, math.inf) == 0
    assert ratio(None, 4) is None
    for ulps, allowed in ((math.nan, 4), (3, math.nan), (math.inf, 4), (math.inf, math.inf), (1, 0)):
        assert ratio(ulps, allowed) == math.inf


def test_failures_come_worst_first() -> None:
    names = [c.id for c in record(passing(), failing("small", ulps=9), failing(), exception()).failures]
    assert names == ["matmul / call", "linear / dw", "small"]


def test_reduced_errors_keep_the_worst_of_each_block_with_its_sign() -> None:
    errors = np.random.default_rng(0).normal(size=(3, 50, 70))
    grid = np.array(reduce_errors(errors))
    table = errors.reshape(150, 70)
    assert grid.shape == (32, 32)
    assert abs(grid).max() == abs(errors).max()
    assert set(grid.ravel()) <= set(errors.ravel())
    for i in range(32):
        rows = table[i * 150 // 32 : (i + 1) * 150 // 32]
        assert abs(grid[i]).max() == abs(rows).max()
    errors[1, 2, 3] = math.nan
    assert np.isnan(np.array(reduce_errors(errors))).sum() == 1
    assert reduce_errors(np.float32(-2.0)) == ((-2.0,),)
    assert reduce_errors(np.zeros((0, 3))) is None
