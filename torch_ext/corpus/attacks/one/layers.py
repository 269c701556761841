"""Layers with weights."""

from __future__ import annotations

import torch

from torch_ext.corpus._entry import Mistake, Operation, normal, uniform

from ._tools import edit, fit, leaf, up

# ---------------------------------------------------------------- group normalisation
GROUPS, GN_EPS = 2, 1e-5


def _gn_stats(x):
    n, c, length = x.shape
    v = up(x).reshape(n, GROUPS, c // GROUPS * length)
    mean = v.mean(-1, keepdim=True)
    var = ((v - mean) ** 2).mean(-1, keepdim=True)
    return v, mean, var


def group_norm(x, gamma, beta):
    v, mean, var = _gn_stats(x)
    xhat = ((v - mean) * torch.rsqrt(var + GN_EPS)).reshape(x.shape)
    return (xhat * up(gamma)[:, None] + up(beta)[:, None]).to(x.dtype)


def group_norm_forward(x, gamma, beta):
    v, mean, var = _gn_stats(x)
    xhat = ((v - mean) * torch.rsqrt(var + GN_EPS)).reshape(x.shape)
    return (xhat * up(gamma)[:, None] + up(beta)[:, None]).to(x.dtype), (xhat, var, gamma)


def group_norm_backward(g, res, *, mean=True, corr=True, rstd=None):
    xhat, var, gamma = res
    dtype, g = g.dtype, up(g)
    shape = xhat.shape
    grouped = (shape[0], GROUPS, shape[1] // GROUPS * shape[2])
    d = (g * up(gamma)[:, None]).reshape(grouped)
    h = xhat.reshape(grouped)
    r = torch.rsqrt(var + GN_EPS) if rstd is None else rstd(var, h.shape[-1])
    inner = d
    if mean:
        inner = inner - d.mean(-1, keepdim=True)
    if corr:
        inner = inner - h * (d * h).mean(-1, keepdim=True)
    dx = (r * inner).reshape(shape)
    return dx.to(dtype), (g * xhat).sum((0, 2)).to(dtype), g.sum((0, 2)).to(dtype)


def _gn(**k):
    return lambda g, res: group_norm_backward(g, res, **k)


def gn_inputs(g, dtype):
    return normal(g, dtype, 3, 4, 4), normal(g, dtype, 4), normal(g, dtype, 4)


def _last_zero(d, g, r):
    d = d.clone()
    d[-1] = 0
    return d


GROUP_NORM = Operation(
    "group_norm_1d",
    group_norm_forward,
    group_norm_backward,
    gn_inputs,
    group_norm,
    mistakes=(
        Mistake("missing-term", "the mean of the gradient is not subtracted", _gn(mean=False), argument="x"),
        Mistake(
            "missing-term",
            "the statistics are taken as constants (detached)",
            _gn(mean=False, corr=False),
            argument="x",
        ),
        Mistake(
            "missing-sum",
            "gamma's gradient is summed over the batch, not over positions",
            edit(group_norm_backward, 1, lambda d, g, r: (up(g) * r[0]).sum(0).to(d.dtype)),
            also=("shape",),
            argument="gamma",
        ),
        Mistake(
            "missing-sum",
            "beta's gradient is summed over channels for positions (same size here)",
            edit(group_norm_backward, 2, lambda d, g, r: up(g).sum((0, 1)).to(d.dtype)),
            also=("shape", "permuted"),
            argument="beta",
        ),
        Mistake(
            "scale",
            "the standard deviation of the backward pass is the unbiased one",
            _gn(rstd=lambda v, m: torch.rsqrt(v + GN_EPS) * ((m - 1) / m) ** 0.5),
            argument="x",
        ),
        Mistake(
            "permuted",
            "channels of gamma in the order (C/G, G) for (G, C/G)",
            edit(group_norm_backward, 1, lambda d, g, r: d.reshape(GROUPS, -1).t().reshape(-1)),
            argument="gamma",
            also=("local",),
            source="https://github.com/tenstorrent/tt-metal/pull/56202",
        ),
        Mistake(
            "local",
            "the loop over channels ends one early: beta's last gradient stays zero",
            edit(group_norm_backward, 2, _last_zero),
            also=("zero",),
            argument="beta",
        ),
    ),
    further={
        "constant": lambda g, d: (
            leaf(torch.full((2, 4, 3), 1.5, dtype=d)),
            normal(g, d, 4),
            normal(g, d, 4),
        ),
        "one_per_group": lambda g, d: (normal(g, d, 3, 2, 1), normal(g, d, 2), normal(g, d, 2)),
        "empty_batch": lambda g, d: (normal(g, d, 0, 4, 3), normal(g, d, 4), normal(g, d, 4)),
        "zero_gamma": lambda g, d: (normal(g, d, 2, 4, 3), leaf(torch.zeros(4, dtype=d)), normal(g, d, 4)),
        "channels_last": lambda g, d: (
            leaf(normal(g, d, 2, 3, 4).transpose(1, 2)),
            normal(g, d, 4),
            normal(g, d, 4),
        ),
        "large": lambda g, d: (leaf(64 * normal(g, d, 2, 4, 5)), normal(g, d, 4), normal(g, d, 4)),
    },
)

# ---------------------------------------------------------------- one step of a GRU
# weights (3, inputs, units): reset, update, new


def gru(x, h, w, u, b, c):
    a, s = up(x), up(h)
    i = a @ up(w) + up(b)[:, None]
    j = s @ up(u) + up(c)[:, None]
    r, z = torch.sigmoid(i[0] + j[0]), torch.sigmoid(i[1] + j[1])
    n = torch.tanh(i[2] + r * j[2])
    return ((1 - z) * n + z * s).to(x.dtype)


def gru_forward(x, h, w, u, b, c):
    a, s = up(x), up(h)
    i = a @ up(w) + up(b)[:, None]
    j = s @ up(u) + up(c)[:, None]
    r, z = torch.sigmoid(i[0] + j[0]), torch.sigmoid(i[1] + j[1])
    n = torch.tanh(i[2] + r * j[2])
    return ((1 - z) * n + z * s).to(x.dtype), (x, h, w, u, r, z, n, j[2])


def gru_backward(g, res, *, carry=True, reset_bias=True, zsign=1.0, summed=True):
    x, h, w, u, r, z, n, hn = res
    dtype, g = g.dtype, up(g)
    x, h, w, u = (up(t) for t in (x, h, w, u))
    an = g * (1 - z) * (1 - n**2)
    ar = an * hn * r * (1 - r)
    az = zsign * g * (h - n) * z * (1 - z)
    di, dj = torch.stack((ar, az, an)), torch.stack((ar, az, an * r))
    dx = (di @ w.transpose(1, 2)).sum(0)
    dh = (dj @ u.transpose(1, 2)).sum(0) + (g * z if carry else 0)
    db, dc = di.sum(1) if summed else di, (dj if reset_bias else di).sum(1)
    return tuple(t.to(dtype) for t in (dx, dh, x.t() @ di, h.t() @ dj, db, dc))


def gru_inputs(g, dtype, n=3, i=2, k=3):
    return (
        normal(g, dtype, n, i),
        normal(g, dtype, n, k),
        normal(g, dtype, 3, i, k),
        normal(g, dtype, 3, k, k),
        normal(g, dtype, 3, k),
        normal(g, dtype, 3, k),
    )


def _gru_first_step(g, dtype):
    x, h, w, u, b, c = gru_inputs(g, dtype)
    return x, leaf(torch.zeros_like(h)), w, u, b, c


def _gru_saturated(g, dtype):
    x, h, w, u, b, c = gru_inputs(g, dtype)
    shut = torch.tensor([[-30.0], [-30.0], [0.0]], dtype=dtype)  # both gates shut
    return x, h, w, u, leaf(b + shut), c


GRU = Operation(
    "gru_cell",
    gru_forward,
    gru_backward,
    gru_inputs,
    gru,
    mistakes=(
        Mistake(
            "missing-term",
            "the direct path through the update gate, g * z, is forgotten",
            lambda g, r: gru_backward(g, r, carry=False),
            argument="h",
        ),
        Mistake(
            "missing-factor",
            "the recurrent bias of the new gate is not multiplied by the reset gate",
            lambda g, r: gru_backward(g, r, reset_bias=False),
            also=("local", "region"),
            argument="c",
            source="https://github.com/ml-explore/mlx/pull/3252 (the same bias, in the forward pass)",
        ),
        Mistake(
            "transpose",
            "recurrent weights' gradient transposed (square, so the shape fits)",
            edit(gru_backward, 3, lambda d, g, r: d.transpose(1, 2)),
            argument="u",
            hidden=_gru_first_step,
        ),
        Mistake(
            "permuted",
            "gates in the order update, reset, new",
            edit(gru_backward, 2, lambda d, g, r: d[[1, 0, 2]]),
            argument="w",
        ),
        Mistake(
            "sign",
            "the update gate's derivative has n - h for h - n",
            lambda g, r: gru_backward(g, r, zsign=-1.0),
            also=("region", "local", "missing-term", "missing-factor"),
        ),
        Mistake(
            "missing-sum",
            "input bias not summed over the batch",
            lambda g, r: gru_backward(g, r, summed=False),
            also=("shape",),
            argument="b",
        ),
        Mistake(
            "zero",
            "the state's gradient is cut (truncation written into the cell)",
            edit(gru_backward, 1, lambda d, g, r: None),
            argument="h",
        ),
    ),
    further={
        "first_step": _gru_first_step,
        "saturated": _gru_saturated,
        "one": lambda g, d: gru_inputs(g, d, 1, 1, 1),
        "empty_batch": lambda g, d: gru_inputs(g, d, 0, 2, 3),
        "transposed": lambda g, d: (
            lambda t: (
                leaf(normal(g, d, 2, 3).t()),
                t[1],
                leaf(t[2].detach().transpose(1, 2).contiguous().transpose(1, 2)),
                *t[3:],
            )
        )(gru_inputs(g, d)),
    },
)

# ---------------------------------------------------------------- squeeze and excitation


def _se_parts(x, w1, w2):
    v = up(x)
    s = v.mean(2)
    pre = s @ up(w1)
    a = pre.clamp_min(0)
    return v, s, pre, a, torch.sigmoid(a @ up(w2))


def squeeze_excite(x, w1, w2):
    v = up(x)
    e = torch.sigmoid(torch.relu(v.mean(2) @ up(w1)) @ up(w2))
    return (v * e[:, :, None]).to(x.dtype)


def se_forward(x, w1, w2):
    v, s, pre, a, e = _se_parts(x, w1, w2)
    return (v * e[:, :, None]).to(x.dtype), (x, w1, w2, s, a, e)


def se_backward(g, res, *, gate=True, deriv=True, mask="positive", reduce="sum"):
    x, w1, w2, s, a, e = res
    dtype, g = g.dtype, up(g)
    v, p1, p2 = up(x), up(w1), up(w2)
    de = (g * v).sum(2) if reduce == "sum" else (g * v).mean(2)
    d2 = de * e * (1 - e) if deriv else de
    da = d2 @ p2.t()
    on = {"positive": a > 0, "negative": a < 0, "none": torch.ones_like(a)}[mask]
    d1 = da * on.to(da.dtype)
    dx = g * e[:, :, None]
    if gate:
        dx = dx + (d1 @ p1.t() / v.shape[2])[:, :, None]
    return dx.to(dtype), (s.t() @ d1).to(dtype), (a.t() @ d2).to(dtype)


def _se(**k):
    return lambda g, res: se_backward(g, res, **k)


def se_inputs(g, dtype, n=3, c=4, r=4, length=5):
    return normal(g, dtype, n, c, length), normal(g, dtype, c, r), normal(g, dtype, r, c)


def se_all_on(g, dtype):
    return (
        uniform(g, dtype, 3, 4, 5, low=0.5, high=2),
        uniform(g, dtype, 4, 4, low=0.1),
        normal(g, dtype, 4, 4),
    )


SQUEEZE_EXCITE = Operation(
    "squeeze_excite",
    se_forward,
    se_backward,
    se_inputs,
    squeeze_excite,
    mistakes=(
        Mistake(
            "missing-term",
            "the gate is taken as a constant: x lacks the way through it",
            _se(gate=False),
            argument="x",
        ),
        Mistake(
            "transpose",
            "the first matrix's gradient transposed (square here)",
            edit(se_backward, 1, lambda d, g, r: d.t()),
            argument="w1",
        ),
        Mistake(
            "missing-factor",
            "the sigmoid's derivative is forgotten",
            _se(deriv=False),
            also=("missing-term", "scale"),
        ),
        Mistake(
            "missing-factor",
            "the rectifier's mask is forgotten",
            _se(mask="none"),
            also=("region", "missing-term", "local"),
            hidden=se_all_on,
        ),
        Mistake(
            "zero",
            "the rectifier's mask is taken from its output with < 0: never true",
            _se(mask="negative"),
            also=("missing-term",),
        ),
        Mistake(
            "scale",
            "mean over positions for the sum in the gate's gradient",
            _se(reduce="mean"),
            also=("missing-term",),
        ),
        Mistake(
            "permuted",
            "the two matrices' gradients are returned in exchanged order",
            lambda g, r: (lambda d: (d[0], d[2], d[1]))(se_backward(g, r)),
        ),
    ),
    further={
        "oblong": lambda g, d: se_inputs(g, d, 2, 4, 2, 3),
        "all_off": lambda g, d: (
            uniform(g, d, 2, 3, 4, low=0.5),
            leaf(-uniform(g, d, 3, 2, low=0.1)),
            normal(g, d, 2, 3),
        ),
        "zeros": lambda g, d: (leaf(torch.zeros(2, 3, 4, dtype=d)), normal(g, d, 3, 2), normal(g, d, 2, 3)),
        "one": lambda g, d: se_inputs(g, d, 1, 1, 1, 1),
        "empty_batch": lambda g, d: se_inputs(g, d, 0, 3, 2, 4),
        "channels_last": lambda g, d: (
            leaf(normal(g, d, 2, 4, 3).transpose(1, 2)),
            normal(g, d, 3, 2),
            normal(g, d, 2, 3),
        ),
    },
)

# ---------------------------------------------------------------- rotary embedding with learnt angles


def rotary(x, theta):
    a, b = up(x).chunk(2, -1)
    c, s = up(theta).cos(), up(theta).sin()
    return torch.cat((a * c - b * s, a * s + b * c), -1).to(x.dtype)


def rotary_forward(x, theta):
    return rotary(x, theta), (x, theta)


def rotary_backward(g, res, *, wrong_way=False, layout="half", one_term=False, skip_first=False):
    x, theta = res
    c, s = up(theta).cos(), up(theta).sin()
    a, b = up(x).chunk(2, -1)
    p, q = up(g).chunk(2, -1)
    d1, d2 = (p * c - q * s, p * s + q * c) if wrong_way else (p * c + q * s, q * c - p * s)
    if skip_first and x.shape[-2] > 0:
        d1, d2 = d1.clone(), d2.clone()
        d1[..., 0, :], d2[..., 0, :] = p[..., 0, :], q[..., 0, :]
    if layout == "interleaved":
        dx = torch.stack((d1, d2), -1).flatten(-2)
    else:
        dx = torch.cat((d2, d1) if layout == "swapped" else (d1, d2), -1)
    dt = q * (a * c - b * s) - (0 if one_term else p * (a * s + b * c))
    return dx.to(x.dtype), fit(dt, theta)


def _ro(**k):
    return lambda g, res: rotary_backward(g, res, **k)


def rotary_inputs(g, dtype):
    return normal(g, dtype, 2, 5, 6), normal(g, dtype, 5, 3)


def _positions(g, dtype):
    """The usual angles, position times frequency: none at position 0."""
    angle = torch.arange(5)[:, None] * torch.tensor([1.0, 0.3, 0.1])
    return normal(g, dtype, 2, 5, 6), leaf(angle.to(dtype))


ROTARY = Operation(
    "rotary_embedding",
    rotary_forward,
    rotary_backward,
    rotary_inputs,
    rotary,
    mistakes=(
        Mistake(
            "sign",
            "rotates the gradient forwards: the sine is not negated",
            _ro(wrong_way=True),
            also=("missing-term", "missing-factor", "permuted"),
            argument="x",
            source="https://github.com/PaddlePaddle/Paddle/pull/74716 (a rotation undone in the wrong order)",
        ),
        Mistake(
            "permuted",
            "returns pairs interleaved, though the forward pass rotates halves",
            _ro(layout="interleaved"),
            argument="x",
        ),
        Mistake("permuted", "the two halves are exchanged", _ro(layout="swapped"), argument="x"),
        Mistake(
            "missing-sum",
            "the angles' gradient is not summed over the batch",
            lambda g, r: (rotary_backward(g, r)[0], _angles(g, r)),
            also=("shape",),
            argument="theta",
        ),
        Mistake(
            "missing-term",
            "one of the two terms of the angle's gradient",
            _ro(one_term=True),
            argument="theta",
        ),
        Mistake(
            "zero",
            "the angles are taken for a buffer",
            edit(rotary_backward, 1, lambda d, g, r: torch.zeros_like(d)),
            argument="theta",
        ),
        Mistake(
            "local",
            "the loop starts at position 1: position 0 is passed through unrotated",
            _ro(skip_first=True),
            also=("region", "missing-term", "missing-factor"),
            argument="x",
            hidden=_positions,
        ),
    ),
    further={
        "no_angle": lambda g, d: (normal(g, d, 2, 3, 4), leaf(torch.zeros(3, 2, dtype=d))),
        "positions": _positions,
        "no_batch": lambda g, d: (normal(g, d, 3, 4), normal(g, d, 3, 2)),
        "one_angle": lambda g, d: (normal(g, d, 2, 3, 4), normal(g, d, 1, 1)),
        "empty": lambda g, d: (normal(g, d, 2, 0, 4), normal(g, d, 0, 2)),
        "heads_view": lambda g, d: (leaf(normal(g, d, 3, 2, 4).transpose(0, 1)), normal(g, d, 3, 2)),
    },
)


def _angles(g, res):
    x, theta = res
    c, s = up(theta).cos(), up(theta).sin()
    a, b = up(x).chunk(2, -1)
    p, q = up(g).chunk(2, -1)
    return (q * (a * c - b * s) - p * (a * s + b * c)).to(theta.dtype)


# ---------------------------------------------------------------- low-rank adapter
LORA_SCALE = 0.5


def lora(x, w, a, b):
    v = up(x)
    return (v @ up(w) + LORA_SCALE * (v @ up(a)) @ up(b)).to(x.dtype)


def lora_forward(x, w, a, b):
    return lora(x, w, a, b), (x, w, a, b)


def lora_backward(g, res, *, scale_a=True, adapter=True, sign_a=1.0, summed=True, inplace=False, cast=True):
    x, w, a, b = res
    dtype = x.dtype
    v, w32, a32, b32, g32 = (up(t) for t in (x, w, a, b, g))
    dx = g32 @ w32.t()
    flat_v, flat_g = v.reshape(-1, v.shape[-1]), g32.reshape(-1, g32.shape[-1])
    dw = flat_v.t() @ flat_g if summed else v.transpose(-1, -2) @ g32
    if inplace:
        g.mul_(LORA_SCALE)
        sg = up(g)
    else:
        sg = LORA_SCALE * g32
    if adapter:
        dx = dx + sg @ b32.t() @ a32.t()
    flat_sg = sg.reshape(-1, sg.shape[-1])
    da = sign_a * flat_v.t() @ ((flat_sg if scale_a else flat_g) @ b32.t())
    db = (flat_v @ a32).t() @ flat_sg
    return dx.to(dtype), dw.to(dtype), da.to(dtype), db.to(dtype) if cast else db


def _lo(**k):
    return lambda g, res: lora_backward(g, res, **k)


def lora_inputs(g, dtype, i=4, o=4, r=2):
    return normal(g, dtype, 2, 3, i), normal(g, dtype, i, o), normal(g, dtype, i, r), normal(g, dtype, r, o)


def lora_initial(g, dtype):
    """As adapters are initialised: b = 0, so a's gradient is zero."""
    x, w, a, b = lora_inputs(g, dtype)
    return x, w, a, leaf(torch.zeros_like(b))


LORA = Operation(
    "low_rank_adapter",
    lora_forward,
    lora_backward,
    lora_inputs,
    lora,
    mistakes=(
        Mistake(
            "zero",
            "the base weight is taken as frozen though it asks for a gradient",
            edit(lora_backward, 1, lambda d, g, r: None),
            argument="w",
        ),
        Mistake(
            "scale",
            "a's gradient lacks the adapter's scale",
            _lo(scale_a=False),
            argument="a",
            hidden=lora_initial,
        ),
        Mistake(
            "transpose",
            "w's gradient is g^T x for x^T g",
            edit(lora_backward, 1, lambda d, g, r: d.t()),
            argument="w",
        ),
        Mistake(
            "missing-term",
            "x lacks the way through the adapter",
            _lo(adapter=False),
            argument="x",
            hidden=lora_initial,
        ),
        Mistake(
            "missing-sum",
            "w's gradient stays one for each sequence",
            _lo(summed=False),
            also=("shape",),
            argument="w",
        ),
        Mistake(
            "mutates",
            "scales the incoming gradient in place",
            _lo(inplace=True),
            also=("nondeterministic",),
            source="https://github.com/linkedin/Liger-Kernel/issues/254",
        ),
        Mistake(
            "dtype",
            "b's gradient stays in float32",
            _lo(cast=False),
            argument="b",
            dtypes=("bfloat16", "float16"),
        ),
    ),
    further={
        "initial": lora_initial,
        "oblong": lambda g, d: lora_inputs(g, d, 3, 5, 1),
        "one": lambda g, d: (
            normal(g, d, 1, 1, 1),
            normal(g, d, 1, 1),
            normal(g, d, 1, 1),
            normal(g, d, 1, 1),
        ),
        "empty_batch": lambda g, d: (normal(g, d, 0, 3, 4), *lora_inputs(g, d)[1:]),
        "flat": lambda g, d: (normal(g, d, 5, 4), *lora_inputs(g, d)[1:]),
        "transposed": lambda g, d: (
            leaf(normal(g, d, 3, 2, 4).transpose(0, 1)),
            leaf(normal(g, d, 5, 4).t()),
            normal(g, d, 4, 2),
            leaf(normal(g, d, 5, 2).t()),
        ),
    },
)

# ---------------------------------------------------------------- linear layer with weight standardisation
WS_EPS = 1e-4


def _standardise(w, ddof=1):
    v = up(w)
    c = v - v.mean(1, keepdim=True)
    var = (c**2).sum(1, keepdim=True) / (v.shape[1] - ddof)
    r = torch.rsqrt(var + WS_EPS)
    return c * r, r


def ws_linear(x, w):
    return (up(x) @ _standardise(w)[0].t()).to(x.dtype)


def ws_forward(x, w, *, ddof=1):
    h, r = _standardise(w, ddof)
    return (up(x) @ h.t()).to(x.dtype), (x, h, r)


def ws_backward(g, res, *, ddof=1, mean=True, var=True, rstd=True, axis=1):
    x, h, r = res
    g32, v = up(g), up(x)
    dh = g32.t() @ v
    dw = dh
    if mean:
        dw = dw - dh.mean(axis, keepdim=True)
    if var:
        dw = dw - h * (dh * h).sum(1, keepdim=True) / (h.shape[1] - ddof)
    return (g32 @ h).to(x.dtype), (dw * r if rstd else dw).to(x.dtype)


def _ws(**k):
    return lambda g, res: ws_backward(g, res, **k)


def ws_inputs(g, dtype):
    return normal(g, dtype, 3, 4), normal(g, dtype, 4, 4)


WS = Operation(
    "weight_standardised_linear",
    ws_forward,
    ws_backward,
    ws_inputs,
    ws_linear,
    mistakes=(
        Mistake(
            "missing-term", "the standard deviation is taken as a constant", _ws(var=False), argument="w"
        ),
        Mistake(
            "missing-term",
            "the correction by the variance is divided by n, not n - 1",
            _ws(ddof=0),
            also=("missing-factor", "scale"),
            argument="w",
        ),
        Mistake(
            "transpose",
            "the weight's gradient transposed (square here)",
            edit(ws_backward, 1, lambda d, g, r: d.t()),
            argument="w",
        ),
        Mistake(
            "missing-factor", "not divided by each row's standard deviation", _ws(rstd=False), argument="w"
        ),
        Mistake(
            "missing-term",
            "the mean is subtracted along the wrong axis (fits: square)",
            _ws(axis=0),
            also=("missing-sum", "offset"),
            argument="w",
        ),
        Mistake(
            "shape",
            "a leading axis of length one is left on the weight's gradient (autograd sums it away)",
            edit(ws_backward, 1, lambda d, g, r: d[None]),
            argument="w",
            also=("missing-sum",),
            source="https://github.com/pytorch/pytorch/issues/65244",
        ),
        Mistake(
            "forward",
            "the biased variance, in both passes",
            _ws(ddof=0),
            lambda x, w: ws_forward(x, w, ddof=0),
        ),
    ),
    further={
        "oblong": lambda g, d: (normal(g, d, 2, 5), normal(g, d, 3, 5)),
        "zero_input": lambda g, d: (leaf(torch.zeros(2, 4, dtype=d)), normal(g, d, 3, 4)),
        "one_row": lambda g, d: (normal(g, d, 1, 3), normal(g, d, 1, 3)),
        "empty_batch": lambda g, d: (normal(g, d, 0, 4), normal(g, d, 3, 4)),
        "transposed": lambda g, d: (leaf(normal(g, d, 4, 3).t()), leaf(normal(g, d, 4, 5).t())),
    },
)

OPERATIONS = (GROUP_NORM, GRU, SQUEEZE_EXCITE, ROTARY, LORA, WS)
