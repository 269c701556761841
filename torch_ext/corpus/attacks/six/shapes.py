"""Polygons, point sets and molecules."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.linalg import cross, vector_norm

from torch_ext.corpus._entry import Mistake, Operation, integers, normal, uniform, wide

from ._tools import constant, leaf

# signed area, perimeter and first moment of polygons


def polygon_reference(vertices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    v = wide(vertices)
    w = v.roll(-1, -2)
    turn = v[..., 0] * w[..., 1] - w[..., 0] * v[..., 1]
    moment = ((v + w) * turn.unsqueeze(-1)).sum(-2) / 6
    parts = (turn.sum(-1) / 2, vector_norm(w - v, dim=-1).sum(-1), moment)
    return tuple(p.to(vertices.dtype) for p in parts)  # type: ignore[return-value]


def polygon_forward(vertices: Tensor) -> tuple[Any, Any]:
    return polygon_reference(vertices), (vertices,)


def polygon_backward(grads: Any, residuals: Any, closed: bool = True) -> tuple[Tensor]:
    (vertices,) = residuals
    g_area, g_length, g_moment = wide(tuple(grads))
    v = wide(vertices)
    w = v.roll(-1, -2)
    turn = v[..., 0] * w[..., 1] - w[..., 0] * v[..., 1]
    g_moment = g_moment.unsqueeze(-2) / 6
    g_turn = (g_area.unsqueeze(-1) / 2 + ((v + w) * g_moment).sum(-1)).unsqueeze(-1)
    both = g_moment * turn.unsqueeze(-1)
    edge = w - v
    size = vector_norm(edge, dim=-1, keepdim=True)
    unit = torch.where(size > 0, edge / size, torch.zeros_like(edge))
    if not closed:
        unit = torch.cat((unit[..., :-1, :], torch.zeros_like(unit[..., -1:, :])), -2)
    pull = g_length[..., None, None] * unit
    here = both - pull + g_turn * torch.stack((w[..., 1], -w[..., 0]), -1)
    there = both + pull + g_turn * torch.stack((-v[..., 1], v[..., 0]), -1)
    return ((here + there.roll(1, -2)).to(vertices.dtype),)


polygon = Operation(
    "polygon_measures",
    polygon_forward,
    polygon_backward,
    lambda g, d: (normal(g, d, 3, 7, 2),),
    polygon_reference,
    (
        Mistake(
            "local",
            "the edge that closes the polygon is left out of the perimeter's gradient",
            partial(polygon_backward, closed=False),
            also=("missing-term", "region"),
            argument="vertices",
        ),
    ),
    {
        "repeated vertex": constant(torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.5, 2.0]])),
        "one vertex": lambda g, d: (normal(g, d, 2, 1, 2),),
        "no polygons": lambda g, d: (normal(g, d, 0, 4, 2),),
        "view": lambda g, d: (leaf(normal(g, d, 2, 5, 3, grad=False).transpose(0, 2)),),
    },
)

# Chamfer distance of point sets


def _squared(a: Tensor, b: Tensor) -> Tensor:
    return (a.unsqueeze(-2) - b.unsqueeze(-3)).square().sum(-1)


def chamfer_reference(a: Tensor, b: Tensor) -> Tensor:
    d = _squared(wide(a), wide(b))
    return (d.min(-1).values.sum(-1) + d.min(-2).values.sum(-1)).to(a.dtype)


def chamfer_forward(a: Tensor, b: Tensor) -> tuple[Tensor, Any]:
    d = _squared(wide(a), wide(b))
    (to_b, near_b), (to_a, near_a) = d.min(-1), d.min(-2)
    return (to_b.sum(-1) + to_a.sum(-1)).to(a.dtype), (a, b, near_b, near_a)


def chamfer_backward(grad: Tensor, residuals: Any, add: bool = True) -> tuple[Tensor, Tensor]:
    a, b, near_b, near_a = residuals
    x, y = wide(a), wide(b)
    g = 2 * wide(grad)[..., None, None]
    near_b, near_a = near_b.unsqueeze(-1).expand_as(x), near_a.unsqueeze(-1).expand_as(y)
    forth = g * (x - y.gather(-2, near_b))
    back = g * (y - x.gather(-2, near_a))
    put = torch.scatter_add if add else torch.scatter
    g_x = forth + put(torch.zeros_like(x), -2, near_a, -back)
    g_y = back + put(torch.zeros_like(y), -2, near_b, -forth)
    return g_x.to(a.dtype), g_y.to(b.dtype)


chamfer = Operation(
    "chamfer_sets",
    chamfer_forward,
    chamfer_backward,
    lambda g, d: (normal(g, d, 2, 6, 3), normal(g, d, 2, 8, 3)),
    chamfer_reference,
    (
        Mistake(
            "missing-sum",
            "where several points have the same nearest one, it gets the gradient of one of them",
            partial(chamfer_backward, add=False),
            also=("local", "missing-term", "nondeterministic"),
        ),
    ),
    {
        "ties": lambda g, d: (
            leaf(integers(g, 2, 5, 2, high=3).to(d)),
            leaf(integers(g, 2, 4, 2, high=3).to(d)),
        ),
        "one point": lambda g, d: (normal(g, d, 1, 3), normal(g, d, 5, 3)),
        "no sets": lambda g, d: (normal(g, d, 0, 3, 2), normal(g, d, 0, 4, 2)),
    },
)

# torsion energies of a molecule


def torsion_reference(x: Tensor, atoms: Tensor, force: Tensor, phase: Tensor, fold: Tensor) -> Tensor:
    p = wide(x)[atoms]
    b1, b2, b3 = (p[:, 1:] - p[:, :-1]).unbind(1)
    m, n = cross(b1, b2), cross(b2, b3)
    angle = torch.atan2(vector_norm(b2, dim=-1) * (b1 * n).sum(-1), (m * n).sum(-1))
    return (wide(force) * (1 + torch.cos(fold * angle - wide(phase)))).to(x.dtype)


def torsion_forward(
    x: Tensor, atoms: Tensor, force: Tensor, phase: Tensor, fold: Tensor
) -> tuple[Tensor, Any]:
    return torsion_reference(x, atoms, force, phase, fold), (x, atoms, force, phase, fold)


def torsion_backward(grad: Tensor, residuals: Any, factor: bool = True) -> tuple[Any, ...]:
    x, atoms, force, phase, fold = residuals
    p, g = wide(x)[atoms], wide(grad)
    b1, b2, b3 = (p[:, 1:] - p[:, :-1]).unbind(1)
    m, n = cross(b1, b2), cross(b2, b3)
    size = vector_norm(b2, dim=-1)
    angle = torch.atan2(size * (b1 * n).sum(-1), (m * n).sum(-1))
    argument = fold * angle - wide(phase)
    g_argument = -g * wide(force) * argument.sin()
    g_angle = (g_argument * fold if factor else g_argument).unsqueeze(-1)
    mm, nn = m.square().sum(-1, keepdim=True), n.square().sum(-1, keepdim=True)
    length = size.unsqueeze(-1)
    b11, b22, b33 = (b.square().sum(-1, keepdim=True) for b in (b1, b2, b3))
    least = 16 * torch.finfo(m.dtype).eps ** 2  # no gradient where three atoms are on a line
    good = (mm > least * b11 * b22) & (nn > least * b22 * b33)
    zero = torch.zeros_like(m)
    u = torch.where(good, m / mm, zero)
    w = torch.where(good, n / nn, zero)
    first, last = -length * u, length * w
    left = torch.where(good, (b1 * b2).sum(-1, keepdim=True) / length, zero) * u
    right = torch.where(good, (b3 * b2).sum(-1, keepdim=True) / length, zero) * w
    each = torch.stack((first, -first + left + right, -last - left - right, last), 1) * g_angle.unsqueeze(1)
    g_x = torch.zeros_like(wide(x)).index_add(0, atoms.reshape(-1), each.reshape(-1, 3))
    g_force = g * (1 + argument.cos())
    return g_x.to(x.dtype), None, g_force.to(force.dtype), (-g_argument).to(phase.dtype), None


def _chains(g: torch.Generator, n: int, count: int) -> Tensor:
    return torch.stack([torch.randperm(n, generator=g)[:4] for _ in range(count)])


def _molecule(g: torch.Generator, dtype: torch.dtype, high: int = 4, count: int = 6) -> tuple[Any, ...]:
    return (
        normal(g, dtype, 8, 3),
        _chains(g, 8, count),
        normal(g, dtype, count),
        normal(g, dtype, count),
        integers(g, count, low=1, high=high),
    )


def _flat_molecule(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    _, *rest = _molecule(g, dtype)
    flat = torch.tensor(
        [[0, 0, 0], [1, 0, 0], [1, 1, 0], [2, 1, 0], [3, 2, 0], [1, 3, 0], [4, 1, 0], [5, 3, 0]]
    )
    atoms = torch.tensor([[0, 1, 2, 3], [4, 3, 2, 1], [3, 2, 1, 0], [0, 2, 5, 4], [6, 1, 5, 7], [0, 5, 2, 6]])
    return leaf(flat.to(dtype)), atoms, *rest[1:]


torsion = Operation(
    "torsion_energy",
    torsion_forward,
    torsion_backward,
    _molecule,
    torsion_reference,
    (
        Mistake(
            "missing-factor",
            "the multiplicity is missing from the positions' gradient",
            partial(torsion_backward, factor=False),
            also=("scale",),
            argument="x",
            hidden=partial(_molecule, high=2),
        ),
    ),
    {
        "one torsion": partial(_molecule, count=1),
        "flat": _flat_molecule,
        "none": lambda g, d: (
            normal(g, d, 5, 3),
            integers(g, 0, 4, high=5),
            normal(g, d, 0),
            normal(g, d, 0),
            integers(g, 0, high=3),
        ),
    },
)

# radial symmetry functions of atoms with a smooth cutoff


def radial_reference(x: Tensor, eta: Tensor, centre: Tensor, cutoff: float = 2.5) -> Tensor:
    p = wide(x)
    r = vector_norm(p.unsqueeze(1) - p.unsqueeze(0), dim=-1)
    inside = (r < cutoff) & ~torch.eye(len(p), dtype=torch.bool)
    fade = 0.5 * (torch.cos(math.pi * r / cutoff) + 1)
    power = (-wide(eta) * (r.unsqueeze(-1) - wide(centre)).square()).masked_fill(
        ~inside.unsqueeze(-1), -math.inf
    )
    return (power.exp() * fade.unsqueeze(-1)).sum(1).to(x.dtype)


def radial_forward(x: Tensor, eta: Tensor, centre: Tensor, cutoff: float = 2.5) -> tuple[Tensor, Any]:
    return radial_reference(x, eta, centre, cutoff), (x, eta, centre, cutoff)


def radial_backward(grad: Tensor, residuals: Any, pi: float = math.pi) -> tuple[Any, ...]:
    x, eta, centre, cutoff = residuals
    p, e, g = wide(x), wide(eta), wide(grad).unsqueeze(1)
    gap = p.unsqueeze(1) - p.unsqueeze(0)
    r = vector_norm(gap, dim=-1)
    inside = (r < cutoff) & ~torch.eye(len(p), dtype=torch.bool)
    off = r.unsqueeze(-1) - wide(centre)
    power = (-e * off.square()).masked_fill(~inside.unsqueeze(-1), -math.inf)
    bell = power.exp() * g
    fade = 0.5 * (torch.cos(math.pi * r / cutoff) + 1)
    slope = -0.5 * pi / cutoff * torch.sin(pi * r / cutoff)
    both = bell * fade.unsqueeze(-1)
    g_eta = -(both * off.square()).sum((0, 1))
    g_centre = (2 * e * both * off).sum((0, 1))
    g_r = (bell * slope.unsqueeze(-1) - 2 * e * both * off).sum(-1)
    over = torch.where(r > 0, g_r / r, torch.zeros_like(r)).unsqueeze(-1) * gap
    g_x = over.sum(1) - over.sum(0)
    return g_x.to(x.dtype), g_eta.to(eta.dtype), g_centre.to(centre.dtype), None


def _atoms(g: torch.Generator, dtype: torch.dtype, n: int = 6, cutoff: float = 2.5) -> tuple[Any, ...]:
    widths = uniform(g, dtype, 3, low=0.3, high=1.5)
    return normal(g, dtype, n, 3), widths, uniform(g, dtype, 3, high=2.0), cutoff


radial = Operation(
    "radial_symmetry_functions",
    radial_forward,
    radial_backward,
    _atoms,
    radial_reference,
    (
        Mistake(
            "missing-factor",
            "the cutoff's slope is computed with pi = 3.14",
            partial(radial_backward, pi=3.14),
            also=("scale", "unknown", "missing-term"),
            argument="x",
        ),
    ),
    {
        "short cutoff": partial(_atoms, cutoff=1.25),
        "one atom": partial(_atoms, n=1),
        "no atoms": partial(_atoms, n=0),
        "at the cutoff": constant(
            torch.tensor([[0.0, 0.0, 0.0], [0.0, 2.5, 0.0], [1.0, 0.0, 0.0]]),
            torch.tensor([0.5, 1.0]),
            torch.tensor([0.0, 1.0]),
            2.5,
        ),
    },
)

OPERATIONS: tuple[Operation, ...] = (polygon, chamfer, torsion, radial)
