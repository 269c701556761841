"""y[n, o, j] = b[o] + Σ_c Σ_(i, k with s i + d k - p = j) w[c, o, k] x[n, c, i]

Shapes.  x (N, C, L) or (C, L), w (C, O/groups, k), b (O,) or absent; y (N, O, L') or
(O, L'), where L' = (L - 1) s - 2p + d (k - 1) + 1 + output_padding.

Forward.  Each x[n, c, i] is multiplied by the whole kernel and added to y from s i - p on, in steps of d.
That is the gradient of a convolution in its input, from which the layer has its name.

Chain rule.  dy is ∂L/∂y.  Every y[n, o, j] that x[n, c, i] or w[c, o, k] goes into sends its gradient back,
times the other factor; b[o] goes into all of its channel.

Result.  dx is the convolution of dy by w, dw a correlation of dy with x, db a plain sum.
The steps, once for all numbers of axes, and what padding, dilation and groups do: ``_convolution``.

Kinks: none.  Errors: channels that do not match, groups that do not divide them, a bias of another
shape, an empty output, output_padding that is no smaller than stride and dilation.
Source: Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, section 4;
PyTorch documentation, torch.nn.functional.conv_transpose1d.
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
    return transpose_convolve("conv_transpose1d", 1, x, w, b, **options, groups=groups)


def backward(dy, residuals, needs, *, groups=1, **_):
    return transpose_convolve_back(1, dy, residuals, needs, groups)


register(
    forward,
    backward,
    **transposed_fields(1),
    cases=[
        case("kernel 3", normal(2, 3, 4), normal(3, 2, 3), normal(2)),
        case("unbatched, no bias", normal(3, 4), normal(3, 2, 2), None, padding=1),
        case("stride and output_padding", normal(2, 2, 4), normal(2, 3, 2), normal(3),
             stride=3, output_padding=2),
        case("all options", normal(2, 4, 4), normal(4, 3, 3), normal(6),
             stride=2, padding=1, output_padding=1, groups=2, dilation=3),
        case("output_padding above the stride", normal(2, 2, 3), normal(2, 2, 3), normal(2),
             stride=1, padding=1, output_padding=2, dilation=3),
        case("depthwise", normal(2, 3, 4), normal(3, 1, 3), normal(3), groups=3),
        case("one sample, one entry", normal(1, 2, 1), normal(2, 1, 1), normal(1)),
    ],
)  # fmt: skip
