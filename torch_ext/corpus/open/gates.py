"""Gates, rotations and complex numbers."""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import sigmoid

from torch_ext.corpus._entry import Operation
from torch_ext.corpus.open import _sources as src
from torch_ext.corpus.open._tools import (
    COMPLEX,
    FULL,
    Alternating,
    after,
    as_if_contiguous,
    changed,
    exact,
    exchanged,
    filled,
    gauss,
    given,
    instead,
    keeps_inputs,
    negated,
    noisy,
    operation,
    rounded,
    scaled,
    sum_to,
    turned,
    without,
    wrong,
)

# ---- silu(a) b


def gate_back(g, s):
    a, b = s
    y = sigmoid(a)
    return g * b * y * (1 + a * (1 - y)), g * a * y


right = rounded(gate_back)
gate = operation(
    "swiglu",
    keeps_inputs("a b", lambda a, b: a * sigmoid(a) * b),
    right,
    given(gauss(4, 5), gauss(4, 5)),
    lambda a, b: F.silu(a) * b,
    [
        wrong("missing-factor", "da lacks b", argument="a", hidden=given(gauss(4, 5), filled(1.0, 4, 5)),
              backward=instead(right, 0, lambda g, s: gate_back(g, (s[0], torch.ones_like(s[1])))[0]),
              source=src.BILINEAR),
        wrong("missing-factor", "db is g a: the sigmoid is forgotten", argument="b",
              backward=instead(right, 1, lambda g, s: g * s[0]), source=src.SWISH_SIMPLIFIED),
        wrong("missing-term", "da lacks the product rule's second term", argument="a",
              backward=instead(right, 0, lambda g, s: g * s[1] * sigmoid(s[0])), source=src.SILU),
        wrong("permuted", "the gradients of gate and value are exchanged", exchanged(right),
              source=src.LAYER_NORM_SWAP),
        wrong("mutates", "da overwrites the gate, saved for the backward", source=src.IN_PLACE_SAVED,
              dtypes=FULL,
              backward=lambda g, s: (lambda d: (s[0].detach().copy_(d[0]), d[1]))(gate_back(g, s))),
        wrong("unknown", "the strides of the incoming gradient are ignored", as_if_contiguous(right),
              also=("permuted", "missing-factor", "transpose"), source=src.NOT_CONTIGUOUS),
        wrong("nondeterministic", "every second call is doubled", Alternating(right),
              source=src.NOT_REENTRANT),
    ],
    {
        "open": given(gauss(4, 5), filled(1.0, 4, 5)),
        "saturated": given(exact([-100.0, 0.0, 100.0]), exact([1.0, 2.0, 3.0])),
        "empty": given(gauss(0), gauss(0)),
        "turned": given(turned(gauss(3, 4)), gauss(3, 4)),
    },
)  # fmt: skip


# ---- a block's pre-norm: h = x + residual, y = w h / rms(h), both returned


EPS = 2.0**-10


def pre_norm_forward(x, residual, w):
    h = x + residual
    return h * (h.square().mean(-1, keepdim=True) + EPS).rsqrt() * w, h


def pre_norm_back(g, s, skip=1.0):
    gy, gh = g
    x, residual, w = s
    h = x + residual
    r = (h.square().mean(-1, keepdim=True) + EPS).rsqrt()
    d = gy * w
    dh = r * (d - h * r * (d * h * r).mean(-1, keepdim=True)) + skip * gh
    return dh, dh, (gy * h * r).sum(0)


