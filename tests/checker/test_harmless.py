"""A check leaves all as it was: to its end, after an exception, and after Ctrl-C at any moment."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import _SingleLevelFunction
from torch.utils.checkpoint import checkpoint

import torch_ext
from handgrad._errors import InputError
from tests.checker.subjects import Affine, Square, WrongSquare, drawn

FLOAT = torch.float32


def modes() -> dict[str, Any]:
    """All that is global."""
    return {
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "matmul": torch.get_float32_matmul_precision(),
        "numpy": np.geterr(),
        "warnings": list(warnings.filters),
        "apply": vars(_SingleLevelFunction).get("apply"),
        "functorch": torch.autograd.function.custom_function_call,
        "torch": torch.get_rng_state().tolist(),
        "python": random.getstate(),
        "random": [np.asarray(part).tolist() for part in np.random.get_state()],
    }


def described(t: Tensor) -> tuple[Any, ...]:
    return (
        *(id(t), t.data_ptr(), t.requires_grad, t.is_leaf, t.detach().tolist()),
        t._version * t.requires_grad,  # what the target writes into is put back, by one more write
        *(id(t.grad), None if t.grad is None else t.grad.tolist()) * t.is_leaf,
    )


def state_of(module: nn.Module) -> dict[str, Any]:
    tensors = [*module.named_parameters(), *module.named_buffers()]
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "tensors": {n: described(t) for n, t in tensors},
        "training": [m.training for m in module.modules()],
        "attributes": [{n: id(v) for n, v in vars(m).items()} for m in module.modules()],
        "hooks": [[list(getattr(m, h)) for h in hooks] for m in module.modules()],
    }


@contextmanager
def unchanged(*owned: Tensor | nn.Module) -> Iterator[None]:
    before = modes(), [described(o) if isinstance(o, Tensor) else state_of(o) for o in owned]
    yield
    now = modes(), [described(o) if isinstance(o, Tensor) else state_of(o) for o in owned]
    assert now == before


class Busy(nn.Module):
    """Disturbs all that it can, and breaks at the call ``last``."""

    def __init__(self, last: int, error: type[BaseException]) -> None:
        super().__init__()
        self.norm, self.drop, self.layer = nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 3)
        self.last, self.error = last, error
        self.seen: list[int] = []
        self.norm.eval()
        self.norm.weight.grad = torch.full((3,), 7.0)
        self.norm.register_forward_hook(lambda *_: None)
        self.layer.weight.register_hook(lambda g: g)

    def forward(self, x: Tensor) -> Any:
        self.seen.append(len(self.seen))
        self.cached = x
        self.layer.eval()
        if len(self.seen) < 4:
            self.layer.register_forward_hook(lambda *_: None)
        torch.set_grad_enabled(torch.is_grad_enabled())
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True)
        torch.set_anomaly_enabled(False)
        torch.manual_seed(3)
        random.seed(3)
        np.random.seed(3)
        np.seterr(all="raise")
        warnings.simplefilter("error")
        if len(self.seen) == self.last:
            raise self.error
        return self.drop(self.norm(self.layer(x)))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("last", [1, 3, 10, 0], ids="breaks at call {}".format)
def test_a_module_and_all_that_is_global(last: int, error: type[BaseException]) -> None:
    model = Busy(last, error)
    x = drawn(6, 3, dtype=FLOAT)
    x.grad = torch.ones_like(x)
    with unchanged(model, x), suppress(error, InputError):
        torch_ext.check(model, (x,))


def breaking(last: int, where: str) -> type[Function]:
    """x², whose forward or backward is interrupted at its call ``last``."""
    calls = dict.fromkeys(("forward", "backward"), 0)

    def count(kind: str) -> None:
        calls[kind] += 1
        if kind == where and calls[kind] == last:
            raise KeyboardInterrupt

    class Breaks(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            count("forward")
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, dy: Tensor) -> Any:
            count("backward")
            return 2 * ctx.saved_tensors[0] * dy

    return Breaks


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("last", [1, 2, 3, 5, 8, 13])
def test_an_interrupted_function(last: int, where: str) -> None:
    cls, x = breaking(last, where), drawn(4, 3)
    parts = cls.forward, cls.backward
    x.grad = torch.ones_like(x)
    with unchanged(x), pytest.raises(KeyboardInterrupt):
        torch_ext.check(cls.apply, (x,), seed=2)
    assert (cls.forward, cls.backward) == parts


def test_what_a_function_reaches() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).double()
    weight, kept = drawn(3, seed=2), torch.zeros(3, dtype=torch.float64)
    weight.grad = torch.ones_like(weight)
    generator = torch.Generator().manual_seed(5)
    numbers = np.random.default_rng(5)
    states = generator.get_state(), numbers.bit_generator.state

    def target(x: Tensor) -> Tensor:
        kept.add_(1)
        torch.rand(1, generator=generator)
        numbers.random()
        (x.detach() * weight).sum().backward()
        return model(x) * weight

    before = kept.clone(), weight.grad.clone()
    x = drawn(5, 3)
    with unchanged(model, x):
        assert torch_ext.check(target, (x,)).passed
    assert torch.equal(kept, before[0])
    assert torch.equal(weight.grad, before[1])
    assert torch.equal(generator.get_state(), states[0])
    assert numbers.bit_generator.state == states[1]


def test_hooks_of_the_user_fire_and_stay() -> None:
    model, calls = Affine(), []
    model.register_forward_hook(lambda *_: calls.append(1))
    with unchanged(model):
        torch_ext.check(model, (drawn(5, 3),), probes=False)
    assert calls


def test_running_statistics_stay_and_are_no_mistake() -> None:
    model = nn.BatchNorm1d(3)
    with unchanged(model):
        report = torch_ext.check(model, (drawn(6, 3, dtype=FLOAT),))
    assert report.passed, str(report)


AROUND: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "anomaly": torch.autograd.detect_anomaly,
    "another device": lambda: torch.device("meta"),
    "usual": nullcontext,
}


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("around", AROUND)
def test_the_report_does_not_depend_on_where_it_is_called(around: str) -> None:
    layer = nn.Linear(3, 2)
    x, wide = drawn(5, 3, dtype=FLOAT), drawn(4)
    usual = [torch_ext.check(layer, (x,)), torch_ext.check(WrongSquare.apply, (wide,))]
    with AROUND[around](), unchanged(layer, x):
        reports = [torch_ext.check(layer, (x,)), torch_ext.check(WrongSquare.apply, (wide,))]
    assert [r.to_dict() for r in reports] == [r.to_dict() for r in usual]
    assert [r.passed for r in reports] == [True, False]


# --- targets that do more than compute ------------------------------------------------------------


class Plain(Function):
    """x² in the form that torch.func takes, times a factor in its backward."""

    factor = 2.0
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * x

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, _: Any) -> None:
        ctx.save_for_backward(*inputs)

    @classmethod
    def backward(cls, ctx: Any, dy: Tensor) -> Any:
        return cls.factor * ctx.saved_tensors[0] * dy


class WrongPlain(Plain):
    factor = 3.0


class ByVjp(Function):
    """Its backward has the other name."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def vjp(ctx: Any, dy: Tensor) -> Any:
        return 2 * ctx.saved_tensors[0] * dy


