"""Selection and segments: gradients that go back to where the values came from."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_ext.corpus._entry import Mistake, Operation, integers, normal
from torch_ext.corpus.held_out._tools import altered, filled, turned, wide, zeroed

# --- the three largest of each row, in order; ties go to the first


def _top_three(x: Tensor) -> Any:
    index = torch.sort(x, dim=-1, descending=True, stable=True).indices[..., :3]
    return x.gather(-1, index), (index, x)


def _top_three_backward(g: Any, r: Any) -> Any:
    index, x = r
    return (torch.zeros_like(x).scatter(-1, index, g),)


def _top_three_by_rank(g: Any, r: Any) -> Any:
    return _top_three_backward(g, (torch.arange(3).expand_as(r[0]), r[1]))


def _top_three_flat(g: Any, r: Any) -> Any:
    index, x = r
    dx = torch.zeros_like(x).flatten().index_add(0, index.flatten(), g.flatten())  # no row offset
    return (dx.reshape(x.shape),)


TOP_THREE = Operation(
    "top_three_of_row",
    _top_three,
    _top_three_backward,
    lambda g, d: (normal(g, d, 4, 6),),
    lambda x: x.gather(-1, torch.sort(x, dim=-1, descending=True, stable=True).indices[..., :3]),
    (
        Mistake("permuted", "the gradients go to the first places, as if x were sorted", _top_three_by_rank,
                hidden=lambda g, d: (torch.sort(normal(g, d, 4, 6, grad=False), -1, True)
                                     .values.requires_grad_(),),
                source="https://github.com/ml-explore/mlx/issues/1428"),
        Mistake("permuted", "the row's offset is left out: everything goes to the first row", _top_three_flat,
                hidden=lambda g, d: (normal(g, d, 1, 6),), also=("region", "missing-sum", "unknown"),
                source="https://github.com/ooples/AiDotNet.Tensors/pull/894"),
        Mistake("unknown", "every element of the row gets the mean of the row's gradients",
                lambda g, r: (g.mean(-1, keepdim=True).expand_as(r[1]),), also=("region", "permuted"),
                source="https://github.com/rusty1s/pytorch_scatter/issues/399"),
        Mistake("permuted", "the order is the ascending one",
                lambda g, r: _top_three_backward(g.flip(-1), r),
                source="https://github.com/ml-explore/mlx/issues/1428"),
    ),
    {
        "ties": lambda g, d: (integers(g, 3, 6, high=3).to(d).requires_grad_(),),
        "all equal": lambda g, d: (filled(d, 1, 2, 4),),
        "exactly three": lambda g, d: (normal(g, d, 2, 3),),
        "views": lambda g, d: (turned(g, d, 3, 5),),
    },
)  # fmt: skip


# --- the mean of the rows of each of four segments


def _segment_mean(x: Tensor, ids: Tensor) -> Any:
    count = torch.bincount(ids, minlength=4).clamp(min=1).to(wide(x).dtype)
    y = torch.zeros(4, x.shape[1], dtype=wide(x).dtype).index_add(0, ids, wide(x)) / count[:, None]
    return y.to(x.dtype), (ids, count, x)


def _segment_mean_backward(g: Any, r: Any, counted: bool = True) -> Any:
    ids, count, x = r
    g = wide(g) / (count[:, None] if counted else 1)
    return g[ids].to(x.dtype), None


def _segments(g: torch.Generator, d: torch.dtype) -> tuple[Any, ...]:
    return normal(g, d, 7, 3), torch.tensor([0, 0, 0, 1, 2, 2, 0])


SEGMENT_MEAN = Operation(
    "segment_mean",
    _segment_mean,
    _segment_mean_backward,
    _segments,
    lambda x, ids: (
        F.one_hot(ids, 4).to(wide(x).dtype).mT @ wide(x) / F.one_hot(ids, 4).sum(0).clamp(min=1)[:, None]
    ).to(x.dtype),
    (
        Mistake("missing-factor", "not divided by the segments' sizes",
                lambda g, r: _segment_mean_backward(g, r, counted=False), also=("region",),
                hidden=lambda g, d: (normal(g, d, 4, 3), torch.tensor([2, 0, 3, 1])),
                source="https://github.com/rusty1s/pytorch_scatter/issues/399"),
        Mistake("permuted", "sorted by segment, not put back",
                lambda g, r: (_segment_mean_backward(g, (r[0].sort().values, *r[1:]))[0], None),
                hidden=lambda g, d: (normal(g, d, 5, 3), torch.tensor([0, 0, 1, 2, 3])),
                source="https://github.com/microsoft/Tutel/pull/289"),
        Mistake("scale", "divided once more by the number of segments",
                altered(_segment_mean_backward, 0, lambda d: d / 4),
                source="https://github.com/tinygrad/tinygrad/pull/15363"),
        Mistake("local", "the first row of the last segment is skipped",
                altered(_segment_mean_backward, 0, zeroed((4, 0))), also=("zero",),
                source="https://github.com/pytorch/FBGEMM/pull/5754"),
    ),
    {
        "empty segments": lambda g, d: (normal(g, d, 3, 2), torch.tensor([3, 3, 3])),
        "one row": lambda g, d: (normal(g, d, 1, 2), torch.tensor([1])),
        "no rows": lambda g, d: (normal(g, d, 0, 2), torch.zeros(0, dtype=torch.long)),
        "views": lambda g, d: (turned(g, d, 7, 3), torch.tensor([0, 1, 2, 3, 0, 1, 2])),
    },
)  # fmt: skip

OPERATIONS = (TOP_THREE, SEGMENT_MEAN)
