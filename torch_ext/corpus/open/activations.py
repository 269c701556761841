"""Element-wise activations: y = f(x), dx = g f'(x)."""

# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import exp, sigmoid, tanh, where

from torch_ext.corpus._entry import Operation
from torch_ext.corpus.open import _sources as src
from torch_ext.corpus.open._tools import (
    FULL,
    Accumulating,
    Alternating,
    between,
    element,
    exact,
    filled,
    gauss,
    given,
    in_dtype,
    kept_outside,
    noisy,
    operation,
    part,
    plus,
    rounded,
    scaled,
    turned,
    wide,
    without,
    wrong,
    zeroed,
)


def keeps_input(f):
    return lambda x: (f(wide(x)).to(x.dtype), x)


def slope(df):
    """The backward with this derivative at the input."""
    return rounded(lambda g, x: g * df(wide(x)))


def activation(name, f, df, usual, reference, mistakes, **further) -> Operation:
    """Its mistakes are wrong derivatives, or backward passes where they are more."""
    further.setdefault("empty", given(gauss(0)))
    further.setdefault("one", given(gauss(1)))
    further.setdefault("scalar", given(gauss()))
    further.setdefault("turned", given(turned(gauss(3, 4))))
    return operation(name, keeps_input(f), slope(df), usual, reference, mistakes, further)


# ---- relu and its kin

relu_slope = slope(lambda x: (x > 0).to(x.dtype))


class FirstMask:
    """The mask of the first call is kept and used for ever."""

    def __init__(self):
        self.masks = {}

    def __call__(self, g, x):
        return (g * self.masks.setdefault(tuple(x.shape), x.detach() > 0),)


def relu_in_grad(g, x):
    g[x <= 0] = 0
    return (g,)


def relu_in_place(x):
    x.detach().clamp_(min=0)
    return x.clone(), x


relu = activation(
    "relu",
    lambda x: x.clamp(min=0),
    lambda x: (x > 0).to(x.dtype),
    given(gauss(4, 6)),
    F.relu,
    [
        wrong(
            "missing-factor",
            "the gradient passes where the input is negative",
            lambda g, x: (g,),
            also=("region",),
            hidden=given(between(0.1, 2, 4, 6)),
            source=src.DERIVATIVE_MISSING_HIDDEN,
        ),
        wrong("mutates", "dx = dout; dx[x <= 0] = 0 writes into the incoming gradient", relu_in_grad,
              hidden=given(between(0.1, 2, 4, 6)), source=src.IN_PLACE_GRAD),
        wrong("mutates", "the forward clamps its input in place and does not say so", forward=relu_in_place,
              argument="x", hidden=given(between(0.1, 2, 4, 6)), source=src.IN_PLACE_FORWARD),
        wrong("nondeterministic", "the mask of the first call is used for every later one", FirstMask(),
              also=("region", "missing-factor", "unknown"), source=src.STATE),
        wrong("region", "1 instead of the reference's 0 at x = 0", slope(lambda x: (x >= 0).to(x.dtype)),
              hidden=given(gauss(4, 6)), also=("local",), source=src.CLAMP_BORDER),
        wrong("sign", "the sign is lost", scaled(relu_slope, -1.0), source=src.REVERSAL),
        wrong("region", "the slope is halved for x > 1.5",
              slope(lambda x: where(x > 1.5, 0.5, (x > 0).to(x.dtype))), hidden=given(between(-3, 1, 4, 6)),
              source=src.CLAMP),
    ],
    kinks=given(exact([-1.0, -0.0, 0.0, 1.0])),
    large=given(exact([-3e4, 3e4, 1e-7, -1e-7])),
)  # fmt: skip

leaky_relu = activation(
    "leaky_relu",
    lambda x: where(x > 0, x, 0.125 * x),
    lambda x: where(x > 0, 1.0, 0.125).to(x.dtype),
    given(gauss(4, 6)),
    lambda x: F.leaky_relu(x, 0.125),
    [
        wrong("region", "for x < 0 the slope is 0, as in relu", relu_slope,
              hidden=given(between(0.1, 2, 4, 6)), source=src.DERIVATIVE_MISSING_HIDDEN),
        wrong("region", "for x < 0 the slope is 0.01, the default, not the one given",
              slope(lambda x: where(x > 0, 1.0, 0.01).to(x.dtype)), hidden=given(between(0.1, 2, 4, 6)),
              source=src.SOFTPLUS_BACKWARD),
        wrong("region", "for x < 0 it returns the output instead of the slope",
              slope(lambda x: where(x > 0, 1.0, 0.125 * x)), also=("missing-factor",),
              hidden=given(between(0.1, 2, 4, 6)), source=src.DERIVATIVE_AT_OUTPUT),
        wrong("region", "for x < 0 the gradient has the opposite sign",
              slope(lambda x: where(x > 0, 1.0, -0.125)), also=("sign",),
              hidden=given(between(0.1, 2, 4, 6))),
        wrong("region", "the branch is taken at x > 1 instead of x > 0",
              slope(lambda x: where(x > 1, 1.0, 0.125).to(x.dtype)), hidden=given(between(-3, -0.1, 4, 6))),
        wrong("nondeterministic", "gradients of all calls add up in one buffer",
              Accumulating(slope(lambda x: where(x > 0, 1.0, 0.125).to(x.dtype))), source=src.ADDED_TWICE),
    ],
    kinks=given(exact([-1.0, -0.0, 0.0, 1.0])),
)  # fmt: skip

