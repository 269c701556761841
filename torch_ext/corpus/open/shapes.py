"""Functions that move numbers: transposes, shifts, padding, joining."""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import torch
import torch.nn.functional as F

from torch_ext.corpus._entry import Operation
from torch_ext.corpus.open import _sources as src
from torch_ext.corpus.open._tools import (
    FULL,
    exchanged,
    gauss,
    given,
    operation,
    part,
    rounded,
    scaled,
    turned,
    without,
    wrong,
    zeroed,
)


def moves(name, f, back, usual, mistakes, **further):
    """A function that only moves numbers; its residual is the input's shape."""
    return operation(
        name,
        lambda x: (f(x), tuple(x.shape)),
        lambda g, shape: (back(g, shape),),
        usual,
        f,
        mistakes,
        further,
    )


def moved(f):
    return lambda g, shape: (f(g, shape),)


transpose = moves(
    "transpose",
    lambda x: x.mT.clone(),
    lambda g, _: g.mT,
    given(gauss(4, 4)),
    [
        wrong("transpose", "the gradient is passed through", moved(lambda g, _: g), also=("permuted",),
              hidden=given(gauss(1, 1)), source=src.TRANSPOSE),
        wrong("permuted", "turned by 90 degrees", moved(lambda g, _: g.mT.flip(0)), source=src.CONV_ROT180,
              hidden=given(gauss(1, 1))),
        wrong("sign", "the sign of an antisymmetric product", moved(lambda g, _: -g.mT)),
        wrong("scale", "off by 1e-5", moved(lambda g, _: g.mT * (1 + 1e-5)), dtypes=FULL),
    ],
    oblong=given(gauss(3, 2)), batch=given(gauss(2, 3, 4)), empty=given(gauss(0, 3)),
    turned=given(turned(gauss(3, 4))),
)  # fmt: skip

permute = moves(
    "permute",
    lambda x: x.permute(2, 0, 1).contiguous(),
    lambda g, _: g.permute(1, 2, 0),
    given(gauss(3, 3, 3)),
    [
        wrong("permuted", "the same permutation instead of its inverse",
              moved(lambda g, _: g.permute(2, 0, 1)),
              also=("transpose",), source=src.PERMUTE),
        wrong("transpose", "one exchange of axes is forgotten", also=("permuted",), source=src.PERMUTE,
              backward=moved(lambda g, _: g.permute(1, 2, 0).transpose(0, 1))),
        wrong("permuted", "view to the input's shape: the numbers stay where they are",
              moved(lambda g, shape: g.reshape(shape)), also=("transpose",), source=src.PERMUTE),
        wrong("region", "the last slice is left out", part(moved(lambda g, _: g.permute(1, 2, 0)), (..., -1)),
              also=("local", "missing-factor")),
    ],
    oblong=given(gauss(2, 3, 4)), empty=given(gauss(2, 0, 4)), turned=given(turned(gauss(2, 3, 4))),
)  # fmt: skip

roll = moves(
    "roll",
    lambda x: x.roll(2, -1),
    lambda g, _: g.roll(-2, -1),
    given(gauss(3, 5)),
    [
        wrong("permuted", "rolled the same way as in the forward", moved(lambda g, _: g.roll(2, -1)),
              hidden=given(gauss(3, 4)), source=src.ROLL),
        wrong("permuted", "rolled back by one too few", moved(lambda g, _: g.roll(-1, -1)), source=src.ROLL,
              hidden=given(gauss(3, 1))),
        wrong("permuted", "rolled back along the other axis", moved(lambda g, _: g.roll(-2, 0)),
              source=src.ROLL,
              hidden=given(gauss(2, 2))),
        wrong("region", "what wraps around is dropped",
              backward=part(moved(lambda g, _: g.roll(-2, -1)), (..., slice(-2, None))), source=src.CONCAT,
              also=("local", "missing-factor")),
    ],
    half=given(gauss(3, 4)), one=given(gauss(1)), empty=given(gauss(0, 3)),
)  # fmt: skip

