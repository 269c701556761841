"""y[..., i] = max_k x[..., s i + d k - p]

Shapes.  x (N, C, H, W) or (C, H, W); y and indices (N, C, H', W') or (C, H', W'), where
H' = ⌊(H + 2p - d (kH - 1) - 1)/s⌋ + 1, W' likewise; ceil_mode rounds up instead, if the last window
still starts inside x or its left padding.
i = (i₁, i₂) is a place in y, k = (k₁, k₂) one in the window kH x kW.  s (stride; None: the kernel),
d (dilation) and p (padding, at most half a kernel) are one number for each axis, so that s i + d k - p
is (s₁ i₁ + d₁ k₁ - p₁, s₂ i₂ + d₂ k₂ - p₂).  x counts as -∞ outside its range.

Forward.  Each sample and channel by itself: a[i] is the place in x of the largest entry of window i,
as one number in 0 ... H W - 1, row by row (the second output, ``indices``); then y[i] = x[a[i]].

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

from handgrad._arrays import namespace, size
from handgrad._cases import case, distinct, exactly
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import argmax_windows, scatter
from handgrad.derivations._spatial import ints, output_size, random_windows, require_spatial


def forward(x, *, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    require_spatial(x, 2, "max_pool2d")
    options = _options(kernel_size, stride, padding, dilation)
    out = output_size(x.shape[-2:], *options, ceil=ceil_mode)  # (H', W')
    _check_reach(x.shape[-2:], out, *options)
    a = argmax_windows(x, *options, out)
    xp = namespace(x)
    y = xp.reshape(xp.take_along_axis(_flat(x), _flat(a), axis=-1), a.shape)
    return (y, a), (a, tuple(x.shape))


def backward(dys, residuals, **_):
    a, shape = residuals
    dy, _ = dys  # one for each output; indices have none
    # zeros (..., H W), to which each dy[i] is added at a[i]
    dx = scatter(_flat(dy), _flat(a), size(shape[-2:]))
    return namespace(dx).reshape(dx, shape)


def _flat(x):
    """(..., H, W) -> (..., H W)."""
    return namespace(x).reshape(x, (*x.shape[:-2], size(x.shape[-2:])))


def _options(kernel, stride, padding, dilation):
    """Kernel, stride, padding and dilation, each a pair."""
    kernel = ints(kernel, 2, "kernel_size", 1)
    stride = kernel if stride is None or stride == () else ints(stride, 2, "stride", 1)
    padding = ints(padding, 2, "padding", 0)
    require(
        all(2 * p <= k for p, k in zip(padding, kernel, strict=True)),
        "padding must be at most half the kernel, or a window could hold nothing but padding",
        f"padding {padding} for kernel {kernel}",
        "pad less",
    )
    return kernel, stride, padding, ints(dilation, 2, "dilation", 1)


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


def fit(rng, shape):
    """On any picture or batch of pictures, with options that fit its size."""
    if len(shape) not in (3, 4) or 0 in shape[-3:]:
        return None
    kernel, stride, padding, dilation = random_windows(rng, shape[-2:], pool=True)
    return case(
        "fit",
        distinct(*shape),
        kernel_size=kernel,
        stride=None if rng.integers(2) else stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=bool(rng.integers(2)),
    )


register(
    forward,
    backward,
    torch="torch.nn.functional.max_pool2d",
    reference=lambda torch, x, **options: torch.nn.functional.max_pool2d(x, **options, return_indices=True),
    outputs=("y", "indices"),
    constant=("indices",),
    widen=False,
    fit=fit,
    cases=[
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
)  # fmt: skip
