"""Statistics, optimisation layers, information theory and recommenders."""

from __future__ import annotations

from functools import partial
from math import factorial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ._entry import ALL, TWO, Mistake, Operation, fit, integers, leaf, normal, uniform, wide

# --- isotonic regression with weights


def _pools(y: Tensor, w: Tensor) -> Tensor:
    """The number of each element's block in the non-decreasing fit of each row."""
    numbers = []
    for row, weights in zip(y.detach().double().tolist(), w.detach().double().tolist(), strict=True):
        blocks: list[list[float]] = []
        for value, weight in zip(row, weights, strict=True):
            blocks.append([value, weight, 1])
            while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
                v, u, n = blocks.pop()
                v0, u0, n0 = blocks[-1]
                blocks[-1] = [(v0 * u0 + v * u) / (u0 + u), u0 + u, n0 + n]
        numbers.append([k for k, block in enumerate(blocks) for _ in range(int(block[2]))])
    return torch.tensor(numbers, dtype=torch.long, device=y.device).reshape(y.shape)


def _isotonic_forward(y: Tensor, weights: Tensor) -> tuple[Tensor, Any]:
    if bool((weights <= 0).any()):
        raise ValueError("weights must be positive")
    v, w = wide(y), wide(weights).expand(y.shape)
    pools = _pools(v, w)
    total = torch.zeros_like(v).scatter_add(1, pools, w)
    level = torch.zeros_like(v).scatter_add(1, pools, w * v) / total
    fitted = level.gather(1, pools)
    return fitted.to(y.dtype), (y, weights, pools, total.gather(1, pools), fitted)


def _isotonic_backward(g: Tensor, residuals: Any, plain_mean: bool = False) -> tuple[Any, ...]:
    y, weights, pools, total, fitted = residuals
    v, w, g = wide(y), wide(weights), wide(g)
    pooled = torch.zeros_like(v).scatter_add(1, pools, g).gather(1, pools)
    if plain_mean:
        count = torch.zeros_like(v).scatter_add(1, pools, torch.ones_like(v)).gather(1, pools)
        grad_y = pooled / count
    else:
        grad_y = pooled * w / total
    return fit(grad_y, y), fit(pooled * (v - fitted) / total, weights)


def _isotonic_reference(y: Tensor, weights: Tensor) -> Tensor:
    v, w = wide(y), wide(weights).expand(y.shape)
    member = F.one_hot(_pools(v, w), max(y.shape[1], 1)).to(v.dtype)
    mass = torch.einsum("bnk,bn->bk", member, w).clamp(min=1e-30)
    level = torch.einsum("bnk,bn->bk", member, w * v) / mass
    return torch.einsum("bnk,bk->bn", member, level).to(y.dtype)


isotonic_fit = Operation(
    "isotonic_fit",
    _isotonic_forward,
    _isotonic_backward,
    lambda g, d: (normal(g, d, 3, 8), uniform(g, d, 8, low=0.5, high=2.0)),
    _isotonic_reference,
    (
        Mistake(
            "unknown",
            "each block's gradient is shared out evenly, not in proportion to the weights",
            partial(_isotonic_backward, plain_mean=True),
            also=("missing-factor", "permuted", "local", "scale"),
            argument="y",
            hidden=lambda g, d: (normal(g, d, 3, 8), leaf(torch.ones(8, dtype=d))),
        ),
    ),
    {
        "ties": lambda g, d: (leaf(integers(g, 3, 6, high=3), d), uniform(g, d, 3, 6, low=0.5)),
        "falling": lambda g, d: (leaf(torch.arange(6.0, 0, -1).expand(2, 6), d), uniform(g, d, 6, low=0.5)),
        "one column": lambda g, d: (normal(g, d, 4, 1), uniform(g, d, 1, low=0.5)),
        "no rows": lambda g, d: (normal(g, d, 0, 4), uniform(g, d, 4, low=0.5)),
    },
    ALL,
)

