"""Vision: sRGB encoding, a learnable tone curve, affine point transforms, Charbonnier total variation."""

import torch

from torch_ext.corpus._entry import Mistake, Operation, normal, uniform

from ._util import leaf, up

# ---- sRGB transfer function -------------------------------------------------------------------

CUT = 0.0031308


def srgb_forward(x):
    v = up(x)
    y = torch.where(v <= CUT, 12.92 * v, 1.055 * v.clamp(min=CUT) ** (1 / 2.4) - 0.055)
    return y.to(x.dtype), (x,)


def srgb_backward(g, res):
    (x,) = res
    v = up(x)
    slope = 1.055 / 2.4 * v.clamp(min=CUT) ** (1 / 2.4 - 1)
    slope[v <= CUT] = 12.92
    return (g * slope).to(x.dtype)


def srgb_mask(g, res):
    (x,) = res
    v = up(x)
    low = (v <= CUT).to(v.dtype)
    slope = low * 12.92 + (1 - low) * 1.055 / 2.4 * v ** (1 / 2.4 - 1)
    return (g * slope).to(x.dtype)


def srgb_reference(x):
    return torch.where(x <= CUT, 12.92 * x, 1.055 * x.clamp(min=CUT) ** (1 / 2.4) - 0.055)


SRGB = Operation(
    name="srgb_encode",
    forward=srgb_forward,
    backward=srgb_backward,
    reference=srgb_reference,
    inputs=lambda g, d: (uniform(g, d, 2, 3, 4, 5, low=-0.2, high=1.2),),
    further={
        "black, white, beyond": lambda g, d: (
            leaf(torch.tensor([0.0, -0.0, 1.0, -1.0, 50.0, 1e-3, 4e-3, -1e-3]), d),
        ),
        "empty": lambda g, d: (uniform(g, d, 0, 3),),
        "transposed view": lambda g, d: (leaf(uniform(g, d, 5, 4, low=-0.1, grad=False).t()),),
    },
    mistakes=(
        Mistake(
            kind="not-finite",
            what="the branches are blended by a mask: 0 * NaN for negative and 0 * inf for black pixels",
            backward=srgb_mask,
            also=("region",),
            argument="x",
            hidden=lambda g, d: (uniform(g, d, 2, 3, 4, low=0.001, high=1.0),),
        ),
    ),
)

# ---- tone curve: a piecewise linear look-up table ---------------------------------------------


def tone_forward(x, curve):
    n = curve.numel()
    pos = x.clamp(0, 1) * (n - 1)
    i = pos.detach().floor().clamp(max=n - 2).long()
    frac = pos - i
    left = curve[i]
    return left + (curve[i + 1] - left) * frac, (x, curve, i, frac)


def _tone_backward(g, res, knots):
    x, curve, i, frac = res
    n = curve.numel()
    inside = (x >= 0) & (x <= 1)
    grad_x = g * (curve[i + 1] - curve[i]) * (n - 1) * inside
    grad_curve = torch.zeros_like(curve)
    for k in range(knots(n)):
        grad_curve[k] += (g * (1 - frac))[i == k].sum()
        if k > 0:
            grad_curve[k] += (g * frac)[i == k - 1].sum()
    return grad_x, grad_curve


def tone_backward(g, res):
    return _tone_backward(g, res, lambda n: n)


def tone_last(g, res):
    return _tone_backward(g, res, lambda n: n - 1)


def tone_reference(x, curve):
    n = curve.numel()
    pos = x.clamp(0, 1) * (n - 1)
    i = pos.detach().floor().clamp(0, n - 2).long()
    return torch.lerp(curve[i], curve[i + 1], pos - i)


TONE = Operation(
    name="tone_curve",
    forward=tone_forward,
    backward=tone_backward,
    reference=tone_reference,
    dtypes=("float64", "float32"),
    inputs=lambda g, d: (uniform(g, d, 2, 6, 5), normal(g, d, 5)),
    further={
        "at knots, ends and outside": lambda g, d: (
            leaf(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0, -0.5, 1.5, -0.0]), d),
            normal(g, d, 5),
        ),
        "two knots, empty image": lambda g, d: (uniform(g, d, 0, 4), normal(g, d, 2)),
        "flat curve, transposed": lambda g, d: (
            leaf(uniform(g, d, 4, 7, grad=False).t()),
            leaf(torch.ones(9), d),
        ),
    },
    mistakes=(
        Mistake(
            kind="local",
            what="the loop goes over the cells, not the knots: the last knot gets nothing",
            backward=tone_last,
            also=("zero", "region"),
            argument="curve",
            hidden=lambda g, d: (uniform(g, d, 6, 5, high=0.74), normal(g, d, 5)),
        ),
    ),
)

