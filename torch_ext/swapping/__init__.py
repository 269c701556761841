"""A model's ``torch.nn`` layers replaced by hand-derived ones, and back."""

from torch_ext.swapping.swap import Swapped as Swapped
from torch_ext.swapping.swap import swap as swap
from torch_ext.swapping.swap import unswap as unswap
