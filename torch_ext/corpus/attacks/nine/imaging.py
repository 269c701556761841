"""Images and waves: colour, magnetic resonance, tomography, seismic gathers, magnitudes of stars."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ._base import Generator, Mistake, Operation, as_dtypes, fold, in_wide, leaf, normal, uniform, wide

# ---------------------------------------------------------------- CIE L*a*b*

DELTA = 6 / 29


def lab_forward(xyz: Tensor, white: Tensor) -> tuple[Tensor, Any]:
    """L*, a*, b* of tristimulus values (..., 3) under a white point (3,)."""
    x, w = wide((xyz, white))
    t = x / w
    bright = t > DELTA**3
    root = torch.where(bright, t, 1).pow(1 / 3)
    f = torch.where(bright, root, t / (3 * DELTA**2) + 4 / 29)
    fx, fy, fz = f.unbind(-1)
    lab = torch.stack((116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)), -1)
    return lab.to(xyz.dtype), (t, w, bright, root, xyz.dtype, white.dtype)


def lab_gradients(grad: Tensor, residuals: Any, dark: float) -> tuple[Tensor, Tensor]:
    """``dark`` is the slope of the linear part."""
    t, w, bright, root, *dtypes = residuals
    gl, ga, gb = wide(grad).unbind(-1)
    gf = torch.stack((500 * ga, 116 * gl - 500 * ga + 200 * gb, -200 * gb), -1)
    gt = gf * torch.where(bright, 1 / (3 * root * root), dark) / w
    first, second = as_dtypes((gt, fold(-gt * t, w)), dtypes)
    return first, second


def lab_backward(grad: Tensor, residuals: Any) -> tuple[Tensor, Tensor]:
    return lab_gradients(grad, residuals, 1 / (3 * DELTA**2))


def lab_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor, Tensor]:
    return lab_gradients(grad, residuals, 1 / (3 * DELTA))


@in_wide
def lab_reference(xyz: Tensor, white: Tensor) -> Tensor:
    t = xyz / white
    dark = t <= DELTA**3
    f = torch.where(dark, t / (3 * DELTA**2) + 4 / 29, torch.exp(torch.log(t.masked_fill(dark, 1.0)) / 3))
    rows = torch.tensor([[0.0, 116, 0], [500, -500, 0], [0, 200, -200]], dtype=f.dtype)
    return f @ rows.T + torch.tensor([-16.0, 0, 0], dtype=f.dtype)


def white_point(dtype: torch.dtype) -> Tensor:
    return torch.tensor([0.9505, 1.0, 1.089], dtype=dtype, requires_grad=True)


def lab_bright(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return uniform(g, dtype, 8, 3, low=0.05), white_point(dtype)


def lab_dark(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return uniform(g, dtype, 2, 5, 3, low=-0.01, high=0.03), white_point(dtype)


def lab_black(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return leaf(torch.zeros(4, 3, dtype=dtype)), white_point(dtype)


def lab_view(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return leaf(uniform(g, dtype, 3, 1, 6).permute(1, 2, 0)), white_point(dtype)


lab_from_xyz = Operation(
    "lab_from_xyz",
    lab_forward,
    lab_backward,
    lab_bright,
    lab_reference,
    mistakes=(
        Mistake(
            "region",
            "dark colours: the slope of the linear part is 1 / (3 d), not 1 / (3 d^2)",
            lab_wrong,
            also=("scale", "local", "missing-factor", "unknown"),
            argument="xyz",
            hidden=lab_bright,
        ),
    ),
    further={"dark": lab_dark, "black": lab_black, "view": lab_view},
)

# ---------------------------------------------------------------- spoiled gradient echo


def echo_forward(
    density: Tensor, t1: Tensor, t2: Tensor, flip: Tensor, repeat: float = 0.5, echo: float = 0.3
) -> tuple[Tensor, Any]:
    """Signal (A, V) of V voxels at A flip angles (Ernst's formula with T2 decay)."""
    m, a, b, angle = wide((density, t1, t2, flip[:, None]))
    a, b = torch.where(a > 0, a, torch.nan), torch.where(b > 0, b, torch.nan)
    e1, rest = torch.exp(-repeat / a), -torch.expm1(-repeat / a)
    away = 2 * torch.sin(angle / 2) ** 2  # 1 - cos
    under = away + angle.cos() * rest
    decay = torch.exp(-echo / b)
    unit = angle.sin() * rest / under * decay
    dtypes = [x.dtype for x in (density, t1, t2, flip)]
    saved = (m, a, b, angle, e1, rest, away, under, decay, unit, repeat, echo, dtypes)
    return (m * unit).to(density.dtype), saved


def echo_backward(grad: Tensor, residuals: Any) -> tuple[Any, ...]:
    m, a, b, angle, e1, rest, away, under, decay, unit, repeat, echo, dtypes = residuals
    g = wide(grad)
    gt2 = (g * m * unit).sum(0) * echo / b**2
    gm = (g * unit).sum(0)
    g = g * m * decay
    gt1 = -(g * angle.sin() * away / under**2).sum(0) * e1 * repeat / a**2
    gflip = (g * rest * (angle.cos() - e1) / under**2).sum(1)
    return *as_dtypes((gm, gt1, gt2, gflip), dtypes), None, None


def echo_wrong(grad: Tensor, residuals: Any) -> tuple[Any, ...]:
    m, a, b, angle, e1, rest, away, under, decay, unit, repeat, echo, dtypes = residuals
    g = wide(grad)
    gm = (g * unit).sum(0)
    g *= m * decay
    gt1 = -(g * angle.sin() * away / under**2).sum(0) * e1 * repeat / a**2
    gt2 = (g * m * unit).sum(0) * echo / b**2
    gflip = (g * rest * (angle.cos() - e1) / under**2).sum(1)
    return *as_dtypes((gm, gt1, gt2, gflip), dtypes), None, None


@in_wide
def echo_reference(
    density: Tensor, t1: Tensor, t2: Tensor, flip: Tensor, repeat: float = 0.5, echo: float = 0.3
) -> Tensor:
    e1 = torch.exp(-repeat / t1)
    angle = flip.unsqueeze(1)
    return density * angle.sin() * (1 - e1) / (1 - angle.cos() * e1) * torch.exp(-echo / t2)


def voxels(g: Generator, dtype: torch.dtype, count: int) -> tuple[Tensor, ...]:
    return (
        normal(g, dtype, count),
        uniform(g, dtype, count, low=0.5, high=2),
        uniform(g, dtype, count, low=0.3),
    )


def echo_inputs(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return *voxels(g, dtype, 6), uniform(g, dtype, 4, low=0.1, high=1.5), 0.5, 0.3


def echo_turns(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return *voxels(g, dtype, 3), leaf(torch.tensor([0.0, -1.0, 3.0, 7.0], dtype=dtype)), 1.0, 0.1


def echo_one(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return *voxels(g, dtype, 1), normal(g, dtype, 1), 0.5, 0.3


def echo_no_angles(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return *voxels(g, dtype, 3), normal(g, dtype, 0), 0.5, 0.3


gradient_echo = Operation(
    "gradient_echo",
    echo_forward,
    echo_backward,
    echo_inputs,
    echo_reference,
    mistakes=(
        Mistake(
            "mutates",
            "the incoming gradient is multiplied in place and then used again for T2",
            echo_wrong,
            also=("missing-factor", "scale", "local", "unknown"),
            argument="t2",
        ),
    ),
    further={"turns": echo_turns, "one": echo_one, "no_angles": echo_no_angles},
)

# ---------------------------------------------------------------- parallel projections


def landing(image: Tensor, angles: Tensor, cells: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each angle and pixel: the cell below (one added, clamped), the fraction, and its derivative."""
    height, width = image.shape
    y = torch.arange(height, dtype=image.dtype)[:, None] - (height - 1) / 2
    x = torch.arange(width, dtype=image.dtype) - (width - 1) / 2
    a = angles[:, None, None]
    t = (x * a.cos() + y * a.sin() + (cells - 1) / 2).flatten(1)
    below = t.detach().floor()
    return below.long(), t - below, (y * a.cos() - x * a.sin()).flatten(1)


def projection_forward(image: Tensor, angles: Tensor, cells: int | None = None) -> tuple[Tensor, Any]:
    """Sinogram (A, cells): each pixel falls between two cells of the detector, or beside it."""
    pixels, a = wide((image, angles))
    count = max(image.shape) if cells is None else cells
    below, part, turn = landing(pixels, a, count)
    low, high = (below + 1).clamp(0, count + 1), (below + 2).clamp(0, count + 1)
    flat = pixels.reshape(1, -1).expand(len(a), -1)
    out = torch.zeros(len(a), count + 2, dtype=pixels.dtype)  # one more on each side catches what misses
    out = out.scatter_add(1, low, flat * (1 - part)).scatter_add(1, high, flat * part)
    out = out[:, 1:-1].to(image.dtype)
    return out, (pixels, low, high, part, turn, image.dtype, angles.dtype)


def projection_gradients(grad: Tensor, residuals: Any, last: int) -> tuple[Any, ...]:
    """``last`` cells at the end are left out where a pixel lies below them."""
    pixels, low, high, part, turn, *dtypes = residuals
    g = pad(wide(grad), (1, 1))
    at_low, at_high = g.gather(1, low), g.gather(1, high)
    inside = (high < g.shape[1] - last).to(g.dtype)
    each = (1 - part) * at_low + part * at_high * inside
    gangles = (pixels.reshape(1, -1) * (at_high - at_low) * turn).sum(1)
    return *as_dtypes((each.sum(0).reshape(pixels.shape), gangles), dtypes), None


def projection_backward(grad: Tensor, residuals: Any) -> tuple[Any, ...]:
    return projection_gradients(grad, residuals, 1)


def projection_wrong(grad: Tensor, residuals: Any) -> tuple[Any, ...]:
    return projection_gradients(grad, residuals, 2)


@in_wide
def projection_reference(image: Tensor, angles: Tensor, cells: int | None = None) -> Tensor:
    count = max(image.shape) if cells is None else cells
    below, part, turn = landing(image, angles, count)
    # the fraction again, with its derivative in the angle
    part = part.detach() + turn.detach() * (angles - angles.detach())[:, None]
    at = torch.arange(count)
    hits_low = (below[..., None] == at).to(image.dtype)
    hits_high = (below[..., None] + 1 == at).to(image.dtype)
    weights = hits_low * (1 - part)[..., None] + hits_high * part[..., None]
    return torch.einsum("apn,p->an", weights, image.reshape(-1))


def projection_inputs(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 5, 6), uniform(g, dtype, 4, high=3), None


def projection_wide(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 3, 4), uniform(g, dtype, 3, low=-4, high=4), 9


def projection_upright(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 3, 5), leaf(torch.zeros(2, dtype=dtype)), 4


def projection_view(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return leaf(normal(g, dtype, 4, 6)[:, ::2].mT), normal(g, dtype, 3), 1


def projection_no_angles(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 3, 5), normal(g, dtype, 0), 4


parallel_projection = Operation(
    "parallel_projection",
    projection_forward,
    projection_backward,
    projection_inputs,
    projection_reference,
    mistakes=(
        Mistake(
            "region",
            "the last cell of the detector gives nothing back to the pixels that lie below it",
            projection_wrong,
            also=("local", "missing-term", "unknown"),
            argument="image",
        ),
    ),
    further={
        "wide": projection_wide,
        "upright": projection_upright,
        "view": projection_view,
        "no_angles": projection_no_angles,
    },
)

# ---------------------------------------------------------------- moveout of a seismic gather


def moveout_forward(
    gather: Tensor, offsets: Tensor, velocity: Tensor, step: float = 0.5
) -> tuple[Tensor, Any]:
    """Trace r read at sqrt(t^2 + (x_r / v_t)^2), between samples; nothing is heard after the last."""
    d, x, v = wide((gather, offsets[:, None], velocity))
    v = torch.where(v > 0, v, torch.nan)
    count = d.shape[1]
    away = x / (v * step)
    at = (torch.arange(count, dtype=d.dtype) ** 2 + away**2).sqrt()
    below = at.floor().clamp(max=count).nan_to_num(count)
    part, low = at - below, below.long()
    full = pad(d, (0, 2))
    first, second = full.gather(1, low), full.gather(1, low + 1)
    out = (1 - part) * first + part * second
    dtypes = [t.dtype for t in (gather, offsets, velocity)]
    return out.to(gather.dtype), (v, away, at, low, part, second - first, step, count, dtypes)


def moveout_rest(g: Tensor, residuals: Any) -> tuple[Tensor, Tensor]:
    """Gradients of offsets and velocities."""
    v, away, at, low, part, slope, step, count, dtypes = residuals
    still = at == 0
    g_away = g * slope * torch.where(still, 0, away / torch.where(still, 1, at))
    return (g_away / (v * step)).sum(1), -(g_away * away / v).sum(0)


def moveout_backward(grad: Tensor, residuals: Any) -> tuple[Any, ...]:
    v, away, at, low, part, slope, step, count, dtypes = residuals
    g = wide(grad)
    full = torch.zeros(len(g), count + 2, dtype=g.dtype)
    full = full.scatter_add(1, low, g * (1 - part)).scatter_add(1, low + 1, g * part)
    return *as_dtypes((full[:, :count], *moveout_rest(g, residuals)), dtypes), None


def moveout_wrong(grad: Tensor, residuals: Any) -> tuple[Any, ...]:
    v, away, at, low, part, slope, step, count, dtypes = residuals
    g = wide(grad)
    full = torch.zeros(len(g), count + 2, dtype=g.dtype)
    full = full.scatter(1, low, g * (1 - part)) + full.scatter(1, low + 1, g * part)
    return *as_dtypes((full[:, :count], *moveout_rest(g, residuals)), dtypes), None


@in_wide
def moveout_reference(gather: Tensor, offsets: Tensor, velocity: Tensor, step: float = 0.5) -> Tensor:
    traces, count = gather.shape
    away = offsets.reshape(traces, 1) / (velocity * step)
    square = torch.arange(count, dtype=gather.dtype) ** 2 + away**2
    at = torch.where(square > 0, square.masked_fill(square == 0, 1.0).sqrt(), square)
    low = at.detach().floor()
    part = (at - low)[..., None]
    samples = torch.arange(count)
    weights = (low[..., None] == samples) * (1 - part) + (low[..., None] + 1 == samples) * part
    return (weights * gather[:, None, :]).sum(-1)


def moveout_inputs(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    offsets = uniform(g, dtype, 4, low=1, high=5)
    return normal(g, dtype, 4, 10), offsets, uniform(g, dtype, 10, low=1.5, high=3), 0.5


def moveout_at_source(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    offsets = leaf(torch.tensor([0.0, -1.3, 2.1], dtype=dtype))
    return normal(g, dtype, 3, 6), offsets, uniform(g, dtype, 6, low=1, high=2), 1.0


def moveout_far(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    offsets = uniform(g, dtype, 2, low=20, high=40)
    return normal(g, dtype, 2, 5), offsets, uniform(g, dtype, 5, low=1, high=9), 0.5


def moveout_no_traces(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 0, 5), normal(g, dtype, 0), uniform(g, dtype, 5, low=1, high=2), 0.5


moveout_correction = Operation(
    "moveout_correction",
    moveout_forward,
    moveout_backward,
    moveout_inputs,
    moveout_reference,
    mistakes=(
        Mistake(
            "local",
            "samples that are read more than once keep only the last reader's gradient",
            moveout_wrong,
            also=("missing-sum", "missing-term", "region", "unknown"),
            argument="gather",
        ),
    ),
    further={"at_source": moveout_at_source, "far": moveout_far, "no_traces": moveout_no_traces},
)

# ---------------------------------------------------------------- magnitudes that bear negative fluxes

POGSON = 2.5 / math.log(10)


def magnitude_forward(flux: Tensor, softening: Tensor) -> tuple[Tensor, Any]:
    """-2.5 / ln 10 (asinh(f / 2b) + ln b)."""
    f, b = wide((flux, softening))
    b = torch.where(b > 0, b, torch.nan)
    out = -POGSON * (torch.asinh(f / (2 * b)) + b.log())
    return out.to(flux.dtype), (f, b, flux, softening)


def magnitude_gradients(grad: Tensor, residuals: Any, constant: float) -> tuple[Tensor, Tensor]:
    f, b, flux, softening = residuals
    g = wide(grad)
    h = torch.hypot(f, 2 * b)
    g_flux = -constant * g / h
    less = torch.where(f > 0, -4 * b * b / (h * (h + f.clamp(min=0))), f / h - 1)  # f / h - 1
    g_soft = POGSON * g * less / b
    return fold(g_flux, flux).to(flux.dtype), fold(g_soft, softening).to(softening.dtype)


def magnitude_backward(grad: Tensor, residuals: Any) -> tuple[Tensor, Tensor]:
    return magnitude_gradients(grad, residuals, POGSON)


def magnitude_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor, Tensor]:
    return magnitude_gradients(grad, residuals, 1.0857)


@in_wide
def magnitude_reference(flux: Tensor, softening: Tensor) -> Tensor:
    return -2.5 * (torch.asinh(flux / (2 * softening)) + torch.log(softening)) / math.log(10)


def magnitude_inputs(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return leaf(3 * normal(g, dtype, 7, 4)), uniform(g, dtype, 4, low=0.5, high=2)


def magnitude_column(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 5, 1), uniform(g, dtype, 1, 3, low=0.5, high=2)


def magnitude_dark(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return leaf(torch.zeros(3, 4, dtype=dtype)), uniform(g, dtype, 4, low=0.5, high=2)


def magnitude_none(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 0, 4), uniform(g, dtype, 4, low=0.5, high=2)


asinh_magnitude = Operation(
    "asinh_magnitude",
    magnitude_forward,
    magnitude_backward,
    magnitude_inputs,
    magnitude_reference,
    mistakes=(
        Mistake(
            "scale",
            "2.5 / ln 10 is written as 1.0857 in the flux's gradient",
            magnitude_wrong,
            also=("missing-factor", "unknown"),
            argument="flux",
        ),
    ),
    further={"column": magnitude_column, "dark": magnitude_dark, "none": magnitude_none},
)

OPERATIONS = (lab_from_xyz, gradient_echo, parallel_projection, moveout_correction, asinh_magnitude)
