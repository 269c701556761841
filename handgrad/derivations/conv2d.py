"""y[n, o, i] = b[o] + Σ_c Σ_k w[o, c, k] x[n, c, s i + d k - p]

Shapes.  x (N, C, H, W) or (C, H, W), w (O, C/groups, kH, kW), b (O,) or absent; y (N, O, H', W') or
(O, H', W').  i = (i₁, i₂) is a place in y, k = (k₁, k₂) one in the kernel; H' by W' windows fit.

Chain rule.  dy is ∂L/∂y.  Every y[n, o, i] that x[n, c, j] or w[o, c, k] goes into sends its gradient back,
times the other factor; b[o] goes into all of its channel.

Result.  dx is the transposed convolution of dy by w, dw a correlation of x with dy, db a plain sum.
The steps, once for all numbers of axes, and what padding, dilation and groups do: ``_convolution``.

Kinks: none.  Errors: channels that do not match, groups that do not divide them, a bias of another
shape, a kernel larger than the padded x, padding "same" with a stride.
Source: Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, sections 2 and 4;
PyTorch documentation, torch.nn.functional.conv2d.
"""

from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad.derivations._convolution import convolution_fields, convolve, convolve_back


def forward(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1):
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return convolve("conv2d", 2, x, w, b, **options)


def backward(dy, residuals, needs, *, groups=1, **_):
    return convolve_back(2, dy, residuals, needs, groups)


register(
    forward,
    backward,
    **convolution_fields(2),
    cases=[
        case("3 x 3", normal(2, 3, 5, 6), normal(4, 3, 3, 3), normal(4), padding=1),
        case("no bias", normal(2, 3, 5, 6), normal(4, 3, 3, 2), None),
        case("unbatched", normal(3, 5, 6), normal(4, 3, 2, 3), normal(4)),
        case("stride steps over the end", normal(2, 2, 6, 8), normal(3, 2, 3, 2), normal(3), stride=(2, 3)),
        case("padding by axis", normal(2, 2, 4, 5), normal(3, 2, 3, 3), normal(3), padding=(2, 1)),
        case("dilation", normal(2, 2, 7, 6), normal(3, 2, 3, 2), normal(3), dilation=(2, 3), padding=1),
        case("groups", normal(2, 4, 5, 4), normal(6, 2, 2, 3), normal(6), groups=2),
        case("depthwise", normal(2, 3, 5, 4), normal(3, 1, 3, 3), None, groups=3, padding=1),
        case("all options", normal(2, 4, 9, 8), normal(4, 2, 3, 2), normal(4),
             stride=(2, 3), padding=(2, 1), dilation=(3, 2), groups=2),
        case("same", normal(2, 2, 5, 6), normal(3, 2, 3, 3), normal(3), padding="same"),
        case("same, even kernel", normal(2, 2, 5, 6), normal(3, 2, 2, 4), normal(3), padding="same"),
        case("same, dilation", normal(2, 2, 5, 6), normal(3, 2, 4, 3), None, padding="same", dilation=(1, 2)),
        case("valid", normal(2, 2, 5, 6), normal(3, 2, 3, 3), normal(3), padding="valid", stride=2),
        case("1 x 1", normal(2, 3, 4, 4), normal(5, 3, 1, 1), normal(5)),
        case("kernel as large as x", normal(2, 2, 4, 5), normal(3, 2, 4, 5), normal(3)),
    ],
)  # fmt: skip
