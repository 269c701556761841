"""torch_ext.functional against PyTorch: values, gradients, signatures, dtypes, errors, randomness."""

import inspect
import re
import types
import warnings

import pytest
import torch

from handgrad import registry
from tests.torch_ext.layer_calls import LayerCall, assert_close, calls
from torch_ext import functional as H  # noqa: N812 - for hand

F = torch.nn.functional
CASES = [pytest.param(*call, id=f"{call[0]}-{call[1].name}") for call in calls(kinks=True, sparse=True)]


def rand(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize(("name", "case"), CASES)
def test_values_and_gradients_are_those_of_pytorch(name, case):
    call = LayerCall(name, case)
    ours, theirs = call.leaves(), call.leaves()
    y, yt = call.ours_functional(*ours), call.theirs(*theirs)
    assert_close(y, yt, inputs=theirs)
    if ours:
        g = torch.autograd.grad(y, ours, call.weights, allow_unused=True)
        truth = torch.autograd.grad(yt, theirs, call.weights, allow_unused=True)
        assert_close(g, truth, inputs=theirs)


# --- signatures -------------------------------------------------------------------------

# Functions that PyTorch builds in C: the signatures that its documentation gives, where their first
# line does not.
DOCUMENTED = {
    "linear": "input, weight, bias=None",
    "conv_tbc": "input, weight, bias, pad=0",
    "gelu": "input, *, approximate='none'",
    "softplus": "input, beta=1, threshold=20",
    "scaled_dot_product_attention": "query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, *, "
    "scale=None, enable_gqa=False",
    "cosine_similarity": "x1, x2, dim=1, eps=1e-8",
    "pairwise_distance": "x1, x2, p=2.0, eps=1e-6, keepdim=False",
    "pdist": "input, p=2",
    "add": "input, other, *, alpha=1, out=None",
    "subtract": "input, other, *, alpha=1, out=None",
    "abs": "input, *, out=None",
    **dict.fromkeys(("max", "min"), "input, *args, **kwargs"),
    **dict.fromkeys(("amax", "amin"), "input, dim=(), keepdim=False, *, out=None"),
    **dict.fromkeys(
        ("var", "std"), "input, dim=None, unbiased=None, keepdim=False, *, correction=None, out=None"
    ),
    "einsum": "*args",
    "linalg_vector_norm": "x, ord=2, dim=None, keepdim=False, *, dtype=None, out=None",
    "logsumexp": "input, dim, keepdim=False, *, out=None",
    "prod": "input, dim=None, keepdim=False, *, dtype=None, out=None",
    "index_add": "input, dim, index, source, *, alpha=1, out=None",
    "narrow": "input, dim, start, length",
    "scatter": "input, dim, index, src, *, reduce=None",
    "masked_fill": "input, mask, value",
    "where": "condition, input=None, other=None, *, out=None",
    "multiply": "input, other, *, out=None",
    "divide": "input, other, *, rounding_mode=None, out=None",
    "matmul": "input, other, *, out=None",
    "exp": "input, *, out=None",
    "log": "input, *, out=None",
    "square": "input, *, out=None",
    "sum": "input, dim=None, keepdim=False, *, dtype=None, out=None",
    "mean": "input, dim=None, keepdim=False, *, dtype=None, out=None",
    "concat": "tensors, dim=0, *, out=None",
    "reshape": "input, shape",
    "transpose": "input, dim0, dim1",
    # two forms each, padded and packed; rnn is two functions of PyTorch, rnn_tanh and rnn_relu
    **dict.fromkeys(("lstm", "gru"), "input, *args, **kwargs"),
    **dict.fromkeys(("lstm_cell", "gru_cell"), "input, hx, w_ih, w_hh, b_ih=None, b_hh=None"),
    **dict.fromkeys(("rnn", "rnn_cell"), "*inputs, **options"),
}


def in_documentation(name):
    """The arguments in the first line of the documentation of a function that PyTorch builds in C."""
    doc = getattr(F, name, getattr(torch, name, None)).__doc__ or ""
    found = re.match(rf"\s*{name}\(([^:]*?)\) ->", doc)
    return found and found[1]


FUNCTIONS = [
    name
    for name in registry
    if name in DOCUMENTED or ".functional." in registry[name].torch or in_documentation(name)
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signature_is_that_of_pytorch(name):
    ours = {p.name: (p.kind, p.default) for p in inspect.signature(getattr(H, name)).parameters.values()}
    f = getattr(F, f"{name}_with_indices", getattr(F, name, None))  # pools of two forms hide theirs
    if f is None or name in DOCUMENTED or isinstance(f, types.BuiltinFunctionType):
        arguments = DOCUMENTED.get(name) or in_documentation(name)
        namespace = {}
        exec(f"def f({arguments}): pass", namespace)
        f = namespace["f"]
    assert ours == {p.name: (p.kind, p.default) for p in inspect.signature(f).parameters.values()}


def test_a_layer_without_a_function_of_its_own_is_found_by_its_name(monkeypatch):
    monkeypatch.delattr(H, "square")
    assert torch.equal(H.square(torch.tensor([3.0])), torch.tensor([9.0]))
    with pytest.raises(AttributeError, match="no derivation"):
        H.no_such_layer  # noqa: B018


# --- bad calls ----------------------------------------------------------------------------

x = rand(3, 4)
ints = torch.arange(12).reshape(3, 4)
cplx = torch.complex(x, x)
bools = x > 0
image = rand(2, 3, 5, 5)

BAD = {
    "relu of a list": lambda f: f.relu([1.0]),
    "relu of bools": lambda f: f.relu(bools),
    "relu of complex": lambda f: f.relu(cplx),
    "relu of None": lambda f: f.relu(None),
    "relu, a leaf in place": lambda f: f.relu(x.clone().requires_grad_(), inplace=True),
    "leaky_relu of integers": lambda f: f.leaky_relu(ints),
    "leaky_relu of complex": lambda f: f.leaky_relu(cplx),
    "silu of integers": lambda f: f.silu(ints),
    "gelu of integers": lambda f: f.gelu(ints),
    "gelu, approximation": lambda f: f.gelu(x, approximate="sin"),
    "gelu, positional": lambda f: f.gelu(x, "tanh"),
    "softplus of integers": lambda f: f.softplus(ints),
    "softmax of integers": lambda f: f.softmax(ints, 0),
    "softmax, axis": lambda f: f.softmax(x, 2),
    "log_softmax, axis": lambda f: f.log_softmax(x, -3),
    "linear, shapes": lambda f: f.linear(x, rand(2, 3)),
    "linear, dtypes": lambda f: f.linear(x, rand(2, 4).double()),
    "linear, bias": lambda f: f.linear(x, rand(2, 4), rand(3)),
    "linear, weight of 3 axes": lambda f: f.linear(x, rand(2, 2, 4)),
    "mse_loss of integers": lambda f: f.mse_loss(ints, ints),
    "mse_loss, shapes": lambda f: f.mse_loss(x, rand(5)),
    "mse_loss, reduction": lambda f: f.mse_loss(x, x, reduction="max"),
    "mse_loss, weight": lambda f: f.mse_loss(x, x, weight=rand(4)),
    "l1_loss of integers": lambda f: f.l1_loss(ints, ints),
    "smooth_l1_loss of integers": lambda f: f.smooth_l1_loss(ints, ints),
    "smooth_l1_loss, beta": lambda f: f.smooth_l1_loss(x, x, beta=-1.0),
    "bce, range": lambda f: f.binary_cross_entropy(x, bools.float()),
    "bce, shapes": lambda f: f.binary_cross_entropy(x.sigmoid(), rand(4).sigmoid()),
    "bce with logits, shapes": lambda f: f.binary_cross_entropy_with_logits(x, rand(4)),
    "bce with logits, weight": lambda f: f.binary_cross_entropy_with_logits(x, x, weight=rand(3)),
    "cross_entropy, classes": lambda f: f.cross_entropy(x, torch.tensor([0, 1, 4])),
    "cross_entropy, batch": lambda f: f.cross_entropy(x, torch.tensor([0, 1])),
    "cross_entropy, weight": lambda f: f.cross_entropy(x, torch.tensor([0, 1, 2]), rand(3)),
    "cross_entropy, smoothing": lambda f: f.cross_entropy(x, torch.tensor([0, 1, 2]), label_smoothing=2.0),
    "cross_entropy, target": lambda f: f.cross_entropy(x, [0, 1, 2]),
    "nll_loss, classes": lambda f: f.nll_loss(x, torch.tensor([0, 1, -1])),
    "nll_loss, target": lambda f: f.nll_loss(x, torch.tensor([0.0, 1.0, 2.0])),
    "nll_loss, batch": lambda f: f.nll_loss(x, torch.tensor([0, 1])),
    "layer_norm, shape": lambda f: f.layer_norm(x, (3,)),
    "layer_norm, weight": lambda f: f.layer_norm(x, (4,), rand(3)),
    "rms_norm, shape": lambda f: f.rms_norm(x, (3,)),
    "batch_norm, no statistics": lambda f: f.batch_norm(x, None, None),
    "batch_norm, one value": lambda f: f.batch_norm(x[:1], None, None, training=True),
    "batch_norm, eps": lambda f: f.batch_norm(x, None, None, training=True, eps=0.0),
    "batch_norm, weight": lambda f: f.batch_norm(x, None, None, rand(3), training=True),
    "batch_norm, momentum": lambda f: f.batch_norm(x, None, None, training=True, momentum=None),
    "embedding, index": lambda f: f.embedding(torch.tensor([0, 3]), x),
    "embedding, floats": lambda f: f.embedding(torch.tensor([0.0]), x),
    "embedding, padding_idx": lambda f: f.embedding(torch.tensor([0]), x, padding_idx=3),
    "dropout, p": lambda f: f.dropout(x, 1.5),
    "conv2d, channels": lambda f: f.conv2d(image, rand(2, 2, 3, 3)),
    "conv2d, kernel": lambda f: f.conv2d(image, rand(2, 3, 6, 3)),
    "conv2d, groups": lambda f: f.conv2d(image, rand(2, 3, 3, 3), groups=2),
    "conv2d, stride": lambda f: f.conv2d(image, rand(2, 3, 3, 3), stride=0),
    "conv2d, same": lambda f: f.conv2d(image, rand(2, 3, 3, 3), stride=2, padding="same"),
    "conv2d, bias": lambda f: f.conv2d(image, rand(2, 3, 3, 3), rand(3)),
    "conv2d, axes": lambda f: f.conv2d(x, rand(2, 3, 3, 3)),
    "max_pool2d, padding": lambda f: f.max_pool2d(image, 2, padding=2),
    "max_pool2d, kernel": lambda f: f.max_pool2d(image, 6),
    "max_pool2d, axes": lambda f: f.max_pool2d(x, 2),
    "attention, dtypes": lambda f: f.scaled_dot_product_attention(image, image.double(), image),
    "attention, widths": lambda f: f.scaled_dot_product_attention(image, image[..., :4], image),
    "attention, dropout": lambda f: f.scaled_dot_product_attention(image, image, image, dropout_p=1.5),
    "attention, mask": lambda f: f.scaled_dot_product_attention(image, image, image, rand(4, 4)),
    "attention, one vector": lambda f: f.scaled_dot_product_attention(x[0], x[0], x[0]),
    "pad, mode": lambda f: f.pad(x, (1, 1), "mirror"),
    "pad, odd": lambda f: f.pad(x, (1,)),
    "pad, reflect too far": lambda f: f.pad(x, (4, 0), "reflect"),
    "pad, circular too far": lambda f: f.pad(x, (5, 0), "circular"),
    "pad, axes": lambda f: f.pad(x, (1, 1, 1, 1), "replicate"),
    "pad, too many": lambda f: f.pad(x, (1,) * 6),
    "pad, fraction": lambda f: f.pad(x, (0.5, 1)),
    "pad, value": lambda f: f.pad(x, (1, 1), "reflect", 1.0),
}

BAD_TORCH = {
    "add, shapes": lambda f: f.add(x, rand(3)),
    "add, None": lambda f: f.add(x, None),
    "add, alpha": lambda f: f.add(ints, ints, alpha=0.5),
    "subtract, bools": lambda f: f.subtract(bools, bools),
    "divide, rounding": lambda f: f.divide(x, x, rounding_mode="up"),
    "multiply, out": lambda f: f.multiply(x, x, out=torch.empty(3, 4, dtype=torch.int64)),
    "add, out of a gradient": lambda f: f.add(x.clone().requires_grad_(), x, out=torch.empty(3, 4)),
    "matmul, shapes": lambda f: f.matmul(x, x),
    "matmul, dtypes": lambda f: f.matmul(x, x.T.double()),
    "matmul, a number": lambda f: f.matmul(x, torch.tensor(1.0)),
    "exp of a number": lambda f: f.exp(1.0),
    "mean of integers": lambda f: f.mean(ints),
    "sum, axis": lambda f: f.sum(x, 2),
    "sum, axis twice": lambda f: f.sum(x, (0, 0)),
    "sum, a name": lambda f: f.sum(x, "a"),
    "concat of nothing": lambda f: f.concat([]),
    "concat, shapes": lambda f: f.concat([x, rand(3, 5)]),
    "concat of numbers": lambda f: f.concat([torch.tensor(1.0)]),
    "reshape": lambda f: f.reshape(x, (5,)),
    "transpose": lambda f: f.transpose(x, 0, 2),
}


@pytest.mark.filterwarnings("ignore:.*target")
@pytest.mark.parametrize(
    ("bad", "theirs"),
    [
        *(pytest.param(f, F, id=name) for name, f in BAD.items()),
        *(pytest.param(f, torch, id=name) for name, f in BAD_TORCH.items()),
    ],
)
def test_a_bad_call_raises_what_pytorch_raises(bad, theirs):
    with pytest.raises(Exception) as expected:  # noqa: PT011 - whatever it is
        bad(theirs)
    with pytest.raises(type(expected.value)) as got:
        bad(H)
    assert str(got.value)


# --- dtypes -------------------------------------------------------------------------------

NUMBERS = {
    "float32": x,
    "float64": rand(4).double(),
    "bfloat16": rand(3, 4).bfloat16(),
    "float16": rand(4).half(),
    "int64": ints + 1,
    "bool": bools,
    "complex": cplx,
    "0-d float64": torch.tensor(1.5, dtype=torch.float64),
    "0-d float32": torch.tensor(2.5),
    "2": 2,
    "0.1": 0.1,
    "2j": 2j,
    "True": True,
}


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide"])
@pytest.mark.parametrize("first", NUMBERS)
def test_operands_are_promoted_as_in_pytorch(name, first):
    for other in NUMBERS.values():
        if torch.result_type(NUMBERS[first], other) == torch.complex32:
            continue  # PyTorch's own support is experimental
        try:
            expected = getattr(torch, name)(NUMBERS[first], other)
        except RuntimeError:
            with pytest.raises(RuntimeError):
                getattr(H, name)(NUMBERS[first], other)
            continue
        assert_close(getattr(H, name)(NUMBERS[first], other), expected)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh", "exp", "square", "sum"])
def test_integers_are_taken_where_pytorch_takes_them(name):
    theirs = getattr(torch, name)
    for value in (ints, ints.to(torch.int32)) if name == "relu" else (ints, ints.to(torch.int32), bools):
        assert_close(getattr(H, name)(value), theirs(value))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_normalisation_of_16_bits_with_float32_parameters(dtype):
    h, w, b = rand(5, 4, dtype=dtype), rand(4, seed=1), rand(4, seed=2)
    assert_close(H.layer_norm(h, (4,), w, b), F.layer_norm(h, (4,), w, b))
    assert H.rms_norm(h, (4,), w).dtype == dtype
    if dtype == torch.bfloat16:  # PyTorch's CPU kernel has no float16
        assert_close(H.batch_norm(h, None, None, w, b, True), F.batch_norm(h, None, None, w, b, True))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_in_another_dtype_and_without_an_axis(name):
    assert_close(
        getattr(H, name)(ints, 0, dtype=torch.float64), getattr(F, name)(ints, 0, dtype=torch.float64)
    )
    h = rand(3, 4, dtype=torch.bfloat16)
    assert_close(getattr(H, name)(h, 1, dtype=torch.float32), getattr(F, name)(h, 1, dtype=torch.float32))
    for value in (x, x[0], image[0]):
        with pytest.warns(UserWarning, match="dim"):
            ours = getattr(H, name)(value)
        with pytest.warns(UserWarning, match="dim"):
            assert_close(ours, getattr(F, name)(value))


def test_sum_and_mean_in_another_dtype():
    assert_close(H.sum(ints, dtype=torch.float64), torch.sum(ints, dtype=torch.float64))
    assert_close(H.mean(ints, 0, True, dtype=torch.float32), torch.mean(ints, 0, True, dtype=torch.float32))
    assert_close(H.sum(x, []), torch.sum(x, []))


@pytest.mark.parametrize(
    "f",
    [
        lambda f, out: f.add(x, 2, out=out),
        lambda f, out: f.matmul(x, x.T, out=out),
        lambda f, out: f.exp(x, out=out),
        lambda f, out: f.sum(x, 0, out=out),
        lambda f, out: f.concat([x, x], out=out),
    ],
    ids=["add", "matmul", "exp", "sum", "concat"],
)
def test_out_receives_the_result(f):
    ours, theirs = torch.empty(0), torch.empty(0)
    assert f(H, ours) is ours
    f(torch, theirs)
    assert_close(ours, theirs)


def test_concat_passes_over_empty_vectors():
    assert_close(H.concat([torch.empty(0), x, x], 1), torch.concat([torch.empty(0), x, x], 1))


# --- deprecated arguments ------------------------------------------------------------------


@pytest.mark.parametrize("size_average", [None, True, False])
@pytest.mark.parametrize("reduce", [None, True, False])
@pytest.mark.parametrize(
    "name", ["mse_loss", "l1_loss", "smooth_l1_loss", "binary_cross_entropy_with_logits"]
)
def test_deprecated_reduction_arguments(name, size_average, reduce):
    arguments = {"size_average": size_average, "reduce": reduce, "reduction": "sum"}
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        ours = getattr(H, name)(x, x.sigmoid(), **arguments)
        count = len(seen)
        assert_close(ours, getattr(F, name)(x, x.sigmoid(), **arguments))
    assert len(seen) == 2 * count


def test_losses_warn_where_shapes_differ():
    for loss in (H.mse_loss, H.l1_loss, H.smooth_l1_loss):
        with pytest.warns(UserWarning, match="broadcasts"):
            loss(x, x[0])


# --- in place -------------------------------------------------------------------------------

IN_PLACE = {
    "relu": lambda f, v: f.relu(v, inplace=True),
    "leaky_relu": lambda f, v: f.leaky_relu(v, 0.3, inplace=True),
    "silu": lambda f, v: f.silu(v, inplace=True),
    "dropout": lambda f, v: f.dropout(v, 0.4, inplace=True),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_is_autograd_correct(name):
    f, w = IN_PLACE[name], rand(3, 4, seed=3)

    def run(module, *, view):
        torch.manual_seed(7)
        leaf = x.clone().requires_grad_()
        v = leaf * 2
        target = v[:, 1:] if view else v
        version = v._version
        out = f(module, target)
        assert out is target
        assert v._version > version  # what others saved of v is now known to be stale
        first = torch.autograd.grad((v * v * w).sum(), leaf, create_graph=True)[0]
        return v, first, *torch.autograd.grad((first * w).sum(), leaf)

    for view in (False, True):
        assert_close(run(H, view=view), run(F, view=view), factor=4)


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_without_gradients_and_on_leaves(name):
    plain, leaf = x.clone(), x.clone().requires_grad_()
    assert IN_PLACE[name](H, plain) is plain
    for value in (leaf, leaf[1:]):
        with pytest.raises(RuntimeError, match="in-place"):
            IN_PLACE[name](H, value)
    with torch.no_grad():
        assert IN_PLACE[name](H, leaf) is leaf


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "silu"])
def test_in_place_under_transforms(name):
    w = rand(4, seed=3)

    def loss(module, v):
        return (IN_PLACE[name](module, v * 2) ** 2 * w).sum()

    for transform in (torch.func.grad, torch.func.jacfwd, torch.func.hessian):
        ours = torch.func.vmap(transform(lambda v: loss(H, v)))(x)
        theirs = torch.func.vmap(transform(lambda v: loss(F, v)))(x)
        assert_close(ours, theirs, factor=4)


def test_a_saved_tensor_that_changed_is_noticed():
    for module in (H, F):
        leaf = x.clone().requires_grad_()
        v = leaf * 1
        y = module.gelu(v)
        v.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


# --- randomness ------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_dropout_draws_the_random_numbers_of_pytorch(p, dtype, training):
    def run(module):
        torch.manual_seed(3)
        v = rand(60, 7, dtype=dtype).T.requires_grad_()  # not contiguous: the order of drawing matters
        y = module.dropout(v, p, training)
        (g,) = torch.autograd.grad(y, v, torch.ones_like(y))
        return y, g, torch.rand(1), y is v

    *ours, same = run(H)
    *theirs, expected = run(F)
    assert_close(tuple(ours), tuple(theirs))
    assert same == (expected or (p == 0))


@pytest.mark.parametrize("randomness", ["same", "different"])
def test_dropout_under_vmap(randomness):
    def run(module):
        torch.manual_seed(3)
        return torch.vmap(lambda v: module.dropout(v, 0.4), randomness=randomness)(x)

    assert_close(run(H), run(F))
    with pytest.raises(RuntimeError, match="random"):
        torch.vmap(lambda v: H.dropout(v, 0.4))(x)


@pytest.mark.parametrize("options", [{}, {"enable_gqa": True}, {"is_causal": True}])
@pytest.mark.parametrize("p", [0.3, 1.0])
def test_attention_dropout_draws_the_random_numbers_of_pytorch(options, p):
    q = rand(2, 4, 5, 3)
    k = rand(2, 2, 5, 3, seed=1) if "enable_gqa" in options else rand(2, 4, 5, 3, seed=1)

    def run(module):
        torch.manual_seed(3)
        return module.scaled_dot_product_attention(q, k, k, dropout_p=p, **options), torch.rand(1)

    assert_close(run(H), run(F))


# --- state -----------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.1, 1.0, 0.0])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_updates_running_statistics(momentum, training):
    def run(module):
        mean, var = rand(3, seed=1), rand(3, seed=2).abs() + 0.1
        y = module.batch_norm(image, mean, var, training=training, momentum=momentum)
        return y, mean, var

    assert_close(run(H), run(F))


def test_batch_norm_keeps_its_gradient_after_the_statistics_moved_on():
    mean, var, leaf = torch.zeros(3), torch.ones(3), image.clone().requires_grad_()
    first = H.batch_norm(leaf, mean, var, training=True)
    H.batch_norm(leaf, mean, var, training=True)
    (g,) = torch.autograd.grad((first * image).sum(), leaf, create_graph=True)
    assert torch.autograd.grad(g.square().sum(), leaf)[0].isfinite().all()


@pytest.mark.parametrize("norm_type", [1.0, 2.0, float("inf")])
def test_embedding_renormalises_rows_in_place(norm_type):
    index = torch.tensor([[0, 2], [2, 1]])

    def run(module):
        w = (rand(5, 4) * 3).requires_grad_()
        y = module.embedding(index, w, max_norm=0.7, norm_type=norm_type)
        (y * rand(2, 2, 4, seed=1)).sum().backward()
        return y, w, w.grad

    assert_close(run(H), run(F))


def test_max_pool2d_gives_its_indices_when_asked():
    assert_close(H.max_pool2d(image, 2, return_indices=True), F.max_pool2d(image, 2, return_indices=True))
    assert_close(H.max_pool2d_with_indices(image, 2), F.max_pool2d_with_indices(image, 2))
    assert isinstance(H.max_pool2d(image, [2, 2], []), torch.Tensor)
