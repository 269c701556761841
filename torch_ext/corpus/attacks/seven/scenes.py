"""Differentiable rendering and curves."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ._entry import ALL, TWO, Mistake, Operation, fit, leaf, normal, uniform, wide

# --- soft silhouette of discs


def _disc_parts(centres: Tensor, radii: Tensor, pixels: Tensor, sharpness: float) -> tuple[Tensor, Tensor]:
    offset = pixels.unsqueeze(1) - centres
    return offset, sharpness * (radii**2 - (offset**2).sum(-1))


def _disc_forward(
    centres: Tensor, radii: Tensor, pixels: Tensor, sharpness: float = 4.0
) -> tuple[Tensor, Any]:
    _, inside = _disc_parts(centres, radii, pixels, sharpness)
    return -torch.expm1(-F.softplus(inside).sum(1)), (centres, radii, pixels, sharpness)


def _disc_backward(g: Tensor, residuals: Any, own_again: bool = False) -> tuple[Any, ...]:
    centres, radii, pixels, sharpness = residuals
    offset, inside = _disc_parts(centres, radii, pixels, sharpness)
    clear = torch.exp(-F.softplus(inside).sum(1))
    cover = torch.sigmoid(inside)
    slope = sharpness * (g * clear).unsqueeze(1) * cover
    if own_again:
        slope = slope * (1 - cover)
    pull = 2 * slope.unsqueeze(-1) * offset
    return pull.sum(0), 2 * radii * slope.sum(0), -pull.sum(1), None


def _disc_reference(centres: Tensor, radii: Tensor, pixels: Tensor, sharpness: float = 4.0) -> Tensor:
    squares = ((pixels[:, None] - centres[None]) ** 2).sum(-1)
    return 1 - torch.prod(1 - torch.sigmoid(sharpness * (radii**2 - squares)), 1)


disc_silhouette = Operation(
    "disc_silhouette",
    _disc_forward,
    _disc_backward,
    lambda g, d: (normal(g, d, 4, 2), uniform(g, d, 4, low=0.3, high=1.0), normal(g, d, 9, 2), 3.0),
    _disc_reference,
    (
        Mistake(
            "missing-factor",
            "each disc's own transparency is multiplied in once more",
            partial(_disc_backward, own_again=True),
            also=("unknown", "scale", "region", "local"),
        ),
    ),
    {
        "default": lambda g, d: (normal(g, d, 3, 2), uniform(g, d, 3), normal(g, d, 5, 2)),
        "one disc": lambda g, d: (normal(g, d, 1, 2), uniform(g, d, 1), normal(g, d, 6, 2), 2.0),
        "no discs": lambda g, d: (normal(g, d, 0, 2), uniform(g, d, 0), normal(g, d, 4, 2), 2.0),
        "points": lambda g, d: (normal(g, d, 3, 2), leaf(torch.zeros(3, dtype=d)), normal(g, d, 5, 2), 1.0),
    },
    TWO,
)

# --- distance along rays to a sphere


def _sphere_forward(
    origins: Tensor, directions: Tensor, centre: Tensor, radius: Tensor, miss: float = 0.0
) -> tuple[Tensor, Any]:
    offset = origins - centre
    a, b = (directions**2).sum(-1), (directions * offset).sum(-1)
    inner = b * b - a * ((offset**2).sum(-1) - radius**2)
    root = inner.clamp(min=0).sqrt()
    safe = torch.where(a > 0, a, torch.ones_like(a))
    near, far = (-b - root) / safe, (-b + root) / safe
    hit = (inner > 0) & (far > 0)
    t = torch.where(near > 0, near, far)
    out = torch.where(hit, t, torch.full_like(t, miss))
    return out, (origins, directions, centre, radius, hit, near > 0, t, root)


def _sphere_backward(g: Tensor, residuals: Any, outside_only: bool = False) -> tuple[Any, ...]:
    origins, directions, centre, radius, hit, first, t, root = residuals
    point = origins + t.unsqueeze(-1) * directions - centre
    slope = -root if outside_only else torch.where(first, -root, root)
    slope = torch.where(hit, slope, torch.ones_like(slope))
    weight = torch.where(hit, g / slope, torch.zeros_like(g))
    push = weight.unsqueeze(-1) * point
    return (
        fit(-push, origins),
        fit(-t.unsqueeze(-1) * push, directions),
        fit(push, centre),
        fit(weight * radius, radius),
        None,
    )


def _sphere_reference(
    origins: Tensor, directions: Tensor, centre: Tensor, radius: Tensor, miss: float = 0.0
) -> Tensor:
    o = origins - centre
    a, half = (directions * directions).sum(-1), (directions * o).sum(-1)
    inner = half**2 - a * ((o * o).sum(-1) - radius**2)
    good = inner > 0
    root = torch.where(good, inner, torch.ones_like(inner)).sqrt()
    a = torch.where(good, a, torch.ones_like(a))
    near, far = (-half - root) / a, (-half + root) / a
    return torch.where(good & (far > 0), torch.where(near > 0, near, far), torch.full_like(near, miss))


def _sphere_inputs(g: torch.Generator, d: torch.dtype, inside: bool = True, n: int = 8) -> tuple[Any, ...]:
    centre = normal(g, torch.float64, 3, grad=False)
    way = F.normalize(normal(g, torch.float64, n, 3, grad=False), dim=1)
    far = torch.full((n, 1), 4.0, dtype=torch.float64)
    if inside:
        far[::2] = 0.6
    aim = centre + 0.4 * F.normalize(normal(g, torch.float64, n, 3, grad=False), dim=1)
    origins = centre + far * way
    directions = (aim - origins) * (0.5 + torch.rand(n, 1, generator=g, dtype=torch.float64))
    radius = 1.0 + torch.rand((), generator=g, dtype=torch.float64) / 2
    return leaf(origins, d), leaf(directions, d), leaf(centre, d), leaf(radius, d)


sphere_depth = Operation(
    "sphere_depth",
    _sphere_forward,
    _sphere_backward,
    _sphere_inputs,
    _sphere_reference,
    (
        Mistake(
            "sign",
            "the nearer crossing's slope is used for rays that start inside, too",
            partial(_sphere_backward, outside_only=True),
            also=("region", "local", "unknown"),
            hidden=lambda g, d: _sphere_inputs(g, d, False),
        ),
    ),
    {
        "away from it": lambda g, d: (
            *(x if i != 1 else leaf(-x) for i, x in enumerate(_sphere_inputs(g, d, False))), 9.0
        ),
        "no direction": lambda g, d: (
            normal(g, d, 3, 3), leaf(torch.zeros(3, 3, dtype=d)), normal(g, d, 3), uniform(g, d, low=0.5)
        ),
        "no rays": lambda g, d: _sphere_inputs(g, d, True, 0),
        "one ray": lambda g, d: _sphere_inputs(g, d, True, 1),
    },
    TWO,
)  # fmt: skip

# --- colour from spherical harmonics

C0, C1 = 0.28209479177387814, 0.4886025119029199
C2 = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)


def _basis(u: Tensor, degree: int) -> Tensor:
    x, y, z = u.unbind(-1)
    parts = [torch.full_like(x, C0), -C1 * y, C1 * z, -C1 * x]
    if degree > 1:
        parts += [C2[0] * x * y, -C2[0] * y * z, C2[1] * (2 * z * z - x * x - y * y)]
        parts += [-C2[0] * x * z, C2[2] * (x * x - y * y)]
    return torch.stack(parts, -1)


def _basis_slope(u: Tensor, degree: int, c1: float) -> Tensor:
    """Derivatives of the basis, (rays, basis, 3)."""
    x, y, z = u.unbind(-1)
    o, one = torch.zeros_like(x), torch.ones_like(x)
    rows = [(o, o, o), (o, -c1 * one, o), (o, o, c1 * one), (-c1 * one, o, o)]
    if degree > 1:
        a, b, c = C2
        rows += [(a * y, a * x, o), (o, -a * z, -a * y), (-2 * b * x, -2 * b * y, 4 * b * z)]
        rows += [(-a * z, o, -a * x), (2 * c * x, -2 * c * y, o)]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _colour_forward(directions: Tensor, coefficients: Tensor, degree: int = 1) -> tuple[Tensor, Any]:
    length = directions.square().sum(-1, keepdim=True).sqrt()
    unit = directions / length
    raw = (_basis(unit, degree).unsqueeze(-1) * coefficients).sum(-2) + 0.5
    return raw.clamp(min=0), (unit, length, coefficients, raw > 0, degree)


def _colour_backward(g: Tensor, residuals: Any, c1: float = C1) -> tuple[Any, ...]:
    unit, length, coefficients, lit, degree = residuals
    g = torch.where(lit, g, torch.zeros_like(g))
    in_basis = (coefficients * g.unsqueeze(-2)).sum(-1)
    in_unit = (in_basis.unsqueeze(-1) * _basis_slope(unit, degree, c1)).sum(-2)
    in_direction = (in_unit - unit * (unit * in_unit).sum(-1, keepdim=True)) / length
    return in_direction, fit(_basis(unit, degree).unsqueeze(-1) * g.unsqueeze(-2), coefficients), None


def _colour_reference(directions: Tensor, coefficients: Tensor, degree: int = 1) -> Tensor:
    unit = directions / torch.linalg.vector_norm(directions, dim=-1, keepdim=True)
    return torch.relu(torch.einsum("nk,nkc->nc", _basis(unit, degree), coefficients) + 0.5)


harmonic_colour = Operation(
    "harmonic_colour",
    _colour_forward,
    _colour_backward,
    lambda g, d: (normal(g, d, 7, 3), normal(g, d, 7, 4, 3), 1),
    _colour_reference,
    (
        Mistake(
            "scale",
            "the backward has the first band's constant cut to 0.4886",
            partial(_colour_backward, c1=0.4886),
            also=("unknown", "missing-factor"),
            argument="directions",
        ),
    ),
    {
        "second band": lambda g, d: (normal(g, d, 5, 3), normal(g, d, 5, 9, 3), 2),
        "dark": lambda g, d: (normal(g, d, 4, 3), leaf(normal(g, d, 4, 4, 3) * 20)),
        "no rays": lambda g, d: (normal(g, d, 0, 3), normal(g, d, 0, 4, 3)),
    },
    TWO,
)

# --- Catmull-Rom curve through equally spaced values

_CURVE = ((0.0, -0.5, 1.0, -0.5), (1.0, 0.0, -2.5, 1.5), (0.0, 0.5, 2.0, -1.5), (0.0, 0.0, -0.5, 0.5))


def _curve_places(p: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Indices of the four neighbours (queries, 4) and the place between the middle two."""
    held = p.clamp(0, count - 1)
    cell = held.detach().floor().clamp(max=count - 2)
    steps = torch.arange(-1, 3, device=p.device)
    return (cell.long().unsqueeze(-1) + steps).clamp(0, count - 1), held - cell


