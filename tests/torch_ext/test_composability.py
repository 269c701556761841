"""Every layer under every transform, against the same transform of PyTorch's own layer."""

import copy
import pickle
import threading

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap
from torch.utils.checkpoint import checkpoint

import torch_ext
from handgrad import Derivation, registry
from tests.torch_ext.layer_calls import LayerCall, as_tuple, assert_close, calls
from torch_ext import functional

CALLS = [pytest.param(*call, id=f"{call[0]}-{call[1].name}") for call in calls(per_layer=2)]
ONE_EACH = [pytest.param(*call, id=call[0]) for call in calls(per_layer=1)]
EVALUATION = next(c for c in registry["batch_norm"].cases if not c.options.get("training"))
ONE_EACH.append(
    pytest.param("batch_norm", EVALUATION, id="batch_norm in evaluation")
)  # an input is an output
each_call = pytest.mark.parametrize(("name", "case"), CALLS)
each_layer = pytest.mark.parametrize(("name", "case"), ONE_EACH)

# where PyTorch has no batching rule it loops, and says so
looped = pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")


def all_of(call):
    return tuple(range(len(call.inputs)))


def tangents(call):
    return tuple(
        torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(1)) for x in call.inputs
    )


def flat(tree):
    return torch.utils._pytree.tree_leaves(tree)


def compare(call, transform, factor=8.0):
    """A transform of our layer and of PyTorch's give the same; rounding may do what a last bit does."""
    ours, truth = tuple(flat(transform(call.ours))), call.truth
    try:
        theirs = tuple(flat(transform(truth)))
    except (
        RuntimeError,
        NotImplementedError,
        UserWarning,
    ):  # PyTorch's own cannot: autograd of our forward formula can
        truth = call.formula
        theirs = tuple(flat(transform(truth)))
    exact = call.inputs
    call.inputs = tuple(
        x * (1 + torch.finfo(x.dtype).eps * torch.sign(v)) for x, v in zip(exact, tangents(call), strict=True)
    )
    nearby = tuple(flat(transform(truth)))
    call.inputs = exact
    assert_close(ours, theirs, factor=factor, nearby=nearby)


# --- autograd -----------------------------------------------------------------------------


@each_call
def test_double_and_triple_backward(name, case):
    call = LayerCall(name, case)
    v = tangents(call)

    def orders(f):
        leaves = call.leaves()
        found, value = [], call.loss(f)(*leaves)
        for _ in range(3):
            if not value.requires_grad:
                break
            g = torch.autograd.grad(value, leaves, create_graph=True, materialize_grads=True)
            found += g
            value = sum((a * b).sum() for a, b in zip(g, v, strict=True))
        return found

    compare(call, orders, factor=64)


@looped
@each_layer
def test_incoming_gradients_of_every_kind(name, case):
    """Expanded, not contiguous, undefined, batched: and on any subset of the inputs."""
    call = LayerCall(name, case)

    def gradients(f):
        found = []
        for i, only in enumerate(call.inputs):
            leaves = [x.clone().requires_grad_(j == i) for j, x in enumerate(call.inputs)]
            y = f(*leaves)
            ones = tuple(torch.ones((), dtype=o.dtype).expand(o.shape) for o in y)
            strided = tuple(w.repeat_interleave(2, -1)[..., ::2] if w.ndim else w for w in call.weights)
            batch = tuple(torch.stack([w, -w, w * w]) for w in call.weights)
            for dy, batched in ((ones, False), (strided, False), (batch, True)):
                found += torch.autograd.grad(
                    y, leaves[i], dy, retain_graph=True, is_grads_batched=batched, materialize_grads=True
                )
            assert only is call.inputs[i]
        return found

    compare(call, gradients)


def test_an_undefined_gradient_stays_undefined():
    x = torch.randn(3, requires_grad=True)

    class Undefined(torch.autograd.Function):
        @staticmethod
        def forward(_ctx, v):
            return v * 1

        @staticmethod
        def backward(_ctx, _dy):
            return None

    seen = []
    y = torch_ext.functional.gelu(x)
    y.grad_fn.register_hook(lambda inputs, outputs: seen.append((inputs, outputs)))
    Undefined.apply(y).sum().backward()
    assert x.grad is None
    assert all(dx is None for inputs, _ in seen for dx in inputs)


