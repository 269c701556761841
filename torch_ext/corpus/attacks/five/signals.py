"""Signal processing and audio."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torch_ext.corpus._entry import Mistake, Operation, normal, uniform, wide

from ._common import positive_or_nan, strided, sum_to

# ---------------------------------------------------------------- biquad_filter


def _delay(x: Tensor, n: int) -> Tensor:
    """x[..., t - n], zero before the start."""
    return torch.nn.functional.pad(x, (n, 0))[..., : x.shape[-1]]


def _advance(x: Tensor, n: int) -> Tensor:
    """x[..., t + n], zero after the end."""
    return torch.nn.functional.pad(x, (0, n))[..., n:]


def _biquad_reference(x: Tensor, b: Tensor, a: Tensor) -> Tensor:
    driven = b[0] * x + b[1] * _delay(x, 1) + b[2] * _delay(x, 2)
    y1 = y2 = x.new_zeros(x.shape[:-1])
    out = []
    for t in range(x.shape[-1]):
        y = driven[..., t] - a[0] * y1 - a[1] * y2
        out.append(y)
        y1, y2 = y, y1
    return torch.stack(out, -1) if out else driven


def _biquad_forward(x: Tensor, b: Tensor, a: Tensor) -> tuple[Tensor, Any]:
    y = _biquad_reference(x, b, a)
    return y, (x, b, a, y)


def _biquad_gradients(grad: Tensor, residuals: Any, second: int) -> tuple[Tensor, ...]:
    x, b, a, y = residuals
    later1 = later2 = grad.new_zeros(grad.shape[:-1])
    steps = []
    for t in range(grad.shape[-1] - 1, -1, -1):
        now = grad[..., t] - a[0] * later1 - a[1] * later2
        steps.append(now)
        later1, later2 = now, later1
    adjoint = torch.stack(steps[::-1], -1) if steps else grad
    gx = b[0] * adjoint + b[1] * _advance(adjoint, 1) + b[2] * _advance(adjoint, 2)
    gb = torch.stack([(adjoint * _delay(x, n)).sum() for n in range(3)])
    ga = -torch.stack([(adjoint * _delay(y, n)).sum() for n in (1, second)])
    return gx, gb, ga


def _biquad_backward(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return _biquad_gradients(grad, residuals, 2)


def _biquad_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return _biquad_gradients(grad, residuals, 1)


def _biquad_coefficients(g: torch.Generator, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return normal(g, dtype, 3), uniform(g, dtype, 2, low=-0.45, high=0.45)


biquad_filter = Operation(
    "biquad_filter",
    _biquad_forward,
    _biquad_backward,
    lambda g, d: (normal(g, d, 3, 12), *_biquad_coefficients(g, d)),
    reference=_biquad_reference,
    mistakes=(
        Mistake(
            "local",
            "the gradient of the second feedback coefficient reads the output one step ago, not two",
            backward=_biquad_wrong,
            argument="a",
            also=("unknown",),
            dtypes=("float64", "float32"),
        ),
    ),
    further={
        "one_sample": lambda g, d: (normal(g, d, 4, 1), *_biquad_coefficients(g, d)),
        "no_batch": lambda g, d: (normal(g, d, 9), *_biquad_coefficients(g, d)),
        "view": lambda g, d: (strided(normal(g, d, 2, 7)), *_biquad_coefficients(g, d)),
        "empty": lambda g, d: (normal(g, d, 2, 0), *_biquad_coefficients(g, d)),
    },
    dtypes=("float64", "float32"),
)

# ---------------------------------------------------------------- envelope_follower


def _envelope_states(x: Tensor, attack: Tensor, release: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The states with the initial zero in front, and where the level rises."""
    states, rising = [x.new_zeros(x.shape[:-1])], []
    for t in range(x.shape[-1]):
        level, before = x[..., t].abs(), states[-1]
        rising.append(level > before)
        c = torch.where(rising[-1], attack, release)
        states.append(c * before + (1 - c) * level)
    return states, rising