def _curve_forward(values: Tensor, positions: Tensor) -> tuple[Tensor, Any]:
    if values.shape[-1] < 2:
        raise ValueError("a curve needs two values")
    v, p = wide(values), wide(positions)
    index, u = _curve_places(p, v.shape[-1])
    weights = torch.stack([a + u * (b + u * (c + u * d)) for a, b, c, d in _CURVE], -1)
    out = (v[:, index] * weights).sum(-1)
    return out.to(values.dtype), (values, positions, index, u, weights)


def _curve_backward(g: Tensor, residuals: Any, held: bool = True) -> tuple[Any, ...]:
    values, positions, index, u, weights = residuals
    v, p, g = wide(values), wide(positions), wide(g)
    in_values = torch.zeros_like(v)
    in_values.index_add_(1, index.reshape(-1), (g.unsqueeze(-1) * weights).flatten(1))
    slopes = torch.stack([b + u * (2 * c + 3 * u * d) for _, b, c, d in _CURVE], -1)
    in_positions = (g * (v[:, index] * slopes).sum(-1)).sum(0)
    if held:
        within = (p >= 0) & (p <= v.shape[-1] - 1)
        in_positions = torch.where(within, in_positions, torch.zeros_like(in_positions))
    return in_values.to(values.dtype), in_positions.to(positions.dtype)


