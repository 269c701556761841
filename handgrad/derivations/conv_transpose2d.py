"""y[n, o, j] = b[o] + Σ_c Σ_(i, k with s i + d k - p = j) w[c, o, k] x[n, c, i]

Shapes.  x (N, C, H, W) or (C, H, W), w (C, O/groups, kH, kW), b (O,) or absent; y (N, O, H', W') or
(O, H', W'), where H' = (H - 1) s - 2p + d (kH - 1) + 1 + output_padding, and W' likewise.

Forward.  Each x[n, c, i] is multiplied by the whole kernel and added to y from s i - p on, in steps of d.
That is the gradient of a convolution in its input, from which the layer has its name.

Chain rule.  dy is ∂L/∂y.  Every y[n, o, j] that x[n, c, i] or w[c, o, k] goes into sends its gradient back,
times the other factor; b[o] goes into all of its channel.

Result.  dx is the convolution of dy by w, dw a correlation of dy with x, db a plain sum.
The steps, once for all numbers of axes, and what padding, dilation and groups do: ``_convolution``.

Kinks: none.  Errors: channels that do not match, groups that do not divide them, a bias of another
shape, an empty output, output_padding that is no smaller than stride and dilation.
Source: Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, section 4;
PyTorch documentation, torch.nn.functional.conv_transpose2d.
"""

from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad.derivations._convolution import (
    transpose_convolve,
    transpose_convolve_back,
    transposed_fields,
)


def forward(x, w, b=None, *, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    options = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
    return transpose_convolve("conv_transpose2d", 2, x, w, b, **options, groups=groups)


def backward(dy, residuals, needs, *, groups=1, **_):
    return transpose_convolve_back(2, dy, residuals, needs, groups)


register(
    forward,
    backward,
    **transposed_fields(2),
    cases=[
        case("2 x 3", normal(2, 3, 4, 3), normal(3, 2, 2, 3), normal(2)),
        case("unbatched, no bias", normal(3, 3, 4), normal(3, 2, 2, 2), None, padding=1),
        case("stride and output_padding", normal(2, 2, 3, 3), normal(2, 3, 2, 3), normal(3),
             stride=(2, 3), output_padding=(1, 2)),
        case("all options", normal(2, 4, 3, 4), normal(4, 2, 3, 2), normal(4),
             stride=(2, 1), padding=(1, 0), output_padding=(0, 2), groups=2, dilation=(1, 3)),
        case("depthwise", normal(2, 3, 3, 2), normal(3, 1, 2, 2), normal(3), groups=3, stride=2),
        case("padding cuts into the kernel", normal(1, 2, 4, 4), normal(2, 2, 3, 3), normal(2), padding=2),
        case("1 x 1", normal(2, 3, 3, 2), normal(3, 2, 1, 1), None),
    ],
)  # fmt: skip
