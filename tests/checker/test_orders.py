"""What is checked on request: double backward, forward mode, transforms, a tolerance factor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

import torch_ext
import torch_ext.functional as F  # noqa: N812
from handgrad._errors import InputError
from tests.checker.subjects import drawn, linear_backward, linear_forward, linear_inputs

DTYPES = [torch.float64, torch.float32]
TRANSFORMS = ("vmap", "compile", "grad", "batched")


class SineBackward(Function):
    """cos(x) dy, and its own backward, by hand."""

    sign = -1.0

    @staticmethod
    def forward(ctx: Any, x: Tensor, dy: Tensor) -> Tensor:
        ctx.save_for_backward(x, dy)
        return x.cos() * dy

    @classmethod
    def backward(cls, ctx: Any, v: Tensor) -> Any:
        x, dy = ctx.saved_tensors
        return cls.sign * x.sin() * dy * v, x.cos() * v


class WrongSignBackward(SineBackward):
    sign = 1.0


class Sine(Function):
    derivative: Any = SineBackward

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @classmethod
    def backward(cls, ctx: Any, dy: Tensor) -> Any:
        return cls.derivative.apply(ctx.saved_tensors[0], dy)


class WrongSign(Sine):
    derivative = WrongSignBackward


class Once(Sine):
    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Any:
        return ctx.saved_tensors[0].cos() * dy


class Detached(Sine):
    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return ctx.saved_tensors[0].detach().cos() * dy


class KeptSigmoid(Function):
    """x σ(x), which keeps σ(x), of which autograd does not know that it depends on x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Any:
        ctx.sigmoid = x.sigmoid()
        ctx.save_for_backward(x)
        return x * ctx.sigmoid

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (x,), s = ctx.saved_tensors, ctx.sigmoid
        return dy * (s + x * s * (1 - s))


