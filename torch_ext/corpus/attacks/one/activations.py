"""Activations and gates."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from torch_ext.corpus._entry import Mistake, Operation, normal, uniform

from ._tools import as_if_contiguous, edit, leaf, up

# ---------------------------------------------------------------- Mish


def mish(x):
    return F.mish(up(x)).to(x.dtype)


def mish_forward(x):
    v = up(x)
    return (v * torch.tanh(F.softplus(v))).to(x.dtype), x


def mish_backward(g, x):
    v = up(x)
    t = torch.tanh(F.softplus(v))
    return (up(g) * (t + v * torch.sigmoid(v) * (1 - t * t))).to(x.dtype)


def _mish_no_sigmoid(g, x):
    v = up(x)
    t = torch.tanh(F.softplus(v))
    return (up(g) * (t + v * (1 - t * t))).to(x.dtype)


def _mish_first(g, x):
    return (up(g) * torch.tanh(F.softplus(up(x)))).to(x.dtype)


def _mish_closed_form(g, x):
    """The published closed form, with powers of e^x: inf/inf for large x."""
    v = up(x)
    e = v.exp()
    omega = 4 * (v + 1) + 4 * e**2 + e**3 + e * (4 * v + 6)
    delta = 2 * e + e**2 + 2
    return (up(g) * e * omega / delta**2).to(x.dtype)


def _mish_half(g, x):
    """All in the input's own dtype: e^x overflows in float16 above 11."""
    t = torch.tanh(F.softplus(up(x))).to(x.dtype)
    e = x.detach().exp()
    return g * (t + x.detach() * (e / (1 + e)) * (1 - t * t))


def _mish_linear(g, x):
    return torch.where(x > 5, g, mish_backward(g, x))


def _mish_abs(g, x):
    v = up(x)
    t = torch.tanh(F.softplus(v))
    return (up(g) * (t + v.abs() * torch.sigmoid(v) * (1 - t * t))).to(x.dtype)


def mish_inputs(g, dtype):
    return (uniform(g, dtype, 3, 5, low=-3, high=3),)


MISH = Operation(
    "mish",
    mish_forward,
    mish_backward,
    mish_inputs,
    mish,
    mistakes=(
        Mistake(
            "missing-factor",
            "the derivative of softplus, sigmoid(x), is forgotten",
            _mish_no_sigmoid,
            also=("missing-term",),
        ),
        Mistake(
            "missing-term",
            "the product rule's second term is forgotten",
            _mish_first,
            also=("missing-factor",),
        ),
        Mistake(
            "not-finite",
            "the published closed form overflows for large x",
            _mish_closed_form,
            hidden=mish_inputs,
            source="https://github.com/AlexeyAB/darknet/issues/5452",
        ),
        Mistake(
            "not-finite",
            "e^x in float16 overflows above 11",
            _mish_half,
            hidden=mish_inputs,
            dtypes=("float16",),
            source="https://github.com/sbryngelson/ANEForge/issues/113",
        ),
        Mistake(
            "region",
            "taken as linear above 5, a threshold too low",
            _mish_linear,
            also=("missing-factor", "missing-term", "local"),
            hidden=mish_inputs,
        ),
        Mistake(
            "region",
            "|x| for x in the second term: wrong for x < 0",
            _mish_abs,
            also=("missing-factor", "missing-term"),
        ),
        Mistake(
            "dtype",
            "computed in float32 and not cast back",
            lambda g, x: mish_backward(up(g), up(x)),
            dtypes=("float16", "bfloat16"),
        ),
    ),
    further={
        "zero": lambda g, d: (leaf(torch.zeros(4, dtype=d)),),
        "saturated": lambda g, d: (
            leaf(torch.tensor([-40.0, -20.0, -1.192, 6.0, 20.0, 60.0, 200.0, 800.0], dtype=d)),
        ),
        "scalar": lambda g, d: (normal(g, d),),
        "empty": lambda g, d: (normal(g, d, 0, 3),),
        "strided": lambda g, d: (leaf(normal(g, d, 6, 4)[::2, 1:]),),
    },
)

# ---------------------------------------------------------------- PReLU, one slope for each channel


def prelu(x, a):
    return F.prelu(x, a)


def prelu_forward(x, a):
    return torch.where(x > 0, x, a[:, None] * x), (x, a)


def _prelu_forward_in_place(x, a):
    """Saves memory by scaling the negative part of x itself."""
    y = x.detach()
    y.mul_(torch.where(y > 0, torch.ones_like(y), a.detach()[:, None].expand_as(y)))
    return y.clone(), (x, a)


