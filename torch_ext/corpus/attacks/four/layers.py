"""Fused layers: norm + linear, attention, causal convolution, GRU, selective scan."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ._util import ALL, Mistake, Operation, const, normal, softplus, up, view, wrong

EPS = 1e-5


# ---- RMSNorm followed by a linear layer ----
def rms_f(x, gain, w, b):
    xf, gf, wf, bf = up(x), up(gain), up(w), up(b)
    rstd = torch.rsqrt(xf.square().mean(-1, keepdim=True) + EPS)
    y = (xf * rstd * gf) @ wf.mT + bf
    return y.to(x.dtype), (x, gain, w, b, rstd)


def rms_b(g, res, bug=""):
    x, gain, w, b, rstd = res
    xf, gf, wf, go = up(x), up(gain), up(w), up(g)
    xhat = xf * rstd
    dz = go @ wf
    dxhat = dz if bug == "gain" else dz * gf
    dx = rstd * (dxhat - xhat * (dxhat * xhat).mean(-1, keepdim=True))
    lead = tuple(range(x.dim() - 1))
    dgain = (dz * xhat).sum(lead)
    dw = go.flatten(0, -2).mT @ (xhat * gf).flatten(0, -2)
    db = go.flatten(0, -2).sum(0, keepdim=bug == "keepdim")
    return dx.to(x.dtype), dgain.to(gain.dtype), dw.to(w.dtype), db.to(b.dtype)


def rms_r(x, gain, w, b):
    xf = up(x)
    z = xf / torch.sqrt((xf * xf).mean(-1, keepdim=True) + EPS) * up(gain)
    return F.linear(z, up(w), up(b)).to(x.dtype)


def rms_i(B=2, T=3, D=5, O=4, gain=None, xs=1.0, tr=False):
    def make(g, d):
        x = (normal(g, d, B, T, D, grad=False) * xs).requires_grad_()
        gn = normal(g, d, D) if gain is None else const([gain] * D, d)
        w = normal(g, d, O, D)
        return (view(x) if tr else x), gn, (view(w) if tr else w), normal(g, d, O)

    return make


rmsnorm_linear = Operation(
    "rmsnorm_linear",
    rms_f,
    rms_b,
    rms_i(),
    rms_r,
    (
        Mistake(
            "missing-factor",
            "the gain is left out of the input gradient",
            wrong(rms_b, "gain"),
            argument="x",
            also=("region",),
            hidden=rms_i(gain=1.0),
            dtypes=ALL,
            source="karpathy/llm.c pull 763, review",
        ),
        Mistake(
            "shape",
            "the bias gradient is summed with keepdim and comes out as (1, O)",
            wrong(rms_b, "keepdim"),
            argument="b",
            also=("missing-sum",),
            dtypes=ALL,
            source="pytorch/tutorials issue 341 (lltm d_bias)",
        ),
    ),
    {
        "one": rms_i(1, 1, 1, 1),
        "empty": rms_i(0, 3, 4, 2),
        "large": rms_i(xs=300.0),
        "view": rms_i(tr=True),
        "tiny": rms_i(xs=1e-3),
    },
)


# ---- grouped-query attention: soft cap, causal mask, dropout mask given ----
CAP = 2.0


def att_f(q, k, v, keep, p):
    qf, kf, vf = up(q), up(k), up(v)
    G = q.shape[1] // k.shape[1]
    kr, vr = kf.repeat_interleave(G, 1), vf.repeat_interleave(G, 1)
    th = torch.tanh(qf @ kr.mT / math.sqrt(q.shape[-1]) / CAP)
    T = q.shape[2]
    causal = torch.ones(T, T, dtype=torch.bool).tril()
    P = (CAP * th).masked_fill(~causal, -math.inf).softmax(-1)
    m = keep.to(P.dtype) / (1 - p)
    return ((P * m) @ vr).to(q.dtype), (q, k, v, th, P, m, p)


def att_b(g, res, bug=""):
    q, k, v, th, P, m, p = res
    qf, kf, vf, go = up(q), up(k), up(v), up(g)
    G, scale = q.shape[1] // k.shape[1], 1 / math.sqrt(q.shape[-1])
    kr, vr = kf.repeat_interleave(G, 1), vf.repeat_interleave(G, 1)
    if bug == "redraw":
        m = (torch.rand(m.shape) >= p).to(P.dtype) / (1 - p)
    dv = (P * m).mT @ go
    dPd = go @ vr.mT
    dP = dPd if bug == "nodrop" else dPd * m
    ds = P * (dP - (P * dP).sum(-1, keepdim=True))
    if bug != "cap":
        ds = ds * (1 - th * th)
    dq, dk = ds @ kr * scale, ds.mT @ qf * scale

    def group(t):
        t = t.unflatten(1, (k.shape[1], G))
        return t[:, :, 0] if bug == "group" else t.sum(2)

    return dq.to(q.dtype), group(dk).to(k.dtype), group(dv).to(v.dtype)


def att_r(q, k, v, keep, p):
    qf, kf, vf = up(q), up(k), up(v)
    G = q.shape[1] // k.shape[1]
    kr = torch.stack([kf] * G, 2).flatten(1, 2)
    vr = torch.stack([vf] * G, 2).flatten(1, 2)
    s = CAP * torch.tanh(torch.einsum("bhtd,bhsd->bhts", qf, kr) / math.sqrt(q.shape[-1]) / CAP)
    T = q.shape[2]
    s = s.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), -math.inf)
    return (torch.softmax(s, -1) * keep / (1 - p) @ vr).to(q.dtype)


def att_i(B=2, Hq=4, Hk=2, T=3, D=4, p=0.25, qs=1.0, tr=False):
    def make(g, d):
        q = (normal(g, d, B, Hq, T, D, grad=False) * qs).requires_grad_()
        k, v = normal(g, d, B, Hk, T, D), normal(g, d, B, Hk, T, D)
        keep = torch.rand(B, Hq, T, T, generator=g) >= p
        if tr:
            q, k, v = view(q, 1, 2), view(k, 1, 2), view(v, 1, 2)
        return q, k, v, keep, p

    return make


gqa_attention = Operation(
    "gqa_softcap_attention",
    att_f,
    att_b,
    att_i(),
    att_r,
    (
        Mistake(
            "missing-factor",
            "the derivative of the soft cap is left out",
            wrong(att_b, "cap"),
            hidden=att_i(qs=0.0),
            also=("unknown",),
            dtypes=("float64", "float32"),
            source="Dao-AILab/flash-attention pull 1033",
        ),
        Mistake(
            "missing-sum",
            "dk and dv take the first query head of a group, not the sum",
            wrong(att_b, "group"),
            also=("missing-term", "unknown"),
            hidden=att_i(Hk=4),
            dtypes=ALL,
            source="marin-community/levanter pull 449",
        ),
        Mistake(
            "missing-factor",
            "the dropout mask is not applied to the gradient of the probabilities",
            wrong(att_b, "nodrop"),
            also=("missing-term", "unknown", "region"),
            hidden=att_i(p=0.0),
            source="aws-neuron/nki-samples pull 81",
        ),
        Mistake(
            "nondeterministic",
            "the backward pass draws its own dropout mask",
            wrong(att_b, "redraw"),
            hidden=att_i(p=0.0),
            dtypes=ALL,
            source="Dao-AILab/flash-attention issue 1251",
        ),
    ),
    {
        "one": att_i(1, 1, 1, 1, 1, 0.0),
        "empty": att_i(0),
        "saturated": att_i(qs=100.0),
        "view": att_i(tr=True),
        "equal scores": att_i(qs=0.0),
    },
)


# ---- causal depthwise convolution with an initial state, then SiLU ----
def conv_f(x, w, b, state):
    xp = torch.cat([up(state), up(x)], -1)
    y = torch.stack([xp[..., j : j + x.shape[-1]] for j in range(w.shape[1])], 0)
    y = torch.einsum("kbct,ck->bct", y, up(w)) + up(b)[:, None]
    return (y * torch.sigmoid(y)).to(x.dtype), (x, w, b, state, xp, y)


def conv_b(g, res, bug=""):
    x, w, b, state, xp, y = res
    s = torch.sigmoid(y)
    dy = up(g) * s * (1 + y * (1 - s))
    K, T = w.shape[1], x.shape[-1]
    dxp, wf, dw = torch.zeros_like(xp), up(w), []
    for j in range(K):
        dxp[..., j : j + T] += dy * wf[:, j, None]
        dw.append((dy * xp[..., j : j + T]).sum((0, 2)))
    dw = torch.stack(dw[::-1] if bug == "taps" else dw, 1)
    dx, dstate = dxp[..., K - 1 :], dxp[..., : K - 1]
    if bug == "state":
        dstate = torch.zeros_like(dstate)
    if bug == "shift":
        dx = dxp[..., K - 2 : K - 2 + T]
    return dx.to(x.dtype), dw.to(w.dtype), dy.sum((0, 2)).to(b.dtype), dstate.to(state.dtype)


def conv_r(x, w, b, state):
    y = F.conv1d(torch.cat([up(state), up(x)], -1), up(w)[:, None], up(b), groups=x.shape[1])
    return F.silu(y).to(x.dtype)


def conv_i(B=2, C=3, T=6, K=3, xs=1.0, tr=False):
    def make(g, d):
        x = (normal(g, d, B, C, T, grad=False) * xs).requires_grad_()
        return (view(x) if tr else x), normal(g, d, C, K), normal(g, d, C), normal(g, d, B, C, K - 1)

    return make


causal_conv_silu = Operation(
    "causal_conv_silu",
    conv_f,
    conv_b,
    conv_i(),
    conv_r,
    (
        Mistake(
            "permuted",
            "the taps of the kernel gradient are in reverse order",
            wrong(conv_b, "taps"),
            argument="w",
            hidden=conv_i(K=1),
            dtypes=ALL,
            source="the usual confusion of convolution and correlation",
        ),
        Mistake(
            "zero",
            "the initial state gets no gradient",
            wrong(conv_b, "state"),
            argument="state",
            dtypes=ALL,
            source="fla-org/flash-linear-attention pull 714",
        ),
        Mistake(
            "permuted",
            "the input gradient is shifted by one step",
            wrong(conv_b, "shift"),
            argument="x",
            also=("unknown",),
            source="pymc-devs/pytensor pull 2217",
        ),
    ),
    {
        "one": conv_i(1, 1, 1, 2),
        "saturated": conv_i(xs=200.0),
        "view": conv_i(tr=True),
        "short": conv_i(T=1, K=4),
    },
)


# ---- a GRU over a few steps, with zoneout masks given ----
def gru_f(x, h0, wi, wh, bi, bh, mask):
    xf, wif, whf, bif, bhf = up(x), up(wi), up(wh), up(bi), up(bh)
    h, steps, out = up(h0), [], []
    for t in range(x.shape[0]):
        ir, iz, i_n = (xf[t] @ wif.mT + bif).chunk(3, -1)
        hr, hz, hn = (h @ whf.mT + bhf).chunk(3, -1)
        r, z = torch.sigmoid(ir + hr), torch.sigmoid(iz + hz)
        n = torch.tanh(i_n + r * hn)
        steps.append((h, r, z, n, hn))
        h = torch.where(mask[t], (1 - z) * n + z * h, h)
        out.append(h)
    return torch.stack(out).to(x.dtype), (x, h0, wi, wh, bi, bh, mask, steps)


def gru_b(g, res, bug=""):
    x, h0, wi, wh, bi, bh, mask, steps = res
    xf, wif, whf, go = up(x), up(wi), up(wh), up(g)
    dh = torch.zeros_like(up(h0))
    dwi, dwh, dbi, dbh, dx = (
        torch.zeros_like(wif),
        torch.zeros_like(whf),
        torch.zeros_like(up(bi)),
        torch.zeros_like(up(bh)),
        torch.zeros_like(xf),
    )
    for t in reversed(range(x.shape[0])):
        h, r, z, n, hn = steps[t]
        m = mask[0] if bug == "zoneout" else mask[t]
        dh = dh + go[t]
        dnew, dprev = torch.where(m, dh, 0.0), torch.where(m, 0.0, dh)
        dz = dnew * (h - n) * z * (1 - z)
        dn = dnew * (1 - z) * (1 - n * n)
        dr = dn * hn * r * (1 - r)
        di, dg = torch.cat([dr, dz, dn], -1), torch.cat([dr, dz, dn * r], -1)
        dx[t] = di @ wif
        dwi += di.mT @ xf[t]
        dbi += di.sum(0)
        dwh = dg.mT @ h if bug == "overwrite" else dwh + dg.mT @ h
        dbh += (di if bug == "bias" else dg).sum(0)
        dh = dprev + dnew * z + dg @ whf
    return (
        dx.to(x.dtype),
        dh.to(h0.dtype),
        dwi.to(wi.dtype),
        dwh.to(wh.dtype),
        dbi.to(bi.dtype),
        dbh.to(bh.dtype),
    )


def gru_r(x, h0, wi, wh, bi, bh, mask):
    h, out = up(h0), []
    for t in range(x.shape[0]):
        h = torch.where(mask[t], torch.gru_cell(up(x)[t], h, up(wi), up(wh), up(bi), up(bh)), h)
        out.append(h)
    return torch.stack(out).to(x.dtype)


def gru_i(T=3, B=2, I=3, H=2, const_mask=False, xs=1.0, tr=False):
    def make(g, d):
        x = (normal(g, d, T, B, I, grad=False) * xs).requires_grad_()
        mask = torch.rand(T, B, H, generator=g) < 0.7
        mask[0, 0, 0], mask[-1, 0, 0] = True, T == 1
        if const_mask:
            mask = mask[:1].expand(T, B, H)
        return (
            (view(x) if tr else x),
            normal(g, d, B, H),
            normal(g, d, 3 * H, I),
            normal(g, d, 3 * H, H),
            normal(g, d, 3 * H),
            normal(g, d, 3 * H),
            mask,
        )

    return make


gru_zoneout = Operation(
    "gru_zoneout",
    gru_f,
    gru_b,
    gru_i(),
    gru_r,
    (
        Mistake(
            "unknown",
            "the zoneout mask of the first step is used at every step",
            wrong(gru_b, "zoneout"),
            hidden=gru_i(const_mask=True),
            also=("missing-factor", "region", "local", "missing-term", "zero"),
            source="lmnt-com/haste issue 43",
        ),
        Mistake(
            "missing-term",
            "the recurrent weight's gradient is overwritten, not accumulated over steps",
            wrong(gru_b, "overwrite"),
            argument="wh",
            also=("missing-sum", "unknown"),
            hidden=gru_i(T=1),
            source="NVIDIA/TransformerEngine pull 1618; pytorch/pytorch issue 777",
        ),
        Mistake(
            "local",
            "the recurrent bias gets the input bias's gradient, without the reset gate",
            wrong(gru_b, "bias"),
            argument="bh",
            also=("missing-factor", "region", "unknown"),
            source="open-lm-engine/accelerated-model-architectures pull 249",
        ),
    ),
    {"one": gru_i(1, 1, 1, 1), "saturated": gru_i(xs=8.0), "view": gru_i(tr=True), "long": gru_i(T=6)},
)


# ---- selective scan ----
def scan_f(x, delta, a_raw, b, c, skip, bias):
    xf, bf, cf = up(x), up(b), up(c)
    pre = up(delta) + up(bias)
    dt, A = softplus(pre), -softplus(up(a_raw))
    a = torch.exp(dt[..., None] * A)
    u = (dt * xf)[..., None] * bf[:, :, None, :]
    h = torch.zeros_like(u[:, 0]) if x.shape[1] else None
    hs = []
    for t in range(x.shape[1]):
        h = a[:, t] * h + u[:, t]
        hs.append(h)
    H = torch.stack(hs, 1)
    y = (H * cf[:, :, None, :]).sum(-1) + up(skip) * xf
    return y.to(x.dtype), (x, delta, a_raw, b, c, skip, bias, pre, dt, A, a, H)


def scan_b(g, res, bug=""):
    x, delta, a_raw, b, c, skip, bias, pre, dt, A, a, H = res
    xf, bf, cf, go = up(x), up(b), up(c), up(g)
    L = x.shape[1]
    direct = go[..., None] * cf[:, :, None, :]
    dH, carry = torch.zeros_like(H), torch.zeros_like(H[:, 0])
    for t in reversed(range(L)):
        dH[:, t] = direct[:, t] + (0 if bug == "carry" else carry)
        carry = dH[:, t] * a[:, t]
    prev = torch.cat([torch.zeros_like(H[:, :1]), H[:, :-1]], 1)
    da = dH * prev * a
    ddt = (da * A).sum(-1) + (dH * bf[:, :, None, :]).sum(-1) * xf
    dx = (dH * bf[:, :, None, :]).sum(-1) * dt
    if bug != "skip":
        dx = dx + up(skip) * go
    dpre = ddt if bug == "softplus" else ddt * torch.sigmoid(pre)
    dA = -(da * dt[..., None]).sum((0, 1)) * torch.sigmoid(up(a_raw))
    db = (dH * (dt * xf)[..., None]).sum(2)
    dc = (go[..., None] * H).sum(2)
    return (
        dx.to(x.dtype),
        dpre.to(delta.dtype),
        dA.to(a_raw.dtype),
        db.to(b.dtype),
        dc.to(c.dtype),
        (go * xf).sum((0, 1)).to(skip.dtype),
        dpre.sum((0, 1)).to(bias.dtype),
    )


def scan_r(x, delta, a_raw, b, c, skip, bias):
    zero = torch.zeros((), dtype=up(x).dtype)
    dt = torch.logaddexp(up(delta) + up(bias), zero)
    A = -torch.logaddexp(up(a_raw), zero)
    h, ys = 0.0, []
    for t in range(x.shape[1]):
        h = torch.exp(dt[:, t, :, None] * A) * h + (dt[:, t] * up(x)[:, t])[..., None] * up(b)[:, t, None]
        ys.append(torch.einsum("bdn,bn->bd", h, up(c)[:, t]))
    return (torch.stack(ys, 1) + up(skip) * up(x)).to(x.dtype)


def scan_i(B=2, L=4, D=3, N=2, skip=None, ds=1.0, tr=False):
    def make(g, d):
        x = normal(g, d, B, L, D)
        delta = (normal(g, d, B, L, D, grad=False) * ds).requires_grad_()
        sk = normal(g, d, D) if skip is None else const([skip] * D, d)
        return (
            (view(x) if tr else x),
            delta,
            normal(g, d, D, N),
            normal(g, d, B, L, N),
            normal(g, d, B, L, N),
            sk,
            normal(g, d, D),
        )

    return make


selective_scan = Operation(
    "selective_scan",
    scan_f,
    scan_b,
    scan_i(),
    scan_r,
    (
        Mistake(
            "missing-term",
            "the skip connection is left out of the input gradient",
            wrong(scan_b, "skip"),
            argument="x",
            hidden=scan_i(skip=0.0),
            dtypes=ALL,
            source="state-spaces/mamba issue 598",
        ),
        Mistake(
            "missing-factor",
            "the softplus of the step size is not differentiated",
            wrong(scan_b, "softplus"),
            dtypes=ALL,
            source="state-spaces/mamba issue 368",
        ),
        Mistake(
            "missing-term",
            "no gradient runs through the carry: each step sees its own output only",
            wrong(scan_b, "carry"),
            also=("unknown", "region", "local"),
            hidden=scan_i(L=1),
            source="pytorch/pytorch issue 184528",
        ),
    ),
    {
        "one": scan_i(1, 1, 1, 1),
        "empty": scan_i(B=0),
        "large steps": scan_i(ds=30.0),
        "view": scan_i(tr=True),
    },
)

OPERATIONS = (rmsnorm_linear, gqa_attention, causal_conv_silu, gru_zoneout, selective_scan)