def _envelope_reference(x: Tensor, attack: Tensor, release: Tensor) -> Tensor:
    states, _ = _envelope_states(wide(x), wide(attack), wide(release))
    return torch.stack(states[1:], -1).to(x.dtype) if len(states) > 1 else x.abs()


def _envelope_forward(x: Tensor, attack: Tensor, release: Tensor) -> tuple[Tensor, Any]:
    states, rising = _envelope_states(wide(x), wide(attack), wide(release))
    y = torch.stack(states[1:], -1).to(x.dtype) if len(states) > 1 else x.abs()
    return y, (x, attack, release, states, rising)


def _envelope_gradients(grad: Tensor, residuals: Any, signed: bool) -> tuple[Tensor, ...]:
    x, attack, release, states, rising = residuals
    w, up, down = wide(grad), wide(attack), wide(release)
    level = wide(x).abs()
    carried = torch.zeros_like(states[0])
    g_up, g_down = torch.zeros_like(up), torch.zeros_like(down)
    steps = []
    for t in range(x.shape[-1] - 1, -1, -1):
        total = w[..., t] + carried
        c = torch.where(rising[t], up, down)
        by_c = total * (states[t] - level[..., t])
        g_up = g_up + torch.where(rising[t], by_c, 0.0).sum()
        g_down = g_down + torch.where(rising[t], 0.0, by_c).sum()
        steps.append(total * (1 - c))
        carried = total * c
    gx = torch.stack(steps[::-1], -1) if steps else w
    if signed:
        gx = gx * wide(x).sign()
    return gx.to(x.dtype), g_up.to(attack.dtype), g_down.to(release.dtype)


def _envelope_backward(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return _envelope_gradients(grad, residuals, True)


def _envelope_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return _envelope_gradients(grad, residuals, False)


def _times(g: torch.Generator, d: torch.dtype) -> tuple[Tensor, Tensor]:
    return uniform(g, d, low=0.1, high=0.4), uniform(g, d, low=0.6, high=0.95)


def _rectified(g: torch.Generator, d: torch.dtype) -> tuple[Any, ...]:
    return (uniform(g, d, 3, 10, low=0.1, high=2.0), *_times(g, d))


envelope_follower = Operation(
    "envelope_follower",
    _envelope_forward,
    _envelope_backward,
    _rectified,
    reference=_envelope_reference,
    mistakes=(
        Mistake(
            "sign",
            "the rectifier's sign is left out, so negative samples get the wrong sign",
            backward=_envelope_wrong,
            argument="x",
            also=("region", "missing-factor"),
            hidden=_rectified,
        ),
    ),
    further={
        "both_signs": lambda g, d: (normal(g, d, 2, 8), *_times(g, d)),
        "silence": lambda g, d: (torch.zeros(2, 6, dtype=d, requires_grad=True), *_times(g, d)),
        "constant": lambda g, d: (torch.ones(2, 5, dtype=d, requires_grad=True), *_times(g, d)),
        "view": lambda g, d: (strided(normal(g, d, 3, 5)), *_times(g, d)),
    },
)

# ---------------------------------------------------------------- soft_knee_compressor


def _knee_reference(level: Tensor, threshold: Tensor, ratio: Tensor, knee: float = 6.0) -> Tensor:
    if knee <= 0:
        raise ValueError("knee must be positive")
    x, t, slope = wide(level), wide(threshold), 1 / positive_or_nan(wide(ratio))
    over = x - t
    inside = x + (slope - 1) * (over + knee / 2) ** 2 / (2 * knee)
    above = t + over * slope
    below = x + 0 * slope  # NaN where the ratio has none
    y = torch.where(2 * over > knee, above, torch.where(2 * over < -knee, below, inside))
    return y.to(level.dtype)


def _knee_forward(level: Tensor, threshold: Tensor, ratio: Tensor, knee: float = 6.0) -> tuple[Tensor, Any]:
    return _knee_reference(level, threshold, ratio, knee), (level, threshold, ratio, knee)


def _knee_gradients(grad: Tensor, residuals: Any, soft: bool) -> tuple[Tensor | None, ...]:
    level, threshold, ratio, knee = residuals
    w, slope = wide(grad), 1 / wide(ratio)
    over = wide(level) - wide(threshold)
    above, below = 2 * over > knee, 2 * over < -knee
    part = (over + knee / 2) / knee
    in_knee = (slope - 1) * part  # d output / d level - 1 inside the knee
    bend = torch.where(above, slope - 1, torch.where(below, 0.0, in_knee))
    by_slope = torch.where(above, over, torch.where(below, 0.0, part * part * (knee / 2)))
    g_level = w * (1 + bend) if soft else w * torch.where(over > 0, slope, 1.0)
    return (
        sum_to(g_level, level.shape).to(level.dtype),
        sum_to(-w * bend, threshold.shape).to(threshold.dtype),
        sum_to(-w * by_slope * slope * slope, ratio.shape).to(ratio.dtype),
        None,
    )


def _knee_backward(grad: Tensor, residuals: Any) -> tuple[Tensor | None, ...]:
    return _knee_gradients(grad, residuals, True)


def _knee_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor | None, ...]:
    return _knee_gradients(grad, residuals, False)


