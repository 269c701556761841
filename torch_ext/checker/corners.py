"""Where a gradient is hard to judge: kinks, poles, cancellation, low precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property

import numpy as np
import torch

from handgrad.checking import allowed, computational_noise, precision
from handgrad.checking.tolerances import DEVIATIONS, OWN, ROUNDED
from torch_ext.checker.arrays import Array, Cotangents, array, gradient_array, normal, tensor
from torch_ext.checker.exact import exact
from torch_ext.checker.probes import Probe
from torch_ext.checker.subject import Result, Subject, Variables
from torch_ext.checker.truth import Truth
from torch_ext.limits import Limit, Scale, magnitude

_DIRECTIONS = 8  # in which a point is moved to see its kinks
# relative steps of two unlike sizes, twice; and shorter ones where a small change already saturates
_STEPS = ((2.0**-22, 2.0**-30), (2.0**-22, 2.0**-30), (2.0**-36, 2.0**-43))


def around(truth: Truth, probe: Probe, wide: Cotangents, seed: int) -> list[dict[str, Array]]:
    """The gradients at this point, and at some very near it."""
    g = torch.Generator().manual_seed(seed)
    seen = [truth(probe.variables, wide, probe.constants, torch.float64)[1]]
    for _ in range(_DIRECTIONS):
        step = {n: 1e-9 * (1 + v.abs()) * normal(v, g) for n, v in probe.variables.items()}
        for side in (1, -1):
            moved = {n: v + side * step[n] for n, v in probe.variables.items()}
            try:
                seen.append(truth(moved, wide, probe.constants, torch.float64)[1])
            except Exception:
                continue
    return seen


class Beside:
    """What is computed once for all gradients of a pass, where one of them is in doubt."""

    def __init__(
        self,
        truth: Truth,
        probe: Probe,
        wide: Cotangents,
        seed: int,
        gradients: Callable[[Variables], dict[str, Array | None]],
    ) -> None:
        self.truth, self.probe, self.wide, self.seed, self.gradients = truth, probe, wide, seed, gradients

    @cached_property
    def around(self) -> list[dict[str, Array]]:
        return around(self.truth, self.probe, self.wide, self.seed)

    @cached_property
    def jitter(self) -> dict[str, float]:
        return own_jitter(self.gradients, self.probe, self.seed)

    @cached_property
    def approximations(self) -> dict[str, Array]:
        return approximations(self.truth, self.probe, self.wide)


def one_sided(seen: Sequence[Array], probe: Probe) -> tuple[Array, Array]:
    """The least and the largest gradient of those ``seen`` :func:`around` a point: apart only at a kink.

    A sum over many kinks takes more values than some steps to the sides show: k of them spread like
    sqrt(k), and reach as far as k. There the range is taken wider by that much.
    """
    here = seen[0]
    low, high = np.fmin.reduce(seen), np.fmax.reduce(seen)
    size = high - low
    several = np.sum(np.diff(np.sort(seen, axis=0), axis=0) > 1e-6 * size, axis=0) > 2
    most = max(v.numel() for v in probe.variables.values())
    more = size * np.where(several, max(1.0, most**0.5 / 4), 0.0)
    # the points around it are not at it: what is smooth has changed by as much as it does over the step
    low, high = low - more - 1e-5 * size, high + more + 1e-5 * size
    smooth = size <= 1e-6 * (np.abs(here) + np.max(np.abs(here), initial=0.0))
    return np.where(smooth, here, low), np.where(smooth, here, high)


def bounded_nearby(
    truth: Truth, probe: Probe, wide: Cotangents, result: Result, exact: Sequence[Array], seed: int
) -> list[Array]:
    """The truths ``exact``; where both a gradient and its truth are not finite, but all that is near is
    bounded (x / |x| at zero), a value from nearby: a backward written by hand has to give one."""
    found = list(exact)
    for i, (name, t) in enumerate(zip(probe.variables, exact, strict=True)):
        a = gradient_array(result.gradients[name], t)
        if a is None or a.shape != t.shape or not np.any(~np.isfinite(a) & ~np.isfinite(t)):
            continue
        g = torch.Generator().manual_seed(seed + 3)
        bounded, near = ~np.isfinite(a) & ~np.isfinite(t), t
        for _ in range(2):
            step = {n: (1 + v.abs()) * normal(v, g) for n, v in probe.variables.items()}
            try:
                far, near = (
                    truth(
                        {n: v + size * step[n] for n, v in probe.variables.items()},
                        wide,
                        probe.constants,
                        torch.float64,
                    )[1][name]
                    for size in (1e-4, 1e-7)
                )
            except Exception:
                return list(exact)
            with np.errstate(all="ignore"):
                grown = np.abs(near) - 1.2 * np.abs(far)
                bounded = bounded & (grown <= 1e-3 * np.max(np.abs(far), initial=0.0))
        found[i] = np.where(bounded, near, t)
    return found


def kink_noise(
    evaluate: Callable[[Sequence[Array | None], torch.dtype], list[Array | None]],
    values: list[Array | None],
    exact: list[Array],
    each: list[Limit],
    dtype: str,
    seed: int,
) -> None:
    """At a kink the inputs are not nudged, since the gradient would jump. Where it does not, which two
    steps of unlike size tell, what they change is noise as everywhere else."""
    rng, p = np.random.default_rng(seed + 9), precision(dtype)
    away = [None if v is None else v * (1 - 2.0**-9 * rng.uniform(size=v.shape)) for v in values]
    jitter = computational_noise(lambda moved: evaluate(moved, torch.float64), away, rng)
    for limit, deviation, t in zip(each, jitter, exact, strict=True):
        size = float(np.max(np.abs(t), initial=1.0))
        if limit.allowed is not None and DEVIATIONS * deviation < 2.0**-30 * size:  # else no noise
            limit.allowed = limit.allowed + DEVIATIONS * deviation
    elements = max((v.size for v in values if v is not None), default=1)
    for far_step, near_step in _STEPS:
        shrink = [None if v is None else rng.uniform(size=v.shape) for v in values]
        large, small = (
            evaluate(
                [
                    None if v is None or r is None else v * (1 - h * r)
                    for v, r in zip(values, shrink, strict=True)
                ],
                torch.float64,
            )
            for h in (far_step, near_step)
        )
        for limit, t, far, near in zip(each, exact, large, small, strict=True):
            if limit.allowed is None or far is None or near is None:
                continue
            with np.errstate(all="ignore"):
                moved = [np.abs(far - t), np.abs(near - t)]
                smooth = moved[1] <= moved[0] / 32 + 64 * 2.0**-53 * np.abs(t)
            noise = np.where(smooth & np.isfinite(moved[0]), moved[0] / far_step, 0.0)
            limit.allowed = np.maximum(limit.allowed, allowed(t, noise, p, elements, 0.0))
            refined = limit.refined
            if refined is not None:
                more = limit.allowed
                limit.refined = lambda refined=refined, more=more: np.maximum(refined(), more)


def ill_posed(
    evaluate: Callable[[Sequence[Array | None], torch.dtype], list[Array | None]],
    values: list[Array | None],
    outputs: Sequence[Array],
    seed: int,
) -> bool:
    """Whether a change of the inputs in their last bits moves an output by a visible part of it, and another
    such change by another part: a singular system. A step, as that of rounding, is always as high."""
    rng = np.random.default_rng(seed + 15)
    moved = []
    for _ in range(2):
        near = [None if v is None else v * (1 - 2.0**-48 * rng.uniform(size=v.shape)) for v in values]
        found = evaluate(near, torch.float64)
        with np.errstate(all="ignore"):
            moved.append([np.abs(y - t) for y, t in zip(found, outputs, strict=False) if y is not None])
    for first, second, t in zip(*moved, outputs, strict=True):
        visible = 2.0**-20 * float(np.max(np.abs(t), initial=0.0))
        if np.any((first > visible) & (second > visible) & (np.abs(first - second) > 0.01 * first)):
            return True
    return False


def own_jitter(
    gradients: Callable[[Variables], dict[str, Array | None]], probe: Probe, seed: int
) -> dict[str, float]:
    """The standard deviation of the rounding error of the target's own gradients, by name. A formula may be
    less stable than its truth is: that shows as noise, where a mistake is as smooth as what is right."""
    names = list(probe.variables)

    def evaluate(moved: Sequence[Array | None]) -> list[Array | None]:
        found = gradients(
            {n: tensor(a, probe.variables[n]) for n, a in zip(names, moved, strict=True) if a is not None}
        )
        return [found[n] for n in names]

    noise = computational_noise(
        evaluate, [array(probe.variables[n]) for n in names], np.random.default_rng(seed)
    )
    return dict(zip(names, noise, strict=True))


def approximations(truth: Truth, probe: Probe, wide: Cotangents) -> dict[str, Array]:
    """How far each truth is from its formula, where PyTorch's own functions approximate: see :mod:`exact`."""
    here = truth(probe.variables, wide, probe.constants, torch.float64)[1]
    there = here
    if not truth.numerical:
        with suppress(Exception), exact():
            there = truth(probe.variables, wide, probe.constants, torch.float64)[1]
    with np.errstate(all="ignore"):
        moved = {n: np.abs(there[n] - here[n]) for n in here}
    return {n: np.where(np.isfinite(d), d, 0.0) for n, d in moved.items()}


def own_formula(
    truth: Truth, subject: Subject, probe: Probe, name: str, wide: Cotangents, dtype: str
) -> Array:
    """What the target's own forward formula, differentiated by autograd, is off by in this dtype (a
    reference may round less), and what no change of the input can show: see :class:`Scale`."""
    p, x = precision(dtype), array(probe.variables[name])
    native = Truth(subject, native=True)
    outputs, exact = truth(probe.variables, wide, probe.constants, torch.float64)
    dys = [None if dy is None else array(dy) for dy in wide]
    scale = Scale.of(dys, outputs, [*map(array, probe.variables.values()), *dys, *outputs])
    unseen = ROUNDED * p.working * scale.loss / magnitude(x)
    try:
        _, own = native(probe.variables, wide, probe.constants, getattr(torch, dtype))
    except Exception:
        return unseen
    with np.errstate(all="ignore"):
        off = np.abs(own[name] - exact[name])
    return unseen + OWN * float(np.max(off, initial=0.0, where=np.isfinite(off)))
