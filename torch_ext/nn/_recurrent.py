"""Recurrent layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from torch_ext import functional as F  # noqa: N812 - its usual name

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
]

# --- layers -----------------------------------------------------------------------------


def _layer(self: nn.RNNBase, input: Any, hx: Any, function: Any) -> tuple[Any, tuple[Tensor, ...]]:
    """Output and final states of a padded, unbatched or packed input. hx: None, a tensor or two."""
    self._update_flat_weights()
    packed = isinstance(input, PackedSequence)
    x, batch_sizes, order, back = input if packed else (input, None, None, None)
    unbatched = not packed and x.dim() == 2
    if not packed and x.dim() not in (2, 3):
        raise ValueError(
            f"{type(self).__name__} needs an input with 2 axes (unbatched) or 3; received {x.dim()}; "
            "reshape it."
        )
    if hx is not None and not packed:
        _check_axes(hx, x.dim())
    if unbatched:
        x = x.unsqueeze(0 if self.batch_first else 1)
        hx = _each(hx, lambda h: h.unsqueeze(1))
    hx = _zeros(self, x, batch_sizes) if hx is None else _permuted(self, hx, order)
    self.check_forward_args(x, hx, batch_sizes)
    options = (self.bias, self.num_layers, self.dropout, self.training, self.bidirectional)
    if packed:
        y, *states = function(x, batch_sizes, hx, self._flat_weights, *options)
        hidden = _permuted(self, states[0] if len(states) == 1 else tuple(states), back)
        return PackedSequence(y, batch_sizes, order, back), hidden
    y, *states = function(x, hx, self._flat_weights, *options, self.batch_first)
    hidden = states[0] if len(states) == 1 else tuple(states)
    if unbatched:
        y, hidden = y.squeeze(0 if self.batch_first else 1), _each(hidden, lambda h: h.squeeze(1))
    return y, hidden


def _each(hx: Any, f: Any) -> Any:
    """f of one state, or of both in a tuple; None stays None."""
    if hx is None or isinstance(hx, Tensor):
        return hx if hx is None else f(hx)
    return tuple(f(h) for h in hx)


def _check_axes(hx: Any, n: int) -> None:
    axes = [h.dim() for h in ((hx,) if isinstance(hx, Tensor) else hx)]
    if any(a != n for a in axes):
        raise RuntimeError(
            f"The initial states must have as many axes as the input, {n}; received {axes}; reshape them."
        )


def _zeros(self: nn.RNNBase, x: Tensor, batch_sizes: Tensor | None) -> Any:
    """The states of a sequence's start: one, or h and c."""
    layers, n, width = self.get_expected_hidden_size(x, batch_sizes)
    h = torch.zeros(layers, n, width, dtype=x.dtype, device=x.device)
    if not isinstance(self, nn.LSTM):
        return h
    return h, torch.zeros(layers, n, self.hidden_size, dtype=x.dtype, device=x.device)


def _permuted(self: nn.RNNBase, hx: Any, permutation: Tensor | None) -> Any:  # noqa: ARG001
    """The states of all sequences, (layers, N, H), in another order."""
    if permutation is None:
        return hx
    return _each(hx, lambda h: F.concat([F.embedding(permutation, s).unsqueeze(0) for s in h.unbind(0)]))


class RNN(nn.RNN):
    permute_hidden = _permuted

    def forward(self, input: Any, hx: Any = None) -> Any:
        return _layer(self, input, hx, F.rnn_tanh if self.mode == "RNN_TANH" else F.rnn_relu)


class LSTM(nn.LSTM):
    permute_hidden = _permuted

    def forward(self, input: Any, hx: Any = None) -> Any:
        return _layer(self, input, hx, F.lstm)


class GRU(nn.GRU):
    permute_hidden = _permuted

    def forward(self, input: Any, hx: Any = None) -> Any:
        return _layer(self, input, hx, F.gru)


# --- cells ------------------------------------------------------------------------------


def _cell(self: nn.RNNCellBase, input: Tensor, hx: Any, function: Any, n_states: int = 1) -> Any:
    """One step of a batched or unbatched input."""
    states = () if hx is None else (hx,) if n_states == 1 else tuple(hx)
    for what, v in (("input", input), *(("state", h) for h in states)):
        if v.dim() not in (1, 2):
            raise ValueError(
                f"{type(self).__name__} needs an {what} with 1 axis (unbatched) or 2; received {v.dim()}; "
                "reshape it."
            )
    unbatched = input.dim() == 1
    x, *given = (v.unsqueeze(0) if unbatched else v for v in (input, *states))
    given = given or [x.new_zeros(x.shape[0], self.hidden_size) for _ in range(n_states)]
    y = function(
        x,
        given[0] if n_states == 1 else given,
        self.weight_ih,
        self.weight_hh,
        self.bias_ih,
        self.bias_hh,
    )
    return _each(y, lambda v: v.squeeze(0)) if unbatched else y


class RNNCell(nn.RNNCell):
    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        functions = {"tanh": F.rnn_tanh_cell, "relu": F.rnn_relu_cell}
        if self.nonlinearity not in functions:
            raise RuntimeError(
                f"RNNCell has the nonlinearities tanh and relu; received {self.nonlinearity!r}; "
                "use one of these."
            )
        return _cell(self, input, hx, functions[self.nonlinearity])  # type: ignore[no-any-return]


class LSTMCell(nn.LSTMCell):
    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        return _cell(self, input, hx, F.lstm_cell, 2)  # type: ignore[no-any-return]


class GRUCell(nn.GRUCell):
    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return _cell(self, input, hx, F.gru_cell)  # type: ignore[no-any-return]
