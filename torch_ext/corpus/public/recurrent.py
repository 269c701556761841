# ruff: noqa: N803  (the state space model's matrices keep their names)
"""Recurrences and rotations of sequence models: selective scan, RWKV, linear attention, rotary embedding, soft-DTW."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from torch_ext.corpus._entry import normal, uniform
from torch_ext.corpus.public._entry import PublicFunction, Wrong

# --- selective scan


class SelectiveScan(Function):
    """h ← exp(δA)·h + δ·u·B, y = C·h + D·u; u, δ: (channels, time), A: (channels, states), B, C: (states, time)."""

    @staticmethod
    def forward(ctx, u, delta, A, B, C, D):
        h = torch.zeros_like(A)
        states, outputs = [h], []
        for t in range(u.shape[1]):
            h = torch.exp(delta[:, t, None] * A) * h + (delta[:, t] * u[:, t])[:, None] * B[:, t]
            states.append(h)
            outputs.append((h * C[:, t]).sum(1) + D * u[:, t])
        ctx.save_for_backward(u, delta, A, B, C, D, torch.stack(states))
        return torch.stack(outputs, 1)

    @staticmethod
    def gradients(ctx, g, input_term=True):
        u, delta, A, B, C, D, states = ctx.saved_tensors
        du, ddelta, dB, dC = map(torch.zeros_like, (u, delta, B, C))
        dA, dh = torch.zeros_like(A), torch.zeros_like(A)
        for t in reversed(range(u.shape[1])):
            dy, step, value = g[:, t, None], delta[:, t, None], u[:, t, None]
            dC[:, t] = (dy * states[t + 1]).sum(0)
            dh = dh + dy * C[:, t]
            decay = torch.exp(step * A)
            ddelta[:, t] = (dh * (A * decay * states[t] + (value * B[:, t] if input_term else 0))).sum(1)
            dA += dh * step * decay * states[t]
            dB[:, t] = (dh * step * value).sum(0)
            du[:, t] = (dh * step * B[:, t]).sum(1) + D * g[:, t]
            dh = dh * decay
        return du, ddelta, dA, dB, dC, (g * u).sum(1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        return SelectiveScan.gradients(ctx, grad_output)


class ScanNoInput(SelectiveScan):
    @staticmethod
    def backward(ctx, grad_output):
        return SelectiveScan.gradients(ctx, grad_output, input_term=False)


class ScanUnsummed(SelectiveScan):
    @staticmethod
    def backward(ctx, grad_output):
        *rest, _ = SelectiveScan.gradients(ctx, grad_output)
        return *rest, grad_output * ctx.saved_tensors[0]


class ScanNoSkip(SelectiveScan):
    @staticmethod
    def backward(ctx, grad_output):
        du, *rest = SelectiveScan.gradients(ctx, grad_output)
        return du - ctx.saved_tensors[5][:, None] * grad_output, *rest


def selective_scan(u, delta, A, B, C, D):
    h, outputs = torch.zeros_like(A), []
    for t in range(u.shape[1]):
        h = torch.exp(delta[:, t : t + 1] * A) * h + delta[:, t : t + 1] * u[:, t : t + 1] * B[:, t]
        outputs.append(h @ C[:, t] + D * u[:, t])
    return torch.stack(outputs, 1)


SELECTIVE_SCAN = PublicFunction(
    "selective_scan",
    "SelectiveScanFn in state-spaces/mamba; Gu & Dao 2023",
    SelectiveScan.apply,
    selective_scan,
    lambda g, d: (
        normal(g, d, 3, 4),
        uniform(g, d, 3, 4, low=0.1),
        uniform(g, d, 3, 2, low=-2, high=-0.2),
        normal(g, d, 2, 4),
        normal(g, d, 2, 4),
        normal(g, d, 3),
    ),
    (
        Wrong(
            "missing-term",
            "delta: the term of the discretised input is missing",
            ScanNoInput.apply,
            argument="delta",
        ),
        Wrong("missing-sum", "D: not summed over time", ScanUnsummed.apply, ("shape",), "D"),
        Wrong("missing-term", "u: the skip connection is forgotten", ScanNoSkip.apply, argument="u"),
    ),
)

# --- RWKV


def wkv_weights(w, u, k):
    """Softmax weights (time, earlier time, channel): exp(w) is the decay a step, u the bonus of the step itself."""
    t = torch.arange(len(k))
    past = k - (t[:, None, None] - 1 - t[None, :, None]) * w.exp()
    now = (u + k)[None].expand_as(past)
    later = (t[:, None] < t[None, :])[:, :, None]
    own = (t[:, None] == t[None, :])[:, :, None]
    return torch.where(own, now, past).masked_fill(later, -math.inf).softmax(1)


class Wkv(Function):
    """Averages of v under exponentially decaying weights; w, u: (channels,), k, v: (time, channels)."""

    @staticmethod
    def forward(ctx, w, u, k, v):
        p = wkv_weights(w, u, k)
        ctx.save_for_backward(w, p, v)
        return (p * v).sum(1)

    @staticmethod
    def backward(ctx, grad_output):
        w, p, v = ctx.saved_tensors
        g = grad_output[:, None]
        dz = p * (g * v - g * (p * v).sum(1, keepdim=True))
        t = torch.arange(len(v))
        steps = (t[:, None] - 1 - t[None, :]).clamp(min=0)[:, :, None]
        dw = -(dz * steps).sum((0, 1)) * w.exp()
        du = dz.diagonal().sum(1)
        return dw, du, dz.sum(0), (p * g).sum(0)


class WkvNoChain(Wkv):
    @staticmethod
    def backward(ctx, grad_output):
        dw, *rest = Wkv.backward(ctx, grad_output)
        return dw / ctx.saved_tensors[0].exp(), *rest


class WkvGrowing(Wkv):
    @staticmethod
    def backward(ctx, grad_output):
        dw, *rest = Wkv.backward(ctx, grad_output)
        return -dw, *rest


class WkvNoBonus(Wkv):
    @staticmethod
    def backward(ctx, grad_output):
        dw, du, dk, dv = Wkv.backward(ctx, grad_output)
        own = ctx.saved_tensors[1].diagonal().mT
        return dw, du, dk, dv - own * grad_output


WKV = PublicFunction(
    "wkv",
    "WKV in BlinkDL/RWKV-LM (RWKV-v4); Peng et al. 2023",
    Wkv.apply,
    lambda w, u, k, v: (wkv_weights(w, u, k) * v).sum(1),
    lambda g, d: (normal(g, d, 3), normal(g, d, 3), normal(g, d, 4, 3), normal(g, d, 4, 3)),
    (
        Wrong("missing-factor", "w: the derivative of exp(w) is missing", WkvNoChain.apply, argument="w"),
        Wrong("sign", "w: the decay is taken for growth", WkvGrowing.apply, argument="w"),
        Wrong("missing-term", "v: the step's own weight is missing", WkvNoBonus.apply, argument="v"),
    ),
)

# --- causal linear attention


class CausalProduct(Function):
    """y_t = q_t · Σ_{s ≤ t} k_s v_sᵀ; q, k: (time, keys), v: (time, values)."""

    @staticmethod
    def forward(ctx, q, k, v):
        ctx.save_for_backward(q, k, v)
        state = (k[:, :, None] * v[:, None]).cumsum(0)
        return (q[:, None] @ state)[:, 0]

    @staticmethod
    def backward(ctx, grad_output):
        q, k, v = ctx.saved_tensors
        state = (k[:, :, None] * v[:, None]).cumsum(0)
        back = (q[:, :, None] * grad_output[:, None]).flip(0).cumsum(0).flip(0)
        dq = (state @ grad_output[:, :, None])[:, :, 0]
        return dq, (back @ v[:, :, None])[:, :, 0], (k[:, None] @ back)[:, 0]


class CausalExclusive(CausalProduct):
    @staticmethod
    def backward(ctx, grad_output):
        q, _, v = ctx.saved_tensors
        dq, dk, dv = CausalProduct.backward(ctx, grad_output)
        return dq, dk - q * (grad_output * v).sum(1, keepdim=True), dv


class CausalSwapped(CausalProduct):
    @staticmethod
    def backward(ctx, grad_output):
        dq, dk, dv = CausalProduct.backward(ctx, grad_output)
        return dk, dq, dv


CAUSAL_PRODUCT = PublicFunction(
    "causal_product",
    "CausalDotProduct in idiap/fast-transformers; Katharopoulos et al. 2020",
    CausalProduct.apply,
    lambda q, k, v: (q @ k.mT).tril() @ v,
    lambda g, d: (normal(g, d, 4, 3), normal(g, d, 4, 3), normal(g, d, 4, 2)),
    (
        Wrong(
            "missing-term", "k: the step itself is left out of the sum", CausalExclusive.apply, argument="k"
        ),
        Wrong(
            "permuted",
            "the gradients of q and k are returned in the wrong order",
            CausalSwapped.apply,
            ("unknown",),
        ),
    ),
)

# --- rotary embedding


def rotate(x, cos, sin):
    first, second = x.chunk(2, -1)
    cos, sin = cos[..., : first.shape[-1]], sin[..., : first.shape[-1]]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class Rotary(Function):
    """q and k rotated in the planes of halves; of the tables only the first half is read."""

    @staticmethod
    def forward(ctx, q, k, cos, sin):
        ctx.save_for_backward(cos, sin)
        return rotate(q, cos, sin), rotate(k, cos, sin)

    @staticmethod
    def backward(ctx, grad_q, grad_k):
        cos, sin = ctx.saved_tensors
        return rotate(grad_q, cos, -sin), rotate(grad_k, cos, -sin), None, None


class RotaryForward(Rotary):
    @staticmethod
    def backward(ctx, grad_q, grad_k):
        cos, sin = ctx.saved_tensors
        return rotate(grad_q, cos, sin), rotate(grad_k, cos, sin), None, None


class RotaryQueryOnly(Rotary):
    @staticmethod
    def backward(ctx, grad_q, grad_k):
        return *Rotary.backward(ctx, grad_q, grad_k)[:1], None, None, None


class RotaryUnturned(Rotary):
    @staticmethod
    def backward(ctx, grad_q, grad_k):
        cos, sin = ctx.saved_tensors
        return rotate(grad_q, cos, 0 * sin), rotate(grad_k, cos, -sin), None, None


def angles(d, rows, width):
    half = torch.arange(width // 2, dtype=torch.float64)
    angle = torch.arange(1, rows + 1, dtype=torch.float64)[:, None] * 10.0 ** (-2 * half / width)
    angle = torch.cat([angle, angle], -1)
    return angle.cos().to(d), angle.sin().to(d)


ROTARY = PublicFunction(
    "rotary",
    "LigerRopeFunction in linkedin/Liger-Kernel, ApplyRotaryEmb in Dao-AILab/flash-attention; Su et al. 2021",
    Rotary.apply,
    lambda q, k, cos, sin: (rotate(q, cos, sin), rotate(k, cos, sin)),
    lambda g, d: (normal(g, d, 2, 3, 4), normal(g, d, 3, 4), *angles(d, 3, 4)),
    (
        Wrong("missing-term", "rotated forward once more, not back: the sine's term has the wrong sign",
              RotaryForward.apply, ("sign",)),
        Wrong("zero", "k: no gradient", RotaryQueryOnly.apply, argument="k"),
        Wrong("missing-term", "q: the rotated half is missing", RotaryUnturned.apply, argument="q"),
    ),
)  # fmt: skip

# --- soft-DTW, in NumPy


def soft_dtw_table(cost, gamma):
    n, m = cost.shape
    total = np.full((n + 2, m + 2), np.inf)
    total[0, 0] = 0.0
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            z = -np.array([total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]]) / gamma
            peak = z.max()
            total[i, j] = cost[i - 1, j - 1] - gamma * (peak + np.log(np.exp(z - peak).sum()))
    return total


class SoftDtw(Function):
    """The soft minimum over alignments of the total cost; forward and backward are NumPy loops."""

    @staticmethod
    def forward(ctx, cost, gamma):
        table = soft_dtw_table(cost.detach().cpu().to(torch.float64).numpy(), gamma)
        ctx.save_for_backward(cost)
        ctx.table, ctx.gamma = table, gamma
        return torch.tensor(table[-2, -2], dtype=cost.dtype)

    @staticmethod
    def weights(cost, table, gamma):
        n, m = cost.shape
        total = table.copy()
        total[-1, :] = total[:, -1] = -np.inf
        total[-1, -1] = total[-2, -2]
        padded = np.zeros((n + 2, m + 2))
        padded[1:-1, 1:-1] = cost
        e = np.zeros((n + 2, m + 2))
        e[-1, -1] = 1.0
        for j in range(m, 0, -1):
            for i in range(n, 0, -1):
                for k, q in ((i + 1, j), (i, j + 1), (i + 1, j + 1)):
                    e[i, j] += e[k, q] * np.exp((total[k, q] - total[i, j] - padded[k, q]) / gamma)
        return e[1:-1, 1:-1]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        (cost,) = ctx.saved_tensors
        e = SoftDtw.weights(cost.detach().cpu().to(torch.float64).numpy(), ctx.table, ctx.gamma)
        return grad_output * torch.from_numpy(e.copy()).to(cost), None


class SoftDtwAlone(SoftDtw):
    @staticmethod
    def backward(ctx, grad_output):
        return SoftDtw.backward(ctx, torch.ones_like(grad_output))


class SoftDtwFlipped(SoftDtw):
    @staticmethod
    def backward(ctx, grad_output):
        return SoftDtw.backward(ctx, grad_output)[0].flip(0, 1), None


def soft_dtw(cost, gamma):
    far = cost.new_full((), torch.inf)
    total = {(0, 0): cost.new_zeros(())}
    for i in range(1, cost.shape[0] + 1):
        for j in range(1, cost.shape[1] + 1):
            before = [total.get(at, far) for at in ((i - 1, j - 1), (i - 1, j), (i, j - 1))]
            total[i, j] = cost[i - 1, j - 1] - gamma * torch.logsumexp(-torch.stack(before) / gamma, 0)
    return total[tuple(cost.shape)]


SOFT_DTW = PublicFunction(
    "soft_dtw",
    "_SoftDTW in Maghoumi/pytorch-softdtw-cuda, mblondel/soft-dtw; Cuturi & Blondel 2017",
    SoftDtw.apply,
    soft_dtw,
    lambda g, d: (normal(g, d, 3, 4, grad=False).square().requires_grad_(), 0.7),
    (
        Wrong(
            "missing-factor",
            "not multiplied by the incoming gradient",
            SoftDtwAlone.apply,
            ("scale",),
            "cost",
        ),
        Wrong(
            "permuted",
            "the table of the reversed sequences, not turned back",
            SoftDtwFlipped.apply,
            argument="cost",
        ),
    ),
)

FUNCTIONS = (SELECTIVE_SCAN, WKV, CAUSAL_PRODUCT, ROTARY, SOFT_DTW)