flip = moves(
    "flip",
    lambda x: x.flip(-1),
    lambda g, _: g.flip(-1),
    given(gauss(4, 4)),
    [
        wrong("permuted", "the gradient is not flipped back", moved(lambda g, _: g),
              hidden=given(gauss(4, 1)),
              source=src.CUMSUM_FLIP),
        wrong("permuted", "flipped along the other axis", moved(lambda g, _: g.flip(0)),
              source=src.CONV_DOUBLE_FLIP),
        wrong("permuted", "flipped along both axes", moved(lambda g, _: g.flip(0, 1)),
              hidden=given(gauss(1, 4)),
              source=src.CONV_ROT180),
        wrong("zero", "nothing flows back", moved(lambda g, _: None), source=src.RETURNS_NONE),
    ],
    column=given(gauss(4, 1)), empty=given(gauss(0, 3)), turned=given(turned(gauss(3, 4))),
)  # fmt: skip

pad = moves(
    "pad",
    lambda x: F.pad(x, (1, 2)),
    lambda g, shape: g[..., 1 : 1 + shape[-1]],
    given(gauss(3, 5)),
    [
        wrong("permuted", "the crop starts at 0: shifted by one", moved(lambda g, shape: g[..., : shape[-1]]),
              also=("unknown",), source=src.CONV_SHAPES),
        wrong("permuted", "left and right are exchanged", moved(lambda g, shape: g[..., 2 : 2 + shape[-1]]),
              also=("unknown",), source=src.CONV_SHAPES),
        wrong("shape", "nothing is cropped", moved(lambda g, _: g), source=src.INVALID_SHAPE),
        wrong("shape", "one too few is cropped", moved(lambda g, _: g[..., 1:-1]), source=src.CONCAT),
        wrong("region", "the first column, at the padding, is dropped", also=("local", "missing-factor"),
              backward=part(moved(lambda g, shape: g[..., 1 : 1 + shape[-1]]), (..., 0))),
    ],
    one=given(gauss(1)), empty=given(gauss(0, 3)), turned=given(turned(gauss(3, 4))),
)  # fmt: skip

repeat = moves(
    "repeat",
    lambda x: x.repeat(1, 3),
    lambda g, shape: g.reshape(shape[0], 3, shape[1]).sum(1),
    given(gauss(4, 3)),
    [
        wrong("missing-sum", "grouped as for repeat_interleave", also=("permuted", "unknown"),
              backward=moved(lambda g, shape: g.reshape(shape[0], shape[1], 3).sum(2)),
              hidden=given(gauss(4, 1)),
              source=src.BROADCAST),
        wrong("missing-sum", "the first copy counts alone", moved(lambda g, shape: g[:, : shape[1]]),
              also=("missing-term",), source=src.BROADCAST),
        wrong("scale", "copies are averaged", source=src.BIAS,
              backward=moved(lambda g, shape: g.reshape(shape[0], 3, shape[1]).mean(1))),
        wrong("shape", "copies are not summed", moved(lambda g, _: g), also=("missing-sum",),
              source=src.BROADCAST),
    ],
    column=given(gauss(4, 1)), empty=given(gauss(0, 3)),
)  # fmt: skip

slicing = moves(
    "slice",
    lambda x: x[:, 1::2].clone(),
    lambda g, shape: torch.zeros(shape, dtype=g.dtype).index_copy(1, torch.arange(1, shape[1], 2), g),
    given(gauss(3, 6)),
    [
        wrong("permuted", "written from 0: off by one", source=src.ROLL,
              backward=moved(lambda g,
              shape: torch.zeros(shape, dtype=g.dtype).index_copy(1, torch.arange(0, shape[1] - 1, 2), g))),
        wrong("permuted", "written side by side, the step forgotten", source=src.EMBEDDING_ROW,
              backward=moved(lambda g, shape: F.pad(g, (1, shape[1] - 1 - g.shape[1])))),
        wrong("shape", "the slice's gradient is returned as it is", moved(lambda g, _: g),
              source=src.INVALID_SHAPE),
        wrong("missing-factor", "the elements left out get a gradient, too",
              moved(lambda g, _: g.repeat_interleave(2, 1)),
              also=("region", "unknown")),
    ],
    two=given(gauss(3, 2)), empty=given(gauss(0, 4)), one_axis_turned=given(turned(gauss(3, 4))),
)  # fmt: skip

