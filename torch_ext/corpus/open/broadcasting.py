"""Arithmetic of several inputs, with broadcasting and parameters."""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import torch
from torch import log, sigmoid, where

from torch_ext.corpus._entry import Operation
from torch_ext.corpus.open import _sources as src
from torch_ext.corpus.open._tools import (
    FULL,
    Accumulating,
    between,
    element,
    exact,
    filled,
    gauss,
    given,
    instead,
    keeps_inputs,
    operation,
    plus,
    rounded,
    scaled,
    sum_to,
    turned,
    without,
    wrong,
    zeroed,
)


def multiply_back(g, s):
    a, b = s
    return sum_to(g * b, a.shape), sum_to(g * a, b.shape)


def multiply_in_grad(g, s):
    a, b = s
    da = g * b
    return da.to(g.dtype), sum_to(g.mul_(a), b.shape).to(g.dtype)


right = rounded(multiply_back)
multiply = operation(
    "multiply",
    keeps_inputs("a b", torch.mul),
    right,
    given(gauss(6, 6), gauss(6)),
    torch.mul,
    [
        wrong("missing-sum", "db is not summed over the axis that broadcasting added", argument="b",
              backward=instead(right, 1, lambda g, s: g * s[0]), also=("shape",), source=src.BROADCAST),
        wrong("missing-sum", "db is summed over the last axis instead of the first", argument="b",
              backward=instead(right, 1, lambda g, s: (g * s[0]).sum(1)), source=src.BROADCAST_MUL),
        wrong("scale", "db is averaged instead of summed", argument="b", hidden=given(gauss(1, 6), gauss(6)),
              backward=instead(right, 1, lambda g, s: (g * s[0]).mean(0)), source=src.BIAS),
        wrong("missing-sum", "only the first row counts for db", argument="b",
              hidden=given(gauss(1, 6), gauss(6)),
              backward=instead(right, 1, lambda g, s: (g * s[0])[0]), also=("missing-term",)),
        wrong("missing-factor", "da lacks the factor b", instead(right, 0, lambda g, s: g), argument="a",
              hidden=given(gauss(6, 6), filled(1.0, 6)), source=src.BILINEAR),
        wrong("mutates", "the second product is made in place of the incoming gradient", multiply_in_grad,
              dtypes=FULL, source=src.IN_PLACE_GRAD),
        wrong("scale", "da is off by 1e-5", scaled(right, 1 + 1e-5), argument="a", dtypes=FULL),
    ],
    {
        "same shape": given(gauss(3, 4), gauss(3, 4)),
        "column": given(gauss(3, 4), gauss(3, 1)),
        "both stretched": given(gauss(3, 1), gauss(1, 4)),
        "scalar": given(gauss(3, 4), gauss()),
        "empty": given(gauss(0, 4), gauss(4)),
        "turned": given(turned(gauss(3, 4)), gauss(4)),
    },
)  # fmt: skip


def divide_back(g, s):
    a, b = s
    return sum_to(g / b, a.shape), sum_to(-g * a / b**2, b.shape)


right = rounded(divide_back)
divide = operation(
    "divide",
    keeps_inputs("a b", torch.div),
    right,
    given(gauss(5, 4), between(0.5, 2, 4)),
    torch.div,
    [
        wrong("sign", "the minus of the quotient rule is forgotten", scaled(right, -1.0, 1), argument="b"),
        wrong("missing-factor", "b is not squared", argument="b", hidden=given(gauss(5, 4), filled(1.0, 4)),
              backward=instead(right, 1, lambda g, s: -(g * s[0] / s[1]).sum(0))),
        wrong("missing-factor", "db lacks the numerator", argument="b",
              backward=instead(right, 1, lambda g, s: -(g / s[1] ** 2).sum(0))),
        wrong("missing-factor", "da is multiplied by b instead of divided", argument="a",
              hidden=given(gauss(5, 4), filled(1.0, 4)), backward=instead(right, 0, lambda g, s: g * s[1])),
        wrong("missing-sum", "db keeps the batch axis", argument="b", also=("shape",),
              backward=instead(right, 1, lambda g, s: -g * s[0] / s[1] ** 2), source=src.BROADCAST_ADD),
        wrong("zero", "the divisor is taken for a constant", without(right, 1), argument="b",
              source=src.RETURNS_NONE),
    ],
    {
        "same shape": given(gauss(3, 4), between(-2, -0.5, 3, 4)),
        "scalar": given(gauss(3, 4), between(0.5, 2)),
        "column": given(gauss(4), between(0.5, 2, 3, 1)),
        "one": given(gauss(1), between(0.5, 2, 1)),
    },
)  # fmt: skip


