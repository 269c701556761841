"""y[..., i] = the largest x[..., j] with  ⌊i n/m⌋ ≤ j < ⌈(i + 1) n/m⌉

Shapes.  x (N, C, *spatial) or (C, *spatial), with 1, 2 or 3 spatial axes of lengths n; y and indices the
same with output_size (m, one number an axis) in place of n; None keeps an axis as it is.
i is a place in y and j one in x, each one number for each axis.

Forward.  Along each axis, m windows of about n/m entries cover x: they overlap where m does not divide n.
a[i] is the place of the largest entry of box i, as one number in 0 ... (product of all n) - 1, row by row
(the second output, ``indices``); then y[i] = x[a[i]].

Chain rule.  dy is ∂L/∂y.  Where the largest entry is larger than all others, a[i] stays the same under a
small change of x, and y[i] is a copy of one entry: ∂y[i]/∂x[j] = [a[i] = j], which is 1 if a[i] = j, else 0.
    dx[j] = Σ_i dy[i] [a[i] = j]

Result.  dx is 0, but each dy[i] is added at place a[i]: max pooling with other windows.
indices, being integers, have no gradient.

Ties.  PyTorch's convention on the CPU, and ours: of equal entries the first, row by row; NaN counts as
largest, and of several the last one wins.
Errors: an output_size that does not fit the axes, or is negative; axes without an entry.
Source: PyTorch documentation, torch.nn.functional.adaptive_max_pool2d.
"""

from handgrad._cases import case, distinct, exactly
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives_pools import argmax_adaptive
from handgrad.derivations._pools import fit_size, over, pick, put_back, target_size, with_indices
from handgrad.derivations._spatial import require_spatial


def forward(axes, x, *, output_size):
    require_spatial(x, axes, f"adaptive_max_pool{axes}d")
    spatial = tuple(x.shape[-axes:])
    require(0 not in spatial, "spatial axes must hold an entry", f"x {tuple(x.shape)}", "give a larger x")
    a = argmax_adaptive(x, target_size(axes, output_size, spatial))
    return (pick(x, a, axes), a), (a, tuple(x.shape))


def backward(axes, dys, residuals, **_):
    a, shape = residuals
    dy, _ = dys  # one for each output; indices have none
    return put_back(dy, a, shape, axes)


def cases(d):
    """The same for any number of axes d."""
    shape = (2, 2, 7, 6, 5)[: d + 2]
    yield case("windows of one size", distinct(*(2, 3, 4, 6, 4)[: d + 2]), output_size=2)
    yield case("windows that overlap", distinct(*shape), output_size=(3, 4, 2)[:d])
    yield case("unbatched, more windows than entries", distinct(*shape[1:]), output_size=(17, 6, 7)[:d])
    ties = [[[[1.0, 1, 0, 2, 2]]]] if d == 3 else [[[1.0, 1, 0, 2, 2]]] if d == 2 else [[1.0, 1, 0, 2, 2]]
    yield case("ties", exactly(ties), output_size=(1, 1, 2)[-d:], kink=True)


for n in (1, 2, 3):
    register(
        over(n, forward),
        over(n, backward),
        name=f"adaptive_max_pool{n}d",
        torch=f"torch.nn.functional.adaptive_max_pool{n}d",
        reference=with_indices(f"adaptive_max_pool{n}d"),
        outputs=("y", "indices"),
        constant=("indices",),
        widen=False,
        fit=fit_size(n, distinct),
        autocast="cpu" if n == 3 else "",
        cases=cases(n),
    )
