"""Linear algebra: affine maps, products, bilinear and quadratic forms."""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import einsum

from torch_ext.corpus._entry import Operation
from torch_ext.corpus.open import _sources as src
from torch_ext.corpus.open._tools import (
    FULL,
    HALF,
    after,
    changed,
    element,
    exchanged,
    filled,
    gauss,
    given,
    in_dtype,
    instead,
    keeps_inputs,
    negated,
    operation,
    part,
    rounded,
    scaled,
    sum_to,
    turned,
    without,
    wrong,
    zeroed,
)


def symmetric(*shape):
    return after(gauss(*shape), lambda a: (a + a.mT) / 2)


# ---- linear: y = x W^T + b


def flat(t):
    return t.reshape(-1, t.shape[-1])


def linear_back(g, s):
    x, weight, _ = s
    return g @ weight, flat(g).mT @ flat(x), flat(g).sum(0)


def weight_step(g, s):
    grads = linear_back(g, s)
    s[1].detach().sub_(0.1 * grads[1])
    return grads


right = rounded(linear_back)
batch_of_one = given(gauss(1, 5), gauss(4, 5), gauss(4))
linear = operation(
    "linear",
    keeps_inputs("x weight bias", lambda x, weight, bias: x @ weight.mT + bias),
    right,
    given(gauss(6, 5), gauss(4, 5), gauss(4)),
    F.linear,
    [
        wrong("missing-sum", "the bias gradient keeps the batch axis", instead(right, 2, lambda g, s: g),
              argument="bias", also=("shape",), source=src.BIAS),
        wrong("shape", "the bias gradient is summed over the features", argument="bias",
              also=("missing-sum",),
              backward=instead(right, 2, lambda g, s: g.sum(1)), source=src.BIAS),
        wrong("scale", "the bias gradient is averaged over the batch", argument="bias", hidden=batch_of_one,
              backward=instead(right, 2, lambda g, s: g.mean(0)), source=src.BATCH_SIZE_WEIGHT),
        wrong("missing-sum", "the bias gradient is that of the first example", argument="bias",
              hidden=batch_of_one, also=("missing-term",), backward=instead(right, 2, lambda g, s: g[0]),
              source=src.MINIBATCH_OF_ONE),
        wrong("transpose", "x^T g is returned for a weight stored as (out, in)", argument="weight",
              also=("shape",),
              backward=instead(right, 1, lambda g, s: s[0].mT @ g), source=src.TRANSPOSE),
        wrong("scale", "the weight gradient is divided by the batch size", argument="weight",
              hidden=batch_of_one, backward=instead(right, 1, lambda g, s: g.mT @ s[0] / len(g)),
              source=src.BATCH_SIZE_WEIGHT),
        wrong("missing-sum", "the weight gradient is that of the last example", argument="weight",
              hidden=batch_of_one, also=("missing-term",),
              backward=instead(right, 1, lambda g, s: g[-1:].mT @ s[0][-1:]), source=src.MINIBATCH_OF_ONE),
        wrong("sign", "the step is returned instead of the gradient", scaled(right, -1.0, 1),
              argument="weight"),
        wrong("zero", "the weight is taken for frozen", without(right, 1), argument="weight",
              source=src.RMS_NORM_NONE),
        wrong("zero", "the gradient of x is zero, as if it were the first layer", zeroed(right), argument="x",
              hidden=given(gauss(6, 5), filled(0.0, 4, 5), gauss(4)), source=src.RETURNS_NONE),
        wrong("region", "the last output unit is left out", part(right, -1, 0.0, 1), argument="weight",
              also=("local", "missing-factor")),
        wrong("local", "one weight's gradient is off by 1 %", element(right, 7, 1.01, 1), argument="weight",
              dtypes=FULL),
        wrong("scale", "the weight gradient is off by 1e-5", scaled(right, 1 + 1e-5, 1), argument="weight",
              dtypes=("float64",)),
        wrong("permuted", "two output units are exchanged in dW: unseen where their gradients are alike",
              changed(right, lambda d: d[[1, 0, 2, 3]], 1), argument="weight", also=("region", "local"),
              source=src.EMBEDDING_ROW),
        wrong("dtype", "the bias gradient is accumulated in float32 and returned so", argument="bias",
              backward=in_dtype(right, torch.float32, 2), dtypes=HALF, source=src.GRAD_DTYPE_HALF),
        wrong("mutates", "the weight takes a step within its backward", weight_step, dtypes=FULL,
              hidden=given(filled(0.0, 6, 5), gauss(4, 5), gauss(4)), source=src.IN_PLACE_DATA),
        wrong("forward", "the forward forgets the bias, the backward does, too",
              instead(right, 2, lambda g, s: torch.zeros_like(g.sum(0))),
              forward=keeps_inputs("x weight bias", lambda x, weight, bias: x @ weight.mT)),
    ],
    {
        "batch of one": batch_of_one,
        "three axes": given(gauss(2, 3, 5), gauss(4, 5), gauss(4)),
        "one axis": given(gauss(5), gauss(4, 5), gauss(4)),
        "empty": given(gauss(0, 5), gauss(4, 5), gauss(4)),
        "turned": given(turned(gauss(6, 5)), turned(gauss(4, 5)), gauss(4)),
        "zero weights": given(gauss(6, 5), filled(0.0, 4, 5), filled(0.0, 4)),
        "one by one": given(gauss(1, 1), gauss(1, 1), gauss(1)),
    },
)  # fmt: skip


