"""y[..., i] = max_k x[..., s i + d k - p]

Shapes.  x (N, C, *spatial) or (C, *spatial), with 1, 2 or 3 spatial axes of lengths n; y and indices
(N, C, *out) or (C, *out), where along each axis  out = ⌊(n + 2p - d (K - 1) - 1)/s⌋ + 1  for a kernel of
K; ceil_mode rounds up instead, if the last window still starts inside x or its left padding.
i is a place in y and k one in the window, each one number for each axis; so are s (stride; None: the
kernel), d (dilation) and p (padding, at most half a kernel).  x counts as -∞ outside its range.

Forward.  Each sample and channel by itself: a[i] is the place in x of the largest entry of window i,
as one number in 0 ... (product of all n) - 1, row by row (the second output, ``indices``); y[i] = x[a[i]].

Chain rule.  dy is ∂L/∂y.  Where one entry of a window is larger than all others, it stays the largest
under a small change of x: a[i] is constant there, and y[i] is a copy of one entry, so
∂y[i]/∂x[j] = [a[i] = j], which is 1 if a[i] = j, else 0.
    dx[j] = Σ_i dy[i] [a[i] = j]

Result.  dx is 0, but each dy[i] is added at place a[i]; windows that overlap may add to the same place.
indices, being integers, have no gradient.

Ties.  Where several entries are the largest, any of them gives a subgradient; PyTorch's
convention on the CPU, and ours, is the first, row by row.  NaN counts as largest, and of several the last
one wins.  Padding never wins: in a window of -∞ alone, a[i] is a place inside x.
Errors: padding above half a kernel, a kernel larger than the padded x, a window of padding alone.
Source: Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, section 3; PyTorch
documentation, torch.nn.functional.max_pool2d.
"""

from handgrad._cases import case, distinct, exactly
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import argmax_windows
from handgrad.derivations._pools import fit_windows, over, pick, pool_options, put_back, with_indices
from handgrad.derivations._spatial import output_size, require_spatial


def forward(axes, x, *, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    require_spatial(x, axes, f"max_pool{axes}d")
    options = pool_options(axes, kernel_size, stride, padding, dilation)
    out = output_size(x.shape[-axes:], *options, ceil=ceil_mode)
    _check_reach(x.shape[-axes:], out, *options)
    a = argmax_windows(x, *options, out)
    return (pick(x, a, axes), a), (a, tuple(x.shape))


def backward(axes, dys, residuals, **_):
    a, shape = residuals
    dy, _ = dys  # one for each output; indices have none
    return put_back(dy, a, shape, axes)


def _check_reach(spatial, out, *options):
    """No window steps over x whole, from padding to padding (PyTorch's index then points outside x)."""
    for n, m, k, s, p, d in zip(spatial, out, *options, strict=True):
        # steps d <= n cannot miss x; without padding each window starts inside x; else try every window
        require(
            d <= n or p == 0 or all(any(0 <= s * i + d * j - p < n for j in range(k)) for i in range(m)),
            "each window must hold an entry of x",
            f"dilation {d} and padding {p} along an axis of length {n}",
            "use a smaller dilation or no padding",
        )


CASES = {
    1: [
        case("windows of 2", distinct(2, 3, 6), kernel_size=2),
        case("unbatched, all options", distinct(3, 11), kernel_size=3, stride=2, padding=1, dilation=2,
             ceil_mode=True),
        case("ties", exactly([[1, 1, 0, 2, 2, 2]]), kernel_size=2, stride=1, kink=True),
    ],
    2: [
        case("2 x 2", distinct(2, 3, 4, 6), kernel_size=2),
        case("unbatched", distinct(3, 5, 6), kernel_size=(2, 3)),
        case("overlapping", distinct(2, 2, 5, 6), kernel_size=3, stride=1),
        case("padding", distinct(2, 2, 5, 6), kernel_size=(3, 2), stride=(2, 1), padding=1),
        case("dilation", distinct(2, 2, 7, 6), kernel_size=(3, 2), stride=1, dilation=(2, 3)),
        case("padding and dilation", distinct(2, 1, 6, 5), kernel_size=3, padding=1, dilation=2, stride=1),
        case("ceil_mode", distinct(2, 2, 6, 5), kernel_size=3, stride=2, ceil_mode=True),
        case("ceil_mode, last window in the padding", distinct(1, 2, 5, 5),
             kernel_size=2, stride=3, padding=1, ceil_mode=True),
        case("all options", distinct(2, 2, 8, 9), kernel_size=(3, 4), stride=(2, 3), padding=(1, 2),
             dilation=(2, 1), ceil_mode=True),
        case("ties", exactly([[[1, 1, 0, 2], [1, 1, 2, 2], [0, 0, 3, 3], [0, 0, 3, 3]]]),
             kernel_size=2, stride=1, kink=True),
        case("-inf and padding", exactly([[[-float("inf")] * 3] * 3]), kernel_size=2, padding=1, kink=True),
        case("NaN", exactly([[[1.0, float("nan"), 2.0], [float("nan"), 0.0, 3.0]]]),
             kernel_size=2, stride=1, kink=True),
    ],
    3: [
        case("windows of 2", distinct(2, 2, 4, 2, 4), kernel_size=2),
        case("all options", distinct(1, 2, 5, 6, 7), kernel_size=(2, 3, 2), stride=(1, 2, 3),
             padding=(0, 1, 1), dilation=(2, 1, 2), ceil_mode=True),
        case("ties, unbatched", exactly([[[[1, 1], [1, 1]], [[1, 2], [2, 0]]]]),
             kernel_size=(1, 2, 2), kink=True),
    ],
}  # fmt: skip


for n, cases in CASES.items():
    register(
        over(n, forward),
        over(n, backward),
        name=f"max_pool{n}d",
        torch=f"torch.nn.functional.max_pool{n}d",
        reference=with_indices(f"max_pool{n}d"),
        outputs=("y", "indices"),
        constant=("indices",),
        widen=False,
        fit=fit_windows(n),
        cases=cases,
    )
