"""Matrices: weight and spectral normalisation, solves, inverses and determinants."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torch_ext.corpus._entry import DTYPES, Mistake, Operation, normal
from torch_ext.corpus.held_out._tools import altered, filled, like, turned, wide, zeroed

PRECISE = ("float64", "float32")  # LAPACK has no 16-bit routines
CHOLESKY = "https://github.com/pytorch/pytorch/issues/18825"


# --- weight normalisation: w = g · v / ‖v‖ for each row


def _weight_norm(v: Tensor, g: Tensor) -> Any:
    norm = (wide(v) ** 2).sum(1, keepdim=True).sqrt()
    return (wide(g) * wide(v) / norm).to(v.dtype), (norm, v, g)


def _weight_norm_backward(dw: Any, r: Any, radial: bool = True, axis: int = 1, scaled: bool = True) -> Any:
    norm, v, g = r
    dw, unit = wide(dw), wide(v) / norm
    dg = (dw * unit).sum(1, keepdim=True)
    dv = dw - unit * (dw * unit).sum(axis, keepdim=True) if radial else dw
    dv = dv / norm * (wide(g) if scaled else 1)
    return dv.to(v.dtype), dg.to(g.dtype)


def _weight_norm_raw(dw: Any, r: Any) -> Any:
    return _weight_norm_backward(dw, r)[0], like(wide(dw) * wide(r[1]), r[2])


WEIGHT_NORM = Operation(
    "weight_norm_rows",
    _weight_norm,
    _weight_norm_backward,
    lambda g, d: (normal(g, d, 5, 5), normal(g, d, 5, 1)),
    lambda v, g: torch._weight_norm(wide(v), wide(g), 0).to(v.dtype),
    (
        Mistake("missing-term", "v: the norm is taken for a constant",
                lambda g, r: _weight_norm_backward(g, r, radial=False), argument="v", dtypes=DTYPES,
                source="https://github.com/tobyyouup/conv_seq2seq/issues/13"),
        Mistake("missing-sum", "v: the inner product runs over the other axis",
                lambda g, r: _weight_norm_backward(g, r, axis=0), argument="v", also=("missing-term",),
                source="https://github.com/pytorch/pytorch/issues/81195"),
        Mistake("missing-factor", "v: g is left out",
                lambda g, r: _weight_norm_backward(g, r, scaled=False), argument="v",
                hidden=lambda g, d: (normal(g, d, 5, 5), filled(d, 1, 5, 1)),
                source="https://github.com/ooples/AiDotNet.Tensors/pull/271"),
        Mistake("missing-factor", "g: not divided by the norm", _weight_norm_raw, argument="g",
                source="https://github.com/flagos-ai/FlagGems/pull/177"),
        Mistake("shape", "g: the kept axis is dropped", altered(_weight_norm_backward, 1, lambda d: d[:, 0]),
                argument="g", also=("missing-sum",), source="https://github.com/kulinseth/pytorch/pull/334"),
        Mistake("scale", "g: averaged over the row", altered(_weight_norm_backward, 1, lambda d: d / 5),
                argument="g", source="https://github.com/jimfleming/differentiation/issues/1"),
        Mistake("transpose", "v: returned as (in, out)", altered(_weight_norm_backward, 0, lambda d: d.mT),
                argument="v", source="https://github.com/ooples/AiDotNet.Tensors/pull/271"),
    ),
    {
        "one row": lambda g, d: (normal(g, d, 1, 4), normal(g, d, 1, 1)),
        "one column": lambda g, d: (normal(g, d, 3, 1), normal(g, d, 3, 1)),
        "large": lambda g, d: ((300 * normal(g, d, 2, 3, grad=False)).requires_grad_(), normal(g, d, 2, 1)),
        "views": lambda g, d: (turned(g, d, 4, 3), normal(g, d, 4, 1)),
    },
)  # fmt: skip


# --- spectral normalisation with given vectors: W / (uᵀ W v)


def _spectral(weight: Tensor, u: Tensor, v: Tensor) -> Any:
    sigma = wide(u) @ wide(weight) @ wide(v)
    return (wide(weight) / sigma).to(weight.dtype), (sigma, weight, u, v)


def _spectral_backward(g: Any, r: Any, term: bool = True, divided: bool = True) -> Any:
    sigma, weight, u, v = r
    g = wide(g)
    dw = g
    if term:
        dw = dw - (g * wide(weight)).sum() / sigma * torch.outer(wide(u), wide(v))
    return (dw / sigma if divided else dw).to(weight.dtype), None, None


def _spectral_reference(weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
    w = wide(weight)
    return (w / torch.einsum("i,ij,j", wide(u), w, wide(v))).to(weight.dtype)


def _unit_vectors(g: torch.Generator, d: torch.dtype, m: int = 4, n: int = 4, norm: float = 2.0) -> Any:
    a = torch.randn(m, n, generator=g, dtype=torch.float64)
    u, s, v = torch.linalg.svd(a)
    a = a * (norm / s[0])
    return a.to(d).requires_grad_(), u[:, 0].to(d), v[0].to(d)


def _sigma_one(g: torch.Generator, d: torch.dtype) -> tuple[Any, ...]:
    a = normal(g, d, 4, 4, grad=False)
    a[0, 0] = 1
    e = torch.eye(4, dtype=d)[0]
    return a.requires_grad_(), e, e.clone()


SPECTRAL = Operation(
    "spectral_norm_given_vectors",
    _spectral,
    _spectral_backward,
    lambda g, d: _unit_vectors(g, d),
    _spectral_reference,
    (
        Mistake("missing-term", "σ is taken for a constant: wrong along one direction only",
                lambda g, r: _spectral_backward(g, r, term=False),
                source="https://github.com/pytorch/pytorch/pull/7298"),
        Mistake("scale", "not divided by σ", lambda g, r: _spectral_backward(g, r, divided=False),
                hidden=_sigma_one, also=("missing-factor",),
                source="https://github.com/PaddlePaddle/Paddle/pull/15864"),
        Mistake("transpose", "the gradient is transposed",
                altered(_spectral_backward, 0, lambda d: d.mT),
                source="https://github.com/PaddlePaddle/Paddle/pull/15864"),
        Mistake("scale", "multiplied by 1 - 1e-5: eps added to σ in the backward pass alone",
                altered(_spectral_backward, 0, lambda d: d * (1 - 1e-5)),
                source="https://github.com/pytorch/pytorch/pull/6929"),
        Mistake("offset", "the gradient's mean is subtracted",
                altered(_spectral_backward, 0, lambda d: d - d.mean()), also=("unknown", "missing-term"),
                source="https://arxiv.org/abs/2004.01461"),
    ),
    {
        "wide": lambda g, d: _unit_vectors(g, d, 2, 5),
        "one element": lambda g, d: (filled(d, 2, 1, 1), torch.ones(1, dtype=d), torch.ones(1, dtype=d)),
        "sigma of one": _sigma_one,
    },
)  # fmt: skip


# --- solving with the symmetric part of A: x = ((A + Aᵀ) / 2)⁻¹ b by Cholesky


def _solve(a: Tensor, b: Tensor) -> Any:
    factor = torch.linalg.cholesky((a + a.mT) / 2)
    x = torch.cholesky_solve(b, factor)
    return x, (factor, x)


def _solve_backward(g: Any, r: Any, symmetric: bool = True) -> Any:
    factor, x = r
    db = torch.cholesky_solve(g, factor)
    da = -db @ x.mT
    return (da + da.mT) / 2 if symmetric else da, db


def _positive_definite(g: torch.Generator, d: torch.dtype, n: int = 4) -> Tensor:
    m = torch.randn(n, n, generator=g, dtype=torch.float64)
    return (m @ m.mT / n + 2 * torch.eye(n, dtype=torch.float64)).to(d).requires_grad_()


SOLVE = Operation(
    "cholesky_solve_symmetric",
    _solve,
    _solve_backward,
    lambda g, d: (_positive_definite(g, d), normal(g, d, 4, 2)),
    lambda a, b: torch.linalg.solve((a + a.mT) / 2, b),
    (
        Mistake("missing-term", "a: not symmetrised", lambda g, r: _solve_backward(g, r, symmetric=False),
                argument="a", also=("unknown", "transpose"), source=CHOLESKY),
        Mistake("sign", "a: the minus sign is lost", altered(_solve_backward, 0, lambda d: -d), argument="a",
                dtypes=PRECISE,
                source="https://github.com/Theano/Theano/issues/2066"),
        Mistake("scale", "a: the two halves are added, not averaged",
                altered(_solve_backward, 0, lambda d: 2 * d), argument="a",
                source="https://github.com/pytorch/pytorch/issues/137284"),
        Mistake("region", "a: the lower triangle only", altered(_solve_backward, 0, torch.tril), argument="a",
                also=("zero", "local"), source="https://github.com/HIPS/autograd/pull/56"),
        Mistake("zero", "b: the right-hand side is taken for a constant",
                altered(_solve_backward, 1, lambda d: None), argument="b",
                source="https://github.com/tensorflow/tensorflow/issues/367"),
        Mistake("local", "a: one diagonal element is counted twice",
                altered(_solve_backward, 0, lambda d: d.index_put((torch.tensor(1), torch.tensor(1)), 2 * d[1, 1])),
                argument="a", source="https://github.com/pytorch/pytorch/issues/137284"),
    ),
    {
        "one by one": lambda g, d: (filled(d, 3, 1, 1), normal(g, d, 1, 2)),
        "not symmetric": lambda g, d: (
            (_positive_definite(g, d).detach() + 0.1 * normal(g, d, 4, 4, grad=False)).requires_grad_(),
            normal(g, d, 4, 1)),
        "views": lambda g, d: (_positive_definite(g, d), turned(g, d, 4, 3)),
    },
    PRECISE,
)  # fmt: skip


# --- the inverse


def _inverse(a: Tensor) -> Any:
    y = torch.linalg.inv(a)
    return y, (y,)


def _inverse_backward(g: Any, r: Any) -> Any:
    (y,) = r
    return (-y.mT @ g @ y.mT,)


def _well_conditioned(g: torch.Generator, d: torch.dtype, *shape: int) -> Tensor:
    a = torch.randn(shape, generator=g, dtype=torch.float64) / 2 + 3 * torch.eye(
        shape[-1], dtype=torch.float64
    )
    return a.to(d).requires_grad_()


INVERSE = Operation(
    "matrix_inverse",
    _inverse,
    _inverse_backward,
    lambda g, d: (_well_conditioned(g, d, 2, 4, 4),),
    lambda a: torch.linalg.solve(a, torch.eye(a.shape[-1], dtype=a.dtype).expand_as(a)),
    (
        Mistake("sign", "the minus sign is lost", lambda g, r: (r[0].mT @ g @ r[0].mT,),
                source="https://github.com/Theano/Theano/issues/2066"),
        Mistake("transpose", "the whole product is transposed", lambda g, r: (-r[0] @ g.mT @ r[0],),
                source="https://github.com/Theano/Theano/issues/2066"),
        Mistake("unknown", "the inverses are not transposed: right for symmetric matrices",
                lambda g, r: (-r[0] @ g @ r[0],), also=("transpose",),
                hidden=lambda g, d: (_positive_definite(g, d),),
                source="https://github.com/Theano/Theano/issues/2066"),
        Mistake("unknown", "one of the two inverses is left out", lambda g, r: (-r[0].mT @ g,),
                also=("missing-factor",), source="https://github.com/Theano/Theano/issues/2066"),
        Mistake("region", "the second matrix of the batch is left out",
                altered(_inverse_backward, 0, zeroed(1)), also=("zero", "local"),
                source="https://github.com/pytorch/pytorch/issues/194719"),
        Mistake("mutates", "the incoming gradient is negated in place",
                lambda g, r: (r[0].mT @ g.neg_() @ r[0].mT,),
                source="https://github.com/linkedin/Liger-Kernel/pull/1305"),
    ),
    {
        "one by one": lambda g, d: (filled(d, 3, 1, 1),),
        "identity": lambda g, d: (torch.eye(3, dtype=d).requires_grad_(),),
        "views": lambda g, d: (_well_conditioned(g, d, 3, 3).detach().mT.requires_grad_(),),
    },
    PRECISE,
)  # fmt: skip


# --- log |det A| of a batch


def _logdet(a: Tensor) -> Any:
    return torch.linalg.slogdet(a).logabsdet, (torch.linalg.inv(a),)


def _logdet_backward(g: Any, r: Any) -> Any:
    return (g[..., None, None] * r[0].mT,)


LOGDET = Operation(
    "log_abs_det",
    _logdet,
    _logdet_backward,
    lambda g, d: (_well_conditioned(g, d, 3, 4, 4),),
    lambda a: torch.linalg.det(a).abs().log(),
    (
        Mistake("transpose", "the inverse is not transposed: right for symmetric matrices",
                lambda g, r: (g[..., None, None] * r[0],), hidden=lambda g, d: (_positive_definite(g, d)
                                                                               .detach()[None].requires_grad_(),),
                source="https://github.com/tensorflow/tensorflow/issues/367"),
        Mistake("region", "the first matrix's incoming gradient is used for all",
                lambda g, r: (g.flatten()[0] * r[0].mT,), also=("scale", "missing-factor"),
                hidden=lambda g, d: (_well_conditioned(g, d, 1, 4, 4),),
                source="https://github.com/linkedin/Liger-Kernel/pull/1298"),
        Mistake("region", "off-diagonal elements are left out",
                altered(_logdet_backward, 0, lambda d: torch.diag_embed(d.diagonal(dim1=-2, dim2=-1))),
                also=("missing-term", "zero"), hidden=lambda g, d: (
                    torch.diag_embed(normal(g, d, 3, 4, grad=False)).requires_grad_(),),
                source="https://github.com/pytorch/pytorch/issues/22807"),
        Mistake("missing-factor", "the incoming gradient is left out", lambda g, r: (r[0].mT.clone(),),
                also=("scale", "unknown"), source="https://github.com/k2-fsa/k2/issues/341"),
    ),
    {
        "negative determinants": lambda g, d: ((-_well_conditioned(g, d, 2, 3, 3).detach()).requires_grad_(),),
        "one by one": lambda g, d: (filled(d, -2, 2, 1, 1),),
        "no batch": lambda g, d: (_well_conditioned(g, d, 3, 3),),
    },
    PRECISE,
)  # fmt: skip

OPERATIONS = (WEIGHT_NORM, SPECTRAL, SOLVE, INVERSE, LOGDET)
