"""``torch.nn.functional`` (and a few names of ``torch``) with hand-derived gradients.

Signatures, defaults, dtypes and errors are PyTorch's. A derivation without a function here is
found all the same: ``functional.NAME(*inputs, **options)`` takes its inputs by position.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from handgrad._derivation import registry
from torch_ext.functional._activations import gelu as gelu
from torch_ext.functional._activations import leaky_relu as leaky_relu
from torch_ext.functional._activations import log_softmax as log_softmax
from torch_ext.functional._activations import relu as relu
from torch_ext.functional._activations import sigmoid as sigmoid
from torch_ext.functional._activations import silu as silu
from torch_ext.functional._activations import softmax as softmax
from torch_ext.functional._activations import softplus as softplus
from torch_ext.functional._activations import tanh as tanh
from torch_ext.functional._arithmetic import add as add
from torch_ext.functional._arithmetic import concat as concat
from torch_ext.functional._arithmetic import divide as divide
from torch_ext.functional._arithmetic import exp as exp
from torch_ext.functional._arithmetic import log as log
from torch_ext.functional._arithmetic import matmul as matmul
from torch_ext.functional._arithmetic import mean as mean
from torch_ext.functional._arithmetic import multiply as multiply
from torch_ext.functional._arithmetic import reshape as reshape
from torch_ext.functional._arithmetic import square as square
from torch_ext.functional._arithmetic import subtract as subtract
from torch_ext.functional._arithmetic import sum as sum
from torch_ext.functional._arithmetic import transpose as transpose
from torch_ext.functional._common import apply
from torch_ext.functional._layers import batch_norm as batch_norm
from torch_ext.functional._layers import conv2d as conv2d
from torch_ext.functional._layers import dropout as dropout
from torch_ext.functional._layers import embedding as embedding
from torch_ext.functional._layers import layer_norm as layer_norm
from torch_ext.functional._layers import linear as linear
from torch_ext.functional._layers import max_pool2d as max_pool2d
from torch_ext.functional._layers import max_pool2d_with_indices as max_pool2d_with_indices
from torch_ext.functional._layers import pad as pad
from torch_ext.functional._layers import rms_norm as rms_norm
from torch_ext.functional._layers import scaled_dot_product_attention as scaled_dot_product_attention
from torch_ext.functional._losses import binary_cross_entropy as binary_cross_entropy
from torch_ext.functional._losses import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from torch_ext.functional._losses import cross_entropy as cross_entropy
from torch_ext.functional._losses import l1_loss as l1_loss
from torch_ext.functional._losses import mse_loss as mse_loss
from torch_ext.functional._losses import nll_loss as nll_loss
from torch_ext.functional._losses import smooth_l1_loss as smooth_l1_loss

# PyTorch's own short names for the same functions
cat, sub, mul, div = concat, subtract, multiply, divide


def __getattr__(name: str) -> Callable[..., Any]:
    if name not in registry:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}: no derivation has that name")
    return partial(apply, name)
