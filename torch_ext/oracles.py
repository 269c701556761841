"""Truths from PyTorch: the same call by PyTorch itself, its gradient by autograd."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from handgrad._derivation import Derivation

Arrays = Sequence[np.ndarray | None]


@dataclass(frozen=True)
class Results:
    """Outputs, and the gradient of each input: NumPy arrays, floats as float64; None where there is none."""

    outputs: list[np.ndarray | None]
    gradients: list[np.ndarray | None]

    @property
    def all(self) -> list[np.ndarray | None]:
        return [*self.outputs, *self.gradients]


def reference(derivation: Derivation, inputs: Sequence[Any], options: Mapping[str, Any]) -> tuple[Any, ...]:
    """The outputs of the PyTorch function that the derivation stands for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's advice on how to call it is none on the derivation
        formula = derivation.truth or derivation.reference
        if formula is not None:
            y = formula(torch, *inputs, **options)
        else:
            function: Any = torch
            for part in derivation.torch.split(".")[1:]:
                function = getattr(function, part)
            y = function(*inputs, **options)
    return y if isinstance(y, tuple) else (y,)


def autograd(
    derivation: Derivation,
    inputs: Arrays,
    options: Mapping[str, Any],
    cotangents: Arrays,
    dtype: torch.dtype = torch.float64,
) -> Results:
    """Outputs and gradients by autograd through PyTorch's own function, computed in ``dtype``."""
    leaves = [tensor(x, dtype) for x in inputs]
    wanted = differentiable(derivation, leaves)
    for i in wanted:
        leaves[i].requires_grad_()  # type: ignore[union-attr]
    outputs = reference(derivation, leaves, options)
    return Results([array(y) for y in outputs], gradients(outputs, leaves, wanted, cotangents))


def gradients(
    outputs: Sequence[Any], inputs: Sequence[Tensor | None], wanted: Sequence[int], cotangents: Arrays
) -> list[np.ndarray | None]:
    """The gradient of each input, by ``torch.autograd.grad`` with one cotangent for each output."""
    ends = [
        (y, tensor(dy, y.dtype))
        for y, dy in zip(outputs, cotangents, strict=True)
        if dy is not None and y.requires_grad
    ]
    result: list[np.ndarray | None] = [None] * len(inputs)
    leaves = {i: x for i in wanted if (x := inputs[i]) is not None}
    if ends and leaves:
        found = torch.autograd.grad(
            [y for y, _ in ends], [*leaves.values()], [dy for _, dy in ends], allow_unused=True
        )
        for i, dx in zip(leaves, found, strict=True):
            result[i] = None if dx is None else array(dx)
    return result


def differentiable(derivation: Derivation, inputs: Sequence[Tensor | None]) -> list[int]:
    """The positions of the inputs whose gradient is asked for: floating, and declared to have one."""
    return [
        i
        for i, x in enumerate(inputs)
        if x is not None and x.is_floating_point() and derivation.has_gradient(i)
    ]


def tensor(x: np.ndarray | None, dtype: torch.dtype) -> Tensor | None:
    """A new tensor; floats in ``dtype``, integers and booleans as they are."""
    if x is None:
        return None
    made = torch.from_numpy(np.array(x, order="C"))
    return made.to(dtype) if made.is_floating_point() else made


def array(x: Any) -> np.ndarray:
    """A tensor as a dense NumPy array, floats as float64."""
    x = x.detach()
    dense = x.to_dense() if x.is_sparse else x
    return np.asarray((dense.double() if dense.is_floating_point() else dense).numpy())