# ---- a recurrent step: h' = tanh(x U^T + h W^T + b), U and W square


def step(x, h, u, w, b):
    return torch.tanh(x @ u.mT + h @ w.mT + b)


def recurrent_back(g, s, drop=False):
    x, h, u, w, _ = s
    dz = g if drop else g * (1 - step(*s) ** 2)
    return dz @ u, dz @ w, dz.mT @ x, dz.mT @ h, dz.sum(0)


def dz_of(g, s):
    return g * (1 - step(*s) ** 2)


right = rounded(recurrent_back)
recurrent = operation(
    "recurrent_step",
    keeps_inputs("x h u w b", step),
    right,
    given(gauss(6, 4), gauss(6, 4), gauss(4, 4), gauss(4, 4), gauss(4)),
    lambda x, h, u, w, b: torch.tanh(F.linear(x, u) + F.linear(h, w, b)),
    [
        wrong("missing-factor", "the derivative of tanh is forgotten",
              rounded(lambda g, s: recurrent_back(g, s, True)),
              source=src.DERIVATIVE_MISSING_HIDDEN),
        wrong("transpose", "dh = dz W^T: the weight is square and nothing complains", argument="h",
              hidden=given(gauss(6, 4), gauss(6, 4), gauss(4, 4), symmetric(4, 4), gauss(4)),
              also=("unknown",),
              backward=instead(right, 1, lambda g, s: dz_of(g, s) @ s[3].mT), source=src.TRANSPOSE),
        wrong("transpose", "dW = h^T dz", argument="w", source=src.DOUBLE_TRANSPOSE,
              backward=instead(right, 3, lambda g, s: s[1].mT @ dz_of(g, s))),
        wrong("permuted", "the gradients of U and W are exchanged", source=src.LAYER_NORM_SWAP,
              backward=exchanged(right, 2, 3),
              hidden=lambda g, dtype: (lambda x, *rest: (x, x.detach().clone().requires_grad_(), *rest))(
                  *given(gauss(6, 4), gauss(4, 4), gauss(4, 4), gauss(4))(g, dtype))),
        wrong("missing-sum", "db is not summed over the batch", instead(right, 4, dz_of), argument="b",
              also=("shape",), source=src.BIAS),
        wrong("missing-factor", "the derivative is applied twice on the way to h", argument="h",
              also=("unknown",),
              backward=instead(right, 1, lambda g, s: (dz_of(g, s) * (1 - step(*s) ** 2)) @ s[3]),
              source=src.DERIVATIVE_EXTRA),
        wrong("zero", "the state is detached: no gradient through time", zeroed(right, 1), argument="h",
              source=src.STATE),
    ],
    {
        "batch of one": given(gauss(1, 4), gauss(1, 4), gauss(4, 4), gauss(4, 4), gauss(4)),
        "saturated": given(filled(30.0, 2, 4), gauss(2, 4), filled(1.0, 4, 4), gauss(4, 4), gauss(4)),
        "no state": given(gauss(3, 4), filled(0.0, 3, 4), gauss(4, 4), gauss(4, 4), filled(0.0, 4)),
    },
)  # fmt: skip


