"""Sequence models: attention with a linear bias, a labelling chain, an exponential gate, a battery."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ._base import Generator, Mistake, Operation, as_dtypes, in_wide, integers, leaf, normal, uniform, wide

# ---------------------------------------------------------------- attention with linear distance biases


def distances(length: int, like: Tensor) -> Tensor:
    """|i - j|."""
    at = torch.arange(length, dtype=like.dtype, device=like.device)
    return (at[:, None] - at).abs()


def future(length: int, like: Tensor) -> Tensor:
    """True where the key comes after the query."""
    return torch.ones(length, length, dtype=torch.bool, device=like.device).triu(1)


def alibi_forward(
    query: Tensor, key: Tensor, value: Tensor, slopes: Tensor, causal: bool = True
) -> tuple[Tensor, Any]:
    """softmax(q k' / sqrt(d) - slope |i - j|) v, heads on the third axis from the end."""
    q, k, v, m = wide((query, key, value, slopes))
    scores = q @ k.mT * q.shape[-1] ** -0.5 - m[:, None, None] * distances(q.shape[-2], q)
    if causal:
        scores = scores.masked_fill(future(q.shape[-2], q), -torch.inf)
    p = scores.softmax(-1)
    return (p @ v).to(query.dtype), (q, k, v, p, [x.dtype for x in (query, key, value, slopes)])


def alibi_gradients(grad: Tensor, residuals: Any, centred: bool) -> tuple[Any, ...]:
    """All gradients; the slopes' from the scores or from the probabilities."""
    q, k, v, p, dtypes = residuals
    g = wide(grad)
    scale = q.shape[-1] ** -0.5
    gp = g @ v.mT
    gs = p * (gp - (p * gp).sum(-1, keepdim=True))
    each = (gs if centred else p * gp) * distances(q.shape[-2], q)
    slopes = -each.sum((-2, -1)).sum_to_size(q.shape[-3:-2])
    return *as_dtypes((scale * gs @ k, scale * gs.mT @ q, p.mT @ g, slopes), dtypes), None


def alibi_backward(grad: Tensor, residuals: Any) -> tuple[Any, ...]:
    return alibi_gradients(grad, residuals, True)


def alibi_wrong(grad: Tensor, residuals: Any) -> tuple[Any, ...]:
    return alibi_gradients(grad, residuals, False)


@in_wide
def alibi_reference(q: Tensor, k: Tensor, v: Tensor, slopes: Tensor, causal: bool = True) -> Tensor:
    length = q.shape[-2]
    bias = -slopes.reshape(-1, 1, 1) * distances(length, q)
    if causal:
        bias = bias.masked_fill(future(length, q), float("-inf"))
    return torch.softmax(q @ k.mT / q.shape[-1] ** 0.5 + bias, -1) @ v


def alibi_inputs(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return *(normal(g, dtype, 2, 5, 4) for _ in range(3)), uniform(g, dtype, 2, low=0.1), True


def alibi_both_ways(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return *(normal(g, dtype, 3, 2, 4, 3) for _ in range(3)), normal(g, dtype, 2), False


def alibi_one_step(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return *(normal(g, dtype, 2, 1, 4) for _ in range(3)), normal(g, dtype, 2), True


def alibi_no_batch(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return *(normal(g, dtype, 0, 2, 3, 4) for _ in range(3)), normal(g, dtype, 2), True


alibi_attention = Operation(
    "alibi_attention",
    alibi_forward,
    alibi_backward,
    alibi_inputs,
    alibi_reference,
    mistakes=(
        Mistake(
            "missing-term",
            "the slopes' gradient goes through the softmax without its row sums",
            alibi_wrong,
            also=("scale", "local", "unknown"),
            argument="slopes",
        ),
    ),
    further={"both_ways": alibi_both_ways, "one_step": alibi_one_step, "no_batch": alibi_no_batch},
)

# ---------------------------------------------------------------- linear chain of labels


def chain_sums(emissions: Tensor, transitions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log sums over all prefixes, over all suffixes, and over all paths."""
    length = emissions.shape[1]
    ahead = [emissions[:, 0]]
    for t in range(1, length):
        ahead.append((ahead[-1][:, :, None] + transitions).logsumexp(1) + emissions[:, t])
    behind = [torch.zeros_like(emissions[:, 0])]
    for t in range(length - 1, 0, -1):
        behind.append((transitions + (emissions[:, t] + behind[-1])[:, None, :]).logsumexp(2))
    return torch.stack(ahead, 1), torch.stack(behind[::-1], 1), ahead[-1].logsumexp(-1)


def crf_forward(emissions: Tensor, transitions: Tensor, tags: Tensor) -> tuple[Tensor, Any]:
    """Negative log-likelihood of each row of tags; transitions[from, to]."""
    if emissions.shape[1] == 0:
        raise ValueError("a chain needs at least one step")
    e, w = wide((emissions, transitions))
    ahead, behind, total = chain_sums(e, w)
    gold = e.gather(2, tags[..., None]).sum((1, 2)) + w[tags[:, :-1], tags[:, 1:]].sum(1)
    saved = (e, w, tags, ahead, behind, total, emissions.dtype, transitions.dtype)
    return (total - gold).to(emissions.dtype), saved


def crf_gradients(grad: Tensor, residuals: Any, turned: bool) -> tuple[Any, ...]:
    """Expected counts less those of the tags."""
    e, w, tags, ahead, behind, total, *dtypes = residuals
    g = wide(grad)
    alone = (ahead + behind - total[:, None, None]).exp()
    alone = alone - torch.nn.functional.one_hot(tags, e.shape[2]).to(e.dtype)
    pairs = ahead[:, :-1, :, None] + w + (e + behind)[:, 1:, None, :] - total[:, None, None, None]
    moves = torch.einsum("b,btij->ij", g, pairs.exp())
    here, there = tags[:, :-1].reshape(-1), tags[:, 1:].reshape(-1)
    each = g[:, None].expand(-1, tags.shape[1] - 1).reshape(-1)
    at = (there, here) if turned else (here, there)
    moves = moves - torch.zeros_like(w).index_put(at, each, accumulate=True)
    return *as_dtypes((g[:, None, None] * alone, moves), dtypes), None


def crf_backward(grad: Tensor, residuals: Any) -> tuple[Any, ...]:
    return crf_gradients(grad, residuals, False)


def crf_wrong(grad: Tensor, residuals: Any) -> tuple[Any, ...]:
    return crf_gradients(grad, residuals, True)


@in_wide
def crf_reference(emissions: Tensor, transitions: Tensor, tags: Tensor) -> Tensor:
    rows, length, _ = emissions.shape
    score = emissions[:, 0]
    for t in range(1, length):
        score = torch.logsumexp(
            score.unsqueeze(2) + transitions.unsqueeze(0) + emissions[:, t].unsqueeze(1), 1
        )
    at = torch.arange(rows)
    gold = emissions[at, 0, tags[:, 0]]
    for t in range(1, length):
        gold = gold + emissions[at, t, tags[:, t]] + transitions[tags[:, t - 1], tags[:, t]]
    return score.logsumexp(1) - gold


def crf_inputs(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 3, 5, 4), normal(g, dtype, 4, 4), integers(g, 3, 5, high=4)


def crf_one_step(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 3, 1, 4), normal(g, dtype, 4, 4), integers(g, 3, 1, high=4)


def crf_view(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    e, w = normal(g, dtype, 4, 3, 2, grad=False), normal(g, dtype, 3, 3, grad=False)
    return leaf(e.permute(2, 0, 1)), leaf(w.mT), integers(g, 4, 2, high=3).mT


def crf_sharp(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return leaf(20 * normal(g, dtype, 2, 4, 3)), leaf(20 * normal(g, dtype, 3, 3)), integers(g, 2, 4, high=3)


chain_crf_nll = Operation(
    "chain_crf_nll",
    crf_forward,
    crf_backward,
    crf_inputs,
    crf_reference,
    mistakes=(
        Mistake(
            "transpose",
            "the counts of the given tags are taken off at [to, from] in place of [from, to]",
            crf_wrong,
            also=("permuted", "missing-term", "local", "unknown"),
            argument="transitions",
        ),
    ),
    further={"one_step": crf_one_step, "view": crf_view, "sharp": crf_sharp},
)

# ---------------------------------------------------------------- exponential input gate with a normaliser


def gated_forward(content: Tensor, entry: Tensor, forget: Tensor, out_gate: Tensor) -> tuple[Any, Any]:
    """c = f c + exp(i) tanh(z), n = f n + exp(i), h = o c / n; returns h and the last log n."""
    if content.shape[1] == 0:
        raise ValueError("a scan needs at least one step")
    z, i, f, o = wide((content, entry, forget, out_gate))
    z, keep, o = z.tanh(), logsigmoid(f), o.sigmoid()
    log_n = torch.full_like(z[:, 0], -torch.inf)
    ratio = torch.zeros_like(z[:, 0])
    ratios, fresh, old = [ratio], [], []
    for t in range(z.shape[1]):
        kept = keep[:, t] + log_n
        log_n = torch.logaddexp(kept, i[:, t])
        fresh.append((i[:, t] - log_n).exp())
        old.append((kept - log_n).exp())
        ratio = old[-1] * ratio + fresh[-1] * z[:, t]
        ratios.append(ratio)
    r = torch.stack(ratios, 1)
    dtypes = [x.dtype for x in (content, entry, forget, out_gate)]
    saved = (z, f, o, r, torch.stack(fresh, 1), torch.stack(old, 1), dtypes)
    return ((o * r[:, 1:]).to(content.dtype), log_n.to(content.dtype)), saved


def gated_gradients(grads: Any, residuals: Any, late: int) -> tuple[Tensor, ...]:
    """Backwards in time; ``late`` shifts the state that the old part multiplies."""
    z, f, o, r, fresh, old, dtypes = residuals
    gh, g_log = wide(tuple(grads))
    g_ratio = torch.zeros_like(z[:, 0])
    gz, gi, gf = [], [], []
    for t in range(z.shape[1] - 1, -1, -1):
        g_ratio = g_ratio + gh[:, t] * o[:, t]
        g_fresh = g_ratio * z[:, t] * fresh[:, t]
        g_old = g_ratio * r[:, t + late] * old[:, t]
        g_log = g_log - g_fresh - g_old
        gz.append(g_ratio * fresh[:, t])
        gi.append(g_fresh + g_log * fresh[:, t])
        g_log = g_old + g_log * old[:, t]
        gf.append(g_log)
        g_ratio = g_ratio * old[:, t]
    content, entry, forget = (torch.stack(x[::-1], 1) for x in (gz, gi, gf))
    out = gh * r[:, 1:] * o * (1 - o)
    return as_dtypes((content * (1 - z * z), entry, forget * torch.sigmoid(-f), out), dtypes)


def gated_backward(grads: Any, residuals: Any) -> tuple[Tensor, ...]:
    return gated_gradients(grads, residuals, 0)


def gated_wrong(grads: Any, residuals: Any) -> tuple[Tensor, ...]:
    return gated_gradients(grads, residuals, 1)


@in_wide
def gated_reference(
    content: Tensor, entry: Tensor, forget: Tensor, out_gate: Tensor
) -> tuple[Tensor, Tensor]:
    c = n = torch.zeros_like(content[:, 0])
    states = []
    for t in range(content.shape[1]):
        f, i = forget[:, t].sigmoid(), entry[:, t].exp()
        c, n = f * c + i * content[:, t].tanh(), f * n + i
        states.append(out_gate[:, t].sigmoid() * c / n)
    return torch.stack(states, 1), n.log()


def gated_inputs(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return tuple(normal(g, dtype, 2, 5, 3) for _ in range(4))


def gated_one_step(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return tuple(normal(g, dtype, 2, 1, 3) for _ in range(4))


def gated_large(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return tuple(leaf(scale * normal(g, dtype, 2, 4, 3)) for scale in (1, 10, 5, 5))


def gated_none(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return tuple(normal(g, dtype, 0, 3, 2) for _ in range(4))


exponential_gate_scan = Operation(
    "exponential_gate_scan",
    gated_forward,
    gated_backward,
    gated_inputs,
    gated_reference,
    mistakes=(
        Mistake(
            "offset",
            "the forget gate's gradient multiplies the state after the step, not the one before it",
            gated_wrong,
            also=("missing-term", "scale", "local", "region", "unknown"),
            argument="forget",
        ),
    ),
    further={"one_step": gated_one_step, "large": gated_large, "none": gated_none},
)

# ---------------------------------------------------------------- energy kept in a battery


def battery_forward(
    power: Tensor, start: Tensor, efficiency: Tensor, capacity: Tensor, leak: float = 0.02
) -> tuple[Tensor, Any]:
    """Energy after each hour: charging loses 1 - e, discharging draws 1 / e, within [0, capacity]."""
    p, s, e, top = wide((power, start, efficiency, capacity))
    e = torch.where(e > 0, e, torch.nan)
    stored, before, empty, full = [], [], [], []
    for t in range(p.shape[1]):
        before.append(s)
        s = (1 - leak) * s + torch.where(p[:, t] > 0, p[:, t] * e, p[:, t] / e)
        empty.append(s < 0)
        full.append((s > top) & ~empty[-1])
        s = torch.where(empty[-1], torch.zeros_like(s), torch.where(full[-1], top, s))
        stored.append(s)
    out = torch.stack(stored, 1) if stored else torch.zeros_like(p)
    dtypes = [x.dtype for x in (power, start, efficiency, capacity)]
    return out.to(power.dtype), (p, e, top, empty, full, 1 - leak, dtypes)


def battery_gradients(grad: Tensor, residuals: Any, sign: float) -> tuple[Any, ...]:
    """Backwards in time; ``sign`` is that of the efficiency's gradient when discharging."""
    p, e, top, empty, full, keep, dtypes = residuals
    g = wide(grad)
    gs, ge, gtop = torch.zeros_like(e), torch.zeros_like(e), torch.zeros_like(top)
    gp = torch.zeros_like(p)
    for t in range(p.shape[1] - 1, -1, -1):
        gs = gs + g[:, t]
        gtop = gtop + torch.where(full[t], gs, 0)
        gs = torch.where(full[t] | empty[t], 0, gs)
        charging = p[:, t] > 0
        gp[:, t] = gs * torch.where(charging, e, 1 / e)
        ge = ge + gs * torch.where(charging, p[:, t], sign * p[:, t] / e**2)
        gs = keep * gs
    return *as_dtypes((gp, gs, ge, gtop), dtypes), None


def battery_backward(grad: Tensor, residuals: Any) -> tuple[Any, ...]:
    return battery_gradients(grad, residuals, -1.0)


def battery_wrong(grad: Tensor, residuals: Any) -> tuple[Any, ...]:
    return battery_gradients(grad, residuals, 1.0)


@in_wide
def battery_reference(
    power: Tensor, start: Tensor, efficiency: Tensor, capacity: Tensor, leak: float = 0.02
) -> Tensor:
    s, rows = start, []
    for hour in power.unbind(1):
        s = s * (1 - leak) + torch.where(hour > 0, hour * efficiency, hour / efficiency)
        s = torch.where(s < 0, torch.zeros_like(s), torch.where(s > capacity, capacity, s))
        rows.append(s)
    return torch.stack(rows, 1) if rows else power * 1


def battery_charging(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    rest = uniform(g, dtype, 4), uniform(g, dtype, 4, low=0.7), uniform(g, dtype, 4, low=2, high=4)
    return uniform(g, dtype, 4, 6), *rest, 0.02


def battery_both(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    rest = uniform(g, dtype, 4), uniform(g, dtype, 4, low=0.7), uniform(g, dtype, 4, low=1, high=2)
    return normal(g, dtype, 4, 6), *rest, 0.1


def battery_idle(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    power = (uniform(g, dtype, 3, 5, low=-2, high=2, grad=False)).round()
    one = torch.ones(3, dtype=dtype)
    return leaf(power), leaf(one), leaf(one.clone()), leaf(2 * one), 0.0


def battery_no_hours(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    rest = uniform(g, dtype, 2), uniform(g, dtype, 2, low=0.7), uniform(g, dtype, 2)
    return normal(g, dtype, 2, 0), *rest, 0.02


battery_storage = Operation(
    "battery_storage",
    battery_forward,
    battery_backward,
    battery_charging,
    battery_reference,
    mistakes=(
        Mistake(
            "sign",
            "the derivative of power / efficiency lacks its minus; charging alone does not show it",
            battery_wrong,
            also=("region", "local", "unknown"),
            argument="efficiency",
            hidden=battery_charging,
        ),
    ),
    further={"both": battery_both, "idle": battery_idle, "no_hours": battery_no_hours},
)

OPERATIONS = (alibi_attention, chain_crf_nll, exponential_gate_scan, battery_storage)
