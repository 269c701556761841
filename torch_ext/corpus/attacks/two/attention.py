"""Attention and its normalisers."""

import torch
import torch.nn.functional as F

from ._tools import FULL, LOW, Operation, bwd, fwd, leaf, mistakes, normal, reference, uniform

# ---- sparsemax over the last axis


def _threshold(x):
    z = x.sort(-1, descending=True).values
    total = z.cumsum(-1)
    k = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    size = (1 + k * z > total).sum(-1, keepdim=True)
    return (total.gather(-1, size - 1) - 1) / size


@fwd
def _sparsemax_forward(x):
    p = x.clone()
    p -= _threshold(x)
    p.clamp_(min=0)
    return p, p


_workspace = {}


@bwd
def _sparsemax_backward(g, p, wrong=""):
    on = (p > (0.1 if wrong == "small" else 0)).to(p.dtype)
    total, size = (g * on).sum(-1, keepdim=True), on.sum(-1, keepdim=True).clamp(min=1)
    if wrong == "mean":
        return (on * g,)
    if wrong == "all":
        return (on * (g - total / p.shape[-1]),)
    if wrong == "mask":
        return (g - total / size,)
    if wrong == "softmax":
        return (p * (g - total / size),)
    if wrong == "keepdim":
        return (on * (g - ((g * on).sum(-1) / on.sum(-1))),)
    d = on * (g - total / size)
    if wrong == "workspace":
        buffer = _workspace.setdefault((tuple(p.shape), p.dtype), torch.zeros_like(p))
        return (buffer.add_(d).clone(),)
    return (d,)


def _sparsemax_inputs(g, dtype):
    return (leaf(1.2 * normal(g, dtype, 5, 5, grad=False)),)


def _sparsemax_flat(g, dtype):
    return (leaf(0.03 * normal(g, dtype, 5, 5, grad=False)),)


def _sparsemax_reference(x):
    return torch.relu(x - _threshold(x))


SPARSEMAX = Operation(
    "sparsemax",
    _sparsemax_forward,
    _sparsemax_backward,
    _sparsemax_inputs,
    reference(_sparsemax_reference),
    mistakes(
        _sparsemax_backward,
        ("missing-term", "mean", "the mean over the support is not subtracted", {}),
        (
            "missing-term",
            "all",
            "the mean over all classes, not over the support",
            {"hidden": _sparsemax_flat, "also": ("offset", "missing-factor", "missing-sum", "region")},
        ),
        (
            "region",
            "mask",
            "entries outside the support get a gradient, too",
            {"hidden": _sparsemax_flat, "also": ("missing-factor", "local")},
        ),
        ("missing-factor", "softmax", "multiplied by the output, as for softmax", {}),
        (
            "missing-sum",
            "keepdim",
            "the mean lost its axis: it is broadcast over the wrong one of a square matrix",
            {"also": ("missing-term", "permuted", "transpose")},
        ),
        ("nondeterministic", "workspace", "a workspace kept between calls is added to and never cleared", {}),
    ),
    {
        "flat": _sparsemax_flat,
        "ties": lambda g, t: (
            leaf(torch.tensor([[1.0, 1.0, 0.0], [0.5, 0.5, 0.5], [0.0, 0.0, -3.0]], dtype=t)),
        ),
        "kinks": lambda g, t: (leaf(torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 1.0]], dtype=t)),),
        "saturated": lambda g, t: (leaf(100 * normal(g, t, 3, 4, grad=False)),),
        "one_class": lambda g, t: (normal(g, t, 3, 1),),
        "view": lambda g, t: (leaf(normal(g, t, 4, 3, grad=False).t()),),
    },
    LOW,
)

# ---- attention within a window of w to each side


def _band(n, w):
    at = torch.arange(n)
    return (at[:, None] - at[None, :]).abs() > w