triangle = moves(
    "tril",
    torch.tril,
    lambda g, _: g.tril(),
    given(gauss(4, 4)),
    [
        wrong("missing-factor", "the upper part gets a gradient, too", moved(lambda g, _: g),
              also=("region",),
              hidden=given(gauss(4, 1)), source=src.CLAMP),
        wrong("region", "the diagonal is masked, too", moved(lambda g, _: g.tril(-1)),
              also=("missing-factor", "local"),
              source=src.SOFTMAX),
        wrong("transpose", "the mask of the upper part is transposed on the gradient",
              moved(lambda g, _: g.mT.tril()),
              also=("permuted", "unknown"), hidden=given(gauss(1, 1))),
    ],
    oblong=given(gauss(3, 5)), column=given(gauss(4, 1)),
)  # fmt: skip


# ---- several inputs


right = rounded(lambda g, n: (g[:, :n], g[:, n:]))
concat = operation(
    "concat",
    lambda a, b: (torch.cat([a, b], 1), a.shape[1]),
    right,
    given(gauss(4, 3), gauss(4, 3)),
    lambda a, b: torch.cat([a, b], 1),
    [
        wrong("permuted", "the two gradients are exchanged", exchanged(right), source=src.CONCAT),
        wrong("permuted", "both get the first part", rounded(lambda g, n: (g[:, :n], g[:, :n])), argument="b",
              source=src.CONCAT, also=("unknown",)),
        wrong("shape", "the second gets the whole gradient", rounded(lambda g, n: (g[:, :n], g)),
              argument="b",
              source=src.INVALID_SHAPE),
        wrong("zero", "the second gets nothing: its offset is past the end", zeroed(right, 1), argument="b",
              source=src.CONCAT),
        wrong("permuted", "the second part is read one column early", argument="b", source=src.CONCAT,
              also=("unknown",),
              backward=rounded(lambda g, n: (g[:, :n], g[:, n - 1 : -1]))),
        wrong("sign", "the second is subtracted", scaled(right, -1.0, 1), argument="b"),
    ],
    {"different": given(gauss(2, 1), gauss(2, 4)), "empty part": given(gauss(2, 0), gauss(2, 3))},
)  # fmt: skip

right = rounded(lambda g, _: (g[:, 0], g[:, 1], g[:, 2]))
stack = operation(
    "stack",
    lambda a, b, c: (torch.stack([a, b, c], 1), None),
    right,
    given(gauss(3, 4), gauss(3, 4), gauss(3, 4)),
    lambda a, b, c: torch.stack([a, b, c], 1),
    [
        wrong("permuted", "unstacked along the first axis", rounded(lambda g, _: (g[0], g[1], g[2])),
              source=src.PERMUTE,
              also=("transpose",)),
        wrong("permuted", "given back in reverse order", exchanged(right, 0, 2),
              source=src.CUMSUM_FLIP),
        wrong("missing-sum", "each gets the sum over the new axis", also=("unknown", "missing-term"),
              source=src.BROADCAST,
              backward=rounded(lambda g, _: (g.sum(1),) * 3)),
        wrong("shape", "the stacked axis is kept", rounded(lambda g, _: (g[:, :1], g[:, 1:2], g[:, 2:])),
              source=src.INVALID_SHAPE),
        wrong("zero", "the third is not connected", without(right, 2), argument="c", source=src.RETURNS_NONE),
    ],
    {"vectors": given(gauss(3), gauss(3), gauss(3)), "empty": given(gauss(0, 2), gauss(0, 2), gauss(0, 2))},
)  # fmt: skip

OPERATIONS: tuple[Operation, ...] = (
    transpose, permute, roll, flip, pad, repeat, slicing, triangle, concat, stack
)  # fmt: skip
