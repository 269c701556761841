"""y[..., i] = max_k x[..., e_i + k],  e_i = ⌊(i + u) a⌋ - ⌊u a⌋,  a = (n - K)/(m - 1)

Shapes.  x (N, C, *spatial) or (C, *spatial), with 2 or 3 spatial axes of lengths n; u (N, C, axes) (N = 1
for one sample); y and indices the same as x with output_size (m, one number an axis) in place of n.
i is a place in y and k one in the window of K entries, each one number for each axis.

Forward.  The windows start a apart on average, n/m being no integer in general: steps of ⌊a⌋ and ⌈a⌉
alternate in an order that the random number u in [0, 1) decides, one for each sample, channel and axis
(in two axes the last axis takes the first number, as in PyTorch).  The last window starts at n - K.
a[i] is the place of the largest entry of window i, row by row (the second output, ``indices``).

Chain rule.  dy is ∂L/∂y.  As in max pooling, y[i] is a copy of the entry a[i]:
    dx[j] = Σ_i dy[i] [a[i] = j]

Result.  dx is 0, but each dy[i] is added at place a[i].  u moves windows in steps: it has no gradient,
nor have indices, being integers.

Ties.  PyTorch's convention on the CPU, and ours: of equal entries the first, row by row; NaN counts as
largest, and of several the last one wins.
Errors: an output or a kernel that does not fit x, random numbers of another shape.
Source: Graham 2014, Fractional max-pooling, section 3; PyTorch documentation,
torch.nn.functional.fractional_max_pool2d.
"""

import numpy as np

from handgrad._cases import case, distinct, exactly, uniform
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives_pools import argmax_fractional
from handgrad.derivations._pools import over, pick, put_back
from handgrad.derivations._spatial import batched, ints, require_spatial


def forward(axes, x, u, *, kernel_size, output_size):
    require_spatial(x, axes, f"fractional_max_pool{axes}d")
    samples = batched(x, axes)
    kernel, out = ints(kernel_size, axes, "kernel_size", 1), ints(output_size, axes, "output_size", 1)
    spatial = tuple(x.shape[-axes:])
    require(
        all(m + k - 1 <= n - (axes == 3) for n, m, k in zip(spatial, out, kernel, strict=True)),
        "output_size + kernel_size - 1 must be at most the size of x (in three axes below it, as in PyTorch)",
        f"output {out} and kernel {kernel} for {spatial}",
        "ask for a smaller output",
    )
    require(
        u.ndim == 3 and u.shape[0] >= samples.shape[0] and tuple(u.shape[1:]) == (samples.shape[1], axes),
        "the random numbers must be (N, C, axes): one for each sample, channel and axis",
        f"{tuple(u.shape)} for x {tuple(x.shape)}",
        f"give {(*samples.shape[:2], axes)}",
    )
    a = argmax_fractional(samples, u[: samples.shape[0], ...], kernel, out)
    a = a if x.ndim == axes + 2 else a[0, ...]
    return (pick(x, a, axes), a), (a, tuple(x.shape))


def backward(axes, dys, residuals, **_):
    a, shape = residuals
    dy, _ = dys  # one for each output; indices have none
    return put_back(dy, a, shape, axes), None


def reference(name):
    """PyTorch's function of that name, given the random numbers."""
    return lambda torch, x, u, *, kernel_size, output_size: getattr(torch.nn.functional, name)(
        x, kernel_size, output_size, return_indices=True, _random_samples=u
    )


def cases(d):
    """The same for any number of axes d."""
    shape = (2, 2, 7, 8, 6)[: d + 2]
    yield case("windows of 2", distinct(*shape), uniform(2, 2, d), kernel_size=2, output_size=(4, 5, 3)[:d])
    yield case(
        "unbatched",
        distinct(*shape[1:]),
        # exact in 16 bits too, in which PyTorch places the windows by rounded products
        exactly(np.resize([0.3125, 0.6875], (1, 2, d))),
        kernel_size=(3, 1, 2)[:d],
        output_size=(2, 6, 3)[:d],
    )
    yield case("one window", distinct(*shape), uniform(2, 2, d), kernel_size=3, output_size=1)
    equal = np.broadcast_to([1.0, 1, 2, 2, 2], (1, *(3, 3, 5)[-d:]))
    yield case("ties", exactly(equal), uniform(1, 1, d), kernel_size=2, output_size=(1, 1, 3)[-d:], kink=True)


for n in (2, 3):
    register(
        over(n, forward),
        over(n, backward),
        name=f"fractional_max_pool{n}d",
        torch=f"torch.nn.functional.fractional_max_pool{n}d",
        reference=reference(f"fractional_max_pool{n}d"),
        differentiable=("x",),
        outputs=("y", "indices"),
        constant=("indices",),
        widen=False,
        autocast="cpu",
        cases=cases(n),
    )
