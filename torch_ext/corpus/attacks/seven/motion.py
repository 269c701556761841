"""Physics simulation and numerical integration."""

from __future__ import annotations

from functools import partial
from math import pi
from typing import Any

import torch
from torch import Tensor

from ._entry import ALL, TWO, Mistake, Operation, fit, integers, leaf, normal, uniform, wide

# --- running integral by the trapezoidal rule, on any grid


def _integral_forward(y: Tensor, x: Tensor) -> tuple[Tensor, Any]:
    v, p = wide(y), wide(x)
    out = ((v[..., 1:] + v[..., :-1]) * p.diff(dim=-1) / 2).cumsum(-1)
    return out.to(y.dtype), (y, x)


def _integral_backward(g: Tensor, residuals: Any, right_only: bool = False) -> tuple[Any, ...]:
    y, x = residuals
    v, p, g = wide(y), wide(x), wide(g)
    later = g.flip(-1).cumsum(-1).flip(-1)
    width = p.diff(dim=-1).expand(later.shape)
    in_y, in_x = torch.zeros_like(v), torch.zeros_like(v)
    in_y[..., :-1] += later * width / 2
    behind = torch.cat([width[..., 1:], width[..., -1:]], -1) if right_only else width
    in_y[..., 1:] += later * behind / 2
    in_width = later * (v[..., 1:] + v[..., :-1]) / 2
    in_x[..., 1:] += in_width
    in_x[..., :-1] -= in_width
    return in_y.to(y.dtype), fit(in_x, x)


def _integral_reference(y: Tensor, x: Tensor) -> Tensor:
    return torch.cumulative_trapezoid(wide(y), wide(x).expand(y.shape), dim=-1).to(y.dtype)


def _grid(g: torch.Generator, d: torch.dtype, *shape: int) -> Tensor:
    return leaf((0.2 + torch.rand(shape, generator=g, dtype=torch.float64)).cumsum(-1), d)


running_integral = Operation(
    "running_integral",
    _integral_forward,
    _integral_backward,
    lambda g, d: (normal(g, d, 3, 8), _grid(g, d, 8)),
    _integral_reference,
    (
        Mistake(
            "unknown",
            "each value takes the width on its right for both of its trapezia",
            partial(_integral_backward, right_only=True),
            also=("permuted", "offset", "missing-factor", "scale", "local"),
            argument="y",
            hidden=lambda g, d: (normal(g, d, 3, 8), leaf(torch.arange(8.0), d)),
        ),
    ),
    {
        "grid for each row": lambda g, d: (normal(g, d, 3, 5), _grid(g, d, 3, 5)),
        "one point": lambda g, d: (normal(g, d, 3, 1), _grid(g, d, 1)),
        "standing still": lambda g, d: (normal(g, d, 2, 5), leaf(torch.tensor([0.0, 1, 1, 0.5, 3]), d)),
        "no rows": lambda g, d: (normal(g, d, 0, 4), _grid(g, d, 4)),
    },
    ALL,
)

# --- predators and prey by the classical Runge-Kutta method


def _growth(s: Tensor, r: Tensor) -> Tensor:
    prey, hunters = s.unbind(-1)
    met = prey * hunters
    return torch.stack([r[0] * prey - r[1] * met, r[3] * met - r[2] * hunters], -1)


def _stages(s: Tensor, r: Tensor, dt: float) -> tuple[list[Tensor], Tensor]:
    at = [s]
    slopes = [_growth(s, r)]
    for part in (0.5, 0.5, 1.0):
        at.append(s + part * dt * slopes[-1])
        slopes.append(_growth(at[-1], r))
    return at, s + dt / 6 * (slopes[0] + 2 * slopes[1] + 2 * slopes[2] + slopes[3])


def _ode_forward(state: Tensor, rates: Tensor, steps: int = 4, dt: float = 0.1) -> tuple[Tensor, Any]:
    path, visited = [], []
    s = state
    for _ in range(steps):
        at, s = _stages(s, rates, dt)
        visited.append(at)
        path.append(s)
    return torch.stack(path, 1), (state, rates, dt, visited)


