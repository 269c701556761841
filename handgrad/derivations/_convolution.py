"""A convolution over D axes and a transposed one: the derivation of conv1d to conv3d and their transposes.

    y[n, o, i] = b[o] + Σ_c Σ_k w[o, c, k] x[n, c, s i + d k - p]

Shapes.  x (N, C, *spatial) or (C, *spatial), w (O, C/groups, *kernel), b (O,) or absent; y (N, O, *out)
or (O, *out), with D axes in each of spatial, kernel and out.  n counts samples, c the channels of x, o
those of y; i = (i₁, ..., i_D) is a place in y and k one in the kernel.  s (stride), d (dilation) and p
(padding) are one number for each axis, so that s i + d k - p is (s₁ i₁ + d₁ k₁ - p₁, ...).
Along an axis of n entries ⌊(n + 2p - d (kernel - 1) - 1)/s⌋ + 1 windows fit.

Forward.  x counts as 0 outside its range: that is the padding.  The kernel is not flipped, so this is
strictly a correlation.  With groups, the channels of x and of y are cut into so many blocks: output o
sees the C/groups channels c of its own block, and w counts c from the start of the block.
padding "valid" means 0; "same" puts d (kernel - 1) zeros along an axis, half at each end, an odd one at
the end.

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

The transposed layer is the map dy -> dx above as a layer of its own: its x stands where dy stood, its y
where dx stood, and w (C, O/groups, *kernel) stays in its place.  With one bilinear form
    ⟨y, T(x, w)⟩ = Σ_(n, c, o, i, k) x[n, c, i] w[c, o, k] y[n, o, s i + d k - p] = ⟨correlate(y, w), x⟩
all gradients can be read off: dx = correlate(dy, w), and dw as above with dy for the picture and x for
the gradient.  Its length along an axis is (n - 1) s - 2p + d (kernel - 1) + 1 + output_padding; the last
term says how many entries behind the last window to keep, which the stride of a convolution steps over.

Errors: channels that do not match, groups that do not divide them, a bias of another shape, a kernel
larger than the padded x, padding "same" with a stride, output_padding of a stride and a dilation or more.
Source: Dumoulin and Visin 2016, A guide to convolution arithmetic for deep learning, sections 2 and 4.
"""

import warnings

from handgrad._arrays import conj, namespace
from handgrad._cases import case, normal
from handgrad._errors import require
from handgrad._primitives import pad_axes
from handgrad._primitives_correlations import correlate, correlate_to_input, correlate_to_weight
from handgrad.derivations._spatial import (
    batched,
    convolution_options,
    ints,
    output_size,
    random_windows,
    require_convolution,
    require_spatial,
)


def convolve(layer, d, x, w, b, *, stride, padding, dilation, groups):
    """y and the residuals, over ``d`` axes."""
    require_convolution(layer, x, w, b, groups, d)
    options, odd = convolution_options(w.shape[2:], stride, padding, dilation)
    samples = pad_axes(batched(x, d), odd)  # odd: the last zero of "same"; correlate pads by p itself
    output_size(samples.shape[2:], w.shape[2:], **options)  # raises where no window fits
    y = correlate(samples, w, **options, groups=groups, b=b)
    return (y if x.ndim == d + 2 else y[0, ...]), (x, w, b is not None, options, odd)


def convolve_back(d, dy, residuals, needs, groups):
    """dx, dw and db: the three sums under Chain rule. ``needs``: which of them are wanted."""
    x, w, has_bias, options, odd = residuals
    dy = batched(dy, d)
    dx = dw = db = None
    if needs[0]:
        spatial = tuple(n + after for n, (_, after) in zip(x.shape[-d:], odd, strict=True))
        dx = correlate_to_input(dy, conj(w), spatial, **options, groups=groups)
        dx = namespace(dx).reshape(_start(dx, x.shape[-d:]), tuple(x.shape))
    if needs[1]:
        samples = pad_axes(batched(x, d), odd)
        dw = correlate_to_weight(conj(samples), dy, tuple(w.shape[2:]), **options, groups=groups)
    if has_bias and needs[2]:
        db = _over_places(dy)
    return dx, dw, db


def transpose_convolve(layer, d, x, w, b, *, stride, padding, output_padding, groups, dilation):
    """y and the residuals of the transposed layer, over ``d`` axes."""
    options = _transposed_options(layer, d, x, w, b, stride, padding, output_padding, groups, dilation)
    more = options.pop("output_padding")
    samples = batched(x, d)
    sizes = zip(samples.shape[2:], w.shape[2:], *options.values(), more, strict=True)
    spatial = tuple((n - 1) * s - 2 * p + dil * (k - 1) + 1 + m for n, k, s, p, dil, m in sizes)
    require(
        all(n > 0 for n in spatial),
        f"{layer} must have an output of at least one entry along each axis",
        f"{spatial} for an input {tuple(x.shape)} and padding {options['padding']}",
        "pad less",
    )
    y = correlate_to_input(samples, w, spatial, **options, groups=groups, b=b)
    return (y if x.ndim == d + 2 else y[0, ...]), (x, w, b is not None, options)


