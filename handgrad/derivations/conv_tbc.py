"""y[t, n, o] = b[o] + Σ_c Σ_k w[k, c, o] x[t + k - p, n, c]

Shapes.  x (T, N, C), w (K, C, O), b (O,); y (T', N, O) with T' = T + 2p - K + 1: time first, then the
samples, then the channels.  p is ``pad``, the zeros at either end.

Forward.  conv1d, which has the axes (N, C, T) and (O, C, K), with stride and dilation 1.

Chain rule.  An exchange of axes only renames indices: conv1d's gradients, with their axes back in the order
of x and of w.

Result.  dx, dw and db are conv1d's (``_convolution``).

Kinks: none.  Errors: an array without three axes, channels that do not match, a kernel longer than the
padded x.
Source: PyTorch documentation, torch.nn.functional.conv_tbc; Gehring and others 2017, Convolutional sequence
to sequence learning, section 3.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad.derivations._convolution import convolve, convolve_back


def forward(x, w, b, *, pad=0):
    require(
        x.ndim == 3 and w.ndim == 3,
        "conv_tbc needs x (T, N, C) and w (K, C, O)",
        f"x {tuple(x.shape)}, w {tuple(w.shape)}",
        "reshape them",
    )
    options = {"stride": 1, "padding": pad, "dilation": 1, "groups": 1}
    y, (_, _, *settled) = convolve("conv_tbc", 1, _nct(x), _ock(w), b, **options)
    return _tnc(y), (x, w, *settled)


def backward(dy, residuals, needs, **_):
    x, w, *settled = residuals
    dx, dw, db = convolve_back(1, _nct(dy), (_nct(x), _ock(w), *settled), needs, 1)
    return dx if dx is None else _tnc(dx), dw if dw is None else _ock(dw), db


def _nct(x):
    """(T, N, C) -> (N, C, T)."""
    return namespace(x).permute_dims(x, (1, 2, 0))


def _tnc(x):
    """(N, C, T) -> (T, N, C)."""
    return namespace(x).permute_dims(x, (2, 0, 1))


def _ock(w):
    """(K, C, O) -> (O, C, K), and back."""
    return namespace(w).permute_dims(w, (2, 1, 0))


def fit(rng, shape):
    """On any value with three axes."""
    if len(shape) != 3 or 0 in shape:
        return None
    pad = int(rng.integers(0, 3))
    kernel, out = int(rng.integers(1, min(shape[0] + 2 * pad, 4) + 1)), int(rng.integers(1, 5))
    return case("fit", normal(*shape), normal(kernel, shape[2], out), normal(out), pad=pad)


register(
    forward,
    backward,
    torch="torch.nn.functional.conv_tbc",
    autocast="half",
    widen=False,
    fit=fit,
    cases=[
        case("kernel 3", normal(5, 2, 3), normal(3, 3, 4), normal(4)),
        case("padding", normal(4, 2, 2), normal(3, 2, 1), normal(1), pad=2),
        case("kernel 1", normal(3, 1, 2), normal(1, 2, 3), normal(3)),
        case("kernel as long as x", normal(3, 2, 2), normal(3, 2, 2), normal(2)),
    ],
)
