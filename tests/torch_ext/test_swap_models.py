"""Real architectures, swapped and back: the gradient of every parameter, in float64, to rounding."""

import random
from collections import Counter
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

import torch_ext
from tests.torch_ext.rounding import a_rounding_off
from tests.torch_ext.swap_models import MODELS, build
from torch_ext.swapping.classes import layer_of, plain_class

pytestmark = [
    pytest.mark.skipif(find_spec("transformers") is None, reason="needs Hugging Face transformers"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

ALWAYS = ("BERT", "LLaMA", "T5", "ResNet")
FACTOR = 4  # times what one rounding at the output of each layer does; measured: at most 1.6

each_model = pytest.mark.parametrize(
    "name", [n if n in ALWAYS else pytest.param(n, marks=pytest.mark.sweep) for n in MODELS]
)


def gradients(model, inputs):
    """By name, from the same random numbers."""
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    outputs = [y for y in tree_leaves(model(**inputs)) if isinstance(y, Tensor) and y.requires_grad]
    loss = sum((y * torch.linspace(-1, 1, y.numel()).double().reshape(y.shape).sin()).sum() for y in outputs)
    wanted = {n: p for n, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)
    return dict(zip(wanted, found, strict=True))


def nudged(model, inputs, seed):
    with a_rounding_off(model, seed):
        return gradients(model, inputs)


@each_model
def test_gradients(name):
    model, inputs = build(name)
    native = gradients(model, inputs)
    result = torch_ext.swap(model, verify=inputs)
    swapped = gradients(result.model, inputs)
    restored = gradients(torch_ext.unswap(result.model), inputs)
    noisy = [nudged(model, inputs, seed) for seed in range(3)]
    for n, truth in native.items():
        if truth is None:
            assert swapped[n] is None
            continue
        allowed = FACTOR * max((g[n] - truth).abs().max() for g in noisy)
        assert (swapped[n] - truth).abs().max() <= allowed, n
        assert (restored[n] - truth).abs().max() <= allowed, n


@pytest.mark.sweep
def test_share_of_layers_swapped():
    """99 in 100 of the layers of ``torch.nn`` itself: a model's own subclasses with a forward are none."""
    swapped, lacking = 0, Counter()
    for name in MODELS:
        model, _ = build(name)
        result = torch_ext.swap(model)
        swapped += len(result.swapped)
        for n, (cls, reason) in result.left.items():
            kind = plain_class(model.get_submodule(n))
            if layer_of(kind) is kind:
                lacking[cls] += 1
            else:
                assert "overrides forward" in reason
    if lacking.total() > 0.01 * (swapped + lacking.total()):
        pytest.xfail(f"{swapped} swapped; torch_ext.nn lacks {dict(lacking)}")
