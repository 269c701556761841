"""What the public corpus is made of: published Functions, each right and with mistakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from torch_ext.corpus._entry import DTYPES, KINDS, Inputs
from torch_ext.corpus._entry import wide as wide

FLOATS = ("float64", "float32")
Apply = Callable[..., Any]


@dataclass(frozen=True)
class Wrong:
    """A published Function with one mistake.

    kind       what the first finding should be called
    what       the mistake in words
    apply      the wrong Function's ``apply``
    also       kinds that name that very mistake as well
    argument   the name of the input whose gradient is wrong, where it is one
    dtypes     where it shows
    """

    kind: str
    what: str
    apply: Apply
    also: tuple[str, ...] = ()
    argument: str = ""
    dtypes: tuple[str, ...] = ("float64",)

    def __post_init__(self) -> None:
        assert {self.kind, *self.also} <= set(KINDS), (self.kind, self.also)


@dataclass(frozen=True)
class PublicFunction:
    """A ``torch.autograd.Function`` in use in public, written anew from its formulas.

    name        a short name
    source      the repository, and the paper where there is one
    right       the right Function's ``apply``
    reference   the same in PyTorch's own operations; its autograd gradient is the truth
    inputs      usual inputs, made for a generator and a dtype
    further     more inputs, by name: kinks, ties, saturation, other sizes
    dtypes      in which the right version is right
    convention  the gradient is one agreed on (a straight-through estimator's, a reversed one), not the
                forward pass's: without the reference it is wrong
    wrong       its mistakes
    """

    name: str
    source: str
    right: Apply
    reference: Apply
    inputs: Inputs
    wrong: tuple[Wrong, ...]
    further: Mapping[str, Inputs] = field(default_factory=dict)
    dtypes: tuple[str, ...] = FLOATS
    convention: bool = False

    def __post_init__(self) -> None:
        assert set(self.dtypes) <= set(DTYPES)


def pass_through(value: Tensor, *parts: Tensor) -> Tensor:
    """``value``, with the gradient of the sum of ``parts``."""
    value = value.detach()
    for part in parts:
        value = value + (part - part.detach())
    return value


def these(*rows: Any, grad: bool = True) -> Callable[[torch.dtype], Tensor]:
    """A maker of the tensor with these numbers."""
    return lambda dtype: torch.tensor(rows, dtype=dtype).requires_grad_(grad)