ALPHA = 1.5
elu_slope = slope(lambda x: where(x > 0, 1.0, ALPHA * exp(x.clamp(max=0))))
elu = activation(
    "elu",
    lambda x: where(x > 0, x, ALPHA * torch.expm1(x.clamp(max=0))),
    lambda x: where(x > 0, 1.0, ALPHA * exp(x.clamp(max=0))),
    given(gauss(4, 6)),
    lambda x: F.elu(x, ALPHA),
    [
        wrong("region", "alpha is forgotten for x < 0", slope(lambda x: where(x > 0, 1.0, exp(x))),
              hidden=given(between(0.1, 2, 4, 6))),
        wrong("region", "y + 1 instead of y + alpha for x < 0",
              slope(lambda x: where(x > 0, 1.0, ALPHA * torch.expm1(x) + 1)), also=("offset", "missing-term"),
              hidden=given(between(0.1, 2, 4, 6)), source=src.SIGMOID_OUTPUT),
        wrong("not-finite", "masks multiply: 0 times an exp(x) that overflows",
              slope(lambda x: (x > 0) * 1.0 + (x <= 0) * ALPHA * exp(x)), hidden=given(gauss(4, 6)),
              source=src.WHERE_NAN),
        wrong("sign", "the sign is lost", scaled(elu_slope, -1.0)),
        wrong("local", "the last element is not written (n - 1 threads)", element(elu_slope, -1)),
        wrong("scale", "float32 arithmetic leaves a factor of 1 + 1e-5", scaled(elu_slope, 1 + 1e-5),
              dtypes=FULL),
    ],
    kinks=given(exact([-1.0, -0.0, 0.0, 1.0])),
    large=given(exact([-3e3, 1e4, 800.0, -90.0])),
)  # fmt: skip


# ---- smooth ones

ROOT_2PI = math.sqrt(2 * math.pi)


def cdf(x):
    return 0.5 * torch.special.erfc(-x / math.sqrt(2))


def pdf(x):
    return exp(-0.5 * x * x) / ROOT_2PI


def gelu_tanh_slope(x, inner=3.0, chain=True):
    c = math.sqrt(2 / math.pi)
    t = tanh(c * (x + 0.044715 * x**3))
    slope_inside = c * (1 + inner * 0.044715 * x * x) if chain else c
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope_inside


gelu_slope = slope(lambda x: cdf(x) + x * pdf(x))
gelu = activation(
    "gelu",
    lambda x: x * cdf(x),
    lambda x: cdf(x) + x * pdf(x),
    given(gauss(4, 6)),
    F.gelu,
    [
        wrong("missing-term", "x times the density is forgotten", slope(cdf), source=src.GELU_FIX),
        wrong("missing-term", "the density lacks 1/sqrt(2 pi)", also=("missing-factor", "unknown"),
              backward=slope(lambda x: cdf(x) + x * exp(-0.5 * x * x)), source=src.GELU_FIX),
        wrong("unknown", "the backward of the tanh approximation under an exact forward",
              slope(gelu_tanh_slope),
              dtypes=FULL, source=src.GELU,
              also=("missing-term", "missing-factor")),
        wrong("missing-term", "1/sqrt(2 pi) is typed as 0.3989", also=("missing-factor", "unknown"),
              backward=slope(lambda x: cdf(x) + x * exp(-0.5 * x * x) * 0.3989), dtypes=FULL),
        wrong("forward", "the forward is the tanh approximation, its backward too", slope(gelu_tanh_slope),
              forward=keeps_input(lambda x: F.gelu(x, approximate="tanh")), dtypes=FULL, source=src.GELU),
        wrong("missing-factor", "the incoming gradient is taken for ones",
              rounded(lambda g, x: cdf(wide(x)) + wide(x) * pdf(wide(x)) + 0 * g), source=src.BILINEAR),
        wrong("nondeterministic", "noise is added, as dithering once was", noisy(gelu_slope)),
    ],
    saturated=given(exact([-30.0, -8.0, 0.0, 8.0, 200.0])),
)  # fmt: skip

