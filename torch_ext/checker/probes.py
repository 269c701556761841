"""Inputs beyond those given: of the same shapes and kinds, drawn so that nothing stays hidden.

Both sides of every condition, kinks and ties themselves, saturation, exact zeros, large and small
magnitudes, duplicated indices. A probe respects the domain: where the given numbers are positive, or
between 0 and 1, and the target refuses others or is not finite there, probes stay inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from torch_ext.checker.draws import (
    INSIDE,
    Draw,
    beyond,
    domain,
    ends,
    huge,
    kinks,
    like_given,
    normal,
    overflowing,
    positive_real,
    shift,
    tiny,
    wide,
    zeros,
)
from torch_ext.checker.subject import Variables

GROWTH = 2


@dataclass(frozen=True)
class Probe:
    """A point: variables and constants in float64, already rounded to the target's dtype.

    ``kink``: a derivative may jump exactly here. ``end``: a domain ends here, so that no more can be asked
    than a number. ``grown``: lengths of the inputs given that are longer here, by GROWTH. ``foreign``:
    constants have values of which the ones given say nothing, so that target and reference may part.
    """

    label: str
    variables: Variables
    constants: dict[int, Any]
    kink: bool = False
    grown: frozenset[int] = frozenset()
    end: bool = False
    foreign: bool = False


_EVERYWHERE: tuple[tuple[str, Draw, bool], ...] = (
    ("random inputs", normal, False),
    ("whole numbers", kinks, True),
    ("wide inputs", wide, False),
    ("inputs around 3", shift, False),
    ("large inputs", beyond, False),
    ("inputs that overflow naive formulas", overflowing, True),
    ("huge inputs", huge, False),
    ("tiny inputs", tiny, False),
)


@dataclass(frozen=True)
class Around:
    """What probes are made for.

    strict      variables that must stay inside a domain, which is given
    at_ends     also where a domain ends, at which only a reference says what is right
    thresholds  numbers at which a derivative may jump
    indices     integers that an index may be besides those given: one that is ignored
    """

    variables: Variables
    constants: dict[int, Any]
    dtypes: dict[str, torch.dtype]
    seed: int
    strict: Mapping[str, str] = field(default_factory=dict)
    at_ends: bool = False
    thresholds: tuple[float, ...] = ()
    indices: tuple[int, ...] = ()


def probes(around: Around) -> Iterator[Probe]:
    """The points to try after those given, those that show most first. The target may refuse some;
    that is no finding."""
    variables, constants = around.variables, around.constants
    g = torch.Generator().manual_seed(around.seed)
    inside = {n: around.strict.get(n, domain(v)) for n, v in variables.items()}
    usual = {n: INSIDE.get(kind, normal) for n, kind in inside.items()}
    restricted = any(kind != "real" and n not in around.strict for n, kind in inside.items())

    def rounded(name: str, x: Tensor) -> Tensor:
        wide = torch.complex128 if x.is_complex() else torch.float64
        return x.to(around.dtypes[name]).to(wide)

    def made(draws: dict[str, Draw]) -> Variables:
        return {n: rounded(n, draws[n](v, g)) for n, v in variables.items()}

    def all_by(draw: Draw) -> dict[str, Draw]:
        return {n: usual[n] if n in around.strict else draw for n in variables}

    foreign = any(map(_foreign, constants.values()))

    def varied() -> dict[int, Any]:
        return {i: _constant(c, g) for i, c in constants.items()}

    for label, draw, kink in _EVERYWHERE:
        yield Probe(label, made(all_by(draw)), varied(), kink, foreign=foreign)
        if restricted:
            draws = {n: INSIDE.get(kind, draw) for n, kind in inside.items()}
            words = f"{label}, inside the given domain"
            yield Probe(words, made(draws), varied(), kink, foreign=foreign)
    if any(_may_tie(c) for c in constants.values()):
        tied = {i: _tied(c, g) if _may_tie(c) else c for i, c in constants.items()}
        yield Probe("equal numbers in the other arguments", made(usual), tied, foreign=True)
    if around.thresholds:
        yield Probe(
            "inputs at numbers that the code names",
            made(all_by(_at(around.thresholds))),
            dict(constants),
            True,
        )
    for name, kind in list(inside.items())[:4]:
        yield Probe(f"{name} of zeros", made({**usual, name: zeros}), varied(), True, foreign=foreign)
        if len(variables) > 1:  # as an exponent or a divisor has to be
            draws = {**dict.fromkeys(variables, positive_real), name: zeros}
            words = f"{name} of zeros, the others positive"
            yield Probe(words, made(draws), varied(), True, foreign=foreign)
        if kind in ("unit", "positive") and around.at_ends:
            words = f"{name} at the ends of its domain"
            yield Probe(words, made({**usual, name: ends}), varied(), True, foreign=foreign)
    if len(variables) > 1:  # one at a kink, the others anywhere
        for name in list(variables)[:4]:
            yield Probe(f"{name} of whole numbers", made({**usual, name: kinks}), dict(constants), True)
            words = f"{name} that overflows naive formulas"
            yield Probe(words, made({**usual, name: overflowing}), dict(constants), True)
    yield from _other_indices(around, lambda: made(usual), g)
    for i, c in constants.items():
        if isinstance(c, int):  # a flag, a stride, a padding
            other = not c if isinstance(c, bool) else c + 1
            yield Probe(f"argument {i} = {other}", made(usual), {**constants, i: other}, foreign=True)
    if len({v.shape for v in variables.values()}) < len(variables):  # ties between inputs

        def equal() -> Variables:
            first: dict[Any, Tensor] = {}
            for n, v in variables.items():
                first.setdefault((v.shape, v.is_complex()), rounded(n, usual[n](v, g)))
            return {n: first[(v.shape, v.is_complex())].clone() for n, v in variables.items()}

        yield Probe("equal inputs", equal(), dict(constants), True)
    yield Probe("the inputs given, shuffled", made(dict.fromkeys(variables, like_given)), dict(constants))


def one_alone(around: Around) -> Iterator[Probe]:
    """Where some of the usual points were refused: one variable of either sign, the others as given. A
    domain may be one of all of them together: an order, a sum, a product that stays small."""
    g = torch.Generator().manual_seed(around.seed + 13)
    for name, v in list(around.variables.items())[:6]:
        if name in around.strict or v.is_complex() or not v.numel():
            continue
        for size, words in ((1.0, "of either sign"), (0.2, "small and of either sign")):
            signs = 2.0 * torch.randint(0, 2, v.shape, generator=g) - 1
            signs.view(-1)[int(torch.randint(0, v.numel(), (), generator=g))] = -1.0  # one at least
            drawn = (size * signs * like_given(v, g)).to(around.dtypes[name]).double()
            others = {**around.variables, name: drawn}
            yield Probe(f"{name} {words}, the others as given", others, dict(around.constants))


def _other_indices(around: Around, variables: Callable[[], Variables], g: torch.Generator) -> Iterator[Probe]:
    """Indices up to every length that occurs, and one that is ignored in some places."""
    constants = around.constants
    if not any(isinstance(c, Tensor) and _is_integer(c) for c in constants.values()):
        return
    for high in sorted({n for v in around.variables.values() for n in v.shape}):
        yield Probe(
            f"indices below {high}",
            variables(),
            {i: _below(c, high, g) for i, c in constants.items()},
        )
    given = [c for c in constants.values() if isinstance(c, int) and not isinstance(c, bool)]
    for index in dict.fromkeys([*given, *around.indices]):

        def some(c: Any, index: int = index) -> Any:
            if not isinstance(c, Tensor) or not _is_integer(c):
                return c
            where = torch.rand(c.shape, generator=g) < 0.4
            if c.numel():  # one at least
                where.view(-1)[int(torch.randint(0, c.numel(), (), generator=g))] = True
            return torch.where(where, torch.full_like(c, index), c)

        yield Probe(f"some indices {index}", variables(), {i: some(c) for i, c in constants.items()})


def _at(values: tuple[float, ...]) -> Draw:
    def at(x: Tensor, g: torch.Generator) -> Tensor:
        """Some elements at one of the values, of either sign, the others anywhere."""
        drawn = normal(x, g)
        if x.is_complex():
            return drawn
        signed = torch.tensor([s * v for v in values for s in (1, -1)], dtype=torch.float64)
        chosen = signed[torch.randint(0, len(signed), x.shape, generator=g)]
        return torch.where(torch.rand(x.shape, generator=g) < 0.75, chosen, drawn)

    return at


def _is_integer(c: Tensor) -> bool:
    return not (c.dtype == torch.bool or c.is_floating_point() or c.is_complex())


def _below(c: Any, high: int, g: torch.Generator) -> Any:
    """Indices from 0 up to a length that occurs: a table may have more rows than the given ones touch."""
    if not isinstance(c, Tensor) or not _is_integer(c):
        return c
    drawn = torch.randint(0, max(high, 1), c.shape, generator=g, dtype=c.dtype)
    if drawn.numel() > 1 and high > 0:  # the last one is most often treated in another way
        drawn.view(-1)[int(torch.randint(0, drawn.numel(), (), generator=g))] = high - 1
    return drawn


def _constant(c: Any, g: torch.Generator) -> Any:
    """Another constant of the same kind: integers in the same range, with duplicates; other masks, other
    labels; weights and probabilities of the same sums."""
    if isinstance(c, float):
        return 0.5 if c == 0 else c * (0.8 if 0 < c < 1 else 1.25)
    if not isinstance(c, Tensor) or not c.numel():
        return c
    if c.dtype == torch.bool:
        return torch.rand(c.shape, generator=g) < 0.6
    if _is_integer(c):
        return _integers(c, list(c.shape), g)
    return c if c.is_complex() else _floats(c, g)


def _floats(c: Tensor, g: torch.Generator) -> Tensor:
    same = bool((c == c.reshape(-1)[0]).all())
    for axis in range(c.ndim - 1, -1, -1):  # one-hot rows, probabilities: each line in another order
        sums = c.double().sum(axis)
        if (
            not same
            and c.shape[axis] > 1
            and sums.numel() > 1
            and torch.allclose(sums, sums.mean(), rtol=1e-3)
        ):
            order = torch.rand(c.shape, generator=g).argsort(axis)
            return c.gather(axis, order)
    if _binary(c):
        return torch.randint(0, 2, c.shape, generator=g).to(c.dtype)
    values: Tensor = torch.unique(c)
    if not same and len(values) <= max(3, c.numel() // 4):  # labels, a scaled mask
        return values[torch.randint(0, len(values), c.shape, generator=g)]
    drawn = torch.rand(c.shape, generator=g, dtype=torch.float64)
    if bool(((c >= 0) & (c <= 1)).all()):
        return drawn.to(c.dtype)
    return c * (0.5 + drawn).to(c.dtype)


def _may_tie(c: Any) -> bool:
    """Whether these are floating numbers without an equal pair, such as times or scores."""
    if not isinstance(c, Tensor) or not c.is_floating_point() or c.numel() < 2:
        return False
    return all(len(torch.unique(line)) == len(line) for line in c.reshape(-1, c.shape[-1] if c.ndim else 1))


def _tied(c: Tensor, g: torch.Generator) -> Tensor:
    """The same numbers, some of them more than once along the last axis."""
    return c.gather(-1, torch.randint(0, c.shape[-1], c.shape, generator=g))


def _binary(c: Tensor) -> bool:
    return bool(((c == 0) | (c == 1)).all())


def _foreign(c: Any) -> bool:
    """Whether :func:`_constant` draws values that ``c`` says nothing of."""
    if isinstance(c, Tensor):
        return bool(c.is_floating_point() and c.numel())
    return isinstance(c, float)


def _integers(c: Tensor, shape: list[int], g: torch.Generator) -> Tensor:
    """Integers in the range of those of ``c``; where some are negative, the same ones."""
    if not c.numel():
        return torch.zeros(shape, dtype=c.dtype)
    if int(c.min()) < 0:
        return c.reshape(-1)[torch.randint(0, c.numel(), shape, generator=g)]
    return torch.randint(0, int(c.max()) + 1, shape, generator=g, dtype=c.dtype)


# --- other shapes ---------------------------------------------------------------------------------


def reshaped(around: Around) -> Iterator[Probe]:
    """Inputs with one length changed, wherever it may occur: a batch of one, or a square matrix, hides
    what others show. Most of these fit no target, which then refuses them."""
    variables, constants = around.variables, around.constants
    g = torch.Generator().manual_seed(around.seed + 11)
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
        groups.append(frozenset(p for p in alike if p[1] == axis))
        if (
            n > 1 and axis == 0
        ):  # a length of one alone would broadcast, which the target may never have meant
            groups.append(frozenset([(key, axis)]))
    for group in groups:
        if group in tried or len(tried) > 40:
            continue
        tried.add(group)
        words = " and ".join(f"axis {axis} of {key}" for key, axis in sorted(group, key=str)[:2])
        kinds = {k: around.strict.get(k, domain(x)) for k, x in tensors.items()}
        free = any(kinds[n] != "real" and n not in around.strict for n in variables)
        for inside in (False, True) if free else (False,):
            changed = {}
            for key, x in tensors.items():
                shape = [n + GROWTH if (key, axis) in group else n for axis, n in enumerate(x.shape)]
                kept = inside or key in around.strict or key not in variables
                changed[key] = _grown(x, shape, g, kinds[key] if kept else "real")
            yield Probe(
                f"inputs longer along {words}",
                {n: changed[n] for n in variables},
                {i: changed.get(i, c) for i, c in constants.items()},
                grown=frozenset(tensors[key].shape[axis] for key, axis in group),
            )


def _grown(x: Tensor, shape: list[int], g: torch.Generator, kind: str) -> Tensor:
    """Numbers of the same kind in another shape."""
    if x.dtype == torch.bool:
        return torch.rand(shape, generator=g) < 0.6
    if not (x.is_floating_point() or x.is_complex()):
        return _integers(x, shape, g)
    blank = torch.zeros(shape, dtype=x.dtype)
    square = len(shape) > 1 and shape[-1] == shape[-2]
    drawn = INSIDE.get(kind if square or kind != "definite" else "real", normal)(blank, g)
    return drawn.to(x.dtype)
