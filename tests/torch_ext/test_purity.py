"""Every gradient is ours: no native node in the graph, nothing of autograd in a backward pass."""

from unittest.mock import patch

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import torch_ext
from handgrad import registry
from tests.torch_ext.layer_calls import LayerCall, calls
from tests.torch_ext.test_nn import MODULES, build
from torch_ext._function import _Layer
from torch_ext._in_place import Copy, InPlace

CALLS = [pytest.param(*call, id=f"{call[0]}-{call[1].name}") for call in calls(kinks=True, sparse=True)]

# Nodes that the contract sets aside: accumulation, views, dtype casts.
ALLOWED = {"AccumulateGrad", "ToCopyBackward0", "ViewBackward0", "CopySlices", "AsStridedBackward0"}
ENTRANCES = [
    "torch.autograd.grad",
    "torch.autograd.backward",
    "torch.Tensor.backward",
    "torch.func.grad",
    "torch.func.vjp",
    "torch.func.jvp",
    "torch.func.jacrev",
    "torch.func.jacfwd",
    "torch.enable_grad.__enter__",
    "torch.set_grad_enabled.__init__",
]


class Operators(TorchDispatchMode):
    """Records the operators that run, and whether gradients were recorded meanwhile."""

    def __init__(self):
        super().__init__()
        self.names, self.recorded = [], False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        self.recorded |= torch.is_grad_enabled()
        return func(*args, **(kwargs or {}))


def assert_pure_graph(outputs):
    seen, front, ours = set(), [y.grad_fn for y in outputs if y.requires_grad], 0
    while front:
        node = front.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        form = getattr(type(node), "_forward_cls", None)
        if form is not None and issubclass(form, _Layer | InPlace | Copy):
            ours += 1
        else:
            assert type(node).__name__ in ALLOWED, (
                f"{type(node).__name__} stands between the layer's inputs and its output"
            )
        front += [parent for parent, _ in node.next_functions]
    return ours


def assert_pure_backward(outputs):
    cotangents = [torch.randn_like(y) for y in outputs]
    run = torch.autograd.backward  # before it is made to raise
    with Operators() as operators:
        for entrance in ENTRANCES:
            p = patch(entrance, side_effect=AssertionError(f"backward enters {entrance}"))
            p.start()
        try:
            run(outputs, cotangents)
        finally:
            patch.stopall()
    assert not [name for name in operators.names if "_backward" in name]
    assert not operators.recorded, "a backward pass records a graph"
    return operators.names


def called_by_a_formula(name, case):
    """Where PyTorch's function takes no mask, or no gradient of its weights."""
    weighted = name == "cross_entropy" and len(case.inputs) > 2 and case.inputs[2] is not None
    return name == "dropout" or bool(case.options.get("dropout_p")) or weighted


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
