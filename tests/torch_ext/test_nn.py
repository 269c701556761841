"""torch_ext.nn against torch.nn: state, repr, results, gradients, random numbers, checkpoints."""

import copy
import inspect

import pytest
import torch

import torch_ext
from tests.torch_ext.layer_calls import assert_close

nn = torch.nn


def randn(*shape):
    return lambda: (torch.randn(*shape),)


def pair(*shape):
    return lambda: (torch.randn(*shape).sigmoid(), torch.rand(*shape))


def classes(*shape):
    return lambda: (torch.randn(*shape), torch.randint(shape[1], (shape[0], *shape[2:])))


def indices(*shape, n):
    return lambda: (torch.randint(n, shape),)


IMAGE = randn(2, 4, 6, 7)

# Each module: the arguments it is made with (as keywords) and how to draw its inputs.
MODULES = {
    "Linear": [
        ({"in_features": 5, "out_features": 3}, randn(2, 4, 5)),
        ({"in_features": 5, "out_features": 3, "bias": False}, randn(5)),
    ],
    "ReLU": [({}, randn(3, 4))],
    "LeakyReLU": [({"negative_slope": 0.3}, randn(3, 4))],
    "SiLU": [({}, randn(3, 4))],
    "Sigmoid": [({}, randn(3, 4))],
    "Tanh": [({}, randn(3, 4))],
    "Softplus": [({"beta": 2.0, "threshold": 1.0}, randn(3, 4))],
    "GELU": [({}, randn(3, 4)), ({"approximate": "tanh"}, randn(3, 4))],
    "Softmax": [({"dim": 1}, randn(3, 4))],
    "LogSoftmax": [({"dim": 0}, randn(3, 4))],
    "MSELoss": [({}, pair(3, 4)), ({"reduction": "none"}, pair(3, 4))],
    "L1Loss": [({"reduction": "sum"}, pair(3, 4))],
    "SmoothL1Loss": [({"beta": 0.3}, pair(3, 4))],
    "BCELoss": [({"weight": torch.rand(4)}, pair(3, 4))],
    "BCEWithLogitsLoss": [({"weight": torch.rand(4), "pos_weight": torch.rand(4)}, pair(3, 4))],
    "CrossEntropyLoss": [
        ({"weight": torch.rand(4) + 0.1, "label_smoothing": 0.1, "ignore_index": 1}, classes(6, 4)),
        ({"reduction": "none"}, classes(2, 4, 3)),
    ],
    "NLLLoss": [({"weight": torch.rand(4) + 0.1}, classes(6, 4)), ({"reduction": "sum"}, classes(2, 4, 3))],
    "LayerNorm": [
        ({"normalized_shape": 4}, randn(3, 4)),
        ({"normalized_shape": (3, 4), "elementwise_affine": False, "eps": 0.1}, randn(2, 3, 4)),
        ({"normalized_shape": 4, "bias": False}, randn(3, 4)),
    ],
    "RMSNorm": [
        ({"normalized_shape": 4}, randn(3, 4)),
        ({"normalized_shape": (4,), "eps": 0.1}, randn(3, 4)),
    ],
    "BatchNorm1d": [
        ({"num_features": 4}, randn(5, 4)),
        ({"num_features": 4, "momentum": None}, randn(5, 4, 3)),
        ({"num_features": 4, "affine": False, "track_running_stats": False}, randn(5, 4)),
    ],
    "BatchNorm2d": [({"num_features": 4, "momentum": 0.3}, IMAGE)],
    "BatchNorm3d": [({"num_features": 4}, randn(2, 4, 3, 2, 2))],
    "Embedding": [
        ({"num_embeddings": 7, "embedding_dim": 3, "padding_idx": 2}, indices(4, 5, n=7)),
        ({"num_embeddings": 7, "embedding_dim": 3, "max_norm": 0.5}, indices(6, n=7)),
        ({"num_embeddings": 7, "embedding_dim": 3, "scale_grad_by_freq": True}, indices(6, n=3)),
        ({"num_embeddings": 7, "embedding_dim": 3, "sparse": True}, indices(6, n=7)),
    ],
    "Dropout": [({"p": 0.3}, randn(3, 4))],
    "Conv2d": [
        (
            {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "stride": 2, "padding": 1, "groups": 2},
            IMAGE,
        ),
        (
            {"in_channels": 4, "out_channels": 2, "kernel_size": (3, 5), "padding": "same", "bias": False},
            IMAGE,
        ),
        *(
            (
                {
                    "in_channels": 4,
                    "out_channels": 2,
                    "kernel_size": 3,
                    "padding": (2, 1),
                    "padding_mode": mode,
                },
                IMAGE,
            )
            for mode in ("reflect", "replicate", "circular")
        ),
        (
            {
                "in_channels": 4,
                "out_channels": 2,
                "kernel_size": 3,
                "padding": "same",
                "padding_mode": "reflect",
            },
            IMAGE,
        ),
    ],
    "MaxPool2d": [
        ({"kernel_size": 2}, IMAGE),
        (
            {"kernel_size": (3, 2), "stride": 1, "padding": 1, "ceil_mode": True, "return_indices": True},
            IMAGE,
        ),
    ],
    "RNN": [({"input_size": 3, "hidden_size": 4, "nonlinearity": "relu"}, randn(5, 2, 3))],
    "GRU": [
        (
            {"input_size": 3, "hidden_size": 4, "num_layers": 2, "bidirectional": True, "dropout": 0.5},
            randn(5, 2, 3),
        )
    ],
    "RNNCell": [({"input_size": 3, "hidden_size": 4}, randn(2, 3))],
    "GRUCell": [({"input_size": 3, "hidden_size": 4}, randn(2, 3))],
    "LSTMCell": [({"input_size": 3, "hidden_size": 4, "bias": False}, randn(2, 3))],
}
CASES = [
    pytest.param(name, arguments, inputs, id=f"{name}-{i}")
    for name, cases in MODULES.items()
    for i, (arguments, inputs) in enumerate(cases)
]
each_module = pytest.mark.parametrize(("name", "arguments", "inputs"), CASES)


