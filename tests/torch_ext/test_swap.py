"""torch_ext.swap and unswap: classes change, and nothing else does."""

import copy
import gc
import pickle
import weakref
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import torch_ext
from tests.torch_ext.layer_calls import assert_close
from tests.torch_ext.swap_subjects import Scaled, Square, gradients, indices, layers, net, state

ours = torch_ext.nn


def test_layers_are_replaced_and_results_stay():
    model = net()
    result = torch_ext.swap(model)
    new = result.model
    assert type(new.blocks[0][0]) is ours.Linear
    assert type(new.norm) is ours.LayerNorm
    assert result.swapped["blocks.1.0"] == "Linear"
    assert result.swapped["heads.a"] == "Square"
    assert result.left == {"heads.b": ("Scaled", "Scaled overrides forward")}
    assert_close(gradients(new, indices()), gradients(model, indices()), factor=8)


def test_the_original_stays_as_it_was():
    model = net()
    before = state(model)
    new = torch_ext.swap(model).model
    assert state(model) == before
    new.train(False).listed.append(1)
    new.blocks.append(nn.Identity())
    new.register_forward_hook(print)
    assert model.training
    assert state(model) == before


def test_same_tensors_same_sharing():
    model = net()
    new = torch_ext.swap(model).model
    assert all(p is q for p, q in zip(new.parameters(), model.parameters(), strict=True))
    assert all(p is q for p, q in zip(new.buffers(), model.buffers(), strict=True))
    assert list(new.state_dict()) == list(model.state_dict())
    assert new.out.weight is new.embed.weight
    assert new.blocks[2] is new.blocks[0]
    assert new.blocks is not model.blocks
    assert new.alias is new.listed[0] is new.bound.__self__ is new.norm
    assert not {id(m) for m in new.modules()} & {id(m) for m in model.modules()}


def test_in_place_changes_the_tree_given():
    model = net()
    modules, expected = list(model.modules()), gradients(model, indices())
    result = torch_ext.swap(model, inplace=True)
    assert result.model is model
    assert all(a is b for a, b in zip(model.modules(), modules, strict=True))
    assert type(model.norm) is ours.LayerNorm
    assert_close(gradients(model, indices()), expected, factor=8)


@pytest.mark.parametrize("inplace", [False, True])
def test_unswap_restores_all(inplace):
    model = net()
    before = [(n, type(m), list(vars(m))) for n, m in model.named_modules()]
    new = torch_ext.swap(model, inplace=inplace).model
    optimizer = torch.optim.Adam(new.parameters(), 0.1)
    gradients(new, indices())
    new.out(new.norm(new.embed(indices()))).sum().backward()
    optimizer.step()
    restored = torch_ext.unswap(new)
    assert restored is new
    assert [(n, type(m), list(vars(m))) for n, m in restored.named_modules()] == before
    assert all(p in optimizer.state for p in optimizer.param_groups[0]["params"] if p.grad is not None)


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_a_copied_model_is_still_swapped(how):
    model = net()
    model.bound = None  # a bound method is not pickled with PyTorch's hooks
    model.forward_of = None
    new = torch_ext.swap(model).model
    again = copy.deepcopy(new) if how == "deepcopy" else pickle.loads(pickle.dumps(new))
    assert [type(m) for m in again.modules()] == [type(m) for m in new.modules()]
    assert again.heads["a"].label == "square"
    torch_ext.unswap(again)
    assert [type(m) for m in again.modules()] == [type(m) for m in model.modules()]


def test_layers_of_ours_stay_ours():
    model = nn.Sequential(ours.Linear(2, 2), nn.ReLU())
    result = torch_ext.swap(model)
    assert layers(result) == ["1"]
    torch_ext.unswap(result.model)
    assert type(result.model[0]) is ours.Linear
    assert torch_ext.unswap(model) is model
    assert type(model[0]) is ours.Linear


def test_the_model_itself_may_be_a_layer():
    result = torch_ext.swap(nn.ReLU())
    assert type(result.model) is ours.ReLU
    assert result.swapped == {"": "ReLU"}
    assert "(the model)" in str(result)
    assert type(torch_ext.unswap(result.model)) is nn.ReLU


def test_table():
    result = torch_ext.swap(net())
    text = str(result)
    assert "heads.b" in text
    assert "left: Scaled overrides forward" in text
    assert text.endswith(f"{len(result.swapped)} swapped, 1 left")


# --- what is kept -------------------------------------------------------------------------


def test_hooks_keep_their_order_and_their_module():
    model, seen = nn.Sequential(nn.Linear(3, 3), nn.ReLU()), []

    def hook(label, module, *_):
        seen.append((label, type(module).__module__.partition(".")[0]))

    layer = model[0]
    layer.register_forward_pre_hook(partial(hook, "pre"))
    layer.register_forward_hook(partial(hook, "first"))
    layer.register_forward_hook(partial(hook, "zeroth"), prepend=True)
    handle = layer.register_forward_hook(partial(hook, "removed"))
    layer.register_full_backward_hook(partial(hook, "backward"))
    layer.register_state_dict_post_hook(partial(hook, "state"))
    layer.register_load_state_dict_pre_hook(partial(hook, "load"))
    new = torch_ext.swap(model).model
    handle.remove()  # the original's
    assert list(new[0]._forward_hooks.values())[:2] == list(layer._forward_hooks.values())
    new(torch.ones(1, 3, requires_grad=True)).sum().backward()
    new.load_state_dict(new.state_dict())
    labels = ["pre", "zeroth", "first", "removed", "backward", "state", "load"]
    assert seen == [(label, "torch_ext") for label in labels]


