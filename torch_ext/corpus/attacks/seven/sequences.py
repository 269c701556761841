"""Language models, speech and sequence alignment."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ._entry import ALL, TWO, Mistake, Operation, fit, integers, leaf, normal, uniform, wide

# --- log-probability of the labels that follow, for each sequence


def _shifted(logits: Tensor, labels: Tensor, ignore: int, average: bool) -> tuple[Tensor, ...]:
    logp = torch.log_softmax(wide(logits)[:, :-1], -1)
    targets = labels[:, 1:]
    valid = targets != ignore
    weight = valid.to(logp.dtype)
    if average:
        weight = weight / weight.sum(1, keepdim=True).clamp(min=1)
    return logp, targets.masked_fill(~valid, 0).unsqueeze(-1), weight


def _labels_forward(
    logits: Tensor, labels: Tensor, ignore: int = -100, average: bool = True
) -> tuple[Tensor, Any]:
    logp, targets, weight = _shifted(logits, labels, ignore, average)
    out = (logp.gather(-1, targets).squeeze(-1) * weight).sum(1)
    return out.to(logits.dtype), (logits, labels, ignore, average)


def _labels_backward(g: Tensor, residuals: Any, start: int = 0) -> tuple[Any, ...]:
    logits, labels, ignore, average = residuals
    logp, targets, weight = _shifted(logits, labels, ignore, average)
    scale = (wide(g).unsqueeze(1) * weight).unsqueeze(-1)
    steps = -logp.exp() * scale
    steps = steps.scatter_add(-1, targets, scale)
    grad = torch.zeros_like(wide(logits))
    grad[:, start : start + steps.shape[1]] = steps
    return grad.to(logits.dtype), None, None, None


def _labels_reference(logits: Tensor, labels: Tensor, ignore: int = -100, average: bool = True) -> Tensor:
    rows = []
    for row, label in zip(torch.log_softmax(wide(logits), -1), labels, strict=True):
        keep = (label[1:] != ignore).nonzero().squeeze(1)
        picked = row[keep, label[keep + 1]]
        rows.append(picked.sum() / (max(len(keep), 1) if average else 1))
    return torch.stack(rows).to(logits.dtype)


def _labels(g: torch.Generator, b: int, t: int, v: int, pad: int = -100) -> Tensor:
    labels = integers(g, b, t, high=v)
    return labels.masked_fill(torch.rand(b, t, generator=g) < 0.3, pad)


sequence_logprob = Operation(
    "sequence_logprob",
    _labels_forward,
    _labels_backward,
    lambda g, d: (normal(g, d, 3, 6, 5), _labels(g, 3, 6, 5)),
    _labels_reference,
    (
        Mistake(
            "permuted",
            "the gradient lands at the label's step, one later than the logits that predict it",
            partial(_labels_backward, start=1),
            also=("offset", "unknown", "local", "zero", "region"),
            argument="logits",
        ),
    ),
    {
        "all ignored": lambda g, d: (normal(g, d, 2, 4, 3), torch.full((2, 4), -100)),
        "summed": lambda g, d: (normal(g, d, 2, 5, 4), _labels(g, 2, 5, 4, -1), -1, False),
        "one step": lambda g, d: (normal(g, d, 2, 1, 4), _labels(g, 2, 1, 4)),
        "sure": lambda g, d: (leaf(normal(g, d, 2, 4, 3) * 40), _labels(g, 2, 4, 3)),
    },
    ALL,
)

# --- memory written by the delta rule


def _delta_forward(q: Tensor, k: Tensor, v: Tensor, rate: Tensor) -> tuple[tuple[Tensor, Tensor], Any]:
    state = v.new_zeros(v.shape[0], v.shape[2], k.shape[2])
    states, outs = [state], []
    for t in range(q.shape[1]):
        error = v[:, t] - (state @ k[:, t].unsqueeze(-1)).squeeze(-1)
        state = state + rate[:, t, None, None] * error.unsqueeze(-1) * k[:, t].unsqueeze(1)
        states.append(state)
        outs.append((state @ q[:, t].unsqueeze(-1)).squeeze(-1))
    return (torch.stack(outs, 1), state.clone()), (q, k, v, rate, torch.stack(states))


def _delta_backward(grads: Any, residuals: Any, stale: bool = False) -> tuple[Any, ...]:
    q, k, v, rate, states = residuals
    grad_out, carried = grads
    gq, gk, gv, gr = (torch.zeros_like(x) for x in (q, k, v, rate))
    for t in reversed(range(q.shape[1])):
        before, after = states[t], states[t + 1]
        key = k[:, t].unsqueeze(-1)
        error = v[:, t].unsqueeze(-1) - before @ key
        out = grad_out[:, t].unsqueeze(-1)
        gq[:, t] = (after.mT @ out).squeeze(-1)
        carried = carried + out @ q[:, t].unsqueeze(1)
        step = rate[:, t, None, None]
        in_error = step * (carried @ key)
        gv[:, t] = in_error.squeeze(-1)
        gr[:, t] = (error * (carried @ key)).sum((1, 2))
        gk[:, t] = (step * (carried.mT @ error) - (after if stale else before).mT @ in_error).squeeze(-1)
        carried = carried - in_error @ key.mT
    return gq, gk, gv, gr


def _delta_reference(q: Tensor, k: Tensor, v: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
    state = torch.zeros(v.shape[0], v.shape[2], k.shape[2], dtype=v.dtype)
    outs = []
    for qt, kt, vt, rt in zip(q.unbind(1), k.unbind(1), v.unbind(1), rate.unbind(1), strict=True):
        seen = torch.einsum("bij,bj->bi", state, kt)
        state = state + torch.einsum("b,bi,bj->bij", rt, vt - seen, kt)
        outs.append(torch.einsum("bij,bj->bi", state, qt))
    return torch.stack(outs, 1), state


def _delta_inputs(
    g: torch.Generator, d: torch.dtype, b: int = 2, t: int = 5, n: int = 3, m: int = 4
) -> tuple[Any, ...]:
    keys = leaf(normal(g, d, b, t, n) * 0.6)
    return normal(g, d, b, t, n), keys, normal(g, d, b, t, m), uniform(g, d, b, t)


delta_rule_memory = Operation(
    "delta_rule_memory",
    _delta_forward,
    _delta_backward,
    _delta_inputs,
    _delta_reference,
    (
        Mistake(
            "unknown",
            "the key's gradient reads the memory after the write, not before it",
            partial(_delta_backward, stale=True),
            also=("missing-term",),
            argument="k",
        ),
    ),
    {
        "one step": lambda g, d: _delta_inputs(g, d, 2, 1),
        "one channel": lambda g, d: _delta_inputs(g, d, 1, 4, 1, 1),
        "rates of nought and one": lambda g, d: (*_delta_inputs(g, d)[:3], leaf(torch.eye(2, 5), d)),
    },
    TWO,
)

# --- mixture of experts: gates of the best experts and the balancing loss


def _best(p: Tensor, k: int) -> Tensor:
    return torch.zeros_like(p).scatter(-1, p.topk(k, -1).indices, 1.0)


def _router_forward(logits: Tensor, k: int = 2) -> tuple[tuple[Tensor, Tensor], Any]:
    p = torch.softmax(wide(logits), -1)
    mask = _best(p.detach(), k)
    total = (p * mask).sum(-1, keepdim=True)
    tokens, experts = max(p.shape[0], 1), p.shape[1]
    share = mask.sum(0) / (k * tokens)
    balance = experts * (share * p.sum(0) / tokens).sum()
    gates = p * mask / total
    return (gates.to(logits.dtype), balance.to(logits.dtype)), (logits.dtype, p, mask, total, share)


def _router_backward(grads: Any, residuals: Any, fixed_total: bool = False) -> tuple[Any, ...]:
    dtype, p, mask, total, share = residuals
    in_gates, in_balance = map(wide, grads)
    if not fixed_total:
        in_gates = in_gates - (in_gates * p * mask / total).sum(-1, keepdim=True)
    in_p = in_gates * mask / total + in_balance * p.shape[1] * share / max(p.shape[0], 1)
    return (p * (in_p - (p * in_p).sum(-1, keepdim=True))).to(dtype), None


def _router_reference(logits: Tensor, k: int = 2) -> tuple[Tensor, Tensor]:
    p = torch.softmax(wide(logits), -1)
    mask = _best(p.detach(), k)
    gates = p * mask / (p * mask).sum(-1, keepdim=True)
    tokens = max(p.shape[0], 1)
    balance = p.shape[1] * ((mask.sum(0) / (k * tokens)) * (p.sum(0) / tokens)).sum()
    return gates.to(logits.dtype), balance.to(logits.dtype)


topk_router = Operation(
    "topk_router",
    _router_forward,
    _router_backward,
    lambda g, d: (normal(g, d, 6, 5), 2),
    _router_reference,
    (
        Mistake(
            "missing-term",
            "the sum that the gates are divided by is taken as constant",
            partial(_router_backward, fixed_total=True),
            also=("unknown", "offset"),
            argument="logits",
        ),
    ),
    {
        "default": lambda g, d: (normal(g, d, 4, 6),),
        "one expert": lambda g, d: (normal(g, d, 5, 4), 1),
        "all experts": lambda g, d: (normal(g, d, 5, 3), 3),
        "no tokens": lambda g, d: (normal(g, d, 0, 4), 2),
    },
    ALL,
)

# --- per-channel energy normalisation


def _log(x: Tensor) -> Tensor:
    """Logarithm, NaN outside of its domain."""
    return torch.where(x > 0, x, torch.full_like(x, float("nan"))).log()


def _smoothed(energy: Tensor, rate: float) -> Tensor:
    levels = [energy[:, 0]]
    for t in range(1, energy.shape[1]):
        levels.append((1 - rate) * levels[-1] + rate * energy[:, t])
    return torch.stack(levels, 1)


def _pcen_forward(
    energy: Tensor, gain: Tensor, offset: Tensor, root: Tensor, rate: float = 0.2, eps: float = 0.01
) -> tuple[Tensor, Any]:
    log_level = _log(_smoothed(energy, rate) + eps)
    ratio = energy * torch.exp(-gain * log_level)
    log_base, log_offset = _log(ratio + offset), _log(offset)
    out = torch.exp(root * log_base) - torch.exp(root * log_offset)
    return out, (energy, gain, offset, root, rate, log_level, ratio, log_base, log_offset)


def _pcen_backward(g: Tensor, residuals: Any, first: bool = True) -> tuple[Any, ...]:
    energy, gain, offset, root, rate, log_level, ratio, log_base, log_offset = residuals
    top, bottom = torch.exp(root * log_base), torch.exp(root * log_offset)
    in_ratio = g * root * torch.exp((root - 1) * log_base)
    in_offset = in_ratio - g * root * torch.exp((root - 1) * log_offset)
    in_root = g * (top * log_base - bottom * log_offset)
    in_gain = -in_ratio * ratio * log_level
    in_level = -in_ratio * ratio * gain * torch.exp(-log_level)
    in_energy = in_ratio * torch.exp(-gain * log_level)
    carried = torch.zeros_like(energy[:, 0])
    for t in reversed(range(energy.shape[1])):
        carried = in_level[:, t] + (1 - rate) * carried
        in_energy[:, t] += carried * (1.0 if t == 0 and first else rate)
    return in_energy, fit(in_gain, gain), fit(in_offset, offset), fit(in_root, root), None, None


def _pcen_reference(
    energy: Tensor, gain: Tensor, offset: Tensor, root: Tensor, rate: float = 0.2, eps: float = 0.01
) -> Tensor:
    level = _smoothed(energy, rate) + eps
    return (energy / level**gain + offset) ** root - offset**root


def _pcen_inputs(g: torch.Generator, d: torch.dtype, b: int = 2, t: int = 6, c: int = 4) -> tuple[Any, ...]:
    return (
        uniform(g, d, b, t, c, low=0.0, high=2.0),
        uniform(g, d, c, low=0.5, high=1.0),
        uniform(g, d, c, low=1.0, high=2.5),
        uniform(g, d, c, low=0.3, high=0.8),
    )


channel_energy = Operation(
    "channel_energy",
    _pcen_forward,
    _pcen_backward,
    lambda g, d: (*_pcen_inputs(g, d), 0.25),
    _pcen_reference,
    (
        Mistake(
            "local",
            "the first frame, which starts the smoother whole, is weighted by the rate as the others",
            partial(_pcen_backward, first=False),
            also=("region", "missing-factor", "missing-term", "unknown"),
            argument="energy",
        ),
    ),
    {
        "silence": lambda g, d: (leaf(torch.zeros(2, 4, 4, dtype=d)), *_pcen_inputs(g, d)[1:]),
        "one frame": lambda g, d: _pcen_inputs(g, d, 2, 1, 3),
        "one setting": lambda g, d: (_pcen_inputs(g, d)[0], *_pcen_inputs(g, d, 2, 1, 1)[1:], 0.1, 0.1),
    },
    TWO,
)

# --- weights of a distortionless beamformer


def _beam_forward(noise: Tensor, steer: Tensor) -> tuple[Tensor, Any]:
    z = torch.linalg.solve(noise, steer.unsqueeze(-1)).squeeze(-1)
    s = (steer.conj() * z).sum(-1, keepdim=True)
    return z / s, (noise, steer, z, s)


def _beam_backward(g: Tensor, residuals: Any, conjugate: bool = True) -> tuple[Any, ...]:
    noise, steer, z, s = residuals
    in_z = g / s.conj()
    in_s = -(g * z.conj()).sum(-1, keepdim=True) / s.conj() ** 2
    in_z = in_z + in_s * steer
    system = noise.mH if conjugate else noise.mT
    back = torch.linalg.solve(system, in_z.unsqueeze(-1)).squeeze(-1)
    return -back.unsqueeze(-1) * z.conj().unsqueeze(-2), back + in_s.conj() * z


def _beam_reference(noise: Tensor, steer: Tensor) -> Tensor:
    z = (torch.linalg.inv(noise) @ steer.unsqueeze(-1)).squeeze(-1)
    return z / torch.einsum("...m,...m->...", steer.conj(), z).unsqueeze(-1)


def _complex(g: torch.Generator, d: torch.dtype, *shape: int) -> Tensor:
    return torch.complex(normal(g, d, *shape, grad=False), normal(g, d, *shape, grad=False))


def _beam_inputs(g: torch.Generator, d: torch.dtype, f: int = 4, m: int = 3) -> tuple[Any, ...]:
    root = _complex(g, d, f, m, m)
    return leaf(root @ root.mH / m + torch.eye(m, dtype=d)), leaf(_complex(g, d, f, m))


beamformer_weights = Operation(
    "beamformer_weights",
    _beam_forward,
    _beam_backward,
    _beam_inputs,
    _beam_reference,
    (
        Mistake(
            "unknown",
            "the adjoint system is solved with the transposed matrix, not conjugated",
            partial(_beam_backward, conjugate=False),
            also=("transpose", "permuted", "sign", "missing-term", "local"),
        ),
    ),
    {
        "one band": lambda g, d: _beam_inputs(g, d, 1, 3),
        "one microphone": lambda g, d: _beam_inputs(g, d, 3, 1),
        "not Hermitian": lambda g, d: (
            leaf(_complex(g, d, 3, 3, 3) / 3 + 2 * torch.eye(3, dtype=d)), leaf(_complex(g, d, 3, 3))
        ),
        "no bands": lambda g, d: _beam_inputs(g, d, 0, 3),
    },
    ("float64",),
)  # fmt: skip

# --- soft score of a global alignment with gaps


def _align_table(similarity: Tensor, gap: Tensor, temperature: float) -> list[list[Tensor]]:
    b, n, m = similarity.shape
    zero = similarity.new_zeros(b)
    table = [[zero - (i + j) * gap for j in range(m + 1)] for i in range(n + 1)]
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            ways = _ways(table, similarity, gap, i, j)
            table[i][j] = temperature * torch.logsumexp(ways / temperature, 0)
    return table


def _ways(table: list[list[Tensor]], similarity: Tensor, gap: Tensor, i: int, j: int) -> Tensor:
    match = table[i - 1][j - 1] + similarity[:, i - 1, j - 1]
    return torch.stack([match, table[i - 1][j] - gap, table[i][j - 1] - gap])


def _align_reference(similarity: Tensor, gap: Tensor, temperature: float = 1.0) -> Tensor:
    return _align_table(similarity, gap, temperature)[-1][-1]


def _align_forward(similarity: Tensor, gap: Tensor, temperature: float = 1.0) -> tuple[Tensor, Any]:
    table = _align_table(similarity, gap, temperature)
    return table[-1][-1].clone(), (similarity, gap, temperature, table)


def _align_backward(g: Tensor, residuals: Any, borders: bool = True) -> tuple[Any, ...]:
    similarity, gap, temperature, table = residuals
    b, n, m = similarity.shape
    visits = similarity.new_zeros(n + 1, m + 1, b)
    visits[n, m] = g
    in_similarity = torch.zeros_like(similarity)
    gaps = torch.zeros_like(visits[0, 0])
    for i in range(n, 0, -1):
        for j in range(m, 0, -1):
            share = visits[i, j] * torch.softmax(_ways(table, similarity, gap, i, j) / temperature, 0)
            in_similarity[:, i - 1, j - 1] = share[0]
            visits[i - 1, j - 1] += share[0]
            visits[i - 1, j] += share[1]
            visits[i, j - 1] += share[2]
            gaps = gaps + share[1] + share[2]
    if borders:
        for i in range(n + 1):
            for j in range(m + 1):
                if i == 0 or j == 0:
                    gaps = gaps + (i + j) * visits[i, j]
    return in_similarity, fit(-gaps.sum(), gap), None


soft_alignment = Operation(
    "soft_alignment",
    _align_forward,
    _align_backward,
    lambda g, d: (normal(g, d, 3, 4, 5), uniform(g, d, low=0.2, high=1.0), 0.7),
    _align_reference,
    (
        Mistake(
            "missing-term",
            "the gaps along the table's borders are not counted",
            partial(_align_backward, borders=False),
            also=("scale", "unknown"),
            argument="gap",
        ),
    ),
    {
        "default": lambda g, d: (normal(g, d, 2, 3, 3), uniform(g, d)),
        "one against many": lambda g, d: (normal(g, d, 2, 1, 4), normal(g, d), 0.5),
        "cold": lambda g, d: (normal(g, d, 2, 3, 4), uniform(g, d), 0.02),
        "nothing to align": lambda g, d: (normal(g, d, 2, 0, 3), uniform(g, d)),
    },
    TWO,
)

OPERATIONS = (
    sequence_logprob,
    delta_rule_memory,
    topk_router,
    channel_energy,
    beamformer_weights,
    soft_alignment,
)