@each_layer
def test_only_the_gradients_wanted_are_returned(name, case):
    call = LayerCall(name, case)
    for i in range(len(call.inputs)):
        leaves = [x.clone().requires_grad_(j == i) for j, x in enumerate(call.inputs)]
        (y, *_) = call.ours(*leaves)
        constants = (None for _ in call.derivation.constant)
        got = y.grad_fn.apply(*call.weights, *constants)
        assert [g is not None for g in got[1:]] == [j == call.slots[i] for j in range(len(got) - 1)]


@each_layer
def test_a_graph_is_freed_as_pytorch_frees_it(name, case):
    call = LayerCall(name, case)
    leaves = call.leaves()
    y = call.ours(*leaves)
    torch.autograd.grad(y, leaves, call.weights, retain_graph=True, allow_unused=True)
    saved = len(y[0].grad_fn.saved_tensors)
    torch.autograd.grad(y, leaves, call.weights, allow_unused=True)
    if saved:
        with pytest.raises(RuntimeError, match="second time"):
            torch.autograd.grad(y, leaves, call.weights, allow_unused=True)


@each_call
def test_saved_tensor_hooks_see_all_that_is_kept(name, case):
    """Offloading and checkpointing rest on it: packing and unpacking must lose nothing."""
    call = LayerCall(name, case)

    def gradients(f):
        leaves = call.leaves()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
            y = f(*leaves)
        return torch.autograd.grad(y, leaves, call.weights, materialize_grads=True)

    compare(call, gradients)


@each_layer
def test_residuals_are_flat(name, case):
    """A tensor inside a list would escape autograd's bookkeeping."""
    call = LayerCall(name, case)
    _, residuals = call.derivation.apply(call.every, call.options)
    assert isinstance(residuals, tuple)
    for r in residuals:
        assert not any(isinstance(v, torch.Tensor) for v in (r if isinstance(r, list | tuple) else ()))


@each_layer
def test_forward_mode_of_autograd(name, case):
    call = LayerCall(name, case)

    def tangent(f):
        with forward_ad.dual_level():
            duals = [forward_ad.make_dual(x, v) for x, v in zip(call.inputs, tangents(call), strict=True)]
            y = f(*duals)
            found = [forward_ad.unpack_dual(o).tangent for o in y]
        return [torch.zeros_like(w) if t is None else t for t, w in zip(found, call.weights, strict=True)]

    compare(call, tangent)


@each_layer
def test_checkpoint(name, case):
    call = LayerCall(name, case)

    def gradients(f):
        leaves = call.leaves()
        y = checkpoint(f, *leaves, use_reentrant=False)
        return torch.autograd.grad(y, leaves, call.weights, materialize_grads=True)

    compare(call, gradients)


# --- torch.func -----------------------------------------------------------------------------

TRANSFORMS = {
    "grad": lambda call, f: grad(call.loss(f), all_of(call))(*call.inputs),
    "vjp": lambda call, f: vjp(f, *call.inputs)[1](call.weights),
    "jvp": lambda call, f: jvp(f, call.inputs, tangents(call)),
    "jacrev": lambda call, f: jacrev(call.loss(f), all_of(call))(*call.inputs),
    "jacfwd": lambda call, f: jacfwd(call.loss(f), all_of(call))(*call.inputs),
    "hessian": lambda call, f: hessian(call.loss(f), all_of(call))(*call.inputs),
    "jacrev of jacfwd": lambda call, f: jacrev(jacfwd(call.loss(f)))(*call.inputs),
    "jacfwd of jacfwd": lambda call, f: jacfwd(jacfwd(call.loss(f)))(*call.inputs),
    "jacrev of jacrev": lambda call, f: jacrev(jacrev(call.loss(f)))(*call.inputs),
    "jvp of grad": lambda call, f: jvp(grad(call.loss(f), all_of(call)), call.inputs, tangents(call)),
    "vmap": lambda call, f: vmap(f)(*(torch.stack([x, x]) for x in call.inputs)),
    "vmap of grad": lambda call, f: vmap(grad(call.loss(f), all_of(call)))(
        *(torch.stack([x, x]) for x in call.inputs)
    ),
    "vmap of grad, one input mapped": lambda call, f: vmap(
        grad(call.loss(f), all_of(call)), in_dims=(-1, *(None for _ in call.inputs[1:]))
    )(torch.stack([call.inputs[0]] * 2, -1), *call.inputs[1:]),
    "vmap of vmap": lambda call, f: vmap(vmap(f))(
        *(torch.stack([torch.stack([x, x])] * 3) for x in call.inputs)
    ),
}


