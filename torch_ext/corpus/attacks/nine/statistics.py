"""Statistics: extremes, tests of ability, quantiles, tail risk, factors of a matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ._base import (
    DOUBLE,
    Generator,
    Mistake,
    Operation,
    as_dtypes,
    coins,
    fold,
    in_wide,
    leaf,
    normal,
    uniform,
    wide,
)

# ---------------------------------------------------------------- excesses over a threshold

SMALL, TERMS = 0.2, 26


def log_ratio(u: Tensor) -> Tensor:
    """log(1 + u) / u."""
    near = u.abs() < SMALL
    v = torch.where(near, u, 0)
    series = torch.zeros_like(u)
    for n in range(TERMS, 0, -1):
        series = 1 / n - v * series
    safe = torch.where(near, 1, u)
    return torch.where(near, series, torch.log1p(safe) / safe)


def log_ratio_slope(u: Tensor) -> Tensor:
    """The derivative of log(1 + u) / u."""
    near = u.abs() < SMALL
    v = torch.where(near, u, 0)
    series = torch.zeros_like(u)
    for n in range(TERMS, 1, -1):
        series = (1 - n) / n - v * series
    safe = torch.where(near, 1, u)
    return torch.where(near, series, (safe / (1 + safe) - torch.log1p(safe)) / safe**2)


def pareto_forward(excess: Tensor, log_scale: Tensor, shape: Tensor) -> tuple[Tensor, Any]:
    """-log density of the generalised Pareto law; NaN outside its support; broadcasts."""
    x, s, k = wide((excess, log_scale, shape))
    z = x * torch.exp(-s)
    u = k * z
    inside = (z >= 0) & (u > -1)
    v = torch.where(inside, u, torch.nan)
    out = s + z * log_ratio(v) + torch.log1p(v)
    return out.to(excess.dtype), (z, k, v, s, (excess, log_scale, shape))


def pareto_gradients(grad: Tensor, residuals: Any, u_of_slope: Tensor) -> tuple[Tensor, ...]:
    z, k, u, s, inputs = residuals
    g = wide(grad)
    gz = g * (k + 1) / (1 + u)
    gk = g * (z * z * log_ratio_slope(u_of_slope) + z / (1 + u))
    grads = (gz * torch.exp(-s), g - gz * z, gk)
    return tuple(fold(each, x).to(x.dtype) for each, x in zip(grads, inputs, strict=True))


def pareto_backward(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return pareto_gradients(grad, residuals, residuals[2])


def pareto_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    return pareto_gradients(grad, residuals, residuals[2].clamp(min=0))


@in_wide
def pareto_reference(excess: Tensor, log_scale: Tensor, shape: Tensor) -> Tensor:
    z = excess / log_scale.exp()
    u = shape * z
    near = u.abs() < SMALL
    v = u.masked_fill(~near, 0.0)
    series = sum((-v) ** n / (n + 1) for n in range(TERMS))
    k = (shape + 0 * u).masked_fill(near, 1.0)
    out = log_scale + torch.where(near, z * series, torch.log1p(u) / k) + torch.log1p(u)
    return torch.where(z >= 0, out, torch.nan)


def pareto_heavy(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    excess = uniform(g, dtype, 6, 3, high=3)
    return excess, leaf(0.3 * normal(g, dtype, 3)), uniform(g, dtype, 3, low=0.05, high=0.6)


def pareto_bounded(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return uniform(g, dtype, 6, 1, high=2), uniform(g, dtype, 3), uniform(g, dtype, 3, low=-0.4, high=0)


def pareto_exponential(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return uniform(g, dtype, 5, 2, high=3), normal(g, dtype, 2), leaf(torch.zeros(2, dtype=dtype))


def pareto_at_threshold(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return leaf(torch.zeros(4, dtype=dtype)), normal(g, dtype, 1), normal(g, dtype, 4)


def pareto_none(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return uniform(g, dtype, 0, 3), normal(g, dtype, 3), uniform(g, dtype, 3)


pareto_excess_nll = Operation(
    "pareto_excess_nll",
    pareto_forward,
    pareto_backward,
    pareto_heavy,
    pareto_reference,
    mistakes=(
        Mistake(
            "region",
            "the shape's gradient takes a bounded tail (negative shape) for an exponential one",
            pareto_wrong,
            also=("local", "scale", "missing-term", "unknown"),
            argument="shape",
            hidden=pareto_heavy,
        ),
    ),
    further={
        "bounded": pareto_bounded,
        "exponential": pareto_exponential,
        "at_threshold": pareto_at_threshold,
        "none": pareto_none,
    },
)

# ---------------------------------------------------------------- answers to a test


def item_forward(
    ability: Tensor,
    discrimination: Tensor,
    difficulty: Tensor,
    guessing: Tensor,
    correct: Tensor,
    answered: Tensor,
) -> tuple[Tensor, Any]:
    """Mean negative log-likelihood of the answers given, P = c + (1 - c) sigmoid(a (t - b)).

    The chance c of a lucky guess is sigmoid(guessing).
    """
    t, a, b, c = wide((ability[:, None], discrimination, difficulty, guessing))
    x = a * (t - b)
    log_c, log_rest = logsigmoid(c), logsigmoid(-c)
    log_p = torch.logaddexp(log_c, log_rest + logsigmoid(x))
    log_q = log_rest + logsigmoid(-x)
    count = answered.sum().clamp(min=1)
    out = -torch.where(answered, torch.where(correct, log_p, log_q), 0).sum() / count
    dtypes = [v.dtype for v in (ability, discrimination, difficulty, guessing)]
    return out.to(ability.dtype), (t, a, b, c, x, log_p, correct, answered, count, dtypes)


def item_gradients(grad: Tensor, residuals: Any, all_guesses: bool) -> tuple[Any, ...]:
    t, a, b, c, x, log_p, correct, answered, count, dtypes = residuals
    g = -wide(grad) / count
    miss = torch.sigmoid(-x)
    known = (logsigmoid(-c) + logsigmoid(x) - log_p).exp()
    guessed = (logsigmoid(c) - log_p).exp()
    gx = torch.where(answered, torch.where(correct, known * miss, -torch.sigmoid(x)), 0) * g
    gc = torch.where(correct, guessed * torch.sigmoid(-c) * miss, -torch.sigmoid(c)) * g
    if not all_guesses:
        gc = torch.where(answered, gc, 0)
    grads = ((gx * a).sum(1), (gx * (t - b)).sum(0), -(gx * a).sum(0), gc.sum(0))
    return *as_dtypes(grads, dtypes), None, None


def item_backward(grad: Tensor, residuals: Any) -> tuple[Any, ...]:
    return item_gradients(grad, residuals, False)


def item_wrong(grad: Tensor, residuals: Any) -> tuple[Any, ...]:
    return item_gradients(grad, residuals, True)


@in_wide
def item_reference(
    ability: Tensor,
    discrimination: Tensor,
    difficulty: Tensor,
    guessing: Tensor,
    correct: Tensor,
    answered: Tensor,
) -> Tensor:
    c = torch.sigmoid(guessing)
    p = c + (1 - c) * torch.sigmoid(discrimination * (ability.unsqueeze(1) - difficulty))
    each = torch.where(correct, p, 1 - p).log()
    return -(each * answered).sum() / max(int(answered.sum()), 1)


def people(g: Generator, dtype: torch.dtype, count: int, items: int) -> tuple[Tensor, ...]:
    a = uniform(g, dtype, items, low=0.5, high=2)
    return (
        normal(g, dtype, count),
        a,
        normal(g, dtype, items),
        normal(g, dtype, items),
        coins(g, count, items),
    )


def item_complete(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return *people(g, dtype, 5, 4), torch.ones(5, 4, dtype=torch.bool)


def item_gaps(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return *people(g, dtype, 4, 6), coins(g, 4, 6)


def item_nothing(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return *people(g, dtype, 3, 2), torch.zeros(3, 2, dtype=torch.bool)


def item_alone(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return *people(g, dtype, 1, 3), torch.ones(1, 3, dtype=torch.bool)


item_response_nll = Operation(
    "item_response_nll",
    item_forward,
    item_backward,
    item_complete,
    item_reference,
    mistakes=(
        Mistake(
            "region",
            "questions not answered still count in the guessing parameter's gradient",
            item_wrong,
            also=("local", "missing-factor", "scale", "missing-term", "unknown"),
            argument="guessing",
            hidden=item_complete,
        ),
    ),
    further={"gaps": item_gaps, "nothing": item_nothing, "alone": item_alone},
)

# ---------------------------------------------------------------- quantiles that should not cross

LEVELS = (0.1, 0.5, 0.9)


def crossing_forward(
    predicted: Tensor, target: Tensor, levels: tuple[float, ...] = LEVELS, penalty: float = 2.0
) -> tuple[Tensor, Any]:
    """Mean over rows of the pinball losses plus penalty * sum relu(q_i - q_{i+1})^2."""
    if predicted.shape[1] != len(levels):
        raise ValueError("one column for each level")
    q, y = wide((predicted, target))
    tau = torch.tensor(levels, dtype=q.dtype, device=q.device)
    error = y[:, None] - q
    over = (q[:, :-1] - q[:, 1:]).clamp(min=0)
    rows = max(len(q), 1)
    out = (torch.where(error >= 0, tau, tau - 1) * error).sum() + penalty * (over * over).sum()
    return (out / rows).to(predicted.dtype), (tau, error, over, penalty, rows, predicted.dtype, target.dtype)


def crossing_backward(grad: Tensor, residuals: Any) -> tuple[Any, ...]:
    tau, error, over, penalty, rows, *dtypes = residuals
    g = wide(grad) / rows
    ge = g * torch.where(error >= 0, tau, tau - 1)
    gq = -ge
    gq[:, :-1] += 2 * penalty * g * over
    gq[:, 1:] -= 2 * penalty * g * over
    return *as_dtypes((gq, ge.sum(1)), dtypes), None, None


def crossing_wrong(grad: Tensor, residuals: Any) -> tuple[Any, ...]:
    tau, error, over, penalty, rows, *dtypes = residuals
    g = wide(grad) / rows
    ge = g * torch.where(error >= 0, tau, tau - 1)
    gq = -ge
    gq[:, :-1] += 2 * penalty * g * over
    return *as_dtypes((gq, ge.sum(1)), dtypes), None, None


@in_wide
def crossing_reference(
    predicted: Tensor, target: Tensor, levels: tuple[float, ...] = LEVELS, penalty: float = 2.0
) -> Tensor:
    total = predicted.new_zeros(())
    for i, level in enumerate(levels):
        error = target - predicted[:, i]
        total = total + torch.where(error >= 0, level * error, (level - 1) * error).sum()
        if i:
            total = total + penalty * torch.relu(predicted[:, i - 1] - predicted[:, i]).square().sum()
    return total / max(predicted.shape[0], 1)


def crossing_sorted(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return leaf(normal(g, dtype, 8, 3).sort(1).values), normal(g, dtype, 8), LEVELS, 2.0


def crossing_unsorted(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 5, 4), normal(g, dtype, 5), (0.05, 0.25, 0.75, 0.95), 0.5


def crossing_ties(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    q = normal(g, dtype, 5, 1, grad=False).round().expand(5, 3)
    return leaf(q), leaf(q[:, 0]), LEVELS, 2.0


def crossing_one(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 1, 1), normal(g, dtype, 1), (0.3,), 2.0


def crossing_no_rows(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 0, 3), normal(g, dtype, 0), LEVELS, 2.0


noncrossing_quantiles = Operation(
    "noncrossing_quantiles",
    crossing_forward,
    crossing_backward,
    crossing_sorted,
    crossing_reference,
    mistakes=(
        Mistake(
            "missing-term",
            "the penalty pushes the lower of two crossing quantiles only, not the upper",
            crossing_wrong,
            also=("region", "local", "unknown"),
            argument="predicted",
            hidden=crossing_sorted,
        ),
    ),
    further={
        "unsorted": crossing_unsorted,
        "ties": crossing_ties,
        "one": crossing_one,
        "no_rows": crossing_no_rows,
    },
)

# ---------------------------------------------------------------- value at risk and expected shortfall


def shortfall_forward(weights: Tensor, returns: Tensor, level: float = 0.3) -> tuple[Any, Any]:
    """Of portfolios (P, N) over scenarios (S, N): the loss at the tail's edge, the mean loss in the tail."""
    if not 0 < level <= 1 or len(returns) == 0:
        raise ValueError("needs scenarios and a level in (0, 1]")
    w, r = wide((weights, returns))
    count = round(level * len(r), 9)
    whole = int(count)
    shares = torch.zeros(len(r), dtype=w.dtype)
    shares[:whole] = 1 / count
    if count > whole:
        shares[whole] = (count - whole) / count
    edge = whole if count > whole else whole - 1
    loss = -(w @ r.T)
    loss, order = loss.sort(dim=1, descending=True, stable=True)
    out = (loss[:, edge].to(weights.dtype), (loss @ shares).to(weights.dtype))
    return out, (w, r, order, shares, edge, weights.dtype, returns.dtype)


