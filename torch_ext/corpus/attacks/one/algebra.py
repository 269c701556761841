"""Linear algebra and convolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from torch_ext.corpus._entry import Mistake, Operation, normal

from ._tools import edit, leaf, up

# ---------------------------------------------------------------- solve with a lower triangle, a batch of right-hand sides


def tri_solve(a, b):
    return torch.linalg.solve_triangular(up(a).tril(), up(b), upper=False).to(b.dtype)


def tri_forward(a, b):
    x = torch.linalg.solve_triangular(up(a.detach()).tril(), up(b.detach()), upper=False)
    return x.to(b.dtype), (a, x)


def tri_backward(g, res, *, mask="lower", sign=-1.0, summed=True, diag=True):
    a, x = res
    t = up(a.detach()).tril()
    db = torch.linalg.solve_triangular(t.t(), up(g), upper=True)
    da = sign * db @ x.transpose(-1, -2)
    if da.dim() == 3 and summed:
        da = da.sum(0)
    if mask == "lower":
        da = da.tril(0 if diag else -1)
    return da.to(a.dtype), db.to(g.dtype)


def _ts(**k):
    return lambda g, res: tri_backward(g, res, **k)


def _triangle(g, dtype, n, junk=True):
    a = 0.5 * normal(g, dtype, n, n, grad=False) + 2 * torch.eye(n, dtype=dtype)
    return leaf(a if junk else a.tril())


def tri_inputs(g, dtype):
    return _triangle(g, dtype, 4), normal(g, dtype, 2, 4, 3)


TRI_SOLVE = Operation(
    "triangular_solve",
    tri_forward,
    tri_backward,
    tri_inputs,
    tri_solve,
    mistakes=(
        Mistake(
            "region",
            "the upper triangle, which is never read, gets a gradient",
            _ts(mask="none"),
            also=("local", "missing-factor", "missing-term"),
            argument="a",
            source="https://github.com/jax-ml/jax/issues/40421",
        ),
        Mistake("sign", "no minus in the matrix's gradient", _ts(sign=1.0), argument="a"),
        Mistake(
            "transpose",
            "the matrix's gradient transposed",
            edit(tri_backward, 0, lambda d, g, r: d.t()),
            argument="a",
        ),
        Mistake(
            "local",
            "the diagonal is taken as one: its gradient is zero",
            _ts(diag=False),
            also=("zero", "region", "missing-term"),
            argument="a",
            source="https://github.com/pymc-devs/pytensor/issues/1230",
        ),
        Mistake(
            "missing-sum",
            "the shared matrix's gradient is not summed over the batch",
            _ts(summed=False),
            also=("shape",),
            argument="a",
        ),
        Mistake(
            "zero",
            "only the right-hand side gets a gradient",
            edit(tri_backward, 0, lambda d, g, r: None),
            argument="a",
            source="https://github.com/tensor4all/tenferro-rs/issues/772",
        ),
        Mistake(
            "shape",
            "the right-hand side's gradient comes back column-major, as LAPACK leaves it",
            edit(tri_backward, 1, lambda d, g, r: d.transpose(-1, -2).contiguous()),
            also=("transpose",),
            argument="b",
        ),
    ),
    further={
        "no_batch": lambda g, d: (_triangle(g, d, 3), normal(g, d, 3, 2)),
        "truly_lower": lambda g, d: (_triangle(g, d, 3, junk=False), normal(g, d, 2, 3, 1)),
        "one": lambda g, d: (_triangle(g, d, 1), normal(g, d, 1, 1)),
        "no_sides": lambda g, d: (_triangle(g, d, 3), normal(g, d, 3, 0)),
        "transposed": lambda g, d: (leaf(_triangle(g, d, 3).t()), leaf(normal(g, d, 2, 3).t())),
    },
)

# ---------------------------------------------------------------- pairwise distances


def cdist(x, y):
    d2 = ((up(x)[:, None] - up(y)[None]) ** 2).sum(-1)
    zero = d2 == 0
    return torch.where(zero, 0, torch.where(zero, 1, d2).sqrt()).to(x.dtype)


def cdist_forward(x, y, *, eps=0.0):
    a, b = up(x.detach()), up(y.detach())
    d = (((a[:, None] - b[None]) ** 2).sum(-1) + eps).sqrt()
    return d.to(x.dtype), (x, y, d)


_DICE = torch.Generator().manual_seed(1)  # its own, so that seeding the global one changes nothing


def cdist_backward(g, res, *, guard=True, ysign=-1.0, yaxis=0, divide=True, least=0.0, sample=False):
    x, y, d = res
    diff = up(x.detach())[:, None] - up(y.detach())[None]
    h = up(g)
    if sample:
        h = h * 2 * (torch.rand(h.shape, generator=_DICE) < 0.5)
    if not divide:
        c = h
    elif not guard:
        c = h / d
    else:
        c = torch.where(d == 0, 0, h / (torch.where(d == 0, 1, d).clamp_min(least)))
    t = c[..., None] * diff
    return t.sum(1).to(x.dtype), (ysign * t.sum(yaxis)).to(y.dtype)


def _cd(**k):
    return lambda g, res: cdist_backward(g, res, **k)


def cdist_inputs(g, dtype):
    x, y = normal(g, dtype, 4, 3), leaf(normal(g, dtype, 4, 3) + 1.5)
    with torch.no_grad():
        y[1] = x[2] + 0.125  # one close pair
    return x, y


def cdist_apart(g, dtype):
    return normal(g, dtype, 4, 3), leaf(normal(g, dtype, 4, 3) + 8)


CDIST = Operation(
    "pairwise_distance",
    cdist_forward,
    cdist_backward,
    cdist_inputs,
    cdist,
    mistakes=(
        Mistake(
            "not-finite",
            "divides by a distance of zero",
            _cd(guard=False),
            hidden=cdist_inputs,
            source="https://github.com/pytorch/pytorch/issues/37154",
        ),
        Mistake(
            "forward", "1e-4 under the root, in both passes", None, lambda x, y: cdist_forward(x, y, eps=1e-4)
        ),
        Mistake("sign", "y's gradient lacks the minus", _cd(ysign=1.0), argument="y"),
        Mistake(
            "missing-sum",
            "y's gradient is summed over y's own axis (same size here)",
            _cd(yaxis=1),
            also=("permuted", "shape"),
            argument="y",
        ),
        Mistake("missing-factor", "not divided by the distance", _cd(divide=False), also=("missing-sum",)),
        Mistake(
            "region",
            "distances are clamped from below at 0.5 in the backward pass",
            _cd(least=0.5),
            also=("local", "missing-factor"),
            hidden=cdist_apart,
        ),
        Mistake("nondeterministic", "a random half of the pairs, doubled", _cd(sample=True)),
    ),
    further={
        "coincident": lambda g, d: (
            leaf(torch.tensor([[1.0, 2.0], [0.0, 1.0]], dtype=d)),
            leaf(torch.tensor([[1.0, 2.0], [3.0, 1.0], [0.0, 1.0]], dtype=d)),
        ),
        "one_column": lambda g, d: (normal(g, d, 3, 1), normal(g, d, 2, 1)),
        "one": lambda g, d: (normal(g, d, 1, 2), normal(g, d, 1, 2)),
        "empty": lambda g, d: (normal(g, d, 0, 2), normal(g, d, 3, 2)),
        "transposed": lambda g, d: (leaf(normal(g, d, 2, 3).t()), leaf(normal(g, d, 6, 2)[::2])),
        "far": lambda g, d: (normal(g, d, 2, 3), leaf(normal(g, d, 2, 3) + 50)),
    },
)

# ---------------------------------------------------------------- depthwise convolution along time


def _pad(w):
    return w.shape[1] // 2


def depthwise(x, w, b):
    return F.conv1d(up(x), up(w)[:, None], up(b), padding=_pad(w), groups=x.shape[1]).to(x.dtype)


def depthwise_forward(x, w, b):
    v, k = F.pad(up(x.detach()), (_pad(w), _pad(w))), up(w.detach())
    n = x.shape[2]
    y = up(b.detach())[:, None] + sum(v[:, :, j : j + n] * k[:, j, None] for j in range(k.shape[1]))
    return y.to(x.dtype), (x, w)


def depthwise_backward(g, res, *, flip=False, taps=None, summed=True, shift=0, db=None):
    x, w = res
    h, k = up(g), up(w.detach())
    c, size = k.shape
    pad, n = _pad(w), x.shape[2]
    v = F.pad(up(x.detach()), (pad, pad))
    d = torch.zeros_like(v)
    dw = torch.zeros((x.shape[0], c, size), dtype=v.dtype)
    for j in range(size if taps is None else size + taps):
        d[:, :, j : j + n] += h * k[:, j, None]
        dw[:, :, j] = (h * v[:, :, j : j + n]).sum(2)
    dx = d[:, :, pad + shift : pad + shift + n]
    if summed:
        dw = dw.sum(0)
    if flip:
        dw = dw.flip(-1)
    bias = h.sum((0, 2)) if db is None else db(h)
    return dx.to(x.dtype), dw.to(w.dtype), bias.to(w.dtype)


def _dw(**k):
    return lambda g, res: depthwise_backward(g, res, **k)


def depthwise_inputs(g, dtype, n=2, c=4, length=4, k=3):
    return normal(g, dtype, n, c, length), normal(g, dtype, c, k), normal(g, dtype, c)


class _Buffer:
    """A gradient buffer that is never set to zero between calls."""

    def __init__(self):
        self.sums = {}

    def __call__(self, g, res):
        dx, dw, db = depthwise_backward(g, res)
        key = (tuple(dw.shape), dw.dtype)
        self.sums[key] = self.sums.get(key, 0) + dw
        return dx, self.sums[key].clone(), db


def _bias_double(g, res):
    dx, dw, _ = depthwise_backward(g, res)
    return dx, dw, g.double().sum((0, 2))


DEPTHWISE = Operation(
    "depthwise_conv1d",
    depthwise_forward,
    depthwise_backward,
    depthwise_inputs,
    depthwise,
    mistakes=(
        Mistake(
            "permuted",
            "the kernel's gradient is flipped: convolution for correlation",
            _dw(flip=True),
            argument="w",
        ),
        Mistake(
            "permuted",
            "the input's gradient is one step late: padding off by one",
            _dw(shift=-1),
            argument="x",
        ),
        Mistake(
            "missing-sum",
            "the kernel's gradient is not summed over the batch",
            _dw(summed=False),
            also=("shape",),
            argument="w",
        ),
        Mistake(
            "missing-sum",
            "the bias' gradient is summed over channels for time (same size here)",
            _dw(db=lambda h: h.sum((0, 1))),
            also=("permuted", "shape"),
            argument="b",
        ),
        Mistake(
            "missing-term",
            "the loop over taps ends one early",
            _dw(taps=-1),
            also=("local", "zero", "region"),
        ),
        Mistake(
            "nondeterministic",
            "adds into a buffer of the layer that is never cleared: right at the first call only",
            _Buffer(),
            also=("scale", "mutates"),
            argument="w",
        ),
        Mistake(
            "dtype",
            "the bias is summed in float64 and not cast back",
            _bias_double,
            argument="b",
            dtypes=("float32",),
        ),
    ),
    further={
        "shorter_than_kernel": lambda g, d: depthwise_inputs(g, d, 2, 2, 1, 5),
        "one_tap": lambda g, d: depthwise_inputs(g, d, 2, 3, 4, 1),
        "one": lambda g, d: depthwise_inputs(g, d, 1, 1, 1, 1),
        "empty_batch": lambda g, d: depthwise_inputs(g, d, 0, 2, 4, 3),
        "zero_kernel": lambda g, d: (
            normal(g, d, 2, 3, 4),
            leaf(torch.zeros(3, 3, dtype=d)),
            normal(g, d, 3),
        ),
        "channels_last": lambda g, d: (
            leaf(normal(g, d, 2, 5, 3).transpose(1, 2)),
            leaf(normal(g, d, 3, 3).t()),
            normal(g, d, 3),
        ),
    },
)

OPERATIONS = (TRI_SOLVE, CDIST, DEPTHWISE)