right = rounded(lambda g, s: (sum_to(g, s[0]), sum_to(-g, s[1])))
difference = operation(
    "subtract",
    lambda a, b: (a - b, (a.shape, b.shape)),
    right,
    given(gauss(5, 5), gauss(5, 1)),
    torch.sub,
    [
        wrong("sign", "both gradients have the sign of a sum", scaled(right, -1.0, 1), argument="b"),
        wrong("missing-sum", "db is not summed over the stretched axis", argument="b", also=("shape",),
              backward=instead(right, 1, lambda g, s: -g), source=src.BROADCAST),
        wrong("missing-sum", "db is summed over the batch", argument="b", also=("transpose",),
              backward=instead(right, 1, lambda g, s: -g.sum(0)[:, None]), source=src.BROADCAST_JIT),
        wrong("shape", "the stretched axis is lost", argument="b", source=src.INVALID_SHAPE,
              backward=instead(right, 1, lambda g, s: -g.sum(1))),
        wrong("offset", "a constant is added to the gradient", plus(right, 0.01), argument="a"),
        wrong("zero", "a is detached", zeroed(right), argument="a"),
        wrong("mutates", "the incoming gradient is negated in place",
              lambda g, s: (sum_to(g.clone(), s[0]), sum_to(g.neg_(), s[1])), source=src.IN_PLACE_CUSTOM),
    ],
    {
        "same shape": given(gauss(3, 4), gauss(3, 4)),
        "scalar": given(gauss(3, 4), gauss()),
        "row": given(gauss(4), gauss(3, 4)),
        "empty": given(gauss(0, 4), gauss(4)),
        "equal": given(filled(1.0, 3), filled(1.0, 3)),
    },
)  # fmt: skip


def power_back(g, s):
    x, p = s
    logs = where(x == 0, 0.0, log(where(x == 0, 1.0, x)))
    slope = where(p == 0, 0.0, p * x ** where(p == 0, 1.0, p - 1))
    return sum_to(g * slope, x.shape), sum_to(g * x**p * logs, p.shape)


right = rounded(power_back)
power = operation(
    "power",
    keeps_inputs("x p", torch.pow),
    right,
    given(between(0.5, 2, 6, 4), between(-2, 3, 4)),
    torch.pow,
    [
        wrong("missing-factor", "the logarithm is forgotten in dp", argument="p",
              backward=instead(right, 1, lambda g, s: (g * s[0] ** s[1]).sum(0)), source=src.RPOW),
        wrong("not-finite", "log 0 times 0 in dp", argument="p", source=src.POW,
              hidden=given(between(0.5, 2, 6, 4), between(-2, 3, 4)),
              backward=instead(right, 1, lambda g, s: sum_to(g * s[0] ** s[1] * log(s[0]), s[1].shape))),
        wrong("not-finite", "x^p p / x is 0 / 0 at x = 0", argument="x", source=src.POW_ZERO,
              hidden=given(between(0.5, 2, 6, 4), between(-2, 3, 4)),
              backward=instead(right, 0, lambda g, s: g * s[0] ** s[1] * s[1] / s[0])),
        wrong("missing-factor", "p is forgotten in dx", argument="x",
              hidden=given(between(0.5, 2, 6, 4), filled(1.0, 4)),
              backward=instead(right, 0, lambda g, s: g * s[0] ** (s[1] - 1))),
        wrong("missing-factor", "the power is not lowered", argument="x",
              hidden=given(filled(1.0, 6, 4), between(-2, 3, 4)),
              backward=instead(right, 0, lambda g, s: g * s[1] * s[0] ** s[1])),
        wrong("missing-sum", "dp is not summed over the batch", argument="p", also=("shape",),
              backward=instead(right, 1, lambda g, s: g * s[0] ** s[1] * log(s[0])), source=src.BROADCAST),
        wrong("zero", "the exponent is taken for a constant", without(right, 1), argument="p",
              source=src.POW_NEGATIVE),
    ],
    {
        "zeros": given(exact([0.0, 0.0, 1.0, 2.0]), exact([2.0, 3.0, 0.0, 1.0])),
        "same shape": given(between(0.5, 2, 3, 4), between(-2, 3, 3, 4)),
        "one": given(between(0.5, 2, 1), gauss(1)),
    },
)  # fmt: skip


def swish_back(g, s):
    x, beta = s
    y = sigmoid(beta * x)
    return g * (y + beta * x * y * (1 - y)), sum_to(g * x * x * y * (1 - y), beta.shape)


