"""y[n, o, i] = b[o] + Σ_c Σ_k w[o, c, k] x[n, c, s i + d k - p]

Shapes.  x (N, C, H, W) or (C, H, W), w (O, C/groups, kH, kW), b (O,) or absent; y (N, O, H', W') or
(O, H', W') with H' = ⌊(H + 2p - d (kH - 1) - 1)/s⌋ + 1, W' alike.
i = (i₁, i₂) is a place in y and k = (k₁, k₂) one in the kernel; s (stride), d (dilation) and p
(padding) hold axis by axis; x is 0 outside its range.  With groups, output o sees the C/groups
channels c of its own group.  Only a correlation: the kernel is not flipped.
padding "valid" is 0; "same" is d (k - 1) zeros in all along an axis, an odd one at the end.

Chain rule.  y[n, o, i] uses x[n, c, j] where j = s i + d k - p, with the factor w[o, c, k]:
    ∂L/∂x[n, c, j] = Σ_o Σ_(i, k: s i + d k - p = j) dy[n, o, i] w[o, c, k]
    ∂L/∂w[o, c, k] = Σ_n Σ_i dy[n, o, i] x[n, c, s i + d k - p]
    ∂L/∂b[o]       = Σ_n Σ_i dy[n, o, i]

Result.  All three are correlations again.
    dx   substitute i' = s i and call dy' the dy spread out with s - 1 zeros between its entries:
         dx[n, c, j] = Σ_o Σ_k dy'[n, o, j + p - d k] w[o, c, k], a correlation of dy' with the
         flipped kernel: the "transposed convolution".
    dw   a correlation of x with dy: now the entries of dy are the kernel, and they stand s
         apart, while the windows move by d.
    db   the sum of dy over samples and places.
For complex numbers, w and x are conjugated (PyTorch's convention for dL/dz*).

Kinks: none.  Errors: channels that do not match, groups that do not divide them, a kernel larger than
the padded x, padding "same" with a stride.
Source: Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, sections 2 and 4;
PyTorch documentation, torch.nn.functional.conv2d.
"""

import warnings

from handgrad._arrays import conj, namespace
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import correlate, correlate_to_input, correlate_to_weight, pad_axes
from handgrad.derivations._spatial import (
    batched,
    ints,
    output_size,
    random_windows,
    require_spatial,
    window_size,
)


def forward(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1):
    _check(x, w, b, groups)
    d = w.ndim - 2
    how, end = _geometry(w.shape[2:], stride, padding, dilation, groups)
    xp = namespace(x)
    samples = pad_axes(batched(x, d), end)
    output_size(samples.shape[2:], w.shape[2:], how["stride"], how["padding"], how["dilation"])
    y = correlate(samples, w, **how)
    if b is not None:
        y = y + xp.reshape(b, (-1, *(1,) * d))
    return (y if x.ndim == d + 2 else y[0, ...]), (samples, w, tuple(x.shape), b is not None, how)


def backward(dy, residuals, needs, **_):
    x, w, shape, has_bias, how = residuals
    d = w.ndim - 2
    xp = namespace(dy)
    dy = batched(dy, d)
    dx = dw = db = None
    if needs[0]:
        dx = correlate_to_input(dy, conj(w), tuple(x.shape[2:]), **how)
        if x.shape[2:] != shape[-d:]:
            dx = dx[(..., *(slice(0, n) for n in shape[-d:]))]
        dx = xp.reshape(dx, shape)
    if needs[1]:
        dw = correlate_to_weight(conj(x), dy, tuple(w.shape[2:]), **how)
    if has_bias and needs[2]:
        db = xp.sum(dy, axis=(0, *range(2, 2 + d)))
    return dx, dw, db


def _geometry(kernel, stride, padding, dilation, groups):
    """Stride, padding and dilation axis by axis, and what "same" adds at the end of each axis."""
    d = len(kernel)
    stride, dilation = ints(stride, d, "stride", 1), ints(dilation, d, "dilation", 1)
    odd = (0,) * d
    if isinstance(padding, str):
        require(
            padding == "valid" or (padding == "same" and stride == (1,) * d),
            'padding must be integers, "valid", or with stride 1 "same"',
            f"padding {padding!r} with stride {stride}",
            "give the padding as integers",
        )
        total = tuple(e - 1 if padding == "same" else 0 for e in window_size(kernel, dilation))
        padding, odd = tuple(t // 2 for t in total), tuple(t % 2 for t in total)
    padding = ints(padding, d, "padding", 0)
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return how, tuple((0, one) for one in odd)


def _check(x, w, b, groups):
    d = w.ndim - 2
    require(d == 2, "conv2d needs w with 4 axes (O, C/groups, kH, kW)", f"w {tuple(w.shape)}", "reshape w")
    require_spatial(x, d, "a convolution")
    require(
        groups > 0 and x.shape[-d - 1] == w.shape[1] * groups and w.shape[0] % groups == 0 and w.shape[0] > 0,
        "a convolution needs x with C channels and w (O, C/groups, ...), groups dividing O and C",
        f"x {tuple(x.shape)}, w {tuple(w.shape)}, groups {groups}",
        "make the channels match",
    )
    require(
        b is None or tuple(b.shape) == (w.shape[0],),
        "the bias must have one entry for each output channel",
        "none" if b is None else f"b {tuple(b.shape)} for {w.shape[0]} output channels",
        f"give b the shape ({w.shape[0]},)",
    )


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