gelu_tanh = activation(
    "gelu_tanh",
    lambda x: 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    gelu_tanh_slope,
    given(gauss(4, 6)),
    lambda x: F.gelu(x, approximate="tanh"),
    [
        wrong("missing-factor", "the slope of the inner polynomial is 1", also=("missing-term", "unknown"),
              backward=slope(lambda x: gelu_tanh_slope(x, chain=False)), source=src.GELU),
        wrong("missing-term", "the cube is derived without its 3", also=("missing-factor", "unknown"),
              backward=slope(lambda x: gelu_tanh_slope(x, inner=1.0)), source=src.GELU),
        wrong("dtype", "the gradient comes back in float32", in_dtype(slope(gelu_tanh_slope), torch.float32),
              dtypes=("float64", "bfloat16", "float16"), source=src.GRAD_DTYPE),
        wrong("zero", "the gradient is computed on a detached copy and None is returned",
              without(slope(gelu_tanh_slope)), source=src.RETURNS_NONE),
    ],
    saturated=given(exact([-20.0, -8.0, 0.0, 8.0, 20.0])),
)  # fmt: skip


def silu_df(x):
    s = sigmoid(x)
    return s * (1 + x * (1 - s))


silu = activation(
    "silu",
    lambda x: x * sigmoid(x),
    silu_df,
    given(gauss(4, 6)),
    F.silu,
    [
        wrong("missing-term", "the product rule's first term s is forgotten",
              slope(lambda x: x * sigmoid(x) * (1 - sigmoid(x))), source=src.SILU),
        wrong("missing-term", "the product rule's second term x s' is forgotten", slope(sigmoid),
              source=src.SILU),
        wrong("missing-factor", "s (1 + x (1 - s)) without the leading s",
              slope(lambda x: 1 + x * (1 - sigmoid(x))), source=src.SILU),
        wrong("not-finite", "exp(x) / (1 + exp(x)) overflows for large x", hidden=given(gauss(4, 6)),
              backward=slope(lambda x: exp(x) / (1 + exp(x)) * (1 + x / (1 + exp(x)))), source=src.SILU_TAIL),
        wrong("region", "the tail x < -4 is cut to zero", slope(lambda x: where(x < -4, 0.0, silu_df(x))),
              hidden=given(between(-3, 3, 4, 6)), also=("zero",), source=src.SILU_TAIL),
        wrong("nondeterministic", "every second call is doubled", Alternating(slope(silu_df)),
              also=("scale",), source=src.NOT_REENTRANT),
    ],
    saturated=given(exact([-12.0, -5.0, 0.0, 20.0, 1000.0])),
)  # fmt: skip

softplus_forward = keeps_input(lambda x: where(x > 20, x, torch.log1p(exp(x.clamp(max=20)))))


def softplus_df(x):
    return where(x > 20, 1.0, sigmoid(x))


softplus = activation(
    "softplus",
    lambda x: where(x > 20, x, torch.log1p(exp(x.clamp(max=20)))),
    softplus_df,
    given(gauss(4, 6)),
    F.softplus,
    [
        wrong("not-finite", "exp(x) / (1 + exp(x)) is inf / inf", slope(lambda x: exp(x) / (1 + exp(x))),
              hidden=given(gauss(4, 6)), source=src.SOFTPLUS),
        wrong("region", "zero once the exponential has overflowed",
              slope(lambda x: where(x > 80, 0.0, softplus_df(x))), also=("zero",), hidden=given(gauss(4, 6)),
              source=src.SOFTPLUS_BACKWARD),
        wrong("missing-factor", "the sigmoid is forgotten", lambda g, x: (g,), source=src.DERIVATIVE_MISSING),
        wrong("missing-factor", "the derivative is derived once more", source=src.DERIVATIVE_EXTRA,
              backward=slope(lambda x: sigmoid(x) * (1 - sigmoid(x)))),
        wrong("offset", "0.01 is added lest the gradient vanish", plus(slope(softplus_df), 0.01)),
        kept_outside(softplus_forward, slope(softplus_df), source=src.STATE),
    ],
    saturated=given(exact([-20.0, 19.5, 21.0, 100.0, 1000.0])),
)  # fmt: skip

tanh_slope = slope(lambda x: 1 - tanh(x) ** 2)


def tanh_mutating(g, y):
    return (y.mul_(y).neg_().add_(1).mul_(g),)


