"""Recurrent layers and cells: the names of ``torch``, which has them, not of ``torch.nn.functional``.

A layer's parameters are one flat list: w_ih, w_hh, with biases b_ih and b_hh, with projections w_hr, for
each layer, the forward direction first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from torch_ext.functional._arithmetic import concat
from torch_ext.functional._common import apply, need_tensors
from torch_ext.functional._dropouts import dropout as drop

__all__ = [
    "gru",
    "gru_cell",
    "lstm",
    "lstm_cell",
    "rnn_relu",
    "rnn_relu_cell",
    "rnn_tanh",
    "rnn_tanh_cell",
]

Bias = Tensor | None


class _Form(NamedTuple):
    """The arguments of both of PyTorch's forms: padded and packed input."""

    hx: Any
    params: Sequence[Tensor]
    has_biases: bool
    num_layers: int
    dropout: float
    train: bool
    bidirectional: bool
    batch_first: bool = False
    batch_sizes: Tensor | None = None

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Form:
        """(hx, params, ...) as they are; (batch_sizes, hx, params, ...) with the batch sizes by name."""
        if len(args) > 2 and not isinstance(args[2], bool):
            args, kwargs = args[1:], {**kwargs, "batch_sizes": args[0]}
        return cls(*args, **kwargs)


def rnn_tanh(input: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """``torch.rnn_tanh``, in both its forms."""
    return _one_state("rnn", input, _Form.of(args, kwargs), nonlinearity="tanh")


def rnn_relu(input: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """``torch.rnn_relu``, in both its forms."""
    return _one_state("rnn", input, _Form.of(args, kwargs), nonlinearity="relu")


def gru(input: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    """``torch.gru``, in both its forms."""
    form = _Form.of(args, kwargs)
    y, h = _one_state("gru", input, form)
    return _as(form.hx, y), _as(form.hx, h)


def lstm(input: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, Tensor]:
    """``torch.lstm``, in both its forms."""
    form = _Form.of(args, kwargs)
    y, (h, c) = _layers("lstm", input, form, tuple(form.hx))
    return y, h, _as(form.hx[1], c) if _projected(form) else c


def _one_state(layer: str, x: Tensor, form: _Form, **options: Any) -> tuple[Tensor, Tensor]:
    y, (h,) = _layers(layer, x, form, (form.hx,), **options)
    return y, h


def _layers(
    layer: str, x: Tensor, form: _Form, states: tuple[Tensor, ...], **options: Any
) -> tuple[Tensor, list[Tensor]]:
    """All layers and directions, each one Function: the last one's output, and the final states."""
    need_tensors(layer, input=x)
    if form.batch_first:
        x = x.transpose(0, 1)
    if form.batch_sizes is not None:
        options["batch_sizes"] = tuple(form.batch_sizes.tolist())
    directions = 2 if form.bidirectional else 1
    params = iter(form.params)
    starts = zip(*(s.unbind(0) for s in states), strict=True)
    final = []
    for level in range(form.num_layers):
        if level > 0 and form.train:
            x = drop(x, form.dropout)
        outputs = []
        for reverse in (False, True)[:directions]:
            w_ih, w_hh = next(params), next(params)
            biases = (next(params), next(params)) if form.has_biases else (None, None)
            w_hr = (next(params),) if _projected(form) else ()
            weights = (w_ih, w_hh, *biases, *w_hr)
            y, *ends = apply(layer, x, *next(starts), *weights, reverse=reverse, **options)
            outputs.append(y)
            final.append(ends)
        x = concat(outputs, dim=-1) if form.bidirectional else outputs[0]
    y = x.transpose(0, 1) if form.batch_first else x
    return y, [_stack(ends) for ends in zip(*final, strict=True)]


def _projected(form: _Form) -> bool:
    """Whether there is one parameter more for each layer and direction: only an LSTM has it."""
    directions = 2 if form.bidirectional else 1
    return len(form.params) == form.num_layers * directions * (5 if form.has_biases else 3)


def _stack(states: Sequence[Tensor]) -> Tensor:
    rows = [s.unsqueeze(0) for s in states]
    return concat(rows) if len(rows) > 1 else rows[0]


def rnn_tanh_cell(
    input: Tensor,
    hx: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """``torch.rnn_tanh_cell``."""
    need_tensors("rnn_tanh_cell", input=input, hx=hx)
    return apply("rnn_cell", input, hx, w_ih, w_hh, b_ih, b_hh)  # type: ignore[no-any-return]


def rnn_relu_cell(
    input: Tensor,
    hx: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """``torch.rnn_relu_cell``."""
    need_tensors("rnn_relu_cell", input=input, hx=hx)
    y: Tensor = apply("rnn_cell", input, hx, w_ih, w_hh, b_ih, b_hh, nonlinearity="relu")
    return y


def gru_cell(
    input: Tensor,
    hx: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    """``torch.gru_cell``."""
    need_tensors("gru_cell", input=input, hx=hx)
    return _as(hx, apply("gru_cell", input, hx, w_ih, w_hh, b_ih, b_hh))


def lstm_cell(
    input: Tensor, hx: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor, b_ih: Bias = None, b_hh: Bias = None
) -> tuple[Tensor, Tensor]:
    """``torch.lstm_cell``."""
    h, c = hx
    need_tensors("lstm_cell", input=input, h=h, c=c)
    after, c_after = apply("lstm_cell", input, h, c, w_ih, w_hh, b_ih, b_hh)
    return _as(c, after), _as(c, c_after)


def _as(state: Tensor, y: Tensor) -> Tensor:
    """Under autocast the products alone are in 16 bits: what is added to the old state has its dtype."""
    return y if y.dtype == state.dtype else y.to(state.dtype)
