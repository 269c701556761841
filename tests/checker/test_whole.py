"""Models with layers: the wrong layer is named, its neighbours are not, and nothing of the user's changes.

The path of large models is taken with small ones, by a threshold of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import Function

import torch_ext
from handgrad._errors import InputError
from torch_ext.checker import whole

WIDTH, BATCH, DEPTH, WRONG = 12, 9, 12, 7
DTYPES = [torch.float32, torch.bfloat16, torch.float64]


@pytest.fixture(params=["whole", "ordinary"])
def path(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both paths name the layer."""
    if request.param == "whole":
        monkeypatch.setattr(whole, "WHOLE", 200)  # more than a layer has
    return request.param


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "WHOLE", 200)  # more than a layer has


class Tanh(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return dy * (1 - y * y)


class WrongTanh(Tanh):
    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return dy * (1 - y)


class Act(nn.Module):
    def __init__(self, function: Any = Tanh) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x)


def linear(change: Callable[..., Any]) -> Any:
    """A linear Function whose gradients (dx, dw, db) ``change`` alters."""

    class Affine(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
            ctx.save_for_backward(x, w)
            return x @ w.mT + b

        @staticmethod
        def backward(ctx: Any, dy: Tensor) -> Any:
            x, w = ctx.saved_tensors
            return change(dy @ w, dy.mT @ x, dy.sum(0), dy)

    return Affine


def right(dx: Tensor, dw: Tensor, db: Tensor, _: Tensor) -> Any:
    return dx, dw, db


def in_place(dx: Tensor, dw: Tensor, db: Tensor, dy: Tensor) -> Any:
    dy.mul_(2)
    return dx, dw, db


def one_row(dx: Tensor, dw: Tensor, db: Tensor, _: Tensor) -> Any:
    dw = dw.clone()
    dw[3] = 0
    return dx, dw, db


class HandLinear(nn.Linear):
    def __init__(self, change: Callable[..., Any] = right) -> None:
        super().__init__(WIDTH, WIDTH)
        self.function = linear(change)

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x, self.weight, self.bias)


def deep(layer: Callable[[int], nn.Module], dtype: torch.dtype = torch.float32) -> nn.Module:
    """Twelve blocks; what ``layer(i)`` makes is ``i.2`` in them."""
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), layer(i)) for i in range(DEPTH)]
    return nn.Sequential(*blocks).to(dtype)


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    g = torch.Generator().manual_seed(3)
    return torch.randn(shape, generator=g, dtype=torch.float64).to(dtype).requires_grad_()


def pair(target: nn.Module, reference: nn.Module) -> tuple[nn.Module, nn.Module]:
    reference.load_state_dict(target.state_dict())
    return target, reference


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("with_reference", [True, False])
def test_right_models_pass(large: None, dtype: torch.dtype, with_reference: bool) -> None:
    target, reference = pair(deep(lambda _: Act(), dtype), deep(lambda _: nn.Tanh(), dtype))
    report = torch_ext.check(
        target, (drawn(BATCH, WIDTH, dtype=dtype),), reference if with_reference else None
    )
    assert report.passed, str(report)
    assert [d.name for d in report.diffs] == ["input", *(n for n, _ in target.named_parameters())]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("with_reference", [True, False])
def test_the_wrong_layer_of_twelve_is_named_alone(
    large: None, dtype: torch.dtype, with_reference: bool
) -> None:
    target = deep(lambda i: Act(WrongTanh if i == WRONG else Tanh), dtype)
    target, reference = pair(target, deep(lambda _: nn.Tanh(), dtype))
    report = torch_ext.check(
        target, (drawn(BATCH, WIDTH, dtype=dtype),), reference if with_reference else None
    )
    assert [(f.kind, f.where) for f in report.findings] == [("missing-factor", f"{WRONG}.2")]
    wrong = {d.name for d in report.diffs if not d.passed}
    assert f"{WRONG}.1.weight" in wrong
    assert not any(n.split(".")[0] in map(str, range(WRONG + 1, DEPTH)) for n in wrong)


def test_small_models_are_named_by_layer_too() -> None:
    def network(function: Any) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 6), Act(function), nn.Linear(6, 4), Act())

    report = torch_ext.check(network(WrongTanh), (drawn(3, 5),))
    assert [(f.kind, f.where) for f in report.findings] == [("missing-factor", "1")]
    assert torch_ext.check(network(Tanh), (drawn(3, 5),)).passed


