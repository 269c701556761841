"""How far two large tensors are apart, in numbers few enough to keep: by row, by column, along the truth.

What rounding explains is as in :mod:`handgrad.checking.tolerances`, with noise measured in the working
dtype: the same step once more, every intermediate value nudged by about a unit roundoff u.

    allowed = k max|noise| + C sqrt(n) (working u / u) rms(noise) + c u |T| + d

The largest noise stands for the error that the reference itself has; its root mean square, in the same row
or column, for what a sum of n terms in another order may add; n is the longest sum in the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from handgrad.checking import Precision, precision
from handgrad.checking.tolerances import OWN, ROUNDED, STABLE

_CACHED = (1 << 15) - 1  # elements that one thread looks at together: they stay in its cache
_SHARED = 1 << 17  # the same, for each of several threads, which have to wait for each other
_SMALL = 1 << 17  # elements up to which float64 costs nothing
_DRAWN = (1 << 20) + 7  # random numbers


@dataclass
class Spread:
    """``computed`` against ``truth``: e = computed - truth.

    rows, columns   the largest |e| of each; row_truth, column_truth: the largest |T| of each
    slope           <e, T> / <T, T>: a gradient (1 + slope) times too large, seen through much noise
    relative        |e| / |T|, in the 2-norm
    """

    largest: float
    max_rel_error: float
    rows: Tensor
    columns: Tensor
    row_truth: Tensor
    column_truth: Tensor
    slope: float
    relative: float
    worst: tuple[int, ...]
    computed: float
    truth: float
    dtype: str
    allowed: float = 0.0  # at the worst element, where that was measured

    @property
    def precision(self) -> Precision:
        return precision(self.dtype)

    @property
    def ulp(self) -> float:
        """At the worst element; where the truth is zero, of the largest one."""
        p = self.precision
        size = max(abs(self.truth or float(self.row_truth.max())), p.subnormal / (2 * p.unit))
        return math.ldexp(2 * p.unit, math.frexp(size)[1] - 1)

    def rounded(self) -> bool:
        """Whether rounding the result alone explains it, in every row and column."""
        return self.within(None, 1)

    def gross(self) -> bool:
        """Half of the digits are wrong: no rounding does that to a whole tensor."""
        return not self.relative <= math.sqrt(self.precision.unit)

    def within(self, noise: Noise | None, length: int) -> bool:
        """Whether ``noise`` and sums of ``length`` terms explain it."""
        p, unit = self.precision, ROUNDED * self.precision.unit
        own = p.subnormal if noise is None else OWN * noise.largest + p.subnormal
        grown = STABLE * math.sqrt(length) * p.working / p.unit
        bounds = [unit * truths + own for truths in (self.row_truth, self.column_truth)]
        if noise is not None:
            bounds = [b + grown * rms for b, rms in zip(bounds, (noise.rows, noise.columns), strict=True)]
            worst = int((self.rows / bounds[0]).argmax())
            self.allowed = float(bounds[0][worst])
        sides = zip((self.rows, self.columns), bounds, strict=True)
        if not all(bool((errors <= bound).all()) for errors, bound in sides):
            return False
        if noise is None:
            return True
        along = unit + OWN * abs(noise.slope) + max(grown, STABLE) * noise.deviation
        return abs(self.slope) <= along


@dataclass
class Noise:
    """A nudged result against the plain one. rows, columns: the root mean square of each; slope: as in
    :class:`Spread`; deviation: what it would be from errors that are independent."""

    largest: float
    rows: Tensor
    columns: Tensor
    slope: float
    deviation: float


def spread(computed: Tensor, truth: Tensor) -> Spread | None:
    """None where they are equal, bit for bit. Both of one shape and dtype."""
    computed, truth = _dense(computed), _dense(truth)
    if torch.equal(computed, truth):
        return None
    a, t = _table(computed), _table(truth)
    rows, row_truth = (torch.zeros(a.shape[0], dtype=_kind(a), device=a.device) for _ in range(2))
    columns, column_truth = (torch.zeros(a.shape[1], dtype=_kind(a), device=a.device) for _ in range(2))
    sums = torch.zeros(3, dtype=torch.float64, device=a.device)
    for part, x, size in _parts(a, t):
        e = x - size
        sums += torch.stack([_dot(e, size), _dot(size, size), _dot(e, e)]).double()
        if not bool(torch.isfinite(sums).all()):
            same = (x == size) | (x.isnan() & size.isnan())
            e = torch.where(same, 0.0, torch.where(e.isfinite(), e, math.inf))
            size = torch.where(size.isfinite(), size, 0.0)
        error, size = e.abs_(), size.abs()
        rows[part], row_truth[part] = error.amax(1), size.amax(1)
        columns = torch.maximum(columns, error.amax(0))
        column_truth = torch.maximum(column_truth, size.amax(0))
    row = int(rows.argmax())
    column = int((a[row].to(_kind(a)) - t[row].to(_kind(a))).abs().nan_to_num(math.inf).argmax())
    computed_there, truth_there = float(a[row, column]), float(t[row, column])
    product, size2, error2 = (float(v) for v in sums)
    largest = float(rows[row])
    return Spread(
        largest,
        _largest_relative(a, t)
        if a.numel() <= _SMALL
        else largest / abs(truth_there)
        if truth_there
        else math.inf,
        rows,
        columns,
        row_truth,
        column_truth,
        product / size2 if size2 else 0.0,
        math.sqrt(error2 / size2) if size2 else math.inf,
        _index(row * a.shape[1] + column, computed),
        computed_there,
        truth_there,
        _name(computed.dtype),
    )


def noise(nudged: Tensor, plain: Tensor) -> Noise:
    """How far a result moves when what it is made of is a rounding off."""
    a, t = _table(_dense(nudged)), _table(_dense(plain))
    rows, columns = (torch.zeros(n, dtype=_kind(a), device=a.device) for n in a.shape)
    sums = torch.zeros(3, dtype=torch.float64, device=a.device)
    largest = torch.zeros((), dtype=_kind(a), device=a.device)
    for part, x, size in _parts(a, t):
        e = x - size
        if not bool(torch.isfinite(e.sum())):
            e, size = (torch.where(e.isfinite(), v, 0.0) for v in (e, size))
        along = e * size
        sums += torch.stack([along.sum(), _dot(size, size), _dot(along, along)]).double()
        low, high = torch.aminmax(e)
        largest = torch.maximum(largest, torch.maximum(high, -low))
        e = e.square_()
        rows[part] = e.sum(1)
        columns += e.sum(0)
    product, size2, deviation = (float(v) for v in sums)
    return Noise(
        float(largest),
        (rows / a.shape[1]).sqrt(),
        (columns / a.shape[0]).sqrt(),
        product / size2 if size2 else 0.0,
        math.sqrt(deviation) / size2 if size2 else 0.0,
    )


def _parts(a: Tensor, t: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Some rows after others, widened."""
    threads = torch.get_num_threads()
    together = _CACHED if threads == 1 else _SHARED * threads
    together = together if a.device.type == "cpu" else 1 << 24
    step = max(1, together // max(1, a.shape[1]))
    for top in range(0, a.shape[0], step):
        part = slice(top, min(top + step, a.shape[0]))
        yield part, a[part].to(_kind(a)), t[part].to(_kind(a))


def _kind(a: Tensor) -> torch.dtype:
    return torch.float64 if a.dtype == torch.float64 or a.numel() <= _SMALL else torch.float32


def _dense(x: Tensor) -> Tensor:
    return x.to_dense() if x.layout != torch.strided else x


def _largest_relative(a: Tensor, t: Tensor) -> float:
    error, size = (a.double() - t.double()).abs(), t.double().abs()
    return float(torch.where(error > 0, error / size, 0.0).nan_to_num(math.inf).max())


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(a.reshape(-1), b.reshape(-1))


def _table(x: Tensor) -> Tensor:
    """Two axes: the first, and all others."""
    x = torch.view_as_real(x.detach().resolve_conj()) if x.is_complex() else x.detach()
    return x.reshape(x.shape[0], -1) if x.ndim > 1 else x.reshape(-1, 1)


def _index(flat: int, like: Tensor) -> tuple[int, ...]:
    flat = flat // 2 if like.is_complex() else flat
    return tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), like.shape))


