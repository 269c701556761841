"""Inputs beyond those given: of the same shapes and kinds, drawn so that nothing stays hidden.

Both sides of every condition, kinks and ties themselves, saturation, exact zeros, large and small
magnitudes, duplicated indices. A probe respects the domain: where the given numbers are positive, or
between 0 and 1, and the target refuses others or is not finite there, probes stay inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torch_ext.checker.subject import Variables

Draw = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Probe:
    """A point: variables and constants in float64, already rounded to the target's dtype.

    ``kink``: a derivative may jump exactly here.
    """

    label: str
    variables: Variables
    constants: dict[int, Any]
    kink: bool = False


def _normal(x: Tensor, g: torch.Generator, scale: float = 1.0) -> Tensor:
    shape = (*x.shape, 2) if x.is_complex() else x.shape
    drawn = scale * torch.randn(shape, generator=g, dtype=torch.float64)
    return torch.view_as_complex(drawn) if x.is_complex() else drawn


def _positive(x: Tensor, g: torch.Generator) -> Tensor:
    return 0.05 + 3 * torch.rand(x.shape, generator=g, dtype=torch.float64)


def _unit(x: Tensor, g: torch.Generator) -> Tensor:
    return 0.02 + 0.96 * torch.rand(x.shape, generator=g, dtype=torch.float64)


def _kinks(x: Tensor, g: torch.Generator) -> Tensor:
    """Small integers: zeros, ties, thresholds at whole numbers."""
    if x.is_complex():
        return _normal(x, g)
    return torch.randint(-2, 3, x.shape, generator=g).double()


def _wide(x: Tensor, g: torch.Generator) -> Tensor:
    """Beyond every usual threshold: saturation on both sides."""
    return _normal(x, g, 8.0)


def _huge(x: Tensor, g: torch.Generator) -> Tensor:
    return _normal(x, g, 60.0)


def _overflowing(x: Tensor, g: torch.Generator) -> Tensor:
    """Where exp, or a square in 16 bits, overflows; zeros among them."""
    if x.is_complex():
        return _normal(x, g, 300.0)
    ends = torch.tensor([-2000.0, -900.0, -100.0, 0.0, 100.0, 900.0, 2000.0], dtype=torch.float64)
    return ends[torch.randint(0, 7, x.shape, generator=g)]


def _tiny(x: Tensor, g: torch.Generator) -> Tensor:
    return _normal(x, g, 1e-3)


def _shift(x: Tensor, g: torch.Generator) -> Tensor:
    return _normal(x, g) + 3.0


def _like_given(x: Tensor, g: torch.Generator) -> Tensor:
    """The given numbers in another order, a little off."""
    flat = (torch.view_as_real(x) if x.is_complex() else x).double().reshape(-1)
    if not flat.numel():
        return x.double() if not x.is_complex() else x.to(torch.complex128)
    order = torch.randperm(flat.numel(), generator=g)
    moved = flat[order] * (1 - 0.1 * torch.rand(flat.shape, generator=g, dtype=torch.float64))
    if x.is_complex():
        return torch.view_as_complex(moved.reshape(*x.shape, 2))
    return moved.reshape(x.shape)


def domain(x: Tensor) -> str:
    """What the given numbers may say of the domain: "unit", "positive" or "real"."""
    if x.is_complex() or not x.numel():
        return "real"
    if bool(((x > 0) & (x < 1)).all()):
        return "unit"
    return "positive" if bool((x > 0).all()) else "real"


def _ends(x: Tensor, g: torch.Generator) -> Tensor:
    """Values of a domain that begins at 0, or lies between 0 and 1, ends included."""
    values = [0.0, 0.25, 0.5, 1.0] if domain(x) == "unit" else [0.0, 0.5, 1.0, 2.0]
    return torch.tensor(values, dtype=torch.float64)[torch.randint(0, 4, x.shape, generator=g)]


def _zeros(x: Tensor, *_: torch.Generator) -> Tensor:
    return torch.zeros_like(x, dtype=torch.complex128 if x.is_complex() else torch.float64)


_INSIDE: dict[str, Draw] = {"unit": _unit, "positive": _positive}
_EVERYWHERE: tuple[tuple[str, Draw, bool], ...] = (
    ("random inputs", _normal, False),
    ("wide inputs", _wide, False),
    ("whole numbers", _kinks, True),
    ("inputs around 3", _shift, False),
    ("huge inputs", _huge, False),
    ("inputs that overflow naive formulas", _overflowing, True),
    ("tiny inputs", _tiny, False),
)


def probes(
    variables: Variables,
    constants: dict[int, Any],
    dtypes: dict[str, torch.dtype],
    seed: int,
    at_ends: bool,
) -> Iterator[Probe]:
    """The points to try after those given. The target may refuse some; that is no finding.

    ``at_ends``: also where a domain ends, at which only a reference says what is right.
    """
    g = torch.Generator().manual_seed(seed)
    inside = {n: domain(v) for n, v in variables.items()}
    restricted = any(kind != "real" for kind in inside.values())

    def rounded(name: str, x: Tensor) -> Tensor:
        low = dtypes[name]
        wide = torch.complex128 if x.is_complex() else torch.float64
        return x.to(low).to(wide)

    def made(draws: dict[str, Draw]) -> Variables:
        return {n: rounded(n, draws[n](v, g)) for n, v in variables.items()}

    def varied() -> dict[int, Any]:
        return {i: _constant(c, g) for i, c in constants.items()}

    yield Probe("the inputs given, shuffled", made(dict.fromkeys(variables, _like_given)), dict(constants))
    for label, draw, kink in _EVERYWHERE:
        yield Probe(label, made(dict.fromkeys(variables, draw)), varied(), kink)
        if restricted:
            draws = {n: _INSIDE.get(kind, draw) for n, kind in inside.items()}
            yield Probe(f"{label}, inside the given domain", made(draws), varied(), kink)
    for name, kind in list(inside.items())[:4]:
        draws = {n: _INSIDE.get(k, _normal) for n, k in inside.items()}
        yield Probe(f"{name} of zeros", made({**draws, name: _zeros}), varied(), True)
        if kind != "real" and at_ends:
            yield Probe(f"{name} at the ends of its domain", made({**draws, name: _ends}), varied(), True)
    if len(variables) > 1:  # one at a kink, the others anywhere
        for name in list(variables)[:4]:
            draws = {n: _kinks if n == name else _INSIDE.get(inside[n], _normal) for n in variables}
            yield Probe(f"{name} of whole numbers", made(draws), dict(constants), True)
    widest = max((n for v in variables.values() for n in v.shape), default=1)
    for high in {n for v in variables.values() for n in v.shape} if _has_integers(constants) else ():
        draws = {n: _INSIDE.get(k, _normal) for n, k in inside.items()}
        yield Probe(
            f"indices below {high}",
            made(draws),
            {i: _below(c, min(high, widest), g) for i, c in constants.items()},
        )
    for i, c in constants.items():
        if isinstance(c, int):  # a flag, a stride, a padding
            draws = {n: _INSIDE.get(k, _normal) for n, k in inside.items()}
            other = not c if isinstance(c, bool) else c + 1
            yield Probe(f"argument {i} = {other}", made(draws), {**constants, i: other})
    if len({v.shape for v in variables.values()}) < len(variables):  # ties between inputs

        def equal() -> Variables:
            first: dict[Any, Tensor] = {}
            for n, v in variables.items():
                first.setdefault((v.shape, v.is_complex()), rounded(n, _INSIDE.get(inside[n], _normal)(v, g)))
            return {n: first[(v.shape, v.is_complex())].clone() for n, v in variables.items()}

        yield Probe("equal inputs", equal(), dict(constants), True)


def _has_integers(constants: dict[int, Any]) -> bool:
    return any(isinstance(c, Tensor) and _is_integer(c) for c in constants.values())


def _is_integer(c: Tensor) -> bool:
    return not (c.dtype == torch.bool or c.is_floating_point() or c.is_complex())


def _below(c: Any, high: int, g: torch.Generator) -> Any:
    """Indices from 0 up to a length that occurs: a table may have more rows than the given ones touch."""
    if not isinstance(c, Tensor) or not _is_integer(c):
        return c
    return torch.randint(0, max(high, 1), c.shape, generator=g, dtype=c.dtype)


def _constant(c: Any, g: torch.Generator) -> Any:
    """Another constant of the same kind: integers in the same range, with duplicates; other masks."""
    if isinstance(c, float):
        return c * 1.25
    if not isinstance(c, Tensor) or not c.numel():
        return c
    if c.is_floating_point():
        if domain(c) == "unit" or bool(((c >= 0) & (c <= 1)).all()):
            return torch.rand(c.shape, generator=g, dtype=torch.float64).to(c.dtype)
        return c * (0.5 + torch.rand(c.shape, generator=g, dtype=torch.float64)).to(c.dtype)
    if c.dtype == torch.bool:
        return torch.rand(c.shape, generator=g) < 0.6
    if not (c.is_floating_point() or c.is_complex()):
        return torch.randint(int(c.min()), int(c.max()) + 1, c.shape, generator=g, dtype=c.dtype)
    return c


# --- other shapes ---------------------------------------------------------------------------------


def reshaped(variables: Variables, constants: dict[int, Any], seed: int) -> Iterator[Probe]:
    """Inputs with one length changed, wherever it may occur: a batch of one, or a square matrix, hides
    what others show. Most of these fit no target, which then refuses them."""
    g = torch.Generator().manual_seed(seed + 11)
    tensors: dict[Any, Tensor] = {
        **variables,
        **{i: c for i, c in constants.items() if isinstance(c, Tensor)},
    }
    places = [(key, axis) for key, x in tensors.items() for axis in range(x.ndim)]
    tried: set[frozenset[tuple[Any, int]]] = set()
    groups: list[frozenset[tuple[Any, int]]] = []
    for key, axis in places:
        n = tensors[key].shape[axis]
        alike = [(k, a) for k, a in places if tensors[k].shape[a] == n]
        groups.append(frozenset(alike))
        if n > 1:  # a length of one alone would broadcast, which the target may never have meant
            groups.append(frozenset(p for p in alike if p[1] == axis))
            if axis == 0:
                groups.append(frozenset([(key, axis)]))
    for group in groups:
        if group in tried or len(tried) > 40:
            continue
        tried.add(group)
        words = " and ".join(f"axis {axis} of {key}" for key, axis in sorted(group, key=str)[:2])
        for inside in (False, True) if any(domain(v) != "real" for v in variables.values()) else (False,):
            changed = {}
            for key, x in tensors.items():
                shape = [n + 2 if (key, axis) in group else n for axis, n in enumerate(x.shape)]
                changed[key] = _grown(x, shape, g, inside)
            yield Probe(
                f"inputs longer along {words}",
                {n: changed[n] for n in variables},
                {i: changed.get(i, c) for i, c in constants.items()},
            )


def _grown(x: Tensor, shape: list[int], g: torch.Generator, inside: bool) -> Tensor:
    """Numbers of the same kind in another shape."""
    if x.dtype == torch.bool:
        return torch.rand(shape, generator=g) < 0.6
    if not (x.is_floating_point() or x.is_complex()):
        low, high = (int(x.min()), int(x.max())) if x.numel() else (0, 0)
        return torch.randint(low, high + 1, shape, generator=g, dtype=x.dtype)
    blank = torch.zeros(shape, dtype=x.dtype)
    drawn = (_INSIDE.get(domain(x), _normal) if inside else _normal)(blank, g)
    return drawn.to(x.dtype)
