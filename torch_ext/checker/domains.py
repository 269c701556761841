"""Where a function may be asked: the domain that the given numbers suggest, and whether it ends there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torch_ext.checker.arrays import Cotangents
from torch_ext.checker.draws import domain
from torch_ext.checker.truth import Truth

_NEAR = 1e-6
_SINGULAR = 1e3  # 1/x grows by 1e6 from 1 to 1e-6, its square root's by 1e3


def strict(
    truth: Truth,
    variables: Mapping[str, Tensor],
    cotangents: Cotangents,
    constants: Mapping[int, Any],
) -> dict[str, str]:
    """The variables whose gradient grows without bound where the domain ends that the given numbers
    suggest, as a logarithm's does, with that domain: outside, a formula may give numbers (it clamps),
    but they mean nothing."""
    found = {}
    for name, v in variables.items():
        kind = domain(v, closed=True)
        ends = {"unit": (_NEAR, 1 - _NEAR), "positive": (_NEAR,)}.get(kind, ())
        if any(_grows(truth, variables, name, end, cotangents, constants) for end in ends):
            found[name] = kind
    return found


def _grows(
    truth: Truth,
    variables: Mapping[str, Tensor],
    name: str,
    end: float,
    cotangents: Cotangents,
    constants: Mapping[int, Any],
) -> bool:
    try:
        usual, near = (
            truth(
                {**variables, name: torch.full_like(variables[name], at)},
                cotangents,
                constants,
                torch.float64,
            )[1][name]
            for at in (0.5, end)
        )
    except Exception:
        return False
    sizes = [float(np.max(np.abs(t), initial=0.0)) for t in (near, usual)]
    return not np.isfinite(sizes[0]) or sizes[0] > 0.9 * _SINGULAR * sizes[1]
