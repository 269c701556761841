"""A new layer is one file: its Function, its checks, its report rows and its tests follow."""

import importlib
import sys

import pytest
import torch
from click.testing import CliRunner

import torch_ext
from handgrad import Derivation, case, register, registry
from handgrad._cases import normal
from handgrad._errors import DuplicateDerivation, InputError, UnknownDerivation
from handgrad.architectures import generate
from handgrad.cli import main
from torch_ext.crossval import crossval

CUBE = '''"""y = x³

Shapes.  x and y (...), element by element.

Chain rule.  ∂y/∂x = 3 x², so dx = 3 x² dy.

Kinks: none.
Source: any calculus book.
"""

from handgrad._cases import case, normal
from handgrad._derivation import register


def forward(x):
    return x * x * x, (x,)


def backward(dy, residuals):
    (x,) = residuals
    return 3 * x * x * dy


register(
    forward,
    backward,
    reference=lambda torch, x: torch.pow(x, 3),
    torch="torch.pow",
    fit=lambda rng, shape: case("fit", normal(*shape)),
    cases=[case("plain", normal(3, 4)), case("a number", normal())],
)
'''


@pytest.fixture
def cube(tmp_path, monkeypatch):
    (tmp_path / "cube.py").write_text(CUBE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("cube")
    yield registry["cube"]
    registry.remove("cube")
    del sys.modules["cube"]


def test_one_file_brings_the_function(cube):
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert torch_ext.functions(cube).eager.__name__ == "Cube"
    assert torch.autograd.gradcheck(lambda x: torch_ext.call(cube, x), (x,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda x: torch_ext.call(cube, x), (x,))


def test_one_file_brings_checks_and_report_rows(cube):
    record = crossval(architectures=0, jobs=1, layers=["cube"])
    assert record.passed
    checks = [check for check in record.checks if check.layer == "cube"]
    assert {check.library for check in checks} == {"numpy", "strict", "torch"}
    assert {check.dtype for check in checks} >= {"float64", "float32", "bfloat16", "float16"}
    assert {check.oracle for check in checks} == {"autograd", "numerical"}


def test_one_file_brings_tests_and_a_row_of_the_list(cube):
    spec = importlib.util.spec_from_file_location(
        "fresh", f"{__file__[: -len('test_registry.py')]}test_derivations.py"
    )
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    assert [p.id for p in fresh.CASES if p.values[0] == "cube"] == ["cube-plain", "cube-a number"]
    result = CliRunner().invoke(main, ["layers", "cube"])
    assert result.exit_code == 0
    assert "3 x² dy" in result.output


def test_one_file_brings_a_place_in_architectures(cube):
    made = generate(1, ["cube", "linear"])
    assert set(made.layers) <= {"cube", "linear"}
    assert any("cube" in generate(seed, ["cube", "linear"]).layers for seed in range(3))


def test_one_file_is_tested_for_real(cube):
    """A mistake in the new file is found."""
    wrong = Derivation("wrong_cube", cube.forward, lambda dy, r: 2 * r[0] * r[0] * dy, cube.torch, cube.cases,
                       reference=cube.reference)  # fmt: skip
    registry.add(wrong)
    try:
        record = crossval(architectures=0, jobs=1, layers=["wrong_cube", "relu"])
        assert record.failed_places == ("wrong_cube",)
    finally:
        registry.remove("wrong_cube")


def test_a_name_is_registered_once(cube):
    with pytest.raises(DuplicateDerivation, match=r"'cube' a second time.*cube\.py"):
        registry.add(cube)


def test_an_unknown_name_suggests_the_near_one():
    with pytest.raises(UnknownDerivation, match="did you mean softplus"):
        registry["sofplus"]


def test_backward_returns_one_gradient_for_each_input():
    def forward(x, y):
        return x * y, (x, y)

    two_too_many = register(
        forward, lambda dy, r: (dy, dy, dy), name="two_too_many", cases=[case("c", normal(2), normal(2))]
    )
    try:
        x = torch.ones(2)
        _, residuals = two_too_many.apply((x, x), {})
        with pytest.raises(InputError, match="one gradient for each input; received 3 for 2"):
            two_too_many.vjp((x,), residuals, (x, x), {})
    finally:
        registry.remove("two_too_many")
