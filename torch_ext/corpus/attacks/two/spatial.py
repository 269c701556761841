"""Grids: convolution and interpolation."""

import torch
import torch.nn.functional as F

from ._tools import LOW, Operation, bwd, fwd, leaf, mistakes, normal, reference

# ---- dilated convolution: x (N, C, H, W), w (O, C, K, K), b (O,), dilation d


def _taps(w, d):
    for i in range(w.shape[2]):
        for j in range(w.shape[3]):
            yield i, j, i * d, j * d


@fwd
def _conv_forward(x, w, b, d):
    n, _, height, width = x.shape
    h, v = height - d * (w.shape[2] - 1), width - d * (w.shape[3] - 1)
    y = b.detach().view(1, -1, 1, 1).repeat(n, 1, h, v)
    for i, j, top, left in _taps(w, d):
        y += torch.einsum("nchw,oc->nohw", x[:, :, top : top + h, left : left + v], w[:, :, i, j])
    return y, (x, w, d)


@bwd
def _conv_backward(g, res, wrong=""):
    x, w, d = res
    h, v = g.shape[2:]
    dx, dw = torch.zeros(x.shape, dtype=x.dtype), torch.zeros(w.shape, dtype=w.dtype)
    for i, j, top, left in _taps(w, d):
        patch = x[:, :, top : top + h, left : left + v]
        dw[:, :, i, j] = torch.einsum("nchw,nohw->oc", patch, g)
        part = torch.einsum("nohw,oc->nchw", g, w[:, :, i, j])
        if wrong == "assigned":
            dx[:, :, top : top + h, left : left + v] = part
        elif wrong == "dilation":
            dx[:, :, i : i + h, j : j + v] += part
        else:
            dx[:, :, top : top + h, left : left + v] += part
    if wrong == "flip":
        dw = dw.flip(2, 3)
    if wrong == "taps":
        dw = dw.transpose(2, 3).contiguous()
    if wrong == "channels":
        dw = dw.transpose(0, 1).contiguous()
    if wrong == "batch":
        dw = dw / x.shape[0]
    if wrong == "corner":
        dx[..., -1, -1] = 0
    return dx, dw, g.sum(0) if wrong == "unsummed" else g.sum((0, 2, 3)), None


def _conv(n, c, o, size, k, d, make_w=lambda w: w):
    def make(g, dtype):
        w = make_w(normal(g, dtype, o, c, k, k, grad=False))
        return normal(g, dtype, n, c, size, size), leaf(w), normal(g, dtype, o), d

    return make


def _last_tap(w):
    kept = torch.zeros_like(w)
    kept[:, :, -1, -1] = w[:, :, -1, -1]
    return kept


DILATED_CONV = Operation(
    "dilated_conv2d",
    _conv_forward,
    _conv_backward,
    _conv(2, 2, 2, 5, 2, 2),
    reference(lambda x, w, b, d: F.conv2d(x, w, b, dilation=d)),
    mistakes(
        _conv_backward,
        ("permuted", "flip", "the kernel's gradient is flipped", {"argument": "w"}),
        (
            "transpose",
            "taps",
            "height and width of the kernel are exchanged",
            {"argument": "w", "also": ("permuted",)},
        ),
        (
            "transpose",
            "channels",
            "input and output channels of the kernel are exchanged",
            {"argument": "w", "also": ("permuted",)},
        ),
        (
            "missing-term",
            "assigned",
            "overlapping patches are assigned, not added",
            {
                "argument": "x",
                "hidden": _conv(2, 2, 2, 5, 2, 2, _last_tap),
                "also": ("missing-sum", "region"),
            },
        ),
        (
            "permuted",
            "dilation",
            "the dilation is forgotten on the way back",
            {"argument": "x", "also": ("missing-term", "missing-sum", "region")},
        ),
        (
            "missing-sum",
            "unsummed",
            "the bias's gradient is summed over the batch alone",
            {"argument": "b", "also": ("shape",)},
        ),
        (
            "scale",
            "batch",
            "averaged over the batch",
            {"argument": "w", "hidden": _conv(1, 2, 2, 5, 2, 2), "also": ("missing-sum",)},
        ),
        (
            "local",
            "corner",
            "the last corner is never reached by the loop",
            {"argument": "x", "also": ("zero",)},
        ),
    ),
    {
        "one": _conv(1, 1, 1, 1, 1, 1),
        "plain": _conv(1, 2, 3, 4, 3, 1),
        "last_tap": _conv(2, 1, 2, 4, 2, 2, _last_tap),
        "no_images": _conv(0, 2, 1, 4, 2, 1),
        "view": lambda g, t: (
            leaf(normal(g, t, 1, 5, 5, 2, grad=False).permute(0, 3, 2, 1)),
            leaf(normal(g, t, 2, 3, 2, 2, grad=False).transpose(0, 1)),
            normal(g, t, 3),
            2,
        ),
    },
    LOW,
)

