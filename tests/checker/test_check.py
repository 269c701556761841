"""``torch_ext.check``: right code passes in every style, planted mistakes are found and named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import Function

import torch_ext
from handgrad.checking.findings import GradientMismatch
from tests.checker.subjects import (
    Affine,
    Square,
    WrongSquare,
    applied,
    drawn,
    linear_backward,
    linear_forward,
    linear_inputs,
    wrong_linear,
)

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reference", [None, lambda x, w, b: nn.functional.linear(x, w, b)])
@pytest.mark.parametrize("style", ["pair", "apply", "function"])
def test_right_code_passes(style: str, reference: Any, dtype: torch.dtype) -> None:
    pair = (linear_forward, linear_backward)
    target = {
        "pair": pair,
        "apply": applied(pair),
        "function": lambda x, weight, bias: applied(pair)(x, weight, bias),
    }[style]
    report = torch_ext.check(target, linear_inputs(dtype), reference)
    assert report.passed, str(report)
    assert [d.shape for d in report.diffs] == [(5, 3), (4, 3), (4,)]
    assert not any(d.diagnosis for d in report.diffs)


def test_a_module_is_checked_with_its_parameters_by_name() -> None:
    report = torch_ext.check(Affine(), (drawn(5, 3),))
    assert report.passed, str(report)
    assert [d.name for d in report.diffs] == ["x", "weight", "bias"]
    report = torch_ext.check(nn.Sequential(nn.Linear(3, 4), nn.Tanh()), (drawn(5, 3, dtype=torch.float32),))
    assert report.passed, str(report)
    assert [d.name for d in report.diffs] == ["input", "0.weight", "0.bias"]


MISTAKES: dict[str, tuple[str, Callable[..., Any]]] = {
    "sign": ("x", lambda dx, dw, db: (-dx, dw, db)),
    "scale": ("weight", lambda dx, dw, db: (dx, 1.00001 * dw, db)),
    "offset": ("bias", lambda dx, dw, db: (dx, dw, db + 0.25)),
    "permuted": ("weight", lambda dx, dw, db: (dx, dw.roll(1, 0), db)),
    "zero": ("bias", lambda dx, dw, _: (dx, dw, None)),
    "not-finite": ("x", lambda dx, dw, db: (dx / 0.0, dw, db)),
    "shape": ("x", lambda dx, dw, db: (dx[:2], dw, db)),
    "dtype": ("weight", lambda dx, dw, db: (dx, dw.float(), db)),
    "local": ("weight", lambda dx, dw, db: (dx, torch.cat([dw[:1] * 2, dw[1:]]), db)),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_found_and_named(kind: str) -> None:
    where, change = MISTAKES[kind]
    report = torch_ext.check(wrong_linear(change), linear_inputs())
    assert not report.passed
    first = report.findings[0]
    assert first.where == where, str(report)
    assert first.kind == kind or kind == "local", str(report)
    assert [d.name for d in report.diffs if not d.passed] in ([where], [])


def test_a_sum_that_is_missing_is_seen_before_the_engine_sums() -> None:
    pair = linear_forward, lambda dy, r: (*linear_backward(dy, r)[:2], dy)
    for target in (pair, applied(pair)):
        report = torch_ext.check(target, linear_inputs())
        assert report.findings[0].kind == "missing-sum", str(report)
        assert report.findings[0].details["axes"] == [0]


def test_a_function_class_whose_backward_is_wrong() -> None:
    assert torch_ext.check(Square.apply, (drawn(4, 3),)).passed
    report = torch_ext.check(WrongSquare.apply, (drawn(4, 3),))
    assert report.findings[0].kind == "scale", str(report)
    assert report.findings[0].details["factor"] == pytest.approx(1.5)


def test_a_mistake_that_the_inputs_hide() -> None:
    def forward(x: Tensor) -> Any:
        return torch.where(x > 0, x, 0.1 * x), x

    report = torch_ext.check(
        (forward, lambda dy, x: (dy + 0 * x,)), (drawn(4, 3).detach().abs().requires_grad_(),)
    )
    assert report.findings[0].kind in ("region", "missing-factor"), str(report)


def test_writing_into_what_is_not_its_own() -> None:
    def into_cotangent(dy: Tensor, x: Tensor) -> Any:
        return (dy.mul_(2) * x,)

    def into_input(x: Tensor) -> Any:
        y = x * x
        saved = x.clone()
        x.mul_(2)
        return y, saved

    for pair in (
        (lambda x: (x * x, x), into_cotangent),
        (into_input, lambda dy, x: (2 * x * dy,)),
    ):
        for target in (pair, applied(pair)):
            report = torch_ext.check(target, (drawn(4, 3),))
            assert report.findings[0].kind == "mutates", str(report)


def test_another_gradient_at_each_call() -> None:
    def backward(dy: Tensor, x: Tensor) -> Any:
        return (2 * x * dy * (1 + torch.rand(())),)

    report = torch_ext.check((lambda x: (x * x, x), backward), (drawn(4, 3),))
    assert report.findings[0].kind == "nondeterministic", str(report)


def test_another_output_than_the_reference_gives() -> None:
    report = torch_ext.check(
        (linear_forward, linear_backward), linear_inputs(), lambda x, w, b: x @ w.mT + 2 * b
    )
    assert any(f.kind == "forward" for f in report.findings), str(report)


def test_a_failed_report_raises_its_text() -> None:
    report = torch_ext.check(WrongSquare.apply, (drawn(4, 3),))
    with pytest.raises(GradientMismatch) as raised:
        report.raise_if_failed()
    assert str(raised.value) == str(report)
    torch_ext.check(Square.apply, (drawn(4, 3),)).raise_if_failed()


# --- how a backward is called ---------------------------------------------------------------------


class Product(Function):
    """x @ w; its backward looks at the wrong flag, or does not expect that an output is not used."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x @ w

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, w = ctx.saved_tensors
        return dy @ w.mT, x.mT @ dy if ctx.needs_input_grad[0] else None


