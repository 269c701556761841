"""Hyperbolic distances, spherical harmonics, volume rendering, the Chamfer distance."""

from __future__ import annotations

import math

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from torch_ext.corpus._entry import DTYPES, normal, uniform
from torch_ext.corpus.public._entry import PublicFunction, Wrong, these

# --- artanh


class Artanh(Function):
    """artanh(x) in float64, |x| held just below 1."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        z = x.double().clamp(-EDGE, EDGE)
        return (0.5 * (torch.log1p(z) - torch.log1p(-z))).to(x.dtype)

    @staticmethod
    def slope(x):
        z = x.double()
        return torch.where(z.abs() <= EDGE, 1 / ((1 - z) * (1 + z)), 0.0)

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return (grad_output.double() * Artanh.slope(x)).to(x.dtype)


class ArtanhDouble(Artanh):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return grad_output.double() * Artanh.slope(x)


class ArtanhOneSide(Artanh):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return (grad_output.double() * Artanh.slope(x) * (1 + x.double())).to(x.dtype)


class ArtanhOpen(Artanh):
    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        return (grad_output.double() / (1 - x.double() ** 2)).to(x.dtype)


EDGE = 1 - 1e-15


def artanh(x):
    z = x.double().clamp(-EDGE, EDGE)
    return (0.5 * (torch.log1p(z) - torch.log1p(-z))).to(x.dtype)


ARTANH = PublicFunction(
    "artanh",
    "Artanh in HazyResearch/hgcn and geoopt/geoopt; Chami et al. 2019",
    Artanh.apply,
    artanh,
    lambda g, d: (uniform(g, d, 4, 4, low=-0.9, high=0.9),),
    (
        Wrong("dtype", "left in float64", ArtanhDouble.apply, argument="x", dtypes=("float32", "bfloat16")),
        Wrong(
            "missing-factor", "1/(1 - x) where it is 1/((1 - x)(1 + x))", ArtanhOneSide.apply, argument="x"
        ),
        Wrong("region", "not zero beyond the clamp", ArtanhOpen.apply, ("not-finite", "local"), "x"),
    ),
    {"beyond": lambda g, d: (these(-1.5, -1.0, -0.5, 0.0, 0.25, 1.0, 2.0)(d),)},
    dtypes=DTYPES,
)

# --- Poincaré distance

CLOSE = 1e-12


class PoincareDistance(Function):
    """arcosh(1 + 2|u - v|²/((1 - |u|²)(1 - |v|²))), constant where u and v meet."""

    @staticmethod
    def forward(ctx, u, v):
        ctx.save_for_backward(u, v)
        return poincare(u, v)

    @staticmethod
    def one(g, x, y, both=True):
        """The gradient with respect to x."""
        alpha = 1 - x.square().sum(-1, keepdim=True)
        beta = 1 - y.square().sum(-1, keepdim=True)
        gap = (x - y).square().sum(-1, keepdim=True)
        over = 2 * gap / (alpha * beta)
        root = (over.clamp(min=CLOSE) * (over.clamp(min=CLOSE) + 2)).sqrt()
        inner = ((x - y) + (x * gap / alpha if both else 0)) / (alpha * beta)
        return torch.where(over >= CLOSE, 4 * g[..., None] * inner / root, 0.0)

    @staticmethod
    def backward(ctx, grad_output):
        u, v = ctx.saved_tensors
        return PoincareDistance.one(grad_output, u, v), PoincareDistance.one(grad_output, v, u)


class PoincareFlat(PoincareDistance):
    @staticmethod
    def backward(ctx, grad_output):
        u, v = ctx.saved_tensors
        return PoincareDistance.one(grad_output, u, v, both=False), PoincareDistance.one(grad_output, v, u)


class PoincareHalf(PoincareDistance):
    @staticmethod
    def backward(ctx, grad_output):
        return PoincareDistance.backward(ctx, grad_output / 2)


class PoincareOneWay(PoincareDistance):
    @staticmethod
    def backward(ctx, grad_output):
        du, dv = PoincareDistance.backward(ctx, grad_output)
        return du, -dv


def poincare(u, v):
    alpha, beta = 1 - u.square().sum(-1), 1 - v.square().sum(-1)
    over = (2 * (u - v).square().sum(-1) / (alpha * beta)).clamp(min=CLOSE)
    return torch.log1p(over + (over * (over + 2)).sqrt())


POINCARE = PublicFunction(
    "poincare_distance",
    "PoincareDistance in facebookresearch/poincare-embeddings; Nickel & Kiela 2017",
    PoincareDistance.apply,
    poincare,
    lambda g, d: (uniform(g, d, 5, 3, low=-0.5, high=0.5), uniform(g, d, 5, 3, low=-0.5, high=0.5)),
    (
        Wrong("missing-term", "u: the derivative of 1 - |u|² is missing", PoincareFlat.apply, argument="u"),
        Wrong("scale", "half of it: the derivative of a square without its 2", PoincareHalf.apply),
        Wrong("sign", "v: as if the distance fell where it grows", PoincareOneWay.apply, argument="v"),
    ),
    {"meeting points": lambda g, d: (these((0.1, 0.2), (0.3, -0.4))(d), these((0.1, 0.2), (0.0, 0.5))(d))},
)

# --- spherical harmonics

C0, C1 = math.sqrt(1 / (4 * math.pi)), math.sqrt(3 / (4 * math.pi))
C2, C3, C4 = math.sqrt(15 / (4 * math.pi)), math.sqrt(5 / (16 * math.pi)), math.sqrt(15 / (16 * math.pi))


def harmonics(xyz):
    x, y, z = xyz.unbind(-1)
    rows = [C0 + 0 * x, -C1 * y, C1 * z, -C1 * x, C2 * x * y, -C2 * y * z]
    rows += [C3 * (2 * z * z - x * x - y * y), -C2 * x * z, C4 * (x * x - y * y)]
    return torch.stack(rows, -1)


class SphericalHarmonics(Function):
    """The nine real harmonics up to degree 2; their Jacobian is kept from forward."""

    @staticmethod
    def forward(ctx, xyz):
        x, y, z = xyz.unbind(-1)
        o, one = torch.zeros_like(x), torch.ones_like(x)
        dx = [o, o, o, -C1 * one, C2 * y, o, -2 * C3 * x, -C2 * z, 2 * C4 * x]
        dy = [o, -C1 * one, o, o, C2 * x, -C2 * z, -2 * C3 * y, o, -2 * C4 * y]
        dz = [o, o, C1 * one, o, o, -C2 * y, 4 * C3 * z, -C2 * x, o]
        ctx.save_for_backward(torch.stack([torch.stack(d, -1) for d in (dx, dy, dz)], -2))
        return harmonics(xyz)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        (jacobian,) = ctx.saved_tensors
        return (jacobian @ grad_output[..., None])[..., 0]


class HarmonicsNoXz(SphericalHarmonics):
    @staticmethod
    def backward(ctx, grad_output):
        (jacobian,) = ctx.saved_tensors
        weight = torch.ones_like(jacobian)
        weight[..., 2, 7] = 0
        return ((jacobian * weight) @ grad_output[..., None])[..., 0]


class HarmonicsReversed(SphericalHarmonics):
    @staticmethod
    def backward(ctx, grad_output):
        return SphericalHarmonics.backward(ctx, grad_output).flip(-1)


HARMONICS = PublicFunction(
    "spherical_harmonics",
    "_sh_encoder in ashawkey/torch-ngp; Sloan 2013, Efficient Spherical Harmonic Evaluation",
    SphericalHarmonics.apply,
    harmonics,
    lambda g, d: (normal(g, d, 4, 3),),
    (
        Wrong("missing-term", "z: the derivative of the harmonic xz is missing", HarmonicsNoXz.apply,
              ("region", "local"), "xyz"),
        Wrong("permuted", "the coordinates in the order z, y, x", HarmonicsReversed.apply, argument="xyz"),
    ),
)  # fmt: skip

# --- volume rendering


def render(sigma, rgb, deltas, ts):
    depth = sigma * deltas
    through = torch.exp(depth - depth.cumsum(1))
    w = through * -torch.expm1(-depth)
    return (w[..., None] * rgb).sum(1), w.sum(1), (w * ts).sum(1)


class VolumeRender(Function):
    """Colour, opacity and depth of rays; sigma, deltas, ts: (rays, samples), rgb: (rays, samples, 3)."""

    @staticmethod
    def forward(ctx, sigma, rgb, deltas, ts):
        ctx.save_for_backward(sigma, rgb, deltas, ts)
        return render(sigma, rgb, deltas, ts)

    @staticmethod
    def gradients(ctx, g_rgb, g_opacity, g_depth, behind=True):
        sigma, rgb, deltas, ts = ctx.saved_tensors
        depth = sigma * deltas
        left = torch.exp(-depth.cumsum(1))
        w = torch.exp(depth - depth.cumsum(1)) * -torch.expm1(-depth)
        a = (rgb * g_rgb[:, None]).sum(-1) + g_opacity[:, None] + g_depth[:, None] * ts
        tail = (w * a).flip(1).cumsum(1).flip(1)
        after = torch.cat([tail[:, 1:], torch.zeros_like(tail[:, :1])], 1)
        dsigma = deltas * (left * a - after if behind else left * a)
        return dsigma, w[..., None] * g_rgb[:, None], None, None

    @staticmethod
    def backward(ctx, g_rgb, g_opacity, g_depth):
        return VolumeRender.gradients(ctx, g_rgb, g_opacity, g_depth)


class RenderNoShadow(VolumeRender):
    @staticmethod
    def backward(ctx, *grads):
        return VolumeRender.gradients(ctx, *grads, behind=False)


class RenderNoDepth(VolumeRender):
    @staticmethod
    def backward(ctx, g_rgb, g_opacity, g_depth):
        return VolumeRender.gradients(ctx, g_rgb, g_opacity, torch.zeros_like(g_depth))


class RenderUnweighted(VolumeRender):
    @staticmethod
    def backward(ctx, *grads):
        dsigma, drgb, *rest = VolumeRender.gradients(ctx, *grads)
        return dsigma, grads[0][:, None].expand_as(drgb).clone(), *rest


VOLUME = PublicFunction(
    "volume_render",
    "VolumeRenderer in kwea123/ngp_pl, _composite_rays_train in ashawkey/torch-ngp; Mildenhall et al. 2020",
    VolumeRender.apply,
    render,
    lambda g, d: (
        uniform(g, d, 3, 4, high=2),
        uniform(g, d, 3, 4, 3),
        uniform(g, d, 3, 4, low=0.1, grad=False),
        uniform(g, d, 3, 4, grad=False),
    ),
    (
        Wrong("missing-term", "sigma: the shadow on the samples behind is missing", RenderNoShadow.apply,
              argument="sigma"),
        Wrong("missing-term", "sigma: the depth's gradient is not used", RenderNoDepth.apply, argument="sigma"),
        Wrong("missing-factor", "rgb: not weighted", RenderUnweighted.apply, argument="rgb"),
    ),
)  # fmt: skip

# --- Chamfer distance


def chamfer(a, b):
    d = (a[:, None] - b[None]).square().sum(-1)
    i, j = d.argmin(1), d.argmin(0)
    return d.gather(1, i[:, None])[:, 0], d.gather(0, j[None])[0], i, j


class Chamfer(Function):
    """Squared distances from each point to the other cloud's nearest one, both ways, with its index."""

    @staticmethod
    def forward(ctx, a, b):
        to_b, to_a, i, j = chamfer(a, b)
        ctx.save_for_backward(a, b, i, j)
        ctx.mark_non_differentiable(i, j)
        return to_b, to_a, i, j

    @staticmethod
    def backward(ctx, g_b, g_a, *_):
        a, b, i, j = ctx.saved_tensors
        there = 2 * g_b[:, None] * (a - b[i])
        back = 2 * g_a[:, None] * (b - a[j])
        da = there.index_add(0, j, -back)
        return da, back.index_add(0, i, -there)


class ChamferOneWay(Chamfer):
    @staticmethod
    def backward(ctx, g_b, g_a, *_):
        a, b, i, _ = ctx.saved_tensors
        return 2 * g_b[:, None] * (a - b[i]), Chamfer.backward(ctx, g_b, g_a)[1]


class ChamferHalf(Chamfer):
    @staticmethod
    def backward(ctx, g_b, g_a, *_):
        return Chamfer.backward(ctx, g_b / 2, g_a / 2)


CHAMFER = PublicFunction(
    "chamfer",
    "chamfer_3DFunction in ThibaultGROUEIX/ChamferDistancePytorch; Fan et al. 2017",
    Chamfer.apply,
    chamfer,
    lambda g, d: (normal(g, d, 5, 3), normal(g, d, 4, 3)),
    (
        Wrong("missing-term", "a: the distances of b's points to it are forgotten", ChamferOneWay.apply,
              ("missing-sum",), "a"),
        Wrong("scale", "the square's 2 is missing", ChamferHalf.apply),
    ),
)  # fmt: skip

FUNCTIONS = (ARTANH, POINCARE, HARMONICS, VOLUME, CHAMFER)
