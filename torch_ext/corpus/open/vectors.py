"""Norms and angles of vectors along the last axis."""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import torch
from torch import where

from torch_ext.corpus._entry import Operation
from torch_ext.corpus.open import _sources as src
from torch_ext.corpus.open._tools import (
    FULL,
    HALF,
    after,
    exact,
    exchanged,
    gauss,
    given,
    in_dtype,
    instead,
    keeps_inputs,
    negated,
    operation,
    rounded,
    scaled,
    turned,
    wrong,
    zeroed,
)


def length(x):
    return x.square().sum(-1, keepdim=True).sqrt()


def unit(*shape):
    """Vectors along an axis: of length one, exactly."""
    return lambda g, dtype: torch.eye(shape[-1])[torch.randint(0, shape[-1], shape[:-1], generator=g)].to(
        dtype).requires_grad_()  # fmt: skip


def norm_back(g, s):
    n = length(s[0])
    return g[..., None] * where(n == 0, 0.0, s[0] / where(n == 0, 1.0, n))


right = rounded(norm_back)
usual = given(gauss(5, 4))
norm = operation(
    "norm",
    keeps_inputs("x", lambda x: length(x)[..., 0]),
    right,
    usual,
    lambda x: torch.linalg.vector_norm(x, dim=-1),
    [
        wrong("not-finite", "x / |x| is 0 / 0 for a zero vector",
              rounded(lambda g, s: g[..., None] * s[0] / length(s[0])),
              hidden=usual, source=src.NORM_ZERO),
        wrong("missing-factor", "1/|x| is forgotten", rounded(lambda g, s: g[..., None] * s[0]),
              hidden=given(unit(5, 4)),
              source=src.NORM_ZERO_ROWS),
        wrong("missing-factor", "1/|x| twice", hidden=given(unit(5, 4)),
              backward=rounded(lambda g, s: g[..., None] * s[0] / (length(s[0]) ** 2 + (length(s[0]) == 0)))),
        wrong("scale", "doubled: the 1/2 of the root is forgotten", scaled(right, 2.0)),
        wrong("missing-factor", "sign(x), as for the 1-norm",
              rounded(lambda g, s: g[..., None] * s[0].sign()),
              hidden=given(unit(5, 4)), also=("unknown",), source=src.NORM_L1),
        wrong("missing-factor", "1/(|x| + eps), eps being in the backward only", also=("unknown",),
              backward=rounded(lambda g, s: g[..., None] * s[0] / (length(s[0]) + 1e-2)), dtypes=FULL,
              source=src.NORMALIZE_EPS_PLACE),
        wrong("dtype", "the gradient of a float16 vector comes back in float32",
              in_dtype(right, torch.float32),
              dtypes=HALF, source=src.GRAD_DTYPE_HALF),
    ],
    {
        "zero rows": given(exact([[0.0, 0.0], [3.0, 4.0], [-0.0, 0.0]])),
        "one": given(gauss(1, 1)),
        "units": given(unit(3, 4)),
        "turned": given(turned(gauss(3, 4))),
        "three axes": given(gauss(2, 3, 4)),
    },
)  # fmt: skip

EPS = 2.0**-10


def normalise(x):
    return x * (x.square().sum(-1, keepdim=True) + EPS).rsqrt()


def normalise_back(g, s, project=1.0, of=normalise):
    x = s[0]
    r = (x.square().sum(-1, keepdim=True) + EPS).rsqrt()
    y = of(x)
    return r * (g - project * y * (g * y).sum(-1, keepdim=True))


def without_eps(g, s):
    """A fast path for short vectors, whose length is divided by without eps."""
    x, n = s[0], length(s[0])
    fast = (g - x / n * (g * x / n).sum(-1, keepdim=True)) / n
    return where(n < 1e-3, fast, normalise_back(g, s))