def _levels(g: torch.Generator, d: torch.dtype, b: int, c: int, t: int) -> tuple[Tensor, Tensor, Tensor]:
    return (
        uniform(g, d, b, c, t, low=-30.0, high=0.0),
        uniform(g, d, c, 1, low=-20.0, high=-10.0),
        uniform(g, d, c, 1, low=1.5, high=6.0),
    )


def _knee_scalar(g: torch.Generator, d: torch.dtype) -> tuple[Any, ...]:
    x = uniform(g, d, 4, 6, low=-30.0, high=0.0)
    return x, uniform(g, d, low=-20.0, high=-10.0), uniform(g, d, low=1.5, high=4.0), 10.0


soft_knee_compressor = Operation(
    "soft_knee_compressor",
    _knee_forward,
    _knee_backward,
    lambda g, d: (*_levels(g, d, 2, 3, 10), 6.0),
    reference=_knee_reference,
    mistakes=(
        Mistake(
            "region",
            "inside the knee the slope of a hard knee is used for the level",
            backward=_knee_wrong,
            argument="level",
            also=("missing-factor", "missing-term"),
        ),
    ),
    further={
        "scalar_threshold": _knee_scalar,
        "narrow_knee": lambda g, d: (*_levels(g, d, 2, 2, 6), 0.5),
        "one_channel": lambda g, d: (*_levels(g, d, 3, 1, 4), 6.0),
        "empty": lambda g, d: (*_levels(g, d, 0, 2, 4), 6.0),
    },
)

# ---------------------------------------------------------------- phase_correlation


def complex_normal(g: torch.Generator, d: torch.dtype, *shape: int) -> Tensor:
    return torch.complex(normal(g, d, *shape, grad=False), normal(g, d, *shape, grad=False)).requires_grad_()


def _phase_reference(z: Tensor, w: Tensor, eps: float = 0.1) -> Tensor:
    cross = z * w.conj()
    return cross / (cross.real**2 + cross.imag**2 + eps * eps).sqrt()


def _phase_forward(z: Tensor, w: Tensor, eps: float = 0.1) -> tuple[Tensor, Any]:
    cross = z * w.conj()
    scale = 1 / torch.hypot(cross.abs(), torch.full_like(cross.real, eps))
    out = cross * scale
    return out, (z, w, out, scale)


def _phase_cross(grad: Tensor, residuals: Any) -> Tensor:
    _, _, out, scale = residuals
    return scale * (grad - (grad.conj() * out).real * out)


