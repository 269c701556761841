"""Multi-head attention and transformers: what samples of single calls cannot see."""

import copy
import inspect
import io

import pytest
import torch

import torch_ext
from tests.torch_ext.layer_calls import assert_close
from tests.torch_ext.rounding import a_rounding_off
from torch_ext import purity

nn, ours = torch.nn, torch_ext.nn
E, HEADS = 8, 2

pytestmark = [  # PyTorch warns of itself
    pytest.mark.filterwarnings("ignore:enable_nested_tensor is True"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
    pytest.mark.filterwarnings("ignore:There is a performance drop"),
]


def layer(h, **options):
    return h.TransformerEncoderLayer(E, HEADS, 12, **options)


MODELS = {
    "MultiheadAttention": lambda h: h.MultiheadAttention(E, HEADS, dropout=0.1, add_bias_kv=True),
    "TransformerEncoderLayer": lambda h: layer(h, activation="gelu"),
    "TransformerDecoderLayer": lambda h: h.TransformerDecoderLayer(E, HEADS, 12),
    "TransformerEncoder": lambda h: h.TransformerEncoder(layer(h), 2, norm=h.LayerNorm(E)),
    "TransformerDecoder": lambda h: h.TransformerDecoder(h.TransformerDecoderLayer(E, HEADS, 12), 2),
    "Transformer": lambda h: h.Transformer(E, HEADS, 1, 2, 12),
}
each_model = pytest.mark.parametrize("name", MODELS)


def build(h, name, seed=0):
    torch.manual_seed(seed)
    return MODELS[name](h).double()


def classes(model):
    return {type(m) for m in model.modules()}


@each_model
def test_state_words_and_parts(name):
    hand, native = build(ours, name), build(nn, name)
    assert repr(hand) == repr(native)
    assert inspect.signature(type(hand)) == inspect.signature(type(native))
    for key, value in native.state_dict().items():
        assert torch.equal(hand.state_dict()[key], value)
    build(nn, name, seed=1).load_state_dict(hand.state_dict(), strict=True)
    build(ours, name, seed=1).load_state_dict(native.state_dict(), strict=True)
    kept = {"ModuleList", "NonDynamicallyQuantizableLinear"}  # no forward pass of theirs runs
    assert all(c.__module__.startswith("torch_ext.nn") for c in classes(hand) if c.__name__ not in kept)


def pickled(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@each_model
@pytest.mark.parametrize("twin", [copy.deepcopy, pickled])
def test_copies_are_of_the_same_classes(name, twin):
    model = build(ours, name)
    found = twin(model)
    assert classes(found) == classes(model)
    assert list(found.state_dict()) == list(model.state_dict())


@each_model
def test_swapped_whole_and_back(name):
    """A swap is by the parts: each changes its class, and the whole is one of them."""
    native = build(nn, name)
    before = classes(native)
    result = torch_ext.swap(native)
    assert result.left == {}
    assert classes(native) == before
    kept = {c.__name__ for c in before} & {"ModuleList"}
    assert {c.__name__ for c in classes(result.model)} - kept == {c.__name__ for c in before} - kept
    assert repr(result.model) == repr(native)
    assert classes(torch_ext.unswap(result.model)) == before


def test_what_is_ours_from_the_start_stays_so():
    model = build(ours, "Transformer")
    before = classes(model)
    assert classes(torch_ext.unswap(model)) == before


def test_given_layers_stay_as_they_are_and_share_their_tensors():
    norm, given = nn.LayerNorm(E), layer(nn)
    encoder = ours.TransformerEncoder(given, 2, norm=norm)
    assert type(norm) is nn.LayerNorm
    assert nn.Linear in classes(given)
    assert type(encoder.norm) is ours.LayerNorm
    assert encoder.norm.weight is norm.weight
    whole = ours.Transformer(E, HEADS, custom_encoder=nn.TransformerEncoder(given, 1), num_decoder_layers=1)
    assert type(whole.encoder) is ours.TransformerEncoder
    assert type(whole.encoder.layers[0].self_attn) is ours.MultiheadAttention


@pytest.mark.parametrize("activation", [torch.relu, nn.functional.silu, torch.tanh, nn.GELU()])
def test_an_activation_of_pytorch_becomes_ours(activation):
    model = layer(ours, activation=activation).double()
    y = model(torch.randn(3, 2, E, dtype=torch.float64))
    assert purity.nodes([y])[1] == []


def padding(n, length):
    mask = torch.arange(length) >= torch.arange(1, n + 1)[:, None]
    mask[-1] = False
    return mask


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_inference_is_that_of_pytorchs_fast_path(aligned, nested, monkeypatch):
    """PyTorch goes through nested tensors where padding comes last: it returns as zeros before the norm."""
    torch.manual_seed(0)
    native = nn.TransformerEncoder(
        layer(nn, batch_first=True), 2, norm=nn.LayerNorm(E, bias=True), enable_nested_tensor=nested
    )
    nn.init.normal_(native.norm.bias)
    native = native.double().eval()
    hand = torch_ext.swap(native).model
    x, mask = torch.randn(4, 5, E, dtype=torch.float64), padding(4, 5)
    mask = mask if aligned else mask.flip(1)
    with torch.no_grad():
        wanted = [native(x, src_key_padding_mask=mask), native(x), native(x, mask=torch.zeros(5, 5).double())]
        wanted += native.layers[0].self_attn(x, x, x, key_padding_mask=mask)
        monkeypatch.setattr(torch, "_transformer_encoder_layer_fwd", None)
        monkeypatch.setattr(torch, "_native_multi_head_attention", None)
        found = [hand(x, src_key_padding_mask=mask), hand(x), hand(x, mask=torch.zeros(5, 5).double())]
        found += hand.layers[0].self_attn(x, x, x, key_padding_mask=mask)
    torch.testing.assert_close(found, wanted, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("need_weights", [True, False])
def test_queries_that_see_no_key(need_weights):
    """Zero from attention, and NaN where the weights are wanted: both are PyTorch's."""
    native, x = nn.MultiheadAttention(E, HEADS).double(), torch.randn(3, 2, E, dtype=torch.float64)
    hand = torch_ext.swap(native).model
    blind = torch.tensor([[True] * 3, [False] * 3])
    found, wanted = (m(x, x, x, blind, need_weights)[0] for m in (hand, native))
    torch.testing.assert_close(found, wanted, equal_nan=True)
    assert bool(wanted[:, 0].isnan().all()) is need_weights


def test_nested_tensors_are_refused():
    model, x = layer(ours, batch_first=True), torch.nested.nested_tensor([torch.randn(n, E) for n in (2, 3)])
    for call in (model, lambda x: model.self_attn(x, x, x)):
        with pytest.raises(AssertionError, match="nested"):
            call(x)


def test_bad_calls_raise_what_pytorch_raises():
    def x(*shape):
        return torch.randn(*shape)

    q, bools = x(4, 3, E), torch.zeros(4, 4, dtype=torch.bool)
    calls = [
        ((x(1, 4, 3, E), q, q), {}),
        ((q, x(4, E), q), {}),
        ((q, q, q), {"key_padding_mask": bools[0]}),
        ((q, q, q), {"key_padding_mask": bools}),
        ((q, q, q), {"key_padding_mask": torch.zeros(3, 4, dtype=torch.int64)}),
        ((q, q, q), {"attn_mask": bools[:3]}),
        ((q, q, q), {"attn_mask": bools[None, None]}),
        ((q, q, q), {"attn_mask": x(5, 4, 4)}),
        ((q, q, q), {"attn_mask": bools.long()}),
        ((q, q, q), {"attn_mask": x(4, 4).double(), "need_weights": True}),
        ((q, q, q), {"attn_mask": x(4, 4).double(), "need_weights": False}),
        ((q, q, q), {"is_causal": True}),
        ((q, x(5, 3, E), x(4, 3, E)), {}),
        ((q, x(4, 2, E), x(4, 2, E)), {}),
        ((x(4, 3, 6), q, q), {}),
        ((x(4, E), x(4, E), x(4, E)), {"attn_mask": x(3, 4, 4)}),
        ((x(4, E), x(4, E), x(4, E)), {"key_padding_mask": bools}),
    ]
    native = nn.MultiheadAttention(E, HEADS)
    hand = torch_ext.swap(native).model
    for arguments, options in calls:
        with pytest.raises((AssertionError, RuntimeError)) as theirs:
            native(*arguments, **options)
        with pytest.raises(theirs.type) as mine:
            hand(*arguments, **options)
        assert "received" in str(mine.value), str(mine.value)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_transforms_autocast_and_the_compiler():
    torch._dynamo.reset()
    torch.manual_seed(0)
    native = layer(nn, dropout=0.0, batch_first=True).double()
    hand, x = torch_ext.swap(native).model, torch.randn(3, 4, E, dtype=torch.float64)

    def gradients(model):
        parameters = dict(model.named_parameters())

        def loss(p, x):
            return torch.func.functional_call(model, p, (x[None],)).square().sum()

        return tuple(torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x).values())

    assert_close(gradients(hand), gradients(native), factor=8)
    compiled = torch.compile(hand, fullgraph=True, backend="aot_eager")
    wanted = torch.autograd.grad(native(x).square().sum(), tuple(native.parameters()))
    assert_close(torch.autograd.grad(compiled(x).square().sum(), tuple(hand.parameters())), wanted, factor=8)
    x, mask = x.float(), torch.ones(4, 4, dtype=torch.bool).triu(1)
    with torch.autocast("cpu", torch.bfloat16):
        for call in (lambda m: m(x, mask), lambda m: m.self_attn(x, x, x, attn_mask=mask)[1]):
            assert call(hand.float()).dtype == call(native.float()).dtype


@pytest.mark.sweep
def test_training_stays_together():
    """100 steps of a whole Transformer with dropout, as far apart as rounding puts native runs (see
    test_swap_training)."""

    def train(model):
        torch.manual_seed(1)
        src, tgt, wanted = (torch.randn(n, 6, E, dtype=torch.float64) for n in (5, 4, 4))
        causal = model.generate_square_subsequent_mask(4, dtype=torch.float64)
        steps = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
        for _ in range(100):
            loss = (model(src, tgt, tgt_mask=causal) - wanted).square().mean()
            steps.zero_grad()
            loss.backward()
            steps.step()
        return torch.cat([loss.detach()[None], *(p.detach().flatten() for p in model.parameters())])

    native = train(build(nn, "Transformer"))
    others = []
    for seed in range(3):
        other = build(nn, "Transformer")
        with a_rounding_off(other, seed):
            others.append((train(other) - native).abs().max())
    assert max(others) < 1e-11
    assert (train(build(ours, "Transformer")) - native).abs().max() <= 4 * max(others)
