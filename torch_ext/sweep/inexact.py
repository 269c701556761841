"""Where PyTorch itself is the less accurate one: what the sweep then compares. See ``docs/findings``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import nn

from torch_ext import functional

# (name in torch_ext, check): (page under docs/findings, relative size of PyTorch's own error)
INEXACT = {
    ("binary_cross_entropy", "second"): ("binary-cross-entropy-second-derivative", 1e-9),
    ("BCELoss", "second"): ("binary-cross-entropy-second-derivative", 1e-9),
}

# name in torch_ext: page. PyTorch's gradient is right behind a log_softmax alone: both are called behind one.
BEHIND_LOG_SOFTMAX = {"ctc_loss": "ctc-loss-gradient", "CTCLoss": "ctc-loss-gradient"}


def base_name(entry: str) -> str:
    """The name in ``torch_ext`` of an entry of the sweep."""
    name = entry.removeprefix("own.").removeprefix("nn.").removeprefix("functional.")
    return name.split("/")[0]


def slack(entry: str, check: str) -> float:
    """The relative error that PyTorch itself is known to make there."""
    return INEXACT.get((base_name(entry), check), ("", 0.0))[1]


def behind(base: str, function: Callable[..., Any], *, hand: bool) -> Callable[..., Any]:
    """``function``, called behind what its PyTorch counterpart needs before it."""
    if base not in BEHIND_LOG_SOFTMAX:
        return function
    log_softmax = functional.log_softmax if hand else nn.functional.log_softmax

    @wraps(function)
    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        return function(log_softmax(x, -1), *args, **kwargs)

    return call
