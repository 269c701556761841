"""Element-wise arithmetic, with broadcasting where there are several inputs."""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import math

import torch
from torch import exp, log

from torch_ext.corpus._entry import Operation
from torch_ext.corpus.open import _sources as src
from torch_ext.corpus.open._tools import (
    FULL,
    Alternating,
    as_if_contiguous,
    between,
    changed,
    element,
    exact,
    filled,
    gauss,
    given,
    noisy,
    operation,
    plus,
    rounded,
    turned,
    wide,
    without,
    wrong,
)
from torch_ext.corpus.open.activations import activation, slope


def positive(*shape):
    return between(0.5, 2, *shape)


def on_positive(name, f, df, reference, mistakes, **further) -> Operation:
    """A function of positive numbers, its mistakes wrong derivatives."""
    return activation(
        name, f, df, given(positive(4, 6)), reference, mistakes,
        empty=given(positive(0)), one=given(positive(1)), scalar=given(positive()),
        turned=given(turned(positive(3, 4))), **further,
    )  # fmt: skip


ones = given(filled(1.0, 4, 6))

logarithm = on_positive(
    "log",
    log,
    lambda x: 1 / x,
    log,
    [
        wrong("missing-factor", "1/x is forgotten", lambda g, x: (g,), hidden=ones,
              source=src.DERIVATIVE_MISSING),
        wrong("missing-factor", "1/x^2: the derivative of the derivative", slope(lambda x: 1 / x**2),
              hidden=ones, source=src.DERIVATIVE_EXTRA),
        wrong("missing-factor", "1/(x + eps), eps being in the backward only", slope(lambda x: 1 / (x + 0.1)),
              also=("unknown",), source=src.NORMALIZE_EPS),
        wrong("sign", "-1/x", slope(lambda x: -1 / x)),
        wrong("nondeterministic", "every second call is doubled", Alternating(slope(lambda x: 1 / x))),
    ],
    tiny=given(exact([1e-6, 1e-3, 1.0, 1e4])),
)  # fmt: skip

log10 = on_positive(
    "log10",
    torch.log10,
    lambda x: 1 / (x * math.log(10)),
    torch.log10,
    [
        wrong("scale", "the derivative of the natural logarithm", slope(lambda x: 1 / x)),
        wrong("scale", "times ln 10 instead of divided by it", slope(lambda x: math.log(10) / x)),
        wrong("scale", "ln 10 is rounded to float32", dtypes=("float64",),
              backward=slope(lambda x: 1 / (x * float(torch.tensor(math.log(10), dtype=torch.float32))))),
        wrong("scale", "ln 10 is typed as 2.3026", slope(lambda x: 1 / (x * 2.3026)), dtypes=FULL),
    ],
)  # fmt: skip


def exp_in_output(g, y):
    return (y.mul_(g),)


exponential = operation(
    "exp",
    lambda x: ((y := exp(wide(x))).to(x.dtype), y),
    rounded(lambda g, y: g * y),
    given(gauss(4, 6)),
    exp,
    [
        wrong("missing-factor", "the exponential is forgotten", lambda g, y: (g,),
              hidden=given(filled(0.0, 4, 6)), source=src.DERIVATIVE_MISSING),
        wrong("missing-factor", "y is multiplied on twice", rounded(lambda g, y: g * y * y),
              hidden=given(filled(0.0, 4, 6)), source=src.DERIVATIVE_EXTRA),
        wrong("mutates", "result.mul_(grad) overwrites the output", exp_in_output, dtypes=FULL,
              source=src.IN_PLACE_SAVED),
        wrong("mutates", "grad.mul_(result) overwrites the incoming gradient",
              lambda g, y: (g.mul_(y.to(g.dtype)),), source=src.IN_PLACE_CUSTOM),
        wrong("unknown", "the strides of the incoming gradient are ignored",
              also=("permuted", "missing-factor"),
              backward=as_if_contiguous(rounded(lambda g, y: g * y)), source=src.NOT_CONTIGUOUS),
        wrong("unknown", "the output is kept in float16 to save memory",
              also=("dtype",),
              backward=rounded(lambda g, y: g * y.half().to(y.dtype)), dtypes=FULL,
              source=src.GRAD_DTYPE_HALF),
    ],
    {
        "empty": given(gauss(0)),
        "one": given(gauss(1)),
        "scalar": given(gauss()),
        "turned": given(turned(gauss(3, 4))),
        "small": given(exact([-1e3, -30.0, 0.0, 10.0])),
    },
)  # fmt: skip