right = rounded(pre_norm_back)
pre_norm = operation(
    "pre_norm",
    keeps_inputs("x residual w", pre_norm_forward),
    right,
    given(gauss(4, 5), gauss(4, 5), gauss(5)),
    lambda x, residual, w: (F.rms_norm(x + residual, (5,), w, EPS), x + residual),
    [
        wrong("unknown", "the gradients are added before the norm's backward instead of after",
              source=src.PRE_NORM,
              backward=rounded(lambda g, s: pre_norm_back((g[0] + g[1], 0 * g[1]), s)),
              also=("missing-term",)),
        wrong("missing-term", "the second output's gradient is dropped", source=src.PRE_NORM,
              backward=rounded(lambda g, s: pre_norm_back(g, s, 0.0))),
        wrong("missing-term", "the second output's gradient is added twice", source=src.ADDED_TWICE,
              backward=rounded(lambda g, s: pre_norm_back(g, s, 2.0))),
        wrong("missing-term", "the residual gets the second output's gradient alone", argument="residual",
              backward=instead(right, 1, lambda g, s: g[1]), source=src.PRE_NORM),
        wrong("missing-sum", "dw is not summed over the rows", argument="w", also=("shape",),
              source=src.RMS_NORM_SUM,
              backward=instead(right, 2, lambda g, s: g[0] * pre_norm_forward(s[0], s[1], 1.0)[0])),
        wrong("zero", "x and residual share one gradient: the second is None", without(right, 1),
              argument="residual", source=src.RETURNS_NONE),
    ],
    {"zeros": given(filled(0.0, 2, 5), filled(0.0, 2, 5), gauss(5)),
    "one row": given(gauss(1, 5), gauss(1, 5), gauss(5))},
)  # fmt: skip


# ---- rotary embedding: the halves of x turned by the angles


def rotate(x, angle, sense=1.0):
    a, b = x.chunk(2, -1)
    c, s = angle.cos(), sense * angle.sin()
    return torch.cat([a * c - b * s, a * s + b * c], -1)


def rotary_back(g, s):
    x, angle = s
    y = rotate(x, angle)
    return rotate(g, angle, -1.0), sum_to(
        -g.chunk(2, -1)[0] * y.chunk(2, -1)[1] + g.chunk(2, -1)[1] * y.chunk(2, -1)[0], angle.shape
    )


right = rounded(rotary_back)
still = given(gauss(2, 3, 4), filled(0.0, 3, 2))
rotary = operation(
    "rotary_embedding",
    keeps_inputs("x angle", rotate),
    right,
    given(gauss(2, 3, 4), gauss(3, 2)),
    rotate,
    [
        wrong("unknown", "turned on instead of back", argument="x", hidden=still,
              backward=instead(right, 0, lambda g, s: rotate(g, s[1])), source=src.ROLL,
              also=("transpose", "missing-term")),
        wrong("missing-term", "the sine's part is forgotten", argument="x", hidden=still,
              backward=instead(right, 0, lambda g, s: g * torch.cat([s[1].cos()] * 2, -1)),
              source=src.SOFTMAX),
        wrong("permuted", "the halves are exchanged", argument="x",
              backward=changed(right, lambda d: d.roll(2, -1)), source=src.CONCAT),
        wrong("missing-sum", "dangle is not summed over the batch", argument="angle", also=("shape",),
              source=src.BROADCAST,
              backward=instead(right, 1, lambda g, s: -g.chunk(2, -1)[0] * rotate(*s).chunk(2, -1)[1]
                               + g.chunk(2, -1)[1] * rotate(*s).chunk(2, -1)[0])),
        wrong("zero", "the angles are constants", without(right, 1), argument="angle",
              source=src.RETURNS_NONE),
    ],
    {"still": still, "one": given(gauss(1, 1, 2), gauss(1, 1)), "no batch": given(gauss(3, 4), gauss(3, 2))},
)  # fmt: skip


# ---- complex numbers: the gradient of a real loss L is dL/d(re) + i dL/d(im)


def real(*shape):
    """Complex numbers that happen to be real."""
    return after(gauss(*shape), lambda z: torch.complex(z.real, torch.zeros_like(z.real)))


