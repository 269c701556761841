"""Between tensors and the arrays in which gradients are compared: float64, complex numbers as pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from handgrad.checking import precision

Array = np.ndarray
Cotangents = Sequence[Tensor | None]


def array(x: Tensor) -> Array:
    """float64, complex numbers as a last axis of two; integers as they are."""
    x = x.detach()
    x = x.to_dense() if x.layout != torch.strided else x
    x = x.resolve_conj().resolve_neg()
    x = x.clone() if x._is_zerotensor() else x  # a zero without memory, as some second derivatives are
    if x.is_complex():
        x = torch.view_as_real(x)
    return np.asarray((x.double() if x.is_floating_point() else x).cpu().numpy())


def tensor(a: Array, like: Tensor | None) -> Tensor:
    """The inverse of :func:`array` (in float64)."""
    t = torch.from_numpy(np.array(a))
    return torch.complex(t[..., 0], t[..., 1]) if like is not None and like.is_complex() else t


def as_dtype(x: Tensor, dtype: torch.dtype) -> Tensor:
    """``x`` in a real precision; complex numbers in complex128 (there are no others below it here)."""
    if x.is_complex():
        return x.to(torch.complex64 if dtype == torch.float32 else torch.complex128)
    return x.to(dtype) if x.is_floating_point() else x


def widened(x: Tensor) -> Tensor:
    """A copy in float64 or complex128."""
    return x.detach().to(torch.complex128 if x.is_complex() else torch.float64)


def all_widened(xs: Cotangents) -> list[Tensor | None]:
    return [None if x is None else widened(x) for x in xs]


def differentiable(y: Tensor) -> bool:
    """Whether numbers of that dtype have derivatives."""
    return y.is_floating_point() or y.is_complex()


def normal(like: Tensor, g: torch.Generator) -> Tensor:
    """Gaussian numbers in float64 or complex128."""
    shape = (*like.shape, 2) if like.is_complex() else like.shape
    drawn = torch.randn(shape, generator=g, dtype=torch.float64)
    return torch.view_as_complex(drawn) if like.is_complex() else drawn


def cotangent(y: Tensor, g: torch.Generator) -> Tensor | None:
    """A random incoming gradient for ``y``."""
    return normal(y, g).to(y.dtype) if differentiable(y) else None


def lowest(dtypes: Mapping[str, torch.dtype]) -> str:
    """The working dtype: that of the least precise variable."""
    names = {str(d).removeprefix("torch.") for d in dtypes.values()}
    names = {{"complex64": "float32", "complex128": "float64"}.get(n, n) for n in names}
    return max(names, key=lambda n: precision(n).unit)


def broadcasts(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    """Whether an array of shape ``small`` broadcasts to ``large``."""
    try:
        return np.broadcast_shapes(small, large) == tuple(large)
    except ValueError:
        return False


def gradient_array(dx: Any, truth: Array) -> Array | None:
    """A returned gradient, to be compared with ``truth``; None where one is due and none came."""
    if dx is None:
        return None if np.any(truth) else np.zeros_like(truth)
    a = array(dx)
    if a.shape != truth.shape and broadcasts(truth.shape, a.shape):
        # what the engine would do in silence; the shape is a finding of its own
        extra = a.ndim - truth.ndim
        axes = (*range(extra), *(i + extra for i, n in enumerate(truth.shape) if n == 1))
        return np.asarray(np.sum(a, axis=axes, keepdims=True).reshape(truth.shape))
    return a


def comparable(a: Array | None, t: Array) -> tuple[Array | None, Array]:
    """Both without the elements at which the truth is not finite (there made zero)."""
    strange = ~np.isfinite(t)
    if not np.any(strange):
        return a, t
    if a is not None and a.shape == t.shape:
        a = np.where(strange, 0.0, a)
    return a, np.where(strange, 0.0, t)


def alike(a: Tensor, b: Tensor, usual: Tensor | None = None, rounding: float = 0.0) -> bool:
    """Equal; on another device, or beside a ``usual`` result, up to the rounding of sums in another order,
    or to ``rounding`` where terms cancel."""
    if a.shape != b.shape:
        return False
    if bool(torch.equal(a, b)):
        return True
    a, b = torch.nan_to_num(a.detach()), torch.nan_to_num(b.detach())
    if bool(torch.equal(a, b)):
        return True
    if usual is None and a.device.type == "cpu":
        return False
    compared = [a] if usual is None else [a, torch.nan_to_num(usual.detach())]
    scale = max(float(x.abs().max()) for x in compared if x.numel())
    bound = 64 * torch.finfo(a.dtype).eps * scale * max(a.numel(), 1) ** 0.5
    return bool((a - b).abs().max() <= bound + 2 * rounding)


class Later(Mapping[str, Array]):
    """Arrays by name, computed when the first one is asked for."""

    def __init__(self, names: Sequence[str], compute: Callable[[], Sequence[Array]]) -> None:
        self._names, self._compute = names, compute
        self._made: dict[str, Array] | None = None

    def __getitem__(self, name: str) -> Array:
        if self._made is None:
            self._made = dict(zip(self._names, self._compute(), strict=True))
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