def prelu_backward(g, res, *, leak=True, axes=(0, 2), factor=True, raw=False, asign=1.0):
    x, a = res
    h = as_if_contiguous(g) if raw else g
    dx = torch.where(x > 0, h, a[:, None] * h if leak else torch.zeros_like(h))
    below = torch.where(x > 0, torch.zeros_like(x), x if factor else torch.ones_like(x))
    da = (up(h) * up(below)).sum(axes)
    return dx.to(x.dtype), (asign * da).to(a.dtype)


def _pr(**k):
    return lambda g, res: prelu_backward(g, res, **k)


def prelu_inputs(g, dtype):
    return normal(g, dtype, 3, 4, 4), uniform(g, dtype, 4, low=0.1, high=0.5)


def prelu_positive(g, dtype):
    return uniform(g, dtype, 3, 4, 4, low=0.5, high=2), uniform(g, dtype, 4, low=0.1, high=0.5)


PRELU = Operation(
    "prelu_per_channel",
    prelu_forward,
    prelu_backward,
    prelu_inputs,
    prelu,
    mistakes=(
        Mistake(
            "region",
            "no leak in the backward pass: a rectifier's gradient for x < 0",
            _pr(leak=False),
            also=("zero", "missing-factor"),
            argument="x",
            hidden=prelu_positive,
        ),
        Mistake(
            "missing-sum",
            "slopes' gradient summed over channels for positions (same size here)",
            _pr(axes=(0, 1)),
            also=("permuted", "shape"),
            argument="a",
        ),
        Mistake(
            "zero",
            "the slopes are taken for constants",
            edit(prelu_backward, 1, lambda d, g, r: torch.zeros_like(d)),
            argument="a",
            hidden=prelu_positive,
        ),
        Mistake(
            "missing-factor",
            "slopes' gradient lacks x",
            _pr(factor=False),
            argument="a",
            hidden=prelu_positive,
        ),
        Mistake(
            "permuted",
            "reads the incoming gradient's memory as if it were contiguous",
            _pr(raw=True),
            also=("local", "missing-factor"),
            source="https://github.com/Dao-AILab/flash-attention/issues/355",
        ),
        Mistake(
            "mutates",
            "the forward pass scales the negative part of x in place",
            None,
            _prelu_forward_in_place,
            also=("forward", "region"),
            argument="x",
        ),
        Mistake("sign", "slopes' gradient for |x|", _pr(asign=-1.0), argument="a", hidden=prelu_positive),
    ),
    further={
        "zeros": lambda g, d: (leaf(torch.zeros(2, 3, 2, dtype=d)), uniform(g, d, 3)),
        "kinks": lambda g, d: (
            leaf(normal(g, d, 2, 3, 4).clamp_min(0)),
            leaf(torch.tensor([0.0, 1.0, -0.5], dtype=d)),
        ),
        "one": lambda g, d: (normal(g, d, 1, 1, 1), uniform(g, d, 1)),
        "empty": lambda g, d: (normal(g, d, 0, 3, 2), uniform(g, d, 3)),
        "channels_last": lambda g, d: (leaf(normal(g, d, 2, 4, 3).transpose(1, 2)), uniform(g, d, 3)),
    },
)

# ---------------------------------------------------------------- quantisation with a learnt step
LOW, HIGH = -8.0, 7.0


def quantise(x, step):
    v = up(x) / up(step)
    c = torch.where(v < LOW, LOW, torch.where(v > HIGH, HIGH, v))
    return ((c + (torch.round(c) - c).detach()) * up(step)).to(x.dtype)


def quantise_forward(x, step):
    return (torch.round(up(x) / up(step)).clamp(LOW, HIGH) * up(step)).to(x.dtype), (x, step)


def quantise_backward(g, res, *, mask="closed", divide=False, through=True, ssign=1.0, summed=True):
    x, step = res
    v = up(x) / up(step)
    if mask == "closed":
        inside = (v >= LOW) & (v <= HIGH)
    elif mask == "open":
        inside = (v > LOW) & (v < HIGH)
    else:
        inside = torch.ones_like(v, dtype=torch.bool)
    dx = up(g) * inside
    if divide:
        dx = dx / up(step)
    ds = torch.round(v).clamp(LOW, HIGH) - (v * ((v >= LOW) & (v <= HIGH)) if through else 0)
    ds = ssign * up(g) * ds
    return dx.to(x.dtype), (ds.sum() if summed else ds).to(step.dtype)


def _qu(**k):
    return lambda g, res: quantise_backward(g, res, **k)


def quantise_inputs(g, dtype):
    x = uniform(g, dtype, 4, 5, low=-3.5, high=3.5)
    with torch.no_grad():
        x[0, 0], x[1, 2] = -2.0, 1.75  # the very ends of the range
    return x, torch.tensor(0.25, dtype=dtype).requires_grad_()


