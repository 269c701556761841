"""Recurrences: control, games, advection, circuits and alignment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torch_ext.corpus._entry import DTYPES, Mistake, Operation, normal, uniform, wide

from ._tools import like

# -- a controller with a limited actuator -----------------------------------------------------------


def _pid_run(e: Tensor, kp: Tensor, ki: Tensor, kd: Tensor, limit: float, back: float) -> Any:
    total = torch.zeros_like(e[0]) if len(e) else None
    last = total
    totals, wanted = [], []
    for now in e:
        v = kp * now + ki * total + kd * (now - last)
        totals.append(total)
        wanted.append(v)
        total = total + now + back * (v.clamp(-limit, limit) - v)
        last = now
    return totals, wanted


def pid_forward(
    error: Tensor, kp: Tensor, ki: Tensor, kd: Tensor, limit: float = 1.5, back: float = 0.5
) -> tuple[Tensor, Any]:
    """PID control of shape (time, loops), clamped, with back-calculation against wind-up."""
    if limit <= 0:
        raise ValueError("the limit must be positive")
    _, wanted = _pid_run(*wide((error, kp, ki, kd)), limit, back)
    out = torch.stack(wanted).clamp(-limit, limit) if wanted else torch.zeros_like(error)
    return out.to(error.dtype), (error, kp, ki, kd, limit, back)


def _pid_backward(grad: Tensor, res: Any, wrong: bool) -> tuple[Any, ...]:
    *tensors, limit, back = res
    e, kp, ki, kd = wide(tuple(tensors))
    g = wide(grad)
    totals, wanted = _pid_run(e, kp, ki, kd, limit, back)
    ge = torch.zeros_like(e)
    gp, gi, gd = (torch.zeros_like(e[0] if len(e) else kp) for _ in range(3))
    later: Any = 0.0
    for t in range(len(e) - 1, -1, -1):
        v = wanted[t]
        inside = (v >= -limit) & (v <= limit)
        gv = torch.where(inside, g[t], 0.0)
        if not wrong:
            gv = gv - torch.where(inside, 0.0, back * later)
        step = e[t] - e[t - 1] if t else e[t]
        gp, gi, gd = gp + gv * e[t], gi + gv * totals[t], gd + gv * step
        ge[t] += gv * (kp + kd) + later
        if t:
            ge[t - 1] -= gv * kd
        later = later + gv * ki
    grads = (like(a, b) for a, b in zip((ge, gp, gi, gd), tensors, strict=True))
    return (*grads, None, None)


def pid_backward(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _pid_backward(grad, res, False)


def pid_wrong(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _pid_backward(grad, res, True)


def pid_reference(
    error: Tensor, kp: Tensor, ki: Tensor, kd: Tensor, limit: float = 1.5, back: float = 0.5
) -> Tensor:
    change = torch.diff(error, dim=0, prepend=torch.zeros_like(error[:1]))
    total = torch.zeros_like(error.sum(0))
    out = []
    for now, step in zip(error, change, strict=True):
        v = kp * now + ki * total + kd * step
        u = torch.clamp(v, -limit, limit)
        out.append(u)
        total = total + now + back * (u - v)
    return torch.stack(out)


def _pid_inputs(steps: int, loops: int, size: float, shared: bool = False) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        e = (size * normal(g, dtype, steps, loops, grad=False).clamp(-2, 2)).requires_grad_()
        shape = () if shared else (loops,)
        gains = [uniform(g, dtype, *shape, low=0.1, high=0.4) for _ in range(3)]
        return (e, *gains, 1.5, 0.5)

    return make


pid_saturated = _pid_inputs(8, 5, 3.0)


def _pid_edge(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    """The first command lies on the limit itself."""
    e = normal(g, dtype, 4, 2, grad=False)
    e[0] = 3.0
    gains = [torch.full((2,), x, dtype=dtype).requires_grad_() for x in (0.25, 0.125, 0.25)]
    return (e.requires_grad_(), *gains, 1.5, 0.5)


PID = Operation(
    "pid_anti_windup",
    pid_forward,
    pid_backward,
    _pid_inputs(8, 5, 0.2),
    pid_reference,
    (
        Mistake(
            "missing-term",
            "no gradient through the back-calculation, which matters once the actuator saturates",
            pid_wrong,
            also=("region", "local", "scale"),
            argument="error",
            hidden=_pid_inputs(8, 5, 0.2),
        ),
    ),
    {
        "saturated": pid_saturated,
        "edge": _pid_edge,
        "shared gains": _pid_inputs(5, 3, 2.0, True),
        "one step": _pid_inputs(1, 3, 2.0),
    },
    DTYPES,
)


# -- strategies that grow with their pay-off --------------------------------------------------------


def replicator_forward(x: Tensor, payoff: Tensor, steps: int = 3) -> tuple[Tensor, Any]:
    """Discrete replicator dynamics of populations in rows; payoff[i, j] is what i earns against j."""
    w, a = wide((x, payoff))
    for _ in range(steps):
        fit = w @ a.mT
        w = w * fit / (w * fit).sum(-1, keepdim=True)
    return w.to(x.dtype, copy=True), (x, payoff, steps)


def _replicator_backward(grad: Tensor, res: Any, wrong: bool) -> tuple[Any, ...]:
    x, payoff, steps = res
    w, a = wide((x, payoff))
    states = []
    for _ in range(steps):
        states.append(w)
        fit = w @ a.mT
        w = w * fit / (w * fit).sum(-1, keepdim=True)
    g = wide(grad).clone()
    ga = torch.zeros_like(a)
    for w in reversed(states):
        fit = w @ a.mT
        mean = (w * fit).sum(-1, keepdim=True)
        gq = g / mean - (g * (w * fit / mean)).sum(-1, keepdim=True) / mean
        gf = gq * w
        ga = ga + (w.mT @ gf if wrong else gf.mT @ w)
        g = gq * fit + gf @ a
    return g.to(x.dtype), ga.to(payoff.dtype), None


def replicator_backward(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _replicator_backward(grad, res, False)


def replicator_wrong(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _replicator_backward(grad, res, True)


def replicator_reference(x: Tensor, payoff: Tensor, steps: int = 3) -> Tensor:
    for _ in range(steps):
        grown = x * torch.einsum("ij,bj->bi", payoff, x)
        x = grown / grown.sum(-1, keepdim=True)
    return x


def _replicator_inputs(rows: int, n: int, steps: int) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        x = uniform(g, torch.float64, rows, n, low=0.1, grad=False)
        x = (x / x.sum(-1, keepdim=True)).to(dtype).requires_grad_()
        return x, uniform(g, dtype, n, n, low=0.2, high=2.0), steps

    return make


def _replicator_extinct(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    x = torch.tensor([[0.5, 0.0, 0.5], [0.0, 0.0, 1.0]], dtype=dtype)
    return x.requires_grad_(), uniform(g, dtype, 3, 3, low=0.2, high=2.0), 2


REPLICATOR = Operation(
    "replicator_steps",
    replicator_forward,
    replicator_backward,
    _replicator_inputs(6, 4, 3),
    replicator_reference,
    (
        Mistake(
            "transpose",
            "the outer product for the pay-offs the wrong way round",
            replicator_wrong,
            argument="payoff",
        ),
    ),
    {
        "extinct": _replicator_extinct,
        "no step": _replicator_inputs(3, 4, 0),
        "one population": _replicator_inputs(1, 5, 2),
        "none": _replicator_inputs(0, 3, 2),
    },
    DTYPES,
)


# -- advection with limited slopes ------------------------------------------------------------------


def _slopes(u: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    d = u[:, 1:] - u[:, :-1]
    a, b = d[:, :-1], d[:, 1:]
    same = a.sign() == b.sign()
    s = torch.zeros_like(u)
    if u.shape[1] > 2:
        s[:, 1:-1] = torch.where(same, a.sign() * torch.minimum(a.abs(), b.abs()), 0.0)
    return s, a, b, same & (a != 0)


def _advect(u: Tensor, s: Tensor, nu: Tensor) -> Tensor:
    flux = nu * (u + (1 - nu) / 2 * s)
    inflow = torch.cat([nu * u[:, :1], flux[:, :-1]], 1)
    return u - flux + inflow


def minmod_forward(u: Tensor, courant: Tensor, steps: int = 2) -> tuple[Tensor, Any]:
    """Rows carried to the right at a Courant number, slopes limited by minmod, ends held flat."""
    w, nu = wide((u, courant))
    for _ in range(steps):
        w = _advect(w, _slopes(w)[0], nu)
    return w.to(u.dtype, copy=True), (u, courant, steps)


def _minmod_backward(grad: Tensor, res: Any, wrong: bool) -> tuple[Any, ...]:
    u, courant, steps = res
    w, nu = wide((u, courant))
    states = []
    for _ in range(steps):
        states.append(w)
        w = _advect(w, _slopes(w)[0], nu)
    g = wide(grad).clone()
    gnu = torch.zeros_like(nu)
    for w in reversed(states):
        s, a, b, same = _slopes(w)
        gflux = -g
        gflux[:, :-1] += g[:, 1:]
        gn = gflux * (w + (1 - 2 * nu) / 2 * s)
        gn[:, :1] += g[:, :1] * w[:, :1]
        gnu = gnu + gn.sum_to_size(nu.shape)
        gw = g + nu * gflux
        gw[:, :1] += (nu * g)[:, :1]
        gs = ((nu * (1 - nu) / 2) * gflux)[:, 1:-1]
        left = torch.where(same, 0.5, 0.0).to(w.dtype)
        low, high = (a, b) if wrong else (a.abs(), b.abs())
        left = torch.where(same & (low < high), 1.0, torch.where(low > high, 0.0, left))
        right = same.to(w.dtype) - left
        gd = torch.zeros_like(w[:, 1:])
        if w.shape[1] > 2:
            gd[:, :-1] += gs * left
            gd[:, 1:] += gs * right
        gw[:, 1:] += gd
        gw[:, :-1] -= gd
        g = gw
    return g.to(u.dtype), gnu.to(courant.dtype), None


def minmod_backward(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _minmod_backward(grad, res, False)


def minmod_wrong(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _minmod_backward(grad, res, True)


def minmod_reference(u: Tensor, courant: Tensor, steps: int = 2) -> Tensor:
    for _ in range(steps):
        s = torch.zeros_like(u)
        if u.shape[1] > 2:
            a, b = u[:, 1:-1] - u[:, :-2], u[:, 2:] - u[:, 1:-1]
            inner = 0.5 * (a.sign() + b.sign()) * torch.minimum(a.abs(), b.abs())
            s = torch.nn.functional.pad(inner, (1, 1))
        face = courant * (u + 0.5 * (1 - courant) * s)
        face = torch.cat([courant * u[:, :1], face], 1)
        u = u - torch.diff(face, dim=1)
    return u


def _minmod_inputs(rows: int, n: int, steps: int, shared: bool = False) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        shape = () if shared else (rows, 1)
        return normal(g, dtype, rows, n), uniform(g, dtype, *shape, low=0.2, high=0.9), steps

    return make


def _minmod_steps(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    """Plateaus and straight ramps: slopes of nought and ties."""
    rows = [[0, 0, 1, 2, 3, 3, 3, 1], [4, 3, 2, 1, 1, 1, 2, 4]]
    return torch.tensor(rows, dtype=dtype).requires_grad_(), uniform(g, dtype, 2, 1, low=0.2, high=0.9), 1


MINMOD = Operation(
    "minmod_advection",
    minmod_forward,
    minmod_backward,
    _minmod_inputs(4, 9, 2),
    minmod_reference,
    (
        Mistake(
            "region",
            "the smaller slope chosen by value instead of magnitude, wrong where the profile falls",
            minmod_wrong,
            also=("local", "permuted", "unknown"),
            argument="u",
        ),
    ),
    {
        "plateaus": _minmod_steps,
        "two cells": _minmod_inputs(3, 2, 2),
        "one cell, one number": _minmod_inputs(3, 1, 1, True),
        "no rows": _minmod_inputs(0, 5, 2),
    },
    ("float64", "float32"),
)


# -- impedance of a ladder --------------------------------------------------------------------------


def ladder_forward(series: Tensor, shunt: Tensor, load: Tensor) -> tuple[Tensor, Any]:
    """Input impedance (complex) of a ladder; the first section is the nearest."""
    z = load
    seen = []
    for a, b in zip(series.flip(0), shunt.flip(0), strict=True):
        seen.append(z)
        z = a + b * z / (b + z)
    return z.clone(), (series, shunt, load, seen)


def _ladder_backward(grad: Tensor, res: Any, wrong: bool) -> tuple[Any, ...]:
    series, shunt, load, seen = res
    g = grad
    gs, gp = torch.zeros_like(series), torch.zeros_like(shunt)
    for k, z in enumerate(reversed(seen)):
        b = shunt[k]
        gs[k] = g
        by_shunt = (z / (b + z)) ** 2
        gp[k] = g * (by_shunt if wrong else by_shunt.conj())
        g = g * ((b / (b + z)) ** 2).conj()
    return gs, gp, like(g, load)


def ladder_backward(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _ladder_backward(grad, res, False)


def ladder_wrong(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _ladder_backward(grad, res, True)


def ladder_reference(series: Tensor, shunt: Tensor, load: Tensor) -> Tensor:
    z = load
    for k in range(len(series) - 1, -1, -1):
        z = series[k] + shunt[k] * z / (shunt[k] + z)
    return z


def _ladder_inputs(sections: int, n: int, shared: bool = False) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        def lossy(*shape: int) -> Tensor:
            resistance = uniform(g, dtype, *shape, low=0.3, high=2.0, grad=False)
            return torch.complex(resistance, normal(g, dtype, *shape, grad=False)).requires_grad_()

        return lossy(sections, n), lossy(sections, n), lossy(*(() if shared else (n,)))

    return make


def _ladder_short(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    series, shunt, _ = _ladder_inputs(2, 4)(g, dtype)
    return series, shunt, torch.zeros_like(series[0]).detach().requires_grad_()


LADDER = Operation(
    "ladder_impedance",
    ladder_forward,
    ladder_backward,
    _ladder_inputs(3, 6),
    ladder_reference,
    (
        Mistake(
            "unknown",
            "the conjugate forgotten in the gradient of the shunt impedances",
            ladder_wrong,
            also=("sign", "transpose", "scale"),
            argument="shunt",
        ),
    ),
    {
        "short": _ladder_short,
        "one section, one load": _ladder_inputs(1, 3, True),
        "none": _ladder_inputs(2, 0),
    },
    ("float64", "float32"),
)


# -- alignment of two series ------------------------------------------------------------------------


def _align(cost: Tensor, gamma: float) -> list[list[Tensor]]:
    n, m = cost.shape[1:]
    rows: list[list[Tensor]] = []
    for i in range(n):
        rows.append([])
        for j in range(m):
            before = [rows[i - 1][j - 1]] if i and j else []
            before += [rows[i - 1][j]] if i else []
            before += [rows[i][j - 1]] if j else []
            here = cost[:, i, j]
            if before:
                here = here - gamma * torch.logsumexp(-torch.stack(before) / gamma, 0)
            rows[i].append(here)
    return rows


def warp_forward(x: Tensor, y: Tensor, gamma: float = 1.0) -> tuple[Tensor, Any]:
    """Soft dynamic time warping of series (batch, time, channel) by squared distances."""
    if gamma <= 0 or 0 in (x.shape[1], y.shape[1]):
        raise ValueError("gamma must be positive and the series must not be empty")
    a, b = wide((x, y))
    cost = (a[:, :, None] - b[:, None]).square().sum(-1)
    return _align(cost, gamma)[-1][-1].to(x.dtype, copy=True), (x, y, gamma)


def _warp_backward(grad: Tensor, res: Any, wrong: bool) -> tuple[Any, ...]:
    x, y, gamma = res
    a, b = wide((x, y))
    apart = a[:, :, None] - b[:, None]
    cost = apart.square().sum(-1)
    rows = _align(cost, gamma)
    n, m = cost.shape[1:]
    share = torch.zeros_like(cost)
    share[:, -1, -1] = wide(grad)
    for i in range(n - 1, -1, -1):
        for j in range(m - 1, -1, -1):
            for k, p in ((i + 1, j + 1), (i + 1, j), (i, j + 1)):
                if k < n and p < m:
                    step = cost[:, i, j] if wrong else cost[:, k, p]
                    share[:, i, j] += share[:, k, p] * torch.exp((rows[k][p] - step - rows[i][j]) / gamma)
    ga = 2 * share[..., None] * apart
    return ga.sum(2).to(x.dtype), -ga.sum(1).to(y.dtype), None


def warp_backward(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _warp_backward(grad, res, False)


def warp_wrong(grad: Tensor, res: Any) -> tuple[Any, ...]:
    return _warp_backward(grad, res, True)


def warp_reference(x: Tensor, y: Tensor, gamma: float = 1.0) -> Tensor:
    n, m = x.shape[1], y.shape[1]
    best: dict[tuple[int, int], Tensor] = {}
    for i in range(n):
        for j in range(m):
            cost = (x[:, i] - y[:, j]).square().sum(-1)
            before = [best[p] for p in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if p in best]
            if before:
                cost = cost - gamma * torch.logsumexp(torch.stack(before, -1) / -gamma, -1)
            best[i, j] = cost
    return best[n - 1, m - 1]


def _warp_inputs(rows: int, n: int, m: int, gamma: float) -> Any:
    def make(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
        a, b = normal(g, dtype, rows, n, 2, grad=False), normal(g, dtype, rows, m, 2, grad=False)
        return (a / 2).requires_grad_(), (b / 2).requires_grad_(), gamma

    return make


def _warp_same(g: torch.Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    x = normal(g, dtype, 2, 4, 2)
    return x, x.detach().clone().requires_grad_(), 0.5


WARP = Operation(
    "soft_time_warping",
    warp_forward,
    warp_backward,
    _warp_inputs(2, 4, 5, 1.0),
    warp_reference,
    (
        Mistake(
            "unknown",
            "the cost of the cell itself in place of its successor's in the backward recursion",
            warp_wrong,
            also=("scale", "region", "missing-factor"),
            argument="x",
        ),
    ),
    {
        "the same": _warp_same,
        "sharp": _warp_inputs(2, 3, 3, 0.1),
        "one instant": _warp_inputs(3, 1, 4, 1.0),
        "none": _warp_inputs(0, 3, 2, 1.0),
    },
    DTYPES,
)

OPERATIONS = (PID, REPLICATOR, MINMOD, LADDER, WARP)