root = on_positive(
    "sqrt",
    torch.sqrt,
    lambda x: 0.5 / x.sqrt(),
    torch.sqrt,
    [
        wrong("scale", "the 1/2 is forgotten", slope(lambda x: 1 / x.sqrt())),
        wrong("missing-factor", "1/(2x) instead of 1/(2 sqrt x)", slope(lambda x: 0.5 / x), hidden=ones,
              also=("unknown",), source=src.POW),
        wrong("missing-factor", "sqrt(x)/2: the power is not lowered", slope(lambda x: 0.5 * x.sqrt()),
              hidden=ones, also=("unknown",), source=src.POW),
        wrong("offset", "1e-3 is added so that no gradient vanishes",
              plus(slope(lambda x: 0.5 / x.sqrt()), 1e-3), dtypes=FULL),
    ],
)  # fmt: skip

reciprocal = on_positive(
    "reciprocal",
    torch.reciprocal,
    lambda x: -1 / x**2,
    torch.reciprocal,
    [
        wrong("sign", "the minus is forgotten", slope(lambda x: 1 / x**2)),
        wrong("missing-factor", "-1/x: the square is forgotten", slope(lambda x: -1 / x), hidden=ones,
              source=src.DERIVATIVE_AT_OUTPUT),
        wrong("missing-factor", "-1: a constant slope", slope(lambda x: -1 + 0 * x), hidden=ones),
        wrong("zero", "None is returned", without(slope(lambda x: -1 / x**2)), source=src.RETURNS_NONE),
    ],
    negative=given(exact([-4.0, -0.5, 0.25, 8.0])),
)  # fmt: skip


def square_in_input(g, x):
    return (x.detach().mul_(2).mul_(g),)


square = activation(
    "square",
    lambda x: x * x,
    lambda x: 2 * x,
    given(gauss(4, 6)),
    torch.square,
    [
        wrong("scale", "the 2 is forgotten", slope(lambda x: x), source=src.BATCH_SIZE),
        wrong("scale", "doubled: both factors of x * x are counted twice", slope(lambda x: 4 * x),
              source=src.ADDED_TWICE),
        wrong("missing-factor", "x is forgotten", slope(lambda x: 2 + 0 * x), hidden=ones),
        wrong("mutates", "x.mul_(2) overwrites the saved input", square_in_input,
              hidden=given(filled(0.0, 4, 6)), source=src.IN_PLACE_DATA),
        wrong("region", "the slope is |2 x|", slope(lambda x: 2 * x.abs()),
              hidden=given(positive(4, 6)), source=src.NORM_L1,
              also=("sign", "missing-factor")),
        wrong("local", "one element is not written", element(slope(lambda x: 2 * x), 5)),
        wrong("nondeterministic", "noise is added", noisy(slope(lambda x: 2 * x))),
    ],
    zeros=given(exact([0.0, -1.0, 2.0])),
)  # fmt: skip

cosine = activation(
    "cos",
    torch.cos,
    lambda x: -x.sin(),
    given(gauss(4, 6)),
    torch.cos,
    [
        wrong("sign", "the minus is forgotten", slope(torch.sin)),
        wrong("missing-factor", "the derivative of the sine", slope(torch.cos), also=("unknown",)),
        wrong("region", "the slope is taken modulo a half turn: wrong for x < 0",
              slope(lambda x: -x.abs().sin()), hidden=given(positive(4, 6)), also=("sign", "missing-factor")),
        wrong("scale", "the angle is in degrees for the backward", slope(lambda x: -x.sin() * math.pi / 180)),
        wrong("dtype", "the gradient is in float64", changed(slope(lambda x: -x.sin()), lambda d: d.double()),
              dtypes=("float32", "bfloat16", "float16"), source=src.GRAD_DTYPE),
    ],
    quarters=given(exact([0.0, math.pi / 2, -math.pi / 2, 3.0])),
)  # fmt: skip


OPERATIONS: tuple[Operation, ...] = (
    logarithm, log10, exponential, root, reciprocal, square, cosine
)  # fmt: skip