def transpose_convolve_back(d, dy, residuals, needs, groups):
    """dx, dw and db of the transposed layer: the same sums with dy and x exchanged."""
    x, w, has_bias, options = residuals
    dy = batched(dy, d)
    spatial, kernel = tuple(x.shape[-d:]), tuple(w.shape[2:])
    dx = dw = db = None
    if needs[0]:
        # an output_padding of s or more lets windows into dy that x has no entry for
        dx = _start(correlate(dy, conj(w), **options, groups=groups), spatial)
        dx = namespace(dx).reshape(dx, tuple(x.shape))
    if needs[1]:
        fit = output_size(dy.shape[2:], kernel, **options)
        samples = pad_axes(batched(x, d), tuple((0, m - n) for m, n in zip(fit, spatial, strict=True)))
        dw = correlate_to_weight(dy, conj(samples), kernel, **options, groups=groups)
    if has_bias and needs[2]:
        db = _over_places(dy)
    return dx, dw, db


def _start(x, spatial):
    """The first entries along the last axes, as many as ``spatial`` says."""
    if tuple(x.shape[-len(spatial) :]) == tuple(spatial):
        return x  # without need not even a slice of all: PyTorch's batched gradients cannot take one
    return x[(..., *(slice(0, n) for n in spatial))]


def _over_places(dy):
    """The sum over samples and places: one number a channel."""
    return namespace(dy).sum(dy, axis=(0, *range(2, dy.ndim)))


def _transposed_options(layer, d, x, w, b, stride, padding, output_padding, groups, dilation):
    require(
        w.ndim == d + 2,
        f"{layer} needs w with {d + 2} axes (C, O/groups, then the kernel's)",
        f"w {tuple(w.shape)}",
        "reshape w",
    )
    require_spatial(x, d, layer)
    require(
        groups > 0 and x.shape[-d - 1] == w.shape[0] and w.shape[0] % groups == 0 and w.shape[0] > 0,
        f"{layer} needs x with C channels and w (C, O/groups, ...), groups dividing C",
        f"x {tuple(x.shape)}, w {tuple(w.shape)}, groups {groups}",
        "make the channels match",
    )
    require(
        b is None or tuple(b.shape) == (w.shape[1] * groups,),
        "the bias must have one entry for each output channel",
        "none" if b is None else f"b {tuple(b.shape)} for {w.shape[1] * groups} output channels",
        f"give b the shape ({w.shape[1] * groups},)",
    )
    options = {
        "stride": ints(stride, d, "stride", 1),
        "padding": ints(padding, d, "padding", 0),
        "dilation": ints(dilation, d, "dilation", 1),
        "output_padding": ints(output_padding, d, "output_padding", 0),
    }
    each = zip(*(options[k] for k in ("output_padding", "stride", "dilation")), strict=True)
    require(
        all(more < max(s, dil) for more, s, dil in each),
        "output_padding must be smaller than the stride or the dilation",
        f"output_padding {options['output_padding']}, stride {options['stride']}, "
        f"dilation {options['dilation']}",
        "pad less",
    )
    return options


# --- what the registrations share -----------------------------------------------------------


def convolution_fields(d):
    """The fields of a convolution's registration that follow from its number of axes."""

    def reference(torch, *inputs, **options):
        """PyTorch's own, without its warning that "same" with an even kernel costs a copy."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Using padding='same' with even kernel")
            return getattr(torch.nn.functional, f"conv{d}d")(*inputs, **options)

    def fit(rng, shape):
        """On any sample or batch of samples: up to six output channels, options that fit its size."""
        if len(shape) not in (d + 1, d + 2) or 0 in shape[-d - 1 :]:
            return None
        channels = shape[-d - 1]
        groups = _divisor(rng, channels)
        kernel, stride, padding, dilation = random_windows(rng, shape[-d:])
        string = rng.choice(["no", "no", "no", "valid", "same"])
        if string == "same":
            stride = (1,) * d
        if string == "valid":
            dilation = (1,) * d  # without padding, a wider window may not fit
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

    name = f"torch.nn.functional.conv{d}d"
    return {"torch": name, "reference": reference, "autocast": "half", "widen": False, "fit": fit}


def transposed_fields(d):
    """The fields of a transposed convolution's registration that follow from its number of axes."""

    def fit(rng, shape):
        """On any sample or batch of samples: up to six output channels, options that fit its size."""
        if len(shape) not in (d + 1, d + 2) or 0 in shape[-d - 1 :]:
            return None
        channels = shape[-d - 1]
        groups = _divisor(rng, channels)
        kernel, stride, dilation = (tuple(int(n) for n in rng.integers(1, 4, d)) for _ in range(3))
        reach = zip(shape[-d:], kernel, stride, dilation, strict=True)
        most = [((n - 1) * s + dil * (k - 1)) // 2 for n, k, s, dil in reach]
        out = int(rng.integers(1, 3))
        return case(
            "fit",
            normal(*shape),
            normal(channels, out, *kernel),
            normal(out * groups) if rng.integers(2) else None,
            stride=stride,
            padding=tuple(int(rng.integers(0, min(m, 2) + 1)) for m in most),
            output_padding=tuple(int(rng.integers(0, s)) for s in stride),
            groups=groups,
            dilation=dilation,
        )

    name = f"torch.nn.functional.conv_transpose{d}d"
    return {"torch": name, "autocast": "half", "widen": False, "fit": fit}


def _divisor(rng, channels):
    return int(rng.choice([g for g in range(1, channels + 1) if channels % g == 0]))
