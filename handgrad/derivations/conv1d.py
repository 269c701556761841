"""y[n, o, i] = b[o] + Σ_c Σ_k w[o, c, k] x[n, c, s i + d k - p]

Shapes.  x (N, C, L) or (C, L), w (O, C/groups, k), b (O,) or absent; y (N, O, L') or
(O, L').  i is a place in y, k one in the kernel; L' windows fit.

Chain rule.  dy is ∂L/∂y.  Every y[n, o, i] that x[n, c, j] or w[o, c, k] goes into sends its gradient back,
times the other factor; b[o] goes into all of its channel.

Result.  dx is the transposed convolution of dy by w, dw a correlation of x with dy, db a plain sum.
The steps, once for all numbers of axes, and what padding, dilation and groups do: ``_convolution``.

Kinks: none.  Errors: channels that do not match, groups that do not divide them, a bias of another
shape, a kernel larger than the padded x, padding "same" with a stride.
Source: Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, sections 2 and 4;
PyTorch documentation, torch.nn.functional.conv1d.
"""

from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad.derivations._convolution import convolution_fields, convolve, convolve_back


def forward(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1):
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return convolve("conv1d", 1, x, w, b, **options)


def backward(dy, residuals, needs, *, groups=1, **_):
    return convolve_back(1, dy, residuals, needs, groups)


register(
    forward,
    backward,
    **convolution_fields(1),
    cases=[
        case("kernel 3", normal(2, 3, 7), normal(4, 3, 3), normal(4), padding=1),
        case("unbatched, no bias", normal(3, 6), normal(4, 3, 2), None),
        case("stride steps over the end", normal(2, 2, 8), normal(3, 2, 3), normal(3), stride=(2,)),
        case("all options", normal(2, 4, 9), normal(6, 2, 3), normal(6),
             stride=2, padding=2, dilation=3, groups=2),
        case("depthwise", normal(2, 3, 6), normal(6, 1, 3), None, groups=3),
        case("same, even kernel", normal(2, 2, 6), normal(3, 2, 4), normal(3), padding="same"),
        case("valid", normal(2, 2, 6), normal(3, 2, 3), normal(3), padding="valid", stride=2),
        case("one sample, one entry", normal(1, 2, 1), normal(1, 2, 1), normal(1)),
    ],
)  # fmt: skip
