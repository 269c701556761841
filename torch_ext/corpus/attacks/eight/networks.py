"""Graphs, retrieval, attention and normalisation."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from torch_ext.corpus._entry import DTYPES, Mistake, Operation, integers, normal, uniform, wide

# -- walks with restarts ----------------------------------------------------------------------------


def _walk(w: Tensor, src: Tensor, dst: Tensor, start: Tensor, damping: float, steps: int) -> Any:
    degree = torch.zeros_like(start).index_add(0, src, w)
    share = w / degree[src]
    states = [start]
    for _ in range(steps):
        moved = torch.zeros_like(start).index_add(0, dst, share * states[-1][src])
        states.append((1 - damping) * start + damping * moved)
    return degree, share, states


def rank_forward(
    weights: Tensor, src: Tensor, dst: Tensor, start: Tensor, damping: float = 0.85, steps: int = 4
) -> tuple[Tensor, Any]:
    """Personalised PageRank by power iteration over weighted edges; nodes without exits leak."""
    w, s = wide((weights, start))
    out = _walk(w, src, dst, s, damping, steps)[2][-1]
    return out.to(start.dtype, copy=True), (weights, src, dst, start, damping, steps)


def _rank_backward(grad: Tensor, res: Any, wrong: bool) -> tuple[Any, ...]:
    weights, src, dst, start, damping, steps = res
    w, s = wide((weights, start))
    degree, share, states = _walk(w, src, dst, s, damping, steps)
    g = wide(grad)
    gstart, gshare = torch.zeros_like(s), torch.zeros_like(w)
    for x in reversed(states[:-1]):
        gstart = gstart + (1 - damping) * g
        sent = damping * g[dst]
        gshare = gshare + sent * x[src]
        g = torch.zeros_like(s).index_add(0, src, sent * share)
    gstart = gstart + g
    if steps and not wrong:
        gshare = gshare - torch.zeros_like(s).index_add(0, src, gshare * share)[src]
    gw = gshare / degree[src] if steps else gshare
    return gw.to(weights.dtype), None, None, gstart.to(start.dtype), None, None


def rank_backward(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _rank_backward(grad, res, False)


def rank_wrong(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _rank_backward(grad, res, True)


def rank_reference(
    weights: Tensor, src: Tensor, dst: Tensor, start: Tensor, damping: float = 0.85, steps: int = 4
) -> Tensor:
    n = len(start)
    dense = torch.zeros(n * n, dtype=weights.dtype).index_add(0, src * n + dst, weights).reshape(n, n)
    degree = dense.sum(1, keepdim=True)
    exits = torch.zeros(n, dtype=torch.bool).index_fill(0, src, True)[:, None]
    move = torch.where(exits, dense / torch.where(exits, degree, 1.0), 0.0)
    x = start
    for _ in range(steps):
        x = (1 - damping) * start + damping * (x @ move)
    return x


def _rank_inputs(n: int, m: int, steps: int) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        src, dst = integers(g, m, high=n), integers(g, m, high=n)
        return uniform(g, dtype, m, low=0.2, high=2.0), src, dst, uniform(g, dtype, n), 0.85, steps

    return make


def _rank_double(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    """Edges given twice, a loop, and a node that nobody knows."""
    src, dst = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([1, 1, 1, 2, 0, 0])
    return uniform(g, dtype, 6, low=0.2), src, dst, normal(g, dtype, 4), 0.5, 3


RANK = Operation(
    "pagerank_steps",
    rank_forward,
    rank_backward,
    _rank_inputs(7, 18, 4),
    rank_reference,
    (
        Mistake(
            "missing-term",
            "the degree that divides the weights treated as a constant",
            rank_wrong,
            also=("offset", "unknown"),
            argument="weights",
        ),
    ),
    {"double edges": _rank_double, "no edges": _rank_inputs(4, 0, 3), "no step": _rank_inputs(4, 6, 0)},
    ("float64",),
)


# -- communities of a graph -------------------------------------------------------------------------


def _communities(a: Tensor, s: Tensor) -> Any:
    out, into = a.sum(-1), a.sum(-2)
    by_out, by_in = (out[..., None] * s).sum(-2), (into[..., None] * s).sum(-2)
    total = out.sum(-1)
    inside = ((a @ s) * s).sum((-2, -1))
    return out, into, by_out, by_in, total, inside


def modularity_forward(adjacency: Tensor, member: Tensor, gamma: float = 1.0) -> tuple[Tensor, Any]:
    """Modularity of soft communities; edges may have directions, weights and a batch in front."""
    a, s = wide((adjacency, member))
    _, _, by_out, by_in, total, inside = _communities(a, s)
    q = inside / total - gamma * (by_out * by_in).sum(-1) / total**2
    return q.to(member.dtype), (adjacency, member, gamma)


def _modularity_backward(grad: Tensor, res: Any, wrong: bool) -> tuple[Any, ...]:
    adjacency, member, gamma = res
    a, s = wide((adjacency, member))
    out, into, by_out, by_in, total, inside = _communities(a, s)
    g = wide(grad)[..., None, None]
    m = total[..., None, None]
    both = 2 * (a @ s) if wrong else a @ s + a.mT @ s
    null = out[..., None] * by_in[..., None, :] + into[..., None] * by_out[..., None, :]
    gs = g * (both / m - gamma * null / m**2)
    rows, cols = s @ by_in[..., None], (s @ by_out[..., None]).mT
    mean = (2 * gamma * (by_out * by_in).sum(-1) / total - inside)[..., None, None]
    ga = g * (s @ s.mT / m - gamma * (rows + cols) / m**2 + mean / m**2)
    return ga.to(adjacency.dtype), gs.to(member.dtype), None


def modularity_backward(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _modularity_backward(grad, res, False)


def modularity_wrong(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _modularity_backward(grad, res, True)


def modularity_reference(adjacency: Tensor, member: Tensor, gamma: float = 1.0) -> Tensor:
    total = adjacency.sum((-2, -1), keepdim=True)
    expected = adjacency.sum(-1, keepdim=True) * adjacency.sum(-2, keepdim=True) / total
    b = (adjacency - gamma * expected) / total
    return torch.einsum("...ic,...ij,...jc->...", member, b, member)


def _modularity_inputs(*shape: int, groups: int = 3, symmetric: bool = True, gamma: float = 1.0) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        a = uniform(g, dtype, *shape, shape[-1], grad=False)
        if symmetric:
            a = a.triu() + a.triu(1).mT
        s = normal(g, torch.float64, *shape, groups, grad=False).softmax(-1)
        return a.requires_grad_(), s.to(dtype).requires_grad_(), gamma

    return make


modularity_directed = _modularity_inputs(6, symmetric=False)

MODULARITY = Operation(
    "soft_modularity",
    modularity_forward,
    modularity_backward,
    _modularity_inputs(6),
    modularity_reference,
    (
        Mistake(
            "transpose",
            "twice A S instead of (A + A transposed) S, which holds for undirected graphs only",
            modularity_wrong,
            also=("missing-term", "unknown"),
            argument="member",
            hidden=_modularity_inputs(6),
        ),
    ),
    {
        "directed": modularity_directed,
        "batch": _modularity_inputs(2, 4, symmetric=False, gamma=0.5),
        "one node": _modularity_inputs(1, groups=2, gamma=0.5),
    },
    ("float64",),
)


# -- late interaction -------------------------------------------------------------------------------


def _similar(q: Tensor, d: Tensor, dmask: Tensor) -> Tensor:
    return (q @ d.mT).masked_fill(~dmask[:, None], -math.inf)


def maxsim_forward(query: Tensor, docs: Tensor, qmask: Tensor, dmask: Tensor) -> tuple[Tensor, Any]:
    """For each true query token its best product with a true document token, summed: (batch,)."""
    best = _similar(wide(query), wide(docs), dmask).amax(-1)
    live = qmask & dmask.any(-1, keepdim=True)
    return torch.where(live, best, 0.0).sum(-1).to(query.dtype), (query, docs, qmask, dmask)


def _maxsim_backward(grad: Tensor, res: Any, wrong: bool) -> tuple[Any, ...]:
    query, docs, qmask, dmask = res
    q, d = wide((query, docs))
    sim = _similar(q, d, dmask)
    hit = (sim == sim.amax(-1, keepdim=True)) & dmask[:, None]
    weight = hit.to(sim.dtype) / hit.sum(-1, keepdim=True).clamp(min=1)
    g = wide(grad)[:, None, None] * weight
    if not wrong:
        g = g * qmask[..., None]
    return (g @ d).to(query.dtype), (g.mT @ q).to(docs.dtype), None, None


def maxsim_backward(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _maxsim_backward(grad, res, False)


def maxsim_wrong(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _maxsim_backward(grad, res, True)


def maxsim_reference(query: Tensor, docs: Tensor, qmask: Tensor, dmask: Tensor) -> Tensor:
    sim = torch.einsum("bqe,bde->bqd", query, docs)
    best = torch.where(dmask[:, None], sim, -math.inf).amax(-1)
    best = torch.where(dmask.any(-1, keepdim=True), best, 0.0)
    return torch.where(qmask, best, 0.0).sum(-1)


def _maxsim_inputs(n: int, q: int, d: int, full: bool = False) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        long_q, long_d = integers(g, n, 1, low=1, high=q), integers(g, n, 1, low=1, high=d + 1)
        qmask = (torch.arange(q) < long_q) | full
        dmask = (torch.arange(d) < long_d) | full
        return normal(g, dtype, n, q, 4), normal(g, dtype, n, d, 4), qmask, dmask

    return make


def _maxsim_ties(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    """Every document token twice, and one document of nothing but padding."""
    d = torch.randint(-2, 3, (3, 3, 4), generator=g).to(dtype).repeat(1, 2, 1)
    q = torch.randint(-2, 3, (3, 4, 4), generator=g).to(dtype)
    dmask = torch.ones(3, 6, dtype=torch.bool)
    dmask[1] = False
    return q.requires_grad_(), d.requires_grad_(), torch.ones(3, 4, dtype=torch.bool), dmask


MAXSIM = Operation(
    "late_interaction",
    maxsim_forward,
    maxsim_backward,
    _maxsim_inputs(3, 5, 6),
    maxsim_reference,
    (
        Mistake(
            "region",
            "the padding of the query masked in the forward pass but not in the backward pass",
            maxsim_wrong,
            also=("local", "missing-factor"),
            argument="query",
        ),
    ),
    {
        "ties": _maxsim_ties,
        "no padding": _maxsim_inputs(2, 3, 4, True),
        "one token": _maxsim_inputs(2, 2, 1),
    },
    DTYPES,
)


# -- attention with clipped relative positions ------------------------------------------------------


def _positions(n: int, m: int, table: Tensor) -> tuple[Tensor, int]:
    radius = table.shape[1] // 2
    return torch.arange(m) - torch.arange(n)[:, None], radius


def _attend(q: Tensor, k: Tensor, table: Tensor, scale: float) -> Tensor:
    rel, radius = _positions(q.shape[-2], k.shape[-2], table)
    return (scale * (q @ k.mT) + table[:, rel.clamp(-radius, radius) + radius]).softmax(-1)


def relative_forward(
    q: Tensor, k: Tensor, v: Tensor, table: Tensor, scale: float | None = None
) -> tuple[Tensor, Any]:
    """Attention (batch, head, time, channel) with a learnt bias for each clipped offset and head."""
    if table.shape[1] % 2 == 0:
        raise ValueError("the table needs an odd number of offsets")
    size = q.shape[-1] ** -0.5 if scale is None else scale
    wq, wk, wv, wt = wide((q, k, v, table))
    return (_attend(wq, wk, wt, size) @ wv).to(q.dtype), (q, k, v, table, size)


def _relative_backward(grad: Tensor, res: Any, wrong: bool) -> tuple[Any, ...]:
    q, k, v, table, size = res
    wq, wk, wv, wt = wide((q, k, v, table))
    g = wide(grad)
    p = _attend(wq, wk, wt, size)
    gv = p.mT @ g
    gp = g @ wv.mT
    gs = p * (gp - (gp * p).sum(-1, keepdim=True))
    rel, radius = _positions(q.shape[-2], k.shape[-2], table)
    index = (rel.clamp(-radius, radius) + radius).flatten()
    by_head = gs.sum(0).flatten(1)
    if wrong:
        by_head = by_head * (rel.abs() <= radius).flatten()
    gt = torch.zeros_like(wt).index_add(1, index, by_head)
    gq, gk = size * (gs @ wk), size * (gs.mT @ wq)
    return gq.to(q.dtype), gk.to(k.dtype), gv.to(v.dtype), gt.to(table.dtype), None


def relative_backward(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _relative_backward(grad, res, False)


def relative_wrong(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _relative_backward(grad, res, True)


def relative_reference(q: Tensor, k: Tensor, v: Tensor, table: Tensor, scale: float | None = None) -> Tensor:
    radius = table.shape[1] // 2
    rel = (torch.arange(k.shape[-2]) - torch.arange(q.shape[-2])[:, None]).clamp(-radius, radius)
    size = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    score = torch.einsum("bhid,bhjd->bhij", q, k) * size + table[:, rel + radius]
    return torch.einsum("bhij,bhjd->bhid", score.softmax(-1), v)


def _relative_inputs(b: int, n: int, m: int, radius: int, scale: float | None = None, by: float = 1.0) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        q, k = (normal(g, dtype, b, 2, t, 3, grad=False).mul(by).requires_grad_() for t in (n, m))
        return q, k, normal(g, dtype, b, 2, m, 4), normal(g, dtype, 2, 2 * radius + 1), scale

    return make


RELATIVE = Operation(
    "clipped_position_attention",
    relative_forward,
    relative_backward,
    _relative_inputs(2, 6, 6, 2),
    relative_reference,
    (
        Mistake(
            "region",
            "offsets beyond the table's radius, which share its end entries, are not counted for it",
            relative_wrong,
            also=("local", "missing-term", "missing-sum"),
            argument="table",
        ),
    ),
    {
        "across": _relative_inputs(2, 3, 5, 1, 0.3),
        "one bias": _relative_inputs(1, 4, 4, 0),
        "sharp": _relative_inputs(1, 4, 5, 2, None, 5.0),
        "no batch": _relative_inputs(0, 3, 3, 1),
    },
    DTYPES,
)


# -- sparse probabilities ---------------------------------------------------------------------------


def _entmax_root(x: Tensor, dim: int) -> Tensor:
    """The square roots of the probabilities."""
    z = (x - x.amax(dim, keepdim=True)) / 2
    down = z.sort(dim, descending=True).values
    shape = [1] * x.dim()
    shape[dim] = -1
    count = torch.arange(1, x.shape[dim] + 1, dtype=x.dtype, device=x.device).reshape(shape)
    mean = down.cumsum(dim) / count
    spread = down.square().cumsum(dim) - count * mean.square()
    tau = mean - ((1 - spread) / count).clamp(min=0).sqrt()
    last = (tau <= down).sum(dim, keepdim=True) - 1
    return (z - tau.gather(dim, last)).clamp(min=0)


def entmax_forward(x: Tensor, dim: int = -1) -> tuple[Tensor, Any]:
    """Entmax with alpha 3/2: between softmax and sparsemax."""
    root = _entmax_root(wide(x), dim)
    return root.square().to(x.dtype), (root, dim, x.dtype)


def entmax_backward(grad: Tensor, res: Any) -> tuple[Any, ...]:
    root, dim, dtype = res
    g = wide(grad)
    mean = (g * root).sum(dim, keepdim=True) / root.sum(dim, keepdim=True)
    return (root * (g - mean)).to(dtype), None


def entmax_wrong(grad: Tensor, res: Any) -> tuple[Any, ...]:
    root, dim, dtype = res
    g = wide(grad)
    support = (root > 0).to(g.dtype)
    mean = (g * support).sum(dim, keepdim=True) / support.sum(dim, keepdim=True)
    return (root * (g - mean)).to(dtype), None


def entmax_reference(x: Tensor, dim: int = -1) -> Tensor:
    z = x.movedim(dim, -1) / 2
    z = z - z.detach().amax(-1, keepdim=True)
    with torch.no_grad():
        live = _entmax_root(x, dim).movedim(dim, -1) > 0
    n = live.sum(-1, keepdim=True)
    part = torch.where(live, z, 0.0)
    mean = part.sum(-1, keepdim=True) / n
    spread = torch.where(live, z - mean, 0.0).square().sum(-1, keepdim=True)
    tau = mean - ((1 - spread) / n).sqrt()
    return torch.where(live, z - tau, 0.0).square().movedim(-1, dim)


def _entmax_inputs(*shape: int, dim: int = -1, size: float = 1.0) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        return normal(g, dtype, *shape, grad=False).mul(size).requires_grad_(), dim

    return make


def _entmax_ties(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return torch.randint(0, 3, (4, 6), generator=g).to(dtype).requires_grad_(), -1


ENTMAX = Operation(
    "entmax_three_halves",
    entmax_forward,
    entmax_backward,
    _entmax_inputs(5, 7),
    entmax_reference,
    (
        Mistake(
            "offset",
            "the plain mean over the support, as for sparsemax, instead of the weighted one",
            entmax_wrong,
            also=("unknown", "missing-factor", "missing-term"),
            argument="x",
        ),
    ),
    {
        "ties": _entmax_ties,
        "first axis": _entmax_inputs(6, 4, dim=0),
        "one choice": _entmax_inputs(4, 1),
        "one winner": _entmax_inputs(4, 5, size=20.0),
        "empty": _entmax_inputs(0, 4),
    },
    DTYPES,
)


# -- filter response normalisation ------------------------------------------------------------------


def _response(x: Tensor, eps: Tensor) -> Tensor:
    return torch.rsqrt(x.square().mean((2, 3), keepdim=True) + eps.abs()[:, None, None])


def frn_forward(x: Tensor, gamma: Tensor, beta: Tensor, tau: Tensor, eps: Tensor) -> tuple[Tensor, Any]:
    """Images (batch, channel, height, width) over their root mean square, then max(., tau)."""
    w, ga, be, ta, ep = wide((x, gamma, beta, tau, eps))
    y = ga[:, None, None] * (w * _response(w, ep)) + be[:, None, None]
    return torch.maximum(y, ta[:, None, None]).to(x.dtype), (x, gamma, beta, tau, eps)


def _frn_backward(grad: Tensor, res: Any, wrong: bool) -> tuple[Any, ...]:
    x, gamma, beta, tau, eps = res
    w, ga, be, ta, ep = wide((x, gamma, beta, tau, eps))
    g = wide(grad)
    inv = _response(w, ep)
    scaled = w * inv
    y = ga[:, None, None] * scaled + be[:, None, None]
    limit = ta[:, None, None]
    gy = g * torch.where(y > limit, 1.0, torch.where(y == limit, 0.5, 0.0)).to(g.dtype)
    axes = (0, 2, 3)
    gh = gy * ga[:, None, None]
    dot = (gh * scaled).sum((2, 3), keepdim=True)
    area = x.shape[2] * x.shape[3]
    gx = inv * (gh - scaled * dot / area)
    geps = (-0.5 * inv.square() * dot).sum(axes)
    if not wrong:
        geps = geps * ep.sign()
    grads = (gx, (gy * scaled).sum(axes), gy.sum(axes), (g - gy).sum(axes), geps)
    return tuple(a.to(b.dtype) for a, b in zip(grads, res, strict=True))


def frn_backward(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _frn_backward(grad, res, False)


def frn_wrong(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _frn_backward(grad, res, True)


def frn_reference(x: Tensor, gamma: Tensor, beta: Tensor, tau: Tensor, eps: Tensor) -> Tensor:
    ga, be, ta, ep = (p.reshape(1, -1, 1, 1) for p in (gamma, beta, tau, eps))
    power = x.pow(2).mean((2, 3), keepdim=True)
    return torch.maximum(ga * (x / torch.sqrt(power + ep.abs())) + be, ta)


def _frn_inputs(n: int, c: int, h: int, w: int, low: float = 0.05) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        gamma, beta, tau = (normal(g, dtype, c) for _ in range(3))
        return normal(g, dtype, n, c, h, w), gamma, beta, tau, uniform(g, dtype, c, low=low, high=0.5)

    return make


def frn_negative(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    *rest, eps = _frn_inputs(2, 3, 4, 5)(g, dtype)
    return (*rest, eps.detach().neg().requires_grad_())


def _frn_dark(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    """Black images whose shift equals the threshold in one channel."""
    _, gamma, beta, tau, eps = _frn_inputs(2, 3, 2, 2)(g, dtype)
    beta = beta.detach().clone()
    beta[0] = tau.detach()[0]
    return torch.zeros(2, 3, 2, 2, dtype=dtype).requires_grad_(), gamma, beta.requires_grad_(), tau, eps


FRN = Operation(
    "filter_response_norm",
    frn_forward,
    frn_backward,
    _frn_inputs(2, 3, 4, 5),
    frn_reference,
    (
        Mistake(
            "sign",
            "the sign of a learnt epsilon, of which the magnitude is taken, forgotten",
            frn_wrong,
            also=("region", "missing-factor", "local"),
            argument="eps",
            hidden=_frn_inputs(2, 3, 4, 5),
        ),
    ),
    {"negative epsilon": frn_negative, "dark": _frn_dark, "one pixel": _frn_inputs(2, 2, 1, 1)},
    DTYPES,
)


# -- global response normalisation ------------------------------------------------------------------


def _global(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    size = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
    return size, size.mean(-1, keepdim=True) + eps


def grn_forward(x: Tensor, gamma: Tensor, beta: Tensor, eps: float = 1e-6) -> tuple[Tensor, Any]:
    """Channels (last axis) weighted by their norm over the picture against the mean of all norms."""
    w, ga, be = wide((x, gamma, beta))
    size, mean = _global(w, eps)
    return (ga * (w * (size / mean)) + be + w).to(x.dtype), (x, gamma, beta, eps)


def _grn_backward(grad: Tensor, res: Any, wrong: bool) -> tuple[Any, ...]:
    x, gamma, beta, eps = res
    w, ga = wide((x, gamma))
    g = wide(grad)
    size, mean = _global(w, eps)
    ratio = size / mean
    gn = (g * ga * w).sum((1, 2), keepdim=True)
    gsize = (gn - (gn * ratio).sum(-1, keepdim=True) / x.shape[-1]) / mean
    unit = w / size if wrong else w / torch.where(size > 0, size, 1.0)
    gx = g * (ga * ratio + 1) + gsize * unit
    axes = (0, 1, 2)
    return gx.to(x.dtype), (g * w * ratio).sum(axes).to(gamma.dtype), g.sum(axes).to(beta.dtype), None


def grn_backward(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _grn_backward(grad, res, False)


def grn_wrong(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _grn_backward(grad, res, True)


def grn_reference(x: Tensor, gamma: Tensor, beta: Tensor, eps: float = 1e-6) -> Tensor:
    size = torch.linalg.vector_norm(x.flatten(1, 2), dim=1)[:, None, None]
    return x + beta + gamma * x * size / (size.mean(-1, keepdim=True) + eps)


def _grn_inputs(n: int, h: int, w: int, c: int) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        return normal(g, dtype, n, h, w, c), normal(g, dtype, c), normal(g, dtype, c), 1e-6

    return make


def grn_dead(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    """As after a ReLU, with a channel that never fires."""
    x = normal(g, dtype, 2, 3, 4, 5, grad=False).relu()
    x[..., 2] = 0
    return x.requires_grad_(), normal(g, dtype, 5), normal(g, dtype, 5), 1e-6


def _grn_view(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    x = normal(g, dtype, 2, 4, 3, 2, grad=False).permute(0, 2, 3, 1)
    return x.requires_grad_(), normal(g, dtype, 4), normal(g, dtype, 4), 0.1


GRN = Operation(
    "global_response_norm",
    grn_forward,
    grn_backward,
    _grn_inputs(2, 3, 4, 5),
    grn_reference,
    (
        Mistake(
            "not-finite",
            "division by the norm of a channel that is all nought",
            grn_wrong,
            also=("region", "local"),
            argument="x",
            hidden=_grn_inputs(2, 3, 4, 5),
        ),
    ),
    {"dead channel": grn_dead, "a view": _grn_view, "one channel": _grn_inputs(2, 2, 3, 1)},
    DTYPES,
)

OPERATIONS = (RANK, MODULARITY, MAXSIM, RELATIVE, ENTMAX, FRN, GRN)
