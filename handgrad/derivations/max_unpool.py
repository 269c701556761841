"""y[..., j] = x[..., i] where j = a[..., i], and 0 at all other places

Shapes.  x and a (N, C, *pooled) or (C, *pooled), with 1, 2 or 3 spatial axes; y the same with output_size
in place of the pooled sizes.  a holds places of y, counted over its spatial axes as one, row by row: the
indices of a max pooling, whose output x has the shape of.

Forward.  Each sample and channel by itself: y is 0, then each x[i] is written at place a[i].

Chain rule.  dy is ∂L/∂y.  Where all places are different, y[a[i]] is a copy of x[i]:
    dx[i] = dy[a[i]]

Result.  dx is dy, read at the places a.  Max pooling adds dy at a; this is its transpose.

Ties.  Pools that overlap may give a place twice: the last one written stays, and then PyTorch's rule, and
ours, gives every x[i] the gradient dy[a[i]], also one that was overwritten.  That is no derivative, but
for indices of a max pooling all of them hold the same entry.
Errors: x and a of different shapes, a place outside y.
Source: Zeiler and Fergus 2014, Visualizing and understanding convolutional networks, section 2.1; PyTorch
documentation, torch.nn.functional.max_unpool2d.
"""

import math

from handgrad._arrays import namespace, size
from handgrad._cases import case, normal, places
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives_pools import place
from handgrad.derivations._pools import flat, over, pick
from handgrad.derivations._spatial import ints, require_spatial


def forward(axes, x, a, *, output_size):
    require_spatial(x, axes, f"max_unpool{axes}d")
    out = ints(output_size, axes, "output_size", 0)
    require(
        tuple(a.shape) == tuple(x.shape),
        "x and its indices must have one shape",
        f"x {tuple(x.shape)}, indices {tuple(a.shape)}",
        "give the indices of the pooling that made x",
    )
    y = place(flat(x, axes), flat(a, axes), size(out))
    return namespace(y).reshape(y, (*x.shape[:-axes], *out)), (a,)


def backward(axes, dy, residuals, **_):
    (a,) = residuals
    return pick(dy, a, axes)


def reference(name):
    """PyTorch's function of that name, in windows of such a size that they fill the output."""

    def call(torch, x, a, *, output_size):
        out = (output_size,) if isinstance(output_size, int) else tuple(output_size)
        kernel = tuple(m - n + 1 for m, n in zip(out, x.shape[-len(out) :], strict=True))
        return getattr(torch.nn.functional, name)(x, a, kernel, 1, 0)

    return call


def cases(d):
    """The same for any number of axes d."""
    out, last = (9, 5, 4)[:d], (2, 1, 2)[:d]
    for name, shape in (("one sample", (4, *last)), ("a batch", (2, 1, *last)), ("no sample", (0, 1, *last))):
        yield case(name, normal(*shape), places(*shape, high=math.prod(out)), output_size=out)


for n in (1, 2, 3):
    register(
        over(n, forward),
        over(n, backward),
        name=f"max_unpool{n}d",
        torch=f"torch.nn.functional.max_unpool{n}d",
        reference=reference(f"max_unpool{n}d"),
        differentiable=("x",),
        widen=False,
        autocast="cpu",
        cases=cases(n),
    )
