"""Calls of a usual size where a sample of PyTorch's database cannot be made one by repeating its batch.

Those are layers whose first axis is time, whose inputs have no batch axis, or whose work grows faster than
its input: recurrent layers, attention, tables, lists of lengths, pairs of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from torch_ext.sweep.samples import SEED, Entry, Sample, _function_call, _module_call, _native

Call = tuple[tuple[Any, ...], dict[str, Any]]


def typical(entry: Entry) -> Sample | None:
    """The entry's call of a usual size, in float32; None where its own samples can be enlarged."""
    made = (_MODULES if entry.is_module else _FUNCTIONS).get(entry.base)
    if made is None or "/" in entry.name:  # a variant has options of its own
        return None
    g = torch.Generator().manual_seed(SEED)
    if entry.is_module:
        args, kwargs, inputs = made(g)
        call = _module_call(entry.base, args, kwargs, True, torch.float32, inputs)
        return Sample(entry.name, "typical", call, (inputs, {}))
    args, kwargs = made(g)
    return Sample(entry.name, "typical", _function_call(entry.base, _native(entry.base)), (args, kwargs))


def _x(g: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=g).requires_grad_()


def _class(g: torch.Generator, n: int, *shape: int) -> Tensor:
    return torch.randint(n, shape, generator=g)


def _layer(g: torch.Generator) -> Any:
    """32 steps of a batch of 16."""
    return (64, 128), {}, (_x(g, 32, 16, 64),)


def _cell(g: torch.Generator) -> Any:
    return (128, 128), {}, (_x(g, 64, 128),)


def _lazy(make: Callable[[torch.Generator], Any]) -> Callable[[torch.Generator], Any]:
    """The same of a lazy layer, which finds out its number of inputs."""

    def made(g: torch.Generator) -> Any:
        (_, *args), kwargs, inputs = make(g)
        return tuple(args), kwargs, inputs

    return made


def _ctc(g: torch.Generator) -> Call:
    x = torch.randn(50, 16, 20, generator=g).log_softmax(-1).requires_grad_()
    targets = 1 + _class(g, 19, 16, 20)
    return (x, targets, torch.full((16,), 50), torch.full((16,), 20)), {}


def _losses_of_classes(g: torch.Generator) -> Call:
    return (_x(g, 1024, 1000), _class(g, 1000, 1024)), {}


_FUNCTIONS: dict[str, Callable[[torch.Generator], Any]] = {
    "scaled_dot_product_attention": lambda g: (tuple(_x(g, 4, 4, 128, 32) for _ in range(3)), {}),
    "ctc_loss": _ctc,
    "pdist": lambda g: ((_x(g, 200, 32),), {}),
    "embedding": lambda g: ((_class(g, 2000, 2000), _x(g, 2000, 100)), {}),
    "embedding_bag": lambda g: ((_class(g, 2000, 200, 10), _x(g, 2000, 100)), {}),
    "cross_entropy": _losses_of_classes,
    "nll_loss": _losses_of_classes,
    "multi_margin_loss": _losses_of_classes,
    "linear_cross_entropy": lambda g: ((_x(g, 512, 64), _x(g, 400, 64), _class(g, 400, 512)), {}),
    "linear": lambda g: ((_x(g, 512, 256), _x(g, 256, 256), _x(g, 256)), {}),
    "bilinear": lambda g: ((_x(g, 128, 32), _x(g, 128, 32), _x(g, 32, 32, 32)), {}),
    "matmul": lambda g: ((_x(g, 256, 256), _x(g, 256, 256)), {}),
    "grid_sample": lambda g: ((_x(g, 4, 16, 32, 32), _x(g, 4, 24, 24, 2)), {"align_corners": False}),
    "avg_pool3d": lambda g: ((_x(g, 4, 8, 16, 16, 16), 2), {}),
    "conv_tbc": lambda g: ((_x(g, 64, 16, 32), _x(g, 3, 32, 32), _x(g, 32)), {}),
}

_TRANSFORMER = (64, 4)
_OPTIONS: dict[str, Any] = {"dim_feedforward": 128, "dropout": 0.0, "batch_first": True}


def _sequence(g: torch.Generator) -> Tensor:
    return _x(g, 16, 32, 64)


