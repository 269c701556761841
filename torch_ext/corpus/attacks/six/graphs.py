"""Messages on graphs, spanning trees and grouped quantisation."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from torch_ext.corpus._entry import Mistake, Operation, integers, normal, uniform, wide

from ._tools import leaf

# messages with symmetric normalisation and self-loops


def messages_reference(x: Tensor, weight: Tensor, source: Tensor, target: Tensor) -> Tensor:
    h, w = wide(x), wide(weight)
    adjacency = torch.eye(len(h), dtype=h.dtype).index_put((target, source), w, accumulate=True)
    degree = adjacency.sum(1)
    scale = degree.rsqrt()
    return (scale[:, None] * (adjacency @ (scale[:, None] * h))).to(x.dtype)


def _degrees(x: Tensor, w: Tensor, target: Tensor) -> Tensor:
    return torch.ones(len(x), dtype=w.dtype).index_add(0, target, w)


def messages_forward(x: Tensor, weight: Tensor, source: Tensor, target: Tensor) -> tuple[Tensor, Any]:
    h, w = wide(x), wide(weight)
    scale = _degrees(h, w, target).rsqrt()
    scaled = scale[:, None] * h
    out = scale[:, None] * scaled.index_add(0, target, w[:, None] * scaled[source])
    return out.to(x.dtype), (x, weight, source, target, scale)


def messages_backward(grad: Tensor, residuals: Any, constant: bool = False) -> tuple[Any, ...]:
    x, weight, source, target, scale = residuals
    h, w, g = wide(x), wide(weight), wide(grad)
    factor = scale[target] * scale[source]
    g_x = (scale.square()[:, None] * g).index_add(0, source, (factor * w)[:, None] * g[target])
    dot = (g[target] * h[source]).sum(-1)
    g_weight = factor * dot
    if not constant:
        g_scale = 2 * scale * (g * h).sum(-1)
        g_scale = g_scale.index_add(0, target, w * scale[source] * dot)
        g_scale = g_scale.index_add(0, source, w * scale[target] * dot)
        g_weight = g_weight + (-0.5 * scale**3 * g_scale)[target]
    return g_x.to(x.dtype), g_weight.to(weight.dtype), None, None


def _graph(
    g: torch.Generator, dtype: torch.dtype, n: int = 7, e: int = 12, width: int = 4
) -> tuple[Any, ...]:
    weight = uniform(g, dtype, e, low=0.1, high=1.5)
    return normal(g, dtype, n, width), weight, integers(g, e, high=n), integers(g, e, high=n)


def _no_edges(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return _graph(g, dtype, e=0)


messages = Operation(
    "normalised_messages",
    messages_forward,
    messages_backward,
    _graph,
    messages_reference,
    (
        Mistake(
            "missing-term",
            "the degrees are taken as constants, though they are sums of the weights",
            partial(messages_backward, constant=True),
            argument="weight",
        ),
    ),
    {
        "no edges": _no_edges,
        "one node": partial(_graph, n=1, e=3),
        "one feature": partial(_graph, width=1, e=30),
        "zero weights": lambda g, d: (
            normal(g, d, 3, 2),
            leaf(torch.zeros(4, dtype=d)),
            *_graph(g, d, 3, 4)[2:],
        ),
    },
)

# logarithm of the weighted number of spanning trees


def _ends(edges: Tensor, nodes: int, dtype: torch.dtype) -> Tensor:
    hot = torch.nn.functional.one_hot(edges, nodes).to(dtype)
    return (hot[0] - hot[1])[:, :-1]


def trees_reference(weight: Tensor, edges: Tensor, nodes: int) -> Tensor:
    w = wide(weight)
    i, j = edges
    a = torch.zeros(*w.shape[:-1], nodes * nodes, dtype=w.dtype)
    a = a.index_add(-1, i * nodes + j, w).unflatten(-1, (nodes, nodes))
    a = a + a.mT
    laplacian = torch.diag_embed(a.sum(-1)) - a
    return torch.logdet(laplacian[..., :-1, :-1]).to(weight.dtype)


def trees_forward(weight: Tensor, edges: Tensor, nodes: int) -> tuple[Tensor, Any]:
    w = wide(weight)
    b = _ends(edges, nodes, w.dtype)
    laplacian = b.mT @ (w.unsqueeze(-1) * b)
    return torch.logdet(laplacian).to(weight.dtype), (weight, edges, nodes, laplacian)


def trees_backward(grad: Tensor, residuals: Any, ground: bool = True) -> tuple[Any, ...]:
    weight, edges, nodes, laplacian = residuals
    b = _ends(edges, nodes, laplacian.dtype)
    inverse = torch.linalg.inv_ex(laplacian).inverse
    resistance = ((b @ inverse) * b).sum(-1)
    if not ground:
        resistance = resistance * (edges < nodes - 1).all(0)
    return (wide(grad).unsqueeze(-1) * resistance).to(weight.dtype), None, None


def _network(
    g: torch.Generator, dtype: torch.dtype, batch: Any = (3,), nodes: int = 6, extra: int = 6
) -> tuple[Any, ...]:
    ring = torch.stack((torch.arange(nodes), (torch.arange(nodes) + 1) % nodes))
    edges = torch.cat((ring, integers(g, 2, extra, high=nodes)), 1)
    return uniform(g, dtype, *batch, edges.shape[1], low=0.4, high=1.6), edges, nodes


trees = Operation(
    "log_spanning_trees",
    trees_forward,
    trees_backward,
    _network,
    trees_reference,
    (
        Mistake(
            "local",
            "edges at the vertex that the reduced Laplacian leaves out get no gradient",
            partial(trees_backward, ground=False),
            also=("zero", "region", "missing-term"),
            argument="weight",
        ),
    ),
    {
        "no batch": partial(_network, batch=()),
        "empty batch": partial(_network, batch=(0,)),
        "two nodes": partial(_network, nodes=2, extra=3),
    },
)

# integers with a scale and a zero point for each group, the last group perhaps shorter


def groups_reference(codes: Tensor, scale: Tensor, zero: Tensor, size: int = 8) -> Tensor:
    n = codes.shape[-1]
    s, z = (wide(t).repeat_interleave(size, -1)[..., :n] for t in (scale, zero))
    return ((codes - z) * s).to(scale.dtype)


def groups_forward(codes: Tensor, scale: Tensor, zero: Tensor, size: int = 8) -> tuple[Tensor, Any]:
    group = torch.arange(codes.shape[-1]) // size
    value = (codes - wide(zero)[..., group]) * wide(scale)[..., group]
    return value.to(scale.dtype), (codes, scale, zero, size)


def groups_backward(grad: Tensor, residuals: Any, whole: bool = False) -> tuple[Any, ...]:
    codes, scale, zero, size = residuals
    s, z, g = wide(scale), wide(zero), wide(grad)
    n = codes.shape[-1]
    group = torch.arange(n) // size
    g_scale = torch.zeros_like(s).index_add(-1, group, g * (codes - z[..., group]))
    stop = n // size * size if whole else n
    total = torch.zeros_like(z).index_add(-1, group[:stop], g[..., :stop])
    return None, g_scale.to(scale.dtype), (-s * total).to(zero.dtype), None


def _codes(
    g: torch.Generator, dtype: torch.dtype, rows: int = 3, n: int = 21, size: int = 8
) -> tuple[Any, ...]:
    groups = -(-n // size)
    codes = integers(g, rows, n, high=16)
    scale = uniform(g, dtype, rows, groups, low=0.1, high=0.5)
    return codes, scale, uniform(g, dtype, rows, groups, low=5.0, high=10.0), size


groups = Operation(
    "dequantise_groups",
    groups_forward,
    groups_backward,
    _codes,
    groups_reference,
    (
        Mistake(
            "local",
            "the last group, which is shorter, is left out of the zero points' gradient",
            partial(groups_backward, whole=True),
            also=("zero", "region", "missing-term"),
            argument="zero",
        ),
    ),
    {
        "whole groups": partial(_codes, n=12, size=4),
        "groups of one": partial(_codes, n=5, size=1),
        "one short group": partial(_codes, n=3),
        "no rows": partial(_codes, rows=0),
    },
)

OPERATIONS: tuple[Operation, ...] = (messages, trees, groups)