@looped
@pytest.mark.parametrize("transform", TRANSFORMS)
@each_layer
def test_transform(name, case, transform):
    call = LayerCall(name, case)
    compare(call, lambda f: TRANSFORMS[transform](call, f), factor=64)


@looped
@pytest.mark.sweep
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(
    ("name", "case"), [pytest.param(*call, id=f"{call[0]}-{call[1].name}") for call in calls()]
)
def test_transform_of_every_case(name, case, transform):
    call = LayerCall(name, case)
    try:
        truth = flat(TRANSFORMS[transform](call, call.truth))
    except (RuntimeError, ValueError, IndexError) as error:
        pytest.skip(f"PyTorch itself: {error}")
    if name == "scaled_dot_product_attention" and any(o.isnan().any() for o in truth):
        pytest.skip("PyTorch itself: NaN for rows that a mask hides, in reverse over forward mode")
    compare(call, lambda f: TRANSFORMS[transform](call, f), factor=64)


# --- dtypes and devices ------------------------------------------------------------------------


@each_layer
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_autocast_gives_the_dtypes_of_pytorch(name, case, dtype):
    call = LayerCall(name, case, dtype=torch.float32)
    inputs = [x.to(dtype) for x in call.inputs]

    def dtypes(f):
        leaves = [x.clone().requires_grad_() for x in inputs]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = f(*leaves)
        g = torch.autograd.grad(y, leaves, [torch.ones_like(o) for o in y], allow_unused=True)
        return [o.dtype for o in y], [None if dx is None else dx.dtype for dx in g]

    try:
        expected = dtypes(call.theirs)
    except (RuntimeError, NotImplementedError) as error:
        pytest.skip(f"PyTorch does not take this: {error}")
    assert dtypes(call.ours_functional) == expected


@each_layer
def test_meta_tensors(name, case):
    call = LayerCall(name, case)
    meta = [x if x is None else x.to("meta") for x in call.every]
    for i in call.slots:
        meta[i].requires_grad_()
    y = as_tuple(torch_ext.call(call.derivation, *meta, **call.options))
    expected = as_tuple(torch_ext.call(call.derivation, *call.every, **call.options))
    assert [(o.shape, o.dtype) for o in y] == [(o.shape, o.dtype) for o in expected]
    if call.slots:
        leaves = [meta[i] for i in call.slots]
        w = [torch.empty_like(o) for o in y]
        pairs = [(o, v) for o, v in zip(y, w, strict=True) if o.requires_grad]
        g = torch.autograd.grad([o for o, _ in pairs], leaves, [v for _, v in pairs], allow_unused=True)
        for dx, x in zip(g, leaves, strict=True):
            assert dx is None or (dx.device.type == "meta" and dx.shape == x.shape)


# dynamo makes an object that PyTorch itself deprecates
traced = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")

# --- compilers ----------------------------------------------------------------------------------


def compiled_like_eager(call, backend, how="ours"):
    torch._dynamo.reset()

    def gradients(f, compiled):
        leaves = call.leaves()
        y = (torch.compile(f, fullgraph=True, backend=backend) if compiled else f)(*leaves)
        return (*y, *torch.autograd.grad(y, leaves, call.weights, materialize_grads=True))

    assert_close(gradients(getattr(call, how), True), gradients(call.theirs, False), factor=8)


SAMPLE = ["linear", "softmax", "cross_entropy", "batch_norm", "conv2d", "scaled_dot_product_attention"]
FUNCTIONS = [name for name in registry if name != "conv2d"]  # its reference filters warnings


@traced
@pytest.mark.parametrize("name", SAMPLE)
def test_compile(name):
    compiled_like_eager(LayerCall(name, registry[name].cases[0]), "aot_eager")


