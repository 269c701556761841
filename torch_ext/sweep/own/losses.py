"""Losses and distances."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any

import torch

from torch_ext.sweep.own._draw import Functions, Modules, integers, normal

Calls = Iterator[tuple[Any, ...]]


def _cosine_similarity(g: torch.Generator, dtype: torch.dtype) -> Calls:
    for options in ({}, {"dim": 0}, {"dim": -1, "eps": 2.0}):
        yield (), options, (normal(g, dtype, 4, 3), normal(g, dtype, 4, 3))
    yield (), {"dim": 2}, (normal(g, dtype, 2, 3, 4), normal(g, dtype, 2, 1, 4))


def _pairwise_distance(g: torch.Generator, dtype: torch.dtype) -> Calls:
    for p in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, inf, -inf):
        yield (p,), {}, (normal(g, dtype, 4, 3), normal(g, dtype, 4, 3))
    yield (), {"keepdim": True, "eps": 0.25}, (normal(g, dtype, 4, 3), normal(g, dtype, 3))
    yield (), {}, (normal(g, dtype, 3), normal(g, dtype, 3))


def _triplet(g: torch.Generator, dtype: torch.dtype) -> Calls:
    for options in (
        {},
        {"margin": 0.25, "reduction": "sum"},
        {"p": 1.0, "swap": True, "reduction": "none"},
        {"p": 3.0, "eps": 0.25},
        {"p": inf, "swap": True},
    ):
        yield (), options, tuple(normal(g, dtype, 5, 3) for _ in range(3))
    yield (), {}, tuple(normal(g, dtype, 3) for _ in range(3))


def _triplet_with_distance(g: torch.Generator, dtype: torch.dtype) -> Calls:
    for options in ({}, {"swap": True, "reduction": "none"}, {"margin": 3.0, "reduction": "sum"}):
        yield (), options, tuple(normal(g, dtype, 5, 3) for _ in range(3))


def _adaptive(g: torch.Generator, dtype: torch.dtype) -> Calls:
    for args, options in (((16, 20, [4, 10]), {}), ((16, 12, [3]), {"head_bias": True, "div_value": 2.0})):
        classes = args[1]
        yield args, options, (normal(g, dtype, 8, 16), integers(g, 8, high=classes))
        yield args, options, (normal(g, dtype, 3, 16), integers(g, 3, high=3))  # the head alone
        yield args, options, (normal(g, dtype, 16), integers(g, high=classes))


FUNCTIONS: Functions = {}
MODULES: Modules = {
    "AdaptiveLogSoftmaxWithLoss": _adaptive,
    "CosineSimilarity": _cosine_similarity,
    "PairwiseDistance": _pairwise_distance,
    "TripletMarginLoss": _triplet,
    "TripletMarginWithDistanceLoss": _triplet_with_distance,
}
