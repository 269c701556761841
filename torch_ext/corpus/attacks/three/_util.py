"""Small helpers that several operations share."""

from torch_ext.corpus._entry import wide as up  # noqa: F401


def unbroadcast(grad, shape):
    while grad.dim() > len(shape):
        grad = grad.sum(0)
    for d, n in enumerate(shape):
        if n == 1 and grad.shape[d] != 1:
            grad = grad.sum(d, keepdim=True)
    return grad


def leaf(x, dtype=None):
    x = x.detach()
    return (x if dtype is None else x.to(dtype)).requires_grad_(True)