def _pull_state(s: Tensor, r: Tensor, g: Tensor) -> Tensor:
    prey, hunters = s.unbind(-1)
    first, second = g.unbind(-1)
    in_prey = first * (r[0] - r[1] * hunters) + second * r[3] * hunters
    in_hunters = second * (r[3] * prey - r[2]) - first * r[1] * prey
    return torch.stack([in_prey, in_hunters], -1)


def _pull_rates(s: Tensor, g: Tensor) -> Tensor:
    prey, hunters = s.unbind(-1)
    first, second = g.unbind(-1)
    met = prey * hunters
    parts = (first * prey, -first * met, -second * hunters, second * met)
    return torch.stack([part.sum() for part in parts])


def _ode_backward(g: Tensor, residuals: Any, stale: bool = False) -> tuple[Any, ...]:
    state, rates, dt, visited = residuals
    in_state, in_rates = torch.zeros_like(state), torch.zeros_like(rates)
    for n in reversed(range(len(visited))):
        in_state = in_state + g[:, n]
        at = visited[n]
        total = in_state
        pulled = torch.zeros_like(in_state)
        for i, own, onward in ((3, 1 / 6, 0.0), (2, 1 / 3, 1.0), (1, 1 / 3, 0.5), (0, 1 / 6, 0.5)):
            in_slope = dt * (own * in_state + onward * pulled)
            pulled = _pull_state(at[i], rates, in_slope)
            in_rates = in_rates + _pull_rates(at[i - 1] if stale and i == 3 else at[i], in_slope)
            total = total + pulled
        in_state = total
    return in_state, in_rates, None, None


def _ode_reference(state: Tensor, rates: Tensor, steps: int = 4, dt: float = 0.1) -> Tensor:
    path, s = [], state
    for _ in range(steps):
        k1 = _growth(s, rates)
        k2 = _growth(s + dt / 2 * k1, rates)
        k3 = _growth(s + dt / 2 * k2, rates)
        k4 = _growth(s + dt * k3, rates)
        s = s + dt * (k1 + 2 * k2 + 2 * k3 + k4) / 6
        path.append(s)
    return torch.stack(path, 1)


predator_prey = Operation(
    "predator_prey",
    _ode_forward,
    _ode_backward,
    lambda g, d: (uniform(g, d, 3, 2, low=0.5, high=2.0), uniform(g, d, 4, low=0.5, high=1.5), 3, 0.15),
    _ode_reference,
    (
        Mistake(
            "unknown",
            "the last stage's part of the rates' gradient is taken at the third stage's state",
            partial(_ode_backward, stale=True),
            also=("missing-term", "scale", "missing-factor"),
            argument="rates",
        ),
    ),
    {
        "default": lambda g, d: (normal(g, d, 2, 2), normal(g, d, 4)),
        "extinct": lambda g, d: (leaf(torch.zeros(3, 2, dtype=d)), uniform(g, d, 4), 2, 0.3),
        "one step": lambda g, d: (uniform(g, d, 1, 2), uniform(g, d, 4), 1, 0.5),
        "no islands": lambda g, d: (uniform(g, d, 0, 2), uniform(g, d, 4), 3, 0.1),
    },
    TWO,
)

# --- forces in a net of cables, which pull but do not push


def _cable_parts(x: Tensor, edges: Tensor, rest: Tensor) -> tuple[Tensor, ...]:
    reach = x[edges[:, 1]] - x[edges[:, 0]]
    length = (reach**2).sum(-1).sqrt()
    taut = length > rest
    safe = torch.where(taut, length, torch.ones_like(length))
    return reach / safe.unsqueeze(-1), safe, taut, torch.where(taut, length - rest, torch.zeros_like(length))


def _cable_forward(x: Tensor, edges: Tensor, rest: Tensor, stiffness: Tensor) -> tuple[Tensor, Any]:
    unit, _, _, stretch = _cable_parts(x, edges, rest)
    pull = (stiffness * stretch).unsqueeze(-1) * unit
    forces = torch.zeros_like(x).index_add(0, edges[:, 0], pull).index_add(0, edges[:, 1], -pull)
    return forces, (x, edges, rest, stiffness)


