"""How far two large tensors are apart, in numbers few enough to keep: by row, by column, along the truth.

What rounding explains is as in :mod:`handgrad.checking.tolerances`, with noise measured in the working
dtype: the same step once more, every intermediate value nudged by about a unit roundoff u.

    allowed = k max|noise| + C sqrt(n) (working u / u) rms(noise) + c u |T| + d

The largest noise stands for the error that the reference itself has; its root mean square, in the same row
or column, for what a sum of n terms in another order may add; n is the longest sum in the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from handgrad.checking import Precision, precision
from handgrad.checking.tolerances import OWN, ROUNDED, STABLE

_CHUNK = 1 << 20  # elements that are widened at once
_SMALL = 1 << 17  # elements up to which float64 costs nothing


@dataclass
class Spread:
    """``computed`` against ``truth``: e = computed - truth.

    rows, columns   the largest |e| of each; row_truth, column_truth: the largest |T| of each
    row_rms, ...    the root mean square of e
    slope           <e, T> / <T, T>: a gradient (1 + slope) times too large, seen through much noise
    slope_noise     its standard deviation, if the errors are independent
    relative        |e| / |T|, in the 2-norm
    """

    largest: float
    max_rel_error: float
    rows: Tensor
    columns: Tensor
    row_rms: Tensor
    column_rms: Tensor
    row_truth: Tensor
    column_truth: Tensor
    slope: float
    slope_noise: float
    relative: float
    worst: tuple[int, ...]
    computed: float
    truth: float
    dtype: str

    @property
    def precision(self) -> Precision:
        return precision(self.dtype)

    @property
    def ulps(self) -> float:
        beside = self.truth or float(self.row_truth.max()) or self.precision.subnormal
        size = max(abs(beside), self.precision.subnormal / (2 * self.precision.unit))
        return self.largest / math.ldexp(2 * self.precision.unit, math.frexp(size)[1] - 1)

    def rounded(self) -> bool:
        """Whether rounding the result alone explains it, in every row and along the truth."""
        return self.within(None, 1)

    def gross(self) -> bool:
        """Half of the digits are wrong: no rounding does that to a whole tensor."""
        return not self.relative <= math.sqrt(self.precision.unit)

    def within(self, noise: Spread | None, length: int) -> bool:
        """Whether ``noise`` and sums of ``length`` terms explain it."""
        p = self.precision
        own = 0.0 if noise is None else OWN * noise.largest
        grown = STABLE * math.sqrt(length) * p.working / p.unit
        for errors, truths, rms in (
            (self.rows, self.row_truth, None if noise is None else noise.row_rms),
            (self.columns, self.column_truth, None if noise is None else noise.column_rms),
        ):
            bound = ROUNDED * p.unit * truths + (own + p.subnormal)
            if rms is not None:
                bound = bound + grown * rms
            if not bool((errors <= bound).all()):
                return False
        allowed = ROUNDED * p.unit
        if noise is not None:
            allowed += OWN * abs(noise.slope) + max(grown, STABLE) * noise.slope_noise
        return noise is None or abs(self.slope) <= allowed


def spread(computed: Tensor, truth: Tensor) -> Spread | None:
    """None where they are equal, bit for bit. Both of one shape and dtype."""
    if computed.layout != torch.strided:
        computed = computed.to_dense()
    if truth.layout != torch.strided:
        truth = truth.to_dense()
    if torch.equal(computed, truth):
        return None
    a, t = _table(computed), _table(truth)
    kind = torch.float64 if a.dtype == torch.float64 or a.numel() <= _SMALL else torch.float32
    columns, squares, truths = (torch.zeros(a.shape[1], dtype=kind, device=a.device) for _ in range(3))
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    sums = torch.zeros(4, dtype=torch.float64, device=a.device)
    worst, at, relative = -1.0, 0, 0.0
    step = max(1, _CHUNK // max(1, a.shape[1]))
    for top in range(0, a.shape[0], step):
        x, size = a[top : top + step].to(kind), t[top : top + step].to(kind)
        e = x - size
        if not bool(torch.isfinite(e.sum())):
            same = (x == size) | (x.isnan() & size.isnan())
            e = torch.where(same, 0.0, torch.where(e.isfinite(), e, math.inf))
            size = torch.where(size.isfinite(), size, 0.0)
        product = e * size
        sums[:3] += torch.stack([product.sum(), _square(product), _square(size)]).double()
        error, size = e.abs_(), size.abs()
        relative = max(relative, float(torch.where(error > 0, error / size, 0.0).max()))
        here = int(error.argmax())
        if float(error.view(-1)[here]) > worst:
            worst, at = float(error.view(-1)[here]), top * a.shape[1] + here
        truths = torch.maximum(truths, size.amax(0))
        columns = torch.maximum(columns, error.amax(0))
        largest, row_truth = error.amax(1), size.amax(1)
        error = error.square_()
        squares += error.sum(0)
        total = error.sum(1)
        sums[3] += total.sum().double()
        rows.append((largest, row_truth, total))
    largest, row_truth, total = (torch.cat(parts) for parts in zip(*rows, strict=True))
    along, spread_along, size2, error2 = (float(s) for s in sums)
    return Spread(
        worst,
        relative,
        largest,
        columns,
        (total / a.shape[1]).sqrt(),
        (squares / a.shape[0]).sqrt(),
        row_truth,
        truths,
        along / size2 if size2 else 0.0,
        math.sqrt(spread_along) / size2 if size2 else 0.0,
        math.sqrt(error2 / size2) if size2 else math.inf,
        _index(at, computed),
        float(a.reshape(-1)[at]),
        float(t.reshape(-1)[at]),
        _name(computed.dtype),
    )


def _square(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x).square()


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


def nudged(x: Any, g: torch.Generator) -> Any:
    """A floating or complex tensor, each element changed by a random part of about a unit roundoff;
    its gradient passes through. Anything else as it is."""
    if not isinstance(x, Tensor) or not (x.is_floating_point() or x.is_complex()):
        return x
    return torch.addcmul(x, x.detach(), _signs(x, g), value=torch.finfo(x.dtype).eps)


def _signs(x: Tensor, g: torch.Generator) -> Tensor:
    real = x.real.dtype if x.is_complex() else x.dtype
    return torch.empty(x.shape, dtype=real, device=x.device).uniform_(-1, 1, generator=g).to(x.dtype)
