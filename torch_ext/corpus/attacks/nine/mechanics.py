"""Curves, robots, control, power networks and resonances."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ._base import DOUBLE, Generator, Mistake, Operation, as_dtypes, in_wide, leaf, normal, uniform, wide

# ---------------------------------------------------------------- rational Bezier curve


def bernstein(t: Tensor, degree: int) -> Tensor:
    """All Bernstein polynomials of a degree, (T, degree + 1); none for a negative degree."""
    k = torch.arange(degree + 1, device=t.device)
    binomials = torch.tensor(
        [math.comb(degree, i) for i in range(degree + 1)], dtype=t.dtype, device=t.device
    )
    return binomials * t[:, None] ** k * (1 - t[:, None]) ** (degree - k)


def bezier_forward(points: Tensor, weights: Tensor, at: Tensor) -> tuple[Tensor, Any]:
    """sum B_i(t) w_i P_i / sum B_i(t) w_i."""
    p, w, t = wide((points, weights, at))
    share = bernstein(t, len(p) - 1)
    under = (share * w).sum(1, keepdim=True)
    curve = (share * w) @ p / under
    return curve.to(points.dtype), (p, w, t, share, under, curve, [x.dtype for x in (points, weights, at)])


def bezier_gradients(grad: Tensor, residuals: Any, normaliser: float) -> tuple[Tensor, ...]:
    p, w, t, share, under, curve, dtypes = residuals
    g = wide(grad) / under
    along = g @ p.T - (g * curve).sum(1, keepdim=True)  # g . (P_i - C)
    for_weights = g @ p.T - normaliser * (g * curve).sum(1, keepdim=True)
    lower = bernstein(t, len(p) - 2)
    none = torch.zeros_like(t)[:, None]
    slope = (len(p) - 1) * (torch.cat((none, lower), 1) - torch.cat((lower, none), 1))
    grads = ((share * w).T @ g, (share * for_weights).sum(0), (slope * w * along).sum(1))
    return as_dtypes(grads, dtypes)


def bezier_backward(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return bezier_gradients(grad, residuals, 1.0)


def bezier_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return bezier_gradients(grad, residuals, 0.0)


@in_wide
def bezier_reference(points: Tensor, weights: Tensor, at: Tensor) -> Tensor:
    t = at.reshape(-1, 1, 1)
    level = torch.cat((points * weights[:, None], weights[:, None]), 1).expand(len(at), -1, -1)
    while level.shape[1] > 1:
        level = (1 - t) * level[:, :-1] + t * level[:, 1:]
    return level[:, 0, :-1] / level[:, 0, -1:]


def bezier_inputs(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 4, 2), uniform(g, dtype, 4, low=0.5, high=2), uniform(g, dtype, 7)


def bezier_ends(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    at = leaf(torch.tensor([0.0, 1.0, 0.5, 1.25, -0.25], dtype=dtype))
    return normal(g, dtype, 3, 3), uniform(g, dtype, 3, low=1, high=2), at


def bezier_point(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 1, 2), uniform(g, dtype, 1, low=0.5), uniform(g, dtype, 3)


def bezier_none(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 3, 2), uniform(g, dtype, 3, low=0.5), uniform(g, dtype, 0)


rational_bezier = Operation(
    "rational_bezier",
    bezier_forward,
    bezier_backward,
    bezier_inputs,
    bezier_reference,
    mistakes=(
        Mistake(
            "missing-term",
            "the weights' gradient treats the sum of the weights as constant",
            bezier_wrong,
            also=("offset", "scale", "local", "unknown"),
            argument="weights",
        ),
    ),
    further={"ends": bezier_ends, "point": bezier_point, "none": bezier_none},
)

# ---------------------------------------------------------------- slopes of a monotone cubic


def slopes_forward(knots: Tensor, values: Tensor) -> tuple[Tensor, Any]:
    """Fritsch and Butland's slopes: weighted harmonic means of the secants, zero at turning points."""
    x, y = wide((knots, values))
    dtypes = (knots.dtype, values.dtype)
    if len(x) < 2:
        return torch.zeros_like(values), (x, y, None, None, dtypes)
    h = torch.where((x.diff() > 0).all(), x.diff(), torch.nan)
    secant = y.diff(dim=1) / h
    inner, same = harmonic(h, secant)[:2]
    inner = torch.where(same | h.isnan().any(), inner, 0)
    out = torch.cat((secant[:, :1], inner, secant[:, -1:]), 1)
    return out.to(values.dtype), (x, y, h, secant, dtypes)