def _curve_reference(values: Tensor, positions: Tensor) -> Tensor:
    v = wide(values)
    index, u = _curve_places(wide(positions), v.shape[-1])
    a, b, c, d = (v[:, index[:, i]] for i in range(4))
    cubic = 2 * b + (c - a) * u + (2 * a - 5 * b + 4 * c - d) * u**2 + (3 * b - a - 3 * c + d) * u**3
    return (cubic / 2).to(values.dtype)


catmull_rom = Operation(
    "catmull_rom",
    _curve_forward,
    _curve_backward,
    lambda g, d: (normal(g, d, 3, 6), uniform(g, d, 12, low=-1.5, high=6.5)),
    _curve_reference,
    (
        Mistake(
            "region",
            "queries beyond the ends, which are held there, keep the end's slope",
            partial(_curve_backward, held=False),
            also=("unknown", "local", "missing-factor"),
            argument="positions",
        ),
    ),
    {
        "two values": lambda g, d: (normal(g, d, 3, 2), uniform(g, d, 6, low=-0.5, high=1.5)),
        "inner knots": lambda g, d: (normal(g, d, 2, 6), leaf(torch.tensor([1.0, 2, 3, 4, 2, 1]), d)),
        "no queries": lambda g, d: (normal(g, d, 2, 5), normal(g, d, 0)),
        "view": lambda g, d: (leaf(normal(g, d, 5, 3).T), leaf(uniform(g, d, 12, high=4)[::2])),
        "one row": lambda g, d: (normal(g, d, 1, 5), uniform(g, d, 4, high=4)),
    },
    ALL,
)

OPERATIONS = (disc_silhouette, sphere_depth, harmonic_colour, catmull_rom)