@fwd
def _window_forward(q, k, v, w):
    scale = q.shape[-1] ** -0.5
    s = (q @ k.t()).mul_(scale).masked_fill_(_band(len(q), w), -torch.inf)
    p = s.sub_(s.amax(-1, keepdim=True)).exp_()
    p /= p.sum(-1, keepdim=True)
    return p @ v, (q, k, v, p, scale, w)


@bwd
def _window_backward(g, res, wrong=""):
    q, k, v, p, scale, w = res
    n = len(q)
    dv = torch.zeros_like(v, memory_format=torch.contiguous_format)
    for i in range(1 if wrong == "first" else 0, n):
        last = min(n, i + w + (0 if wrong == "window" else 1))
        for j in range(max(0, i - w), last):
            dv[j] += p[i, j] * g[i]
    dp = g @ v.t()
    if wrong == "saved":
        ds = p.mul_(dp - (dp * p).sum(-1, keepdim=True))
    elif wrong == "softmax":
        ds = p * dp
    else:
        ds = p * (dp - (dp * p).sum(-1, keepdim=True))
    if wrong == "sign":
        ds = -ds
    dq, dk = ds @ k * scale, ds.t() @ q * scale
    if wrong == "scale":
        dq = dq / scale
    if wrong == "swap":
        dq, dk = dk, dq
    return dq, dk, dv, None


def _window(n, d, w, e=None):
    def make(g, dtype):
        return normal(g, dtype, n, d), normal(g, dtype, n, d), normal(g, dtype, n, e or d), w

    return make


def _window_tied(g, dtype):  # queries and keys the same, values constant: the scores get no gradient
    return normal(g, dtype, 5, 3), normal(g, dtype, 5, 3), leaf(torch.ones(5, 3, dtype=dtype)), 1


def _window_reference(q, k, v, w):
    s = (q @ k.T / q.shape[-1] ** 0.5).masked_fill(_band(len(q), w), -torch.inf)
    return s.softmax(-1) @ v


SLIDING_WINDOW = Operation(
    "sliding_window_attention",
    _window_forward,
    _window_backward,
    _window(5, 3, 1),
    reference(_window_reference),
    mistakes(
        _window_backward,
        (
            "missing-term",
            "window",
            "the window ends one too early in the values' gradient",
            {"argument": "v", "also": ("missing-sum",)},
        ),
        (
            "local",
            "first",
            "the loop over the queries starts at one",
            {"argument": "v", "also": ("missing-term",)},
        ),
        ("missing-term", "softmax", "the softmax's subtracted sum is left out", {}),
        ("sign", "sign", "the softmax's gradient has the wrong sign", {"hidden": _window_tied}),
        (
            "scale",
            "scale",
            "1/sqrt(d) is left out for the queries",
            {"argument": "q", "also": ("missing-factor",)},
        ),
        ("permuted", "swap", "the gradients of queries and keys are exchanged", {}),
        (
            "mutates",
            "saved",
            "the saved weights are overwritten: the second backward pass differs",
            {"also": ("nondeterministic",)},
        ),
    ),
    {
        "tied": _window_tied,
        "one": _window(1, 2, 1),
        "self_only": _window(4, 3, 0),
        "whole": _window(4, 2, 9, 3),
        "large": lambda g, t: (
            leaf(30 * normal(g, t, 4, 2, grad=False)),
            normal(g, t, 4, 2),
            normal(g, t, 4, 2),
            1,
        ),
        "view": lambda g, t: (
            leaf(normal(g, t, 3, 4, grad=False).t()),
            normal(g, t, 4, 3),
            normal(g, t, 4, 2),
            2,
        ),
    },
    LOW,
)

# ---- linear attention with the feature map elu + 1


def _phi(x):
    return torch.where(x > 0, x + 1, x.clamp(max=0).exp())


@fwd
def _linear_forward(q, k, v):
    fq, fk = _phi(q), _phi(k)
    state, total = fk.t() @ v, fk.sum(0)
    low = (fq @ total)[:, None] + 1e-6
    out = fq @ state / low
    return out, (q, k, v, fq, fk, state, total, low, out)


