"""Half types computed in float32, as under torch.amp.custom_fwd, and small helpers."""

import torch

from torch_ext.corpus._entry import Mistake, Operation, integers, normal, uniform  # noqa: F401
from torch_ext.corpus._entry import wide as up

HALF = (torch.bfloat16, torch.float16)
LOW = ("float64", "float32", "bfloat16", "float16")
FULL = ("float64", "float32")


def _dtype(inputs):
    return next(t.dtype for t in inputs if isinstance(t, torch.Tensor) and t.is_floating_point())


def reference(function):
    """The function with half types computed in float32."""

    def run(*inputs):
        return function(*map(up, inputs)).to(_dtype(inputs))

    return run


def fwd(forward):
    """A forward pass whose half inputs are computed with in float32."""

    def run(*inputs):
        with torch.no_grad():
            output, residuals = forward(*(up(t) for t in inputs))
        dtypes = tuple(getattr(t, "dtype", None) for t in inputs)
        return output.to(_dtype(inputs)), (residuals, dtypes)

    return run


def bwd(backward):
    """A backward pass that casts its gradients back to half types."""

    def run(g, residuals, *key):
        saved, dtypes = residuals
        with torch.no_grad():
            grads = backward(up(g), saved, *key)
        return tuple(d if d is None or t not in HALF else d.to(t) for d, t in zip(grads, dtypes))

    return run


def keyed(backward, key):
    return lambda g, residuals: backward(g, residuals, key)


def mistakes(backward, *rows):
    """Rows (kind, key, what, options): key names the branch of the backward, or options give a pass."""
    made = []
    for kind, key, what, options in rows:
        if key is not None:
            options = {"backward": keyed(backward, key), **options}
        made.append(Mistake(kind, what, **options))
    return tuple(made)


def leaf(t):
    return t.detach().requires_grad_()


def sum_to(t, shape):
    """Sum over the axes that were broadcast."""
    lead = t.dim() - len(shape)
    t = t.sum(tuple(range(lead))) if lead else t
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and t.shape[i] != 1)
    return t.sum(axes, keepdim=True) if axes else t