def _name(dtype: torch.dtype) -> str:
    name = str(dtype).removeprefix("torch.")
    return {"complex64": "float32", "complex128": "float64"}.get(name, name)


class Nudge:
    """Changes each element of a floating or complex tensor by a random part of about a unit roundoff; its
    gradient passes through. Anything else stays as it is."""

    def __init__(self, g: torch.Generator) -> None:
        self._generator = g
        self._numbers: dict[
            torch.dtype, Tensor
        ] = {}  # drawn once: to draw them takes longer than to use them

    def __call__(self, x: Any) -> Any:
        if not isinstance(x, Tensor) or not (x.is_floating_point() or x.is_complex()) or not x.numel():
            return x
        numbers = self._like(x)
        return torch.addcmul(x, x.detach(), numbers.to(x.dtype), value=torch.finfo(x.dtype).eps)

    def _like(self, x: Tensor) -> Tensor:
        """Numbers between -1 and 1 in the shape of ``x``: the same ones again, for each row from another
        place on."""
        dtype, g = x.real.dtype if x.is_complex() else x.dtype, self._generator
        if dtype not in self._numbers:
            drawn = torch.empty(_DRAWN, dtype=dtype, device=g.device)
            self._numbers[dtype] = drawn.uniform_(-1, 1, generator=g)
        numbers = self._numbers[dtype]
        width = x.shape[-1] if x.ndim else 1
        if width > _DRAWN // 2:
            return numbers.repeat(-(-x.numel() // _DRAWN))[: x.numel()].view(x.shape)
        rows = x.numel() // width
        start = int(torch.randint(_DRAWN // 4, (), generator=g, device=g.device))
        step = (_DRAWN - start - width) // rows
        if not step:
            return numbers.repeat(-(-x.numel() // _DRAWN))[: x.numel()].view(x.shape)
        return numbers.as_strided((rows, width), (step, 1), start).view(x.shape)
