"""Shading, distance fields, curves and greyscale morphology."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_ext.corpus._entry import DTYPES, Mistake, Operation, normal, uniform, wide

from ._tools import like

# -- microfacet highlight ---------------------------------------------------------------------------


def _ggx(nh: Tensor, nv: Tensor, nl: Tensor, vh: Tensor, rough: Tensor, f0: Tensor, ibl: bool) -> Any:
    a2 = rough**4
    t = nh * nh * (a2 - 1) + 1
    d = a2 / (math.pi * t * t)
    k = rough * rough / 2 if ibl else (rough + 1) ** 2 / 8
    p, q = nv * (1 - k) + k, nl * (1 - k) + k
    vis = 1 / (p * q)
    fres = f0 + (1 - f0) * (1 - vh) ** 5
    return a2, t, d, k, p, q, vis, fres


def ggx_forward(
    nh: Tensor, nv: Tensor, nl: Tensor, vh: Tensor, rough: Tensor, f0: Tensor, ibl: bool = False
) -> tuple[Tensor, Any]:
    """D V F / 4 with GGX, Schlick-Smith and Schlick-Fresnel; alpha is the roughness squared."""
    *_, d, _, _, _, vis, fres = _ggx(*wide((nh, nv, nl, vh, rough, f0)), ibl)
    return (d * vis * fres / 4).to(nh.dtype), (nh, nv, nl, vh, rough, f0, ibl)


def _ggx_backward(grad: Tensor, res: Any, wrong: bool) -> tuple[Any, ...]:
    *tensors, ibl = res
    nh, nv, nl, vh, rough, f0 = wide(tuple(tensors))
    g = wide(grad) / 4
    a2, t, d, k, p, q, vis, fres = _ggx(nh, nv, nl, vh, rough, f0, ibl)
    gd, gvis, gf = g * vis * fres, g * d * fres, g * d * vis
    g_nh = gd * (-4 * a2 * nh * (a2 - 1)) / (math.pi * t**3)
    g_a2 = gd * (t - 2 * a2 * nh * nh) / (math.pi * t**3)
    g_nv = -gvis * vis * (1 - k) / p
    g_nl = -gvis * vis * (1 - k) / q
    g_k = -gvis * vis * ((1 - nv) / p + (1 - nl) / q)
    dk = rough if ibl else (rough + 1) / 4
    da2 = 2 * rough if wrong else 4 * rough**3
    g_rough = g_a2 * da2 + g_k * dk
    g_vh = -5 * gf * (1 - f0) * (1 - vh) ** 4
    g_f0 = gf * (1 - (1 - vh) ** 5)
    grads = (g_nh, g_nv, g_nl, g_vh, g_rough, g_f0)
    return (*(like(a, b) for a, b in zip(grads, tensors, strict=True)), None)


def ggx_backward(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _ggx_backward(grad, res, False)


def ggx_wrong(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _ggx_backward(grad, res, True)


def ggx_reference(
    nh: Tensor, nv: Tensor, nl: Tensor, vh: Tensor, rough: Tensor, f0: Tensor, ibl: bool = False
) -> Tensor:
    alpha = rough.square()
    d = (alpha / (nh.square() * (alpha.square() - 1) + 1)).square() / math.pi
    k = rough.square() / 2 if ibl else (rough + 1).square() / 8
    vis = 1 / ((nv * (1 - k) + k) * (nl * (1 - k) + k))
    return d * vis * torch.lerp(f0, torch.ones_like(f0), (1 - vh).pow(5)) / 4


def _ggx_inputs(rows: int, cols: int, ibl: bool) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        cosines = [uniform(g, dtype, rows, cols, low=0.05) for _ in range(4)]
        rough = uniform(g, dtype, cols, low=0.4)
        return (*cosines, rough, uniform(g, dtype, cols, low=0.02, high=0.9), ibl)

    return make


def _ggx_facing(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    ones = [torch.ones(3, 4, dtype=dtype).requires_grad_() for _ in range(4)]
    return (*ones, uniform(g, dtype, 4, low=0.5), uniform(g, dtype, 4), False)


GGX = Operation(
    "ggx_specular",
    ggx_forward,
    ggx_backward,
    _ggx_inputs(5, 6, False),
    ggx_reference,
    (
        Mistake(
            "missing-factor",
            "alpha taken for the roughness itself in the derivative of the distribution term",
            ggx_wrong,
            also=("scale", "missing-term"),
            argument="rough",
        ),
    ),
    {"ibl": _ggx_inputs(4, 3, True), "facing": _ggx_facing, "one column": _ggx_inputs(4, 1, False)},
    DTYPES,
)


# -- spheres joined smoothly ------------------------------------------------------------------------


def _distances(points: Tensor, centres: Tensor, radii: Tensor) -> tuple[Tensor, Tensor]:
    apart = points[:, None] - centres
    length = torch.linalg.vector_norm(apart, dim=-1)
    return apart, length - radii


def union_forward(points: Tensor, centres: Tensor, radii: Tensor, k: float = 0.5) -> tuple[Tensor, Any]:
    """Signed distance to spheres folded with the polynomial smooth minimum of width ``k``."""
    if k <= 0 or len(centres) == 0:
        raise ValueError("k must be positive and there must be a sphere")
    p, c, r = wide((points, centres, radii))
    d = _distances(p, c, r)[1]
    acc = d[:, 0]
    for j in range(1, len(c)):
        h = (k - (acc - d[:, j]).abs()).clamp(min=0)
        acc = torch.minimum(acc, d[:, j]) - h * h / (4 * k)
    return acc.to(points.dtype, copy=True), (points, centres, radii, k)


def _union_backward(grad: Tensor, res: Any, wrong: bool) -> tuple[Any, ...]:
    points, centres, radii, k = res
    p, c, r = wide((points, centres, radii))
    apart, d = _distances(p, c, r)
    accs = [d[:, 0]]
    for j in range(1, len(c)):
        h = (k - (accs[-1] - d[:, j]).abs()).clamp(min=0)
        accs.append(torch.minimum(accs[-1], d[:, j]) - h * h / (4 * k))
    g = wide(grad)
    gd = torch.zeros_like(d)
    for j in range(len(c) - 1, 0, -1):
        a, b = accs[j - 1], d[:, j]
        w = (k - (a - b).abs()).clamp(min=0) / (2 * k)
        far = torch.zeros_like(w) if wrong else w
        near = 1 - far
        gd[:, j] = g * torch.where(a <= b, far, near)
        g = g * torch.where(a <= b, near, far)
    gd[:, 0] = g
    length = torch.linalg.vector_norm(apart, dim=-1, keepdim=True)
    unit = torch.where(length > 0, apart / length, 0.0)
    ga = gd[..., None] * unit
    return ga.sum(1).to(points.dtype), -ga.sum(0).to(centres.dtype), -gd.sum(0).to(radii.dtype), None


def union_backward(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _union_backward(grad, res, False)


def union_wrong(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _union_backward(grad, res, True)


def union_reference(points: Tensor, centres: Tensor, radii: Tensor, k: float = 0.5) -> Tensor:
    d = torch.linalg.vector_norm(points[:, None] - centres, dim=-1) - radii
    acc = d[:, 0]
    for b in d.unbind(1)[1:]:
        acc = torch.minimum(acc, b) - F.relu(k - (acc - b).abs()).square() / (4 * k)
    return acc


def _union_inputs(n: int, m: int, k: float) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        return normal(g, dtype, n, 3), normal(g, dtype, m, 3), uniform(g, dtype, m, low=0.2), k

    return make


def _union_twins(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    """Every sphere twice, and points in the centres."""
    c = normal(g, dtype, 2, 3, grad=False).repeat(2, 1)
    r = torch.tensor([0.5, 0.25, 0.5, 0.25], dtype=dtype)
    return c[:3].clone().requires_grad_(), c.requires_grad_(), r.requires_grad_(), 0.5


UNION = Operation(
    "sdf_smooth_union",
    union_forward,
    union_backward,
    _union_inputs(9, 4, 0.5),
    union_reference,
    (
        Mistake(
            "missing-term",
            "only the minimum is differentiated, the polynomial that blends two spheres is not",
            union_wrong,
            also=("region", "local", "scale"),
            argument="points",
        ),
    ),
    {"twins": _union_twins, "no points": _union_inputs(0, 3, 0.5), "one sphere": _union_inputs(5, 1, 1.0)},
    DTYPES,
)


# -- a curve through control points -----------------------------------------------------------------


def _segments(u: Tensor, n: int) -> tuple[Tensor, list[Tensor]]:
    i = u.detach().floor().long().clamp(0, n - 2)
    return i, [(i - 1).clamp(min=0), i, i + 1, (i + 2).clamp(max=n - 1)]


def curve_forward(control: Tensor, u: Tensor, s: float = 0.5) -> tuple[Tensor, Any]:
    """Cardinal spline at the parameters ``u``; the end points count twice; beyond them it goes on."""
    if len(control) < 2:
        raise ValueError("a curve needs two control points")
    c, w = wide((control, u))
    i, ids = _segments(w, len(c))
    t = (w - i)[:, None]
    out = (((-s * t + 2 * s) * t - s) * t) * c[ids[0]]
    out = out + (((2 - s) * t + s - 3) * t * t + 1) * c[ids[1]]
    out = out + ((((s - 2) * t + 3 - 2 * s) * t + s) * t) * c[ids[2]]
    out = out + (s * t - s) * t * t * c[ids[3]]
    return out.to(control.dtype), (control, u, s)


def _curve_backward(grad: Tensor, res: Any, wrong: bool) -> tuple[Any, ...]:
    control, u, s = res
    c, w = wide((control, u))
    g = wide(grad)
    i, ids = _segments(w, len(c))
    t = (w - i)[:, None]
    weights = (
        ((-s * t + 2 * s) * t - s) * t,
        ((2 - s) * t + s - 3) * t * t + 1,
        (((s - 2) * t + 3 - 2 * s) * t + s) * t,
        (s * t - s) * t * t,
    )
    slopes = (
        (-3 * s * t + 4 * s) * t - s,
        (3 * (2 - s) * t + 2 * (s - 3)) * t,
        (3 * (s - 2) * t + 2 * (3 - 2 * s)) * t + s,
        (3 * s * t - 2 * s) * t,
    )
    gc, gu = torch.zeros_like(c), torch.zeros_like(w)
    for index, weight, slope in zip(ids, weights, slopes, strict=True):
        if wrong:
            gc[index] += weight * g
        else:
            gc.index_add_(0, index, weight * g)
        gu = gu + (slope * g * c[index]).sum(1)
    return gc.to(control.dtype), gu.to(u.dtype), None


def curve_backward(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _curve_backward(grad, res, False)


def curve_wrong(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _curve_backward(grad, res, True)


def curve_reference(control: Tensor, u: Tensor, s: float = 0.5) -> Tensor:
    n = len(control)
    i = u.detach().floor().long().clamp(0, n - 2)
    t = u - i
    rows = [[0, 1, 0, 0], [-s, 0, s, 0], [2 * s, s - 3, 3 - 2 * s, -s], [-s, 2 - s, s - 2, s]]
    basis = torch.tensor(rows, dtype=control.dtype)
    powers = torch.stack([torch.ones_like(t), t, t * t, t * t * t], -1)
    ids = torch.stack([(i - 1).clamp(min=0), i, i + 1, (i + 2).clamp(max=n - 1)], -1)
    return torch.einsum("mk,mkd->md", powers @ basis, control[ids])


def _curve_inputs(n: int, m: int, s: float) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        return normal(g, dtype, n, 3), uniform(g, dtype, m, high=n - 1.0), s

    return make


def _curve_knots(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    u = torch.arange(7).to(dtype)
    return normal(g, dtype, 7, 2), u.requires_grad_(), 0.5


CURVE = Operation(
    "cardinal_spline",
    curve_forward,
    curve_backward,
    _curve_inputs(7, 10, 0.5),
    curve_reference,
    (
        Mistake(
            "missing-sum",
            "control[index] += ... keeps one of several parameters that fall into the same segment",
            curve_wrong,
            also=("missing-term", "local", "region", "nondeterministic"),
            argument="control",
        ),
    ),
    {"knots": _curve_knots, "two points": _curve_inputs(2, 4, 1.0), "empty": _curve_inputs(4, 0, 0.5)},
    DTYPES,
)


# -- greyscale dilation -----------------------------------------------------------------------------


def _windows(image: Tensor, element: Tensor) -> Tensor:
    a, b = element.shape
    pad = (b // 2, b - 1 - b // 2, a // 2, a - 1 - a // 2)
    padded = F.pad(image, pad, value=-math.inf)
    return (padded.unfold(1, a, 1).unfold(2, b, 1) + element).flatten(3)


def dilate_forward(image: Tensor, element: Tensor) -> tuple[Tensor, Any]:
    """Largest of image + element in the window around each pixel; nothing comes from outside."""
    out = _windows(wide(image), wide(element)).amax(-1)
    return out.to(image.dtype), (image, element)


def _dilate_backward(grad: Tensor, res: Any, wrong: bool) -> tuple[Any, ...]:
    image, element = res
    win = _windows(wide(image), wide(element))
    hit = (win == win.amax(-1, keepdim=True)).to(win.dtype)
    g = wide(grad)[..., None] * hit
    if not wrong:
        g = g / hit.sum(-1, keepdim=True)
    a, b = element.shape
    g = g.unflatten(3, (a, b))
    n, h, w = image.shape
    gi = torch.zeros(n, h + a - 1, w + b - 1, dtype=g.dtype, device=g.device)
    for i in range(a):
        for j in range(b):
            gi[:, i : i + h, j : j + w] += g[..., i, j]
    gi = gi[:, a // 2 : a // 2 + h, b // 2 : b // 2 + w]
    return gi.to(image.dtype, copy=True), g.sum((0, 1, 2)).to(element.dtype)


def dilate_backward(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _dilate_backward(grad, res, False)


def dilate_wrong(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _dilate_backward(grad, res, True)


def dilate_reference(image: Tensor, element: Tensor) -> Tensor:
    a, b = element.shape
    h, w = image.shape[1:]
    pad = (b // 2, b - 1 - b // 2, a // 2, a - 1 - a // 2)
    padded = F.pad(image, pad, value=-math.inf)
    parts = [padded[:, i : i + h, j : j + w] + element[i, j] for i in range(a) for j in range(b)]
    return torch.stack(parts).amax(0)


def _dilate_inputs(n: int, h: int, w: int, a: int, b: int) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        return normal(g, dtype, n, h, w), normal(g, dtype, a, b)

    return make


def dilate_ties(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    """Four grey levels and a flat element."""
    image = torch.randint(0, 4, (2, 6, 7), generator=g).to(dtype)
    return image.requires_grad_(), torch.zeros(3, 3, dtype=dtype).requires_grad_()


DILATE = Operation(
    "grey_dilation",
    dilate_forward,
    dilate_backward,
    _dilate_inputs(2, 6, 7, 3, 3),
    dilate_reference,
    (
        Mistake(
            "region",
            "where several pixels tie for the maximum each gets the whole gradient",
            dilate_wrong,
            also=("scale", "local", "missing-factor"),
            argument="image",
            hidden=_dilate_inputs(2, 6, 7, 3, 3),
        ),
    ),
    {
        "ties": dilate_ties,
        "even element": _dilate_inputs(1, 4, 5, 2, 1),
        "empty": _dilate_inputs(0, 3, 3, 3, 3),
    },
    DTYPES,
)

OPERATIONS = (GGX, UNION, CURVE, DILATE)
