"""What autocast does to a layer's inputs, done outside the layer: its casts stay in the graph.

Source: PyTorch documentation, "Automatic Mixed Precision package", the op reference lists. A
derivation states the policy of accelerators (CUDA, XPU); the CPU's list is shorter.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from handgrad._derivation import Derivation

_AS_IT_IS = nullcontext()


def device_type(values: Sequence[Any]) -> str:
    """The device type of the first tensor among ``values``; "cpu" without one."""
    for v in values:
        if isinstance(v, Tensor):
            return v.device.type
    return "cpu"


def is_on(device: str) -> bool:
    """Whether autocast is enabled for that type of device."""
    return device != "meta" and torch.is_autocast_enabled(device)


def off(device: str) -> AbstractContextManager[Any]:
    """A formula's own dtypes hold inside it: autocast off, at no cost where it is off already."""
    return torch.autocast(device, enabled=False) if is_on(device) else _AS_IT_IS


def cast_inputs(derivation: Derivation, inputs: Sequence[Any], device: str) -> Sequence[Any]:
    """Cast as autocast would: to its 16-bit dtype ("half"), to the "widest", or to "float32".

    A "loss" goes to float32 on the CPU too, and what says "cpu" there alone.
    """
    policy = derivation.autocast
    if policy == "float32" and device == "cpu":
        policy = ""
    elif policy in ("loss", "cpu"):
        policy = "float32" if policy == "loss" or device == "cpu" else ""
    if not policy:
        return inputs
    if policy == "half":
        target = torch.get_autocast_dtype(device)
    elif policy == "float32":
        target = torch.float32
    else:
        floats = [v.dtype for v in inputs if isinstance(v, Tensor) and v.is_floating_point()]
        target = max(floats, key=lambda dtype: torch.finfo(dtype).bits, default=torch.float32)
    return [v.to(target) if _eligible(v, policy, target) else v for v in inputs]


def _eligible(v: Any, policy: str, target: torch.dtype) -> bool:
    if not isinstance(v, Tensor) or not v.is_floating_point() or v.dtype == target:
        return False
    if policy == "float32":  # only 16-bit floats are widened
        return torch.finfo(v.dtype).bits < 32
    return v.dtype != torch.float64  # float64 is never lowered
