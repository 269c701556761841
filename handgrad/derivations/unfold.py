"""y[n, (c, k), i] = x[n, c, s i + d k - p]

Shapes.  x (N, C, H, W) or (C, H, W); y (N, C kH kW, L) or (C kH kW, L).  Each of the L = H' W' windows of x
becomes a column of y, windows row by row (i); its entries are counted by channel, then by place in the
window (k).  H' = ⌊(H + 2p - d (kH - 1) - 1)/s⌋ + 1, W' likewise.  i, k, s (stride), d (dilation) and p
(padding) have one number for each axis.

Forward.  x counts as 0 outside its range.  A convolution is this, times its kernel as a matrix.

Chain rule.  dy is ∂L/∂y.  Each entry of y is a copy of one of x, which may lie in several windows:
    dx[n, c, j] = Σ_(i, k with s i + d k - p = j) dy[n, (c, k), i]

Result.  dx is ``fold`` of dy: each column is added back to where its window stood.

Kinks: none.  Errors: an x that is no picture, a kernel larger than the padded x.
Source: Chellapilla, Puri and Simard 2006, High performance convolutional neural networks for document
processing, section 3.1; PyTorch documentation, torch.nn.functional.unfold.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._primitives_columns import add_columns, columns
from handgrad.derivations._spatial import (
    batched,
    output_size,
    random_windows,
    require_spatial,
    window_options,
)


def forward(x, *, kernel_size, dilation=1, padding=0, stride=1):
    require_spatial(x, 2, "unfold")
    options = window_options(kernel_size, stride, padding, dilation)
    out = output_size(x.shape[-2:], **options)
    y = columns(batched(x, 2), **options)
    return (y if x.ndim == 4 else y[0, ...]), (tuple(x.shape), out, options)


def backward(dy, residuals, **_):
    shape, out, options = residuals
    dx = add_columns(batched(dy, 1), shape[-2:], out, **options)
    return namespace(dx).reshape(dx, shape)


def fit(rng, shape):
    """On any picture or batch of pictures, with options that fit its size."""
    if len(shape) not in (3, 4) or 0 in shape[-3:]:
        return None
    kernel, stride, padding, dilation = random_windows(rng, shape[-2:])
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    return case("fit", normal(*shape), **options)


register(
    forward,
    backward,
    torch="torch.nn.functional.unfold",
    widen=False,
    fit=fit,
    cases=[
        case("2 x 2", normal(2, 3, 4, 5), kernel_size=2),
        case("unbatched", normal(3, 4, 5), kernel_size=(2, 3)),
        case("windows apart", normal(2, 1, 5, 6), kernel_size=2, stride=(2, 3)),
        case("all options", normal(2, 2, 5, 6), kernel_size=(2, 3), dilation=(3, 1),
             padding=(1, 2), stride=2),
        case("one window", normal(1, 2, 3, 3), kernel_size=3),
        case("no samples", normal(0, 2, 3, 3), kernel_size=2),
    ],
)  # fmt: skip
