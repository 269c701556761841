"""Boxes, cameras, image similarity, landmarks and segmentation."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from torch_ext.corpus._entry import Mistake, Operation, integers, normal, uniform, wide

from ._tools import back_to, constant, leaf

# generalised IoU loss of boxes given by centre and logarithms of the sides


def _corners(box: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    side = box[..., 2:].exp()
    return box[..., :2] - side / 2, box[..., :2] + side / 2, side


def _giou(p: Tensor, t: Tensor) -> Tensor:
    (pl, ph, ps), (tl, th, ts) = _corners(p), _corners(t)
    inter = (torch.minimum(ph, th) - torch.maximum(pl, tl)).clamp_min(0).prod(-1)
    union = ps.prod(-1) + ts.prod(-1) - inter
    hull = (torch.maximum(ph, th) - torch.minimum(pl, tl)).prod(-1)
    return 2 - inter / union - union / hull


def giou_reference(p: Tensor, t: Tensor) -> Tensor:
    return _giou(wide(p), wide(t)).to(p.dtype)


def giou_forward(p: Tensor, t: Tensor) -> tuple[Tensor, Any]:
    return _giou(wide(p), wide(t)).to(p.dtype), (p, t)


def _more(a: Tensor, b: Tensor) -> Tensor:
    return (a > b).to(a.dtype) + 0.5 * (a == b).to(a.dtype)


def giou_backward(grad: Tensor, residuals: Any, masked: bool = True) -> tuple[Tensor, Tensor]:
    p, t = residuals
    g = wide(grad).unsqueeze(-1)
    (pl, ph, ps), (tl, th, ts) = _corners(wide(p)), _corners(wide(t))
    raw = torch.minimum(ph, th) - torch.maximum(pl, tl)
    cut = raw.clamp_min(0)
    span = torch.maximum(ph, th) - torch.minimum(pl, tl)
    inter, hull = cut.prod(-1, keepdim=True), span.prod(-1, keepdim=True)
    p_area, t_area = ps.prod(-1, keepdim=True), ts.prod(-1, keepdim=True)
    union = p_area + t_area - inter
    g_union = g * (inter / union / union - 1 / hull)
    g_inter = -g / union - g_union
    g_hull = g * (union / hull) / hull
    g_cut = g_inter * cut.flip(-1)
    if masked:
        g_cut = torch.where(raw >= 0, g_cut, torch.zeros_like(g_cut))
    g_span = g_hull * span.flip(-1)
    result = []
    for box, lo, hi, side, area, lo2, hi2 in (
        (p, pl, ph, ps, p_area, tl, th),
        (t, tl, th, ts, t_area, pl, ph),
    ):
        g_hi = g_cut * _more(hi2, hi) + g_span * _more(hi, hi2)
        g_lo = -g_cut * _more(lo, lo2) - g_span * _more(lo2, lo)
        g_side = (g_hi - g_lo) * side / 2 + g_union * area
        result.append(back_to(torch.cat((g_lo + g_hi, g_side), -1), box))
    return result[0], result[1]


def _boxes(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    p, t = normal(g, dtype, 12, 4, grad=False), normal(g, dtype, 12, 4, grad=False)
    scale = torch.tensor([1.5, 1.5, 0.4, 0.4], dtype=dtype)
    return leaf(p * scale), leaf(t * scale)


def _overlapping(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return (
        uniform(g, dtype, 12, 4, low=-0.3, high=0.3),
        uniform(g, dtype, 12, 4, low=-0.3, high=0.3),
    )


def _same(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    box = normal(g, dtype, 5, 4, grad=False)
    return leaf(box.clone()), leaf(box.clone())


giou = Operation(
    "giou_log_boxes",
    giou_forward,
    giou_backward,
    _boxes,
    giou_reference,
    (
        Mistake(
            "region",
            "the clamp of the overlap at zero is forgotten: boxes that are apart on one axis get a slope",
            partial(giou_backward, masked=False),
            also=("missing-factor", "local", "missing-term"),
            hidden=_overlapping,
        ),
    ),
    {
        "same boxes": _same,
        "one against many": lambda g, d: (normal(g, d, 3, 1, 4), normal(g, d, 5, 4)),
        "empty": lambda g, d: (normal(g, d, 0, 4), normal(g, d, 0, 4)),
        "view": lambda g, d: (leaf(normal(g, d, 4, 6, grad=False).t()), normal(g, d, 6, 4)),
    },
)


# pinhole camera with radial distortion


def _project(points: Tensor, camera: Tensor, bend: Tensor) -> Tensor:
    uv = points[..., :2] / points[..., 2:]
    s = uv.square().sum(-1, keepdim=True)
    return camera[..., :2] * uv * (1 + bend[..., :1] * s + bend[..., 1:] * s * s) + camera[..., 2:]


def project_reference(points: Tensor, camera: Tensor, bend: Tensor) -> Tensor:
    return _project(wide(points), wide(camera), wide(bend)).to(points.dtype)


def project_forward(points: Tensor, camera: Tensor, bend: Tensor) -> tuple[Tensor, Any]:
    return project_reference(points, camera, bend), (points, camera, bend)


def project_backward(grad: Tensor, residuals: Any, swapped: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    points, camera, bend = residuals
    p, c, k = wide(points), wide(camera), wide(bend)
    g = wide(grad)
    z = p[..., 2:]
    uv = p[..., :2] / z
    s = uv.square().sum(-1, keepdim=True)
    k1, k2 = k[..., :1], k[..., 1:]
    d = 1 + k1 * s + k2 * s * s
    g_focal = g * uv * d
    if swapped:
        g_focal = g_focal.flip(-1)
    g_d = (g * c[..., :2] * uv).sum(-1, keepdim=True)
    g_s = g_d * (k1 + 2 * k2 * s)
    g_uv = g * c[..., :2] * d + 2 * uv * g_s
    g_points = torch.cat((g_uv / z, -(g_uv * uv).sum(-1, keepdim=True) / z), -1)
    g_camera = torch.cat((g_focal, g.expand_as(g_focal)), -1)
    g_bend = torch.cat((g_d * s, g_d * s * s), -1)
    return back_to(g_points, points), back_to(g_camera, camera), back_to(g_bend, bend)


def _scene(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    points = normal(g, torch.float64, 3, 5, 3, grad=False)
    points[..., 2] = 1.2 + points[..., 2].abs()
    bend = uniform(g, dtype, 2, low=-0.2, high=0.2)
    return leaf(points.to(dtype)), uniform(g, dtype, 3, 1, 4, low=0.5, high=2.0), bend


def _one_camera(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    points, camera, bend = _scene(g, dtype)
    return points, leaf(camera[0, 0]), bend


def _behind(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    points, camera, bend = _scene(g, dtype)
    return leaf(-points.detach()[:, ::2]), camera, bend


pinhole = Operation(
    "pinhole_radial_project",
    project_forward,
    project_backward,
    _scene,
    project_reference,
    (
        Mistake(
            "permuted",
            "the gradients of the two focal lengths are swapped",
            partial(project_backward, swapped=True),
            argument="camera",
        ),
    ),
    {
        "one camera": _one_camera,
        "behind, strided": _behind,
        "no points": lambda g, d: (normal(g, d, 0, 3), normal(g, d, 4), normal(g, d, 2)),
    },
)

# structural similarity of whole rows


def _ssim_parts(x: Tensor, y: Tensor, c1: float, c2: float) -> tuple[Tensor, ...]:
    mx, my = x.mean(-1, keepdim=True), y.mean(-1, keepdim=True)
    dx, dy = x - mx, y - my
    n = x.shape[-1] - 1
    cov = (dx * dy).sum(-1, keepdim=True) / n
    spread = (dx.square() + dy.square()).sum(-1, keepdim=True) / n
    return mx, my, dx, dy, 2 * mx * my + c1, 2 * cov + c2, mx * mx + my * my + c1, spread + c2


def ssim_reference(x: Tensor, y: Tensor, c1: float = 0.01, c2: float = 0.03) -> Tensor:
    a, b = wide(x), wide(y)
    ma, mb = a.mean(-1), b.mean(-1)
    da, db, n = a - ma[..., None], b - mb[..., None], a.shape[-1] - 1
    cov, spread = (da * db).sum(-1) / n, (da**2).sum(-1) / n + (db**2).sum(-1) / n
    top = (2 * ma * mb + c1) * (2 * cov + c2)
    return (top / ((ma**2 + mb**2 + c1) * (spread + c2))).to(x.dtype)


def ssim_forward(x: Tensor, y: Tensor, c1: float = 0.01, c2: float = 0.03) -> tuple[Tensor, Any]:
    *_, n1, n2, d1, d2 = _ssim_parts(wide(x), wide(y), c1, c2)
    return (n1 * n2 / (d1 * d2)).squeeze(-1).to(x.dtype), (x, y, c1, c2)


def ssim_backward(grad: Tensor, residuals: Any, less: int = 1) -> tuple[Any, ...]:
    x, y, c1, c2 = residuals
    mx, my, dx, dy, n1, n2, d1, d2 = _ssim_parts(wide(x), wide(y), c1, c2)
    g = wide(grad).unsqueeze(-1)
    n = x.shape[-1]
    value = n1 * n2 / (d1 * d2)
    g_cov = 2 * n1 / (d1 * d2) / (n - less)
    g_var = -2 * value / d2 / (n - less)
    g_mx = 2 * (my * n2 / (d1 * d2) - value * mx / d1) / n
    g_my = 2 * (mx * n2 / (d1 * d2) - value * my / d1) / n
    g_x = g * (g_mx + g_cov * dy + g_var * dx)
    g_y = g * (g_my + g_cov * dx + g_var * dy)
    return g_x.to(x.dtype), g_y.to(y.dtype), None, None


ssim = Operation(
    "ssim_rows",
    ssim_forward,
    ssim_backward,
    lambda g, d: (normal(g, d, 4, 9), normal(g, d, 4, 9), 0.01, 0.03),
    ssim_reference,
    (
        Mistake(
            "missing-factor",
            "the backward divides variance and covariance by n, the forward by n - 1",
            partial(ssim_backward, less=0),
            also=("scale", "unknown", "missing-term"),
        ),
    ),
    {
        "other constants": lambda g, d: (normal(g, d, 2, 3, 5), normal(g, d, 2, 3, 5), 0.5, 0.25),
        "flat": lambda g, d: (leaf(torch.ones(3, 4, dtype=d)), leaf(torch.zeros(3, 4, dtype=d)), 0.1, 0.1),
        "no rows": lambda g, d: (normal(g, d, 0, 4), normal(g, d, 0, 4), 0.01, 0.03),
        "one row": lambda g, d: (normal(g, d, 6), leaf(normal(g, d, 12, grad=False)[::2]), 0.01, 0.03),
    },
)

# wing loss for landmarks


def _wing(d: Tensor, width: float, curve: float) -> Tensor:
    a = d.abs()
    offset = width - width * torch.log1p(torch.tensor(width / curve, dtype=torch.float64)).item()
    return torch.where(a < width, width * torch.log1p(a / curve), a - offset)


def wing_reference(x: Tensor, target: Tensor, width: float = 1.0, curve: float = 0.5) -> Tensor:
    return _wing(wide(x) - wide(target), width, curve).to(x.dtype)


def wing_forward(x: Tensor, target: Tensor, width: float = 1.0, curve: float = 0.5) -> tuple[Tensor, Any]:
    return wing_reference(x, target, width, curve), (x, target, width, curve)


def wing_backward(grad: Tensor, residuals: Any) -> tuple[Any, ...]:
    x, target, width, curve = residuals
    d = wide(x) - wide(target)
    a = d.abs()
    slope = torch.where(a < width, width / (curve + a), torch.ones_like(a)) * d.sign()
    g = wide(grad) * slope
    return back_to(g, x), back_to(-g, target), None, None


def wing_wrong(grad: Tensor, residuals: Any) -> tuple[Any, ...]:
    x, target, width, curve = residuals
    d = wide(x) - wide(target)
    a = d.abs()
    slope = torch.where(a < width, d.sign() * width / (curve + a), torch.ones_like(a))
    g = wide(grad) * slope
    return back_to(g, x), back_to(-g, target), None, None


wing = Operation(
    "wing_loss",
    wing_forward,
    wing_backward,
    lambda g, d: (normal(g, d, 4, 5), normal(g, d, 4, 5), 1.0, 0.5),
    wing_reference,
    (
        Mistake(
            "sign",
            "in the linear part the slope is one for negative differences, too",
            wing_wrong,
            also=("region", "local"),
        ),
    ),
    {
        "kinks": constant(
            torch.tensor([0.0, 1.0, -1.0, 2.0, -2.0, 0.5]),
            torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, -0.5]),
            1.0,
            0.5,
        ),
        "wide": lambda g, d: (normal(g, d, 3, 1), normal(g, d, 4), 2.0, 0.25),
        "empty": lambda g, d: (normal(g, d, 0, 3), normal(g, d, 3), 1.0, 0.5),
    },
)

# Lovasz hinge


def _jaccard_steps(wanted: Tensor) -> Tensor:
    total = wanted.sum(-1, keepdim=True)
    inter = total - wanted.cumsum(-1)
    union = total + (1 - wanted).cumsum(-1)
    jaccard = 1 - inter / union
    return torch.cat((jaccard[..., :1], jaccard[..., 1:] - jaccard[..., :-1]), -1)


def lovasz_reference(logits: Tensor, labels: Tensor) -> Tensor:
    x = wide(logits)
    sign = torch.where(labels, 1.0, -1.0).to(x.dtype)
    error, order = (1 - x * sign).sort(dim=-1, descending=True, stable=True)
    steps = _jaccard_steps(labels.to(x.dtype).gather(-1, order))
    return (error.relu() * steps).sum(-1).to(logits.dtype)


def lovasz_forward(logits: Tensor, labels: Tensor) -> tuple[Tensor, Any]:
    return lovasz_reference(logits, labels), (logits, labels)


def lovasz_backward(grad: Tensor, residuals: Any, masked: bool = True) -> tuple[Any, ...]:
    logits, labels = residuals
    x = wide(logits)
    sign = torch.where(labels, 1.0, -1.0).to(x.dtype)
    error, order = (1 - x * sign).sort(dim=-1, descending=True, stable=True)
    g = _jaccard_steps(labels.to(x.dtype).gather(-1, order))
    if masked:
        g = torch.where(error > 0, g, torch.zeros_like(g))
    g_error = torch.zeros_like(x).scatter(-1, order, g)
    return (-wide(grad).unsqueeze(-1) * sign * g_error).to(logits.dtype), None


def _labels(g: torch.Generator, *shape: int) -> Tensor:
    return integers(g, *shape, high=2).bool()


lovasz = Operation(
    "lovasz_hinge",
    lovasz_forward,
    lovasz_backward,
    lambda g, d: (leaf(normal(g, d, 4, 9, grad=False) * 1.5), _labels(g, 4, 9)),
    lovasz_reference,
    (
        Mistake(
            "region",
            "pixels beyond the margin get a gradient, as the hinge's mask is missing",
            partial(lovasz_backward, masked=False),
            also=("missing-factor", "local", "missing-term"),
            argument="logits",
            hidden=lambda g, d: (uniform(g, d, 4, 9, low=-0.9, high=0.9), _labels(g, 4, 9)),
        ),
    ),
    {
        "no positives": lambda g, d: (normal(g, d, 3, 5), torch.zeros(3, 5, dtype=torch.bool)),
        "ties": lambda g, d: (leaf(integers(g, 3, 7, low=-2, high=3).to(d)), _labels(g, 3, 7)),
        "one pixel": lambda g, d: (normal(g, d, 3, 1), _labels(g, 3, 1)),
        "empty": lambda g, d: (normal(g, d, 2, 0), _labels(g, 2, 0)),
    },
)

OPERATIONS: tuple[Operation, ...] = (giou, pinhole, ssim, wing, lovasz)
