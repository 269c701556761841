"""What is an error of use gets one sentence; what is a mistake of the target's is a finding."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import Function

import torch_ext
from handgrad._errors import InputError
from tests.checker.subjects import Affine, Square, applied, drawn, linear_forward, linear_inputs


def squared(x: Tensor) -> Any:
    return x * x, x


def _raises(*_: Any) -> Any:
    raise ValueError("no such\nthing")


@dataclass
class Output:
    y: Any


class Named(nn.Module):
    """Its parameters have other names than those of nn.Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(drawn(4, 3, seed=1).detach())
        self.b = nn.Parameter(drawn(4, seed=2).detach())

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.w.mT + self.b


def _by_numpy(x: Tensor) -> Tensor:
    return torch.from_numpy(np.sin(x.detach().numpy()))


def _meta(*_: Any) -> Tensor:
    return torch.ones(3, device="meta", requires_grad=True)


X = drawn(3)
BAD: dict[str, tuple[str, Any, Any, Any]] = {
    # the target
    "not callable": ("a callable, a module, or a tuple", 7, (X,), None),
    "a list": ("received a list of 2", [squared, squared], (X,), None),
    "three functions": ("received a tuple of 3", (squared, squared, squared), (X,), None),
    "a Function's class": ("write Square.apply", Square, (X,), None),
    "a module's class": (r"write Linear(...)", nn.Linear, (X,), None),
    "it raises": ("ValueError: no such thing", _raises, (X,), None),
    "too many arguments": ("takes 1 positional argument", lambda x: x, (X, X), None),
    "integers out": ("floating or complex output", lambda x: x.long(), (X,), None),
    "a number out": ("received float", lambda x: float(x.sum()), (X,), None),
    "a dict out": ("received dict", lambda x: {"y": x}, (X,), None),
    "None out": ("received NoneType", lambda x: None, (X,), None),
    "a dataclass out": ("received Output", Output, (X,), None),
    "nothing out": ("received tuple of nothing", lambda x: (), (X,), None),
    "not finite": ("output is finite on the inputs", lambda x: x / 0, (X,), None),
    "one dtype only": ("runs in float64, too", lambda x: x * {torch.float32: 2}[x.dtype], (X.float(),), None),
    # a pair
    "gradients": ("1 for 3 inputs", (linear_forward, lambda dy, _: (dy,)), linear_inputs(), None),
    "residuals": ("(output, residuals)", (lambda x: x, lambda dy, _: (dy,)), (X,), None),
    "a gradient of numpy": ("received a ndarray", (squared, lambda dy, x: (dy.numpy(),)), (X,), None),
    "a dict of gradients": ("received a dict", (squared, lambda dy, x: {"x": dy}), (X,), None),
    # a module
    "meta module": ("weight on the meta device", nn.Linear(3, 3, device="meta"), (drawn(2, 3),), None),
    "lazy module": ("weight, which is not initialised", nn.LazyLinear(3), (drawn(2, 3),), None),
    # inputs
    "no variable": ("requires a gradient; received none", torch.sin, (torch.ones(3),), None),
    "no inputs": ("requires a gradient; received none", lambda: torch.ones(3), (), None),
    "in a list only": ("inside a list or dict only", torch.cat, ([X, X],), None),
    "a tensor": ("write (x,)", torch.sin, X, None),
    "a dict": ("received dict", torch.sin, {"x": X}, None),
    "NaN": ("NaN or infinity in", torch.sin, (torch.full((2,), torch.nan, requires_grad=True),), None),
    "infinity": ("NaN or infinity in", torch.sin, (torch.full((2,), -torch.inf, requires_grad=True),), None),
    "meta input": ("on the meta device", torch.sin, (_meta(),), None),
    "meta constant": ("c on the meta device", lambda x, c: x, (X, _meta()), None),
    "sparse": ("s, which is sparse_coo", lambda s: s * 2, (X.detach().to_sparse().requires_grad_(),), None),
    "float8": ("of float8_e5m2", torch.sin, (torch.ones(2).to(torch.float8_e5m2).requires_grad_(),), None),
    # a reference
    "not a function": ("a reference is a function", torch.sin, (X,), 7),
    "a pair": ("received a pair", torch.sin, (X,), (squared, squared)),
    "reference's class": ("write Linear(...)", torch.sin, (X,), nn.Linear),
    "reference raises": ("ValueError: no such thing", torch.sin, (X,), _raises),
    "other arguments": ("missing 1 required", torch.sin, (X,), lambda x, y: x),
    "other outputs": ("2 where the target has 1", torch.sin, (X,), lambda x: (x, x)),
    "other shapes": ("shape () where it is (3,)", torch.sin, (X,), torch.sum),
    "other dtypes": ("float32 where", torch.sin, (X,), lambda x: x.float()),
    "integers": ("int64 where", torch.sin, (X,), lambda x: x.long()),
    "complex numbers": ("complex numbers where", torch.sin, (X,), lambda x: x + 0j),
    "a dict from it": ("a reference returns", torch.sin, (X,), lambda x: {"y": x}),
    "other parameters": ("received none for weight", Affine(), (drawn(2, 3),), torch.sin),
}