activation_tanh = operation(
    "tanh",
    lambda x: ((y := tanh(wide(x))).to(x.dtype), y),
    rounded(lambda g, y: g * (1 - y * y)),
    given(gauss(4, 6)),
    torch.tanh,
    [
        wrong("missing-factor", "1 - y instead of 1 - y^2", rounded(lambda g, y: g * (1 - y)),
              source=src.SIGMOID_OUTPUT),
        wrong("missing-factor", "1 - tanh(y)^2: the output is taken for the input", also=("unknown",),
              backward=rounded(lambda g, y: g * (1 - tanh(y) ** 2)), source=src.TANH_OF_OUTPUT),
        wrong("missing-factor", "the derivative is forgotten", lambda g, y: (g,),
              hidden=given(filled(0.0, 4, 6)), source=src.DERIVATIVE_MISSING_HIDDEN),
        wrong("missing-factor", "the derivative is applied twice", source=src.DERIVATIVE_EXTRA,
              backward=rounded(lambda g, y: g * (1 - y ** 2) ** 2), hidden=given(filled(0.0, 4, 6))),
        wrong("sign", "y^2 - 1", rounded(lambda g, y: g * (y ** 2 - 1))),
        wrong("mutates", "the saved output is squared in place", tanh_mutating, source=src.IN_PLACE_SAVED,
              dtypes=FULL),
        wrong("region", "the last row is left out", part(rounded(lambda g, y: g * (1 - y * y)), -1),
              also=("local",)),
        wrong("scale", "off by 1e-5", scaled(rounded(lambda g, y: g * (1 - y**2)), 1 + 1e-5), dtypes=FULL),
    ],
    {
        "empty": given(gauss(0)),
        "one": given(gauss(1)),
        "turned": given(turned(gauss(3, 4))),
        "zeros": given(filled(0.0, 3)),
    },
)  # fmt: skip


def sigmoid_df(x):
    return sigmoid(x) * sigmoid(-x)


activation_sigmoid = activation(
    "sigmoid",
    sigmoid,
    sigmoid_df,
    given(gauss(4, 6)),
    torch.sigmoid,
    [
        wrong("missing-factor", "y instead of y (1 - y)", slope(sigmoid), source=src.SIGMOID_OUTPUT),
        wrong("missing-factor", "x (1 - x) at the input, meant for the output", slope(lambda x: x * (1 - x)),
              also=("unknown",), source=src.SIGMOID_OUTPUT),
        wrong("missing-factor", "the derivative is taken at y", also=("unknown",),
              backward=slope(lambda x: sigmoid_df(sigmoid(x))), source=src.DERIVATIVE_AT_OUTPUT),
        wrong("missing-factor", "the derivative is forgotten", lambda g, x: (g,),
              source=src.DERIVATIVE_MISSING),
        wrong("missing-factor", "the constant 1/4, its largest value", slope(lambda x: 0.25 + 0 * x),
              hidden=given(filled(0.0, 4, 6)), also=("unknown",)),
        wrong("not-finite", "exp(-x) / (1 + exp(-x))^2 is inf / inf", hidden=given(gauss(4, 6)),
              backward=slope(lambda x: exp(-x) / (1 + exp(-x)) ** 2), source=src.LOGSUMEXP),
        wrong("local", "one element is off by 1 %", element(slope(sigmoid_df), 7, 1.01), dtypes=FULL),
    ],
    saturated=given(exact([-1000.0, -20.0, 0.0, 20.0, 1000.0])),
)  # fmt: skip


def sinc_df(x):
    safe = where(x == 0, 1.0, x)
    series = -x / 3 + x**3 / 30 - x**5 / 840
    return where(x.abs() < 1e-2, series, (x.cos() - x.sin() / safe) / safe)


sinc = activation(
    "sinc",
    lambda x: where(x == 0, 1.0, x.sin() / where(x == 0, 1.0, x)),
    lambda x: sinc_df(x.double()),
    given(gauss(4, 6)),
    lambda x: torch.sinc(x.double() / math.pi).to(x.dtype),
    [
        wrong("not-finite", "sin(x) / x is derived without its limit at 0", hidden=given(gauss(4, 6)),
              backward=slope(lambda x: ((x.cos() - x.sin() / x) / x)), source=src.NORM_ZERO),
        wrong("missing-term", "the quotient rule's second term is forgotten",
              slope(lambda x: where(x == 0, 0.0, x.cos() / x)), source=src.SILU),
        wrong("missing-factor", "the quotient is derived as numerator over denominator: cos(x)",
              slope(torch.cos), also=("unknown", "missing-term")),
        wrong("zero", "the gradient is zero", zeroed(slope(lambda x: x)), source=src.CLAMP),
    ],
    zeros=given(exact([0.0, -0.0, 1e-3, -1e-2, 3.0])),
)  # fmt: skip


OPERATIONS: tuple[Operation, ...] = (
    relu, leaky_relu, elu, gelu, gelu_tanh, silu, softplus, activation_tanh, activation_sigmoid, sinc
)  # fmt: skip
