"""What PyTorch's own functions are off by, next to their formulas.

Some of PyTorch's functions are approximations by design: softplus is the identity beyond its threshold, and
some derivatives hold the digits of float32 only. A hand derivation follows the formula, and is then right,
too. Under :func:`exact` these functions are the formulas; how far that moves a gradient is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.overrides import TorchFunctionMode


def _softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    return torch.logaddexp(torch.zeros_like(x), beta * x) / beta


def _celu(x: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    return torch.where(x > 0, x, alpha * torch.expm1(torch.where(x > 0, 0.0, x) / alpha))


def _hardsigmoid(x: Tensor, inplace: bool = False) -> Tensor:
    return torch.clamp((x + 3) / 6, 0, 1)


def _hardswish(x: Tensor, inplace: bool = False) -> Tensor:
    return x * torch.clamp((x + 3) / 6, 0, 1)


_FORMULAS: Mapping[Any, Callable[..., Tensor]] = {
    F.softplus: _softplus,
    F.celu: _celu,
    F.hardsigmoid: _hardsigmoid,
    F.hardswish: _hardswish,
}


class exact(TorchFunctionMode):  # noqa: N801  (a context manager)
    """Within it, PyTorch's approximations are replaced by their formulas."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _FORMULAS.get(func, func)(*args, **(kwargs or {}))
