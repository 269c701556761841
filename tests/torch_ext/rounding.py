"""What rounding alone may do to a model's results: every layer's output a rounding off."""

from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from torch_ext.checker.spread import Nudge


@contextmanager
def a_rounding_off(model, seed):
    """Within it, what each layer returns is changed by about a unit roundoff, and so is the gradient that
    comes to it."""
    off = Nudge(torch.Generator().manual_seed(seed))

    def nudged(y):
        y = off(y)
        if isinstance(y, Tensor) and y.is_floating_point() and y.requires_grad:
            y.register_hook(off)
        return y

    with ExitStack() as stack:
        for layer in (m for m in model.modules() if not any(m.children())):
            stack.callback(layer.register_forward_hook(lambda _, __, y: tree_map(nudged, y)).remove)
        yield
