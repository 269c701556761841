"""Mechanics, electrostatics, quantum mechanics, radiation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torch_ext.corpus._entry import Mistake, Operation, normal, uniform, wide

from ._common import positive_or_nan, strided, sum_to
from .signals import complex_normal

# ---------------------------------------------------------------- verlet_pendulum


def _verlet_reference(
    q: Tensor, p: Tensor, stiffness: Tensor, dt: float = 0.2, steps: int = 5
) -> tuple[Tensor, Tensor]:
    q, p = q + 0, p + 0  # never the inputs themselves, not even for no steps
    for _ in range(steps):
        p = p - dt / 2 * stiffness * q.sin()
        q = q + dt * p
        p = p - dt / 2 * stiffness * q.sin()
    return q, p


def _verlet_forward(
    q: Tensor, p: Tensor, stiffness: Tensor, dt: float = 0.2, steps: int = 5
) -> tuple[tuple[Tensor, Tensor], Any]:
    q, p = q + 0, p + 0
    places = [q]
    for _ in range(steps):
        p = p - dt / 2 * stiffness * q.sin()
        q = q + dt * p
        p = p - dt / 2 * stiffness * q.sin()
        places.append(q)
    return (q.clone(), p), (places, stiffness, dt)


def _verlet_gradients(grads: Any, residuals: Any, stale: bool) -> tuple[Tensor | None, ...]:
    places, stiffness, dt = residuals
    gq, gp = grads
    gk = torch.zeros_like(gq)
    for t in range(len(places) - 1, 0, -1):
        before, after = places[t - 1], places[t]
        gk = gk - dt / 2 * gp * after.sin()
        gq = gq - dt / 2 * stiffness * (before if stale else after).cos() * gp
        gp = gp + dt * gq
        gk = gk - dt / 2 * gp * before.sin()
        gq = gq - dt / 2 * stiffness * before.cos() * gp
    return gq, gp, sum_to(gk, stiffness.shape), None, None


def _verlet_backward(grads: Any, residuals: Any) -> tuple[Tensor | None, ...]:
    return _verlet_gradients(grads, residuals, False)


def _verlet_wrong(grads: Any, residuals: Any) -> tuple[Tensor | None, ...]:
    return _verlet_gradients(grads, residuals, True)


def _pendulums(g: torch.Generator, d: torch.dtype, *shape: int) -> tuple[Tensor, Tensor, Tensor]:
    return normal(g, d, *shape), normal(g, d, *shape), uniform(g, d, shape[-1], low=0.5, high=2.0)


verlet_pendulum = Operation(
    "verlet_pendulum",
    _verlet_forward,
    _verlet_backward,
    lambda g, d: (*_pendulums(g, d, 3, 4), 0.2, 5),
    reference=_verlet_reference,
    mistakes=(
        Mistake(
            "unknown",
            "the second half kick is differentiated at the position before the step",
            backward=_verlet_wrong,
            argument="q",
            also=("missing-factor", "region", "scale", "local", "missing-term"),
            dtypes=("float64", "float32"),
        ),
    ),
    further={
        "no_steps": lambda g, d: (*_pendulums(g, d, 2, 3), 0.2, 0),
        "one_stiffness": lambda g, d: (normal(g, d, 2, 3), normal(g, d, 2, 3), uniform(g, d), 0.1, 3),
        "one_pendulum": lambda g, d: (*_pendulums(g, d, 4, 1), 0.3, 4),
        "empty": lambda g, d: (*_pendulums(g, d, 0, 3), 0.2, 2),
    },
    dtypes=("float64", "float32"),
)

# ---------------------------------------------------------------- periodic_coulomb


def _pairs(x: Tensor) -> Tensor:
    return x.unsqueeze(-2) - x.unsqueeze(-3)


def _upper(x: Tensor) -> Tensor:
    n = x.shape[-2]
    return torch.ones(n, n, dtype=torch.bool, device=x.device).triu(1)


def _coulomb_reference(x: Tensor, charge: Tensor, box: Tensor, soft: float = 0.3) -> Tensor:
    box = positive_or_nan(box)
    r = _pairs(x)
    d = r - box * (r.detach() / box.detach()).round()
    energy = charge.unsqueeze(-1) * charge.unsqueeze(-2) / (d.pow(2).sum(-1) + soft**2).sqrt()
    total = torch.where(_upper(x), energy, 0.0).sum((-2, -1))
    return total + 0 * box.sum()  # NaN without a box, also for no pairs


def _coulomb_forward(x: Tensor, charge: Tensor, box: Tensor, soft: float = 0.3) -> tuple[Tensor, Any]:
    return _coulomb_reference(x, charge, box, soft), (x, charge, box, soft)


def _coulomb_gradients(grad: Tensor, residuals: Any, wrapped: bool) -> tuple[Tensor | None, ...]:
    x, charge, box, soft = residuals
    r = _pairs(x)
    turns = (r / box).round()
    d = r - box * turns
    inverse = torch.where(_upper(x), (d.pow(2).sum(-1) + soft**2).rsqrt(), 0.0)
    g = grad[..., None, None]
    by_product = g * inverse
    both = by_product + by_product.mT
    g_charge = (both * charge.unsqueeze(-2)).sum(-1)
    factor = (-g * charge.unsqueeze(-1) * charge.unsqueeze(-2) * inverse**3).unsqueeze(-1)
    g_box = -factor * d * turns
    force = factor * (d if wrapped else r)
    return force.sum(-2) - force.sum(-3), sum_to(g_charge, charge.shape), sum_to(g_box, box.shape), None


def _coulomb_backward(grad: Tensor, residuals: Any) -> tuple[Tensor | None, ...]:
    return _coulomb_gradients(grad, residuals, True)


def _coulomb_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor | None, ...]:
    return _coulomb_gradients(grad, residuals, False)


def _box(g: torch.Generator, d: torch.dtype) -> Tensor:
    return uniform(g, d, 3, low=4.0, high=5.0)


def _cluster(g: torch.Generator, d: torch.dtype) -> tuple[Any, ...]:
    return uniform(g, d, 2, 6, 3, low=0.0, high=1.8), normal(g, d, 6), _box(g, d), 0.3


def _across(g: torch.Generator, d: torch.dtype) -> tuple[Any, ...]:
    return uniform(g, d, 2, 6, 3, low=0.0, high=4.0), normal(g, d, 6), _box(g, d), 0.3


periodic_coulomb = Operation(
    "periodic_coulomb",
    _coulomb_forward,
    _coulomb_backward,
    _cluster,
    reference=_coulomb_reference,
    mistakes=(
        Mistake(
            "region",
            "the force takes the plain difference, not the one to the nearest image",
            backward=_coulomb_wrong,
            argument="x",
            also=("unknown", "missing-term", "local", "offset"),
            hidden=_cluster,
            dtypes=("float64", "float32"),
        ),
    ),
    further={
        "across_the_box": _across,
        "same_place": lambda g, d: (
            torch.ones(3, 3, dtype=d, requires_grad=True),
            normal(g, d, 3),
            _box(g, d),
            0.5,
        ),
        "one_particle": lambda g, d: (normal(g, d, 2, 1, 3), normal(g, d, 1), _box(g, d), 0.3),
        "charges_for_each": lambda g, d: (normal(g, d, 2, 4, 3), normal(g, d, 2, 4), _box(g, d), 0.3),
    },
    dtypes=("float64", "float32"),
)

# ---------------------------------------------------------------- rayleigh_quotient


def _rayleigh_reference(psi: Tensor, h: Tensor) -> Tensor:
    h_psi = (h @ psi.unsqueeze(-1)).squeeze(-1)
    above = (psi.conj() * h_psi).real.sum(-1)
    return above / (psi.real**2 + psi.imag**2).sum(-1)


def _rayleigh_forward(psi: Tensor, h: Tensor) -> tuple[Tensor, Any]:
    energy = _rayleigh_reference(psi, h)
    return energy, (psi, h, energy)


def _rayleigh_gradients(grad: Tensor, residuals: Any, normalised: bool) -> tuple[Tensor, ...]:
    psi, h, energy = residuals
    below = (psi.real**2 + psi.imag**2).sum(-1, keepdim=True)
    scaled = psi * (grad.unsqueeze(-1) / below)
    g_psi = ((h + h.mH) @ scaled.unsqueeze(-1)).squeeze(-1)
    if normalised:
        g_psi = g_psi - 2 * energy.unsqueeze(-1) * scaled
    g_h = scaled.unsqueeze(-1) * psi.conj().unsqueeze(-2)
    return g_psi, sum_to(g_h, h.shape)


def _rayleigh_backward(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return _rayleigh_gradients(grad, residuals, True)


def _rayleigh_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return _rayleigh_gradients(grad, residuals, False)


def _hermitian(g: torch.Generator, d: torch.dtype, n: int) -> Tensor:
    h = complex_normal(g, d, n, n).detach()
    return (h + h.mH).requires_grad_()


rayleigh_quotient = Operation(
    "rayleigh_quotient",
    _rayleigh_forward,
    _rayleigh_backward,
    lambda g, d: (complex_normal(g, d, 4, 5), _hermitian(g, d, 5)),
    reference=_rayleigh_reference,
    mistakes=(
        Mistake(
            "missing-term",
            "the norm of the state is treated as a constant",
            backward=_rayleigh_wrong,
            argument="psi",
            also=("unknown",),
            dtypes=("float64", "float32"),
        ),
    ),
    further={
        "not_hermitian": lambda g, d: (complex_normal(g, d, 3, 4), complex_normal(g, d, 4, 4)),
        "operator_for_each": lambda g, d: (complex_normal(g, d, 3, 4), complex_normal(g, d, 3, 4, 4)),
        "one_state": lambda g, d: (complex_normal(g, d, 1, 4), complex_normal(g, d, 4, 4)),
        "view": lambda g, d: (strided(complex_normal(g, d, 3, 4)), strided(complex_normal(g, d, 4, 4))),
    },
    dtypes=("float64", "float32"),
)

# ---------------------------------------------------------------- planck_radiance


def _planck_reference(frequency: Tensor, temperature: Tensor) -> Tensor:
    f, t = positive_or_nan(wide(frequency)), positive_or_nan(wide(temperature))
    x = f / t
    return (f**3 * (-x).exp() / -torch.expm1(-x)).to(torch.result_type(frequency, temperature))


def _planck_forward(frequency: Tensor, temperature: Tensor) -> tuple[Tensor, Any]:
    return _planck_reference(frequency, temperature), (frequency, temperature)


def _planck_gradients(grad: Tensor, residuals: Any, inner: bool) -> tuple[Tensor, ...]:
    frequency, temperature = residuals
    f, t = wide(frequency), wide(temperature)
    x = f / t
    rest = -torch.expm1(-x)  # 1 - exp(-x)
    occupied = (-x).exp() / rest
    g = wide(grad)
    g_f = g * f * f * occupied * (3 - x / rest)
    g_t = g * f**3 * occupied / rest / t * (x if inner else 1 / t)
    return (
        sum_to(g_f, frequency.shape).to(frequency.dtype),
        sum_to(g_t, temperature.shape).to(temperature.dtype),
    )


def _planck_backward(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return _planck_gradients(grad, residuals, True)


def _planck_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return _planck_gradients(grad, residuals, False)


def _bands(g: torch.Generator, d: torch.dtype, *shape: int) -> Tensor:
    return uniform(g, d, *shape, low=0.3, high=4.0)


def _warmth(g: torch.Generator, d: torch.dtype, *shape: int) -> Tensor:
    return uniform(g, d, *shape, low=0.5, high=2.0)


planck_radiance = Operation(
    "planck_radiance",
    _planck_forward,
    _planck_backward,
    lambda g, d: (_bands(g, d, 8), _warmth(g, d, 5, 1)),
    reference=_planck_reference,
    mistakes=(
        Mistake(
            "missing-factor",
            "the inner derivative of frequency / temperature by the temperature lacks the frequency",
            backward=_planck_wrong,
            argument="temperature",
            also=("unknown",),
        ),
    ),
    further={
        "same_shape": lambda g, d: (_bands(g, d, 3, 4), _warmth(g, d, 3, 4)),
        "cold": lambda g, d: (_bands(g, d, 6), uniform(g, d, 2, 1, low=0.005, high=0.02)),
        "one_temperature": lambda g, d: (strided(_bands(g, d, 3, 5)), _warmth(g, d)),
        "empty": lambda g, d: (_bands(g, d, 4), _warmth(g, d, 0, 1)),
    },
)

OPERATIONS = (verlet_pendulum, periodic_coulomb, rayleigh_quotient, planck_radiance)