# ---- products


def matmul_back(g, s):
    a, b = s
    return sum_to(g @ b.mT, a.shape), sum_to(a.mT @ g, b.shape)


right = rounded(matmul_back)
matmul = operation(
    "matmul",
    keeps_inputs("a b", torch.matmul),
    right,
    given(gauss(3, 4, 4), gauss(4, 4)),
    torch.matmul,
    [
        wrong("transpose", "da = g b: the transpose is forgotten", argument="a", also=("unknown",),
              hidden=given(gauss(3, 4, 4), symmetric(4, 4)), source=src.TRANSPOSE,
              backward=instead(right, 0, lambda g, s: g @ s[1])),
        wrong("transpose", "db = g^T a instead of a^T g", argument="b", source=src.DOUBLE_TRANSPOSE,
              backward=instead(right, 1, lambda g, s: (g.mT @ s[0]).sum(0))),
        wrong("missing-sum", "db keeps the batch axis", argument="b", also=("shape",), source=src.BROADCAST,
              backward=instead(right, 1, lambda g, s: s[0].mT @ g)),
        wrong("missing-sum", "db comes from the first matrix of the batch", argument="b",
              also=("missing-term",),
              hidden=given(gauss(1, 4, 4), gauss(4, 4)),
              backward=instead(right, 1, lambda g, s: s[0][0].mT @ g[0])),
        wrong("scale", "db is averaged over the batch", argument="b",
              hidden=given(gauss(1, 4, 4), gauss(4, 4)),
              backward=instead(right, 1, lambda g, s: (s[0].mT @ g).mean(0)), source=src.BATCH_SIZE_WEIGHT),
        wrong("region", "the last matrix of the batch is skipped", part(right, -1), argument="a",
              also=("local", "missing-factor")),
        wrong("sign", "both gradients have the wrong sign", negated(right)),
        wrong("unknown", "the product is made in bfloat16", argument="a", dtypes=FULL, also=("dtype",),
              backward=instead(right, 0, lambda g, s: (g.bfloat16() @ s[1].mT.bfloat16()).to(g.dtype)),
              source=src.GRAD_DTYPE_HALF),
    ],
    {
        "matrices": given(gauss(3, 4), gauss(4, 2)),
        "both in batches": given(gauss(2, 1, 3, 4), gauss(5, 4, 2)),
        "empty": given(gauss(0, 4), gauss(4, 2)),
        "turned": given(turned(gauss(3, 4)), turned(gauss(4, 2))),
    },
)  # fmt: skip

right = rounded(lambda g, s: (g @ s[1], g.mT @ s[0]))
outer = operation(
    "outer",
    keeps_inputs("x y", torch.outer),
    right,
    given(gauss(5), gauss(5)),
    torch.outer,
    [
        wrong("transpose", "dx = g^T y", argument="x", also=("unknown",),
              backward=instead(right, 0, lambda g, s: g.mT @ s[1]), source=src.TRANSPOSE),
        wrong("permuted", "the two gradients are exchanged", exchanged(right),
              source=src.LAYER_NORM_SWAP),
        wrong("shape", "dx is not summed over y's axis", instead(right, 0, lambda g, s: g * s[1]),
              argument="x",
              also=("missing-sum",), source=src.BROADCAST),
        wrong("missing-factor", "dy lacks x", instead(right, 1, lambda g, s: g.sum(0)), argument="y",
              hidden=given(filled(1.0, 5), gauss(5)), source=src.BILINEAR),
    ],
    {"different": given(gauss(3), gauss(4)), "one": given(gauss(1), gauss(1)),
    "empty": given(gauss(0), gauss(3))},
)  # fmt: skip


# ---- forms