@traced
@pytest.mark.sweep  # needs a C++ compiler
def test_compile_by_inductor():
    compiled_like_eager(LayerCall("gelu", registry["gelu"].cases[0]), "inductor")


@traced
@pytest.mark.sweep
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize(("name", "case"), CALLS)
def test_compile_every_layer(name, case, backend):
    compiled_like_eager(LayerCall(name, case), backend)


@traced
@pytest.mark.parametrize("name", ["divide", "embedding", "mse_loss", "max_pool2d"])
def test_compile_functions(name):
    compiled_like_eager(LayerCall(name, registry[name].cases[0]), "aot_eager", "ours_functional")


@traced
@pytest.mark.sweep
@pytest.mark.parametrize("name", FUNCTIONS)
def test_compile_every_function(name):
    test_compile_functions(name)


@traced
@pytest.mark.parametrize(
    "f",
    [
        lambda x: functional.silu(x * 2, inplace=True),
        lambda x: functional.dropout(x * 2, 0.5, inplace=True),
        lambda x: functional.relu(functional.max_pool2d(x[None], 2), inplace=True),
        lambda x: functional.add(x, 2.5, alpha=3),
    ],
    ids=["in place", "dropout in place", "in place after pooling", "a number"],
)
def test_compile_options(f):
    torch._dynamo.reset()
    x = torch.randn(3, 4, requires_grad=True)

    def run(g):
        torch.manual_seed(0)
        y = g(x)
        return y, *torch.autograd.grad(y.square().sum(), x)

    assert_close(run(torch.compile(f, fullgraph=True, backend="aot_eager")), run(f))


@traced
def test_compile_uses_our_backward():
    """A derivation with a wrong gradient on purpose: were it bypassed, the gradient would be right."""
    torch._dynamo.reset()
    odd = Derivation("odd", lambda x: (3 * x, ()), lambda dy, _: 7 * dy)
    for f in (
        lambda x: torch_ext.call(odd, x),
        torch.compile(lambda x: torch_ext.call(odd, x), fullgraph=True, backend="aot_eager"),
    ):
        x = torch.ones(2, requires_grad=True)
        f(x).sum().backward()
        assert x.grad.tolist() == [7.0, 7.0]


@traced
def test_export():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch_ext.nn.Linear(3, 4)
            self.norm = torch_ext.nn.LayerNorm(4)

        def forward(self, x):
            return torch_ext.functional.softmax(self.norm(torch_ext.functional.gelu(self.linear(x))), -1)

    net, x = Net(), torch.randn(5, 3)
    for strict in (False, True):
        torch._dynamo.reset()
        program = torch.export.export(net, (x,), strict=strict)
        assert_close(program.module()(x), net(x))


# --- records of every origin --------------------------------------------------------------------


def test_a_derivation_that_is_not_registered():
    """A user's own record works, whatever a registered one of the same name does."""
    mine = Derivation("relu", lambda x: (x * 3, ()), lambda dy, _: dy * 3)
    again = Derivation("relu", lambda x: (x * 5, ()), lambda dy, _: dy * 5)
    x = torch.ones(2, requires_grad=True)
    for derivation, factor in ((mine, 3), (again, 5), (registry["relu"], 1)):
        y = torch_ext.call(derivation, x)
        assert y.tolist() == [factor, factor]
        assert torch.autograd.grad(y.sum(), x)[0].tolist() == [factor, factor]
        assert vmap(grad(lambda v, d=derivation: torch_ext.call(d, v)))(x).tolist() == [factor, factor]
        assert type(y.grad_fn).__name__ == "ReluBackward"


