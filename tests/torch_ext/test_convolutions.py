"""Convolutions and shapes beyond PyTorch's databases: integers, lazy modules, refused arguments."""

import pytest
import torch
from torch import nn

import torch_ext
from torch_ext import functional as H  # noqa: N812 - for hand
from torch_ext import purity

F = nn.functional
LAZY = [
    n for n in vars(torch_ext.nn) if n.startswith("Lazy") and n.removeprefix("Lazy")[:4] in ("Line", "Conv")
]


@pytest.mark.parametrize("name", LAZY)
def test_a_lazy_module_becomes_one_of_ours_and_its_first_call_is_ours_too(name):
    d = 0 if name == "LazyLinear" else int(name[-2])
    layer = getattr(torch_ext.nn, name)(3, **({"kernel_size": 2} if d else {}))
    x = torch.randn(2, 4, *(3,) * d, requires_grad=True)
    y = layer(x)
    assert type(layer) is getattr(torch_ext.nn, name.removeprefix("Lazy"))
    assert purity.nodes([y])[1] == []
    native = getattr(nn, type(layer).__name__)(*((4, 3, 2) if d else (4, 3)))
    native.load_state_dict(layer.state_dict(), strict=True)
    torch.testing.assert_close(y, native(x))


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("name", ["conv{}d", "conv_transpose{}d"])
def test_integers_are_convolved(name, d):
    g = torch.Generator().manual_seed(0)
    x, w, b = (torch.randint(-9, 9, s, generator=g) for s in ((2, 4, *(5,) * d), (4, 4, *(2,) * d), (4,)))
    name = name.format(d)
    assert torch.equal(getattr(H, name)(x, w, b, stride=2), getattr(F, name)(x, w, b, stride=2))


X, W = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2)


@pytest.mark.parametrize(
    ("name", "args", "options"),
    [
        ("conv2d", (X, W), {"stride": 1.5}),
        ("conv2d", (X, W.double()), {}),
        ("conv2d", (X, W, torch.zeros(1).double()), {}),
        ("conv_transpose2d", (X, W), {"output_padding": 1}),
        ("conv_transpose2d", (X, W), {"padding": 3}),
        ("conv_transpose2d", (X, W), {"groups": 2}),
        ("conv_transpose2d", (X, W, torch.zeros(3)), {}),
        ("conv_tbc", (X, W, torch.zeros(1)), {}),
        ("conv_tbc", (X[0], W[0], None), {}),
        ("bilinear", (X, X.double(), W[0]), {}),
        ("bilinear", (X[..., :2], X[:, :, :1], W[0]), {}),
        ("bilinear", (X, X, torch.zeros(2, 4, 4), torch.zeros(3)), {}),
        ("unfold", (X.long(), 2), {}),
        ("unfold", (X, 2.0), {}),
        ("unfold", (X, 5), {}),
        ("unfold", (X[..., None], 2), {}),
        ("fold", (X[0], 4, 2), {}),
        ("fold", (X, 3, 2), {}),
        ("pixel_shuffle", (X, 2.0), {}),
        ("pixel_shuffle", (X, 0), {}),
        ("pixel_shuffle", (X, 2), {}),
        ("pixel_shuffle", (X[0, 0], 1), {}),
        ("pixel_unshuffle", (X, 3), {}),
        ("channel_shuffle", (X, 2), {}),
        ("channel_shuffle", (X[0, 0], 2), {}),
        ("pad", (X, (1, 1), "mirror"), {}),
        ("pad", (X, (1.5, 1)), {}),
        ("pad", (X, (4, 0, 0, 0), "reflect"), {}),
        ("pad", (X, (5, 0, 0, 0), "circular"), {}),
        ("pad", (X[..., :0], (1, 1, 1, 1), "replicate"), {}),
        ("pad", (X, (-5, 0)), {}),
        ("pad", (X, (1, 0, 1)), {}),
        ("pad", (X, (1, 1, 1, 1), "reflect", 1.0), {}),
        ("pad", (X > 0, (1, 1, 1, 1), "reflect"), {}),
    ],
)
def test_what_pytorch_refuses_is_refused_with_the_same_type(name, args, options):
    with pytest.raises(Exception) as theirs:  # noqa: PT011 - any type: it is what ours must match
        getattr(F, name)(*args, **options)
    with pytest.raises(theirs.type):
        getattr(H, name)(*args, **options)
