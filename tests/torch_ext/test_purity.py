"""Every gradient is ours: no native node in the graph, nothing of autograd in a backward pass."""

import pytest
import torch

import torch_ext
from handgrad import registry
from tests.torch_ext.layer_calls import LayerCall, calls
from tests.torch_ext.test_nn import MODULES, build
from torch_ext import purity

CALLS = [pytest.param(*call, id=f"{call[0]}-{call[1].name}") for call in calls(kinks=True, sparse=True)]


def assert_pure_graph(outputs):
    ours, foreign = purity.nodes(outputs)
    assert not foreign, f"{foreign} stand between the layer's inputs and its output"
    return ours


def assert_pure_backward(outputs):
    inputs = [leaf for leaf in leaves(outputs) if leaf.requires_grad]
    faults = purity.backward_faults(outputs, inputs, [torch.randn_like(y) for y in outputs])
    assert not faults, "; ".join(faults)


def leaves(outputs):
    """The tensors that gradients accumulate into."""
    found, front, seen = [], [y.grad_fn for y in outputs], set()
    while front:
        node = front.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        found += [node.variable] if hasattr(node, "variable") else []
        front += [parent for parent, _ in node.next_functions]
    return found


def called_by_a_formula(name, case):
    """Where PyTorch's function takes no mask, or no gradient of its weights."""
    weighted = name == "cross_entropy" and len(case.inputs) > 2 and case.inputs[2] is not None
    reverse = bool(case.options.get("reverse"))  # PyTorch has it beside the forward direction only
    return registry[name].composed or bool(case.options.get("dropout_p")) or weighted or reverse


@pytest.mark.parametrize("how", ["ours", "ours_functional"])
@pytest.mark.parametrize(("name", "case"), CALLS)
def test_layers_are_pure(name, case, how):
    if how == "ours_functional" and called_by_a_formula(name, case):
        pytest.skip("the derivation's reference is a formula, not a call")
    call = LayerCall(name, case)
    outputs = [y for y in getattr(call, how)(*call.leaves()) if y.requires_grad]
    if outputs:
        assert assert_pure_graph(outputs) == 1
        assert_pure_backward(outputs)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("autocast", [False, True])
def test_modules_are_pure(name, autocast):
    for arguments, inputs in MODULES[name]:
        module, (x, *rest) = build(torch_ext.nn, name, arguments), inputs()
        x = x.requires_grad_() if x.is_floating_point() else x
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            y = module(x, *rest)
        outputs = [o for o in (y if isinstance(y, tuple) else (y,)) if o.requires_grad]
        assert outputs
        assert assert_pure_graph(outputs) >= 1
        assert_pure_backward(outputs)


def test_in_place_is_pure():
    leaf = torch.randn(3, 4, requires_grad=True)
    v = torch_ext.functional.multiply(leaf, 2)
    for f in (torch_ext.functional.relu, torch_ext.functional.silu, torch_ext.functional.leaky_relu):
        f(v, inplace=True)
    torch_ext.functional.dropout(v, 0.5, inplace=True)
    assert assert_pure_graph([v]) == 13  # multiply, and four times copy, layer and assignment
    assert_pure_backward([v])


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("name", ["gelu", "softmax", "layer_norm", "cross_entropy", "conv2d"])
def test_a_compiled_backward_is_pure(name):
    """The graphs that a compiler makes of forward and backward hold none of PyTorch's backward operators."""
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    graphs = []

    def keep(graph, _inputs):
        graphs.append(graph)
        return make_boxed_func(graph.forward)

    torch._dynamo.reset()
    call = LayerCall(name, registry[name].cases[0])
    leaves = call.leaves()
    f = torch.compile(call.ours, fullgraph=True, backend=aot_autograd(fw_compiler=keep, bw_compiler=keep))
    torch.autograd.grad(f(*leaves), leaves, call.weights, allow_unused=True)
    assert len(graphs) == 2
    targets = [str(n.target) for graph in graphs for n in graph.graph.nodes if n.op == "call_function"]
    assert targets
    assert not [t for t in targets if "_backward" in t]


def test_the_test_notices_what_is_native():
    x = torch.randn(3, requires_grad=True)
    with pytest.raises(AssertionError, match="GeluBackward0"):
        assert_pure_graph([torch.nn.functional.gelu(x)])
    with pytest.raises(AssertionError):
        assert_pure_backward([torch.nn.functional.gelu(x)])

    from handgrad import Derivation

    def cheats(dy, residuals):
        with torch.enable_grad():
            v = residuals[0].detach().requires_grad_()
            return torch.autograd.grad(v.sin(), v, dy)[0]

    cheat = Derivation("cheat", lambda v: (v.sin(), (v,)), cheats)
    with pytest.raises(AssertionError, match="enters"):
        assert_pure_backward([torch_ext.call(cheat, x)])