def second(x, beta):
    return x * sigmoid(beta * x) * (1 - sigmoid(beta * x))


right = rounded(swish_back)
beta_one = given(gauss(6, 6), filled(1.0, 6))
swish = operation(
    "swish",
    keeps_inputs("x beta", lambda x, beta: x * sigmoid(beta * x)),
    right,
    given(gauss(6, 6), between(0.5, 2, 6)),
    lambda x, beta: x * torch.sigmoid(beta * x),
    [
        wrong("missing-sum", "dbeta is not summed over the batch", argument="beta", also=("shape",),
              backward=instead(right, 1, lambda g, s: g * s[0] * second(*s)), source=src.SWISH),
        wrong("missing-sum", "dbeta is summed over the channels", argument="beta",
              backward=instead(right, 1, lambda g, s: (g * s[0] * second(*s)).sum(1)), source=src.SWISH),
        wrong("shape", "dbeta is one number for all channels", argument="beta", also=("missing-sum",),
              backward=instead(right, 1, lambda g, s: (g * s[0] * second(*s)).sum()), source=src.SWISH),
        wrong("missing-factor", "dbeta is simplified to sum(g x)", argument="beta",
              backward=instead(right, 1, lambda g, s: (g * s[0]).sum(0)), source=src.SWISH_SIMPLIFIED),
        wrong("missing-factor", "the second term lacks beta", argument="x", hidden=beta_one,
              also=("missing-term", "unknown"), source=src.SWISH,
              backward=instead(right, 0, lambda g, s: g * (sigmoid(s[1] * s[0]) + second(*s)))),
        wrong("missing-term", "dx is the sigmoid alone", argument="x", also=("missing-factor",),
              backward=instead(right, 0, lambda g, s: g * sigmoid(s[1] * s[0])), source=src.SILU),
        wrong("nondeterministic", "dbeta is accumulated from call to call", Accumulating(right, 1),
              source=src.SWISH),
    ],
    {
        "beta 1": beta_one,
        "beta 0": given(gauss(3, 4), filled(0.0, 4)),
        "one beta": given(gauss(3, 4), between(0.5, 2)),
        "saturated": given(exact([-1000.0, -30.0, 0.0, 30.0]), exact([1.0, 2.0, 3.0, 4.0])),
        "empty": given(gauss(0, 4), gauss(4)),
    },
)  # fmt: skip


def prelu_back(g, s):
    x, a = s
    return g * where(x > 0, 1.0, a), sum_to(g * x.clamp(max=0), a.shape)


right = rounded(prelu_back)
above = given(between(0.1, 2, 8, 3), between(0.1, 0.4, 3))
prelu = operation(
    "prelu",
    keeps_inputs("x a", lambda x, a: where(x > 0, x, a * x)),
    right,
    given(gauss(8, 3), between(0.1, 0.4, 3)),
    lambda x, a: torch.nn.functional.prelu(x, a),
    [
        wrong("missing-factor", "da lacks the mask x < 0", argument="a", also=("region", "unknown"),
              hidden=given(between(-2, -0.1, 8, 3), between(0.1, 0.4, 3)), source=src.SWISH_SIMPLIFIED,
              backward=instead(right, 1, lambda g, s: (g * s[0]).sum(0))),
        wrong("region", "dx is as for relu", argument="x", hidden=above,
              backward=instead(right, 0, lambda g, s: g * (s[0] > 0))),
        wrong("region", "dx takes the slope of the first channel for all", argument="x",
              also=("missing-factor",), hidden=given(gauss(8, 3), filled(0.25, 3)),
              backward=instead(right, 0, lambda g, s: g * where(s[0] > 0, 1.0, s[1][0]))),
        wrong("scale", "da is averaged over the batch", argument="a", hidden=given(gauss(1, 3), gauss(3)),
              backward=instead(right, 1, lambda g, s: (g * s[0].clamp(max=0)).mean(0)), source=src.BIAS),
        wrong("sign", "da has the sign of |x|", scaled(right, -1.0, 1), argument="a", hidden=above),
        wrong("local", "the last channel's slope is not learned", element(right, -1, 0.0, 1), argument="a",
              hidden=above, also=("region",)),
    ],
    {
        "positive": above,
        "kinks": given(exact([[-1.0, 0.0, 1.0]]), exact([0.5, 0.25, 0.125])),
        "batch of one": given(gauss(1, 3), gauss(3)),
        "turned": given(turned(gauss(4, 3)), gauss(3)),
    },
)  # fmt: skip

OPERATIONS: tuple[Operation, ...] = (multiply, divide, difference, power, swish, prelu)
