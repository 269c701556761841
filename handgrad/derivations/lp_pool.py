"""y[..., i] = (Σ_k x[..., s i + k]^p)^(1/p)

Shapes.  x (N, C, *spatial) or (C, *spatial), with 1, 2 or 3 spatial axes of lengths n; y (N, C, *out) or
(C, *out), where along each axis  out = ⌊(n - K)/s⌋ + 1  for a kernel of K; ceil_mode rounds up instead, if
the last window still starts inside x.  i is a place in y and k one in the window, each one number for each
axis; so is s (stride; None: the kernel).

Forward.  No absolute values are taken, as in PyTorch: a negative x to a power that is no integer is NaN.
A window that hangs over x (ceil_mode) stands for a whole one: its sum counts c[i] = (product of all K) /
(entries inside) times, else c[i] = 1. p = ∞ means max |x|, and p = -∞ means min |x|.

Chain rule.  dy is ∂L/∂y.  With the sum S_i = c_i Σ_k x^p, so that y_i = S_i^(1/p),
    ∂y_i/∂S_i = 1/p S_i^(1/p - 1) = 1/p y_i^(1 - p)        since S_i = y_i^p
    ∂S_i/∂x_j = c_i p x_j^(p-1)                             for x_j inside window i
    dx_j = x_j^(p-1) Σ_i c_i y_i^(1-p) dy_i                  over the windows i that hold j
p = ±∞: y_i = |x_a| with one place a for each window, so dx_a = sign(x_a) dy_i.

Result.  dx = x^(p-1) ⊙ spread(c y^(1-p) dy), spread adding a number to every entry of its window.

Kinks.  Where S_i = 0 the formula is 0 or infinite, whatever way one comes: PyTorch's convention, and
ours, is that this window gives no gradient.  p = ±∞: sign(0) is 0, and of equal entries the first counts.
Errors: a kernel larger than x, p = 0.
Source: Gulcehre et al. 2014, Learned-norm pooling, section 2; PyTorch documentation,
torch.nn.functional.lp_pool2d.
"""

import math

import numpy as np

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal, uniform
from handgrad._derivation import register
from handgrad._primitives import argmax_windows
from handgrad._primitives_pools import spread_windows, sum_windows
from handgrad.derivations._pools import over, pick, pool_options, put_back, window_sizes
from handgrad.derivations._spatial import output_size, require_spatial


def forward(axes, x, *, norm_type, kernel_size, stride=None, ceil_mode=False):
    require_spatial(x, axes, f"lp_pool{axes}d")
    xp = namespace(x)
    kernel, stride, no, one = pool_options(axes, kernel_size, stride, 0)
    out = output_size(x.shape[-axes:], kernel, stride, no, one, ceil=ceil_mode)
    if math.isinf(norm_type):
        sign = 1 if norm_type > 0 else -1
        a = argmax_windows(sign * xp.abs(x), kernel, stride, no, one, out)
        return pick(xp.abs(x), a, axes), (x, a, None)
    sums = sum_windows(x**norm_type, kernel, stride, no, out) * _share(x, out, kernel, stride, no)
    empty = sums == 0
    y = xp.where(empty, 0, xp.where(empty, 1, sums) ** (1 / norm_type))
    return y, (x, None, y)


def backward(axes, dy, residuals, *, norm_type, kernel_size, stride=None, **_):
    x, a, y = residuals
    xp = namespace(dy)
    if a is not None:
        return put_back(dy * xp.sign(pick(x, a, axes)), a, tuple(x.shape), axes)
    kernel, stride, no, _one = pool_options(axes, kernel_size, stride, 0)
    share = _share(x, tuple(dy.shape[-axes:]), kernel, stride, no)
    empty = y == 0
    slope = xp.where(empty, 0, share * xp.where(empty, 1, y) ** (1 - norm_type) * dy)
    return x ** (norm_type - 1) * spread_windows(slope, kernel, stride, no, tuple(x.shape[-axes:]))


def _share(x, out, kernel, *options):
    """c: 1 for a whole window."""
    return math.prod(kernel) / window_sizes(x, x.shape[-len(out) :], out, kernel, *options)


def reference(name):
    return lambda torch, x, *, norm_type, **options: getattr(torch.nn.functional, name)(
        x, norm_type, **options
    )


def positive(*shape):
    return uniform(*shape, low=0.1, high=2.0)


def cases(d):
    """The same for any number of axes d."""
    shape, kernel = (2, 2, 7, 6, 5)[: d + 2], (3, 2, 2)[:d] if d > 1 else 3  # PyTorch's takes no tuple in 1d
    yield case("p = 2", normal(*shape), norm_type=2, kernel_size=2)
    yield case("p = 3, unbatched", positive(*shape[1:]), norm_type=3.0, kernel_size=kernel, stride=1)
    yield case("p = 1", positive(*shape), norm_type=1.0, kernel_size=kernel, stride=(2, 1, 3)[:d])
    yield case(
        "p = 1/2, over the end",
        positive(*shape),
        norm_type=0.5,
        kernel_size=kernel,
        stride=(3, 2, 3)[:d],
        ceil_mode=True,
    )
    yield case("maximum", normal(*shape), norm_type=math.inf, kernel_size=2)
    yield case("minimum", normal(*shape), norm_type=-math.inf, kernel_size=kernel, stride=1, ceil_mode=True)
    zeros = np.reshape([0.0, 0, 1, 0, -3, 0], (1, *(1, 1)[: d - 1], 6))
    yield case(
        "nothing but zeros",
        exactly(zeros),
        norm_type=2.0,
        kernel_size=(1, 1, 2)[-d:] if d > 1 else 2,
        stride=1,
        kink=True,
    )


for n in (1, 2, 3):
    register(
        over(n, forward),
        over(n, backward),
        name=f"lp_pool{n}d",
        torch=f"torch.nn.functional.lp_pool{n}d",
        reference=reference(f"lp_pool{n}d"),
        autocast="cpu" if n == 3 else "",
        cases=cases(n),
    )
