"""Language and graphs: scaled embeddings, rotary positions, softmax over a node's edges."""

import math

import torch

from torch_ext.corpus._entry import Mistake, Operation, integers, normal

from ._util import leaf, up

# ---- embedding times sqrt(dimension) ----------------------------------------------------------


def embed_forward(weight, tokens, padding):
    scale = math.sqrt(weight.shape[1])
    out = weight[tokens] * scale
    if padding is not None:
        out[tokens == padding] = 0
    return out, (weight, tokens, padding, scale)


def embed_backward(g, res):
    weight, tokens, padding, scale = res
    grad = torch.zeros_like(up(weight))
    grad.index_add_(0, tokens.reshape(-1), up(g).reshape(-1, weight.shape[1]) * scale)
    if padding is not None:
        grad[padding] = 0
    return grad.to(weight.dtype), None, None


def embed_overwrite(g, res):
    weight, tokens, padding, scale = res
    grad = torch.zeros_like(weight)
    grad[tokens] = (g * scale).to(weight.dtype)
    if padding is not None:
        grad[padding] = 0
    return grad, None, None


def embed_reference(weight, tokens, padding):
    out = torch.nn.functional.embedding(tokens, weight) * math.sqrt(weight.shape[1])
    return out if padding is None else out * (tokens != padding).unsqueeze(-1)


EMBED = Operation(
    name="scaled_embedding",
    forward=embed_forward,
    backward=embed_backward,
    reference=embed_reference,
    inputs=lambda g, d: (normal(g, d, 6, 4), integers(g, 3, 5, high=6), 0),
    further={
        "one token": lambda g, d: (normal(g, d, 2, 3), torch.tensor([[1]]), None),
        "padding only": lambda g, d: (normal(g, d, 3, 2), torch.zeros(2, 3, dtype=torch.long), 0),
        "no tokens": lambda g, d: (normal(g, d, 3, 2), torch.zeros(0, 3, dtype=torch.long), None),
        "transposed weight": lambda g, d: (
            leaf(normal(g, d, 4, 5, grad=False).t()),
            integers(g, 9, high=5),
            2,
        ),
    },
    mistakes=(
        Mistake(
            kind="missing-sum",
            what="a token that occurs twice gets the gradient of one occurrence",
            backward=embed_overwrite,
            also=("local", "region", "missing-term", "nondeterministic"),
            argument="weight",
            hidden=lambda g, d: (normal(g, d, 8, 4), torch.randperm(8, generator=g)[:6].reshape(2, 3), None),
        ),
    ),
)

# ---- rotary position embedding, interleaved pairs ---------------------------------------------


def _rotate(x, cos, sin):
    out = torch.empty_like(x)
    a, b = x[..., 0::2], x[..., 1::2]
    out[..., 0::2] = a * cos - b * sin
    out[..., 1::2] = a * sin + b * cos
    return out


def rope_forward(x, positions, base):
    half = x.shape[-1] // 2
    freq = base ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = positions.double()[:, None] * freq
    v = up(x)
    cos, sin = angle.cos().to(v.dtype), angle.sin().to(v.dtype)
    return _rotate(v, cos, sin).to(x.dtype), (cos, sin)


def rope_backward(g, res):
    cos, sin = res
    return _rotate(up(g), cos, -sin).to(g.dtype), None, None


def rope_same(g, res):
    cos, sin = res
    return _rotate(up(g), cos, sin).to(g.dtype), None, None


def rope_reference(x, positions, base):
    half = x.shape[-1] // 2
    freq = base ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.outer(positions.double(), freq)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x.unflatten(-1, (half, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


ROPE = Operation(
    name="rotary_interleaved",
    forward=rope_forward,
    backward=rope_backward,
    reference=rope_reference,
    inputs=lambda g, d: (normal(g, d, 2, 5, 8), torch.arange(5), 100.0),
    further={
        "far positions": lambda g, d: (normal(g, d, 1, 3, 4), torch.tensor([0, 4096, 100000]), 10000.0),
        "heads view": lambda g, d: (
            leaf(normal(g, d, 4, 3, 6, grad=False).transpose(0, 1)),
            torch.arange(4),
            10.0,
        ),
        "one": lambda g, d: (normal(g, d, 1, 1, 2), torch.tensor([3]), 10.0),
    },
    mistakes=(
        Mistake(
            kind="unknown",
            what="the gradient is rotated forwards, not back",
            backward=rope_same,
            also=("region", "sign"),
            argument="x",
            hidden=lambda g, d: (normal(g, d, 2, 1, 4), torch.tensor([0]), 100.0),
        ),
    ),
)

# ---- softmax of edge scores over each destination node ----------------------------------------


def edge_forward(scores, target, nodes):
    s = up(scores)
    index = target[:, None].expand_as(s)
    top = torch.full((nodes, s.shape[1]), -torch.inf, dtype=s.dtype)
    top.scatter_reduce_(0, index, s, "amax")
    p = (s - top[target]).exp_()
    total = torch.zeros_like(top).index_add_(0, target, p)
    p /= total[target]
    return p.to(scores.dtype), (p, target, nodes, scores.dtype)


def edge_backward(g, res):
    p, target, nodes, dtype = res
    pg = p * up(g)
    inner = torch.zeros(nodes, p.shape[1], dtype=p.dtype).index_add_(0, target, pg)
    return (pg - p * inner[target]).to(dtype), None, None


def edge_diagonal(g, res):
    p, _, _, dtype = res
    return (p * (1 - p) * up(g)).to(dtype), None, None


def edge_reference(scores, target, nodes):
    out = torch.zeros_like(scores)
    for n in range(nodes):
        mine = (target == n).nonzero()[:, 0]
        out = out.index_copy(0, mine, scores[mine].softmax(0))
    return out


EDGE = Operation(
    name="edge_softmax",
    forward=edge_forward,
    backward=edge_backward,
    reference=edge_reference,
    inputs=lambda g, d: (normal(g, d, 10, 2), integers(g, 10, high=4), 4),
    further={
        "huge and tied scores": lambda g, d: (
            leaf(torch.tensor([[3e4], [3e4], [-3e4], [0.0], [0.0], [0.0]]), d),
            torch.tensor([0, 0, 0, 2, 2, 2]),
            3,
        ),
        "no edges": lambda g, d: (normal(g, d, 0, 2), torch.zeros(0, dtype=torch.long), 3),
        "one edge a node, view": lambda g, d: (leaf(normal(g, d, 2, 4, grad=False).t()), torch.arange(4), 5),
    },
    mistakes=(
        Mistake(
            kind="missing-term",
            what="the diagonal of the softmax's Jacobian alone",
            backward=edge_diagonal,
            argument="scores",
            hidden=lambda g, d: (normal(g, d, 4, 2), torch.arange(4), 4),
        ),
    ),
)

OPERATIONS = (EMBED, ROPE, EDGE)