def test_several_differentiable_outputs():
    both = Derivation(
        "both",
        lambda x: ((x * x, x * x * x), (x,)),
        lambda dy, r: dy[0] * 2 * r[0] + dy[1] * 3 * r[0] * r[0],
        outputs=("square", "cube"),
    )
    x = torch.tensor([2.0, -1.0], dtype=torch.float64, requires_grad=True)
    square, cube = torch_ext.call(both, x)
    assert torch.autograd.grad(square.sum(), x, retain_graph=True)[0].tolist() == [4.0, -2.0]
    assert torch.autograd.grad(cube.sum(), x)[0].tolist() == [12.0, 3.0]
    f = lambda v: torch_ext.call(both, v)  # noqa: E731
    assert torch.autograd.gradcheck(f, x, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(f, x)


# --- memory, threads, copies ----------------------------------------------------------------------


def kept(f, *inputs):
    """Bytes that the graph of f keeps, inputs apart; each storage once."""
    storages = {}

    def pack(t):
        if not t.is_sparse:
            storages[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = f(*inputs)
    for x in inputs:
        storages.pop(x.untyped_storage().data_ptr(), None)
    return sum(storages.values()), y


@pytest.mark.parametrize(
    "name", ["linear", "matmul", "exp", "sigmoid", "tanh", "softmax", "log_softmax", "add", "sum", "concat"]
)
def test_keeps_no_more_than_pytorch(name):
    call = LayerCall(name, registry[name].cases[0])
    leaves = call.leaves()
    assert kept(call.ours, *leaves)[0] <= kept(call.theirs, *leaves)[0]


@each_call
def test_an_output_has_memory_of_its_own(name, case):
    """A view made in a custom Function could not be changed in place."""
    call = LayerCall(name, case)
    leaves = call.leaves()
    inputs = {
        x.untyped_storage().data_ptr() for x in call.every + list(leaves) if x is not None and x.numel()
    }
    for y in call.ours(*leaves):
        assert not y.numel() or y.untyped_storage().data_ptr() not in inputs
        if y.requires_grad and not y.is_leaf:
            y.mul_(2)


def test_an_output_may_be_changed_in_place_under_transforms():
    x = torch.randn(2, 1, 4, 4)

    def loss(module, v):
        return module.relu(module.max_pool2d(v, 2), inplace=True).square().sum()

    ours, theirs = (vmap(grad(lambda v, f=f: loss(f, v)))(x) for f in (functional, torch.nn.functional))
    assert_close(ours, theirs)


def test_nothing_is_kept_where_nothing_is_differentiated():
    x = torch.randn(3)
    assert torch_ext.functional.gelu(x).grad_fn is None
    assert kept(torch_ext.functional.gelu, x)[0] == 0


def test_an_input_that_backward_does_not_need_may_change():
    x = torch.randn(4, requires_grad=True)
    v = x * 1
    y = torch_ext.functional.add(v, v)
    v.mul_(2)
    y.sum().backward()
    assert x.grad.tolist() == [2.0] * 4


def test_threads():
    w = torch.randn(3, 3, dtype=torch.float64)
    found = [None] * 8

    def work(i):
        x = torch.full((3,), float(i), dtype=torch.float64, requires_grad=True)
        for _ in range(20):
            y = torch_ext.functional.tanh(torch_ext.functional.linear(x, w))
            found[i] = torch.autograd.grad(y.sum(), x)[0]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for i, g in enumerate(found):
        x = torch.full((3,), float(i), dtype=torch.float64, requires_grad=True)
        assert_close(g, torch.autograd.grad(torch.tanh(torch.nn.functional.linear(x, w)).sum(), x))


def test_modules_are_copied_and_pickled():
    net = torch.nn.Sequential(torch_ext.nn.Linear(3, 4), torch_ext.nn.GELU(), torch_ext.nn.BatchNorm1d(4))
    x = torch.randn(5, 3)
    net(x).sum().backward()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert type(twin[0]) is torch_ext.nn.Linear
        assert_close(twin.eval()(x), net.eval()(x))
        net.train()


@pytest.mark.parametrize("name", ["linear", "matmul", "softmax"])
def test_a_backward_pass_in_an_autocast_region_keeps_its_precision(name):
    """Autocast is for forward passes: a formula's own dtypes hold inside it, in backward too."""
    g = torch.Generator().manual_seed(3)
    x = torch.randn(4, 6, generator=g, requires_grad=True)
    w = torch.randn(6, 6, generator=g, requires_grad=True)
    inputs = (x,) if name == "softmax" else (x, w)

    def gradients(region):
        y = torch_ext.call(name, *inputs)
        dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(4))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=region):
            return torch.autograd.grad(y, inputs, dy)

    for inside, outside in zip(gradients(True), gradients(False), strict=True):
        assert torch.equal(inside, outside)
