"""Hand derivations as PyTorch layers: ``autograd.Function``s, ``functional`` and ``nn``."""

from torch_ext import functional as functional
from torch_ext import nn as nn
from torch_ext._function import call as call
from torch_ext._function import functions as functions