def inside(apply: Any) -> Callable[[Tensor], Tensor]:
    def f(x: Tensor) -> Tensor:
        return torch.autograd.grad(apply(x).sum(), x, create_graph=True)[0] * x

    return f


USES: dict[str, Callable[[Any], Callable[[Tensor], Any]]] = {
    "autograd inside": inside,
    "func.grad": lambda f: lambda x: torch.func.grad(lambda t: f(t).sum())(x) * x,
    "vmap": lambda f: torch.vmap(f),
    "checkpoint": lambda f: lambda x: checkpoint(f, x, use_reentrant=False),
    "reentrant checkpoint": lambda f: lambda x: checkpoint(f, x, use_reentrant=True),
    "saved tensors' hooks": lambda f: lambda x: _packed(f, x),
    "leaves gradients off": lambda f: lambda x: (f(x), torch.set_grad_enabled(False))[0],
    "keeps the graph": lambda f: lambda x, kept=[]: kept.append(f(x)) or kept[-1],
}


def _packed(f: Any, x: Tensor) -> Tensor:
    with torch.autograd.graph.save_on_cpu():
        y: Tensor = f(x)
    return y


@pytest.mark.parametrize("use", USES)
def test_functions_inside_other_machinery(use: str) -> None:
    x = drawn(4, 3)
    with unchanged(x):
        report = torch_ext.check(USES[use](Plain.apply), (x,))
        assert report.passed, str(report)
        report = torch_ext.check(USES[use](WrongPlain.apply), (x,))
        assert [(f.kind, f.details["factor"]) for f in report.findings] == [("scale", 1.5)], str(report)


