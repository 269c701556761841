"""Activations, gated and randomised ones, dropouts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from torch_ext.sweep.own._draw import Functions, Modules, integers, normal

Draw = Callable[[torch.Generator, torch.dtype], Iterator[tuple[Any, ...]]]

SHAPES = ((3, 4), (), (0, 4), (2, 3, 4, 5))


def _function(*options: dict[str, Any], shapes: Any = SHAPES, grad: bool = True) -> Draw:
    """Each shape with each of the options; without ``grad``, for functions that work in place."""

    def make(g: torch.Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
        for o in options or ({},):
            for shape in shapes:
                yield (normal(g, dtype, *shape, grad=grad),), dict(o)

    return make


def _module(*arguments: dict[str, Any], shapes: Any = SHAPES) -> Draw:
    def make(g: torch.Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
        for a in arguments or ({},):
            for shape in shapes:
                yield (), dict(a), (normal(g, dtype, *shape),)

    return make


def _one_hot(g: torch.Generator, dtype: torch.dtype) -> Iterator[tuple[Any, ...]]:
    del dtype
    yield (integers(g, 3, 4, high=5),), {}
    yield (integers(g, high=5),), {"num_classes": 6}
    yield (integers(g, 0, high=5),), {"num_classes": 6}


FEATURES = ((2, 3), (2, 3, 4), (2, 3, 4, 5), (2, 3, 4, 2, 2))
PROBABILITIES = ({"p": 0.3}, {"p": 0.0}, {"p": 1.0}, {"training": False})
TRAINED = tuple({"training": True, **o} for o in PROBABILITIES[:3])

FUNCTIONS: Functions = {
    "celu": _function({"alpha": 0.3}, {"alpha": -1.7}, {"alpha": 2.5, "inplace": False}),
    "elu": _function({"alpha": 0.3}, {"alpha": -1.7}),
    "hardtanh": _function({"min_val": -0.3, "max_val": 0.7}),
    "softshrink": _function({"lambd": 0.3}, {"lambd": 0.0}),
    "hardshrink": _function({"lambd": 0.3}, {"lambd": -1.0}),
    "threshold": _function({"threshold": 0.1, "value": 20.0}),
    "rrelu": _function({"training": True}, {"lower": 0.3, "upper": 0.3, "training": True}, {"lower": -0.5}),
    "celu_": _function({"alpha": 0.3}, grad=False),
    "elu_": _function({}, {"alpha": 0.3}, grad=False),
    "hardtanh_": _function({}, {"min_val": -0.3, "max_val": 0.7}, grad=False),
    "leaky_relu_": _function({}, {"negative_slope": 0.3}, grad=False),
    "relu_": _function(grad=False),
    "rrelu_": _function({}, {"training": True}, grad=False),
    "selu_": _function(grad=False),
    "threshold_": _function({"threshold": 0.1, "value": 20.0}, grad=False),
    "softmin": _function({"dim": 0}, {"dim": -1}, shapes=((3, 4), (2, 3, 4), ())),
    "gumbel_softmax": _function(
        {},
        {"tau": 0.5, "dim": 0},
        {"hard": True},
        {"hard": True, "tau": 2.0, "dim": 0},
        shapes=((3, 4), (2, 3, 4)),
    ),
    "one_hot": _one_hot,
    "dropout1d": _function(*PROBABILITIES, {"inplace": False}, shapes=FEATURES[:2]),
    "dropout2d": _function(*PROBABILITIES, shapes=FEATURES),
    "dropout3d": _function(*PROBABILITIES, shapes=FEATURES),
    "alpha_dropout": _function(*TRAINED, {}, shapes=FEATURES),
    "feature_alpha_dropout": _function(*TRAINED, {}, shapes=FEATURES),
}
MODULES: Modules = {
    "CELU": _module({"alpha": 0.3}, {"alpha": -1.7}),
    "Hardsigmoid": _module(),
    "RReLU": _module({}, {"lower": 0.2, "upper": 0.9}),
    "Softmax2d": _module(shapes=((2, 3, 4), (2, 3, 4, 5))),
    "Dropout1d": _module({"p": 0.3}, shapes=FEATURES[:2]),
    "Dropout2d": _module({"p": 0.3}, shapes=FEATURES),
    "Dropout3d": _module({"p": 0.3}, shapes=FEATURES),
    "AlphaDropout": _module({"p": 0.3}, shapes=FEATURES),
    "FeatureAlphaDropout": _module({"p": 0.3}, shapes=FEATURES),
}