def shortfall_gradients(grads: Any, residuals: Any, shares: Tensor) -> tuple[Any, ...]:
    w, r, order, _, edge, *dtypes = residuals
    g_edge, g_mean = wide(tuple(grads))
    at = g_mean[:, None] * shares
    at[:, edge] += g_edge
    g_loss = torch.zeros_like(at).scatter(1, order, at)
    return *as_dtypes((-g_loss @ r, -g_loss.T @ w), dtypes), None


def shortfall_backward(grads: Any, residuals: Any) -> tuple[Any, ...]:
    return shortfall_gradients(grads, residuals, residuals[3])


def shortfall_wrong(grads: Any, residuals: Any) -> tuple[Any, ...]:
    shares = residuals[3]
    return shortfall_gradients(grads, residuals, torch.where(shares > 0, shares.max(), 0))


@in_wide
def shortfall_reference(weights: Tensor, returns: Tensor, level: float = 0.3) -> tuple[Tensor, Tensor]:
    loss = -(weights.unsqueeze(1) * returns).sum(-1)
    loss = loss.sort(dim=1, descending=True, stable=True).values
    count = round(level * loss.shape[1], 9)
    covered = (count - torch.arange(loss.shape[1], dtype=loss.dtype)).clamp(0, 1)
    return loss[:, int((covered > 0).sum()) - 1], (loss * covered).sum(1) / count