# --- quadratic program with equality constraints


def _kkt(q: Tensor, a: Tensor) -> Tensor:
    m = a.shape[0]
    return torch.cat([torch.cat([(q + q.T) / 2, a.T], 1), torch.cat([a, a.new_zeros(m, m)], 1)], 0)


def _qp_reference(q: Tensor, c: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    n = q.shape[0]
    both = torch.linalg.solve(_kkt(q, a), torch.cat([-c, b], 1).T).T
    return both[:, :n], both[:, n:]


def _qp_forward(q: Tensor, c: Tensor, a: Tensor, b: Tensor) -> tuple[tuple[Tensor, Tensor], Any]:
    n = q.shape[0]
    kkt = _kkt(q, a)
    both = torch.linalg.solve(kkt, torch.cat([-c, b], 1).T).T.contiguous()
    x, multipliers = both[:, :n].clone(), both[:, n:].clone()
    return (x, multipliers), (kkt, x, multipliers)


def _qp_backward(grads: Any, residuals: Any, dual_path: bool = True) -> tuple[Any, ...]:
    kkt, x, multipliers = residuals
    n = x.shape[1]
    both = torch.linalg.solve(kkt.T, torch.cat(list(grads), 1).T).T
    u, v = both[:, :n], both[:, n:]
    grad_q = -u.T @ x
    grad_a = -v.T @ x
    if dual_path:
        grad_a = grad_a - multipliers.T @ u
    return (grad_q + grad_q.T) / 2, -u, grad_a, v.contiguous()


def _qp_inputs(g: torch.Generator, d: torch.dtype, b: int = 3, n: int = 5, m: int = 2) -> tuple[Any, ...]:
    root = normal(g, torch.float64, n, n, grad=False)
    q = leaf(root @ root.T / n + torch.eye(n, dtype=torch.float64), d)
    return q, normal(g, d, b, n), normal(g, d, m, n), normal(g, d, b, m)


equality_qp = Operation(
    "equality_qp",
    _qp_forward,
    _qp_backward,
    _qp_inputs,
    _qp_reference,
    (
        Mistake(
            "missing-term",
            "the constraint matrix lacks its path through the stationarity condition",
            partial(_qp_backward, dual_path=False),
            also=("unknown",),
            argument="a",
        ),
    ),
    {
        "one constraint": lambda g, d: _qp_inputs(g, d, 2, 4, 1),
        "one problem": lambda g, d: _qp_inputs(g, d, 1, 3, 2),
        "unsymmetric": lambda g, d: (
            leaf(torch.eye(5, dtype=d) * 3 + normal(g, d, 5, 5) / 4), *_qp_inputs(g, d)[1:]
        ),
    },
    ("float64",),
)  # fmt: skip

# --- Yeo-Johnson transform with a learnt power per column


def _ratio(z: Tensor) -> Tensor:
    """expm1(z) / z."""
    small = z.abs() < 1e-5
    safe = torch.where(small, torch.ones_like(z), z)
    return torch.where(small, 1 + z / 2 + z * z / 6, torch.expm1(safe) / safe)


def _ratio_slope(z: Tensor) -> Tensor:
    """The derivative of expm1(z) / z."""
    small = z.abs() < 0.5
    safe = torch.where(small, torch.ones_like(z), z)
    near = torch.where(small, z, torch.zeros_like(z))
    series = torch.zeros_like(z)
    for k in range(14, -1, -1):
        series = series * near + (k + 1) / factorial(k + 2)
    return torch.where(small, series, (torch.exp(safe) - torch.expm1(safe) / safe) / safe)


def _yeo_forward(x: Tensor, power: Tensor) -> tuple[Tensor, Any]:
    v, p = wide(x), wide(power)
    length = torch.log1p(v.abs())
    out = torch.where(v >= 0, length * _ratio(p * length), -length * _ratio((2 - p) * length))
    return out.to(x.dtype), (x, power)


def _yeo_backward(g: Tensor, residuals: Any, below: float = 1.0) -> tuple[Any, ...]:
    x, power = residuals
    v, p, g = wide(x), wide(power), wide(g)
    length = torch.log1p(v.abs())
    slope = torch.exp(torch.where(v >= 0, p - 1, 1 - p) * length)
    square = length * length
    in_power = torch.where(
        v >= 0, square * _ratio_slope(p * length), below * square * _ratio_slope((2 - p) * length)
    )
    return fit(g * slope, x), fit(g * in_power, power)


def _taylor(z: Tensor) -> Tensor:
    """expm1(z) / z, differentiable at nought."""
    small = z.abs() < 0.1
    safe = torch.where(small, torch.ones_like(z), z)
    series = sum(z**k / factorial(k + 1) for k in range(1, 12)) + 1
    return torch.where(small, series, torch.expm1(safe) / safe)


def _yeo_reference(x: Tensor, power: Tensor) -> Tensor:
    v, p = wide(x), wide(power)
    up, down = torch.log1p(v.clamp(min=0)), torch.log1p((-v).clamp(min=0))
    out = torch.where(v >= 0, up * _taylor(p * up), -down * _taylor((2 - p) * down))
    return out.to(x.dtype)


yeo_johnson = Operation(
    "yeo_johnson",
    _yeo_forward,
    _yeo_backward,
    lambda g, d: (normal(g, d, 6, 4), uniform(g, d, 4, low=-0.5, high=2.5)),
    _yeo_reference,
    (
        Mistake(
            "sign",
            "the power's gradient has the wrong sign for negative data",
            partial(_yeo_backward, below=-1.0),
            also=("region", "missing-term", "local"),
            argument="power",
            hidden=lambda g, d: (uniform(g, d, 6, 4, low=0.1, high=3.0), uniform(g, d, 4, high=2.5)),
        ),
    ),
    {
        "log powers": lambda g, d: (normal(g, d, 5, 3), leaf(torch.tensor([0.0, 2.0, 1.0]), d)),
        "one power": lambda g, d: (normal(g, d, 5, 3), uniform(g, d, 1)),
        "no rows": lambda g, d: (normal(g, d, 0, 3), uniform(g, d, 3)),
    },
    ALL,
)

# --- Jensen-Shannon divergence of two rows of logits


def _js_parts(a: Tensor, b: Tensor, weight: float) -> tuple[Tensor, ...]:
    la, lb = torch.log_softmax(wide(a), -1), torch.log_softmax(wide(b), -1)
    w = torch.tensor([weight, 1 - weight], dtype=la.dtype, device=la.device).log()
    mixed = torch.logaddexp(la + w[0], lb + w[1])
    return la, lb, mixed


def _js_forward(a: Tensor, b: Tensor, weight: float = 0.5) -> tuple[Tensor, Any]:
    la, lb, mixed = _js_parts(a, b, weight)
    first, second = (la.exp() * (la - mixed)).sum(-1), (lb.exp() * (lb - mixed)).sum(-1)
    return (weight * first + (1 - weight) * second).to(a.dtype), (a, b, weight)


def _js_backward(g: Tensor, residuals: Any, share: bool = True) -> tuple[Any, ...]:
    a, b, weight = residuals
    la, lb, mixed = _js_parts(a, b, weight)
    g = wide(g).unsqueeze(-1)

    def part(lp: Tensor, w: float) -> Tensor:
        gap = lp - mixed
        return g * w * lp.exp() * (gap - (lp.exp() * gap).sum(-1, keepdim=True))

    return fit(part(la, weight), a), fit(part(lb, 1 - weight if share else weight), b), None


def _js_reference(a: Tensor, b: Tensor, weight: float = 0.5) -> Tensor:
    p, q = torch.softmax(wide(a), -1), torch.softmax(wide(b), -1)
    mixed = weight * p + (1 - weight) * q
    rows = weight * p * (p.log() - mixed.log()) + (1 - weight) * q * (q.log() - mixed.log())
    return rows.sum(-1).to(a.dtype)


jensen_shannon = Operation(
    "jensen_shannon",
    _js_forward,
    _js_backward,
    lambda g, d: (normal(g, d, 4, 6), normal(g, d, 4, 6), 0.3),
    _js_reference,
    (
        Mistake(
            "scale",
            "the second distribution is given the first one's weight",
            partial(_js_backward, share=False),
            also=("missing-factor",),
            argument="b",
            hidden=lambda g, d: (normal(g, d, 4, 6), normal(g, d, 4, 6), 0.5),
        ),
    ),
    {
        "default weight": lambda g, d: (normal(g, d, 4, 6), normal(g, d, 4, 6)),
        "three axes": lambda g, d: (normal(g, d, 2, 3, 4), normal(g, d, 2, 3, 4), 0.8),
        "one row for all": lambda g, d: (normal(g, d, 3, 5), normal(g, d, 1, 5), 0.6),
        "no rows": lambda g, d: (normal(g, d, 0, 5), normal(g, d, 0, 5), 0.3),
    },
    ALL,
)

# --- factorisation machine of second order


def _fm_forward(x: Tensor, bias: Tensor, linear: Tensor, factors: Tensor) -> tuple[Tensor, Any]:
    f, v = wide(x), wide(factors)
    pooled = f @ v
    pairs = (pooled**2 - (f * f) @ (v * v)).sum(1) / 2
    return (wide(bias) + f @ wide(linear) + pairs).to(x.dtype), (x, bias, linear, factors, pooled)


def _fm_backward(g: Tensor, residuals: Any, squared: bool = True) -> tuple[Any, ...]:
    x, bias, linear, factors, pooled = residuals
    f, v, g = wide(x), wide(factors), wide(g)
    own = f * f if squared else f
    grad_factors = f.T @ (g.unsqueeze(1) * pooled) - v * (own.T @ g).unsqueeze(1)
    grad_x = g.unsqueeze(1) * (wide(linear) + pooled @ v.T - f * (v * v).sum(1))
    return fit(grad_x, x), fit(g.sum(), bias), fit(f.T @ g, linear), fit(grad_factors, factors)


def _fm_reference(x: Tensor, bias: Tensor, linear: Tensor, factors: Tensor) -> Tensor:
    f, v = wide(x), wide(factors)
    gram = torch.triu(v @ v.T, 1)
    return (wide(bias) + f @ wide(linear) + torch.einsum("bi,ij,bj->b", f, gram, f)).to(x.dtype)


factorisation_machine = Operation(
    "factorisation_machine",
    _fm_forward,
    _fm_backward,
    lambda g, d: (normal(g, d, 5, 6), normal(g, d), normal(g, d, 6), normal(g, d, 6, 3)),
    _fm_reference,
    (
        Mistake(
            "missing-factor",
            "the self-interaction taken off the factors' gradient has the feature, not its square",
            partial(_fm_backward, squared=False),
            also=("unknown", "missing-term"),
            argument="factors",
            hidden=lambda g, d: (
                leaf(integers(g, 5, 6, high=2), d), normal(g, d), normal(g, d, 6), normal(g, d, 6, 3)
            ),
        ),
    ),
    {
        "one factor": lambda g, d: (normal(g, d, 4, 5), normal(g, d), normal(g, d, 5), normal(g, d, 5, 1)),
        "one row": lambda g, d: (normal(g, d, 1, 3), normal(g, d), normal(g, d, 3), normal(g, d, 3, 2)),
        "no rows": lambda g, d: (normal(g, d, 0, 4), normal(g, d), normal(g, d, 4), normal(g, d, 4, 2)),
    },
    TWO,
)  # fmt: skip

OPERATIONS = (isotonic_fit, equality_qp, yeo_johnson, jensen_shannon, factorisation_machine)
