"""Comparison of two records, and ``handgrad compare``."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings

from handgrad import InputError
from handgrad.cli.compare import command
from handgrad.report import Check, Comparison, compare, to_json
from tests.report.records import NAMED, example, exception, failing, hostile, mixed, passing, record, records

NOTHING = None


@pytest.mark.parametrize(
    ("old", "new", "kind", "gates"),
    [
        (passing("a"), failing("a"), "regressed", True),
        (passing("a"), exception("a"), "regressed", True),
        (failing("a", ulps=10), failing("a", ulps=30), "regressed", True),
        (failing("a", ulps=10), failing("a", ulps=math.nan), "regressed", True),
        (failing("a", ulps=10), exception("a"), "regressed", True),
        (passing("a"), NOTHING, "vanished", True),
        (failing("a"), NOTHING, "vanished", True),
        (NOTHING, failing("a"), "appeared", True),
        (NOTHING, passing("a"), "appeared", False),
        (passing("a", ulps=1), passing("a", ulps=3), "worsened", False),
        (passing("a", ulps=3), passing("a", ulps=1), "improved", False),
        (failing("a"), passing("a"), "improved", False),
        (exception("a"), failing("a", ulps=10), "improved", False),
        (failing("a", ulps=math.inf), failing("a", ulps=math.nan), "", False),
        (exception("a"), exception("a"), "", False),
        (failing("a", ulps=10), failing("a", ulps=19), "", False),
        (passing("a", ulps=0.1), passing("a", ulps=1.0), "", False),
        (passing("a", ulps=None), passing("a"), "", False),
        (passing("a"), passing("a"), "", False),
    ],
)
def test_kinds(old: Check | None, new: Check | None, kind: str, gates: bool) -> None:
    result = compare(*(record(*filter(None, [check])) for check in (old, new)))
    assert [change.kind for change in result.changes] == ([kind] if kind else [])
    assert result.passed is not gates
    assert [change.gates for change in result.changes] == ([gates] if kind else [])
    if kind:
        assert getattr(result, kind) == result.changes


@pytest.mark.parametrize(
    ("before", "now", "kind", "gates"),
    [
        ("follows", "misprint", "regressed", True),
        ("carried", "misprint", "regressed", True),
        ("misprint", "follows", "improved", False),
        ("follows", "carried", "", False),
        ("misprint", "misprint", "", False),
        ("follows", None, "vanished", True),
        (None, "misprint", "appeared", False),  # the sheet's fault
        (None, "follows", "appeared", False),
    ],
)
def test_printed_numbers(before: str | None, now: str | None, kind: str, gates: bool) -> None:
    old, new = (record(passing(), examples=(example(verdict=v),) if v else ()) for v in (before, now))
    result = compare(old, new)
    assert [change.kind for change in result.changes] == ([kind] if kind else [])
    assert result.passed is not gates
    if kind == "regressed":
        assert "0.2247 is printed" in result.to_text(width=300)


def test_a_check_may_be_named_like_a_printed_number() -> None:
    made = record(failing("printed: Section 8.1 / 8.1 / L"), examples=(example(verdict="follows"),))
    assert compare(made, made).changes == ()
    assert len(compare(made, record(passing())).vanished) == 2


def test_the_verdict_names_layers_worst_first_and_what_failed_before() -> None:
    old = record(passing("a"), passing("b"), failing("old", layer="conv2d"))
    new = record(failing("a", ulps=9), failing("b", layer="softmax"), failing("old", layer="conv2d"))
    result = compare(old, new)
    assert result.verdict == "2 regressions, in softmax, linear; 1 more failed before, too"
    assert result.regressed_layers == ("softmax", "linear")
    assert result.by_layer == {"softmax": {"regressed": 1}, "linear": {"regressed": 1}}
    assert compare(new, new).verdict == "Nothing regressed in 3 checks; 3 more failed before, too"
    assert compare(old, replace(old, seed=1)).notes


@settings(max_examples=40, deadline=None)
@given(records(), records())
def test_any_two_records(old: Any, new: Any) -> None:
    there, back = compare(old, new), compare(new, old)
    assert compare(old, old).changes == ()
    assert len(there.vanished) == len(back.appeared)
    assert there.passed == (not any(change.gates for change in there.changes))
    json.dumps(there.to_dict(), allow_nan=False)
    _check_texts(there)


@pytest.mark.parametrize("name", NAMED)
def test_every_view_of_a_comparison(name: str) -> None:
    for result in (
        compare(NAMED[name], mixed()),
        compare(mixed(), NAMED[name]),
        compare(hostile(), NAMED[name]),
    ):
        _check_texts(result)
        data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        assert data["passed"] is result.passed
        total = sum(len(data[kind]) for kind in ("regressed", "vanished", "appeared", "worsened", "improved"))
        assert total == len(result.changes)


def _check_texts(result: Comparison) -> None:
    for text in (result.to_markdown(), result.to_text()):
        assert text.endswith("\n")
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "\x00" not in text


def test_long_lists_are_cut_in_text_but_not_in_json() -> None:
    result = compare(record(), record(*(failing(f"{i:03}") for i in range(150))))
    assert "and 130 more" in result.to_text()
    assert "And 50 more" in result.to_markdown()
    assert len(result.to_dict()["appeared"]) == 150


# --- the command -------------------------------------------------------------------------


@pytest.fixture
def reports(tmp_path: Path) -> tuple[str, str]:
    old = record(passing("a"), passing("b"), environment={"python": "3.11"})
    new = record(failing("a"), passing("b"), environment={"python": "3.12"})
    paths = tmp_path / "old.json", tmp_path / "new.json"
    for path, made in zip(paths, (old, new), strict=True):
        path.write_text(to_json(made), encoding="utf-8")
    return str(paths[0]), str(paths[1])


def test_the_command_exits_1_where_something_regressed(reports: tuple[str, str]) -> None:
    old, new = reports
    run = CliRunner().invoke(command, [old, new])
    assert run.exit_code == 1
    assert run.output.startswith("1 regression, in linear")
    assert CliRunner().invoke(command, [old, old]).exit_code == 0
    assert CliRunner().invoke(command, [new, new]).exit_code == 0
    assert CliRunner().invoke(command, [new, old]).exit_code == 0


def test_the_command_prints_json_and_markdown(reports: tuple[str, str]) -> None:
    run = CliRunner().invoke(command, [*reports, "--json"])
    data = json.loads(run.output)
    assert run.exit_code == 1
    assert data["regressed_layers"] == ["linear"]
    (change,) = data["regressed"]
    assert (change["old"]["ulps"], change["new"]["ulps"]) == (1.5, 4e5)
    run = CliRunner().invoke(command, [*reports, "--markdown"])
    assert run.exit_code == 1
    assert run.output.startswith("# 1 regression, in linear")


@pytest.mark.parametrize("arguments", [["missing.json"], ["--json", "--markdown"]])
def test_the_command_refuses_bad_input(reports: tuple[str, str], arguments: list[str]) -> None:
    files = list(reports) if arguments[0].startswith("--") else [reports[0]]
    run = CliRunner().invoke(command, [*files, *arguments])
    assert isinstance(run.exception, InputError)
    assert run.output == ""


def test_checks_that_vanish_with_their_whole_case_are_laid_to_its_cause():
    """A network that can no longer be built loses the checks of all its layers, by the fault of one."""
    old = record(Check(id="net 3 / relu0 / d_x", group="nets", passed=True, case="net 3", layer="relu"))
    new = record(Check(id="net 3 / call", group="nets", passed=False, case="net 3", layer="linear"))
    result = compare(old, new)
    assert not result.passed
    assert result.regressed_layers == ("linear",)
    assert [change.check.layer for change in result.vanished] == ["relu"]


def test_a_folder_stands_for_its_report(tmp_path: Path) -> None:
    for name, check in (("old", passing()), ("new", failing("relu / y"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(to_json(record(check)), encoding="utf-8")
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    assert CliRunner().invoke(command, [old, old]).exit_code == 0
    result = CliRunner().invoke(command, [f"{old}/report.json", new])
    assert result.exit_code == 1
    assert "1 regression, in linear" in result.output
    empty = CliRunner().invoke(command, [old, str(tmp_path)])
    assert isinstance(empty.exception, InputError)
    assert str(tmp_path / "report.json") in str(empty.exception)


def test_a_long_exception_does_not_fill_the_table() -> None:
    message = "raises RuntimeError: " + "\n".join(f"frame #{i} of many" for i in range(50))
    result = compare(record(passing("a")), record(exception("a", message=message)))
    for text in (result.to_text(width=80), result.to_markdown()):
        assert "failed: raises RuntimeError: frame" in " ".join(text.replace("\\", "").split())
        assert "frame #9" not in text.replace("\\", "")
    assert "hand value" not in result.to_text(), "no value: its columns would be empty"
    assert "hand value" in compare(record(passing("a")), record(failing("a"))).to_text()


def test_architectures_drawn_from_other_layers_are_not_compared_where_they_are_others():
    """A new layer changes every random network: that is no regression. A wrong one still is."""

    def run(layers, *networks):
        singles = [Check(id=f"{n} / c", group="layers", passed=True, layer=n) for n in layers]
        nets = [Check(id=f"net {n}", group="architectures", passed=ok, layer="relu") for n, ok in networks]
        return record(*singles, *nets)

    old = run(["relu"], (1, True), (2, True))
    result = compare(old, run(["relu", "new"], (3, True)))
    assert result.passed
    assert [change.check.id for change in result.changes] == ["new / c"]
    assert "left out" in result.notes[0]
    assert not compare(old, run(["relu", "new"], (3, False))).passed
    assert not compare(old, run(["relu"], (1, True))).passed, "with the same layers, a vanished check gates"
