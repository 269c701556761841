"""Recurrences."""

import numpy as np
import torch

from ._tools import FULL, LOW, Operation, bwd, fwd, leaf, mistakes, normal, reference, uniform

# ---- a tanh RNN: x (T, N, I), h0 (N, H), w (H, I), u (H, H), b (H,); all states are returned


def _rnn_forward(x, h0, w, u, b):
    h, states = h0.detach(), [h0.detach()]
    with torch.no_grad():
        for step in x:
            h = torch.tanh(step @ w.t() + h @ u.t() + b)
            states.append(h)
    states = torch.stack(states)
    return states[1:].clone(), (x, states, w, u)


def _rnn_backward(g, res, wrong=""):
    x, h, w, u = res
    dx, dw, du = torch.zeros_like(x), torch.zeros_like(w), torch.zeros_like(u)
    db = torch.zeros_like(w[:, 0])
    carry = torch.zeros_like(h[0])
    for t in reversed(range(len(x))):
        now = h[t] if wrong == "point" else h[t + 1]
        da = (g[t] + carry) * (1 - now**2)
        dx[t] = da @ w
        dw += (x[t].t() @ da) if wrong == "inputs" else da.t() @ x[t]
        du += (h[t].t() @ da) if wrong == "states" else da.t() @ h[t]
        if not (wrong == "bias" and t == 0):
            db += da.sum(0)
        carry = da @ (u.t() if wrong == "carry" else u)
        if wrong == "truncated":
            carry = torch.zeros_like(carry)
    return dx, torch.zeros_like(carry) if wrong == "start" else carry, dw, du, db


def _rnn(t, n, i, h, u=None, scale=1.0):
    def make(g, dtype):
        square = normal(g, dtype, h, h, grad=False)
        square = square if u is None else u(square)
        return (
            normal(g, dtype, t, n, i),
            normal(g, dtype, n, h),
            normal(g, dtype, h, i),
            leaf(square * scale),
            normal(g, dtype, h),
        )

    return make


def _rnn_reference(x, h0, w, u, b):
    out, h = [], h0
    for t in range(x.shape[0]):
        h = torch.tanh(torch.nn.functional.linear(x[t], w, b) + torch.nn.functional.linear(h, u))
        out.append(h)
    return torch.stack(out)


RNN = Operation(
    "tanh_rnn",
    _rnn_forward,
    _rnn_backward,
    _rnn(4, 2, 3, 3, scale=0.5),
    _rnn_reference,
    mistakes(
        _rnn_backward,
        ("transpose", "states", "h^T da instead of da^T h", {"argument": "u"}),
        (
            "transpose",
            "inputs",
            "x^T da instead of da^T x, of the same shape as inputs and states are as wide",
            {"argument": "w"},
        ),
        (
            "missing-term",
            "truncated",
            "no gradient flows from one step to the one before",
            {"hidden": _rnn(4, 2, 3, 3, torch.zeros_like), "also": ("zero",)},
        ),
        ("missing-factor", "point", "tanh's derivative at the state before, not at the step's own", {}),
        (
            "transpose",
            "carry",
            "the recurrent weights are transposed on the way back",
            {
                "hidden": _rnn(4, 2, 3, 3, lambda u: u + u.t(), 0.4),
                "also": ("missing-factor", "missing-term", "permuted"),
            },
        ),
        (
            "zero",
            "start",
            "the first state gets no gradient",
            {"argument": "h0", "hidden": _rnn(4, 2, 3, 3, torch.zeros_like)},
        ),
        (
            "missing-term",
            "bias",
            "the first step's share of the bias is lost: the loop ends at one",
            {"argument": "b", "also": ("missing-sum",)},
        ),
    ),
    {
        "one_step": _rnn(1, 1, 2, 3),
        "no_carry": _rnn(3, 2, 2, 2, torch.zeros_like),
        "symmetric": _rnn(3, 1, 2, 3, lambda u: u + u.t()),
        "saturated": _rnn(3, 2, 3, 2, scale=10.0),
        "view": lambda g, t: (
            leaf(normal(g, t, 2, 3, 4, grad=False).permute(2, 0, 1)),
            normal(g, t, 2, 2),
            leaf(normal(g, t, 3, 2, grad=False).t()),
            leaf(normal(g, t, 2, 2, grad=False).t()),
            normal(g, t, 2),
        ),
    },
    FULL,
)

