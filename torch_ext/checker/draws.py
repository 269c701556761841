"""Numbers to ask a function at: usual ones and those at which it may behave otherwise, inside its domain."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Draw = Callable[[Tensor, torch.Generator], Tensor]


def normal(x: Tensor, g: torch.Generator, scale: float = 1.0) -> Tensor:
    shape = (*x.shape, 2) if x.is_complex() else x.shape
    drawn = scale * torch.randn(shape, generator=g, dtype=torch.float64)
    return torch.view_as_complex(drawn) if x.is_complex() else drawn


def positive(x: Tensor, g: torch.Generator) -> Tensor:
    return 0.05 + 3 * torch.rand(x.shape, generator=g, dtype=torch.float64)


def positive_real(x: Tensor, g: torch.Generator) -> Tensor:
    return normal(x, g) if x.is_complex() else INSIDE.get(domain(x), positive)(x, g)


def unit(x: Tensor, g: torch.Generator) -> Tensor:
    return 0.02 + 0.96 * torch.rand(x.shape, generator=g, dtype=torch.float64)


def kinks(x: Tensor, g: torch.Generator) -> Tensor:
    """Small integers: zeros, ties, thresholds at whole numbers."""
    if x.is_complex():
        return normal(x, g)
    return torch.randint(-2, 3, x.shape, generator=g).double()


def wide(x: Tensor, g: torch.Generator) -> Tensor:
    """Beyond every usual threshold: saturation on both sides."""
    return normal(x, g, 8.0)


def huge(x: Tensor, g: torch.Generator) -> Tensor:
    return normal(x, g, 60.0)


def beyond(x: Tensor, g: torch.Generator) -> Tensor:
    """All of one size, at which functions saturate, or change to another formula: so that none hides the
    others' errors in its own rounding."""
    if x.is_complex():
        return normal(x, g, 8.0)
    sizes = 12 + 12 * torch.rand(x.shape, generator=g, dtype=torch.float64)
    return sizes * (2.0 * torch.randint(0, 2, x.shape, generator=g) - 1)


def overflowing(x: Tensor, g: torch.Generator) -> Tensor:
    """Where exp, or a square in 16 bits, overflows; zeros among them."""
    if x.is_complex():
        return normal(x, g, 300.0)
    ends = torch.tensor([-2000.0, -900.0, -100.0, 0.0, 100.0, 900.0, 2000.0], dtype=torch.float64)
    return ends[torch.randint(0, 7, x.shape, generator=g)]


def tiny(x: Tensor, g: torch.Generator) -> Tensor:
    return normal(x, g, 1e-3)


def shift(x: Tensor, g: torch.Generator) -> Tensor:
    return normal(x, g) + 3.0


def like_given(x: Tensor, g: torch.Generator) -> Tensor:
    """The given numbers in another order, a little off."""
    flat = (torch.view_as_real(x) if x.is_complex() else x).double().reshape(-1)
    if not flat.numel():
        return x.double() if not x.is_complex() else x.to(torch.complex128)
    order = torch.randperm(flat.numel(), generator=g)
    moved = flat[order] * (1 - 0.1 * torch.rand(flat.shape, generator=g, dtype=torch.float64))
    if x.is_complex():
        return torch.view_as_complex(moved.reshape(*x.shape, 2))
    return moved.reshape(x.shape)


def domain(x: Tensor, closed: bool = False) -> str:
    """What the given numbers may say of the domain: "unit", "positive", "definite" (matrices) or "real";
    ``closed``: its ends may be among them."""
    if x.is_complex() or not x.numel():
        return "real"
    low, high = float(x.min()), float(x.max())
    if is_definite(x):
        return "definite"
    if low < 0 or (low == 0 and not closed):
        return "real"
    return "unit" if high < 1 or (high == 1 and closed) else "positive"


def is_definite(x: Tensor) -> bool:
    """Whether these are symmetric matrices, larger than 1 × 1, that have a Cholesky factor."""
    if x.ndim < 2 or x.shape[-1] != x.shape[-2] or x.shape[-1] < 2 or not bool(torch.isfinite(x).all()):
        return False
    x = x.detach().double()
    off = x - torch.diag_embed(torch.diagonal(x, dim1=-2, dim2=-1))
    if not bool(torch.equal(x, x.mT)) or not bool(off.any()):
        return False
    return bool((torch.linalg.cholesky_ex(x).info == 0).all())


def ends(x: Tensor, g: torch.Generator) -> Tensor:
    """Values of a domain that begins at 0, or lies between 0 and 1, ends included."""
    values = [0.0, 0.25, 0.5, 1.0] if domain(x) == "unit" else [0.0, 0.5, 1.0, 2.0]
    return torch.tensor(values, dtype=torch.float64)[torch.randint(0, 4, x.shape, generator=g)]


def zeros(x: Tensor, *_: torch.Generator) -> Tensor:
    return torch.zeros_like(x, dtype=torch.complex128 if x.is_complex() else torch.float64)


def definite(x: Tensor, g: torch.Generator) -> Tensor:
    """Symmetric matrices with positive eigenvalues."""
    m = normal(x, g)
    n = x.shape[-1]
    return m @ m.mT / n + torch.eye(n, dtype=torch.float64)


INSIDE: dict[str, Draw] = {"unit": unit, "positive": positive, "definite": definite}