def _slope(x, wrong=""):
    if wrong == "exp":
        return x.exp()
    if wrong == "product":
        on = (x > 0).to(x.dtype)
        return on + (1 - on) * x.exp()
    return torch.where(x > 0, torch.ones_like(x), x.clamp(max=0).exp())


@bwd
def _linear_backward(g, res, wrong=""):
    q, k, v, fq, fk, state, total, low, out = res
    top = g / low
    below = -(g * out).sum(-1, keepdim=True) / low
    if wrong == "constant":
        below = torch.zeros_like(below)
    if wrong == "sign":
        below = -below
    dstate, dtotal = fq.t() @ top, fq.t() @ below
    if wrong == "unsummed":
        dfk = v @ dstate.t() + fq * below
    else:
        dfk = v @ dstate.t() + dtotal.t()
    dfq = top @ state.t() + below * total
    dq = dfq * _slope(q, wrong if wrong in ("exp", "product") else "")
    dk = dfk if wrong == "slope" else dfk * _slope(k)
    return dq, dk, fk @ dstate


def _linear_inputs(g, dtype):
    return normal(g, dtype, 4, 3), normal(g, dtype, 4, 3), normal(g, dtype, 4, 2)


def _linear_positive(g, dtype):
    return normal(g, dtype, 4, 3), uniform(g, dtype, 4, 3, low=0.1), normal(g, dtype, 4, 2)


def _linear_negative(g, dtype):
    return uniform(g, dtype, 4, 3, low=-2.0, high=-0.1), normal(g, dtype, 4, 3), normal(g, dtype, 4, 2)


def _linear_zero(g, dtype):
    return leaf(torch.zeros(3, 2, dtype=dtype)), leaf(torch.zeros(3, 2, dtype=dtype)), normal(g, dtype, 3, 2)


def _linear_large(g, dtype):
    q = torch.tensor([[900.0, -900.0, 0.5], [1.0, 800.0, -1.0], [-2.0, 0.0, 3.0]], dtype=dtype)
    return leaf(q), normal(g, dtype, 3, 3), normal(g, dtype, 3, 2)


def _linear_reference(q, k, v):
    fq, fk = F.elu(q) + 1, F.elu(k) + 1
    return fq @ (fk.T @ v) / ((fq @ fk.sum(0))[:, None] + 1e-6)


LINEAR_ATTENTION = Operation(
    "linear_attention",
    _linear_forward,
    _linear_backward,
    _linear_inputs,
    reference(_linear_reference),
    mistakes(
        _linear_backward,
        (
            "missing-factor",
            "slope",
            "the feature map's derivative is forgotten for the keys",
            {"argument": "k", "hidden": _linear_positive, "also": ("region",)},
        ),
        (
            "region",
            "exp",
            "the derivative exp(x) is used for positive numbers, too",
            {"argument": "q", "hidden": _linear_negative, "also": ("missing-factor", "not-finite")},
        ),
        ("missing-term", "constant", "the normaliser is taken as a constant", {}),
        (
            "missing-sum",
            "unsummed",
            "the normaliser's gradient is not summed over the queries",
            {"argument": "k", "also": ("missing-term",)},
        ),
        ("missing-term", "sign", "the normaliser's part has the wrong sign", {"also": ("sign",)}),
        (
            "not-finite",
            "product",
            "a mask times an exponential that overflows: 0 * inf",
            {"argument": "q", "hidden": _linear_inputs, "also": ("region", "local")},
        ),
    ),
    {
        "positive": _linear_positive,
        "negative": _linear_negative,
        "kinks": _linear_zero,
        "large": _linear_large,
        "one": lambda g, t: (normal(g, t, 1, 1), normal(g, t, 1, 1), normal(g, t, 1, 1)),
        "longer_keys": lambda g, t: (
            normal(g, t, 2, 3),
            normal(g, t, 5, 3),
            leaf(normal(g, t, 2, 5, grad=False).t()),
        ),
    },
    FULL,
)

OPERATIONS = (SPARSEMAX, SLIDING_WINDOW, LINEAR_ATTENTION)
