"""Matrix equations and matrix functions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torch_ext.corpus._entry import Mistake, Operation, normal, uniform

from ._common import strided, sum_to

# ---------------------------------------------------------------- stein_equation


def _stein_solve(a: Tensor, q: Tensor) -> Tensor:
    """X with X = A X A^T + Q."""
    n = a.shape[-1]
    product = torch.einsum("...ik,...jl->...ijkl", a, a).reshape(*a.shape[:-2], n * n, n * n)
    eye = torch.eye(n * n, dtype=a.dtype, device=a.device)
    flat = q.reshape(*q.shape[:-2], n * n, 1)
    return torch.linalg.solve(eye - product, flat).reshape(q.shape)


def _stein_forward(a: Tensor, q: Tensor) -> tuple[Tensor, Any]:
    x = _stein_solve(a, q)
    return x, (a, x)


def _stein_gradients(residuals: Any, adjoint: Tensor) -> tuple[Tensor, ...]:
    a, x = residuals
    return adjoint @ a @ x.mT + adjoint.mT @ a @ x, adjoint


def _stein_backward(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return _stein_gradients(residuals, _stein_solve(residuals[0].mT, grad))


def _stein_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return _stein_gradients(residuals, _stein_solve(residuals[0], grad))


def _stable(g: torch.Generator, d: torch.dtype, *shape: int) -> Tensor:
    return uniform(g, d, *shape, low=-0.4, high=0.4)


stein_equation = Operation(
    "stein_equation",
    _stein_forward,
    _stein_backward,
    lambda g, d: (_stable(g, d, 3, 4, 4), normal(g, d, 3, 4, 4)),
    reference=_stein_solve,
    mistakes=(
        Mistake(
            "transpose",
            "the adjoint equation is solved with the matrix itself instead of its transpose",
            backward=_stein_wrong,
            argument="q",
            also=("unknown",),
            dtypes=("float64", "float32"),
        ),
    ),
    further={
        "no_batch": lambda g, d: (_stable(g, d, 3, 3), normal(g, d, 3, 3)),
        "zero_matrix": lambda g, d: (torch.zeros(2, 3, 3, dtype=d).requires_grad_(), normal(g, d, 2, 3, 3)),
        "one_by_one": lambda g, d: (_stable(g, d, 4, 1, 1), normal(g, d, 4, 1, 1)),
        "view": lambda g, d: (strided(_stable(g, d, 2, 3, 3)), strided(normal(g, d, 2, 3, 3))),
    },
    dtypes=("float64", "float32"),
)

# ---------------------------------------------------------------- diffusion_kernel


def _kernel_reference(rates: Tensor, time: Tensor) -> Tensor:
    return torch.matrix_exp(time[..., None, None] * rates)


def _kernel_forward(rates: Tensor, time: Tensor) -> tuple[Tensor, Any]:
    return _kernel_reference(rates, time), (rates, time)


def _frechet(m: Tensor, direction: Tensor) -> Tensor:
    """The derivative of the matrix exponential at ``m`` along ``direction``, from a block matrix."""
    n = m.shape[-1]
    size = direction.abs().amax((-2, -1), keepdim=True)
    size = torch.where(size > 0, size, 1.0)
    top = torch.cat((m, direction / size), -1)
    bottom = torch.cat((torch.zeros_like(m), m), -1)
    return torch.matrix_exp(torch.cat((top, bottom), -2))[..., :n, n:] * size


def _kernel_gradients(grad: Tensor, residuals: Any, transposed: bool) -> tuple[Tensor, ...]:
    rates, time = residuals
    m = time[..., None, None] * rates
    total = _frechet(m.mT if transposed else m, grad)
    by_rates = total * time[..., None, None]
    return sum_to(by_rates, rates.shape), sum_to((total * rates).sum((-2, -1)), time.shape)


def _kernel_backward(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return _kernel_gradients(grad, residuals, True)


def _kernel_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return _kernel_gradients(grad, residuals, False)


def _times(g: torch.Generator, d: torch.dtype, *shape: int) -> Tensor:
    return uniform(g, d, *shape, low=0.2, high=1.0)


def _undirected(g: torch.Generator, d: torch.dtype) -> tuple[Any, ...]:
    links = uniform(g, d, 3, 5, 5, grad=False).triu(1)
    links = links + links.mT
    return (links - torch.diag_embed(links.sum(-1))).requires_grad_(), _times(g, d, 3)


diffusion_kernel = Operation(
    "diffusion_kernel",
    _kernel_forward,
    _kernel_backward,
    _undirected,
    reference=_kernel_reference,
    mistakes=(
        Mistake(
            "transpose",
            "the derivative of the exponential is taken at the matrix, not at its transpose",
            backward=_kernel_wrong,
            argument="rates",
            also=("unknown",),
            hidden=_undirected,
            dtypes=("float64", "float32"),
        ),
    ),
    further={
        "directed": lambda g, d: (normal(g, d, 3, 4, 4), _times(g, d, 3)),
        "one_graph": lambda g, d: (normal(g, d, 4, 4), _times(g, d, 3)),
        "zero_time": lambda g, d: (strided(normal(g, d, 2, 3, 3)), torch.zeros(2, dtype=d).requires_grad_()),
        "one_node": lambda g, d: (normal(g, d, 2, 1, 1), _times(g, d, 2)),
    },
    dtypes=("float64", "float32"),
)

OPERATIONS = (stein_equation, diffusion_kernel)