# ---- linear interpolation to m points, corners aligned: x (N, C, L)


def _weights(length, m, dtype):
    step = (length - 1) / (m - 1) if m > 1 else 0.0
    at = torch.arange(m, dtype=dtype) * step
    low = at.floor().long().clamp_(max=length - 1)
    return low, (low + 1).clamp(max=length - 1), at - low


def _middles(length, m, dtype):
    at = ((torch.arange(m, dtype=dtype) + 0.5) * (length / m) - 0.5).clamp(min=0)
    low = at.floor().long().clamp_(max=length - 1)
    return low, (low + 1).clamp(max=length - 1), at - low


@fwd
def _interp_forward(x, m):
    low, high, share = _weights(x.shape[-1], m, torch.float64)
    share = share.to(x.dtype)
    return x[..., low] * (1 - share) + x[..., high] * share, (x.shape, low, high, share)


@fwd
def _interp_middles(x, m):
    low, high, share = _middles(x.shape[-1], m, torch.float64)
    share = share.to(x.dtype)
    return x[..., low] * (1 - share) + x[..., high] * share, (x.shape, low, high, share)


@bwd
def _interp_backward(g, res, wrong=""):
    shape, low, high, share = res
    if wrong == "middles":
        low, high, share = _middles(shape[-1], g.shape[-1], torch.float64)
        share = share.to(g.dtype)
    dx = torch.zeros(shape, dtype=g.dtype)
    if wrong == "assigned":
        dx[..., low] += g * (1 - share)  # an index met twice is added once
        dx[..., high] += g * share
        return dx, None
    if wrong == "weights":
        share = 1 - share
    dx.index_add_(-1, low, g * (1 - share))
    dx.index_add_(-1, high, g * share)
    if wrong == "wrap":
        dx = torch.roll(dx, 1, -1)
    if wrong == "ratio":
        dx = dx * (shape[-1] / g.shape[-1])
    return dx, None


def _interp_rounded(g, res):
    """Positions computed in the input's dtype."""
    (shape, low, high, share), (dtype, _) = res
    m = g.shape[-1]
    at = torch.arange(m).to(dtype) * torch.tensor((shape[-1] - 1) / max(m - 1, 1)).to(dtype)
    low = at.floor().long().clamp_(max=shape[-1] - 1)
    dx = torch.zeros(shape, dtype=torch.float64)
    share = at.double() - low
    dx.index_add_(-1, low, g.double() * (1 - share))
    dx.index_add_(-1, (low + 1).clamp(max=shape[-1] - 1), g.double() * share)
    return dx.to(dtype), None


def _interp(n, c, length, m):
    return lambda g, t: (normal(g, t, n, c, length), m)


INTERPOLATION = Operation(
    "linear_interpolation",
    _interp_forward,
    _interp_backward,
    _interp(2, 2, 23, 37),
    reference(lambda x, m: F.interpolate(x, m, mode="linear", align_corners=True)),
    mistakes(
        _interp_backward,
        (
            "missing-sum",
            "assigned",
            "points that share a neighbour overwrite each other",
            {"also": ("missing-term", "region")},
        ),
        ("permuted", "weights", "the two neighbours' weights are exchanged", {"also": ("missing-factor",)}),
        ("permuted", "wrap", "the neighbours are counted one too far", {}),
        ("scale", "ratio", "divided by the enlargement", {}),
        (
            "missing-factor",
            "middles",
            "the backward pass does not align the corners",
            {"also": ("permuted", "missing-term")},
        ),
        (
            "forward",
            None,
            "neither pass aligns the corners where the reference does",
            {"forward": _interp_middles},
        ),
        (
            "permuted",
            None,
            "positions rounded to bfloat16",
            {
                "backward": _interp_rounded,
                "dtypes": ("bfloat16",),
                "also": ("local", "region", "missing-term", "missing-factor", "missing-sum"),
            },
        ),
    ),
    {
        "same": _interp(2, 1, 5, 5),
        "to_one": _interp(1, 2, 4, 1),
        "from_one": _interp(1, 2, 1, 4),
        "smaller": _interp(2, 2, 9, 4),
        "view": lambda g, t: (leaf(normal(g, t, 6, 2, 2, grad=False).permute(1, 2, 0)), 9),
    },
    ("float64", "float32", "bfloat16"),
)

OPERATIONS = (DILATED_CONV, INTERPOLATION)
