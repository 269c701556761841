"""``handgrad layers``: a row a layer at every width, its accuracy from a report that is named."""

import inspect
import json
import os

import pytest
from click.testing import CliRunner
from rich.cells import cell_len

import handgrad.cli.layers
from handgrad._derivation import registry
from handgrad.cli import main
from handgrad.derivations import tanh
from handgrad.report import Check, Record, to_json


def layers(monkeypatch, *arguments, width=100):
    monkeypatch.setattr(handgrad.cli.layers, "columns", lambda: width)
    monkeypatch.setattr(handgrad.cli.layers, "_cost", lambda derivation: None)
    result = CliRunner().invoke(main, ["layers", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def report(tmp_path):
    """A report of tanh alone, whose error is just within the limit."""
    check = {"id": "tanh / y", "group": "layers", "layer": "tanh", "dtype": "float64", "passed": True}
    record = Record(title="a run", seed=0, checks=(Check(**check, ulps=0.996, allowed_ulps=1.0),))
    path = tmp_path / "report.json"
    path.write_text(to_json(record), encoding="utf-8")
    os.utime(path, (1.6e9, 1.6e9))
    return path


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_each_layer_has_a_row_that_fits(width, monkeypatch, report):
    lines = layers(monkeypatch, "--report", report, width=width).splitlines()
    assert all(line == line.rstrip() for line in lines)
    # the last lines are the note; the path in it is as long as it is
    table = lines[: lines.index("")]
    assert max(map(cell_len, table)) <= width
    assert [line.split()[0] for line in table[2:] if line[0] != " "] == list(registry)
    assert len(table) == 2 + len(registry) * (2 if width >= 120 else 1)
    assert any("PyTorch documentation, torch.nn.functional.tanh" in line for line in table) is (width >= 120)


def test_the_report_is_named_with_its_date(monkeypatch, report):
    text = layers(monkeypatch, "tanh", "relu", "--report", report, width=400)
    assert f"Errors are those of {report}, written on 2020-09-1" in text
    row = next(line for line in text.splitlines() if line.startswith("tanh  y = tanh(x) "))
    assert "0.996 ×" in row
    data = json.loads(layers(monkeypatch, "tanh", "--report", report, "--json"))
    assert data["accuracy"]["report"] == str(report)
    assert data["accuracy"]["written"].startswith("2020-09-1")


def test_without_a_report_it_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert "after a run of `handgrad crossval`" in layers(monkeypatch, "tanh")
    assert json.loads(layers(monkeypatch, "tanh", "--json"))["accuracy"] is None


def test_a_derivation_is_printed_as_it_is_written(monkeypatch):
    assert inspect.getdoc(tanh).strip() in layers(monkeypatch, "tanh", width=40)
