"""What convolutions and pools share: options, the sample axis, output sizes, random windows."""

from handgrad._arrays import namespace
from handgrad._errors import require


def ints(value, d, name, least):
    """One integer for all ``d`` spatial axes, or one each; none below ``least``."""
    each = tuple(value) if isinstance(value, tuple | list) else (value,)
    each = each * d if len(each) == 1 else each
    require(
        len(each) == d and all(hasattr(n, "__index__") and n >= least for n in each),
        f"{name} must be one integer, or {d} of them, each at least {least}",
        repr(value),
        f"give {d} integers",
    )
    return each


def batched(x, d):
    """x (channels, *spatial) becomes a batch of one sample; a batch stays as it is."""
    return namespace(x).expand_dims(x, axis=0) if x.ndim == d + 1 else x


def require_spatial(x, d, layer):
    """x is one sample (channels, *spatial) or a batch of them."""
    require(
        x.ndim in (d + 1, d + 2),
        f"{layer} needs x with {d + 1} axes (channels, then {d} spatial ones) or {d + 2} (a batch)",
        f"x {tuple(x.shape)}",
        "reshape x",
    )


def require_convolution(layer, x, w, b, groups, d):
    """x, w and b fit each other in a convolution over ``d`` spatial axes."""
    require(
        w.ndim == d + 2,
        f"{layer} needs w with {d + 2} axes (O, C/groups, then the kernel's)",
        f"w {tuple(w.shape)}",
        "reshape w",
    )
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


def convolution_options(kernel, stride, padding, dilation):
    """Stride, padding and dilation axis by axis, and the odd zero of padding "same" as (before, after).

    "same" puts as many zeros along an axis as a window is longer than 1; the odd one stands at the end.
    """
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
    return {"stride": stride, "padding": padding, "dilation": dilation}, tuple((0, one) for one in odd)


def window_options(kernel, stride, padding, dilation, d=2):
    """Kernel, stride, padding and dilation axis by axis, by their names."""
    return {
        "kernel": ints(kernel, d, "kernel_size", 1),
        "stride": ints(stride, d, "stride", 1),
        "padding": ints(padding, d, "padding", 0),
        "dilation": ints(dilation, d, "dilation", 1),
    }


def window_size(kernel, dilation):
    """From the first entry of a window to its last."""
    return tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))


def output_size(spatial, kernel, stride, padding, dilation, *, ceil=False):
    """How many windows fit along each axis; ``ceil`` counts a last one that does not fit whole.

    That one must still start inside x or its left padding.
    """
    out = []
    for n, e, s, p in zip(spatial, window_size(kernel, dilation), stride, padding, strict=True):
        room = n + 2 * p - e
        m = -(-room // s) + 1 if ceil else room // s + 1
        out.append(m - 1 if ceil and (m - 1) * s >= n + p else m)
    require(
        all(m > 0 for m in out),
        "the kernel must fit into the padded input",
        f"input {tuple(spatial)}, padding {tuple(padding)}, kernel {tuple(kernel)}, "
        f"dilation {tuple(dilation)}",
        "use a smaller kernel or more padding",
    )
    return tuple(out)


def random_windows(rng, spatial, *, pool=False):
    """Options (kernel, stride, padding, dilation) that fit, over their whole range."""
    columns = []
    for n in spatial:
        k = int(rng.integers(1, min(n, 4) + 1))
        p = int(rng.integers(0, k // 2 + 1 if pool else 3))
        widest = (n + 2 * p - 1) // (k - 1) if k > 1 else 3
        widest = min(widest, n) if pool else widest
        columns.append((k, int(rng.integers(1, 4)), p, int(rng.integers(1, min(widest, 3) + 1))))
    return tuple(zip(*columns, strict=True))