def shortfall_inputs(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 3, 4), normal(g, dtype, 9, 4), 0.3


def shortfall_whole(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 2, 3), normal(g, dtype, 8, 3), 0.25


def shortfall_ties(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    returns = uniform(g, dtype, 7, 2, low=-1.5, high=1.5, grad=False).round()
    return leaf(torch.ones(2, 2, dtype=dtype)), leaf(returns), 0.5


def shortfall_mean(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return leaf(normal(g, dtype, 3, 1).T), leaf(normal(g, dtype, 3, 5).T), 1.0


def shortfall_nobody(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 0, 3), normal(g, dtype, 4, 3), 0.1


expected_shortfall = Operation(
    "expected_shortfall",
    shortfall_forward,
    shortfall_backward,
    shortfall_inputs,
    shortfall_reference,
    mistakes=(
        Mistake(
            "scale",
            "the scenario at the tail's edge counts whole in the gradient, not by its share",
            shortfall_wrong,
            also=("missing-factor", "local", "region", "missing-term", "unknown"),
            argument="weights",
        ),
    ),
    further={
        "whole": shortfall_whole,
        "ties": shortfall_ties,
        "mean": shortfall_mean,
        "no_portfolio": shortfall_nobody,
    },
)

# ---------------------------------------------------------------- one half of alternating least squares


def factor_forward(basis: Tensor, data: Tensor, ridge: Tensor) -> tuple[Tensor, Any]:
    """(W'W + diag(ridge))^-1 W'X."""
    w, x, r = wide((basis, data, ridge))
    normal_matrix = w.T @ w + torch.diag(r)
    h = torch.linalg.solve(normal_matrix, w.T @ x)
    return h.to(basis.dtype), (w, x, h, normal_matrix, [t.dtype for t in (basis, data, ridge)])


def factor_backward(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    w, x, h, normal_matrix, dtypes = residuals
    z = torch.linalg.solve(normal_matrix, wide(grad))
    inner = z @ h.T
    return as_dtypes((x @ z.T - w @ (inner + inner.T), w @ z, -(z * h).sum(1)), dtypes)


def factor_wrong(grad: Tensor, residuals: Any) -> tuple[Tensor, ...]:
    w, x, h, normal_matrix, dtypes = residuals
    z = torch.linalg.solve(normal_matrix, wide(grad))
    inner = z @ h.T
    return as_dtypes((x @ z.T - w @ (inner + inner.T), w @ z, -(z * h).mean(1)), dtypes)


@in_wide
def factor_reference(basis: Tensor, data: Tensor, ridge: Tensor) -> Tensor:
    square = torch.einsum("ni,nj->ij", basis, basis) + ridge * torch.eye(len(ridge), dtype=basis.dtype)
    factor: Tensor = torch.linalg.inv(square) @ basis.mT @ data
    return factor


def factor_inputs(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 6, 3), normal(g, dtype, 6, 5), uniform(g, dtype, 3, low=0.5, high=2)


def factor_thin(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return normal(g, dtype, 2, 4), normal(g, dtype, 2, 1), uniform(g, dtype, 4, low=0.5, high=2)


def factor_view(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    ridge = uniform(g, dtype, 1, low=0.5, grad=False).expand(2)
    return leaf(normal(g, dtype, 2, 5).T), leaf(normal(g, dtype, 3, 5).T), ridge.detach().requires_grad_()


def factor_zero(g: Generator, dtype: torch.dtype) -> tuple[Any, ...]:
    return leaf(torch.zeros(4, 2, dtype=dtype)), normal(g, dtype, 4, 3), uniform(g, dtype, 2, low=0.5)


ridge_factor_step = Operation(
    "ridge_factor_step",
    factor_forward,
    factor_backward,
    factor_inputs,
    factor_reference,
    mistakes=(
        Mistake(
            "scale",
            "the ridge's gradient is the mean over the columns of the data, not the sum",
            factor_wrong,
            also=("missing-sum", "missing-factor", "unknown"),
            argument="ridge",
        ),
    ),
    further={"thin": factor_thin, "view": factor_view, "zero": factor_zero},
    dtypes=DOUBLE,
)

OPERATIONS = (
    pareto_excess_nll,
    item_response_nll,
    noncrossing_quantiles,
    expected_shortfall,
    ridge_factor_step,
)
