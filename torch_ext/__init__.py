"""Hand derivations as PyTorch layers: ``autograd.Function``s, ``functional`` and ``nn``."""

try:
    import torch  # noqa: F401
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "torch_ext needs PyTorch; received a Python without it; install it, by pip install torch."
    ) from None

from torch_ext import functional as functional
from torch_ext import nn as nn
from torch_ext._function import call as call
from torch_ext._function import functions as functions
from torch_ext.checker import check as check
from torch_ext.swapping import Swapped as Swapped
from torch_ext.swapping import swap as swap
from torch_ext.swapping import unswap as unswap