def test_bound_hooks_belong_to_the_copy():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.count, self.layer = 0, nn.ReLU()
            self.layer.register_forward_hook(self.counted)

        def counted(self, *_):
            self.count += 1

        def forward(self, x):
            return self.layer(x)

    model = Counting()
    new = torch_ext.swap(model).model
    new(torch.ones(1))
    assert (new.count, model.count) == (1, 0)


def test_mode_dtype_and_frozen_parameters():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.BatchNorm1d(3)).bfloat16()
    model[0].requires_grad_(False)
    model[1].eval()
    new = torch_ext.swap(model).model
    assert [m.training for m in new] == [True, False, True]
    assert [p.requires_grad for p in new.parameters()] == [False, False, True, True]
    assert new(torch.ones(4, 3).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("inplace", [False, True])
def test_parametrizations(inplace):
    torch.manual_seed(0)
    model = nn.Sequential(
        parametrizations.weight_norm(nn.Linear(3, 3)),
        parametrizations.spectral_norm(nn.Linear(3, 3)).eval(),
        parametrizations.orthogonal(Square(3)),
        parametrizations.weight_norm(Scaled(3, 3)),
    ).double()
    x = torch.randn(4, 3).double()
    expected, kinds = gradients(model, x), [type(m).__name__ for m in model]
    result = torch_ext.swap(model, inplace=inplace)
    new = result.model
    assert layers(result) == ["0", "1", "2"]
    assert [result.swapped[n] for n in "012"] == ["Linear", "Linear", "Square"]
    assert [type(m).__name__ for m in new] == kinds
    assert isinstance(new[0], ours.Linear)
    assert isinstance(copy.deepcopy(new)[2], Square)
    assert_close(gradients(new, x), expected, factor=64)
    parametrize.remove_parametrizations(new[0], "weight")
    assert type(new[0]) is ours.Linear
    if not inplace:
        assert parametrize.is_parametrized(model[0])
        model[0](x)
        parametrize.remove_parametrizations(new[3], "weight")
        model[3](x)  # its class is still its own
    torch_ext.unswap(new)
    assert type(new[0]) is nn.Linear
    assert parametrize.type_before_parametrizations(new[2]) is Square


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_reparametrizing_hooks():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.utils.weight_norm(nn.Linear(3, 3)),
        nn.utils.spectral_norm(nn.Linear(3, 3)),
        prune.random_unstructured(nn.Linear(3, 3), "weight", 0.3),
    )
    model.double().eval()
    x = torch.randn(4, 3).double()
    expected = gradients(model, x)
    new = torch_ext.swap(model).model
    assert {type(m) for m in new} == {ours.Linear}
    assert_close(gradients(new, x), expected, factor=64)
    nn.utils.remove_weight_norm(new[0])
    assert_close((model(x),), expected[:1], factor=64)
    new.load_state_dict(new.state_dict())


def test_recurrent_weights_stay_one_list_of_the_same_tensors():
    model = nn.LSTM(3, 2, num_layers=2)
    new = torch_ext.swap(model).model
    assert all(a is b for a, b in zip(new._flat_weights, model._flat_weights, strict=True))
    assert new._flat_weights is not model._flat_weights
    x = torch.randn(4, 1, 3)
    assert_close(new(x)[:1], model(x)[:1], factor=8)


@pytest.mark.parametrize("inplace", [False, True])
def test_lazy_layers(inplace):
    model = nn.Sequential(nn.LazyLinear(3), nn.ReLU())
    result = torch_ext.swap(model, inplace=inplace)
    if not hasattr(ours, "LazyLinear"):
        assert result.left == {"0": ("LazyLinear", "torch_ext.nn has no LazyLinear")}
    new = result.model
    new(torch.ones(2, 4)).sum().backward()
    assert not new[0].has_uninitialized_params() if hasattr(new[0], "has_uninitialized_params") else True
    assert new[0].weight.shape == (3, 4)
    assert not new[0]._forward_pre_hooks
    model(torch.ones(2, 4))
    assert type(model[0]) is type(new[0]) if inplace else nn.Linear


def test_attributes_lead_to_the_copy():
    class Helper:
        def __init__(self, layer):
            self.layer, self.seen = layer, []

    class Holding(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.config = nn.ReLU(), Helper(None)
            self.helper, self.weak = Helper({"relu": self.layer}), weakref.ref(self.layer)
            self.run, self.part = lambda x: self.layer(x), partial(Holding.forward, self)
            self.counts = {self.layer: 1}

        def forward(self, x):
            return self.run(x)

    model = Holding()
    new = torch_ext.swap(model).model
    assert new.helper.layer["relu"] is new.weak() is next(iter(new.counts)) is new.layer
    assert new.run.__closure__[0].cell_contents is new.part.args[0] is new
    assert new.config is model.config
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None  # nothing of the copy leads to the original


def test_cycles_and_depth():
    model = nn.Sequential(nn.ReLU())
    model[0].add_module("parent", model)
    new = torch_ext.swap(model).model
    assert new[0].parent is new
    deep = nn.ReLU()
    for _ in range(2000):
        deep = nn.Sequential(deep)
    assert len(layers(torch_ext.swap(deep))) == 1
    assert len(layers(torch_ext.swap(deep, inplace=True))) == 1
    torch_ext.unswap(deep)
    while isinstance(deep, nn.Sequential):
        (deep,) = deep._modules.values()
    assert type(deep) is nn.ReLU


def test_part_of_a_model_leaves_the_rest():
    model = net()
    model.blocks[0].whole = (model,)
    new = torch_ext.swap(model.blocks[0]).model
    assert new.whole[0] is model
    assert type(model.norm) is nn.LayerNorm
