"""Rotations, vehicles, control, audio filters and quantum states."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.linalg import cross

from torch_ext.corpus._entry import Mistake, Operation, normal, uniform, wide

from ._tools import back_to, leaf, reverse_cumsum

# points turned by rotation vectors


def turn_reference(vector: Tensor, points: Tensor) -> Tensor:
    k = wide(vector)
    x, y, z = k.unbind(-1)
    o = torch.zeros_like(x)
    rows = [torch.stack(r, -1) for r in ((o, -z, y), (z, o, -x), (-y, x, o))]
    turn = torch.linalg.matrix_exp(torch.stack(rows, -2))
    return (turn @ wide(points).unsqueeze(-1)).squeeze(-1).to(points.dtype)


def _turn_factors(s: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """sin(t)/t, (1 - cos t)/t^2 and their derivatives, as functions of s = t^2."""
    small = s < 1
    far = torch.where(small, torch.ones_like(s), s)
    t = far.sqrt()
    a, b = t.sin() / t, (1 - t.cos()) / far
    direct = (a, b, (t.cos() - a) / (2 * far), (a / 2 - b) / far)
    near = torch.where(small, s, torch.zeros_like(s))
    series = [torch.zeros_like(s) for _ in range(4)]
    for k in range(12, -1, -1):
        for i, top in enumerate((2 * k + 1, 2 * k + 2, 2 * k + 3, 2 * k + 4)):
            value = (-1) ** k / math.factorial(top)
            series[i] = series[i] * near + (value if i < 2 else -(k + 1) * value)
    return tuple(torch.where(small, n, f) for n, f in zip(series, direct))  # type: ignore[return-value]


def turn_forward(vector: Tensor, points: Tensor) -> tuple[Tensor, Any]:
    k, p = torch.broadcast_tensors(wide(vector), wide(points))
    a, b, _, _ = _turn_factors(k.square().sum(-1, keepdim=True))
    kp = cross(k, p)
    return (p + a * kp + b * cross(k, kp)).to(points.dtype), (vector, points)


def turn_backward(grad: Tensor, residuals: Any, inverse: bool = True) -> tuple[Tensor, Tensor]:
    vector, points = residuals
    k, p = torch.broadcast_tensors(wide(vector), wide(points))
    g = wide(grad)
    a, b, da, db = _turn_factors(k.square().sum(-1, keepdim=True))
    kp, kg = cross(k, p), cross(k, g)
    g_points = g + (-a if inverse else a) * kg + b * cross(k, kg)

    def dot(x: Tensor, y: Tensor) -> Tensor:
        return (x * y).sum(-1, keepdim=True)

    direct = a * cross(p, g) + b * (g * dot(k, p) + p * dot(k, g) - 2 * k * dot(g, p))
    angle = 2 * k * (da * dot(g, kp) + db * dot(g, cross(k, kp)))
    return back_to(direct + angle, vector), back_to(g_points, points)


turn = Operation(
    "rotation_vector_turn",
    turn_forward,
    turn_backward,
    lambda g, d: (normal(g, d, 3, 1, 3), normal(g, d, 3, 5, 3)),
    turn_reference,
    (
        Mistake(
            "transpose",
            "the points' gradient is turned forward, not back",
            partial(turn_backward, inverse=False),
            also=("sign",),
            argument="points",
        ),
    ),
    {
        "no turn": lambda g, d: (leaf(torch.zeros(2, 1, 3, dtype=d)), normal(g, d, 2, 4, 3)),
        "small turn": lambda g, d: (leaf(normal(g, d, 4, 3, grad=False) * 1e-3), normal(g, d, 4, 3)),
        "one point": lambda g, d: (normal(g, d, 5, 3), normal(g, d, 3)),
        "no points": lambda g, d: (normal(g, d, 3), normal(g, d, 0, 3)),
    },
)

# path of a vehicle from speeds and turning rates


def _path(start: Tensor, speed: Tensor, rate: Tensor, step: float) -> tuple[Tensor, Tensor]:
    after = start[..., 2:] + step * rate.cumsum(-1)
    before = torch.cat((start[..., 2:], after[..., :-1]), -1)[..., : rate.shape[-1]]
    x = start[..., :1] + step * (speed * before.cos()).cumsum(-1)
    y = start[..., 1:2] + step * (speed * before.sin()).cumsum(-1)
    return torch.stack((x, y, after), -1), before


def unicycle_reference(start: Tensor, speed: Tensor, rate: Tensor, step: float = 0.25) -> Tensor:
    state = wide(start)
    v, w = wide(speed), wide(rate)
    states = []
    for i in range(v.shape[-1]):
        x, y, angle = state.unbind(-1)
        x, y = x + step * v[..., i] * angle.cos(), y + step * v[..., i] * angle.sin()
        state = torch.stack((x, y, angle + step * w[..., i]), -1)
        states.append(state)
    if not states:
        return (state.unsqueeze(-2)[..., :0, :]).to(start.dtype)
    return torch.stack(states, -2).to(start.dtype)


def unicycle_forward(start: Tensor, speed: Tensor, rate: Tensor, step: float = 0.25) -> tuple[Tensor, Any]:
    path, _ = _path(wide(start), wide(speed), wide(rate), step)
    return path.to(start.dtype), (start, speed, rate, step)


def unicycle_backward(grad: Tensor, residuals: Any, late: bool = False) -> tuple[Any, ...]:
    start, speed, rate, step = residuals
    v = wide(speed)
    path, angle = _path(wide(start), v, wide(rate), step)
    if late:
        angle = path[..., 2]
    g = wide(grad)
    g_x, g_y = reverse_cumsum(g[..., 0]), reverse_cumsum(g[..., 1])
    g_speed = step * (g_x * angle.cos() + g_y * angle.sin())
    push = step * v * (g_y * angle.cos() - g_x * angle.sin())
    later = torch.cat((push[..., 1:], torch.zeros_like(push[..., :1])), -1)
    g_rate = step * reverse_cumsum(g[..., 2] + later)
    g_start = g.sum(-2) + torch.nn.functional.pad(push.sum(-1, keepdim=True), (2, 0))
    return g_start.to(start.dtype), g_speed.to(speed.dtype), g_rate.to(rate.dtype), None


def _drive(g: torch.Generator, dtype: torch.dtype, *shape: int, step: float = 0.25) -> tuple[Any, ...]:
    return normal(g, dtype, *shape[:-1], 3), normal(g, dtype, *shape), normal(g, dtype, *shape), step


unicycle = Operation(
    "unicycle_path",
    unicycle_forward,
    unicycle_backward,
    lambda g, d: _drive(g, d, 3, 7),
    unicycle_reference,
    (
        Mistake(
            "unknown",
            "the backward takes the heading after each step, the forward the one before",
            partial(unicycle_backward, late=True),
            also=("offset", "local", "missing-term", "permuted"),
        ),
    ),
    {
        "one step": lambda g, d: _drive(g, d, 4, 1, step=1.0),
        "no steps": lambda g, d: _drive(g, d, 2, 0),
        "one vehicle": lambda g, d: _drive(g, d, 5, step=0.5),
    },
)

# one step of the discrete Riccati recursion


def riccati_reference(p: Tensor, a: Tensor, b: Tensor, q: Tensor, r: Tensor) -> Tensor:
    gain = torch.linalg.inv(r + b.mT @ p @ b) @ b.mT @ p @ a
    return q + a.mT @ p @ a - a.mT @ p @ b @ gain


def riccati_forward(p: Tensor, a: Tensor, b: Tensor, q: Tensor, r: Tensor) -> tuple[Tensor, Any]:
    gain = torch.linalg.solve(r + b.mT @ p @ b, b.mT @ p @ a)
    return q + a.mT @ p @ (a - b @ gain), (p, a, b, r, gain)


def riccati_backward(grad: Tensor, residuals: Any, symmetric: bool = False) -> tuple[Tensor, ...]:
    p, a, b, r, gain = residuals
    left = torch.linalg.solve((r + b.mT @ p @ b).mT, b.mT @ p.mT @ a)
    closed, closed_left = a - b @ gain, a - b @ left
    up, down = p @ closed @ grad.mT, p.mT @ closed_left @ grad
    g_a = p @ closed @ (grad + grad.mT) if symmetric else up + down
    g_b = -(down @ gain.mT + up @ left.mT)
    return closed_left @ grad @ closed.mT, g_a, g_b, grad.clone(), left @ grad @ gain.mT


def _plant(
    g: torch.Generator, dtype: torch.dtype, skew: float = 0.3, batch: Any = (2,), n: int = 4, m: int = 2
) -> Any:
    def positive(k: int) -> Tensor:
        x = normal(g, dtype, *batch, k, k, grad=False)
        y = normal(g, dtype, *batch, k, k, grad=False)
        return leaf(x @ x.mT / 2 + torch.eye(k, dtype=dtype) + skew * (y - y.mT))

    a, b = normal(g, dtype, *batch, n, n), normal(g, dtype, *batch, n, m)
    return positive(n), a, b, positive(n), positive(m)


riccati = Operation(
    "riccati_step",
    riccati_forward,
    riccati_backward,
    _plant,
    riccati_reference,
    (
        Mistake(
            "transpose",
            "the gradient in the dynamics takes cost and weights as symmetric",
            partial(riccati_backward, symmetric=True),
            also=("missing-term", "unknown"),
            argument="a",
            hidden=partial(_plant, skew=0.0),
        ),
    ),
    {
        "one state": partial(_plant, n=1, m=1),
        "no batch": partial(_plant, batch=(), n=3, m=1),
        "empty batch": partial(_plant, batch=(0,)),
    },
    ("float64", "float32"),
)

# second-order filter


def biquad_reference(x: Tensor, b: Tensor, a: Tensor) -> Tensor:
    s, n, p = wide(x), wide(b), wide(a)
    if not s.shape[-1]:
        return (s * (n.sum() + p.sum())).to(x.dtype)
    zero = torch.zeros_like(s.sum(-1))
    xs, ys = [zero, zero], [zero, zero]
    for i in range(s.shape[-1]):
        xs.append(s[..., i])
        ys.append(n[0] * xs[-1] + n[1] * xs[-2] + n[2] * xs[-3] - p[0] * ys[-1] - p[1] * ys[-2])
    return torch.stack(ys, -1)[..., 2:].to(x.dtype)


def _late(x: Tensor, by: int) -> Tensor:
    return torch.nn.functional.pad(x, (by, 0))[..., : x.shape[-1]]


def _poles(x: Tensor, a: Tensor) -> Tensor:
    """y[n] = x[n] - a1 y[n-1] - a2 y[n-2]"""
    y1 = y2 = torch.zeros_like(x.sum(-1))
    ys = []
    for s in x.unbind(-1):
        y1, y2 = s - a[0] * y1 - a[1] * y2, y1
        ys.append(y1)
    return torch.stack(ys, -1) if ys else x.clone()


def biquad_forward(x: Tensor, b: Tensor, a: Tensor) -> tuple[Tensor, Any]:
    s, n = wide(x), wide(b)
    y = _poles(n[0] * s + n[1] * _late(s, 1) + n[2] * _late(s, 2), wide(a))
    return y.to(x.dtype), (x, b, a, y)


def biquad_backward(grad: Tensor, residuals: Any, begin: int = 1) -> tuple[Tensor, ...]:
    x, b, a, y = residuals
    s, n = wide(x), wide(b)
    e = _poles(wide(grad).flip(-1), wide(a))
    g_x = (n[0] * e + n[1] * _late(e, 1) + n[2] * _late(e, 2)).flip(-1)
    e = e.flip(-1)
    g_b = torch.stack([(e * _late(s, k)).sum() for k in range(3)])
    g_a = torch.stack([-(e * _late(y, k))[..., begin:].sum() for k in (1, 2)])
    return g_x.to(x.dtype), g_b.to(b.dtype), g_a.to(a.dtype)


def _sound(g: torch.Generator, dtype: torch.dtype, *shape: int) -> tuple[Any, ...]:
    return normal(g, dtype, *shape), normal(g, dtype, 3), uniform(g, dtype, 2, low=-0.4, high=0.4)


biquad = Operation(
    "biquad_section",
    biquad_forward,
    biquad_backward,
    lambda g, d: _sound(g, d, 3, 10),
    biquad_reference,
    (
        Mistake(
            "missing-term",
            "the sums for the feedback coefficients begin at the third sample, for the first one, too",
            partial(biquad_backward, begin=2),
            also=("local", "region", "unknown"),
            argument="a",
        ),
    ),
    {
        "one sample": lambda g, d: _sound(g, d, 4, 1),
        "two axes, two samples": lambda g, d: _sound(g, d, 2, 3, 2),
        "silence": lambda g, d: (leaf(torch.zeros(2, 5, dtype=d)), *_sound(g, d, 1)[1:]),
        "empty": lambda g, d: _sound(g, d, 2, 0),
    },
)

# expectation of an observable in states that need not be normalised


def expectation_reference(state: Tensor, observable: Tensor) -> Tensor:
    top = (state.conj() * (observable @ state.unsqueeze(-1)).squeeze(-1)).sum(-1).real
    return top / (state.conj() * state).sum(-1).real


def expectation_forward(state: Tensor, observable: Tensor) -> tuple[Tensor, Any]:
    value = expectation_reference(state, observable)
    return value, (state, observable, value)


def expectation_backward(grad: Tensor, residuals: Any, conjugate: bool = True) -> tuple[Tensor, Tensor]:
    state, observable, value = residuals
    g = (grad / state.abs().square().sum(-1)).unsqueeze(-1)
    both = ((observable + observable.mH) @ state.unsqueeze(-1)).squeeze(-1)
    g_state = g * (both - 2 * value.unsqueeze(-1) * state)
    outer = (g * state).unsqueeze(-1) * state.conj().unsqueeze(-2)
    return g_state, (outer if conjugate else outer.conj()).sum_to_size(observable.shape)


_COMPLEX = {torch.float64: torch.complex128, torch.float32: torch.complex64}


def _complex(g: torch.Generator, dtype: torch.dtype, *shape: int) -> Tensor:
    return leaf(torch.randn(shape, generator=g, dtype=torch.complex128).to(_COMPLEX[dtype]))


expectation = Operation(
    "observable_expectation",
    expectation_forward,
    expectation_backward,
    lambda g, d: (_complex(g, d, 3, 4), _complex(g, d, 4, 4)),
    expectation_reference,
    (
        Mistake(
            "sign",
            "the observable's gradient lacks the conjugate",
            partial(expectation_backward, conjugate=False),
            also=("transpose", "unknown"),
            argument="observable",
        ),
    ),
    {
        "own observables": lambda g, d: (_complex(g, d, 3, 2), _complex(g, d, 3, 2, 2)),
        "one level": lambda g, d: (_complex(g, d, 3, 1), _complex(g, d, 1, 1)),
        "no states": lambda g, d: (_complex(g, d, 0, 3), _complex(g, d, 3, 3)),
    },
    ("float64", "float32"),
)

OPERATIONS: tuple[Operation, ...] = (turn, unicycle, riccati, biquad, expectation)