def quantise_small(g, dtype):
    return uniform(g, dtype, 4, 5, low=-1.6, high=1.6), torch.tensor(0.25, dtype=dtype).requires_grad_()


QUANTISE = Operation(
    "quantise_learnt_step",
    quantise_forward,
    quantise_backward,
    quantise_inputs,
    quantise,
    convention=True,
    mistakes=(
        Mistake(
            "region",
            "clamped inputs get a gradient, too",
            _qu(mask="none"),
            also=("missing-factor", "local"),
            argument="x",
            hidden=quantise_small,
            source="https://github.com/microsoft/nni/pull/3160",
        ),
        Mistake(
            "local",
            "the ends of the range count as clamped",
            _qu(mask="open"),
            also=("region", "zero"),
            argument="x",
            hidden=quantise_small,
            source="https://github.com/pytorch/ao/pull/4806",
        ),
        Mistake(
            "scale",
            "divided by the step (multiplying by it again is forgotten)",
            _qu(divide=True),
            argument="x",
        ),
        Mistake(
            "zero",
            "the true derivative of rounding",
            edit(quantise_backward, 0, lambda d, g, r: torch.zeros_like(d)),
            argument="x",
            source="https://github.com/Oneflow-Inc/oneflow/issues/8649",
        ),
        Mistake(
            "missing-term",
            "the step's gradient lacks the part through x / step",
            _qu(through=False),
            argument="step",
        ),
        Mistake("sign", "the step's gradient has the opposite sign", _qu(ssign=-1.0), argument="step"),
        Mistake(
            "missing-sum",
            "the step's gradient is not summed",
            _qu(summed=False),
            also=("shape",),
            argument="step",
        ),
    ),
    further={
        "small": quantise_small,
        "ties": lambda g, d: (
            leaf((torch.arange(-6, 6) + 0.5).to(d) * 0.25),
            torch.tensor(0.25, dtype=d).requires_grad_(),
        ),
        "all_clamped": lambda g, d: (
            leaf(torch.tensor([-100.0, 100.0, 40.0], dtype=d)),
            torch.tensor(0.5, dtype=d).requires_grad_(),
        ),
        "empty": lambda g, d: (normal(g, d, 0), torch.tensor(0.5, dtype=d).requires_grad_()),
        "transposed": lambda g, d: (
            leaf(normal(g, d, 4, 3).t()),
            torch.tensor(0.25, dtype=d).requires_grad_(),
        ),
    },
)

# ---------------------------------------------------------------- maxout
PIECES = 3