right = rounded(lambda g, s: (g * s[1].conj(), g * s[0].conj()))
both_real = given(real(4, 5), real(4, 5))
complex_product = operation(
    "complex_multiply",
    keeps_inputs("a b", torch.mul),
    right,
    given(gauss(4, 5), gauss(4, 5)),
    torch.mul,
    [
        wrong("missing-factor", "the conjugate is forgotten in da", argument="a", hidden=both_real,
              also=("unknown", "sign"),
              backward=instead(right, 0, lambda g, s: g * s[1]), source=src.CONJUGATE, dtypes=COMPLEX),
        wrong("unknown", "the whole gradient is conjugated, as JAX has it", source=src.CONJUGATE_JAX,
              dtypes=COMPLEX,
              backward=rounded(lambda g, s: (g.conj() * s[1], g.conj() * s[0])),
              also=("missing-factor", "sign")),
        wrong("missing-term", "the real part alone", changed(right, lambda d: d.real.to(d.dtype)),
              argument="a", source=src.CONJUGATE, dtypes=COMPLEX,
              also=("unknown", "missing-factor")),
        wrong("permuted", "the two gradients are exchanged", exchanged(right), dtypes=COMPLEX,
              also=("missing-factor",)),
        wrong("dtype", "the gradient is real", changed(right, lambda d: d.real), argument="a", dtypes=COMPLEX,
              source=src.CONJUGATE),
        wrong("scale", "the gradient is turned by i", scaled(right, 1j), argument="a", dtypes=COMPLEX,
              also=("unknown",)),
    ],
    {"real": both_real, "empty": given(gauss(0), gauss(0)),
    "turned": given(turned(gauss(3, 4)), gauss(3, 4))},
    COMPLEX,
)  # fmt: skip

right = rounded(lambda g, s: (g @ s[1].mH, s[0].mH @ g))
complex_matmul = operation(
    "complex_matmul",
    keeps_inputs("a b", torch.matmul),
    right,
    given(gauss(4, 4), gauss(4, 4)),
    torch.matmul,
    [
        wrong("missing-factor", "transposed but not conjugated", argument="a", also=("unknown", "transpose"),
              hidden=given(real(4, 4), real(4, 4)), dtypes=COMPLEX,
              backward=instead(right, 0, lambda g, s: g @ s[1].mT), source=src.CONJUGATE),
        wrong("transpose", "conjugated but not transposed", argument="a", also=("unknown",), dtypes=COMPLEX,
              backward=instead(right, 0, lambda g, s: g @ s[1].conj()), source=src.TRANSPOSE),
        wrong("transpose", "db is returned transposed", changed(right, lambda d: d.mT, 1), argument="b",
              dtypes=COMPLEX,
              source=src.DOUBLE_TRANSPOSE),
        wrong("sign", "both gradients have the wrong sign", negated(right), dtypes=COMPLEX),
    ],
    {"oblong": given(gauss(2, 3), gauss(3, 4)), "real": given(real(2, 3), real(3, 4))},
    COMPLEX,
)  # fmt: skip


def power_back(g, z):
    return (2 * g * z,)


complex_power = operation(
    "squared_modulus",
    lambda z: ((z * z.conj()).real, z),
    power_back,
    given(gauss(4, 5)),
    lambda z: z.real**2 + z.imag**2,
    [
        wrong("scale", "the 2 is forgotten: dL/dz* alone", lambda g, z: (g * z,), dtypes=COMPLEX,
              source=src.CONJUGATE_JAX),
        wrong("unknown", "conjugated, as JAX has it", lambda g, z: (2 * g * z.conj(),), dtypes=COMPLEX,
              hidden=given(real(4, 5)),
              source=src.CONJUGATE_JAX, also=("sign", "missing-factor")),
        wrong("dtype", "the imaginary part is dropped", lambda g, z: (2 * g * z.real,), dtypes=COMPLEX,
              source=src.CONJUGATE),
        wrong("missing-factor", "2 |z|: the phase is forgotten", dtypes=COMPLEX, also=("unknown",),
              hidden=given(after(real(4, 5), lambda z: (z * z.conj()))), backward=lambda g,
              z: ((2 * g * z.abs()).to(z.dtype),)),
        wrong("nondeterministic", "noise is added", noisy(power_back), dtypes=COMPLEX, source=src.ATOMIC_ADD),
    ],
    {"real": given(real(3)), "zeros": given(filled(0.0, 3)), "empty": given(gauss(0))},
    COMPLEX,
)  # fmt: skip

OPERATIONS: tuple[Operation, ...] = (gate, pre_norm, rotary, complex_product, complex_matmul, complex_power)
