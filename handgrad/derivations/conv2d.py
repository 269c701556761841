"""y[n, o, i] = b[o] + Σ_c Σ_k w[o, c, k] x[n, c, s i + d k - p]

Shapes.  x (N, C, H, W) or (C, H, W), w (O, C/groups, kH, kW), b (O,) or absent; y (N, O, H', W') or
(O, H', W').  n counts samples, c the channels of x, o those of y; i = (i₁, i₂) is a place in y and
k = (k₁, k₂) one in the kernel.  s (stride), d (dilation) and p (padding) are one number for each axis,
so that s i + d k - p is (s₁ i₁ + d₁ k₁ - p₁, s₂ i₂ + d₂ k₂ - p₂).
H' = ⌊(H + 2p - d (kH - 1) - 1)/s⌋ + 1, as many windows as fit; W' likewise.

Forward.  x counts as 0 outside its range: that is the padding.  The kernel is not flipped, so this is
strictly a correlation.  With groups, the channels of x and of y are cut into so many blocks: output o
sees the C/groups channels c of its own block, and w counts c from the start of the block.
padding "valid" means 0; "same" puts d (kH - 1) zeros along an axis, half at each end, an odd one at the
last end, so that H' = H.

Chain rule.  dy is ∂L/∂y.  y[n, o, i] contains x[n, c, j] times w[o, c, k] wherever s i + d k - p = j:
    dx[n, c, j] = Σ_o Σ_(i, k with s i + d k - p = j) dy[n, o, i] w[o, c, k]      o in the block of c
    dw[o, c, k] = Σ_n Σ_i dy[n, o, i] x[n, c, s i + d k - p]
    db[o]       = Σ_n Σ_i dy[n, o, i]

Result.  dx and dw are correlations again, and db is a plain sum.
    dx   Let dy' be dy with s - 1 zeros between its entries: dy'[s i] = dy[i], and 0 elsewhere.  Under
         the sum s i = j + p - d k, so  dx[n, c, j] = Σ_o Σ_k dy'[n, o, j + p - d k] w[o, c, k].
         It is the minus before d k that flips the kernel: the "transposed convolution".
    dw   i and k have changed roles: dy is the kernel, the entries of x that it meets stand s apart,
         and it moves in steps of d.  Samples n are summed as channels c were.
For complex numbers, w in dx and x in dw are conjugated (see ``derivations``).

Kinks: none.  Errors: channels that do not match, groups that do not divide them, a bias of another
shape, a kernel larger than the padded x, padding "same" with a stride.
Source: Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, sections 2 and 4;
PyTorch documentation, torch.nn.functional.conv2d.
"""

import warnings

from handgrad._arrays import conj, namespace
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._primitives import correlate, correlate_to_input, correlate_to_weight, pad_axes
from handgrad.derivations._spatial import (
    batched,
    convolution_options,
    output_size,
    random_windows,
    require_convolution,
)


def forward(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1):
    require_convolution("conv2d", x, w, b, groups, 2)
    options, odd = convolution_options(w.shape[2:], stride, padding, dilation)
    samples = pad_axes(batched(x, 2), odd)  # odd: the last zero of "same"; correlate pads by p itself
    output_size(samples.shape[2:], w.shape[2:], **options)  # raises where no window fits
    y = correlate(samples, w, **options, groups=groups)
    if b is not None:
        y = y + namespace(b).reshape(b, (-1, 1, 1))
    return (y if x.ndim == 4 else y[0, ...]), (samples, w, tuple(x.shape), b is not None, options)


def backward(dy, residuals, needs, *, groups=1, **_):
    samples, w, shape, has_bias, options = residuals
    dy = batched(dy, 2)
    dx = dw = db = None
    # the three sums under Chain rule; needs: which of them are wanted
    if needs[0]:
        dx = correlate_to_input(dy, conj(w), tuple(samples.shape[2:]), **options, groups=groups)
        if samples.shape[2:] != shape[-2:]:  # without the zero that "same" put at the end
            dx = dx[..., : shape[-2], : shape[-1]]
        dx = namespace(dx).reshape(dx, shape)
    if needs[1]:
        dw = correlate_to_weight(conj(samples), dy, tuple(w.shape[2:]), **options, groups=groups)
    if has_bias and needs[2]:
        db = namespace(dy).sum(dy, axis=(0, 2, 3))
    return dx, dw, db


def reference(torch, *inputs, **options):
    """PyTorch's own, without its warning that "same" with an even kernel costs a copy."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Using padding='same' with even kernel")
        return torch.nn.functional.conv2d(*inputs, **options)


def fit(rng, shape):
    """On any picture or batch of pictures: up to six output channels, options that fit its size."""
    if len(shape) not in (3, 4) or 0 in shape[-3:]:
        return None
    channels = shape[-3]
    groups = int(rng.choice([g for g in range(1, channels + 1) if channels % g == 0]))
    kernel, stride, padding, dilation = random_windows(rng, shape[-2:])
    string = rng.choice(["no", "no", "no", "valid", "same"])
    if string == "same":
        stride = (1, 1)
    if string == "valid":
        dilation = (1, 1)  # without padding, a wider window may not fit
    out = groups * int(rng.integers(1, 3))
    return case(
        "fit",
        normal(*shape),
        normal(out, channels // groups, *kernel),
        normal(out) if rng.integers(2) else None,
        stride=stride,
        padding=padding if string == "no" else str(string),
        dilation=dilation,
        groups=groups,
    )


register(
    forward,
    backward,
    torch="torch.nn.functional.conv2d",
    reference=reference,
    autocast="half",
    widen=False,
    fit=fit,
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