def build(module, name, arguments, seed=0):
    torch.manual_seed(seed)
    return getattr(module, name)(**copy.deepcopy(arguments))


def names():
    return [name for name in vars(torch_ext.nn) if name[0].isupper()]


def test_every_module_is_tested():
    """Here, by samples of PyTorch's database or by samples of ours (torch_ext/sweep)."""
    pytest.importorskip("expecttest", reason="PyTorch's databases need it")
    from torch_ext.sweep.samples import entries

    sampled = {entry.base for entry in entries().values() if entry.is_module}
    assert not set(names()) - set(MODULES) - sampled


@pytest.mark.parametrize("name", MODULES)
def test_constructor_and_place(name):
    ours, theirs = getattr(torch_ext.nn, name), getattr(nn, name)
    assert issubclass(ours, theirs)
    assert ours.__init__ is theirs.__init__
    assert ours.__name__ == ours.__qualname__ == name
    assert inspect.signature(ours) == inspect.signature(theirs)
    assert list(inspect.signature(ours.forward).parameters) == list(
        inspect.signature(theirs.forward).parameters
    )


@each_module
def test_module_is_that_of_pytorch(name, arguments, inputs):
    """The same parameters from the same seed, three training steps, then evaluation: all the same."""
    ours, theirs = build(torch_ext.nn, name, arguments), build(nn, name, arguments)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert_close(tuple(ours.state_dict().values()), tuple(theirs.state_dict().values()))
    torch.manual_seed(1)
    values = inputs()

    def step(module, seed):
        torch.manual_seed(seed)
        x, *rest = (v.clone() for v in values)
        x = x.requires_grad_() if x.is_floating_point() else x
        y = module(x, *rest)
        first = y[0] if isinstance(y, tuple) else y
        leaves = [v for v in (x, *module.parameters()) if v.requires_grad]
        g = torch.autograd.grad((first * torch.randn(first.shape)).sum(), leaves)
        return (*(y if isinstance(y, tuple) else (y,)), *g)

    for seed in range(3):
        assert_close(step(ours, seed), step(theirs, seed))
    assert_close(step(ours.eval(), 4), step(theirs.eval(), 4))
    assert_close(tuple(ours.state_dict().values()), tuple(theirs.state_dict().values()))


