"""What torch_ext.swap leaves, and why; only, exclude and verify."""

import copy
from types import MethodType
from typing import ClassVar

import pytest
import torch
from torch import nn

import torch_ext
from handgrad._errors import InputError
from handgrad.checking.findings import GradientMismatch
from tests.torch_ext.layer_calls import assert_close
from tests.torch_ext.swap_subjects import gradients, layers, net

ours = torch_ext.nn


class Flipped(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight.flip(-1), bias)


class Watching(nn.ReLU):
    known: ClassVar = []

    def __init_subclass__(cls):
        Watching.known.append(cls)


def test_reasons():
    replaced = nn.ReLU()
    replaced.forward = MethodType(lambda self, x: x, replaced)
    mixed = type("Mixed", (type("Mixin", (), {"forward": lambda self, x: x}), nn.ReLU), {})
    compiled = nn.Sequential(nn.Linear(2, 2))
    compiled.compile(backend="eager")
    model = nn.ModuleDict(
        {
            "convolution": Flipped(1, 1, 2),
            "replaced": replaced,
            "mixed": mixed(),
            "watching": Watching(),
            "scripted": torch.jit.script(nn.Sequential(nn.Linear(2, 2))),
            "compiled": compiled,
            "wrapped": torch.compile(nn.Linear(2, 2), backend="eager"),
            "quantised": torch.ao.nn.qat.Linear(
                2, 2, qconfig=torch.ao.quantization.get_default_qat_qconfig("x86")
            ),
        }
    )
    result = torch_ext.swap(model)
    assert not layers(result)
    assert {name: reason for name, (_, reason) in result.left.items()} == {
        "convolution": "Flipped overrides _conv_forward",
        "replaced": "its forward was replaced on the instance",
        "mixed": "Mixin overrides forward",
        "watching": "Watching overrides __init_subclass__",
        "scripted": "scripted: swap first, then script",
        "compiled": "compiled: swap first, then compile",
        "wrapped": "compiled: swap first, then compile",
        "quantised": "quantised",
    }
    assert not Watching.known
    assert result.model.scripted is model.scripted
    assert result.model.replaced.forward.__self__ is result.model.replaced


@pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch was built without it")
@pytest.mark.parametrize("inplace", [False, True])
def test_distributed_models(inplace):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 3), nn.GELU(), nn.Linear(3, 2)).double(), torch.randn(4, 3).double()
    expected = gradients(model, x)[1:]
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        result = torch_ext.swap(nn.parallel.DistributedDataParallel(model), inplace=inplace)
        weights = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(4, 2)
        for _ in range(2):
            result.model.zero_grad()
            (result.model(x) * weights).sum().backward()
            assert_close(tuple(p.grad for p in model.parameters()), expected, factor=8)
    finally:
        torch.distributed.destroy_process_group()
    assert layers(result) == ["module.0", "module.1", "module.2"]


def test_traced_graphs():
    model = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(3, 3), nn.ReLU()))
    new = torch_ext.swap(model).model
    assert type(new.get_submodule("0")) is ours.Linear
    assert type(model.get_submodule("0")) is nn.Linear
    x = torch.randn(2, 3)
    assert_close((new(x),), (model(x),))


def test_a_method_that_ours_has_too(monkeypatch):
    monkeypatch.setattr(ours.ReLU, "_shared", lambda self: None, raising=False)
    own = type("Own", (nn.ReLU,), {"_shared": 1})
    assert torch_ext.swap(own()).left == {"": ("Own", "Own overrides _shared")}


def test_classes_that_we_lack_are_left(monkeypatch):
    monkeypatch.delattr(ours, "ReLU")
    assert torch_ext.swap(nn.ReLU()).left == {"": ("ReLU", "torch_ext.nn has no ReLU")}


def test_layers_in_plain_attributes_are_named():
    model = nn.Module()
    model.layers, model.by_name = [nn.ReLU()], {"a": nn.Tanh()}
    vars(model)["alone"] = nn.GELU()
    result = torch_ext.swap(model)
    assert list(result.left) == ["layers[0]", "by_name['a']", "alone"]
    assert "ModuleList" in result.left["layers[0]"][1]
    assert result.model.layers[0] is model.layers[0]


