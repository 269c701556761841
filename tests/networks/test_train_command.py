"""``handgrad train``, and loss curves."""

import json

import pytest
from click.testing import CliRunner

from handgrad import InputError
from handgrad.cli import main
from handgrad.curves import save_curve, terminal_curve


def run(*arguments):
    return CliRunner().invoke(main, ["train", *arguments])


def test_xor():
    result = run("xor", "--steps", "1000", "--seed", "1")
    assert result.exit_code == 0
    assert "exclusive or: 2 inputs, 8 tanh, 1 sigmoid" in result.stdout
    assert "loss, step by step" in result.stdout
    assert "accuracy 100.0%, 4 of 4" in result.stdout
    assert result.stderr == ""  # no progress bar where nobody looks


def test_digits_as_json():
    result = run("digits", "--steps", "200", "--hidden", "16", "--json")
    found = json.loads(result.stdout)
    assert found["widths"] == [64, 16, 10]
    assert len(found["losses"]) == found["steps"] == 200
    assert found["loss"]["training"] < found["loss_at_start"]
    assert found["accuracy"]["test"] > 0.8
    assert len(found["parameters"]["W1"]) == 16


def test_the_lecture_s_section_8_3():
    result = run("lecture", "--steps", "1")
    assert "1 step, seed 0" in result.stdout
    assert "b2 = [[0.3201]]" in result.stdout


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_curves_are_the_same_bytes_every_time(tmp_path, ending):
    files = [tmp_path / f"{name}.{ending}" for name in "ab"]
    for file in files:
        assert run("xor", "--steps", "30", "--curve", str(file)).exit_code == 0
    first, second = (file.read_bytes() for file in files)
    assert first == second
    assert first.startswith(b"<?xml" if ending == "svg" else b"\x89PNG")
    assert [f.name for f in tmp_path.iterdir() if f not in files] == []


def test_curves_of_few_steps(tmp_path):
    assert terminal_curve([]) == terminal_curve([0.5]) == ""
    assert "loss" in terminal_curve([0.5, 0.25])
    assert save_curve([0.5], tmp_path / "one.svg").exists()
    with pytest.raises(InputError, match="at least one step; received none"):
        save_curve([], tmp_path / "none.svg")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["xor", "--lr", "0"], "lr, the learning rate, must be a positive number; received 0.0"),
        (["xor", "--steps", "-1"], "n_iter, the number of steps, must be an integer from 0; received -1"),
        (["xor", "--curve", "loss.pdf"], "a curve is written to FILE.svg or FILE.png; received 'loss.pdf'"),
        (["lecture", "--hidden", "3"], "the lecture's network has 2 hidden units"),
        (["mnist"], "'mnist' is not one of 'xor', 'digits', 'lecture'"),
        (["xor", "--hidden", "0"], "'--hidden': 0 is not in the range x>=1"),
        (["xor", "--steps", "0", "--curve", "loss.svg"], "at least one step; received none"),
    ],
)
def test_bad_input_exits_2(arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    result = run("xor", "--steps", "3", "--curve", str(tmp_path / "file" / "loss.svg"))
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_help_has_an_example():
    assert "Example: handgrad train xor" in run("--help").stdout