@each_module
def test_checkpoints_load_both_ways(name, arguments, inputs):
    ours, theirs = build(torch_ext.nn, name, arguments, seed=1), build(nn, name, arguments, seed=2)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    build(torch_ext.nn, name, arguments, seed=3).load_state_dict(theirs.state_dict(), strict=True)
    torch.manual_seed(1)
    values = inputs()
    assert_close(ours.eval()(*values), theirs.eval()(*values))


@each_module
def test_bfloat16(name, arguments, inputs):
    ours = build(torch_ext.nn, name, arguments).bfloat16()
    theirs = build(nn, name, arguments).bfloat16()
    values = [v.bfloat16() if v.is_floating_point() else v for v in inputs()]

    def dtypes(module):
        torch.manual_seed(1)
        y = module(*values)
        return [o.dtype for o in (y if isinstance(y, tuple) else (y,))]

    assert dtypes(ours) == dtypes(theirs)


IN_PLACE = [n for n in names() if "inplace" in inspect.signature(getattr(nn, n)).parameters]


@pytest.mark.filterwarnings("ignore:dropout[23]d")  # three axes will do here
@pytest.mark.parametrize("name", sorted({*IN_PLACE} - {"AlphaDropout", "FeatureAlphaDropout"}))
def test_in_place_modules(name):
    """All but two, whose forward pass leaves the option out in PyTorch too."""
    x = torch.randn(2, 3, 4, requires_grad=True)
    arguments = (0.1, 20.0) if name == "Threshold" else ()

    def run(module):
        torch.manual_seed(0)
        v = x * 1
        y = getattr(module, name)(*arguments, inplace=True)(v)
        assert y is v
        return y, *torch.autograd.grad((y * torch.arange(4)).sum(), x)

    assert_close(run(torch_ext.nn), run(nn))


def test_batch_norm_refuses_what_pytorch_refuses():
    for x in (torch.randn(3), torch.randn(2, 4, 3, 3), torch.randn(1, 4)):
        for module in (nn, torch_ext.nn):
            with pytest.raises(ValueError, match="xpected"):
                module.BatchNorm1d(4)(x)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_a_compiled_network_trains_as_an_eager_one():
    torch._dynamo.reset()
    torch.manual_seed(0)
    h = torch_ext.nn
    net = nn.Sequential(
        h.Conv2d(1, 3, 3, padding=1, padding_mode="circular"),
        h.BatchNorm2d(3),
        h.SiLU(),
        h.MaxPool2d(2),
        nn.Flatten(),
        h.Linear(12, 4),
        h.LayerNorm(4),
    )
    twin = copy.deepcopy(net)
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
    loss = h.CrossEntropyLoss()
    x, t = torch.randn(5, 1, 4, 4), torch.randint(4, (5,))
    for f in (net, compiled):
        for _ in range(2):
            loss(f(x), t).backward()
    assert_close(tuple(p.grad for p in twin.parameters()), tuple(p.grad for p in net.parameters()), factor=8)
    assert_close(tuple(twin.buffers()), tuple(net.buffers()))


@pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch was built without it")
@pytest.mark.parametrize("kind", ["DDP", "FSDP"])
def test_distributed_training(kind):
    """One process is enough to see that hooks and sharded parameters meet our Functions."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    def network(h):
        torch.manual_seed(0)
        return nn.Sequential(h.Linear(3, 4), h.LayerNorm(4), h.GELU(), h.Linear(4, 2))

    ours, theirs, x = network(torch_ext.nn), network(nn), torch.randn(5, 3)
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        if kind == "DDP":
            f = nn.parallel.DistributedDataParallel(ours)
        else:
            f = fully_shard(ours, mesh=init_device_mesh("cpu", (1,)))
        f(x).square().sum().backward()
        theirs(x).square().sum().backward()
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            g = p.grad if kind == "DDP" else p.grad.full_tensor()
            assert_close(g, q.grad, factor=8)
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("name", [n for n in vars(torch_ext.nn) if n.startswith("Lazy")])
def test_a_lazy_layer_becomes_ours(name):
    assert getattr(torch_ext.nn, name).cls_to_become is getattr(torch_ext.nn, name.removeprefix("Lazy"))
