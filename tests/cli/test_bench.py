"""``handgrad bench check``: the checker beside gradcheck, and beside a model's own step."""

import json

import pytest
from click.testing import CliRunner

from handgrad.cli import main
from torch_ext.bench import check as bench
from torch_ext.bench import model
from torch_ext.checker import whole


def run(*arguments):
    return CliRunner().invoke(main, ["bench", "check", *map(str, arguments)])


def test_the_check_is_right_where_gradcheck_is_not():
    result = run("--size", 4, "--batch", 3, "--repeat", 1, "--no-model", "--json")
    assert result.exit_code == 0, result.output
    rows = {row["way"]: row for row in json.loads(result.output)["layer"]}
    assert list(rows) == list(bench.WAYS)
    for way in bench.OURS:
        assert all(rows[way]["right verdict"].values()), way
        assert rows[way]["forward passes"] > 0
    for way in ("gradcheck, fast mode", "gradcheck, slow mode"):
        missed = {name for name, right in rows[way]["right verdict"].items() if not right}
        assert {"weight × 1.00001", "bias not summed", bench.HIDDEN, "right, float32"} <= missed


def test_it_is_a_table_for_people(monkeypatch):
    # some of the ways and mistakes are enough here
    monkeypatch.setattr(bench, "MISTAKES", {"bias not summed": bench.MISTAKES["bias not summed"]})
    seen = []
    layers = bench.layers

    def told(size, batch, repeat, progress):
        return layers(size, batch, repeat, lambda done, total, label: seen.append((done, total)))

    monkeypatch.setattr(bench, "layers", told)
    result = run("--size", 3, "--batch", 2, "--repeat", 1, "--no-model")
    assert result.exit_code == 0
    for word in ("Linear(3, 3), batch 2", "beside check", "FALSE ALARM", "MISSED", "bias not summed"):
        assert word in result.output
    assert seen[-1][0] == seen[-1][1] == len(seen)


@pytest.mark.parametrize("mode", ["step", "reference", "alone"])
@pytest.mark.parametrize("right", [True, False])
def test_a_model_beside_its_own_step(mode, right, monkeypatch):
    monkeypatch.setattr(whole, "WHOLE", 500)
    made = model.main(mode, "tiny", right, 1)
    assert made["step_seconds"][0] > 0
    assert made["bytes"] >= 0
    if mode == "step":
        return
    assert made["passed"] == right
    assert right or all(f.split(": ")[1] == "blocks.1.act" for f in made["named"])


def test_model_rows_have_ratios():
    timed = bench.Timed([2.0, 4.0, 3.0])
    row = bench.ModelRow("right", 10, timed, bench.Timed([1.0]), 30, 20, True, [])
    assert (row.times, row.memory, row.right) == (3.0, 1.5, True)
    assert bench.to_dict([], [row])["model"][0]["times its step"] == 3.0
    assert bench.Timed([2.0, 4.0, 3.0]).spread == (2.0, 4.0)


def test_help_has_examples():
    for arguments in (["bench", "--help"], ["bench", "check", "--help"]):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0
        assert "Example: handgrad bench check" in result.output
        assert "--json" in result.output
    assert run("--repeat", 0).exit_code == 2


def test_layers_beside_pytorchs_own():
    pytest.importorskip("expecttest", reason="PyTorch's databases need it")
    run = CliRunner().invoke(main, ["bench", "layers", "nn.functional.relu", "--repeat", "1", "--json"])
    assert run.exit_code == 0, run.output
    (row,) = json.loads(run.stdout)
    assert row["ratio"] > 0
    assert row["kept bytes"]["hand"] > 0
    run = CliRunner().invoke(main, ["bench", "layers", "no_such_layer"])
    assert run.exit_code == 2
    assert "no_such_layer" in run.stderr
