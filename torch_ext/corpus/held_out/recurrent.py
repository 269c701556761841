"""Recurrent cells after their matrix products, and a reversible block."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torch_ext.corpus._entry import DTYPES, Mistake, Operation, normal
from torch_ext.corpus.held_out._tools import HALF, altered, filled, like, turned, wide, zeroed

LLTM = "https://github.com/pytorch/tutorials/issues/341"


# --- LSTM cell: gates (B, 4H) in the order i, f, g, o and the old cell (B, H) give the new state and cell


def _lstm(gates: Tensor, cell: Tensor) -> Any:
    i, f, c, o = wide(gates).chunk(4, -1)
    i, f, c, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(c), torch.sigmoid(o)
    new = f * wide(cell) + i * c
    return ((o * torch.tanh(new)).to(cell.dtype), new.to(cell.dtype)), (i, f, c, o, new, gates, cell)


def _lstm_backward(
    g: Any, r: Any, by_state: bool = True, by_cell: bool = True, forget: bool = True, order: str = "ifco"
) -> Any:
    i, f, c, o, new, gates, cell = r
    gh, gc = wide(g[0]), wide(g[1])
    t = torch.tanh(new)
    dc = (gc if by_cell else 0) + (gh * o * (1 - t * t) if by_state else 0)
    parts = {
        "i": dc * c * i * (1 - i),
        "f": dc * wide(cell) * (f * (1 - f) if forget else 1),
        "c": dc * i * (1 - c * c),
        "o": gh * t * o * (1 - o),
    }
    return torch.cat([parts[p] for p in order], -1).to(gates.dtype), (dc * f).to(cell.dtype)


def _lstm_new_cell(g: Any, r: Any) -> Any:
    i, f, c, o, new, gates, cell = r
    dgates = _lstm_backward(g, (i, f, c, o, new, gates, new.to(cell.dtype)))[0]
    return dgates, _lstm_backward(g, r)[1]


def _lstm_reference(gates: Tensor, cell: Tensor) -> Any:
    i, f, c, o = wide(gates).chunk(4, -1)
    new = f.sigmoid() * wide(cell) + i.sigmoid() * c.tanh()
    return (o.sigmoid() * new.tanh()).to(cell.dtype), new.to(cell.dtype)


LSTM = Operation(
    "lstm_cell_gates",
    _lstm,
    _lstm_backward,
    lambda g, d: (normal(g, d, 3, 16), normal(g, d, 3, 4)),
    _lstm_reference,
    (
        Mistake("missing-term", "the cell's gradient lacks what comes through the new state",
                lambda g, r: _lstm_backward(g, r, by_state=False), dtypes=DTYPES,
                source="https://github.com/apache/mxnet/issues/4057"),
        Mistake("missing-term", "the incoming gradient of the new cell is dropped",
                lambda g, r: _lstm_backward(g, r, by_cell=False),
                source="https://github.com/PaddlePaddle/Paddle/issues/6970"),
        Mistake("permuted", "gates: the parts come back in the order i, f, o, g",
                lambda g, r: _lstm_backward(g, r, order="ifoc"), argument="gates", source=LLTM),
        Mistake("missing-factor", "gates: the forget gate without its sigmoid's derivative",
                lambda g, r: _lstm_backward(g, r, forget=False), argument="gates", also=("region",),
                source="https://stackguides.com/questions/40093165"),
        Mistake("missing-factor", "cell: not multiplied by the forget gate",
                lambda g, r: (_lstm_backward(g, r)[0],
                              _lstm_backward(g, (r[0], torch.ones_like(r[1]), *r[2:]))[1]),
                argument="cell", hidden=lambda g, d: (
                    torch.cat((normal(g, d, 3, 4, grad=False), filled(d, 200, 3, 4, grad=False),
                               normal(g, d, 3, 8, grad=False)), -1).requires_grad_(), normal(g, d, 3, 4)),
                source="https://github.com/pytorch/tutorials/pull/3520"),
        Mistake("unknown", "gates: the forget gate takes the new cell for the old one", _lstm_new_cell,
                argument="gates", also=("region", "missing-term"),
                source="https://github.com/lhnguyen102/cuTAGI/issues/77"),
        Mistake("shape", "cell: the batch axis is doubled", altered(_lstm_backward, 1, lambda d: d[None]),
                argument="cell", also=("missing-sum",), source=LLTM),
    ),
    {
        "first step": lambda g, d: (normal(g, d, 2, 8), filled(d, 0, 2, 2)),
        "saturated": lambda g, d: ((60 * normal(g, d, 2, 8, grad=False)).requires_grad_(), normal(g, d, 2, 2)),
        "one unit": lambda g, d: (normal(g, d, 1, 4), normal(g, d, 1, 1)),
        "views": lambda g, d: (turned(g, d, 3, 8), turned(g, d, 3, 2)),
    },
)  # fmt: skip


# --- GRU cell: input and hidden gates (B, 3H) in the order r, z, n and the old state (B, H)


def _gru(input_gates: Tensor, hidden_gates: Tensor, state: Tensor, other: bool = False) -> Any:
    (xr, xz, xn), (hr, hz, hn) = wide(input_gates).chunk(3, -1), wide(hidden_gates).chunk(3, -1)
    r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
    n = torch.tanh(xn + r * hn)
    z = 1 - z if other else z
    new = (1 - z) * n + z * wide(state)
    return new.to(state.dtype), (r, z, n, hn, input_gates, hidden_gates, state, -1 if other else 1)


def _gru_backward(g: Any, res: Any, by_state: bool = True, reset: bool = True) -> Any:
    r, z, n, hn, x, h, state, turn = res
    g = wide(g)
    dn = g * (1 - z) * (1 - n * n)
    dz = turn * g * ((wide(state) if by_state else 0) - n) * z * (1 - z)
    dr = dn * hn * r * (1 - r)
    dx = torch.cat((dr, dz, dn), -1)
    dh = torch.cat((dr, dz, dn * r if reset else dn), -1)
    return dx.to(x.dtype), dh.to(h.dtype), (g * z).to(state.dtype)


def _gru_same(g: Any, r: Any) -> Any:
    dx, _, ds = _gru_backward(g, r)
    return dx, dx, ds


def _gru_reference(input_gates: Tensor, hidden_gates: Tensor, state: Tensor) -> Tensor:
    x, h = wide(input_gates).unflatten(-1, (3, -1)), wide(hidden_gates).unflatten(-1, (3, -1))
    z = (x[:, 1] + h[:, 1]).sigmoid()
    n = (x[:, 2] + (x[:, 0] + h[:, 0]).sigmoid() * h[:, 2]).tanh()
    return torch.lerp(n, wide(state), z).to(state.dtype)


GRU = Operation(
    "gru_cell_gates",
    _gru,
    _gru_backward,
    lambda g, d: (normal(g, d, 3, 12), normal(g, d, 3, 12), normal(g, d, 3, 4)),
    _gru_reference,
    (
        Mistake("missing-term", "the update gate without the old state: right at the first step only",
                lambda g, r: _gru_backward(g, r, by_state=False), also=("region",),
                hidden=lambda g, d: (normal(g, d, 3, 12), normal(g, d, 3, 12), filled(d, 0, 3, 4)),
                source="https://github.com/rsokl/MyGrad/pull/4"),
        Mistake("missing-factor", "hidden_gates: the candidate's part is not multiplied by the reset gate",
                _gru_same, argument="hidden_gates", also=("region",),
                source="https://github.com/ooples/AiDotNet/pull/722"),
        Mistake("zero", "state: no gradient to the step before", altered(_gru_backward, 2, torch.zeros_like),
                argument="state", source="https://github.com/pjreddie/darknet/issues/636"),
        Mistake("region", "input_gates: the reset gate's part is left at zero",
                altered(_gru_backward, 0, zeroed((..., slice(0, 4)))), argument="input_gates",
                also=("zero",), source="https://github.com/pjreddie/darknet/issues/636"),
        Mistake("unknown", "state: multiplied by 1 - z instead of z",
                lambda g, r: (*_gru_backward(g, r)[:2], (wide(g) * (1 - r[1])).to(g.dtype)), argument="state",
                also=("missing-factor",),
                source="https://github.com/distillpub/post--memorization-in-rnns/issues/24"),
        Mistake("sign", "state: the sign of the update gate's other branch",
                altered(_gru_backward, 2, lambda d: -d), argument="state",
                source="https://github.com/open-lm-engine/accelerated-model-architectures/pull/249"),
        Mistake("forward", "z and 1 - z exchanged, another library's convention",
                forward=lambda x, h, s: _gru(x, h, s, True),
                source="https://github.com/distillpub/post--memorization-in-rnns/issues/24"),
    ),
    {
        "first step": lambda g, d: (normal(g, d, 2, 6), normal(g, d, 2, 6), filled(d, 0, 2, 2)),
        "saturated": lambda g, d: (
            (60 * normal(g, d, 2, 6, grad=False)).requires_grad_(), normal(g, d, 2, 6), normal(g, d, 2, 2)),
        "one unit": lambda g, d: (normal(g, d, 1, 3), normal(g, d, 1, 3), normal(g, d, 1, 1)),
        "no batch": lambda g, d: (normal(g, d, 0, 6), normal(g, d, 0, 6), normal(g, d, 0, 2)),
    },
)  # fmt: skip


# --- reversible block: y1 = x1 + tanh(x2 W1), y2 = x2 + tanh(y1 W2); the backward pass recomputes x1, x2


def _reversible(x1: Tensor, x2: Tensor, w1: Tensor, w2: Tensor) -> Any:
    y1 = wide(x1) + torch.tanh(wide(x2) @ wide(w1))
    y2 = wide(x2) + torch.tanh(y1 @ wide(w2))
    return (y1.to(x1.dtype), y2.to(x2.dtype)), (y1.clone(), y2.clone(), w1, w2, x1.dtype)


def _reversible_backward(
    g: Any, r: Any, through_f: bool = True, through_g: bool = True, slope: bool = True
) -> Any:
    y1, y2, w1, w2, dtype = r
    g1, g2 = wide(g[0]), wide(g[1])
    t2 = torch.tanh(y1 @ wide(w2))
    x2 = y2 - t2
    t1 = torch.tanh(x2 @ wide(w1))
    d2 = g2 * (1 - t2 * t2)
    g1 = g1 + d2 @ wide(w2).mT if through_g else g1
    d1 = g1 * (1 - t1 * t1 if slope else 1)
    dx2 = g2 + d1 @ wide(w1).mT if through_f else g2
    return g1.to(dtype), dx2.to(dtype), like(x2.mT @ d1, w1), like(y1.mT @ d2, w2)


def _reversible_slope(g: Any, r: Any) -> Any:
    dx1, dx2, _, dw2 = _reversible_backward(g, r)
    return dx1, dx2, _reversible_backward(g, r, slope=False)[2], dw2


def _reversible_in_place(g: Any, r: Any) -> Any:
    grads = _reversible_backward(g, r)
    y1, y2, _, w2, _ = r
    y2.sub_(torch.tanh(y1 @ wide(w2)))  # x2 is recomputed where y2 was saved
    return grads


def _reversible_reference(x1: Tensor, x2: Tensor, w1: Tensor, w2: Tensor) -> Any:
    b = wide(x2)
    y1 = wide(x1) + torch.tanh(b @ wide(w1))
    return y1.to(x1.dtype), (b + torch.tanh(y1 @ wide(w2))).to(x2.dtype)


REVERSIBLE = Operation(
    "reversible_block",
    _reversible,
    _reversible_backward,
    lambda g, d: (normal(g, d, 5, 3), normal(g, d, 5, 3), normal(g, d, 3, 3), normal(g, d, 3, 3)),
    _reversible_reference,
    (
        Mistake("missing-term", "x2: what comes through the first branch is left out",
                lambda g, r: _reversible_backward(g, r, through_f=False), argument="x2", source="https://github.com/facebookresearch/SlowFast/issues/602"),
        Mistake("missing-term", "the gradient of y1 lacks what comes through the second branch",
                lambda g, r: _reversible_backward(g, r, through_g=False),
                source="https://github.com/jasperzhong/read-papers-and-code/issues/119"),
        Mistake("mutates", "x2 is recomputed in place: the second backward pass starts from it",
                _reversible_in_place, source="https://github.com/silvandeleemput/memcnn/issues/36"),
        Mistake("transpose", "w1: the outer product the other way round",
                altered(_reversible_backward, 2, lambda d: d.mT), argument="w1", dtypes=DTYPES,
                source="https://github.com/apache/mxnet/issues/2427"),
        Mistake("missing-factor", "w1: the derivative of tanh is left out", _reversible_slope, argument="w1",
                source="https://github.com/Bot-Academy/NeuralNetworkFromScratch/pull/3"),
        Mistake("scale", "w2: averaged over the batch, as the optimiser wants it",
                altered(_reversible_backward, 3, lambda d: d / 5), argument="w2",
                source="https://github.com/apache/mxnet/issues/2427"),
        Mistake("dtype", "w1 and w2: accumulated and returned in float32",
                lambda g, r: (*_reversible_backward(g, r)[:2],
                              *(d.float() for d in _reversible_backward(g, r)[2:])),
                dtypes=HALF, source="https://github.com/flagos-ai/FlagGems/pull/177"),
        Mistake("local", "w2: one element is overwritten by its neighbour",
                altered(_reversible_backward, 3, lambda d: d.index_put(
                    (torch.tensor(2), torch.tensor(0)), d[2, 1])), argument="w2",
                source="https://github.com/HKUSTDial/flash-sparse-attention/issues/121"),
    ),
    {
        "one row": lambda g, d: (normal(g, d, 1, 2), normal(g, d, 1, 2), normal(g, d, 2, 2), normal(g, d, 2, 2)),
        "zero weights": lambda g, d: (
            normal(g, d, 2, 2), normal(g, d, 2, 2), filled(d, 0, 2, 2), filled(d, 0, 2, 2)),
        "views": lambda g, d: (turned(g, d, 4, 3), normal(g, d, 4, 3), turned(g, d, 3, 3), normal(g, d, 3, 3)),
    },
)  # fmt: skip

OPERATIONS = (LSTM, GRU, REVERSIBLE)
