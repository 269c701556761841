"""Element-wise functions with kinks between flat and sloped parts."""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import torch
import torch.nn.functional as F

from torch_ext.corpus._entry import Operation
from torch_ext.corpus.open import _sources as src
from torch_ext.corpus.open._tools import (
    between,
    changed,
    exact,
    filled,
    gauss,
    given,
    wrong,
)
from torch_ext.corpus.open.activations import activation, slope

hardtanh = activation(
    "hardtanh",
    lambda x: x.clamp(-1, 1),
    lambda x: ((x > -1) & (x < 1)).to(x.dtype),
    given(gauss(5, 6)),
    F.hardtanh,
    [
        wrong("missing-factor", "the gradient passes outside, too", lambda g, x: (g,), also=("region",),
              hidden=given(between(-0.9, 0.9, 5, 6)), source=src.STRAIGHT_THROUGH),
        wrong("region", "only the upper end is clipped", slope(lambda x: (x < 1).to(x.dtype)),
              hidden=given(between(-0.9, 3, 5, 6)), source=src.CLAMP),
        wrong("region", "the mask is |x| < 0.5", slope(lambda x: (x.abs() < 0.5).to(x.dtype)),
              hidden=given(between(-0.4, 0.4, 5, 6)), source=src.STRAIGHT_THROUGH_CLIP),
        wrong("zero", "both comparisons are inverted: x <= -1 and x >= 1", source=src.CLAMP,
              backward=slope(lambda x: ((x <= -1) & (x >= 1)).to(x.dtype))),
    ],
    kinks=given(exact([-2.0, -1.0, -0.5, 1.0, 2.0])),
)  # fmt: skip

clamp = activation(
    "clamp",
    lambda x: x.clamp(-0.5, 1.25),
    lambda x: ((x >= -0.5) & (x <= 1.25)).to(x.dtype),
    given(gauss(5, 6)),
    lambda x: x.clamp(-0.5, 1.25),
    [
        wrong("zero", "both comparisons are inverted", source=src.CLAMP,
              backward=slope(lambda x: ((x <= -0.5) & (x >= 1.25)).to(x.dtype))),
        wrong("missing-factor", "the gradient passes outside, too", lambda g, x: (g,), also=("region",),
              hidden=given(between(-0.4, 1.2, 5, 6)), source=src.CLAMP),
        wrong("region", "0 instead of the reference's 1 at the bounds themselves", hidden=given(gauss(5, 6)),
              backward=slope(lambda x: ((x > -0.5) & (x < 1.25)).to(x.dtype)), also=("local",),
              source=src.CLAMP_BORDER),
        wrong("region", "the bounds of another clamp", slope(lambda x: (x.abs() <= 1).to(x.dtype)),
              hidden=given(between(-0.4, 0.9, 5, 6)), source=src.STRAIGHT_THROUGH_CLIP),
        wrong("not-finite", "a mask of x / x: 0 / 0 at zero",
              slope(lambda x: ((x >= -0.5) & (x <= 1.25)) * x / x), hidden=given(gauss(5, 6)),
              source=src.CLAMP_INF),
    ],
    kinks=given(exact([-2.0, -0.5, 0.0, 1.25, 2.0])),
)  # fmt: skip

absolute = activation(
    "abs",
    torch.abs,
    torch.sign,
    given(gauss(4, 6)),
    torch.abs,
    [
        wrong("missing-factor", "the sign is forgotten", lambda g, x: (g,), also=("region", "sign"),
              hidden=given(between(0.1, 2, 4, 6)), source=src.NORM_L1),
        wrong("not-finite", "x / |x| is 0 / 0 at 0", slope(lambda x: x / x.abs()), hidden=given(gauss(4, 6)),
              source=src.ABS_ZERO),
        wrong("missing-factor", "x instead of sign(x), as of the square", slope(lambda x: x),
              hidden=given(filled(-1.0, 4, 6)), also=("unknown",), source=src.NORM_L1),
        wrong("dtype", "the signs are made in float64 and promote the gradient",
              changed(slope(torch.sign), lambda d: d.double()), dtypes=("float32", "bfloat16", "float16"),
              source=src.GRAD_DTYPE),
    ],
    kinks=given(exact([-1.0, -0.0, 0.0, 1.0])),
)  # fmt: skip

OPERATIONS: tuple[Operation, ...] = (hardtanh, clamp, absolute)
