"""Finance: Black-Scholes calls and the volatility of portfolios."""

import math

import torch

from torch_ext.corpus._entry import Mistake, Operation, normal, uniform

from ._util import leaf, unbroadcast

# ---- Black-Scholes ----------------------------------------------------------------------------


def call_forward(spot, strike, vol, maturity, rate):
    root = maturity.sqrt()
    d1 = ((spot / strike).log() + (rate + 0.5 * vol * vol) * maturity) / (vol * root)
    d2 = d1 - vol * root
    disc = (-rate * maturity).exp()
    n1, n2 = torch.special.ndtr(d1), torch.special.ndtr(d2)
    return spot * n1 - strike * disc * n2, (spot, strike, vol, maturity, rate, d1, n1, n2, disc, root)


def _call_backward(g, res, vega_constant):
    spot, strike, vol, maturity, rate, d1, n1, n2, disc, root = res
    bell = torch.exp(-0.5 * d1 * d1)
    vega = spot * vega_constant * bell * root
    theta = spot * bell / math.sqrt(2 * math.pi) * vol / (2 * root) + rate * strike * disc * n2
    return (
        unbroadcast(g * n1, spot.shape),
        unbroadcast(-g * disc * n2, strike.shape),
        unbroadcast(g * vega, vol.shape),
        unbroadcast(g * theta, maturity.shape),
        None,
    )


def call_backward(g, res):
    return _call_backward(g, res, 1 / math.sqrt(2 * math.pi))


def call_constant(g, res):
    return _call_backward(g, res, 0.39894)


def call_reference(spot, strike, vol, maturity, rate):
    total = vol * maturity.sqrt()
    d1 = (torch.log(spot / strike) + rate * maturity) / total + total / 2
    cdf = torch.distributions.Normal(0.0, 1.0, validate_args=False).cdf
    return spot * cdf(d1) - strike * torch.exp(-rate * maturity) * cdf(d1 - total)


CALL = Operation(
    name="black_scholes_call",
    forward=call_forward,
    backward=call_backward,
    reference=call_reference,
    dtypes=("float64", "float32"),
    inputs=lambda g, d: (
        uniform(g, d, 4, 1, low=80, high=120),
        uniform(g, d, 3, low=90, high=110),
        uniform(g, d, 3, low=0.15, high=0.5),
        leaf(torch.tensor(0.75), d),
        0.03,
    ),
    further={
        "at the money, no rate": lambda g, d: (
            leaf(torch.full((2,), 100.0), d),
            leaf(torch.full((2,), 100.0), d),
            leaf(torch.tensor([0.2, 0.4]), d),
            leaf(torch.tensor([1.0, 0.25]), d),
            0.0,
        ),
        "one deep in the money": lambda g, d: (
            leaf(torch.tensor([150.0]), d),
            leaf(torch.tensor([60.0]), d),
            leaf(torch.tensor([0.3]), d),
            leaf(torch.tensor([0.5]), d),
            0.05,
        ),
        "views": lambda g, d: (
            leaf(uniform(g, d, 3, 2, low=90, high=110, grad=False).t()),
            leaf(torch.tensor(100.0, dtype=d).expand(3)),
            uniform(g, d, 1, low=0.2, high=0.4),
            uniform(g, d, 2, 1, low=0.5, high=2),
            0.01,
        ),
    },
    mistakes=(
        Mistake(
            kind="scale",
            what="1/sqrt(2 pi) typed as 0.39894 in vega: 6e-6 too small",
            backward=call_constant,
            argument="vol",
        ),
    ),
)

# ---- the volatility of portfolios -------------------------------------------------------------


def risk_forward(weights, cov):
    vol = torch.einsum("bi,ij,bj->b", weights, cov, weights).sqrt_()
    return vol, (weights, cov, vol.clone())


def risk_backward(g, res):
    w, cov, vol = res
    h = (g / (2 * vol))[:, None]
    return h * (w @ cov + w @ cov.t()), (h * w).t() @ w


def risk_symmetric(g, res):
    w, cov, vol = res
    h = (g / vol)[:, None]
    return h * (w @ cov), (0.5 * h * w).t() @ w


def _cov(g, d, n, skew=0.0):
    a = torch.randn(n, n, generator=g, dtype=torch.float64)
    b = torch.randn(n, n, generator=g, dtype=torch.float64)
    return leaf(a @ a.t() + torch.eye(n, dtype=torch.float64) + skew * (b - b.t()), d)


RISK = Operation(
    name="portfolio_volatility",
    forward=risk_forward,
    backward=risk_backward,
    reference=lambda weights, cov: ((weights @ cov) * weights).sum(1).sqrt(),
    dtypes=("float64", "float32"),
    inputs=lambda g, d: (normal(g, d, 3, 5), _cov(g, d, 5, 0.3)),
    further={
        "one asset, short": lambda g, d: (leaf(torch.tensor([[-2.0]]), d), leaf(torch.tensor([[0.5]]), d)),
        "no portfolios": lambda g, d: (normal(g, d, 0, 3), _cov(g, d, 3, 0.1)),
        "views": lambda g, d: (leaf(normal(g, d, 4, 2, grad=False).t()), leaf(_cov(g, d, 4, 0.5).t())),
    },
    mistakes=(
        Mistake(
            kind="missing-term",
            what="2 C w: right only where the estimate C is symmetric",
            backward=risk_symmetric,
            also=("transpose", "unknown"),
            argument="weights",
            hidden=lambda g, d: (normal(g, d, 3, 5), _cov(g, d, 5)),
        ),
    ),
)

OPERATIONS = (CALL, RISK)