MISTAKES: dict[str, tuple[str, str, Callable[..., Any]]] = {
    "sign": ("sign", "7.2.weight", lambda dx, dw, db, dy: (dx, -dw, db)),
    "scale": ("scale", "7.2.bias", lambda dx, dw, db, dy: (dx, dw, 1.001 * db)),
    "scale of the input": ("scale", "7.2", lambda dx, dw, db, dy: (2 * dx, dw, db)),
    "transpose": ("transpose", "7.2.weight", lambda dx, dw, db, dy: (dx, dw.mT, db)),
    "zero": ("zero", "7.2.weight", lambda dx, dw, db, dy: (dx, None, db)),
    "row": ("region", "7.2.weight", one_row),
    "sum": ("missing-sum", "7.2.bias", lambda dx, dw, db, dy: (dx, dw, dy)),
    "in place": ("mutates", "7.2", in_place),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_a_layer_with_parameters(large: None, mistake: str) -> None:
    kind, where, change = MISTAKES[mistake]
    target = deep(lambda i: HandLinear(change if i == WRONG else right))
    report = torch_ext.check(target, (drawn(BATCH, WIDTH),))
    assert (report.findings[0].kind, report.findings[0].where) == (kind, where), str(report)
    assert all(f.where.startswith(f"{WRONG}.2") for f in report.findings)


def test_a_large_wrong_parameter_is_explained_at_one_look(
    large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch_ext.checker.layer._TRAINED", 10)  # too many to be differentiated again
    for change, kind in ((MISTAKES["scale"][2], "scale"), (MISTAKES["sign"][2], "sign"), (one_row, "region")):
        target = deep(lambda i, change=change: HandLinear(change if i == WRONG else right))
        report = torch_ext.check(target, (drawn(BATCH, WIDTH),))
        assert report.findings[0].kind == kind, str(report)


class Tied(nn.Module):
    """Tokens; tied weights; a frozen parameter; an argument that is no tensor; two outputs."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embed, self.act, self.mid = nn.Embedding(11, WIDTH), Act(function), nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 11, bias=False)
        self.head.weight = self.embed.weight
        self.mid.bias.requires_grad_(False)

    def forward(self, tokens: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        x = self.act(self.mid(self.embed(tokens)))
        return self.head(x) * scale, x


def test_tokens_tied_weights_and_frozen_parameters(path: str) -> None:
    tokens = torch.randint(0, 11, (2, 5), generator=torch.Generator().manual_seed(0))
    assert torch_ext.check(Tied(Tanh), (tokens, 2.0)).passed
    report = torch_ext.check(Tied(WrongTanh), (tokens, 2.0))
    assert [(f.kind, f.where) for f in report.findings] == [("missing-factor", "act")]
    assert "mid.bias" not in [d.name for d in report.diffs]


def training(function: Any) -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Linear(WIDTH, WIDTH),
        nn.BatchNorm1d(WIDTH),
        Act(function),
        nn.Dropout(0.3),
        nn.Linear(WIDTH, WIDTH),
        nn.ReLU(inplace=True),
    )


def state(model: nn.Module) -> list[Any]:
    """All that a check must leave as it is."""
    tensors = [*model.parameters(), *model.buffers()]
    return [
        [t.detach().clone() for t in tensors],
        [p.grad for p in model.parameters()],
        [m.training for m in model.modules()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        torch.get_rng_state(),
        vars(Tanh)["backward"],
    ]


def same(a: list[Any], b: list[Any]) -> bool:
    return all(torch.equal(x, y) for x, y in zip([*a[0], a[4]], [*b[0], b[4]], strict=True)) and all(
        x == y or x is y for x, y in zip([*a[1:4], a[5]], [*b[1:4], b[5]], strict=True)
    )


def test_dropout_and_batch_norm_in_training_mode(path: str) -> None:
    model, reference = (
        training(Tanh),
        nn.Sequential(*[*training(Tanh)[:2], nn.Tanh(), *training(Tanh)[3:]]),
    )
    model, reference = pair(model, reference)
    before = state(model)
    assert torch_ext.check(model, (drawn(BATCH, WIDTH),), reference).passed
    assert same(before, state(model))
    report = torch_ext.check(training(WrongTanh), (drawn(BATCH, WIDTH),), reference)
    assert [(f.kind, f.where) for f in report.findings] == [("missing-factor", "2")]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("call", [1, 2, 4])
def test_nothing_of_the_users_changes_when_it_is_interrupted(large: None, error: Any, call: int) -> None:
    calls = 0

    class Interrupted(Tanh):
        @staticmethod
        def backward(ctx: Any, dy: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            if calls == call:
                raise error
            return WrongTanh.backward(ctx, dy)

    model = training(Tanh)
    model[2].function = Interrupted
    before = state(model)
    original = vars(Interrupted)["backward"]
    try:
        torch_ext.check(model, (drawn(BATCH, WIDTH),))
    except KeyboardInterrupt:
        assert error is KeyboardInterrupt
    assert same(before, state(model))
    assert vars(Interrupted)["backward"] is original


class Writing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        self.layer.weight.data.clamp_(-0.1, 0.1)
        return self.last(self.layer(x))


def test_a_forward_that_writes_into_parameters(large: None) -> None:
    model = Writing()
    before = state(model)
    report = torch_ext.check(model, (drawn(BATCH, WIDTH),))
    assert ("mutates", "layer.weight") in [(f.kind, f.where) for f in report.findings]
    assert same(before, state(model))


class Between(nn.Module):
    """The mistake is in no layer, but between them."""

    def __init__(self, detached: bool, function: Any = None) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.first, self.last = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.detached, self.function = detached, function

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        y = torch.tanh(h) if self.function is None else self.function.apply(h)
        return self.last(h + (y.detach() if self.detached else y))


def test_a_mistake_between_layers(path: str) -> None:
    report = torch_ext.check(Between(True), (drawn(BATCH, WIDTH),), Between(False))
    assert not report.passed
    assert not {f.where for f in report.findings} & {"first", "last"}
    assert {d.name for d in report.diffs if not d.passed} == {"x", "first.weight", "first.bias"}


def test_a_function_that_the_model_itself_calls(path: str) -> None:
    assert torch_ext.check(Between(False, Tanh), (drawn(BATCH, WIDTH),)).passed
    report = torch_ext.check(Between(False, WrongTanh), (drawn(BATCH, WIDTH),))
    assert report.findings[0].kind == "missing-factor"
    assert "WrongTanh" in report.findings[0].message


def test_a_mistake_that_the_inputs_hide_is_found_in_its_layer(large: None) -> None:
    class Leaky(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.shape = x.shape
            return torch.where(x > 0, x, 0.1 * x)

        @staticmethod
        def backward(ctx: Any, dy: Tensor) -> Tensor:
            return dy.clone().view(ctx.shape)

    model = nn.Sequential(nn.Sigmoid(), Act(Leaky), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH))
    report = torch_ext.check(model, (drawn(BATCH, WIDTH),))
    assert [f.where for f in report.findings] == ["1"]


def test_several_wrong_layers_of_one_kind_are_all_named(large: None) -> None:
    target, reference = pair(deep(lambda _: Act(WrongTanh)), deep(lambda _: nn.Tanh()))
    report = torch_ext.check(target, (drawn(BATCH, WIDTH),), reference)
    assert {f.where for f in report.findings} == {f"{i}.2" for i in range(DEPTH)}


@pytest.mark.parametrize(
    ("target", "inputs", "reference", "says"),
    [
        (Tied(Tanh), (torch.zeros(2, 2, dtype=torch.int64), 1.0), torch.tanh, "same parameters"),
        (deep(lambda _: Act()), (drawn(2, WIDTH),), nn.Linear(WIDTH, 2), "same parameters"),
        (deep(lambda _: Act()), (drawn(2, WIDTH + 1),), None, "target computes its output"),
        (nn.Linear(3, 2, device="meta"), (drawn(2, 3),), None, "meta device"),
    ],
)
def test_errors_of_use_are_one_sentence(
    large: None, target: Any, inputs: Any, reference: Any, says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        torch_ext.check(target, inputs, reference)
    assert "; received " in str(caught.value)


def test_the_same_seed_gives_the_same_report(large: None) -> None:
    target = deep(lambda i: Act(WrongTanh if i == WRONG else Tanh))
    reports = [torch_ext.check(target, (drawn(BATCH, WIDTH),), seed=5).to_dict() for _ in range(2)]
    assert reports[0] == reports[1]
