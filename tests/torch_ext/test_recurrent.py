"""What the registry and the sweep cannot see of recurrent layers: nodes, products, memory, bad calls."""

from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence

import torch_ext
from torch_ext.purity import Operators

LAYERS = ["RNN", "GRU", "LSTM"]


def nodes(y):
    """How many nodes of each name lead to y."""
    seen, front, names = set(), [y.grad_fn], Counter()
    while front:
        node = front.pop()
        if node is not None and node not in seen:
            seen.add(node)
            names[type(node).__name__] += 1
            front += [parent for parent, _ in node.next_functions]
    return names


@pytest.mark.parametrize("name", LAYERS)
def test_one_function_for_a_layer_and_direction(name):
    layer = getattr(torch_ext.nn, name)(3, 4, num_layers=3, bidirectional=True)
    found = nodes(layer(torch.randn(20, 2, 3))[0])
    assert found[f"{name.capitalize()}Backward"] == 6
    assert found["ConcatBackward"] == 3


@pytest.mark.parametrize("name", LAYERS)
def test_only_the_recurrence_grows_with_time(name):
    """One matrix product a step, forward and backward: those with inputs and for weights are one for all."""

    def products(steps):
        layer = getattr(torch_ext.nn, name)(3, 4)
        x = torch.randn(steps, 2, 3, requires_grad=True)
        with Operators() as operators:
            layer(x)[0].sum().backward()
        return sum("mm" in n for n in operators.names)

    assert products(9) - products(5) == 2 * (9 - 5)


@pytest.mark.parametrize("name", LAYERS)
def test_keeps_no_more_than_pytorch(name):
    def kept(module):
        layer, sizes = getattr(module, name)(8, 16).double(), {}

        def pack(t):
            sizes[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            y = layer(torch.randn(30, 4, 8).double().requires_grad_())
        return sum(sizes.values()), y

    assert kept(torch_ext.nn)[0] <= kept(nn)[0]


@pytest.mark.parametrize("name", LAYERS)
def test_packed_sequences_are_computed_as_each_alone(name):
    """No step of one sequence reaches another, in neither direction, nor in the gradients."""
    layer = getattr(torch_ext.nn, name)(3, 4, num_layers=2, bidirectional=True).double()
    sequences = [torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (2, 5, 1, 4)]
    packed, _ = layer(pack_sequence(sequences, enforce_sorted=False))
    together, lengths = pad_packed_sequence(packed, batch_first=True)
    w = torch.randn_like(together)
    ours = torch.autograd.grad((together * w).sum(), sequences)
    for i, (x, n) in enumerate(zip(sequences, lengths, strict=True)):
        alone, _ = layer(x)
        torch.testing.assert_close(together[i, :n], alone)
        torch.testing.assert_close(ours[i], torch.autograd.grad((alone * w[i, :n]).sum(), x)[0])


def rows(*shape):
    return torch.randn(*shape)


BAD = {
    "four axes": lambda m: m.GRU(3, 4)(rows(1, 2, 2, 3)),
    "no step": lambda m: m.LSTM(3, 4)(rows(0, 2, 3)),
    "other inputs": lambda m: m.RNN(3, 4)(rows(2, 2, 5)),
    "other dtype": lambda m: m.GRU(3, 4)(rows(2, 2, 3).double()),
    "state of another batch": lambda m: m.GRU(3, 4)(rows(2, 2, 3), rows(1, 3, 4)),
    "state of too few layers": lambda m: m.RNN(3, 4, 2)(rows(2, 2, 3), rows(1, 2, 4)),
    "batched state, unbatched input": lambda m: m.GRU(3, 4)(rows(2, 3), rows(1, 1, 4)),
    "unbatched states, batched input": lambda m: m.LSTM(3, 4)(rows(2, 2, 3), (rows(1, 4), rows(1, 4))),
    "packed, state of another batch": lambda m: m.GRU(3, 4)(pack_sequence([rows(2, 3)]), rows(1, 2, 4)),
    "one state of two": lambda m: m.LSTM(3, 4)(rows(2, 2, 3), (rows(1, 2, 4), rows(1, 2, 5))),
    "no projection of c": lambda m: m.LSTM(3, 4, proj_size=2)(rows(2, 2, 3), (rows(1, 2, 2), rows(1, 2, 2))),
    "cell, three axes": lambda m: m.LSTMCell(3, 4)(rows(2, 2, 3)),
    "cell, another batch": lambda m: m.GRUCell(3, 4)(rows(2, 3), rows(3, 4)),
    "cell, no such nonlinearity": lambda m: m.RNNCell(3, 4, nonlinearity="sine")(rows(2, 3)),
}


@pytest.mark.parametrize("call", BAD.values(), ids=BAD)
def test_refuses_what_pytorch_refuses(call):
    with pytest.raises(Exception) as native:  # noqa: PT011 - whichever it is
        call(nn)
    with pytest.raises(type(native.value), match=r"\w"):
        call(torch_ext.nn)
