"""Where exactly a derivative jumps: a kink at a number that the code nowhere names, such as the end of a
range times a step that is an input, too.

Between two points at which the gradient of an element differs, halving the distance leads to a jump, or to
nothing. What it leads to is kept where it is a short number: there forward and backward pass compute the
same, without rounding, and which side the kink itself belongs to is a matter of the convention alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torch_ext.checker.arrays import Array, Cotangents, array, tensor
from torch_ext.checker.probes import Probe
from torch_ext.checker.truth import Truth

_HALVINGS = 52
_BITS = 12  # of a short number
_LARGEST = 400  # elements
_ROUND = torch.tensor([0.25, 0.5, 1.0, 2.0], dtype=torch.float64)


def at_kinks(
    truth: Truth, given: Mapping[str, Tensor], constants: dict[int, Any], cotangents: Cotangents, seed: int
) -> Iterator[Probe]:
    """Points at which elements of one variable lie on kinks of the truth; the others are powers of two."""
    for name, x in given.items():
        if x.is_complex() or not x.numel() or x.numel() > _LARGEST:
            continue
        g = torch.Generator().manual_seed(seed + 31)
        for outwards in (1.0, -1.0):
            others = {n: v if n == name else _powers(v, g) for n, v in given.items()}
            found = _searched(truth, others, name, constants, cotangents, outwards, g)
            if found is not None:
                yield Probe(f"{name} at kinks", {**others, name: found}, dict(constants), True)


def _powers(x: Tensor, g: torch.Generator) -> Tensor:
    """Powers of two, of the sign of ``x``."""
    if x.is_complex():
        return x
    return torch.where(x < 0, -1.0, 1.0) * _ROUND[torch.randint(0, 4, x.shape, generator=g)]


def _searched(
    truth: Truth,
    variables: dict[str, Tensor],
    name: str,
    constants: dict[int, Any],
    cotangents: Cotangents,
    outwards: float,
    g: torch.Generator,
) -> Tensor | None:
    x = variables[name]

    def gradient(v: Array) -> Array:
        return truth({**variables, name: tensor(v, x)}, cotangents, constants, torch.float64)[1][name]

    near = array(_powers(x, g)) / 8
    far = outwards * 2.0 ** array(torch.randint(0, 5, x.shape, generator=g)).astype(float)
    if np.all(array(x) > 0):
        near, far = np.abs(near), np.abs(far)
    try:
        low, high = _bisected(gradient, near, far)
        jump = np.abs(gradient(low) - gradient(high)) > 1e-6 * np.max(np.abs(gradient(near)), initial=1e-300)
    except Exception:  # a point that is refused
        return None
    short = np.where(_short(low), low, high)
    found = jump & (_short(low) | _short(high)) & (short != 0)
    return tensor(np.where(found, short, near), x) if np.any(found) else None


def _bisected(gradient: Callable[[Array], Array], near: Array, far: Array) -> tuple[Array, Array]:
    """The last points to both sides of where each element's gradient changes most."""
    at_near, at_far = gradient(near), gradient(far)
    for _ in range(_HALVINGS):
        middle = (near + far) / 2
        at = gradient(middle)
        left = np.abs(at - at_near) <= np.abs(at - at_far)
        near, at_near = np.where(left, middle, near), np.where(left, at, at_near)
        far, at_far = np.where(left, far, middle), np.where(left, at_far, at)
    return near, far


def _short(x: Array) -> Array:
    fraction, _ = np.frexp(x)
    return np.asarray(fraction * 2.0**_BITS == np.round(fraction * 2.0**_BITS))