def _cable_backward(g: Tensor, residuals: Any, across: bool = True) -> tuple[Any, ...]:
    x, edges, rest, stiffness = residuals
    unit, length, taut, stretch = _cable_parts(x, edges, rest)
    in_pull = g[edges[:, 0]] - g[edges[:, 1]]
    along = (unit * in_pull).sum(-1)
    hold = torch.where(taut, stiffness * along, torch.zeros_like(along))
    sideways = in_pull - unit * along.unsqueeze(-1) if across else in_pull
    in_reach = hold.unsqueeze(-1) * unit + (stiffness * stretch / length).unsqueeze(-1) * sideways
    in_x = torch.zeros_like(x).index_add(0, edges[:, 1], in_reach).index_add(0, edges[:, 0], -in_reach)
    return in_x, None, fit(-hold, rest), fit(stretch * along, stiffness)


def _cable_reference(x: Tensor, edges: Tensor, rest: Tensor, stiffness: Tensor) -> Tensor:
    i, j = edges.unbind(1)
    reach = x[j] - x[i]
    length = torch.linalg.vector_norm(reach, dim=-1)
    tension = stiffness * torch.relu(length - rest)
    pull = (tension / torch.where(tension != 0, length, torch.ones_like(length))).unsqueeze(-1) * reach
    return torch.zeros_like(x).index_add(0, i, pull).index_add(0, j, -pull)


def _edges(g: torch.Generator, count: int, nodes: int) -> Tensor:
    start = integers(g, count, high=nodes)
    return torch.stack([start, (start + integers(g, count, low=1, high=nodes)) % nodes], 1)


def _cable_inputs(g: torch.Generator, d: torch.dtype, nodes: int = 6, count: int = 9) -> tuple[Any, ...]:
    rest, stiff = uniform(g, d, count, low=0.3, high=2.5), uniform(g, d, count, low=0.5, high=2.0)
    return normal(g, d, nodes, 3), _edges(g, count, nodes), rest, stiff


cable_forces = Operation(
    "cable_forces",
    _cable_forward,
    _cable_backward,
    _cable_inputs,
    _cable_reference,
    (
        Mistake(
            "missing-term",
            "the part that turns the cable is not freed of its component along the cable",
            partial(_cable_backward, across=False),
            also=("unknown",),
            argument="x",
        ),
    ),
    {
        "slack": lambda g, d: (
            normal(g, d, 4, 3), _edges(g, 5, 4), leaf(torch.full((5,), 50.0), d), uniform(g, d, 5)
        ),
        "loops": lambda g, d: (
            normal(g, d, 3, 3), torch.tensor([[0, 0], [1, 2]]), uniform(g, d, 2), uniform(g, d, 2)
        ),
        "one rest length": lambda g, d: (
            normal(g, d, 4, 2), _edges(g, 5, 4), uniform(g, d, 1, low=0.5), uniform(g, d, 1)
        ),
        "no cables": lambda g, d: (
            normal(g, d, 3, 3), torch.zeros(0, 2, dtype=torch.long), uniform(g, d, 0), uniform(g, d, 0)
        ),
    },
    TWO,
)  # fmt: skip

# --- density of a fluid made of particles


def _fluid_gap(x: Tensor, h: float) -> tuple[Tensor, Tensor]:
    apart = x.unsqueeze(-2) - x.unsqueeze(-3)
    return apart, (h * h - (apart**2).sum(-1)).clamp(min=0)


def _fluid_forward(x: Tensor, mass: Tensor, h: float = 1.0) -> tuple[Tensor, Any]:
    _, gap = _fluid_gap(x, h)
    return (4 / (pi * h**8) * gap**3 * mass.unsqueeze(-2)).sum(-1), (x, mass, h)


def _fluid_backward(g: Tensor, residuals: Any, both_ways: bool = True) -> tuple[Any, ...]:
    x, mass, h = residuals
    apart, gap = _fluid_gap(x, h)
    scale = 4 / (pi * h**8)
    weight = g.unsqueeze(-1) * mass.unsqueeze(-2)
    if both_ways:
        weight = weight + weight.transpose(-1, -2)
    in_x = ((-6 * scale * weight * gap**2).unsqueeze(-1) * apart).sum(-2)
    return in_x, fit((scale * gap**3 * g.unsqueeze(-1)).sum(-2), mass), None