class Foreign(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return super().__torch_function__(function, types, args, kwargs or {})


def test_tensors_with_an_arithmetic_of_their_own():
    model = nn.Linear(2, 2)
    model.weight = nn.Parameter(model.weight.detach().as_subclass(Foreign))
    assert torch_ext.swap(model).left[""][1] == "holds a Foreign"


# --- only and exclude ---------------------------------------------------------------------

SELECTIONS = {
    "class": ({"only": nn.Linear}, "blocks.0.0 blocks.1.0 heads.a out"),
    "our class": ({"only": ours.LayerNorm}, "norm"),
    "around": ({"only": nn.ModuleDict}, "heads.a"),
    "pattern": ({"only": "blocks.*"}, "blocks.0.0 blocks.0.1 blocks.1.0 blocks.1.1"),
    "inside": ({"only": "blocks.1"}, "blocks.1.0 blocks.1.1"),
    "other name": ({"only": "blocks.2"}, "blocks.0.0 blocks.0.1"),
    "predicate": ({"only": lambda name, m: name.endswith("1")}, "blocks.0.1 blocks.1.1"),
    "mix": ({"only": (nn.GELU, "norm", lambda n, m: n == "out")}, "blocks.0.1 blocks.1.1 norm out"),
    "exclude": ({"exclude": [nn.Linear, "blocks"]}, "embed norm"),
    "both": ({"only": "blocks", "exclude": nn.GELU}, "blocks.0.0 blocks.1.0"),
    "none": ({"exclude": "*"}, ""),
}


@pytest.mark.parametrize("case", SELECTIONS)
def test_only_and_exclude(case):
    arguments, expected = SELECTIONS[case]
    result = torch_ext.swap(net(), **arguments)
    assert layers(result) == expected.split()
    every = {"embed", "blocks.0.0", "blocks.0.1", "blocks.1.0", "blocks.1.1", "heads.a", "norm", "out"}
    assert {n for n, (_, why) in result.left.items() if n != "heads.b"} == every - set(layers(result))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"only": "block.*"}, "a pattern in only matches the name of a module; received 'block.*'"),
        ({"exclude": ("norm", "nrm")}, "names here are like 'norm'"),
        ({"exclude": 3}, "exclude holds classes of modules, patterns of names, or functions"),
        ({"only": int}, "a class in only is one of modules; received int"),
        ({"only": nn.ReLU()}, "only holds classes"),
        ({"only": lambda name: True}, "a function that takes other arguments"),
        ({"inplace": "yes"}, "inplace is True or False; received 'yes'"),
        ({"verify": 3}, "verify takes the model's arguments"),
    ],
)
def test_wrong_arguments(arguments, message):
    model = net()
    with pytest.raises(InputError, match=message.replace("(", r"\(").replace("*", r"\*")):
        torch_ext.swap(model, **arguments)
    assert type(model.norm) is nn.LayerNorm


@pytest.mark.parametrize("function", [torch_ext.swap, torch_ext.unswap])
@pytest.mark.parametrize("given", [nn.Linear, torch.ones(1), None])
def test_only_modules(function, given):
    with pytest.raises(InputError, match="takes a model"):
        function(given)


# --- verify -------------------------------------------------------------------------------


class Regression(nn.Module):
    """Named arguments, outputs in a dict, random numbers, running statistics."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(3, 5), nn.BatchNorm1d(5)
        self.drop, self.last = nn.Dropout(0.3), nn.Linear(5, 1)

    def forward(self, x, target=None):
        y = self.last(self.drop(self.norm(self.first(x)).relu()))
        return {"loss": (y - target).square().mean(), "prediction": [y]}


def arguments():
    return {"x": torch.randn(6, 3), "target": torch.randn(6, 1)}


@pytest.mark.parametrize("inplace", [False, True])
def test_verify_passes_and_leaves_no_trace(inplace):
    torch.manual_seed(0)
    model, inputs = Regression(), arguments()
    before = copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    torch_ext.swap(model, inplace=inplace, verify=inputs)
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_verify_without_parameters():
    torch_ext.swap(nn.Sequential(nn.GELU(), nn.ReLU()), verify=torch.randn(3, 2))


@pytest.mark.parametrize("inplace", [False, True])
def test_verify_names_a_wrong_layer(inplace, monkeypatch):
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(_, x):
            return x.clone()

        @staticmethod
        def backward(_, dy):
            return 2 * dy

    class Linear(nn.Linear):
        def forward(self, x):
            return Twice.apply(super().forward(x)) if self.in_features == 5 else super().forward(x)

    monkeypatch.setattr(ours, "Linear", Linear)
    torch.manual_seed(0)
    model = Regression()
    with pytest.raises(GradientMismatch) as caught:
        torch_ext.swap(model, inplace=inplace, verify=arguments())
    assert "scale: last.weight" in str(caught.value)
    assert "in last (Linear): the gradient of" in str(caught.value)
    assert type(model.last) is nn.Linear
