"""y[n, o, i] = b[o] + Σ_c Σ_k w[o, c, k] x[n, c, s i + d k - p]

Shapes.  x (N, C, D, H, W) or (C, D, H, W), w (O, C/groups, kD, kH, kW), b (O,) or
absent; y (N, O, D', H', W') or (O, D', H', W').  i = (i₁, i₂, i₃) is a place in y, k one in the kernel;
D' by H' by W' windows fit.

Chain rule.  dy is ∂L/∂y.  Every y[n, o, i] that x[n, c, j] or w[o, c, k] goes into sends its gradient back,
times the other factor; b[o] goes into all of its channel.

Result.  dx is the transposed convolution of dy by w, dw a correlation of x with dy, db a plain sum.
The steps, once for all numbers of axes, and what padding, dilation and groups do: ``_convolution``.

Kinks: none.  Errors: channels that do not match, groups that do not divide them, a bias of another
shape, a kernel larger than the padded x, padding "same" with a stride.
Source: Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, sections 2 and 4;
PyTorch documentation, torch.nn.functional.conv3d.
"""

from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad.derivations._convolution import convolution_fields, convolve, convolve_back


def forward(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1):
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return convolve("conv3d", 3, x, w, b, **options)


def backward(dy, residuals, needs, *, groups=1, **_):
    return convolve_back(3, dy, residuals, needs, groups)


register(
    forward,
    backward,
    **convolution_fields(3),
    cases=[
        case("2 x 2 x 2", normal(2, 2, 3, 4, 3), normal(3, 2, 2, 2, 2), normal(3), padding=1),
        case("unbatched, no bias", normal(2, 3, 3, 4), normal(2, 2, 2, 1, 3), None),
        case("stride steps over the end", normal(1, 2, 4, 4, 5), normal(2, 2, 1, 2, 2), normal(2),
             stride=(2, 3, 2)),
        case("all options", normal(2, 2, 4, 3, 5), normal(4, 1, 2, 3, 2), normal(4),
             stride=(1, 2, 2), padding=(2, 1, 0), dilation=(3, 1, 2), groups=2),
        case("same, even kernel", normal(1, 2, 3, 2, 4), normal(2, 2, 2, 3, 2), normal(2), padding="same"),
        case("valid", normal(1, 2, 3, 3, 3), normal(2, 2, 3, 1, 2), normal(2), padding="valid", stride=2),
    ],
)  # fmt: skip