class Clipped(Function):
    """A relu, whose derivative at zero is 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return dy * (ctx.saved_tensors[0] >= 0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reference", [None, torch.sin])
def test_a_right_double_backward_passes(dtype: torch.dtype, reference: Any) -> None:
    report = torch_ext.check(Sine.apply, (drawn(4, 3, dtype=dtype),), reference, second_order=True)
    assert report.passed, str(report)
    assert not report.notes


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("function", "kinds"),
    [
        (WrongSign, {"sign"}),
        (Once, {"zero"}),
        (Detached, {"zero"}),
        (KeptSigmoid, {"missing-term", "missing-factor", "unknown"}),
    ],
)
def test_a_wrong_double_backward_is_found(function: Any, kinds: set[str], dtype: torch.dtype) -> None:
    inputs = (drawn(4, 3, dtype=dtype),)
    assert torch_ext.check(function.apply, inputs).passed
    report = torch_ext.check(function.apply, inputs, second_order=True)
    finding = report.findings[0]
    assert finding.kind in kinds, str(report)
    assert finding.where == "x"
    assert "in the second derivative (double backward)" in finding.message
    assert finding.details["order"] == 2
    assert all(d.passed for d in report.diffs)
    assert "double backward" in str(report)
    assert "the second derivative is wrong: x" in str(report)


def test_a_pair_is_differentiated_twice() -> None:
    def cut(dy: Tensor, residuals: Any) -> Any:
        x, weight = residuals
        return dy @ weight.detach(), dy.mT @ x, dy.sum(0)

    right = torch_ext.check((linear_forward, linear_backward), linear_inputs(), second_order=True)
    assert right.passed, str(right)
    wrong = torch_ext.check((linear_forward, cut), linear_inputs(), second_order=True)
    assert [(f.kind, f.where) for f in wrong.findings] == [("zero", "weight")]


def test_what_is_wrong_once_is_not_said_twice() -> None:
    class Wrong(Sine):
        @staticmethod
        def backward(ctx: Any, dy: Tensor) -> Any:
            return -ctx.saved_tensors[0].cos() * dy

    report = torch_ext.check(Wrong.apply, (drawn(4, 3),), second_order=True)
    assert [f.kind for f in report.findings] == ["sign"]
    assert any("second derivatives are not checked" in note for note in report.notes)


@pytest.mark.parametrize("reference", [None, torch.relu])
def test_at_kinks_there_is_no_second_derivative_to_check(reference: Any) -> None:
    x = torch.tensor([[-1.0, 0.0, 2.0], [0.0, 0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    usual = torch_ext.check(Clipped.apply, (x,), reference)
    assert usual.passed == (reference is None)
    report = torch_ext.check(Clipped.apply, (x,), reference, second_order=True)
    assert [f.kind for f in report.findings] == [f.kind for f in usual.findings]


def test_what_the_truth_has_no_second_derivative_of_is_a_note() -> None:
    def loss(x: Tensor) -> Tensor:
        lengths = torch.tensor([5, 5]), torch.tensor([2, 3])
        return nn.functional.ctc_loss(x.log_softmax(-1), torch.tensor([[1, 2, 0], [2, 1, 2]]), *lengths)

    report = torch_ext.check(loss, (drawn(5, 2, 3),), probes=False, second_order=True)
    assert report.passed, str(report)
    assert any("the truth has none here" in note for note in report.notes)


LAYERS: dict[str, Callable[..., Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "softmax": lambda x: F.softmax(x, -1),
    "layer_norm": lambda x, weight, bias: F.layer_norm(x, (3,), weight, bias),
    "linear": F.linear,
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_pass_everything(name: str, dtype: torch.dtype) -> None:
    shapes = {"layer_norm": [(4, 3), (3,), (3,)], "linear": [(4, 3), (5, 3), (5,)]}.get(name, [(4, 3)])
    inputs = tuple(drawn(*shape, dtype=dtype, seed=i) for i, shape in enumerate(shapes))
    report = torch_ext.check(
        LAYERS[name], inputs, second_order=True, forward_mode=True, transforms=TRANSFORMS
    )
    assert report.passed, str(report)
    assert not report.notes


class Scaled(Function):
    """w sin(x), with all that PyTorch asks for."""

    factor = 1.0

    @staticmethod
    def forward(x: Tensor, w: Tensor) -> Tensor:
        return x.sin() * w

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, _: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, w = ctx.saved_tensors
        return x.cos() * dy * w, x.sin() * dy

    @classmethod
    def jvp(cls, ctx: Any, dx: Tensor, dw: Tensor) -> Any:
        x, w = ctx.saved_tensors
        return cls.factor * (x.cos() * dx * w + x.sin() * dw)

    @staticmethod
    def vmap(_: Any, in_dims: Any, x: Tensor, w: Tensor) -> Any:
        x, w = (t if d is None else t.movedim(d, 0) for t, d in zip((x, w), in_dims, strict=True))
        return Scaled.apply(x, w), 0  # type: ignore[no-untyped-call]


class WrongJvp(Scaled):
    factor = -1.0


class LeftOut(Scaled):
    @staticmethod
    def jvp(ctx: Any, dx: Tensor, _: Tensor) -> Any:
        x, w = ctx.saved_tensors
        return x.cos() * dx * w


class Reversed(Scaled):
    @staticmethod
    def vmap(_: Any, in_dims: Any, x: Tensor, w: Tensor) -> Any:
        x, w = (t if d is None else t.movedim(d, 0) for t, d in zip((x, w), in_dims, strict=True))
        return Scaled.apply(x.flip(0) if in_dims[0] is not None else x, w), 0  # type: ignore[no-untyped-call]


class FirstAxisOnly(Scaled):
    @staticmethod
    def vmap(_: Any, __: Any, x: Tensor, w: Tensor) -> Any:
        return Scaled.apply(x, w), 0  # type: ignore[no-untyped-call]


class OtherWhenCompiled(Sine):
    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        result = ctx.saved_tensors[0].cos() * dy
        return 2 * result if torch.compiler.is_compiling() else result


def two() -> tuple[Tensor, Tensor]:
    return drawn(4, 3), drawn(4, 3, seed=1)


def test_right_rules_pass() -> None:
    report = torch_ext.check(Scaled.apply, two(), forward_mode=True, transforms=TRANSFORMS)
    assert report.passed, str(report)
    assert not report.notes


@pytest.mark.parametrize(("function", "kind"), [(WrongJvp, "sign"), (LeftOut, "missing-term")])
def test_a_wrong_jvp_is_found(function: Any, kind: str) -> None:
    report = torch_ext.check(function.apply, two(), forward_mode=True)
    finding = report.findings[0]
    assert finding.kind == kind, str(report)
    assert finding.message.startswith("in forward mode (jvp): ")
    assert finding.where == "the output"
    assert finding.details["mode"] == "forward"
    assert all(d.passed for d in report.diffs)


@pytest.mark.parametrize("function", [Reversed, FirstAxisOnly])
def test_a_wrong_vmap_rule_is_found(function: Any) -> None:
    assert torch_ext.check(function.apply, two(), transforms=("compile", "grad", "batched")).passed
    report = torch_ext.check(function.apply, two(), transforms=("vmap",))
    assert [f.details["transform"] for f in report.findings] == ["vmap"]
    assert "vmap" in report.findings[0].message


def test_what_compiles_to_something_else_is_found() -> None:
    report = torch_ext.check(OtherWhenCompiled.apply, (drawn(4, 3),), transforms=("compile",))
    assert [(f.where, f.details["transform"]) for f in report.findings] == [("x", "compile")]


def test_an_old_style_function_is_a_note() -> None:
    report = torch_ext.check(Sine.apply, (drawn(4, 3),), transforms=TRANSFORMS)
    assert report.passed, str(report)
    assert [note.split()[0] for note in report.notes] == ["vmap", "grad"]
    assert all("Sine has no setup_context" in note for note in report.notes)


def test_modules_and_several_outputs() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch_ext.nn.Linear(3, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            y = self.layer(x)
            return y, y.argmax(-1), F.softmax(y, -1)

    report = torch_ext.check(
        Both(),
        (drawn(5, 3, dtype=torch.float32),),
        second_order=True,
        forward_mode=True,
        transforms=TRANSFORMS,
    )
    assert report.passed, str(report)
    assert not report.notes


def test_tolerance_is_a_factor_on_rounding() -> None:
    class Off(Sine):
        @staticmethod
        def backward(ctx: Any, dy: Tensor) -> Any:
            return ctx.saved_tensors[0].cos() * dy * (1 + 1e-12)

    inputs = (drawn(4, 3),)
    assert not torch_ext.check(Off.apply, inputs).passed
    assert torch_ext.check(Off.apply, inputs, tolerance=1e6).passed
    assert not torch_ext.check(Off.apply, inputs, tolerance=1e-1).passed


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"tolerance": 0}, "above 0"),
        ({"tolerance": float("nan")}, "above 0"),
        ({"tolerance": "2"}, "above 0"),
        ({"transforms": "vmap"}, "write \\(name,\\)"),
        ({"transforms": ("jit",)}, "received 'jit'"),
        ({"second_order": 1}, "second_order is True or False"),
        ({"forward_mode": True}, "jvp"),
    ],
)
def test_errors_of_use(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        torch_ext.check(Sine.apply, (drawn(4, 3),), **options)


def test_options_are_not_for_whole_models() -> None:
    with pytest.raises(InputError, match="second_order=True"):
        torch_ext.check(nn.Linear(1100, 1000), (drawn(2, 1100, dtype=torch.float32),), second_order=True)


def test_a_pair_has_no_forward_mode() -> None:
    with pytest.raises(InputError, match="a pair"):
        torch_ext.check((linear_forward, linear_backward), linear_inputs(), forward_mode=True)
