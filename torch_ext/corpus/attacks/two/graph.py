"""Edges and nodes."""

import numpy as np
import torch

from ._tools import LOW, Operation, bwd, fwd, leaf, mistakes, normal, reference, uniform

# ---- softmax over each node's incoming edges: scores (E, H), nodes (E,), n nodes


def _per_node(x, node, n):
    return torch.zeros(n, x.shape[1], dtype=x.dtype).index_add_(0, node, x)


@fwd
def _edge_forward(s, node, n):
    top = np.full((n, s.shape[1]), -np.inf, dtype=s.numpy(force=True).dtype)
    np.maximum.at(top, node.numpy(), s.numpy(force=True))
    p = s - torch.from_numpy(top)[node]
    p.exp_()
    p /= _per_node(p, node, n)[node]
    return p, (p, node, n)


@bwd
def _edge_backward(g, res, wrong=""):
    p, node, n = res
    pg = p * g
    total = _per_node(pg, node, n)[node]
    if wrong == "all":
        total = pg.sum(0)
    if wrong == "assigned":
        kept = torch.zeros(n, p.shape[1], dtype=p.dtype)
        for e in range(len(node)):
            kept[node[e]] = pg[e]
        total = kept[node]
    if wrong == "mean":
        return pg, None, None
    if wrong == "output":
        return g - total, None, None
    if wrong == "sign":
        return p * (total - g), None, None
    d = p * (g - total)
    if wrong == "last":
        d[len(d) - 1] = 0
    if wrong == "noise":
        d = d * (1 + 1e-5 * torch.randn(d.shape, dtype=d.dtype))
    return d, None, None


def _edge_of(node, n, heads=2, spread=1.0):
    node = torch.tensor(node, dtype=torch.long)
    return lambda g, t: (leaf(spread * normal(g, t, len(node), heads, grad=False)), node, n)


def _edge_reference(s, node, n):
    out = torch.zeros_like(s)
    for v in range(n):
        at = (node == v).nonzero()[:, 0]
        out = out.index_add(0, at, s[at].softmax(0))
    return out


EDGE_SOFTMAX = Operation(
    "edge_softmax",
    _edge_forward,
    _edge_backward,
    _edge_of([2, 0, 1, 0, 2, 0, 1], 4),
    reference(_edge_reference),
    mistakes(
        _edge_backward,
        (
            "missing-sum",
            "all",
            "the sum runs over all edges, not over the node's own",
            {"also": ("missing-term",)},
        ),
        (
            "missing-term",
            "assigned",
            "the node's sum is overwritten by its last edge",
            {"also": ("missing-sum",)},
        ),
        ("missing-term", "mean", "the subtracted sum is left out", {"also": ("missing-sum",)}),
        ("missing-factor", "output", "not multiplied by the output", {}),
        ("sign", "sign", "the subtraction the wrong way round", {}),
        ("local", "last", "the last edge is never reached", {"also": ("zero",)}),
        ("nondeterministic", "noise", "noise of 1e-5 that nothing seeds", {}),
    ),
    {
        "one": _edge_of([0], 1, 1),
        "no_edges": _edge_of([], 3),
        "lonely": _edge_of([3, 1, 0], 4),
        "saturated": _edge_of([0, 0, 1, 1, 1], 2, 2, 300.0),
        "ties": _edge_of([0, 0, 1, 1], 2, 2, 0.0),
        "view": lambda g, t: (leaf(normal(g, t, 2, 4, grad=False).t()), torch.tensor([1, 1, 0, 1]), 2),
    },
    LOW,
)

# ---- the maximum of each node's messages, zero where there is none; ties share alike


@fwd
def _max_forward(x, node, n):
    out = torch.full((n, x.shape[1]), -torch.inf, dtype=x.dtype)
    for e in range(len(node)):
        out[node[e]] = torch.maximum(out[node[e]], x[e])
    out.masked_fill_(torch.isneginf(out), 0.0)
    return out.clone(), (x, node, out)


@bwd
def _max_backward(g, res, wrong=""):
    x, node, out = res
    on = (x == out[node]).to(x.dtype)
    if wrong == "positive":
        on = on * (x > 0)
    if wrong == "zero":
        on = on * (out[node] != 0)
    count = _per_node(on, node, len(out))[node].clamp(min=1)
    if wrong == "ties":
        count = torch.ones_like(count)
    at = (node + 1) % len(out) if wrong == "shift" else node
    d = g[at] * on / count
    if wrong == "mask":
        d = g[at]
    if wrong == "value":
        d = d * x
    return d, None, None


def _max_of(node, n, make=lambda g, t, *shape: normal(g, t, *shape, grad=False), width=3):
    node = torch.tensor(node, dtype=torch.long)
    return lambda g, t: (leaf(make(g, t, len(node), width)), node, n)


NODES = [1, 0, 2, 1, 2, 1, 0]


def _max_tied(g, dtype, rows, width):
    return torch.randint(-1, 2, (rows, width), generator=g).to(dtype)


def _max_reference(x, node, n):
    # not scatter_reduce, whose gradient counts the zeros it starts from as tied with a maximum of zero
    rows = [x[node == v] for v in range(n)]
    return torch.stack([r.amax(0) if len(r) else r.sum(0) for r in rows])


SCATTER_MAX = Operation(
    "scatter_max",
    _max_forward,
    _max_backward,
    _max_of(NODES, 4),
    reference(_max_reference),
    mistakes(
        _max_backward,
        (
            "missing-factor",
            "ties",
            "every tied message gets the whole gradient",
            {"hidden": _max_of(NODES, 4), "also": ("region", "local", "scale")},
        ),
        (
            "region",
            "positive",
            "a maximum that is not positive is taken for an empty node's zero",
            {
                "hidden": _max_of(NODES, 4, lambda g, t, *s: uniform(g, t, *s, low=0.1, grad=False)),
                "also": ("zero", "local", "missing-factor"),
            },
        ),
        (
            "local",
            "zero",
            "a maximum of exactly zero is taken for an empty node's",
            {"hidden": _max_of(NODES, 4), "also": ("region", "zero")},
        ),
        ("permuted", "shift", "nodes counted from one", {}),
        (
            "missing-factor",
            "mask",
            "every message gets its node's gradient, not the largest alone",
            {"also": ("region",)},
        ),
        ("missing-factor", "value", "multiplied by the message itself", {}),
    ),
    {
        "ties": _max_of(NODES, 4, _max_tied),
        "zeros": _max_of(NODES, 3, lambda g, t, *s: torch.zeros(s, dtype=t)),
        "one": _max_of([0], 1),
        "no_edges": _max_of([], 2),
        "distinct": _max_of([2, 0, 1], 3),
        "view": lambda g, t: (leaf(normal(g, t, 2, 4, grad=False).t()), torch.tensor([0, 0, 1, 0]), 2),
    },
    LOW,
)

OPERATIONS = (EDGE_SOFTMAX, SCATTER_MAX)