def harmonic(h: Tensor, secant: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The mean, whether the two secants agree in sign, the sum of weights, the secants (1 for 0)."""
    first, second = secant[:, :-1], secant[:, 1:]
    same = first.sign() * second.sign() > 0
    w1, w2 = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    flat = (first == 0) | (second == 0)
    a, b = torch.where(flat, 1, first), torch.where(flat, 1, second)
    return (w1 + w2) / (w1 / a + w2 / b), same, w1 + w2, a, b


def slopes_gradients(grad: Tensor, residuals: Any, everywhere: bool) -> tuple[Tensor, ...]:
    x, y, h, secant, dtypes = residuals
    if h is None:
        return as_dtypes((torch.zeros_like(x), torch.zeros_like(y)), dtypes)
    g = wide(grad)
    d, same, total, a, b = harmonic(h, secant)
    used = (secant[:, :-1] * secant[:, 1:] != 0) if everywhere else same
    gi = torch.where(used, g[:, 1:-1], 0)
    d = torch.where(used, d, 1)
    w1, w2 = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    g_secant = torch.zeros_like(secant)
    g_secant[:, 0] += g[:, 0]
    g_secant[:, -1] += g[:, -1]
    g_secant[:, :-1] += gi * (d / a) ** 2 * w1 / total
    g_secant[:, 1:] += gi * (d / b) ** 2 * w2 / total
    gw1, gw2 = (gi * d * (1 - d / a) / total).sum(0), (gi * d * (1 - d / b) / total).sum(0)
    gh = -(g_secant * secant / h).sum(0)
    gh[:-1] += gw1 + 2 * gw2
    gh[1:] += 2 * gw1 + gw2
    gy, gx = torch.zeros_like(y), torch.zeros_like(x)
    gy[:, 1:] += g_secant / h
    gy[:, :-1] -= g_secant / h
    gx[1:] += gh
    gx[:-1] -= gh
    return as_dtypes((gx, gy), dtypes)


def slopes_backward(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return slopes_gradients(grad, residuals, False)


def slopes_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return slopes_gradients(grad, residuals, True)


@in_wide
def slopes_reference(knots: Tensor, values: Tensor) -> Tensor:
    if len(knots) < 2:
        return values * 0
    h = knots[1:] - knots[:-1]
    secant = (values[:, 1:] - values[:, :-1]) / h
    inner = []
    for k in range(1, len(knots) - 1):
        w1, w2 = 2 * h[k] + h[k - 1], h[k] + 2 * h[k - 1]
        a, b = secant[:, k - 1], secant[:, k]
        turns = a * b <= 0
        mean = (w1 + w2) * a * b / (w1 * b + w2 * a).masked_fill(turns, 1.0)
        inner.append(torch.where(turns, torch.zeros_like(a), mean))
    return torch.stack((secant[:, 0], *inner, secant[:, -1]), 1)


def rising(g: Generator, dtype: torch.dtype, count: int) -> Tensor:
    return leaf(uniform(g, dtype, count, low=0.5, high=1.5).cumsum(0).to(dtype))


def slopes_rising(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return rising(g, dtype, 7), leaf(uniform(g, dtype, 3, 7, low=0.25, high=2).cumsum(1).to(dtype))


def slopes_any(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return rising(g, dtype, 8), normal(g, dtype, 4, 8)


def slopes_flat(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return rising(g, dtype, 6), leaf(normal(g, dtype, 3, 6).round())


def slopes_two(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return rising(g, dtype, 2), normal(g, dtype, 3, 2)


def slopes_no_rows(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return rising(g, dtype, 4), normal(g, dtype, 0, 4)


monotone_slopes = Operation(
    "monotone_slopes",
    slopes_forward,
    slopes_backward,
    slopes_rising,
    slopes_reference,
    mistakes=(
        Mistake(
            "region",
            "turning points, with a slope of zero, still pass on the harmonic mean's gradient",
            slopes_wrong,
            also=("local", "missing-factor", "scale", "unknown"),
            argument="values",
            hidden=slopes_rising,
        ),
    ),
    further={"any": slopes_any, "flat": slopes_flat, "two": slopes_two, "no_rows": slopes_no_rows},
)

# ---------------------------------------------------------------- a robot by Denavit and Hartenberg


def links(angle: Tensor, offset: Tensor, length: Tensor, twist: Tensor, turned: bool, tilted: bool) -> Tensor:
    """Link matrices (..., 4, 4); with the derivative of the turn or of the tilt in place of it."""
    c, s = (-angle.sin(), angle.cos()) if turned else (angle.cos(), angle.sin())
    k, m = (-twist.sin(), twist.cos()) if tilted else (twist.cos(), twist.sin())
    o = torch.zeros_like(angle)
    one = o if turned or tilted else torch.ones_like(angle)
    x, y = (o, o) if tilted else (c, s)
    z = o if turned or tilted else offset
    third = (o, o, o, o) if turned else (o, m, k, z)
    along = length
    rows = (o if tilted else c, -s * k, s * m, along * x), (o if tilted else s, c * k, -c * m, along * y)
    return torch.stack([torch.stack(row, -1) for row in (*rows, third, (o, o, o, one))], -2)


def arm_forward(angle: Tensor, offset: Tensor, length: Tensor, twist: Tensor) -> tuple[Any, Any]:
    """Position (B, 3) and rotation (B, 3, 3) of the hand of an arm with joints (B, J)."""
    a, d, r, t = wide((angle, offset, length, twist))
    steps = links(a, d, r, t, False, False)
    pose = torch.eye(4, dtype=a.dtype).expand(len(a), 4, 4)
    before = []
    for j in range(a.shape[1]):
        before.append(pose)
        pose = pose @ steps[:, j]
    dtypes = [x.dtype for x in (angle, offset, length, twist)]
    out = (pose[:, :3, 3].to(angle.dtype), pose[:, :3, :3].to(angle.dtype))
    return out, (a, d, r, t, steps, before, dtypes)


def arm_backward(grads: Any, residuals: Any) -> tuple[Tensor, ...]:
    a, d, r, t, steps, before, dtypes = residuals
    g_position, g_rotation = wide(tuple(grads))
    upper = torch.cat((g_rotation, g_position[..., None]), 2)
    g = torch.cat((upper, torch.zeros_like(upper[:, :1])), 1)
    each = []
    for j in range(a.shape[1] - 1, -1, -1):
        each.append(before[j].mT @ g)
        g = g @ steps[:, j].mT
    if not each:
        return as_dtypes((torch.zeros_like(a),) * 4, dtypes)
    g = torch.stack(each[::-1], 1)
    g_angle = (g * links(a, d, r, t, True, False)).sum((-2, -1))
    g_twist = (g * links(a, d, r, t, False, True)).sum((-2, -1))
    g_length = g[..., 0, 3] * a.cos() + g[..., 1, 3] * a.sin()
    return as_dtypes((g_angle, g[..., 2, 3], g_length, g_twist), dtypes)


def arm_wrong(grads: Any, residuals: Any) -> tuple[Tensor, ...]:
    angle, offset, length, twist = arm_backward(grads, residuals)
    return angle, length, offset, twist


@in_wide
def arm_reference(angle: Tensor, offset: Tensor, length: Tensor, twist: Tensor) -> tuple[Tensor, Tensor]:
    nothing = 0 * (angle + offset + length + twist).sum(1)[:, None, None]
    turn = torch.eye(3, dtype=angle.dtype) + nothing
    place = nothing[:, 0].expand(-1, 3)
    for j in range(angle.shape[1]):
        place = place + turn[:, :, 2] * offset[:, j, None]
        x = turn[:, :, 0] * angle[:, j, None].cos() + turn[:, :, 1] * angle[:, j, None].sin()
        y = turn[:, :, 1] * angle[:, j, None].cos() - turn[:, :, 0] * angle[:, j, None].sin()
        z = turn[:, :, 2]
        place = place + x * length[:, j, None]
        c, s = twist[:, j, None].cos(), twist[:, j, None].sin()
        turn = torch.stack((x, y * c + z * s, z * c - y * s), 2)
    return place, turn


def arm_inputs(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return tuple(normal(g, dtype, 3, 4) for _ in range(4))


def arm_one_joint(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return tuple(normal(g, dtype, 2, 1) for _ in range(4))


def arm_straight(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return tuple(leaf(torch.zeros(2, 3, dtype=dtype)) for _ in range(4))


def arm_no_joints(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return tuple(normal(g, dtype, 2, 0) for _ in range(4))


def arm_view(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return tuple(leaf(normal(g, dtype, 3, 2).T) for _ in range(4))


serial_arm = Operation(
    "serial_arm",
    arm_forward,
    arm_backward,
    arm_inputs,
    arm_reference,
    mistakes=(
        Mistake(
            "permuted",
            "the gradients of link offset and link length are returned in each other's place",
            arm_wrong,
            also=("unknown", "local", "transpose"),
            argument="offset",
        ),
    ),
    further={
        "one_joint": arm_one_joint,
        "straight": arm_straight,
        "no_joints": arm_no_joints,
        "view": arm_view,
    },
)

# ---------------------------------------------------------------- Gramian of a linear system


def gramian_forward(dynamics: Tensor, noise: Tensor) -> tuple[Tensor, Any]:
    """P with P = A P A' + Q."""
    a, q = wide((dynamics, noise))
    n = len(a)
    p = torch.linalg.solve(torch.eye(n * n, dtype=a.dtype) - torch.kron(a, a), q.reshape(-1)).reshape(n, n)
    return p.to(dynamics.dtype), (a, p, dynamics.dtype, noise.dtype)


def gramian_gradients(grad: Tensor, residuals: Any, b: Tensor) -> tuple[Tensor, ...]:
    """Solves S = b S b' + G first."""
    a, p, *dtypes = residuals
    n = len(a)
    s = torch.linalg.solve(
        torch.eye(n * n, dtype=a.dtype) - torch.kron(b, b), wide(grad).reshape(-1)
    ).reshape(n, n)
    return as_dtypes((s @ a @ p.T + s.T @ a @ p, s), dtypes)


def gramian_backward(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return gramian_gradients(grad, residuals, residuals[0].T.contiguous())


def gramian_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return gramian_gradients(grad, residuals, residuals[0])


def gramian_inputs(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return uniform(g, dtype, 4, 4, low=-0.4, high=0.4), normal(g, dtype, 4, 4)


def gramian_symmetric(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    q = normal(g, dtype, 3, 3, grad=False)
    return uniform(g, dtype, 3, 3, low=-0.4, high=0.4), leaf(q + q.T)


def gramian_one(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return uniform(g, dtype, 1, 1, low=-0.8, high=0.8), normal(g, dtype, 1, 1)


def gramian_still(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return leaf(torch.zeros(3, 3, dtype=dtype)), leaf(normal(g, dtype, 3, 3).T)


system_gramian = Operation(
    "system_gramian",
    gramian_forward,
    gramian_backward,
    gramian_inputs,
    mistakes=(
        Mistake(
            "transpose",
            "the adjoint equation is solved with A where it takes A transposed",
            gramian_wrong,
            also=("unknown", "local", "scale"),
            argument="dynamics",
        ),
    ),
    further={"symmetric": gramian_symmetric, "one": gramian_one, "still": gramian_still},
    dtypes=DOUBLE,
)

# ---------------------------------------------------------------- power fed into a network


def pair_of(dtype: torch.dtype) -> torch.dtype:
    return torch.complex64 if dtype == torch.float32 else torch.complex128


def complex_normal(g: Generator, dtype: torch.dtype, *shape: int) -> Tensor:
    return leaf(torch.complex(normal(g, dtype, *shape, grad=False), normal(g, dtype, *shape, grad=False)))


def injection_forward(voltage: Tensor, admittance: Tensor) -> tuple[Tensor, Any]:
    """S = V conj(Y V) for rows of bus voltages (B, n)."""
    current = voltage @ admittance.T
    return voltage * current.conj(), (voltage, admittance, current)


def injection_gradients(grad: Tensor, residuals: Any, conjugate: bool) -> tuple[Tensor, Tensor]:
    v, y, current = residuals
    g_current = grad.conj() * v
    return grad * current + g_current @ (y.conj() if conjugate else y), g_current.T @ v.conj()


def injection_backward(grad: Tensor, residuals: Any) -> tuple[Tensor, Tensor]:
    return injection_gradients(grad, residuals, True)


def injection_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor, Tensor]:
    return injection_gradients(grad, residuals, False)


def injection_reference(voltage: Tensor, admittance: Tensor) -> Tensor:
    return torch.einsum("bi,ij,bj->bi", voltage, admittance.conj(), voltage.conj())


def injection_inputs(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return complex_normal(g, dtype, 3, 4), complex_normal(g, dtype, 4, 4)


def injection_one_bus(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return complex_normal(g, dtype, 2, 1), complex_normal(g, dtype, 1, 1)


def injection_view(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return leaf(complex_normal(g, dtype, 3, 5).T), leaf(
        complex_normal(g, dtype, 3, 6)[:, ::2].conj().resolve_conj()
    )


def injection_none(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return leaf(torch.zeros(0, 3, dtype=pair_of(dtype))), complex_normal(g, dtype, 3, 3)


power_injection = Operation(
    "power_injection",
    injection_forward,
    injection_backward,
    injection_inputs,
    injection_reference,
    mistakes=(
        Mistake(
            "sign",
            "the voltage's gradient multiplies the admittance without conjugating it",
            injection_wrong,
            also=("unknown", "transpose", "region", "local", "missing-term"),
            argument="voltage",
        ),
    ),
    further={"one_bus": injection_one_bus, "view": injection_view, "none": injection_none},
    dtypes=DOUBLE,
)

# ---------------------------------------------------------------- resonances that interfere


def resonance_forward(square: Tensor, couplings: Tensor, mass: Tensor, width: Tensor) -> tuple[Tensor, Any]:
    """|sum_r c_r / (m_r^2 - s - i m_r w_r)|^2 at squared energies s (N,)."""
    below = torch.complex(mass**2 - square[:, None], (-mass * width).expand(len(square), -1))
    amplitude = (couplings / below).sum(1)
    out = amplitude.real**2 + amplitude.imag**2
    return out, (couplings, mass, width, below, amplitude)


def resonance_gradients(grad: Tensor, residuals: Any, through_width: bool) -> tuple[Tensor, ...]:
    couplings, mass, width, below, amplitude = residuals
    ga = (2 * grad * amplitude)[:, None]
    g_couplings = (ga / below.conj()).sum(0)
    g_below = -ga * (couplings / below**2).conj()
    g_mass = 2 * mass * g_below.real.sum(0)
    if through_width:
        g_mass = g_mass - width * g_below.imag.sum(0)
    return -g_below.real.sum(1), g_couplings, g_mass, -mass * g_below.imag.sum(0)


def resonance_backward(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return resonance_gradients(grad, residuals, True)


def resonance_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return resonance_gradients(grad, residuals, False)


def resonance_reference(square: Tensor, couplings: Tensor, mass: Tensor, width: Tensor) -> Tensor:
    total = torch.zeros(len(square), dtype=couplings.dtype)
    for r in range(len(mass)):
        total = total + couplings[r] / (mass[r] ** 2 - square - 1j * mass[r] * width[r])
    return (total * total.conj()).real


def resonance_inputs(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    mass = uniform(g, dtype, 3, low=0.7, high=1.5)
    return uniform(g, dtype, 6, high=3), complex_normal(g, dtype, 3), mass, uniform(g, dtype, 3, low=0.2)


def resonance_peak(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    mass = leaf(torch.tensor([1.0, 1.0], dtype=dtype))
    return leaf(torch.ones(3, dtype=dtype)), complex_normal(g, dtype, 2), mass, uniform(g, dtype, 2, low=0.2)


def resonance_one(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return (
        uniform(g, dtype, 1),
        complex_normal(g, dtype, 1),
        uniform(g, dtype, 1, low=2, high=3),
        normal(g, dtype, 1),
    )


def resonance_none(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 0), complex_normal(g, dtype, 2), uniform(g, dtype, 2, low=1), uniform(g, dtype, 2)


resonance_intensity = Operation(
    "resonance_intensity",
    resonance_forward,
    resonance_backward,
    resonance_inputs,
    resonance_reference,
    mistakes=(
        Mistake(
            "missing-term",
            "the mass's gradient leaves out the mass that multiplies the width",
            resonance_wrong,
            also=("scale", "local", "unknown"),
            argument="mass",
        ),
    ),
    further={"peak": resonance_peak, "one": resonance_one, "none": resonance_none},
    dtypes=DOUBLE,
)

OPERATIONS = (
    rational_bezier,
    monotone_slopes,
    serial_arm,
    system_gramian,
    power_injection,
    resonance_intensity,
)
