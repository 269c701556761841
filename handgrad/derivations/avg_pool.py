"""y[..., i] = Σ_k x[..., s i + k - p] / D[i]

Shapes.  x (N, C, *spatial) or (C, *spatial), with 1, 2 or 3 spatial axes of lengths n; y (N, C, *out) or
(C, *out), where along each axis  out = ⌊(n + 2p - K)/s⌋ + 1  for a kernel of K; ceil_mode rounds up
instead, if the last window still starts inside x or its left padding.
i is a place in y and k one in the window, each one number for each axis; so are s (stride; None: the
kernel) and p (padding, at most half a kernel).

Forward.  x counts as 0 outside its range.  D[i] is how many entries window i has, those of the padding
included or (count_include_pad False) not; what ceil_mode lets hang over the padding never counts.
divisor_override is D for every window.

Chain rule.  dy is ∂L/∂y.  y[i] contains x[j] once, divided by D[i], wherever window i holds place j:
    dx[j] = Σ_(i, k with s i + k - p = j) dy[i]/D[i]

Result.  dx is 0, but dy[i]/D[i] is added to every entry of window i.

Kinks: none.  Errors: padding above half a kernel, a kernel larger than the padded x, a divisor of 0.
Source: PyTorch documentation, torch.nn.functional.avg_pool2d.
"""

from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives_pools import spread_windows, sum_windows
from handgrad.derivations._pools import fit_windows, over, pool_options, window_sizes
from handgrad.derivations._spatial import output_size, require_spatial


def forward(
    axes, x, *, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
    divisor_override=None,
):  # fmt: skip
    require_spatial(x, axes, f"avg_pool{axes}d")
    require(divisor_override != 0, "divisor_override must not be 0", "0", "give another, or None")
    *options, dilation = pool_options(axes, kernel_size, stride, padding)
    out = output_size(x.shape[-axes:], *options, dilation, ceil=ceil_mode)
    y = sum_windows(x, *options, out) / _divisor(
        x, x.shape[-axes:], out, options, count_include_pad, divisor_override
    )
    return y, (tuple(x.shape), options)


def backward(axes, dy, residuals, *, count_include_pad=True, divisor_override=None, **_):
    shape, options = residuals
    spatial, out = shape[-axes:], tuple(dy.shape[-axes:])
    each = dy / _divisor(dy, spatial, out, options, count_include_pad, divisor_override)
    return spread_windows(each, *options, spatial)


def _divisor(like, spatial, out, options, count_include_pad, override):
    """D: a number, or one for each window."""
    if override is not None:
        return override
    return window_sizes(like, spatial, out, *options, padded=count_include_pad)


def cases(d):
    """The same for any number of axes d."""
    a, b = (3, 2, 2)[:d], (2, 1, 3)[:d]
    shape = (2, 2, 7, 6, 5)[: d + 2]
    yield case("windows of 2", normal(*(2, 3, 4, 6, 4)[: d + 2]), kernel_size=2)
    yield case("unbatched, overlapping", normal(*shape[1:]), kernel_size=a, stride=1)
    yield case(
        "padding that does not count",
        normal(*shape),
        kernel_size=a,
        stride=b,
        padding=1,
        count_include_pad=False,
    )
    yield case("windows over the end", normal(*shape), kernel_size=a, stride=b, padding=1, ceil_mode=True)
    yield case(
        "all of that",
        normal(*shape),
        kernel_size=3,
        stride=(2, 3, 2)[:d],
        padding=(0, 1, 1)[:d],
        ceil_mode=True,
        count_include_pad=False,
    )
    yield case("stride above the kernel", normal(*shape), kernel_size=1, stride=b)
    if d > 1:
        yield case("a divisor", normal(*shape), kernel_size=2, divisor_override=3, ceil_mode=True)


for n in (1, 2, 3):
    register(
        over(n, forward),
        over(n, backward),
        name=f"avg_pool{n}d",
        torch=f"torch.nn.functional.avg_pool{n}d",
        fit=fit_windows(n, normal, dilation=False),
        autocast="cpu" if n == 3 else "",
        cases=cases(n),
    )
