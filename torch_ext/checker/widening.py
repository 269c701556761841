"""A target in float64 although tensors in its closure are not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map


class widening(TorchFunctionMode):  # noqa: N801  (a context manager)
    """Within it, a function that gets a tensor in ``dtype`` gets all its floating ones in it."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        seen: list[bool] = []

        def wide(x: Any) -> Any:
            if not isinstance(x, Tensor) or not x.is_floating_point():
                return x
            seen.append(x.dtype == self.dtype)
            return x if seen[-1] else x.to(self.dtype)

        with torch._C.DisableTorchFunction():
            widened = tree_map(wide, (args, kwargs or {}))
        name = getattr(func, "__name__", "")
        in_place = name.endswith("_") and not name.endswith("__")
        if any(seen) and not all(seen) and not in_place:
            args, kwargs = widened
        return func(*args, **(kwargs or {}))
