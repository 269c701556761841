"""Statistics: weighted mean and variance, a Gaussian process's negative log likelihood."""

import math

import torch

from torch_ext.corpus._entry import Mistake, Operation, normal, uniform

from ._util import leaf, up

# ---- weighted mean and variance ---------------------------------------------------------------


def _moments(x, weight, correction):
    v, w = up(x), up(weight)
    total = w.sum()
    mean = (v * w).sum(1) / total
    centred = v - mean[:, None]
    spread = total - correction
    var = (centred.square() * w).sum(1) / spread
    return mean, var, centred, total, spread


def moments_forward(x, weight):
    mean, var, centred, total, _ = _moments(x, weight, 0)
    return (mean.to(x.dtype), var.to(x.dtype)), (x, weight, centred, var, total)


def _moments_backward(grads, res, var_term):
    x, weight, centred, var, total = res
    g_mean, g_var = (up(g)[:, None] for g in grads)
    w = up(weight)
    grad_x = (g_mean + 2 * g_var * centred) * w / total
    grad_w = (g_mean * centred + g_var * (centred.square() - var_term(var)[:, None])).sum(0) / total
    return grad_x.to(x.dtype), grad_w.to(weight.dtype)


def moments_backward(grads, res):
    return _moments_backward(grads, res, lambda var: var)


def moments_no_var(grads, res):
    return _moments_backward(grads, res, torch.zeros_like)


def moments_unbiased_forward(x, weight):
    mean, var, centred, total, spread = _moments(x, weight, 1)
    return (mean.to(x.dtype), var.to(x.dtype)), (x, weight, centred, var, total, spread)


def moments_unbiased_backward(grads, res):
    x, weight, centred, var, total, spread = res
    g_mean, g_var = (up(g)[:, None] for g in grads)
    w = up(weight)
    grad_x = g_mean * w / total + 2 * g_var * centred * w / spread
    grad_w = (g_mean * centred / total + g_var * (centred.square() - var[:, None]) / spread).sum(0)
    return grad_x.to(x.dtype), grad_w.to(weight.dtype)


def moments_reference(x, weight):
    p = weight / weight.sum()
    mean = x @ p
    return mean, ((x - mean[:, None]) ** 2) @ p


MOMENTS = Operation(
    name="weighted_moments",
    forward=moments_forward,
    backward=moments_backward,
    reference=moments_reference,
    dtypes=("float64", "float32", "bfloat16"),
    inputs=lambda g, d: (normal(g, d, 3, 6), uniform(g, d, 6, low=0.5, high=2)),
    further={
        "one observation": lambda g, d: (normal(g, d, 2, 1), uniform(g, d, 1, low=1, high=2)),
        "constant, some weights zero": lambda g, d: (
            leaf(torch.full((2, 4), 3.0), d),
            leaf(torch.tensor([0.0, 1.0, 2.0, 0.0]), d),
        ),
        "transposed, far from zero": lambda g, d: (
            leaf((64 + normal(g, d, 5, 2, grad=False)).t()),
            leaf(torch.ones(1, dtype=d).expand(5)),
        ),
    },
    mistakes=(
        Mistake(
            kind="missing-term",
            what="the second output's derivative of the normalizer, - var, is forgotten",
            backward=moments_no_var,
            argument="weight",
        ),
        Mistake(
            kind="forward",
            what="divides by the sum of the weights less one",
            forward=moments_unbiased_forward,
            backward=moments_unbiased_backward,
        ),
    ),
)

# ---- Gaussian process: y^T K^-1 y / 2 + log|K| / 2 + n log(2 pi) / 2 --------------------------


def gp_forward(kernel, y):
    inverse = torch.linalg.inv(kernel)
    alpha = inverse @ y
    nll = 0.5 * (y @ alpha) + 0.5 * torch.linalg.slogdet(kernel)[1] + 0.5 * y.numel() * math.log(2 * math.pi)
    return nll, (inverse, alpha, y)


def _gp_backward(g, res, inverse_t):
    inverse, alpha, y = res
    beta = inverse.t() @ y
    return 0.5 * g * (inverse_t - torch.outer(beta, alpha)), 0.5 * g * (alpha + beta)


def gp_backward(g, res):
    return _gp_backward(g, res, res[0].t())


def gp_probes(g, res):
    inverse = res[0]
    z = torch.randint(0, 2, (len(inverse), 256)).to(inverse.dtype) * 2 - 1
    return _gp_backward(g, res, inverse.t() @ z @ z.t() / 256)


def gp_reference(kernel, y):
    quad = y @ torch.linalg.solve(kernel, y)
    return (quad + torch.logdet(kernel @ kernel.t()) / 2 + y.numel() * math.log(2 * math.pi)) / 2


def _kernel(g, d, n, noise=0.5):
    x = torch.randn(n, generator=g, dtype=torch.float64)
    k = torch.exp(-((x[:, None] - x) ** 2)) + noise * torch.eye(n, dtype=torch.float64)
    return leaf(k, d)


GP = Operation(
    name="gaussian_process_nll",
    forward=gp_forward,
    backward=gp_backward,
    reference=gp_reference,
    dtypes=("float64",),
    inputs=lambda g, d: (_kernel(g, d, 5), normal(g, d, 5)),
    further={
        "one observation": lambda g, d: (_kernel(g, d, 1), normal(g, d, 1)),
        "white noise, data zero": lambda g, d: (leaf(torch.eye(4), d), leaf(torch.zeros(4), d)),
        "not symmetric": lambda g, d: (
            leaf((_kernel(g, d, 4, 1.0).detach() + 0.1 * normal(g, d, 4, 4, grad=False)).t()),
            leaf(normal(g, d, 8, grad=False)[::2]),
        ),
    },
    mistakes=(
        Mistake(
            kind="nondeterministic",
            what="the inverse is estimated by random probes drawn anew in each backward",
            backward=gp_probes,
            argument="kernel",
        ),
    ),
)

OPERATIONS = (MOMENTS, GP)