def bilinear_back(g, s):
    x, a, z = s
    return g[:, None] * (z @ a.mT), einsum("n,ni,nj->ij", g, x, z), g[:, None] * (x @ a)


right = rounded(bilinear_back)
bilinear = operation(
    "bilinear",
    keeps_inputs("x a z", lambda x, a, z: einsum("ni,ij,nj->n", x, a, z)),
    right,
    given(gauss(6, 4), gauss(4, 4), gauss(6, 4)),
    lambda x, a, z: F.bilinear(x, z, a[None])[:, 0],
    [
        wrong("missing-factor", "dx is not weighted by the incoming gradient", argument="x",
              source=src.BILINEAR,
              backward=instead(right, 0, lambda g, s: s[2] @ s[1].mT + 0 * g[:, None])),
        wrong("transpose", "dx = g z A: the matrix is not transposed", argument="x", also=("unknown",),
              hidden=given(gauss(6, 4), symmetric(4, 4), gauss(6, 4)), source=src.TRANSPOSE,
              backward=instead(right, 0, lambda g, s: g[:, None] * (s[2] @ s[1]))),
        wrong("transpose", "dA is z x^T instead of x z^T", argument="a", source=src.DOUBLE_TRANSPOSE,
              backward=instead(right, 1, lambda g, s: einsum("n,ni,nj->ij", g, s[2], s[0]))),
        wrong("missing-sum", "dA is not summed over the batch", argument="a", also=("shape",),
              source=src.BIAS,
              backward=instead(right, 1, lambda g, s: einsum("n,ni,nj->nij", g, s[0], s[2]))),
        wrong("missing-factor", "dA lacks the incoming gradient", argument="a", source=src.BILINEAR,
              backward=instead(right, 1, lambda g, s: s[0].mT @ s[2] + 0 * g.sum())),
        wrong("permuted", "the gradients of x and z are exchanged", source=src.LAYER_NORM_SWAP,
              backward=exchanged(right, 0, 2)),
    ],
    {"batch of one": given(gauss(1, 4), gauss(4, 4), gauss(1, 4)),
    "oblong": given(gauss(3, 2), gauss(2, 4), gauss(3, 4))},
)  # fmt: skip

right = rounded(lambda g, s: (g[:, None] * (s[0] @ (s[1] + s[1].mT)), einsum("n,ni,nj->ij", g, s[0], s[0])))
quadratic = operation(
    "quadratic_form",
    keeps_inputs("x a", lambda x, a: einsum("ni,ij,nj->n", x, a, x)),
    right,
    given(gauss(6, 4), gauss(4, 4)),
    lambda x, a: ((x @ a) * x).sum(1),
    [
        wrong("missing-term", "2 A x, as for a symmetric matrix", argument="x", also=("transpose", "unknown"),
              hidden=given(gauss(6, 4), symmetric(4, 4)), source=src.TRANSPOSE,
              backward=instead(right, 0, lambda g, s: 2 * g[:, None] * (s[0] @ s[1]))),
        wrong("missing-term", "A x: x enters twice but is derived once", argument="x",
              backward=instead(right, 0, lambda g, s: g[:, None] * (s[0] @ s[1].mT))),
        wrong("scale", "half of it: 1/2 x^T A x was meant", scaled(right, 0.5), argument="x"),
        wrong("missing-term", "the diagonal of dA alone", argument="a", also=("region", "missing-factor"),
              backward=changed(right, lambda d: d * torch.eye(len(d), dtype=d.dtype), 1), source=src.SOFTMAX),
        wrong("missing-factor", "the square of the vector's elements stands for the outer product's rows",
              instead(right, 1, lambda g,
              s: einsum("n,ni->i", g, s[0] ** 2)[:, None] * torch.ones_like(s[1])),
              argument="a", also=("unknown",)),
    ],
    {
        "symmetric": given(gauss(3, 4), symmetric(4, 4)),
        "one": given(gauss(1, 1), gauss(1, 1)),
        "zeros": given(filled(0.0, 2, 4), gauss(4, 4)),
    },
)  # fmt: skip

OPERATIONS: tuple[Operation, ...] = (linear, recurrent, matmul, outer, bilinear, quadratic)
