"""The command line as a whole: help, exit status, one clear line for bad input, torch only where needed."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from handgrad.cli import COMMANDS, main


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


def without_torch(code, *, cwd):
    """Run ``code`` in a Python in which torch cannot be imported."""
    block = "import sys; sys.modules['torch'] = sys.modules['torch_ext'] = None; "
    return subprocess.run(
        [sys.executable, "-c", block + code], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_helps_with_an_example_and_takes_json(name):
    result = run(name, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"handgrad {name}" in result.output
    assert "--json" in result.output


def test_help_lists_the_commands():
    result = run("--help")
    assert result.exit_code == 0
    assert all(name in result.output for name in COMMANDS)
    assert "0 fine, 1 a mismatch" in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing"], "No such command 'nothing'"),
        (["crossval", "--seed", "-1"], "--seed"),
        (["crossval", "--layer", "line"], "received 'line'; did you mean linear"),
        (["layers", "softmx"], "did you mean softmax"),
        (["layers", "--report", "absent.json"], "absent.json"),
        (["lecture", "absent.toml"], "absent.toml"),
        (["graph", "f = (x + "], "f = (x +"),
        (["compare", "absent.json", "absent.json"], "absent.json"),
    ],
)
def test_bad_usage_is_one_clear_sentence_and_exit_2(arguments, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir()), "half a file was left"


def test_a_folder_that_cannot_be_written_is_found_out_at_once(tmp_path):
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    result = run("crossval", "--reports", tmp_path / "taken" / "reports")
    assert result.exit_code == 2
    assert "can be written" in result.output


@pytest.mark.parametrize("version", [0, 99])
def test_a_report_of_another_version_is_refused(version, tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"format": "handgrad-report", "version": version}), encoding="utf-8")
    result = run("compare", path, path)
    assert result.exit_code == 2
    assert f"received version {version}" in result.output


def test_layers_as_json():
    result = run("layers", "gelu", "relu", "--json")
    assert result.exit_code == 0
    gelu, relu = json.loads(result.output)["layers"]
    assert gelu["layer"] == "gelu"
    assert relu["torch"] == "torch.nn.functional.relu"
    assert relu["cost"]["forward"] >= 1


def test_crossval_as_json_is_the_report_itself(tmp_path):
    arguments = ["--layer", "square", "--architectures", 0, "--jobs", 1, "--reports", tmp_path, "--json"]
    result = CliRunner().invoke(main, ["crossval", *map(str, arguments)])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))


def test_two_runs_write_the_same_but_for_what_is_volatile(tmp_path):
    reports = []
    for jobs in (1, 2):
        folder = tmp_path / str(jobs)
        assert (
            run(
                "crossval", "--layer", "gelu", "--architectures", 20, "--jobs", jobs, "--reports", folder
            ).exit_code
            == 0
        )
        data = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        assert data.pop("volatile")
        reports.append(json.dumps(data))
    assert reports[0] == reports[1]


# --- without torch ------------------------------------------------------------------------------


def test_what_needs_no_torch_runs_without_it(tmp_path):
    code = (
        "import handgrad, handgrad.graph, handgrad.networks, handgrad.architectures, handgrad.report; "
        "from handgrad.cli import main; main()"
    )
    for arguments in (
        ["lecture"],
        ["graph", "chain-rule", "--trace"],
        ["layers", "relu"],
        ["train", "xor", "--steps", "5"],
    ):
        done = without_torch(f"sys.argv[1:] = {arguments!r}; " + code, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_crossval_without_torch_says_what_to_do(tmp_path):
    done = without_torch("sys.argv[1:] = ['crossval']; from handgrad.cli import main; main()", cwd=tmp_path)
    assert done.returncode == 2
    assert "pip install torch" in done.stderr
    assert "Traceback" not in done.stderr


def test_importing_handgrad_imports_no_torch(tmp_path):
    code = "import sys, handgrad, handgrad.cli; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=False).returncode
        == 0
    )