# ---- affine transform of key points -----------------------------------------------------------


def affine_forward(points, matrix, shift):
    out = up(points) @ up(matrix).t() + up(shift)
    return out.to(points.dtype), (points, matrix, shift)


def affine_backward(g, res):
    points, matrix, shift = res
    g32, p = up(g), up(points)
    grad_p = g32 @ up(matrix)
    grad_m = torch.einsum("bni,bnj->ij", g32, p)
    grad_s = g32.sum((0, 1))
    return grad_p.to(points.dtype), grad_m.to(matrix.dtype), grad_s.to(shift.dtype)


def affine_transposed(g, res):
    grad_p, _, grad_s = affine_backward(g, res)
    points, matrix, _ = res
    grad_m = torch.einsum("bni,bnj->ij", up(points), up(g))
    return grad_p, grad_m.to(matrix.dtype), grad_s


def affine_batch(g, res):
    grad_p, grad_m, _ = affine_backward(g, res)
    return grad_p, grad_m, g.sum(1)


AFFINE = Operation(
    name="affine_points",
    forward=affine_forward,
    backward=affine_backward,
    reference=lambda points, matrix, shift: points @ matrix.t() + shift,
    inputs=lambda g, d: (normal(g, d, 3, 5, 2), normal(g, d, 2, 2), normal(g, d, 2)),
    further={
        "one point": lambda g, d: (normal(g, d, 1, 1, 2), normal(g, d, 2, 2), normal(g, d, 2)),
        "no points": lambda g, d: (normal(g, d, 2, 0, 2), normal(g, d, 2, 2), normal(g, d, 2)),
        "views": lambda g, d: (
            leaf(normal(g, d, 2, 4, 3, grad=False).permute(2, 1, 0)),
            leaf(normal(g, d, 2, 2, grad=False).t()),
            leaf(normal(g, d, 1, grad=False).expand(2)),
        ),
    },
    mistakes=(
        Mistake(
            kind="transpose",
            what="the matrix gradient is points^T grad instead of grad^T points",
            backward=affine_transposed,
            argument="matrix",
        ),
        Mistake(
            kind="missing-sum",
            what="the shift is summed over the points, not over the batch",
            backward=affine_batch,
            also=("shape",),
            argument="shift",
        ),
    ),
)

# ---- Charbonnier total variation --------------------------------------------------------------


def tv_forward(img, eps):
    dx, dy = torch.zeros_like(img), torch.zeros_like(img)
    dx[..., :-1] = img[..., 1:] - img[..., :-1]
    dy[..., :-1, :] = img[..., 1:, :] - img[..., :-1, :]
    r = (dx * dx).add_(dy * dy).add_(eps * eps).sqrt_()
    return r.sum((1, 2, 3)), (dx, dy, r)


def _tv_scatter(g, u, v):
    g = g[:, None, None, None]
    u, v = u * g, v * g
    grad = -(u + v)
    grad[..., 1:] += u[..., :-1]
    grad[..., 1:, :] += v[..., :-1, :]
    return grad


def tv_backward(g, res):
    dx, dy, r = res
    return _tv_scatter(g, dx / r, dy / r), None


def tv_in_place(g, res):
    dx, dy, r = res
    return _tv_scatter(g, dx.div_(r), dy.div_(r)), None


def tv_reference(img, eps):
    pad = torch.nn.functional.pad
    dx = pad(img[..., 1:] - img[..., :-1], (0, 1))
    dy = pad(img[..., 1:, :] - img[..., :-1, :], (0, 0, 0, 1))
    return (dx**2 + dy**2 + eps**2).sqrt().sum((1, 2, 3))


TV = Operation(
    name="charbonnier_tv",
    forward=tv_forward,
    backward=tv_backward,
    reference=tv_reference,
    dtypes=("float64", "float32"),
    inputs=lambda g, d: (normal(g, d, 2, 3, 4, 5), 0.1),
    further={
        "flat": lambda g, d: (leaf(torch.ones(2, 1, 3, 3), d), 1e-3),
        "one pixel": lambda g, d: (normal(g, d, 1, 1, 1, 1), 0.1),
        "channels last": lambda g, d: (
            leaf(normal(g, d, 2, 3, 4, 5, grad=False).contiguous(memory_format=torch.channels_last)),
            0.01,
        ),
    },
    mistakes=(
        Mistake(
            kind="mutates",
            what="the saved differences are divided in place: right once, wrong with retain_graph=True",
            backward=tv_in_place,
            also=("nondeterministic",),
        ),
    ),
)

OPERATIONS = (SRGB, TONE, AFFINE, TV)