def maxout(x):
    return x.reshape(x.shape[0], x.shape[1] // PIECES, PIECES).max(-1).values


def maxout_forward(x, *, layout="units"):
    n, m = x.shape[0], x.shape[1] // PIECES
    v = (
        x.detach().reshape(n, m, PIECES)
        if layout == "units"
        else x.detach().reshape(n, PIECES, m).transpose(1, 2)
    )
    v, i = v.max(-1)
    return v, (x.detach().clone(), i)


_DIRT = torch.Generator().manual_seed(1)


def maxout_backward(
    g, res, *, layout="units", clamp=False, everywhere=False, factor=1.0, reuse=False, garbage=False
):
    x, i = res
    n, m = i.shape
    if clamp:
        i = i.clamp_max(PIECES - 2)
    d = torch.zeros(n, m, PIECES, dtype=g.dtype)
    if reuse:
        d = x.zero_().reshape(n, m, PIECES)
    if garbage:  # stands in for memory that was never initialised
        d = torch.randn(n, m, PIECES, dtype=torch.float64, generator=_DIRT).to(g.dtype) * 1e-3
    d = d.scatter(-1, i[..., None], factor * g[..., None])
    if everywhere:
        d = g[..., None].expand(n, m, PIECES)
    if layout == "pieces":
        d = d.transpose(1, 2)
    return d.reshape(n, m * PIECES)


def _mx(**k):
    return lambda g, res: maxout_backward(g, res, **k)


def maxout_inputs(g, dtype):
    return (leaf(torch.stack([torch.randperm(12, generator=g) for _ in range(4)]).to(dtype) / 4 - 1.5),)


MAXOUT = Operation(
    "maxout",
    maxout_forward,
    maxout_backward,
    maxout_inputs,
    maxout,
    mistakes=(
        Mistake("permuted", "pieces and units exchanged when flattening", _mx(layout="pieces")),
        Mistake(
            "permuted", "the winner's index is clamped one too low", _mx(clamp=True), also=("local", "region")
        ),
        Mistake(
            "missing-factor", "every piece gets the gradient: no mask", _mx(everywhere=True), also=("region",)
        ),
        Mistake("scale", "divided by the number of pieces, as a mean's", _mx(factor=1 / PIECES)),
        Mistake("mutates", "the saved input's memory is used for the gradient", _mx(reuse=True)),
        Mistake(
            "forward",
            "pieces and units exchanged in both passes",
            _mx(layout="pieces"),
            lambda x: maxout_forward(x, layout="pieces"),
        ),
        Mistake("nondeterministic", "scattered into memory that was never set to zero", _mx(garbage=True)),
    ),
    further={
        "ties": lambda g, d: (leaf(torch.zeros(2, 6, dtype=d)),),
        "some_ties": lambda g, d: (leaf(torch.tensor([[1.0, 1.0, 0.0, -1.0, 2.0, 2.0]], dtype=d)),),
        "one_unit": lambda g, d: (leaf(torch.tensor([[0.5, -0.5, 2.0]], dtype=d)),),
        "empty": lambda g, d: (normal(g, d, 0, 6),),
        "transposed": lambda g, d: (leaf(normal(g, d, 6, 3).t()),),
    },
)

# ---------------------------------------------------------------- complex gate: magnitude and product


def complex_gate(z, w):
    return z.abs(), z * w


def complex_gate_forward(z, w):
    return (z.abs(), z * w), (z, w)


def complex_gate_backward(
    g, res, *, one_number=False, magnitude=True, guard=True, summed=True, factor=1.0, wconj=True
):
    z, w = res
    ga, gp = g
    if one_number and 0 in gp.stride() and gp.numel() > 0:
        gp = gp.flatten()[0].expand_as(gp)
    r = z.abs()
    unit = (
        torch.where(r == 0, torch.zeros_like(z), z / torch.where(r == 0, torch.ones_like(r), r))
        if guard
        else z / r
    )
    dz = gp * w.conj()
    if magnitude:
        dz = dz + ga * unit
    dw = gp * (z.conj() if wconj else z)
    return factor * dz, dw.sum_to_size(w.shape) if summed else dw


def _cx(**k):
    return lambda g, res: complex_gate_backward(g, res, **k)


COMPLEX = {torch.float64: torch.complex128, torch.float32: torch.complex64}


def _c(g, dtype, *shape):
    return torch.complex(
        normal(g, dtype, *shape, grad=False), normal(g, dtype, *shape, grad=False)
    ).requires_grad_()


def complex_inputs(g, dtype):
    return _c(g, dtype, 4, 3), _c(g, dtype, 3)


COMPLEX_GATE = Operation(
    "complex_gate",
    complex_gate_forward,
    complex_gate_backward,
    complex_inputs,
    complex_gate,
    dtypes=("float64", "float32"),
    mistakes=(
        Mistake("missing-term", "the magnitude's gradient is dropped", _cx(magnitude=False), argument="z"),
        Mistake("not-finite", "z / |z| at zero", _cx(guard=False), argument="z", hidden=complex_inputs),
        Mistake(
            "missing-sum",
            "w's gradient is not summed over the batch",
            _cx(summed=False),
            also=("shape",),
            argument="w",
        ),
        Mistake(
            "scale",
            "twice the gradient: derivative by the conjugate times two",
            _cx(factor=2.0),
            argument="z",
        ),
        Mistake(
            "dtype",
            "only the real part is returned",
            edit(complex_gate_backward, 0, lambda d, g, r: d.real.clone()),
            also=("zero", "missing-term"),
            argument="z",
        ),
        Mistake(
            "missing-factor",
            "an expanded incoming gradient (a stride of zero) is taken for one number",
            _cx(one_number=True),
            also=("permuted", "scale", "local", "region"),
            source="https://github.com/ROCm/TransformerEngine/pull/623",
        ),
        Mistake(
            "sign",
            "z is not conjugated in w's gradient: its imaginary part has the wrong sign",
            _cx(wconj=False),
            also=("missing-factor", "missing-term"),
            argument="w",
            source="https://github.com/tensorflow/tensorflow/issues/4859",
        ),
    ),
    further={
        "zeros": lambda g, d: (leaf(torch.zeros(3, 2, dtype=COMPLEX[d])), _c(g, d, 2)),
        "real_valued": lambda g, d: (
            leaf(uniform(g, d, 3, 2, low=0.5).to(COMPLEX[d])),
            leaf(normal(g, d, 2).to(COMPLEX[d])),
        ),
        "scalar_gate": lambda g, d: (_c(g, d, 3, 2), _c(g, d)),
        "empty": lambda g, d: (_c(g, d, 0, 2), _c(g, d, 2)),
        "transposed": lambda g, d: (leaf(_c(g, d, 2, 3).t()), _c(g, d, 3, 2)),
    },
)

OPERATIONS = (MISH, PRELU, QUANTISE, MAXOUT, COMPLEX_GATE)