def _phase_backward(grad: Tensor, residuals: Any) -> tuple[Tensor | None, ...]:
    z, w, _, _ = residuals
    cross = _phase_cross(grad, residuals)
    return sum_to(cross * w, z.shape), sum_to(cross.conj() * z, w.shape), None


def _phase_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor | None, ...]:
    z, w, _, _ = residuals
    cross = _phase_cross(grad, residuals)
    return sum_to(cross * w, z.shape), sum_to(cross * z.conj(), w.shape), None


phase_correlation = Operation(
    "phase_correlation",
    _phase_forward,
    _phase_backward,
    lambda g, d: (complex_normal(g, d, 2, 4, 7), complex_normal(g, d, 7), 0.1),
    reference=_phase_reference,
    mistakes=(
        Mistake(
            "sign",
            "the second spectrum enters conjugated, and its gradient is left unconjugated",
            backward=_phase_wrong,
            argument="w",
            also=("unknown", "local"),
            dtypes=("float64", "float32"),
        ),
    ),
    further={
        "same_shape": lambda g, d: (complex_normal(g, d, 3, 4), complex_normal(g, d, 3, 4), 1.0),
        "size_one": lambda g, d: (complex_normal(g, d, 3, 1, 5), complex_normal(g, d, 4, 1), 0.1),
        "view": lambda g, d: (strided(complex_normal(g, d, 3, 4)), complex_normal(g, d, 4), 0.2),
        "zeros": lambda g, d: (
            torch.zeros_like(complex_normal(g, d, 2, 3)).requires_grad_(),
            complex_normal(g, d, 3),
            0.1,
        ),
    },
    dtypes=("float64", "float32"),
)

# ---------------------------------------------------------------- spectral_flatness


def _flatness_reference(power: Tensor, eps: float = 1e-4) -> Tensor:
    p = wide(power) + eps
    return (p.log().mean(-2) - p.mean(-2).log()).to(power.dtype)


def _flatness_forward(power: Tensor, eps: float = 1e-4) -> tuple[Tensor, Any]:
    return _flatness_reference(power, eps), (power, eps)


def _flatness_backward(grad: Tensor, residuals: Any) -> tuple[Tensor | None, ...]:
    power, eps = residuals
    p = wide(power) + eps
    g = (wide(grad) / p.shape[-2]).unsqueeze(-2)
    return (g * (1 / p - 1 / p.mean(-2, keepdim=True))).to(power.dtype), None


def _flatness_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor | None, ...]:
    power, eps = residuals
    p = wide(power)
    g = (wide(grad) / p.shape[-2]).unsqueeze(-2)
    return (g * (1 / p - 1 / (p + eps).mean(-2, keepdim=True))).to(power.dtype), None


def _powers(g: torch.Generator, d: torch.dtype, *shape: int) -> Tensor:
    return uniform(g, d, *shape, low=0.02, high=2.0)


spectral_flatness = Operation(
    "spectral_flatness",
    _flatness_forward,
    _flatness_backward,
    lambda g, d: (_powers(g, d, 2, 9, 5), 1e-4),
    reference=_flatness_reference,
    mistakes=(
        Mistake(
            "missing-term",
            "the small number added to the power is left out of the logarithm's derivative",
            backward=_flatness_wrong,
            argument="power",
            also=("not-finite", "region", "unknown", "scale"),
        ),
    ),
    further={
        "one_band": lambda g, d: (_powers(g, d, 3, 1, 4), 1e-4),
        "silent_bands": lambda g, d: (torch.relu(normal(g, d, 6, 5, grad=False)).requires_grad_(), 0.01),
        "empty": lambda g, d: (_powers(g, d, 0, 4, 3), 1e-4),
        "view": lambda g, d: (_powers(g, d, 5, 7).detach().mT.requires_grad_(), 1e-3),
    },
)

OPERATIONS = (biquad_filter, envelope_follower, soft_knee_compressor, phase_correlation, spectral_flatness)