# ---- a diagonal state space: h_t = a h_{t-1} + b u_t, y_t = c h_t; u (T, D), a, b and c (D,)


@fwd
def _scan_forward(u, a, b, c):
    h = torch.zeros(len(u) + 1, u.shape[1], dtype=u.dtype)
    for t in range(len(u)):
        h[t + 1] = a * h[t] + b * u[t]
    return c * h[1:], (u, h, a, b, c)


_sums = {}


@bwd
def _scan_backward(g, res, wrong=""):
    u, h, a, b, c = res
    dh = torch.zeros_like(h)
    for t in range(len(u) - 1, -1, -1):
        dh[t] = c * g[t] + (0 if wrong == "carry" else a * dh[t + 1])
    dh = dh[:-1]
    du = dh * (1 if wrong == "b" else b)
    if wrong == "flip":
        du = du.flip(0)
    if wrong == "first":
        du[0] = 0
    da, db, dc = (dh * h[:-1]).sum(0), (dh * u).sum(0), g * h[1:]
    if wrong == "shift":
        da = (dh * h[1:]).sum(0)
    if wrong == "numpy":
        db = torch.from_numpy(np.einsum("td,td->d", dh.numpy().astype(np.float64), u.detach().numpy()))
    if wrong == "buffer":
        da = _sums.setdefault((len(a), a.dtype), torch.zeros_like(a)).add_(da).clone()
    return du, da, db, dc if wrong == "unsummed" else dc.sum(0)


def _scan(t, d, a=1.0, b=None):
    def make(g, dtype):
        gain = normal(g, dtype, d) if b is None else leaf(torch.full((d,), b, dtype=dtype))
        return (
            normal(g, dtype, t, d),
            leaf(a * uniform(g, dtype, d, low=-0.9, high=0.9, grad=False)),
            gain,
            normal(g, dtype, d),
        )

    return make


def _scan_loop(u, a, b, c):
    h, out = torch.zeros_like(a), []
    for step in u.unbind(0):
        h = a * h + b * step
        out.append(c * h)
    return torch.stack(out)


SCAN = Operation(
    "diagonal_scan",
    _scan_forward,
    _scan_backward,
    _scan(5, 3),
    reference(_scan_loop),
    mistakes(
        _scan_backward,
        ("missing-term", "carry", "the reverse recurrence is left out", {"hidden": _scan(5, 3, a=0.0)}),
        (
            "missing-factor",
            "b",
            "the input gain is not multiplied in",
            {"argument": "u", "hidden": _scan(5, 3, b=1.0)},
        ),
        ("permuted", "flip", "the reverse scan is not flipped back", {"argument": "u"}),
        (
            "local",
            "first",
            "the first input's gradient stays zero",
            {"argument": "u", "also": ("zero", "missing-term")},
        ),
        (
            "missing-term",
            "shift",
            "the state after the step instead of the one before it",
            {"argument": "a", "also": ("missing-factor",)},
        ),
        (
            "missing-sum",
            "unsummed",
            "the read-out's gradient is not summed over time",
            {"argument": "c", "also": ("shape",)},
        ),
        (
            "dtype",
            "numpy",
            "NumPy's float64 comes back for float32",
            {"argument": "b", "dtypes": ("float32",)},
        ),
        ("nondeterministic", "buffer", "a buffer kept between calls is never cleared", {"argument": "a"}),
    ),
    {
        "no_memory": _scan(4, 2, a=0.0),
        "unit_gain": _scan(4, 2, b=1.0),
        "one": _scan(1, 1),
        "accumulator": lambda g, t: (
            normal(g, t, 6, 2),
            leaf(torch.ones(2, dtype=t)),
            normal(g, t, 2),
            normal(g, t, 2),
        ),
        "view": lambda g, t: (
            leaf(normal(g, t, 3, 4, grad=False).t()),
            uniform(g, t, 3),
            normal(g, t, 3),
            normal(g, t, 3),
        ),
    },
    LOW,
)

OPERATIONS = (RNN, SCAN)
