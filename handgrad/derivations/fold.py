"""y[n, c, j] = Σ_(i, k with s i + d k - p = j) x[n, (c, k), i]

Shapes.  x (N, C kH kW, L) or (C kH kW, L); y (N, C, H, W) or (C, H, W) with ``output_size`` (H, W).  Each
column of x is one of the L windows that ``unfold`` finds in a picture as large as y: windows row by row
(i), the entries of one by channel, then by place in the window (k).  i, k, s (stride), d (dilation) and p
(padding) have one number for each axis.

Forward.  y is 0, but each column is added where its window stands; what falls into the padding is left out.

Chain rule.  dy is ∂L/∂y.  Each entry of x is added to one place of y, or to none:
    dx[n, (c, k), i] = dy[n, c, s i + d k - p]      0 outside the range of y

Result.  dx is ``unfold`` of dy.

Kinks: none.  Errors: a number of rows that kH kW does not divide, a number of columns other than that of the
windows.
Source: PyTorch documentation, torch.nn.functional.fold.
"""

from handgrad._arrays import namespace, size
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives_columns import add_columns, columns
from handgrad.derivations._spatial import batched, ints, window_options
from handgrad.derivations._spatial import output_size as windows_that_fit


def forward(x, *, output_size, kernel_size, dilation=1, padding=0, stride=1):
    options = window_options(kernel_size, stride, padding, dilation)
    spatial, out = _sizes(x, output_size, options)
    y = add_columns(batched(x, 1), spatial, out, **options)
    return (y if x.ndim == 3 else y[0, ...]), (tuple(x.shape), options)


def backward(dy, residuals, **_):
    shape, options = residuals
    dx = columns(batched(dy, 2), **options)
    return namespace(dx).reshape(dx, shape)


def _sizes(x, spatial, options):
    """(H, W) and (H', W'), which fit x."""
    require(
        x.ndim in (2, 3),
        "fold needs x with 2 axes (C kH kW, L) or 3 (a batch)",
        f"x {tuple(x.shape)}",
        "reshape x",
    )
    spatial = ints(spatial, 2, "output_size", 1)
    out = windows_that_fit(spatial, **options)
    require(
        x.shape[-2] % size(options["kernel"]) == 0 and x.shape[-1] == size(out),
        "fold needs x (C kH kW, L), with a column for each window of the output",
        f"x {tuple(x.shape)}, kernel {options['kernel']}, {size(out)} windows",
        "reshape x, or give another output_size",
    )
    return spatial, out


def fit(rng, shape):
    """On any matrix or batch of matrices: its columns stand one below the other, overlapping or not."""
    if len(shape) not in (2, 3) or 0 in shape[-2:]:
        return None
    rows, windows = shape[-2:]
    k = int(rng.choice([k for k in range(1, min(rows, 4) + 1) if rows % k == 0]))
    stride = int(rng.integers(1, 4))
    return case(
        "fit",
        normal(*shape),
        output_size=((windows - 1) * stride + k, 1),
        kernel_size=(k, 1),
        stride=stride,
    )


register(
    forward,
    backward,
    torch="torch.nn.functional.fold",
    widen=False,
    fit=fit,
    cases=[
        case("overlapping", normal(2, 3 * 4, 12), output_size=(4, 5), kernel_size=2),
        case("unbatched", normal(2 * 6, 9), output_size=(4, 5), kernel_size=(2, 3)),
        case("windows apart", normal(2, 4, 4), output_size=(5, 6), kernel_size=2, stride=(3, 4)),
        case("all options", normal(2, 2 * 6, 8), output_size=(5, 6), kernel_size=(2, 3),
             dilation=(3, 1), padding=(1, 2), stride=2),
        case("one window", normal(1, 2 * 9, 1), output_size=3, kernel_size=3),
        case("no samples", normal(0, 8, 4), output_size=3, kernel_size=2),
    ],
)  # fmt: skip
