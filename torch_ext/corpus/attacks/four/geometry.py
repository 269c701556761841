"""Geometry and rendering: volume rendering, splats, quaternions, an affine sampler, complex and structured layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ._util import ALL, WIDE, Mistake, Operation, const, normal, uniform, up, view, wrong


# ---- volume rendering along rays ----
def vol_f(sigma, rgb, bg, dt):
    tau = torch.relu(up(sigma)) * up(dt)
    cum = tau.cumsum(-1)
    t_out = torch.exp(-cum)
    w = torch.exp(-(cum - tau)) * -torch.expm1(-tau)
    last = torch.exp(-tau.sum(-1))
    color = (w[..., None] * up(rgb)).sum(-2) + last[:, None] * up(bg)
    return (color.to(sigma.dtype), (1 - last).to(sigma.dtype)), (sigma, rgb, bg, dt, tau, t_out, w, last)


def vol_b(g, res, bug=""):
    sigma, rgb, bg, dt, tau, t_out, w, last = res
    gc, go = g
    gc = torch.zeros(sigma.shape[0], 3, dtype=tau.dtype) if gc is None else up(gc)
    go = torch.zeros(sigma.shape[0], dtype=tau.dtype) if go is None else up(go)
    G = (up(rgb) * gc[:, None]).sum(-1)
    wg = w * G
    behind = F.pad(wg, (0, 1)).flip(-1).cumsum(-1).flip(-1)[..., 1:]  # exclusive: no cancellation
    end = last * ((0 if bug == "background" else gc @ up(bg)) - (0 if bug == "opacity" else go))
    if bug == "divide":
        alpha = 1 - torch.exp(-tau)
        t_in = t_out / (1 - alpha)
        dtau = (t_in * G - (behind + end[:, None]) / (1 - alpha)) * (1 - alpha)
    else:
        dtau = t_out * G - behind - end[:, None]
    ds = torch.where(up(sigma) > 0, dtau * up(dt), 0.0)
    return (
        ds.to(sigma.dtype),
        (w[..., None] * gc[:, None]).to(rgb.dtype),
        (last[:, None] * gc).sum(0).to(bg.dtype),
        None,
    )


def vol_r(sigma, rgb, bg, dt):
    s = F.relu(up(sigma)) * up(dt)
    color, trans = 0.0, torch.ones(sigma.shape[0], dtype=s.dtype)
    for i in range(sigma.shape[1]):
        color = color + (trans * (1 - torch.exp(-s[:, i])))[:, None] * up(rgb)[:, i]
        trans = trans * torch.exp(-s[:, i])
    return (color + trans[:, None] * up(bg)).to(sigma.dtype), (1 - trans).to(sigma.dtype)


def vol_i(R=3, S=5, bg=None, scale=1.0, kinks=False, tr=False):
    def make(g, d):
        sigma = (normal(g, d, R, S, grad=False) * scale).to(d)
        if kinks:
            sigma[:, ::2] = 0.0
        sigma = sigma.requires_grad_()
        b = uniform(g, d, 3) if bg is None else const([bg] * 3, d)
        return (
            (view(sigma) if tr else sigma),
            uniform(g, d, R, S, 3),
            b,
            uniform(g, d, R, S, low=0.2, high=1.0, grad=False),
        )

    return make


volume_render = Operation(
    "volume_render",
    vol_f,
    vol_b,
    vol_i(),
    vol_r,
    (
        Mistake(
            "missing-term",
            "the background behind the last sample is left out of the density gradient",
            wrong(vol_b, "background"),
            argument="sigma",
            also=("unknown",),
            hidden=vol_i(bg=0.0),
            source="graphdeco-inria/diff-gaussian-rasterization issue 86",
        ),
        Mistake(
            "missing-term",
            "the gradient of the opacity output is ignored",
            wrong(vol_b, "opacity"),
            argument="sigma",
            also=("unknown", "zero"),
            source="kwea123/ngp_pl pull 133",
        ),
        Mistake(
            "not-finite",
            "transmittance is divided by 1 - alpha, which rounds to zero in opaque samples",
            wrong(vol_b, "divide"),
            argument="sigma",
            also=("region", "local"),
            hidden=vol_i(),
            source="graphdeco-inria/gaussian-splatting issue 489; nerfstudio-project/gsplat issue 556",
        ),
    ),
    {
        "one": vol_i(1, 1),
        "opaque": vol_i(scale=100.0),
        "zero density": vol_i(kinks=True),
        "view": vol_i(tr=True),
        "empty": vol_i(R=0),
    },
)


# ---- 2D Gaussian splats ----
def spl_f(mean, conic, logit, color, pix):
    d = up(pix)[:, None] - up(mean)
    A, B, C = up(conic).unbind(-1)
    power = -0.5 * (A * d[..., 0] ** 2 + C * d[..., 1] ** 2) - B * d[..., 0] * d[..., 1]
    e = torch.exp(power.clamp(max=0.0))
    op = torch.sigmoid(up(logit))
    raw = op * e
    alpha = raw.clamp(max=0.9)
    return (alpha @ up(color)).to(mean.dtype), (mean, conic, logit, color, pix, d, power, e, op, raw, alpha)


def spl_b(g, res, bug=""):
    mean, conic, logit, color, pix, d, power, e, op, raw, alpha = res
    go = up(g)
    A, B, C = up(conic).unbind(-1)
    da = go @ up(color).mT
    if bug != "clamp":
        da = torch.where(raw <= 0.9, da, 0.0)
    dlogit = (da * e).sum(0) * op * (1 - op)
    dp = torch.where(power <= 0, da * raw, 0.0)
    x, y = d[..., 0], d[..., 1]
    dconic = torch.stack(
        [-0.5 * dp * x * x, (-0.5 if bug == "half" else -1.0) * dp * x * y, -0.5 * dp * y * y], -1
    ).sum(0)
    dmean = torch.stack([dp * (A * x + B * y), dp * (C * y + B * x)], -1).sum(0)
    return (
        dmean.to(mean.dtype),
        dconic.to(conic.dtype),
        dlogit.to(logit.dtype),
        (alpha.mT @ go).to(color.dtype),
        None,
    )


def spl_r(mean, conic, logit, color, pix):
    d = up(pix)[:, None] - up(mean)[None]
    M = torch.stack([up(conic)[:, 0], up(conic)[:, 1], up(conic)[:, 1], up(conic)[:, 2]], -1).view(-1, 2, 2)
    power = -0.5 * torch.einsum("pni,nij,pnj->pn", d, M, d)
    alpha = torch.clamp(torch.sigmoid(up(logit)) * torch.exp(torch.clamp(power, max=0.0)), max=0.9)
    return torch.einsum("pn,nc->pc", alpha, up(color)).to(mean.dtype)


def spl_i(P=5, N=3, shift=0.0, on=False, tr=False):
    def make(g, d):
        mean, pix = normal(g, d, N, 2, grad=False), normal(g, d, P, 2, grad=False)
        if on and N and P:
            pix[0] = mean[0]
        L = torch.randn(N, 2, 2, generator=g, dtype=torch.float64)
        S = L @ L.mT + 0.3 * torch.eye(2, dtype=torch.float64)
        conic = torch.stack([S[:, 0, 0], S[:, 0, 1], S[:, 1, 1]], -1).to(d).requires_grad_()
        logit = (normal(g, d, N, grad=False) + shift).requires_grad_()
        mean.requires_grad_()
        return (view(mean) if tr else mean), (view(conic) if tr else conic), logit, normal(g, d, N, 3), pix

    return make


splat_2d = Operation(
    "splat_2d",
    spl_f,
    spl_b,
    spl_i(),
    spl_r,
    (
        Mistake(
            "local",
            "the off-diagonal entry of the conic has -1/2 where -1 belongs",
            wrong(spl_b, "half"),
            argument="conic",
            also=("scale", "region", "missing-factor", "missing-term"),
            dtypes=WIDE,
            source="graphdeco-inria/diff-gaussian-rasterization issue 94",
        ),
        Mistake(
            "region",
            "the gradient runs through the clamp of alpha",
            wrong(spl_b, "clamp"),
            also=("local", "missing-factor", "missing-term", "unknown"),
            hidden=spl_i(shift=-6.0),
            source="nerfstudio-project/gsplat issue 556",
        ),
    ),
    {
        "one": spl_i(1, 1),
        "clamped": spl_i(shift=8.0, on=True),
        "on the mean": spl_i(on=True),
        "view": spl_i(tr=True),
        "empty": spl_i(P=0),
    },
)


# ---- rigid transforms by unnormalised quaternions ----
QE = 1e-6


def rotation(q):
    w, x, y, z = q.unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    ]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def quat_f(q, p, t):
    norm = torch.sqrt(up(q).square().sum(-1, keepdim=True) + QE)
    u = up(q) / norm
    R = rotation(u)
    return (up(p) @ R.mT + up(t)[:, None]).to(q.dtype), (q, p, t, norm, u, R)


def quat_b(g, res, bug=""):
    q, p, t, norm, u, R = res
    go, pf = up(g), up(p)
    dR = go.mT @ pf
    w, x, y, z = u.unbind(-1)
    D = lambda i, j: dR[:, i, j]  # noqa: E731
    dw = 2 * (-z * D(0, 1) + y * D(0, 2) + z * D(1, 0) - x * D(1, 2) - y * D(2, 0) + x * D(2, 1))
    dx = 2 * (y * (D(0, 1) + D(1, 0)) + z * (D(0, 2) + D(2, 0)) + w * (D(2, 1) - D(1, 2))) - 4 * x * (
        D(1, 1) + D(2, 2)
    )
    dy = 2 * (x * (D(0, 1) + D(1, 0)) + z * (D(1, 2) + D(2, 1)) + w * (D(0, 2) - D(2, 0))) - 4 * y * (
        D(0, 0) + D(2, 2)
    )
    dz = 2 * (x * (D(0, 2) + D(2, 0)) + y * (D(1, 2) + D(2, 1)) + w * (D(1, 0) - D(0, 1))) - 4 * z * (
        D(0, 0) + D(1, 1)
    )
    du = torch.stack([dw, dx, dy, dz], -1)
    dq = du / norm if bug == "norm" else (du - u * (u * du).sum(-1, keepdim=True)) / norm
    dp = (go @ (R.mT if bug == "inverse" else R)).sum(0)
    return dq.to(q.dtype), dp.to(p.dtype), go.sum(1).to(t.dtype)


def quat_r(q, p, t):
    u = up(q) / torch.sqrt((up(q) ** 2).sum(-1, keepdim=True) + QE)
    v, w, pf = u[:, None, 1:], u[:, None, :1], up(p)[None]
    v, pf = torch.broadcast_tensors(v, pf)
    c = torch.linalg.cross(v, pf)
    return (pf + 2 * w * c + 2 * torch.linalg.cross(v, c) + up(t)[:, None]).to(q.dtype)


def quat_i(N=2, M=4, kind="", tr=False):
    def make(g, d):
        q = normal(g, d, N, 4, grad=False)
        if kind == "identity":
            q = torch.zeros_like(q)
            q[:, 0] = 2.0
        if kind == "near zero":
            q = q * 0.01
        if kind == "large":
            q = q * 100
        if kind == "zero":
            q = q * 0
        p = normal(g, d, M, 3)
        q = q.requires_grad_()
        return (view(q) if tr else q), (view(p) if tr else p), normal(g, d, N, 3)

    return make


quaternion_transform = Operation(
    "quaternion_transform",
    quat_f,
    quat_b,
    quat_i(),
    quat_r,
    (
        Mistake(
            "missing-term",
            "the normalisation of the quaternion is not projected out",
            wrong(quat_b, "norm"),
            argument="q",
            also=("unknown", "missing-factor"),
            dtypes=WIDE,
            source="kornia/kornia issues 3949 and 4007; facebookresearch/pytorch3d issue 119",
        ),
        Mistake(
            "unknown",
            "the points' gradient is turned forwards, not back: R transposed where R belongs",
            wrong(quat_b, "inverse"),
            argument="p",
            also=("transpose", "sign", "missing-term", "local", "region"),
            hidden=quat_i(kind="identity"),
            dtypes=WIDE,
            source="PaddlePaddle/Paddle pull 74716",
        ),
    ),
    {
        "one": quat_i(1, 1),
        "identity": quat_i(kind="identity"),
        "near zero": quat_i(kind="near zero"),
        "zero": quat_i(kind="zero"),
        "large": quat_i(kind="large"),
        "view": quat_i(tr=True),
    },
)


# ---- affine sampler with border padding ----
def grid_of(H, W, dtype):
    return torch.linspace(-1, 1, W, dtype=dtype)[None].expand(H, W), torch.linspace(-1, 1, H, dtype=dtype)[
        :, None
    ].expand(H, W)


def samp_f(img, theta):
    f, th = up(img), up(theta)
    _, H, W = img.shape
    gx, gy = grid_of(H, W, f.dtype)
    px = (th[0, 0] * gx + th[0, 1] * gy + th[0, 2] + 1) / 2 * (W - 1)
    py = (th[1, 0] * gx + th[1, 1] * gy + th[1, 2] + 1) / 2 * (H - 1)
    cx, cy = px.clamp(0, W - 1), py.clamp(0, H - 1)
    x0, y0 = cx.floor().long().clamp(0, max(W - 2, 0)), cy.floor().long().clamp(0, max(H - 2, 0))
    x1, y1 = (x0 + 1).clamp(max=W - 1), (y0 + 1).clamp(max=H - 1)
    fx, fy = cx - x0, cy - y0
    out = (
        f[:, y0, x0] * (1 - fx) * (1 - fy)
        + f[:, y0, x1] * fx * (1 - fy)
        + f[:, y1, x0] * (1 - fx) * fy
        + f[:, y1, x1] * fx * fy
    )
    return out.to(img.dtype), (img, theta, px, py, x0, x1, y0, y1, fx, fy)


def samp_b(g, res, bug=""):
    img, theta, px, py, x0, x1, y0, y1, fx, fy = res
    f, go = up(img), up(g)
    C, H, W = img.shape
    gx, gy = grid_of(H, W, f.dtype)
    dimg = torch.zeros(C, H * W, dtype=f.dtype)
    for yy, xx, w in (
        (y0, x0, (1 - fx) * (1 - fy)),
        (y0, x1, fx * (1 - fy)),
        (y1, x0, (1 - fx) * fy),
        (y1, x1, fx * fy),
    ):
        idx, val = (yy * W + xx).flatten(), (go * w).flatten(1)
        if bug == "overwrite":
            for k in range(idx.numel()):
                old = dimg[:, idx[k]] if k == 0 or idx[k] != idx[k - 1] else 0.0
                dimg[:, idx[k]] = old + val[:, k]
        else:
            dimg.index_add_(1, idx, val)
    a, b, c, d = f[:, y0, x0], f[:, y0, x1], f[:, y1, x0], f[:, y1, x1]
    dpx = (go * ((b - a) * (1 - fy) + (d - c) * fy)).sum(0)
    dpy = (go * ((c - a) * (1 - fx) + (d - b) * fx)).sum(0)
    if bug != "border":
        dpx = torch.where((px >= 0) & (px <= W - 1), dpx, 0.0)
        dpy = torch.where((py >= 0) & (py <= H - 1), dpy, 0.0)
    k = 0 if bug == "align" else 1
    dpx, dpy = dpx * (W - k) / 2, dpy * (H - k) / 2
    dth = torch.stack([torch.stack([(v * gx).sum(), (v * gy).sum(), v.sum()]) for v in (dpx, dpy)])
    return dimg.view(C, H, W).to(img.dtype), dth.to(theta.dtype)


def samp_r(img, theta):
    f, th = up(img), up(theta)
    _, H, W = img.shape
    gx, gy = grid_of(H, W, f.dtype)
    px = torch.clamp((th[0, 0] * gx + th[0, 1] * gy + th[0, 2] + 1) / 2 * (W - 1), 0, W - 1)
    py = torch.clamp((th[1, 0] * gx + th[1, 1] * gy + th[1, 2] + 1) / 2 * (H - 1), 0, H - 1)
    i, j = torch.floor(py.detach()).clamp(0, max(H - 2, 0)), torch.floor(px.detach()).clamp(0, max(W - 2, 0))
    out = 0.0
    for di in (0, 1):
        for dj in (0, 1):
            wy, wx = (py - i if di else 1 - (py - i)), (px - j if dj else 1 - (px - j))
            flat = ((i + di).clamp(max=H - 1) * W + (j + dj).clamp(max=W - 1)).long()
            out = out + f.flatten(1)[:, flat.flatten()].view(-1, H, W) * wy * wx
    return out.to(img.dtype)


def samp_i(C=2, H=5, W=5, kind="", tr=False):
    def make(g, d):
        img = normal(g, d, C, H, W)
        base = torch.tensor([[1.0, 0, 0], [0, 1, 0]], dtype=torch.float64)
        th = base + 0.4 * torch.randn(2, 3, generator=g, dtype=torch.float64)
        if kind == "inside":
            th = 0.5 * base + 0.1 * torch.rand(2, 3, generator=g, dtype=torch.float64)
        if kind == "identity":
            th = base
        if kind == "outside":
            th = base * 20
        return (view(img) if tr else img), th.to(d).requires_grad_()

    return make


affine_sampler = Operation(
    "affine_sampler",
    samp_f,
    samp_b,
    samp_i(),
    samp_r,
    (
        Mistake(
            "region",
            "points beyond the border still get a gradient",
            wrong(samp_b, "border"),
            argument="theta",
            also=("missing-term", "unknown", "missing-factor"),
            hidden=samp_i(kind="inside"),
            dtypes=WIDE,
            source="pytorch/pytorch issue 23925",
        ),
        Mistake(
            "scale",
            "the grid is scaled back by W/2 where (W - 1)/2 belongs",
            wrong(samp_b, "align"),
            argument="theta",
            also=("missing-factor",),
            dtypes=WIDE,
            source="pytorch/pytorch issue 40153; NVlabs/stylegan3 issue 220",
        ),
        Mistake(
            "missing-sum",
            "neighbouring samples that read one pixel overwrite each other's gradient",
            wrong(samp_b, "overwrite"),
            argument="img",
            also=("missing-term", "region", "local", "unknown"),
            dtypes=WIDE,
            source="jmschrei/cherimoya issue 25",
        ),
    ),
    {
        "one": samp_i(1, 1, 1),
        "identity": samp_i(kind="identity"),
        "outside": samp_i(kind="outside"),
        "view": samp_i(tr=True),
        "flat": samp_i(2, 3, 5),
    },
    dtypes=WIDE,
)


# ---- complex linear layer with modReLU ----
CE = 1e-6


def mod_f(z, w, b):
    y = z @ w.mT
    r = torch.sqrt(y.real**2 + y.imag**2 + CE)
    s = torch.relu(r + b) / r
    return s * y, (z, w, b, y, r, s)


def mod_b(g, res, bug=""):
    z, w, b, y, r, s = res
    on = (r + b > 0).to(r.dtype)
    gy = g.conj() * y
    gs = gy.real
    dr = gs * (on - s) / r
    dy = s * g + dr / r * y
    db = (gs * on / r).sum(0)
    if bug == "dtype":
        db = (gy * on / r).sum(0)
    dz = dy @ (w if bug == "conj" else w.conj())
    return dz, dy.mT @ z.conj(), db


def mod_r(z, w, b):
    y = torch.einsum("bi,oi->bo", z, w)
    r = torch.sqrt(y.real.square() + y.imag.square() + CE)
    return F.relu(r + b) * y / r


def mod_i(B=3, n=3, m=2, bias=0.0, real=False, zs=1.0, tr=False):
    def make(g, d):
        def c(*shape, imag=1.0):
            return torch.complex(
                normal(g, d, *shape, grad=False), imag * normal(g, d, *shape, grad=False)
            ).requires_grad_()

        z, w = c(B, n), c(m, n, imag=0.0 if real else 1.0)
        z = (z.detach() * zs).requires_grad_()
        if tr:
            z, w = view(z), view(w)
        return z, w, (normal(g, d, m, grad=False) + bias).requires_grad_()

    return make


complex_modrelu = Operation(
    "complex_modrelu",
    mod_f,
    mod_b,
    mod_i(),
    mod_r,
    (
        Mistake(
            "unknown",
            "the weight is not conjugated in the input gradient",
            wrong(mod_b, "conj"),
            argument="z",
            also=("sign", "missing-term", "region", "missing-factor"),
            hidden=mod_i(real=True),
            dtypes=WIDE,
            source="locuslab/pytorch_fft issue 4",
        ),
        Mistake(
            "dtype",
            "the real bias gets a complex gradient",
            wrong(mod_b, "dtype"),
            argument="b",
            also=("unknown",),
            dtypes=WIDE,
            source="pytorch/pytorch pull 43208; complex biases of modReLU",
        ),
    ),
    {
        "one": mod_i(1, 1, 1),
        "off": mod_i(bias=-50.0),
        "zero": mod_i(zs=0.0),
        "large": mod_i(zs=1e3),
        "view": mod_i(tr=True),
        "empty": mod_i(B=0),
    },
    dtypes=WIDE,
)


# ---- circulant plus low-rank matrix ----
def circ_f(x, c, u, v):
    n = c.shape[0]
    X, Cf = torch.fft.rfft(up(x)), torch.fft.rfft(up(c))
    y = torch.fft.irfft(X * Cf, n=n) + up(x) @ up(v) @ up(u).mT
    return y.to(x.dtype), (x, c, u, v, X, Cf)


def circ_b(g, res, bug=""):
    x, c, u, v, X, Cf = res
    n, go, xf, uf, vf = c.shape[0], up(g), up(x), up(u), up(v)
    Gf = torch.fft.rfft(go)
    dx = torch.fft.irfft(Gf * Cf.conj(), n=n) + go @ uf @ vf.mT
    spec = Gf.conj() * X if bug == "flip" else Gf * X.conj()
    dc = torch.fft.irfft(spec.sum(0), n=n)
    du = go.mT @ (xf @ vf)
    if bug == "transpose":
        du = du.mT
    return dx.to(x.dtype), dc.to(c.dtype), du.to(u.dtype), (xf.mT @ (go @ uf)).to(v.dtype)


def circ_r(x, c, u, v):
    n = c.shape[0]
    i = torch.arange(n)
    M = up(c)[(i[:, None] - i[None]) % n] + up(u) @ up(v).mT
    return (up(x) @ M.mT).to(x.dtype)


def circ_i(B=3, n=4, r=4, xs=1.0, tr=False):
    def make(g, d):
        x, c, u, v = normal(g, d, B, n), normal(g, d, n), normal(g, d, n, r), normal(g, d, n, r)
        x = (x.detach() * xs).requires_grad_()
        return (view(x) if tr else x), c, (view(u) if tr else u), v

    return make


circulant_lowrank = Operation(
    "circulant_lowrank",
    circ_f,
    circ_b,
    circ_i(),
    circ_r,
    (
        Mistake(
            "permuted",
            "the other factor is conjugated: the circulant's gradient runs backwards",
            wrong(circ_b, "flip"),
            argument="c",
            hidden=circ_i(n=2, r=1),
            dtypes=ALL,
            source="locuslab/pytorch_fft issue 4",
        ),
        Mistake(
            "transpose",
            "the gradient of U is U's transposed",
            wrong(circ_b, "transpose"),
            argument="u",
            also=("shape",),
            dtypes=ALL,
            source="locuslab/pytorch_fft issue 4 (missing transposes)",
        ),
    ),
    {
        "one": circ_i(1, 1, 1),
        "odd": circ_i(2, 5, 2),
        "large": circ_i(xs=100.0),
        "view": circ_i(tr=True),
        "one row": circ_i(1),
    },
)

OPERATIONS = (
    volume_render,
    splat_2d,
    quaternion_transform,
    affine_sampler,
    complex_modrelu,
    circulant_lowrank,
)
