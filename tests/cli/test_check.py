"""``handgrad check`` on a user's own module."""

import json

import pytest
import torch
from click.testing import CliRunner

from handgrad.cli import main

MINE = """
import torch


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * g


class Wrong(Cube):
    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x**2 * g


class Cut(Cube):
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * g


class Layer(torch.nn.Linear):
    def __init__(self):
        super().__init__(3, 2)


def cube(x):
    return x**3


def make_inputs():
    return (torch.randn(4, 3, dtype=torch.float64, requires_grad=True),)


def pair():
    return (lambda x: (2 * x, None)), (lambda g, _: 2 * g)


class Needs(torch.nn.Linear):
    pass
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    name = f"mine_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MINE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def run(target, *arguments):
        filled = [a.replace("mine", name) for a in arguments]
        return CliRunner().invoke(main, ["check", f"{name}:{target}", *filled])

    return run


@pytest.mark.parametrize("target", ["Cube", "cube", "Layer", "pair"])
def test_right_code_exits_0(run, target):
    result = run(target, "--shape", "4,3")
    assert result.exit_code == 0, result.output
    assert "right to within rounding" in result.output


def test_a_wrong_gradient_exits_1_and_is_named(run):
    result = run("Wrong", "--shape", "4,3", "--reference", "mine:cube")
    assert result.exit_code == 1
    assert "scale" in result.output
    assert "0.6666666667 times" in result.output
    data = json.loads(run("Wrong", "--shape", "5", "--json").output)
    assert data["findings"][0]["kind"] == "scale"


def test_inputs_from_a_function_and_from_a_file(run, tmp_path):
    assert run("Cube", "--inputs", "make_inputs").exit_code == 0
    torch.save((torch.ones(2, requires_grad=True),), tmp_path / "inputs.pt")
    assert run("Cube", "--inputs", "inputs.pt").exit_code == 0


def test_options_beyond_the_first_derivative(run):
    more = ["--second-order", "--transform", "batched", "--transform", "vmap", "--tolerance", "2"]
    result = run("Cube", "--shape", "4,3", *more)
    assert result.exit_code == 0, result.output
    assert "no setup_context" in result.output
    result = run("Cut", "--shape", "4,3", *more, "--json")
    assert result.exit_code == 1, result.output
    assert [f["details"].get("order") for f in json.loads(result.output)["findings"]] == [2, 2]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["Cube", "--shape", "3", "--forward-mode"], "jvp"),
        (["Cube", "--shape", "3", "--tolerance", "0"], "above 0"),
        (["Cube", "--shape", "3", "--transform", "jit"], "'vmap', 'compile'"),
        (["Cube"], "a check needs inputs"),
        (["Cube", "--shape", "3,a"], "whole numbers"),
        (["Cubes", "--shape", "3"], "must exist in its module"),
        (["Cube", "--shape", "3", "--reference", "nowhere:f"], "must be importable"),
        (["Needs", "--shape", "3"], "made without arguments"),
        (["Cube", "--inputs", "nothing"], "must exist in its module"),
    ],
)
def test_bad_usage(run, arguments, says):
    result = run(*arguments)
    assert result.exit_code == 2
    assert says in result.output