def test_a_compiled_function() -> None:
    report = torch_ext.check(torch.compile(lambda x: WrongPlain.apply(x), backend="eager"), (drawn(4),))
    assert [f.kind for f in report.findings] == ["scale"], str(report)


def test_a_backward_by_its_other_name() -> None:
    assert torch_ext.check(ByVjp.apply, (drawn(4),)).passed


def _lazy() -> nn.Module:
    layer = nn.LazyLinear(3)
    layer(torch.zeros(1, 3))
    return layer


def _tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    return model


MODULES: dict[str, Callable[[], nn.Module]] = {
    "weight_norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)),
    "orthogonal": lambda: nn.utils.parametrizations.orthogonal(nn.Linear(3, 3)),
    "tied": _tied,
    "lazy, called once": _lazy,
    "dropout": lambda: nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.4)),
    "batch norm": lambda: nn.Sequential(nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3)),
    "recurrent": lambda: nn.GRU(3, 2),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_of_many_kinds(name: str) -> None:
    model = MODULES[name]()
    with unchanged(model):
        report = torch_ext.check(model, (drawn(5, 3, dtype=FLOAT),), budget=60)
    assert report.passed, str(report)


def test_tensors_in_a_closure_have_a_dtype_of_their_own() -> None:
    layer, matrix = nn.Linear(3, 3), torch.randn(3, 3)
    for target in (layer.forward, lambda x: layer(x) @ matrix):
        report = torch_ext.check(target, (drawn(5, 3, dtype=FLOAT),))
        assert report.passed, str(report)
        assert report.notes[0].startswith("the parameters of Linear, which the target uses, are not checked")


@pytest.mark.parametrize("draw", [random.random, np.random.rand, lambda: torch.rand(())])
def test_global_random_numbers_are_the_same_at_each_call(draw: Callable[[], Any]) -> None:
    report = torch_ext.check(lambda x: x * x * draw(), (drawn(4),))
    assert report.passed, str(report)


def test_a_generator_of_its_own_is_reported() -> None:
    numbers = np.random.default_rng(0)
    report = torch_ext.check(lambda x: x * numbers.random(), (drawn(4),))
    assert report.findings[0].kind == "nondeterministic", str(report)


def test_a_generator_that_is_given_is_copied() -> None:
    def target(x: Tensor, numbers: Any, g: torch.Generator) -> Tensor:
        return x * numbers.random() * torch.rand(4, generator=g, dtype=torch.float64)

    given = np.random.default_rng(0), torch.Generator()
    states = given[0].bit_generator.state, given[1].get_state()
    report = torch_ext.check(target, (drawn(4), *given))
    assert report.passed, str(report)
    assert given[0].bit_generator.state == states[0]
    assert torch.equal(given[1].get_state(), states[1])


def test_checks_within_a_check() -> None:
    def target(x: Tensor) -> Tensor:
        assert torch_ext.check(Square.apply, (drawn(3),), probes=False).passed
        return x * x

    with unchanged():
        assert torch_ext.check(target, (drawn(2),), probes=False, budget=20).passed
