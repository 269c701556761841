"""Losses and soft assignments."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ._util import ALL, WIDE, Mistake, Operation, const, integers, normal, softplus, up, view, wrong


# ---- NetVLAD ----
def vlad_f(x, w, b, c):
    xf = up(x)
    a = (xf @ up(w).mT + up(b)).softmax(-1)
    V = a.mT @ xf - a.sum(0)[:, None] * up(c)
    return V.to(x.dtype), (x, w, b, c, a)


def vlad_b(g, res, bug=""):
    x, w, b, c, a = res
    xf, go = up(x), up(g)
    da = xf @ go.mT - (go * up(c)).sum(-1)
    dl = a * (da - (a * da).sum(-1, keepdim=True))
    dx = dl @ up(w)
    if bug != "direct":
        dx = dx + a @ go
    dc = a.sum(0)[:, None] * go * (1 if bug == "sign" else -1)
    db = dl if bug == "bias" else dl.sum(0)
    return dx.to(x.dtype), (dl.mT @ xf).to(w.dtype), db.to(b.dtype), dc.to(c.dtype)


def vlad_r(x, w, b, c):
    a = torch.softmax(F.linear(up(x), up(w), up(b)), 1)
    return (a[..., None] * (up(x)[:, None] - up(c)[None])).sum(0).to(x.dtype)


def vlad_i(N=5, D=3, K=4, ws=1.0, tr=False):
    def make(g, d):
        x, w = normal(g, d, N, D), (normal(g, d, K, D, grad=False) * ws).requires_grad_()
        return (view(x) if tr else x), (view(w) if tr else w), normal(g, d, K), normal(g, d, K, D)

    return make


netvlad = Operation(
    "netvlad",
    vlad_f,
    vlad_b,
    vlad_i(),
    vlad_r,
    (
        Mistake(
            "missing-term",
            "only the gradient through the assignment reaches the features",
            wrong(vlad_b, "direct"),
            argument="x",
            dtypes=ALL,
            source="keonlee9420/Parallel-Tacotron2 pull 15 (a soft alignment's path left out)",
        ),
        Mistake(
            "sign",
            "the centres are subtracted; their gradient is not",
            wrong(vlad_b, "sign"),
            argument="c",
            dtypes=ALL,
            source="common",
        ),
        Mistake(
            "missing-sum",
            "the bias gradient is not summed over the features",
            wrong(vlad_b, "bias"),
            argument="b",
            also=("shape",),
            dtypes=ALL,
            source="csarofeen/pytorch issue 906",
        ),
    ),
    {"one": vlad_i(1, 1, 1), "saturated": vlad_i(ws=50.0), "equal": vlad_i(ws=0.0), "view": vlad_i(tr=True)},
)


# ---- NeuralSort ----
def nsort(offset):
    def forward(s, tau):
        sf = up(s)
        n = s.shape[-1]
        coef = n + offset - 2 * torch.arange(n, dtype=sf.dtype)
        diff = sf[:, :, None] - sf[:, None]
        logits = (coef[:, None] * sf[:, None] - diff.abs().sum(-1)[:, None]) / tau
        P = logits.softmax(-1)
        return (P @ sf[..., None])[..., 0].to(s.dtype), (s, tau, coef, diff.sign(), P)

    return forward


nsort_f = nsort(-1)


def nsort_b(g, res, bug=""):
    s, tau, coef, sign, P = res
    sf, go = up(s), up(g)
    ds = (P.mT @ go[..., None])[..., 0]
    dP = go[..., None] * sf[:, None]
    dl = P * (dP - (P * dP).sum(-1, keepdim=True)) / tau
    ds = ds + (coef[:, None] * dl).sum(1)
    dA = -dl.sum(1)
    ds = ds + dA * sign.sum(-1)
    if bug != "one side":
        ds = ds - (dA[..., None] * sign).sum(1)
    return ds.to(s.dtype), None


def nsort_r(s, tau):
    sf = up(s)
    n = s.shape[-1]
    A = torch.abs(sf.unsqueeze(-1) - sf.unsqueeze(-2)).sum(-1)
    scaling = n + 1 - 2 * torch.arange(1, n + 1, dtype=sf.dtype)
    P = F.softmax((torch.einsum("bj,i->bij", sf, scaling) - A.unsqueeze(1)) / tau, -1)
    return torch.einsum("bij,bj->bi", P, sf).to(s.dtype)


def ns_i(B=2, n=4, tau=1.0, kind=""):
    def make(g, d):
        s = normal(g, d, B, n, grad=False)
        if kind == "ties":
            s = s.round()
        if kind == "large":
            s = s * 50
        s = s.requires_grad_()
        return (view(s) if kind == "view" else s), tau

    return make


neural_sort = Operation(
    "neural_sort",
    nsort_f,
    nsort_b,
    ns_i(),
    nsort_r,
    (
        Mistake(
            "missing-term",
            "|s_i - s_j| is differentiated for the row's score only",
            wrong(nsort_b, "one side"),
            argument="s",
            also=("unknown",),
            hidden=ns_i(n=1),
            dtypes=WIDE,
            source="common in pairwise distances: one of the two points",
        ),
        Mistake(
            "forward",
            "the position counts from 0 in the forward pass: n + 1 - 2i where n - 1 - 2i belongs; the backward pass agrees with it",
            forward=nsort(1),
            dtypes=WIDE,
            source="off by one in the paper's 1-based formula",
        ),
    ),
    {
        "one": ns_i(1, 1),
        "ties": ns_i(kind="ties"),
        "all equal": lambda g, d: (const([[1.0] * 4] * 2, d), 0.5),
        "large": ns_i(kind="large"),
        "view": ns_i(kind="view"),
        "cold": ns_i(tau=0.1),
        "empty": ns_i(B=0),
    },
)


# ---- transport plan after three Sinkhorn steps in the log domain ----
def sink_f(cost, eps):
    L, saved = -up(cost) / eps, []
    for _ in range(3):
        for dim in (1, 0):
            saved.append((L.softmax(dim), dim))
            L = L - torch.logsumexp(L, dim, keepdim=True)
    P = L.exp()
    return P.to(cost.dtype), (cost, eps, saved, P)


def sink_b(g, res, bug=""):
    cost, eps, saved, P = res
    dL = up(g) * P
    for soft, dim in reversed(saved if bug != "envelope" else saved[-1:]):
        dL = dL - soft * dL.sum(dim, keepdim=True)
    dC = -dL / (1.0 if bug == "eps" else eps)
    return dC.to(cost.dtype), None


def sink_r(cost, eps):
    C = up(cost)
    f, h = torch.zeros(C.shape[0], dtype=C.dtype), torch.zeros(C.shape[1], dtype=C.dtype)
    for _ in range(3):
        f = -eps * torch.logsumexp((h[None] - C) / eps, 1)
        h = -eps * torch.logsumexp((f[:, None] - C) / eps, 0)
    return torch.exp((f[:, None] + h[None] - C) / eps).to(cost.dtype)


def sink_i(n=3, m=4, eps=0.5, cs=1.0, tr=False):
    def make(g, d):
        C = (normal(g, d, n, m, grad=False).abs() * cs).requires_grad_()
        return (view(C) if tr else C), eps

    return make


sinkhorn_plan = Operation(
    "sinkhorn_plan",
    sink_f,
    sink_b,
    sink_i(),
    sink_r,
    (
        Mistake(
            "scale",
            "the temperature is left out",
            wrong(sink_b, "eps"),
            argument="cost",
            hidden=sink_i(eps=1.0),
            dtypes=ALL,
            source="keonlee9420/Parallel-Tacotron2 pull 15 (temperature of a soft alignment)",
        ),
        Mistake(
            "missing-term",
            "only the last normalisation is differentiated",
            wrong(sink_b, "envelope"),
            argument="cost",
            also=("unknown",),
            dtypes=WIDE,
            source="jeanfeydy/geomloss issue 40",
        ),
    ),
    {
        "one": sink_i(1, 1),
        "large costs": sink_i(cs=30.0),
        "equal costs": sink_i(cs=0.0),
        "view": sink_i(tr=True),
        "column": sink_i(4, 1),
    },
)


# ---- focal loss: class weights, ignored rows ----
def foc_f(logits, target, alpha, gamma):
    logp = up(logits).log_softmax(-1)
    valid = target >= 0
    y = target.clamp(min=0)
    lpt = logp.gather(1, y[:, None])[:, 0]
    a = up(alpha)[y] * valid
    count = valid.sum().clamp(min=1)
    one_minus = -torch.expm1(lpt)
    loss = -(a * one_minus**gamma * lpt).sum() / count
    return loss.to(logits.dtype), (logits, y, a, count, logp, lpt, one_minus, gamma)


def foc_b(g, res, bug=""):
    logits, y, a, count, logp, lpt, om, gamma = res
    pt = lpt.exp()
    if bug == "naive":
        d = om**gamma / pt - (gamma * om ** (gamma - 1) * pt.log() if gamma else 0)
        dl = -a * d * pt
    else:
        d = om**gamma
        if gamma and bug != "weight":
            d = d - gamma * om ** (gamma - 1) * pt * lpt
        dl = -a * d
    n = logits.shape[0] if bug == "count" else count
    onehot = F.one_hot(y, logits.shape[1]).to(logp.dtype)
    out = dl[:, None] * (onehot - logp.exp()) * up(g) / n
    return out.to(logits.dtype), None, None, None


def foc_r(logits, target, alpha, gamma):
    valid = target >= 0
    lp = F.log_softmax(up(logits), -1)
    lpt = torch.take_along_dim(lp, target.clamp(min=0)[:, None], 1).squeeze(1)
    w = up(alpha)[target.clamp(min=0)]
    per = -w * (-torch.expm1(lpt)) ** gamma * lpt
    return (torch.where(valid, per, 0.0).sum() / valid.sum().clamp(min=1)).to(logits.dtype)


def foc_i(N=4, C=3, gamma=2.0, ignored=1, scale=1.0, tr=False):
    def make(g, d):
        x = (normal(g, d, N, C, grad=False) * scale).requires_grad_()
        t = integers(g, N, high=C)
        t[:ignored] = -100
        alpha = (0.5 + torch.rand(C, generator=g, dtype=torch.float64)).to(d)
        return (view(x) if tr else x), t, alpha, gamma

    return make


focal_loss = Operation(
    "focal_loss",
    foc_f,
    foc_b,
    foc_i(),
    foc_r,
    (
        Mistake(
            "missing-term",
            "the modulating factor (1 - p)^gamma is taken as a constant",
            wrong(foc_b, "weight"),
            argument="logits",
            also=("missing-factor", "unknown"),
            hidden=foc_i(gamma=0.0),
            dtypes=WIDE,
            source="kuangliu/pytorch-retinanet issue 12",
        ),
        Mistake(
            "scale",
            "divided by all rows, not by those that count",
            wrong(foc_b, "count"),
            argument="logits",
            hidden=foc_i(ignored=0),
            dtypes=ALL,
            source="linkedin/Liger-Kernel pull 198 (ignore_index and the mean)",
        ),
        Mistake(
            "not-finite",
            "divides by the probability, which underflows",
            wrong(foc_b, "naive"),
            argument="logits",
            also=("region", "local"),
            hidden=foc_i(),
            source="kornia/kornia issue 918",
        ),
    ),
    {
        "one": foc_i(1, 1, ignored=0),
        "saturated": foc_i(N=6, scale=3000.0),
        "all ignored": foc_i(ignored=4),
        "view": foc_i(tr=True),
        "gamma 0": foc_i(gamma=0.0),
        "equal": foc_i(scale=0.0),
    },
)


# ---- VICReg ----
def vic_parts(z):
    zc = z - z.mean(0)
    n = z.shape[0]
    std = torch.sqrt(zc.square().sum(0) / (n - 1) + 1e-4)
    cov = zc.mT @ zc / (n - 1)
    return zc, std, cov - torch.diag(cov.diagonal())


def vic_f(a, b):
    af, bf = up(a), up(b)
    D = a.shape[1]
    pa, pb = vic_parts(af), vic_parts(bf)
    loss = 25 * (af - bf).square().mean()
    for _, std, off in (pa, pb):
        loss = loss + 25 * torch.relu(1 - std).mean() + off.square().sum() / D
    return loss.to(a.dtype), (a, b, pa, pb)


def vic_b(g, res, bug=""):
    a, b, pa, pb = res
    n, D = a.shape
    inv = 50 * (up(a) - up(b)) / (n * D)

    def half(part):
        zc, std, off = part
        on = torch.ones_like(std) if bug == "hinge" else (std < 1).to(std.dtype)
        return -25 / D * on / std * zc / (n - 1) + 4 / (D * (n - 1)) * zc @ off

    da, db = (inv + half(pa)) * up(g), (half(pb) - inv) * up(g)
    return da.to(a.dtype), None if bug == "stop" else db.to(b.dtype)


def vic_r(a, b):
    af, bf = up(a), up(b)
    loss = 25 * F.mse_loss(af, bf)
    for z in (af, bf):
        z = z - z.mean(0)
        loss = loss + 25 * F.relu(1 - torch.sqrt(z.var(0) + 1e-4)).mean()
        cov = z.T @ z / (len(z) - 1)
        mask = ~torch.eye(len(cov), dtype=torch.bool)
        loss = loss + (cov[mask] ** 2).sum() / z.shape[1]
    return loss.to(a.dtype)


def vic_i(N=4, D=3, scale=1.0, tr=False):
    def make(g, d):
        a, b = ((normal(g, d, N, D, grad=False) * scale).requires_grad_() for _ in range(2))
        return (view(a) if tr else a), (view(b) if tr else b)

    return make


vicreg = Operation(
    "vicreg_loss",
    vic_f,
    vic_b,
    vic_i(),
    vic_r,
    (
        Mistake(
            "region",
            "the hinge on the standard deviation is not switched off above 1",
            wrong(vic_b, "hinge"),
            also=("missing-term", "missing-factor", "unknown", "local"),
            hidden=vic_i(scale=0.2),
            dtypes=WIDE,
            source="common: a ReLU inside a loss",
        ),
        Mistake(
            "zero",
            "the second branch gets no gradient",
            wrong(vic_b, "stop"),
            argument="b",
            dtypes=ALL,
            source="Maghoumi/pytorch-softdtw-cuda issue 5",
        ),
    ),
    {
        "two rows": vic_i(N=2),
        "one feature": vic_i(D=1),
        "collapsed": vic_i(scale=0.0),
        "wide": vic_i(scale=5.0),
        "view": vic_i(tr=True),
    },
)


# ---- contrastive loss of CLIP, with its clamped logit scale ----
TOP = math.log(100.0)
NE = 1e-6


def clip_f(img, txt, ls):
    i, t = up(img), up(txt)
    ni, nt = (
        torch.sqrt(i.square().sum(-1, keepdim=True) + NE),
        torch.sqrt(t.square().sum(-1, keepdim=True) + NE),
    )
    u, v = i / ni, t / nt
    scale = up(ls).clamp(max=TOP).exp()
    sim = u @ v.mT
    logits = scale * sim
    n = img.shape[0]
    loss = -(logits.log_softmax(1).diagonal().sum() + logits.log_softmax(0).diagonal().sum()) / (2 * n)
    return loss.to(img.dtype), (img, txt, ls, ni, nt, u, v, scale, sim)


def clip_b(g, res, bug=""):
    img, txt, ls, ni, nt, u, v, scale, sim = res
    n = img.shape[0]
    logits, eye = scale * sim, torch.eye(n, dtype=sim.dtype)
    d = logits.softmax(1) - eye
    if bug != "rows":
        d = d + logits.softmax(0) - eye
    d = d / (2 * n) * up(g)
    du, dv = scale * d @ v, scale * d.mT @ u
    di = (du - u * (u * du).sum(-1, keepdim=True)) / ni
    dt = (dv - v * (v * dv).sum(-1, keepdim=True)) / nt
    dls = (d * sim).sum()
    if bug != "exp":
        dls = dls * scale
    if bug != "clamp":
        dls = torch.where(up(ls) <= TOP, dls, 0.0)
    return di.to(img.dtype), dt.to(txt.dtype), dls.to(ls.dtype)


def clip_r(img, txt, ls):
    u = up(img) / (up(img).pow(2).sum(1, keepdim=True) + NE).sqrt()
    v = up(txt) / (up(txt).pow(2).sum(1, keepdim=True) + NE).sqrt()
    logits = torch.exp(torch.clamp(up(ls), max=TOP)) * u @ v.T
    y = torch.arange(len(logits))
    return ((F.cross_entropy(logits, y) + F.cross_entropy(logits.T, y)) / 2).to(img.dtype)


def clip_i(N=3, D=4, ls=1.5, scale=1.0, tr=False):
    def make(g, d):
        a, b = ((normal(g, d, N, D, grad=False) * scale).requires_grad_() for _ in range(2))
        return (view(a) if tr else a), (view(b) if tr else b), const(ls, d)

    return make


clip_loss = Operation(
    "clip_loss",
    clip_f,
    clip_b,
    clip_i(),
    clip_r,
    (
        Mistake(
            "scale",
            "the logit scale is stored as a logarithm; its exponential is not differentiated",
            wrong(clip_b, "exp"),
            argument="ls",
            also=("missing-factor",),
            hidden=clip_i(ls=0.0),
            dtypes=WIDE,
            source="common in CLIP's log-scale parameter",
        ),
        Mistake(
            "region",
            "the clamp of the logit scale passes the gradient on",
            wrong(clip_b, "clamp"),
            argument="ls",
            also=("local", "missing-factor", "unknown", "offset", "scale", "missing-term"),
            hidden=clip_i(),
            source="common in CLIP's clamped scale",
        ),
        Mistake(
            "missing-term",
            "only the rows' half of the symmetric loss is differentiated",
            wrong(clip_b, "rows"),
            also=("unknown", "scale"),
            dtypes=WIDE,
            source="common",
        ),
    ),
    {
        "two": clip_i(2),
        "clamped": clip_i(ls=6.0),
        "zero vectors": clip_i(scale=0.0),
        "large": clip_i(scale=100.0),
        "view": clip_i(tr=True),
    },
)


# ---- multivariate normal, covariance A A^T + I ----
def mvn_f(x, mu, A):
    Af = up(A)
    n = A.shape[0]
    L = torch.linalg.cholesky(Af @ Af.mT + torch.eye(n, dtype=Af.dtype))
    diff = up(x) - up(mu)
    sol = torch.cholesky_solve(diff.mT, L).mT
    nll = 0.5 * (diff * sol).sum(-1) + L.diagonal().log().sum() + 0.5 * n * math.log(2 * math.pi)
    return nll.to(x.dtype), (x, mu, A, L, sol)


def mvn_b(g, res, bug=""):
    x, mu, A, L, sol = res
    go, Af = up(g), up(A)
    dx = go[:, None] * sol
    dS = -0.5 * (go[:, None] * sol).mT @ sol
    if bug != "logdet":
        dS = dS + 0.5 * go.sum() * torch.cholesky_inverse(L)
    dA = (1 if bug == "two" else 2) * dS @ Af
    dmu = -dx if bug == "sum" else -dx.sum(0)
    return dx.to(x.dtype), dmu.to(mu.dtype), dA.to(A.dtype)


def mvn_r(x, mu, A):
    S = up(A) @ up(A).T + torch.eye(len(A), dtype=up(A).dtype)
    d = up(x) - up(mu)
    q = (d * torch.linalg.solve(S, d.T).T).sum(1)
    return (0.5 * (q + torch.logdet(S) + len(A) * math.log(2 * math.pi))).to(x.dtype)


def mvn_i(B=3, n=3, a=1.0, xs=1.0, tr=False):
    def make(g, d):
        x, A = (
            (normal(g, d, B, n, grad=False) * xs).requires_grad_(),
            (normal(g, d, n, n, grad=False) * a).requires_grad_(),
        )
        return (view(x) if tr else x), normal(g, d, n), (view(A) if tr else A)

    return make


mvn_nll = Operation(
    "mvn_nll",
    mvn_f,
    mvn_b,
    mvn_i(),
    mvn_r,
    (
        Mistake(
            "scale",
            "A A^T is differentiated for one of its two factors",
            wrong(mvn_b, "two"),
            argument="A",
            dtypes=ALL,
            source="pytorch/pytorch issues 18825 and 137284 (halves in symmetric gradients)",
        ),
        Mistake(
            "missing-term",
            "the log-determinant is left out of the covariance's gradient",
            wrong(mvn_b, "logdet"),
            argument="A",
            also=("unknown",),
            dtypes=WIDE,
            hidden=mvn_i(a=0.0),
            source="HIPS/autograd pull 56 (log-determinants by Cholesky)",
        ),
        Mistake(
            "missing-sum",
            "the mean's gradient is not summed over the batch",
            wrong(mvn_b, "sum"),
            argument="mu",
            also=("shape",),
            dtypes=ALL,
            source="csarofeen/pytorch issue 906",
        ),
    ),
    {
        "one": mvn_i(1, 1),
        "identity": mvn_i(a=0.0),
        "far": mvn_i(xs=20.0),
        "view": mvn_i(tr=True),
        "empty": mvn_i(B=0),
    },
)


# ---- mixture density network ----
def mdn_f(x, logit, mu, rho):
    D = x.shape[1]
    sigma = softplus(up(rho)) + 0.05
    diff = up(x)[:, None] - up(mu)
    d2 = diff.square().sum(-1)
    lp = up(logit).log_softmax(-1) - 0.5 * d2 / sigma**2 - D * sigma.log() - 0.5 * D * math.log(2 * math.pi)
    loss = -torch.logsumexp(lp, -1).mean()
    return loss.to(x.dtype), (x, logit, mu, rho, sigma, diff, d2, lp)


def mdn_b(g, res, bug=""):
    x, logit, mu, rho, sigma, diff, d2, lp = res
    n, D = x.shape
    r = lp.softmax(-1) * up(g) / n
    pi = up(logit).softmax(-1) * up(g) / n
    k = diff * (r / sigma**2)[..., None]
    dsig = -r * (d2 / sigma**3 - (1 if bug == "dim" else D) / sigma)
    dmu = -k * (n if bug == "mean" else 1)
    dlogit = -r if bug == "norm" else pi - r
    return (
        k.sum(1).to(x.dtype),
        dlogit.to(logit.dtype),
        dmu.to(mu.dtype),
        (dsig * torch.sigmoid(up(rho))).to(rho.dtype),
    )


def mdn_r(x, logit, mu, rho):
    s = torch.logaddexp(up(rho), torch.zeros_like(up(rho))) + 0.05
    z = (up(x)[:, None] - up(mu)) / s[..., None]
    comp = (-0.5 * z**2 - torch.log(s)[..., None] - 0.5 * math.log(2 * math.pi)).sum(-1)
    return -torch.logsumexp(F.log_softmax(up(logit), 1) + comp, 1).mean().to(x.dtype)


def mdn_i(N=3, K=2, D=3, xs=1.0, tr=False):
    def make(g, d):
        x, mu = (normal(g, d, N, D, grad=False) * xs).requires_grad_(), normal(g, d, N, K, D)
        return (view(x) if tr else x), normal(g, d, N, K), (view(mu) if tr else mu), normal(g, d, N, K)

    return make


mixture_nll = Operation(
    "mixture_nll",
    mdn_f,
    mdn_b,
    mdn_i(),
    mdn_r,
    (
        Mistake(
            "missing-term",
            "log sigma counts once, not once for each dimension",
            wrong(mdn_b, "dim"),
            argument="rho",
            also=("unknown", "missing-factor", "offset"),
            hidden=mdn_i(D=1),
            dtypes=WIDE,
            source="common in mixture density networks",
        ),
        Mistake(
            "scale",
            "the mean over the batch is left out for the component means",
            wrong(mdn_b, "mean"),
            argument="mu",
            hidden=mdn_i(N=1),
            dtypes=ALL,
            source="pytorch/pytorch issue 11750; microsoft/onnxruntime pull 3237",
        ),
        Mistake(
            "missing-term",
            "the softmax of the mixture logits lacks its normalisation",
            wrong(mdn_b, "norm"),
            argument="logit",
            dtypes=WIDE,
            also=("unknown",),
            source="common",
        ),
    ),
    {"one": mdn_i(1, 1, 1), "far": mdn_i(xs=20.0), "view": mdn_i(tr=True), "one component": mdn_i(K=1)},
)


# ---- cross entropy with label smoothing and z-loss ----
def ce_f(logits, target, smooth, lam):
    x = up(logits)
    lse = torch.logsumexp(x, -1)
    picked = x.gather(1, target[:, None])[:, 0]
    loss = (lse - (1 - smooth) * picked - smooth * x.mean(-1) + lam * lse**2).mean()
    return loss.to(logits.dtype), (logits, target, smooth, lam, lse)


def ce_b(g, res, bug=""):
    logits, target, smooth, lam, lse = res
    n, V = logits.shape
    x = up(logits)
    if bug == "mutates":
        probs = x.detach().sub_(lse[:, None]).exp_()  # the saved logits' own memory, where nothing was cast
    else:
        probs = torch.exp(x - lse[:, None])
    d = probs if bug == "zloss" else probs * (1 + 2 * lam * lse[:, None])
    d = d - (1 - smooth) * F.one_hot(target, V).to(x.dtype)
    if bug != "smooth":
        d = d - smooth / V
    d = d / n
    if bug != "grad":
        d = d * up(g)
    return d.to(logits.dtype), None, None, None


def ce_r(logits, target, smooth, lam):
    x = up(logits)
    return (
        F.cross_entropy(x, target, label_smoothing=smooth) + lam * torch.logsumexp(x, 1).square().mean()
    ).to(logits.dtype)


def ce_i(N=3, V=5, smooth=0.2, lam=0.1, scale=1.0, tr=False):
    def make(g, d):
        x = (normal(g, d, N, V, grad=False) * scale).requires_grad_()
        return (view(x) if tr else x), integers(g, N, high=V), smooth, lam

    return make


cross_entropy_zloss = Operation(
    "cross_entropy_zloss",
    ce_f,
    ce_b,
    ce_i(),
    ce_r,
    (
        Mistake(
            "offset",
            "the constant of label smoothing is left out",
            wrong(ce_b, "smooth"),
            argument="logits",
            also=("missing-term",),
            hidden=ce_i(smooth=0.0),
            dtypes=WIDE,
            source="linkedin/Liger-Kernel pull 198",
        ),
        Mistake(
            "missing-term",
            "the z-loss is left out",
            wrong(ce_b, "zloss"),
            argument="logits",
            hidden=ce_i(lam=0.0),
            also=("missing-factor", "unknown"),
            dtypes=WIDE,
            source="linkedin/Liger-Kernel pull 1268",
        ),
        Mistake(
            "mutates",
            "the gradient is computed in the memory of the logits",
            wrong(ce_b, "mutates"),
            argument="logits",
            dtypes=WIDE,
            source="unslothai/unsloth issue 5002",
        ),
        Mistake(
            "missing-factor",
            "the incoming gradient is ignored",
            wrong(ce_b, "grad"),
            argument="logits",
            also=("scale",),
            dtypes=ALL,
            source="pytorch/pytorch issue 21961; sherjilozair/ctc issue 2",
        ),
    ),
    {"one": ce_i(1, 1), "large": ce_i(scale=100.0), "equal": ce_i(scale=0.0), "view": ce_i(tr=True)},
)

OPERATIONS = (
    netvlad,
    neural_sort,
    sinkhorn_plan,
    focal_loss,
    vicreg,
    clip_loss,
    mvn_nll,
    mixture_nll,
    cross_entropy_zloss,
)