_MODULES: dict[str, Callable[[torch.Generator], Any]] = {
    "RNN": _layer,
    "GRU": _layer,
    "LSTM": _layer,
    "RNNCell": _cell,
    "GRUCell": _cell,
    "LSTMCell": _cell,
    "MultiheadAttention": lambda g: (_TRANSFORMER, {"batch_first": True}, (_sequence(g),) * 3),
    "TransformerEncoderLayer": lambda g: (_TRANSFORMER, _OPTIONS, (_sequence(g),)),
    "TransformerDecoderLayer": lambda g: (_TRANSFORMER, _OPTIONS, (_sequence(g), _sequence(g))),
    "TransformerEncoder": lambda g: (
        (torch.nn.TransformerEncoderLayer(*_TRANSFORMER, **_OPTIONS), 2),
        {"enable_nested_tensor": False},
        (_sequence(g),),
    ),
    "TransformerDecoder": lambda g: (
        (torch.nn.TransformerDecoderLayer(*_TRANSFORMER, **_OPTIONS), 2),
        {},
        (_sequence(g), _sequence(g)),
    ),
    "Transformer": lambda g: (
        _TRANSFORMER,
        {**_OPTIONS, "num_encoder_layers": 1, "num_decoder_layers": 1},
        (_sequence(g), _sequence(g)),
    ),
    "CTCLoss": lambda g: ((), {}, _ctc(g)[0]),
    "Embedding": lambda g: ((2000, 100), {}, (_class(g, 2000, 2000),)),
    "EmbeddingBag": lambda g: ((2000, 100), {"mode": "sum"}, (_class(g, 2000, 200, 10),)),
    "CrossEntropyLoss": lambda g: ((), {}, _losses_of_classes(g)[0]),
    "NLLLoss": lambda g: ((), {}, _losses_of_classes(g)[0]),
    "MultiMarginLoss": lambda g: ((), {}, _losses_of_classes(g)[0]),
    "Linear": lambda g: ((256, 256), {}, (_x(g, 512, 256),)),
    "LazyLinear": lambda g: ((256,), {}, (_x(g, 512, 256),)),
    "Bilinear": lambda g: ((32, 32, 32), {}, (_x(g, 128, 32), _x(g, 128, 32))),
    "AdaptiveLogSoftmaxWithLoss": lambda g: (
        (64, 1000, [100, 500]),
        {},
        (_x(g, 256, 64), _class(g, 1000, 256)),
    ),
    **{
        kind: lambda g: ((32,), {}, (_x(g, 8, 32, 28, 28),))
        for kind in ("BatchNorm2d", "SyncBatchNorm", "InstanceNorm2d")
    },
    **{
        kind: lambda g: ((16,), {}, (_x(g, 4, 16, 14, 14, 14),)) for kind in ("BatchNorm3d", "InstanceNorm3d")
    },
    "FractionalMaxPool2d": lambda g: ((2,), {"output_ratio": 0.5}, (_x(g, 8, 16, 32, 32),)),
    "FractionalMaxPool3d": lambda g: ((2,), {"output_ratio": 0.5}, (_x(g, 4, 8, 16, 16, 16),)),
    "Conv1d": lambda g: ((32, 32, 3), {"padding": 1}, (_x(g, 8, 32, 256),)),
    "Conv2d": lambda g: ((16, 32, 3), {"padding": 1}, (_x(g, 4, 16, 28, 28),)),
    "Conv3d": lambda g: ((8, 8, 3), {"padding": 1}, (_x(g, 2, 8, 12, 12, 12),)),
    "ConvTranspose1d": lambda g: ((32, 32, 3), {"stride": 2}, (_x(g, 8, 32, 128),)),
    "ConvTranspose2d": lambda g: ((32, 16, 3), {"stride": 2}, (_x(g, 4, 32, 14, 14),)),
    "ConvTranspose3d": lambda g: ((8, 8, 3), {"stride": 2}, (_x(g, 2, 8, 6, 6, 6),)),
}
_MODULES |= {f"Lazy{k}": _lazy(make) for k, make in _MODULES.items() if k.startswith(("Conv", "BatchNorm"))}