right = rounded(normalise_back)
normalize = operation(
    "normalize",
    keeps_inputs("x", normalise),
    right,
    usual,
    lambda x: (x.double() / (x.double().square().sum(-1, keepdim=True) + EPS).sqrt()).to(x.dtype),
    [
        wrong("missing-term", "the projection on x is forgotten",
              rounded(lambda g, s: normalise_back(g, s, 0.0)),
              source=src.NORMALIZE_DARKNET),
        wrong("missing-term", "the projection uses x instead of the unit vector",
              also=("missing-factor", "unknown"),
              backward=rounded(lambda g, s: normalise_back(g, s, of=lambda x: x)),
              source=src.NORMALIZE_INPUT),
        wrong("missing-factor", "1/|x| is forgotten", source=src.NORMALIZE_INPUT,
              backward=rounded(lambda g,
              s: g - normalise(s[0]) * (g * normalise(s[0])).sum(-1, keepdim=True))),
        wrong("not-finite", "eps is left out for short vectors: 0 / 0", rounded(without_eps), hidden=usual,
              source=src.NORMALIZE_EPS),
        wrong("missing-term", "(1 - y^2) g / |x|: the diagonal alone", source=src.NORMALIZE_DARKNET,
              backward=rounded(lambda g,
              s: g * (1 - normalise(s[0]) ** 2) * (s[0].square().sum(-1, keepdim=True) + EPS).rsqrt())),
        wrong("missing-term", "the projection is subtracted twice",
              rounded(lambda g, s: normalise_back(g, s, 2.0)),
              source=src.LAYER_NORM_SUBTRACT),
    ],
    {
        "zero rows": given(exact([[0.0, 0.0], [3.0, 4.0]])),
        "units": given(unit(3, 4)),
        "one": given(gauss(1, 1)),
        "large": given(after(gauss(3, 4), lambda x: 100 * x)),
    },
)  # fmt: skip


def cosine_parts(a, b):
    na, nb = length(a), length(b)
    return na, nb, (a * b).sum(-1, keepdim=True) / (na * nb)


def cosine_back(g, s, project=1.0, square=True):
    a, b = s
    na, nb, c = cosine_parts(a, b)
    g = g[..., None]
    return (
        g * (b / (na * nb) - project * c * a / (na**2 if square else na)),
        g * (a / (na * nb) - project * c * b / (nb**2 if square else nb)),
    )


right = rounded(cosine_back)
units = given(unit(5, 4), unit(5, 4))
cosine = operation(
    "cosine_similarity",
    keeps_inputs("a b", lambda a, b: cosine_parts(a, b)[2][..., 0]),
    right,
    given(gauss(5, 4), gauss(5, 4)),
    lambda a, b: (lambda x, y: (x * y).sum(-1) / (x.norm(dim=-1) * y.norm(dim=-1)))(a.double(),
    b.double()).to(a.dtype),
    [
        wrong("missing-term", "da is b / (|a| |b|): the projection is forgotten", argument="a",
              source=src.NORMALIZE_EPS,
              backward=instead(right, 0, lambda g, s: cosine_back(g, s, 0.0)[0])),
        wrong("missing-term", "|a| is not squared in the projection", argument="a",
              also=("missing-factor", "unknown"),
              hidden=units, backward=instead(right, 0, lambda g, s: cosine_back(g, s, 1.0, False)[0]),
              source=src.NORMALIZE_INPUT),
        wrong("missing-factor", "the lengths are forgotten: b - c a", argument="a", hidden=units,
              also=("unknown",),
              backward=instead(right, 0, lambda g, s: g[..., None] * (s[1] - cosine_parts(*s)[2] * s[0]))),
        wrong("permuted", "the two gradients are exchanged", exchanged(right), source=src.LAYER_NORM_SWAP),
        wrong("sign", "a loss 1 - cos was meant", negated(right), source=src.REVERSAL),
        wrong("zero", "b is taken for a target without gradient", zeroed(right, 1), argument="b"),
    ],
    {
        "units": units,
        "parallel": given(exact([[1.0, 2.0]]), exact([[2.0, 4.0]])),
        "opposite": given(exact([[1.0, 2.0]]), exact([[-1.0, -2.0]])),
        "one": given(gauss(1, 3), gauss(1, 3)),
    },
)  # fmt: skip

OPERATIONS: tuple[Operation, ...] = (norm, normalize, cosine)
