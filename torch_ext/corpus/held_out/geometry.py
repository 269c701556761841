"""Distances and angles, and complex numbers. Complex operations take their parts' dtype: float64 means complex128."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_ext.corpus._entry import Mistake, Operation, normal
from torch_ext.corpus.held_out._tools import altered, filled, turned, wide

PARTS = ("float64", "float32")


# --- Euclidean distances between the rows of x (N, D) and of y (M, D); the gradient at distance zero is zero


def _distances(x: Tensor, y: Tensor) -> Any:
    diff = wide(x)[:, None] - wide(y)[None]
    dist = (diff * diff).sum(-1).sqrt()
    return dist.to(x.dtype), (diff, dist, x, y)


def _distances_backward(g: Any, r: Any, axis: int = 1, divided: bool = True) -> Any:
    diff, dist, x, y = r
    slope = wide(g)[..., None] * diff
    if divided:
        slope = slope / dist.where(dist > 0, 1)[..., None]
    return slope.sum(axis).to(x.dtype), -slope.sum(0).to(y.dtype)


def _distances_unsafe(g: Any, r: Any) -> Any:
    diff, dist, x, y = r
    slope = wide(g)[..., None] * diff / dist[..., None]
    return slope.sum(1).to(x.dtype), -slope.sum(0).to(y.dtype)


def _distances_one_g(g: Any, r: Any) -> Any:
    return _distances_backward(g.mean().expand_as(g), r)


def _points(g: torch.Generator, d: torch.dtype, shared: bool = True) -> tuple[Any, ...]:
    x, y = normal(g, d, 4, 3, grad=False), normal(g, d, 4, 3, grad=False)
    if shared:
        y[2] = x[1]
    return x.requires_grad_(), y.requires_grad_()


def _twice(x: Tensor) -> tuple[Any, ...]:
    return x, x.detach().clone().requires_grad_()


DISTANCES = Operation(
    "pairwise_distances",
    _distances,
    _distances_backward,
    _points,
    lambda x, y: torch.linalg.vector_norm(wide(x)[:, None] - wide(y)[None], dim=-1).to(x.dtype),
    (
        Mistake("not-finite", "0/0 where two points coincide", _distances_unsafe,
                hidden=lambda g, d: _points(g, d, False),
                source="https://github.com/pytorch/pytorch/issues/37154"),
        Mistake("sign", "y: the sign of x's gradient", altered(_distances_backward, 1, lambda d: -d),
                argument="y", source="https://github.com/luhaofang/tripletloss/issues/41"),
        Mistake("missing-sum", "x: summed over the rows of x instead of those of y",
                lambda g, r: _distances_backward(g, r, axis=0), argument="x", also=("unknown", "sign"),
                source="https://github.com/luhaofang/tripletloss/issues/41"),
        Mistake("missing-factor", "not divided by the distances",
                lambda g, r: _distances_backward(g, r, divided=False), also=("unknown",),
                source="https://github.com/tenstorrent/tt-metal/issues/55585"),
        Mistake("scale", "twice the gradient, as for squared distances",
                lambda g, r: tuple(2 * d for d in _distances_backward(g, r)),
                source="https://github.com/jhjin/triplet-criterion/issues/2"),
        Mistake("unknown", "every distance gets the mean incoming gradient: right for sum() and mean()",
                _distances_one_g, also=("missing-factor", "missing-sum"),
                source="https://github.com/linkedin/Liger-Kernel/pull/1298"),
        Mistake("scale", "x: 1e-5 too large", altered(_distances_backward, 0, lambda d: d * (1 + 1e-5)),
                argument="x", source="https://github.com/pytorch/pytorch/issues/36493"),
    ),
    {
        "distinct": lambda g, d: _points(g, d, False),
        "with itself": lambda g, d: _twice(normal(g, d, 3, 2)),
        "one pair": lambda g, d: (normal(g, d, 1, 2), normal(g, d, 1, 2)),
        "views": lambda g, d: (turned(g, d, 3, 2), normal(g, d, 2, 2)),
        "no points": lambda g, d: (normal(g, d, 0, 2), normal(g, d, 3, 2)),
    },
)  # fmt: skip


# --- cosine embedding loss of each row, margin 0.1; y is 1 or -1


def _cosine(x1: Tensor, x2: Tensor, y: Tensor) -> Any:
    a, b = wide(x1), wide(x2)
    na, nb = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    cos = (a * b).sum(1, keepdim=True) / (na * nb)
    loss = torch.where(y > 0, 1 - cos[:, 0], (cos[:, 0] - 0.1).clamp(min=0))
    return loss.to(x1.dtype), (a / na, b / nb, na, nb, cos, y, x1.dtype)


def _cosine_backward(g: Any, r: Any, project: bool = True, divided: bool = True, hinge: bool = True) -> Any:
    a, b, na, nb, cos, y, dtype = r
    slope = torch.where(y[:, None] > 0, -1, ((cos > 0.1) if hinge else torch.ones_like(cos)).to(cos.dtype))
    slope = wide(g)[:, None] * slope
    d1 = slope * (b - cos * a if project else b)
    d2 = slope * (a - cos * b if project else a)
    if divided:
        d1, d2 = d1 / na, d2 / nb
    return d1.to(dtype), d2.to(dtype), None


def _cosine_one_label(g: Any, r: Any) -> Any:
    return _cosine_backward(g, (*r[:5], torch.ones_like(r[5]), r[6]))


def _couples(g: torch.Generator, d: torch.dtype, y: int = 0, unit: bool = False) -> tuple[Any, ...]:
    x1, noise = (torch.randn(6, 4, generator=g, dtype=torch.float64) for _ in range(2))
    x2 = x1 * torch.tensor([1.0, 1, 1, -1, 1, 1])[:, None] + noise / 2
    if unit:
        x1 = torch.eye(4, dtype=torch.float64)
        x2 = 0.6 * x1 + 0.8 * x1.roll(1, 1)
    labels = torch.tensor([1, -1, 1, -1, -1, -1])[: len(x1)]
    return (
        x1.to(d).requires_grad_(),
        x2.to(d).requires_grad_(),
        labels if y == 0 else torch.full_like(labels, y),
    )


def _cosine_reference(x1: Tensor, x2: Tensor, y: Tensor) -> Tensor:
    cos = F.cosine_similarity(wide(x1), wide(x2))
    return torch.where(y > 0, 1 - cos, (cos - 0.1).clamp(min=0)).to(x1.dtype)


COSINE = Operation(
    "cosine_embedding_rows",
    _cosine,
    _cosine_backward,
    _couples,
    _cosine_reference,
    (
        Mistake("region", "pairs that do not belong together are pulled together", _cosine_one_label,
                also=("sign",), hidden=lambda g, d: _couples(g, d, 1),
                source="https://github.com/CuthbertCai/pytorch_DANN/issues/10"),
        Mistake("missing-term", "the norms are taken for constants",
                lambda g, r: _cosine_backward(g, r, project=False),
                source="https://github.com/tyandzx/caffe/issues/3"),
        Mistake("missing-factor", "not divided by the norm: right for unit vectors",
                lambda g, r: _cosine_backward(g, r, divided=False),
                hidden=lambda g, d: _couples(g, d, 0, True), source="https://github.com/tyandzx/caffe/issues/3"),
        Mistake("region", "pairs beyond the margin get a gradient",
                lambda g, r: _cosine_backward(g, r, hinge=False), also=("missing-factor", "local"),
                hidden=lambda g, d: _couples(g, d, 1),
                source="https://github.com/luhaofang/tripletloss/issues/56"),
        Mistake("permuted", "the gradients of x1 and x2 are returned in the wrong order",
                lambda g, r: (*_cosine_backward(g, r)[1::-1], None),
                source="https://github.com/pytorch/tutorials/pull/3520"),
    ),
    {
        "one row": lambda g, d: (normal(g, d, 1, 3), normal(g, d, 1, 3), torch.ones(1, dtype=torch.long)),
        "parallel": lambda g, d: (filled(d, 1, 2, 3), filled(d, 2, 2, 3), torch.ones(2, dtype=torch.long)),
        "views": lambda g, d: (turned(g, d, 4, 3), normal(g, d, 4, 3), torch.tensor([1, -1, 1, -1])),
    },
)  # fmt: skip


def _complex(g: torch.Generator, d: torch.dtype, *shape: int) -> Tensor:
    z = torch.complex(normal(g, d, *shape, grad=False), normal(g, d, *shape, grad=False))
    return z.requires_grad_()


def _real_valued(g: torch.Generator, d: torch.dtype, *shape: int) -> Tensor:
    return torch.complex(normal(g, d, *shape, grad=False), torch.zeros(shape, dtype=d)).requires_grad_()


# --- complex multiplication with broadcasting; PyTorch's gradient is the conjugate one


def _multiply(z: Tensor, w: Tensor) -> Any:
    re, im = z.real * w.real - z.imag * w.imag, z.real * w.imag + z.imag * w.real
    return torch.complex(re, im), (z, w)


def _multiply_backward(g: Any, r: Any) -> Any:
    z, w = r
    return (g * w.conj()).sum_to_size(z.shape), (g * z.conj()).sum_to_size(w.shape)


MULTIPLY = Operation(
    "complex_multiply",
    _multiply,
    _multiply_backward,
    lambda g, d: (_complex(g, d, 3, 4), _complex(g, d, 4)),
    lambda z, w: z * w,
    (
        Mistake("unknown", "z: not conjugated, right for real w",
                lambda g, r: ((g * r[1]).sum_to_size(r[0].shape), _multiply_backward(g, r)[1]), argument="z",
                also=("sign", "missing-factor"),
                hidden=lambda g, d: (_complex(g, d, 3, 4), _real_valued(g, d, 4)),
                source="https://github.com/pytorch/pytorch/issues/60180"),
        Mistake("scale", "z: half, as in Wirtinger's derivative",
                altered(_multiply_backward, 0, lambda d: d / 2), argument="z",
                source="https://github.com/pytorch/pytorch/issues/41857"),
        Mistake("dtype", "w: the real part only", altered(_multiply_backward, 1, lambda d: d.real),
                argument="w", source="https://github.com/HIPS/autograd/issues/179"),
        Mistake("missing-sum", "w: not summed over the rows", lambda g, r: (
            _multiply_backward(g, r)[0], g * r[0].conj()), argument="w", also=("shape",),
                source="https://github.com/HIPS/autograd/issues/376"),
        Mistake("region", "z: the imaginary part is lost",
                altered(_multiply_backward, 0, lambda d: torch.complex(d.real, torch.zeros_like(d.real))),
                argument="z", also=("unknown", "zero", "missing-factor", "missing-term"),
                source="https://github.com/FluxML/Zygote.jl/issues/151"),
    ),
    {
        "same shape": lambda g, d: (_complex(g, d, 2, 2), _complex(g, d, 2, 2)),
        "one number": lambda g, d: (_complex(g, d, 1), _complex(g, d, 1)),
        "zeros": lambda g, d: (torch.zeros(2, dtype=torch.complex(torch.zeros(1, dtype=d),
                                                                  torch.zeros(1, dtype=d)).dtype)
                               .requires_grad_(), _complex(g, d, 2)),
    },
    PARTS,
)  # fmt: skip


# --- the modulus; its gradient at zero is zero


def _modulus(z: Tensor) -> Any:
    a = torch.hypot(z.real, z.imag)
    return a, (z, a)


def _modulus_backward(g: Any, r: Any) -> Any:
    z, a = r
    return (g * z / a.where(a > 0, 1),)


def _with_zero(g: torch.Generator, d: torch.dtype) -> tuple[Any, ...]:
    z = _complex(g, d, 3, 4).detach()
    z[0, 1] = 0
    return (z.requires_grad_(),)


MODULUS = Operation(
    "complex_modulus",
    _modulus,
    _modulus_backward,
    _with_zero,
    lambda z: z.abs(),
    (
        Mistake("not-finite", "0/0 at zero", lambda g, r: (g * r[0] / r[1],),
                hidden=lambda g, d: (_complex(g, d, 3, 4),),
                source="https://github.com/pytorch/pytorch/issues/37154"),
        Mistake("scale", "half, as in Wirtinger's derivative", altered(_modulus_backward, 0, lambda d: d / 2),
                source="https://github.com/pytorch/pytorch/issues/41857"),
        Mistake("unknown", "conjugated, another library's convention",
                altered(_modulus_backward, 0, lambda d: d.conj().resolve_conj()), also=("sign", "region"),
                hidden=lambda g, d: (_real_valued(g, d, 3, 4),),
                source="https://github.com/jax-ml/jax/issues/9110"),
        Mistake("missing-factor", "not divided by the modulus", lambda g, r: (g * r[0],),
                source="https://github.com/tenstorrent/tt-metal/issues/55585"),
        Mistake("dtype", "the real part only", altered(_modulus_backward, 0, lambda d: d.real.clone()),
                source="https://github.com/HIPS/autograd/issues/179"),
    ),
    {
        "without zero": lambda g, d: (_complex(g, d, 2, 3),),
        "real numbers": lambda g, d: (_real_valued(g, d, 3),),
        "empty": lambda g, d: (_complex(g, d, 0),),
    },
    PARTS,
)  # fmt: skip

OPERATIONS = (DISTANCES, COSINE, MULTIPLY, MODULUS)