def _fluid_reference(x: Tensor, mass: Tensor, h: float = 1.0) -> Tensor:
    squares = ((x[..., :, None, :] - x[..., None, :, :]) ** 2).sum(-1)
    kernel = 4 / (pi * h**8) * torch.relu(h**2 - squares) ** 3
    return torch.einsum("...ij,...j->...i", kernel, mass.expand(x.shape[:-1]))


particle_density = Operation(
    "particle_density",
    _fluid_forward,
    _fluid_backward,
    lambda g, d: (normal(g, d, 2, 7, 2), uniform(g, d, 2, 7, low=0.5, high=1.5), 1.5),
    _fluid_reference,
    (
        Mistake(
            "missing-term",
            "a particle's effect on the density at its neighbours is left out",
            partial(_fluid_backward, both_ways=False),
            also=("unknown", "missing-factor", "scale"),
            argument="x",
        ),
    ),
    {
        "default": lambda g, d: (normal(g, d, 5, 2), uniform(g, d, 5)),
        "same place": lambda g, d: (leaf(torch.zeros(4, 2, dtype=d)), uniform(g, d, 4), 0.9),
        "shared masses": lambda g, d: (normal(g, d, 3, 4, 2), uniform(g, d, 4), 2.0),
        "far apart": lambda g, d: (leaf(normal(g, d, 4, 2) * 1000), uniform(g, d, 4)),
    },
    TWO,
)

# --- eccentric anomaly from the mean anomaly


def _solve(mean: Tensor, e: Tensor) -> Tensor:
    turns = 2 * pi * torch.round(mean / (2 * pi))
    m = mean - turns
    angle = m + 0.85 * e * torch.sign(torch.sin(m))
    for _ in range(40):
        angle = angle - (angle - e * torch.sin(angle) - m) / (1 - e * torch.cos(angle))
    inside = (e.abs() < 1).expand(angle.shape)
    return torch.where(inside, angle + turns, torch.full_like(angle, float("nan")))


def _kepler_forward(mean: Tensor, eccentricity: Tensor) -> tuple[Tensor, Any]:
    angle = _solve(wide(mean), wide(eccentricity))
    return angle.to(mean.dtype), (mean, eccentricity, angle)


def _kepler_backward(g: Tensor, residuals: Any, at_mean: bool = False) -> tuple[Any, ...]:
    mean, eccentricity, angle = residuals
    share = wide(g) / (1 - wide(eccentricity) * torch.cos(angle))
    return fit(share, mean), fit(share * torch.sin(wide(mean) if at_mean else angle), eccentricity)


def _kepler_reference(mean: Tensor, eccentricity: Tensor) -> Tensor:
    m, e = wide(mean), wide(eccentricity)
    angle = _solve(m.detach(), e.detach())
    step = (angle - e * torch.sin(angle) - m) / (1 - e.detach() * torch.cos(angle))
    return (angle - step).to(mean.dtype)


kepler_anomaly = Operation(
    "kepler_anomaly",
    _kepler_forward,
    _kepler_backward,
    lambda g, d: (leaf(normal(g, d, 4, 5) * 2), uniform(g, d, 4, 1, low=0.05, high=0.8)),
    _kepler_reference,
    (
        Mistake(
            "unknown",
            "the eccentricity's gradient has the sine of the mean anomaly, not of the eccentric one",
            partial(_kepler_backward, at_mean=True),
            also=("missing-factor", "scale", "local"),
            argument="eccentricity",
        ),
    ),
    {
        "circles": lambda g, d: (normal(g, d, 3, 4), leaf(torch.zeros(3, 1, dtype=d))),
        "nearest points": lambda g, d: (leaf(torch.zeros(3, 4, dtype=d)), uniform(g, d, 4, high=0.8)),
        "one orbit": lambda g, d: (normal(g, d, 6), uniform(g, d, high=0.5)),
        "none": lambda g, d: (normal(g, d, 0, 4), uniform(g, d, 1, 4)),
    },
    ALL,
)

OPERATIONS = (running_integral, predator_prey, cable_forces, particle_density, kepler_anomaly)