class Both(Function):
    """sin x and x²."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, materialise: bool) -> Any:
        ctx.set_materialize_grads(materialise)
        ctx.save_for_backward(x)
        return x.sin(), x * x

    @staticmethod
    def backward(ctx: Any, dsin: Tensor, dsquare: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return dsin * x.cos() + 2 * dsquare * x, None


class Tripled(Function):
    """3 x in place, which it declares."""

    factor = 3.0

    @classmethod
    def forward(cls, ctx: Any, x: Tensor) -> Tensor:  # type: ignore[override]
        ctx.mark_dirty(x)
        ctx.factor = cls.factor
        return x.mul_(3)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return ctx.factor * dy


class WrongTripled(Tripled):
    factor = 1.0


class OutsideAutograd(Function):
    """sin by NumPy."""

    factor = 1.0

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.from_numpy(np.sin(x.detach().numpy()))

    @classmethod
    def backward(cls, ctx: Any, dy: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return cls.factor * dy * x.cos()


class WrongOutsideAutograd(OutsideAutograd):
    factor = 1.0001


def test_a_gradient_for_one_input_alone() -> None:
    report = torch_ext.check(Product.apply, (drawn(4, 3), drawn(3, 2, seed=1)))
    assert [(f.kind, f.where) for f in report.findings] == [("zero", "w")], str(report)


def test_outputs_that_are_not_used() -> None:
    assert torch_ext.check(Both.apply, (drawn(4, 3), True)).passed
    report = torch_ext.check(Both.apply, (drawn(4, 3), False))
    assert not report.passed
    assert "no gradient comes in" in str(report)


def test_in_place_work_that_is_declared() -> None:
    assert torch_ext.check(Tripled.apply, (drawn(4, 3),)).passed
    report = torch_ext.check(WrongTripled.apply, (drawn(4, 3),))
    assert [f.kind for f in report.findings] == ["scale"], str(report)


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
@pytest.mark.parametrize("shape", [(4, 3), (30, 20)], ids=["every element", "directions"])
def test_without_autograd_derivatives_are_numerical(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    report = torch_ext.check(OutsideAutograd.apply, (drawn(*shape, dtype=dtype),))
    assert report.passed, str(report)
    assert "numerical" in report.oracle
    report = torch_ext.check(WrongOutsideAutograd.apply, (drawn(*shape, dtype=dtype),))
    assert report.findings[0].kind == "scale", str(report)


@pytest.mark.parametrize("dtype", [torch.complex128, torch.complex64], ids=str)
def test_complex_numbers(dtype: torch.dtype) -> None:
    def complex_numbers(seed: int) -> Tensor:
        pair = drawn(4, 3, 2, seed=seed).detach()
        return torch.view_as_complex(pair).to(dtype).requires_grad_()

    inputs = complex_numbers(0), complex_numbers(1)
    forward = lambda a, b: (a * b, (a, b))  # noqa: E731
    right = forward, lambda dy, r: (dy * r[1].conj(), dy * r[0].conj())
    wrong = forward, lambda dy, r: (dy * r[1], dy * r[0].conj())
    for target in (right, applied(right)):
        report = torch_ext.check(target, inputs)
        assert report.passed, str(report)
    report = torch_ext.check(wrong, inputs)
    assert [d.name for d in report.diffs if not d.passed] == ["a"], str(report)


# --- cost -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES[:2], ids=str)
def test_a_large_layer_takes_sixty_forward_passes(dtype: torch.dtype) -> None:
    passes = 0

    def linear(change: Callable[..., Any]) -> Callable[..., Any]:
        apply = applied(wrong_linear(change))

        def counted(x: Tensor, weight: Tensor, bias: Tensor) -> Any:
            nonlocal passes
            passes += 1
            return apply(x, weight, bias)

        return counted

    def one_element(dx: Tensor, dw: Tensor, db: Tensor) -> Any:
        dw = dw.clone()
        dw[3, 5] *= 1.01
        return dx, dw, db

    inputs = drawn(32, 64, dtype=dtype), drawn(64, 64, dtype=dtype, seed=1), drawn(64, dtype=dtype, seed=2)
    report = torch_ext.check(linear(lambda *d: d), inputs)
    assert report.passed, str(report)
    assert passes <= 60
    report = torch_ext.check(linear(lambda dx, dw, db: (dx, dw * (1 + 1e-5), db)), inputs)
    assert (report.findings[0].kind, report.findings[0].where) == ("scale", "weight"), str(report)
    report = torch_ext.check(linear(one_element), inputs)
    assert [d.name for d in report.diffs if not d.passed] == ["weight"], str(report)