def one_sentence(words: str, call: Callable[[], Any]) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as raised:
        call()
    text = str(raised.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert text.count("; ") == 2  # the rule, what was received, what to do


@pytest.mark.parametrize("name", BAD)
def test_an_error_of_use_gets_one_sentence(name: str) -> None:
    words, target, inputs, reference = BAD[name]
    one_sentence(words, lambda: torch_ext.check(target, inputs, reference))


def test_a_scripted_module() -> None:
    scripted = torch.jit.script(nn.Linear(3, 3))
    one_sentence("the module it was made of", lambda: torch_ext.check(scripted, (drawn(2, 3),)))


@pytest.mark.parametrize("option", ["seed", "budget"])
@pytest.mark.parametrize("value", [-1, 1.5, "1", True, 2**70])
def test_numbers_that_are_none(option: str, value: Any) -> None:
    one_sentence(f"{option} is a whole number", lambda: torch_ext.check(torch.sin, (X,), **{option: value}))


def test_keywords() -> None:
    one_sentence("budget is a whole number", lambda: torch_ext.check(torch.sin, (X,), budget=0))
    one_sentence("probes is True or False", lambda: torch_ext.check(torch.sin, (X,), probes="no"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="bugdet"):
        torch_ext.check(torch.sin, (X,), bugdet=3)  # type: ignore[call-arg]
    report = torch_ext.check(torch.sin, (X,), seed=np.int64(3), budget=np.int64(1))
    assert (report.passed, report.seed) == (True, 3)


# --- findings -------------------------------------------------------------------------------------


def test_a_detached_output() -> None:
    report = torch_ext.check(lambda x: x.detach() * 2, (X,))
    assert report.findings[0].kind == "zero", str(report)


class Wrong(Function):
    """x², and a backward that raises in its own way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, power: int, returned: Callable[..., Any]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.returned = returned
        return x**power

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return ctx.returned(2 * ctx.saved_tensors[0] * dy)


RAISING: dict[str, tuple[str, Callable[[Tensor], Any]]] = {
    "shapes": (
        "Wrong.backward raises RuntimeError: mat1 and mat2",
        lambda d: (d @ d.new_ones(7, 7), None, None),
    ),
    "an exception": ("Wrong.backward raises ZeroDivisionError", lambda d: 1 / 0),
    "too few": ("incorrect number of gradients (expected 3, got 1)", lambda d: d),
    "no tensor": ("expected Variable or None (got float)", lambda d: (1.0, None, None)),
}


@pytest.mark.parametrize("name", RAISING)
def test_a_backward_that_raises_is_a_finding(name: str) -> None:
    words, returned = RAISING[name]
    report = torch_ext.check(Wrong.apply, (drawn(4, 3), 2, returned))
    assert [(f.kind, f.where) for f in report.findings] == [("unknown", "backward")]
    assert words in str(report.findings[0].message)
    assert [(d.name, d.passed) for d in report.diffs] == [("x", False)]
    pair = squared, lambda dy, x: 1 / 0
    assert "ZeroDivisionError" in torch_ext.check(pair, (X,)).findings[0].message


def test_a_backward_that_raises_on_other_inputs_only() -> None:
    pair = (lambda x: (x.relu(), x)), (lambda dy, x: (dy[x > 0].reshape(x.shape),))
    positive = X.detach().abs().requires_grad_()
    for target in (pair, applied(pair)):
        report = torch_ext.check(target, (positive,))
        assert [(f.kind, f.where) for f in report.findings] == [("unknown", "backward")], str(report)


# --- neither: right, with a remark where something may not have been meant ------------------------

AFFINE = Affine()
NOTED: dict[str, tuple[str, Any, Any, Any]] = {
    "not used": ("does not depend on y: its gradient is zero", lambda x, y: 2 * x, (X, X), None),
    "constant": ("does not depend on x", lambda x: x.detach() * 0 + 1, (X,), None),
    "empty": ("x is empty", lambda x: x * x, (drawn(0, 3),), None),
    "lists": ("xs holds tensors that require a gradient", lambda x, xs: x * xs[0], (X, [X]), None),
    "dicts": ("d holds tensors", lambda x, d: x * d["y"], (X, {"y": X}), None),
    "detached": ("reference's output is detached", lambda x: x.detach(), (X,), lambda x: x.detach()),
    "its modules": ("parameters of Affine", lambda x: AFFINE(x), (drawn(2, 3),), None),
}


@pytest.mark.parametrize("name", NOTED)
def test_a_note(name: str) -> None:
    words, target, inputs, reference = NOTED[name]
    report = torch_ext.check(target, inputs, reference, budget=60)
    assert report.passed, str(report)
    assert any(words in note for note in report.notes), report.notes
    assert words in str(report).replace("\n  ", " ")


def _complex() -> Tensor:
    return torch.view_as_complex(drawn(3, 2).detach()).requires_grad_()


FINE: dict[str, tuple[Any, Any, Any]] = {
    "no leaf": (torch.sin, (X * 2,), None),
    "the same tensor twice": (torch.mul, (X, X), None),
    "views of one": (torch.mul, (X[:2], X[1:]), None),
    "expanded": (torch.sin, (drawn(3, 1).expand(3, 4),), None),
    "a sparse constant": (lambda x, s: s @ x, (drawn(3, 2), torch.eye(3).double().to_sparse()), None),
    "a mask of infinities": (
        lambda x, m: torch.softmax(x + m, -1),
        (X, torch.tensor([0.0, -torch.inf, 0.0])),
        None,
    ),
    "complex in, real out": (torch.abs, (_complex(),), None),
    "a tuple in a tuple": (lambda x: (x, (x * x, None)), (X,), None),
    "the same name twice": (lambda x0, *x: x0 * x[0] * x[1], (X, X * 2, X * 3), None),
    "other names": (lambda a, b: a @ b, (drawn(3, 4), drawn(4, 2)), lambda b, a: b @ a),
    "other parameters' names": (Named(), (drawn(5, 3),), nn.Linear(3, 4).double()),
    "an output that is the input": (lambda x: x, (X,), None),
}


@pytest.mark.parametrize("name", FINE)
def test_right(name: str) -> None:
    target, inputs, reference = FINE[name]
    report = torch_ext.check(target, inputs, reference, budget=60)
    assert report.passed, str(report)
    assert not report.notes
    wanted = [x for x in inputs if isinstance(x, Tensor) and x.requires_grad]
    assert len(report.diffs) >= len(wanted)
