"""Audio and signals: mu-law, a leaky integrator, log frame energy, compressed spectra, shrinkage."""

import math

import torch

from torch_ext.corpus._entry import Mistake, Operation, normal, uniform

from ._util import leaf, up

# ---- mu-law companding ------------------------------------------------------------------------


def mu_forward(x, mu):
    v = up(x)
    y = v.sign() * torch.log1p(mu * v.abs()) / math.log1p(mu)
    return y.to(x.dtype), (x, mu)


def mu_backward(g, res):
    x, mu = res
    v = up(x)
    return (g * mu / (1 + mu * v.abs()) / math.log1p(mu)).to(x.dtype), None


def mu_no_abs(g, res):
    x, mu = res
    v = up(x)
    return (g * mu / (1 + mu * v) / math.log1p(mu)).to(x.dtype), None


def mu_reference(x, mu):
    up_ = torch.log1p(mu * x.clamp(min=0))
    down = torch.log1p(mu * (-x).clamp(min=0))
    return torch.where(x >= 0, up_, -down) / math.log1p(mu)


MU_LAW = Operation(
    name="mu_law",
    forward=mu_forward,
    backward=mu_backward,
    reference=mu_reference,
    inputs=lambda g, d: (uniform(g, d, 2, 40, low=-1, high=1), 255.0),
    further={
        "silence and clipping": lambda g, d: (
            leaf(torch.tensor([0.0, -0.0, 1.0, -1.0, 200.0, -200.0, 1e-4, -1e-4]), d),
            255.0,
        ),
        "stereo view": lambda g, d: (leaf(uniform(g, d, 9, 2, low=-1, grad=False).t()), 15.0),
        "empty": lambda g, d: (uniform(g, d, 0), 255.0),
    },
    mistakes=(
        Mistake(
            kind="region",
            what="1 + mu x instead of 1 + mu |x|: wrong for negative samples only",
            backward=mu_no_abs,
            argument="x",
            hidden=lambda g, d: (uniform(g, d, 40), 255.0),
        ),
    ),
)

# ---- leaky integrator y[t] = a y[t-1] + x[t] --------------------------------------------------


def leaky_forward(x, decay, start):
    y = torch.empty_like(x)
    state = start
    for t in range(x.shape[1]):
        state = decay * state + x[:, t]
        y[:, t] = state
    return y, (y.clone(), decay, start)


def _leaky_backward(g, res):
    y, decay, start = res
    grad_x = torch.empty_like(y)
    grad_decay = torch.zeros_like(decay)
    carry = torch.zeros_like(start)
    for t in reversed(range(y.shape[1])):
        carry = g[:, t] + decay * carry
        grad_x[:, t] = carry
        grad_decay += (carry * (y[:, t - 1] if t > 0 else start)).sum(0)
    return grad_x, grad_decay, carry


def leaky_backward(g, res):
    grad_x, grad_decay, carry = _leaky_backward(g, res)
    # state before the first step: one more decay (carry is 0 for an empty signal)
    return grad_x, grad_decay, res[1] * carry if res[0].shape[1] else carry


def leaky_start(g, res):
    return _leaky_backward(g, res)


def leaky_reference(x, decay, start):
    state, out = start, []
    for step in x.unbind(1):
        state = torch.addcmul(step, decay, state)
        out.append(state)
    return torch.stack(out, 1)


LEAKY = Operation(
    name="leaky_integrator",
    forward=leaky_forward,
    backward=leaky_backward,
    reference=leaky_reference,
    dtypes=("float64", "float32"),
    inputs=lambda g, d: (normal(g, d, 2, 7, 3), uniform(g, d, 3, low=0.3, high=0.95), normal(g, d, 2, 3)),
    further={
        "one step": lambda g, d: (normal(g, d, 1, 1, 1), uniform(g, d, 1), normal(g, d, 1, 1)),
        "no decay, signs": lambda g, d: (
            leaf(normal(g, d, 6, 2, 3, grad=False).transpose(0, 1)),
            leaf(torch.tensor([0.0, 1.0, -1.0]), d),
            leaf(torch.zeros(2, 3), d),
        ),
    },
    mistakes=(
        Mistake(
            kind="missing-factor",
            what="the start state's gradient lacks the first decay",
            backward=leaky_start,
            also=("scale",),
            argument="start",
        ),
    ),
)

# ---- log frame energy -------------------------------------------------------------------------


def energy_forward(x, frame, eps):
    n = x.shape[1] // frame
    v = up(x)[:, : n * frame].reshape(x.shape[0], n, frame)
    e = (v * v).mean(2) + eps
    return e.log().to(x.dtype), (x, e, frame)


def _energy_backward(g, res):
    x, e, frame = res
    v = up(x)
    grad = torch.zeros_like(v)
    whole = e.shape[1] * frame
    each = (up(g) / e).repeat_interleave(frame, 1)
    grad[:, :whole] = each * v[:, :whole] * (2 / frame)
    return grad


def energy_backward(g, res):
    return _energy_backward(g, res).to(res[0].dtype), None, None


def energy_float(g, res):
    return _energy_backward(g, res), None, None


def energy_sum(g, res):
    return (_energy_backward(g, res) * res[2]).to(res[0].dtype), None, None


def energy_reference(x, frame, eps):
    return (x.unfold(1, frame, frame).pow(2).mean(2) + eps).log()


ENERGY = Operation(
    name="log_frame_energy",
    forward=energy_forward,
    backward=energy_backward,
    reference=energy_reference,
    inputs=lambda g, d: (normal(g, d, 2, 23), 5, 1e-3),
    further={
        "silence": lambda g, d: (leaf(torch.zeros(2, 8), d), 4, 1e-3),
        "loud": lambda g, d: (leaf(100 * normal(g, d, 1, 12, grad=False)), 3, 1e-3),
        "frames of one, view": lambda g, d: (leaf(normal(g, d, 6, 3, grad=False).t()), 1, 1e-2),
    },
    mistakes=(
        Mistake(
            kind="dtype",
            what="worked on in float32 and returned so",
            backward=energy_float,
            argument="x",
            dtypes=("bfloat16", "float16"),
        ),
        Mistake(
            kind="scale",
            what="the mean over the frame is taken for a sum",
            backward=energy_sum,
            argument="x",
            hidden=lambda g, d: (normal(g, d, 2, 6), 1, 1e-3),
        ),
    ),
)

# ---- compressed spectrum (|z|^2 + eps)^(p/2) --------------------------------------------------

FLOOR = 1e-6


def spectrum_forward(z, power):
    m = z.real**2 + z.imag**2 + FLOOR
    return m ** (power / 2), (z, m, power)


def spectrum_backward(g, res):
    z, m, power = res
    return g * power * m ** (power / 2 - 1) * z, None


def spectrum_conj(g, res):
    z, m, power = res
    return g * power * m ** (power / 2 - 1) * z.conj(), None


def _complex(g, d, *shape):
    return torch.complex(normal(g, d, *shape, grad=False), normal(g, d, *shape, grad=False))


SPECTRUM = Operation(
    name="compressed_spectrum",
    forward=spectrum_forward,
    backward=spectrum_backward,
    reference=lambda z, power: (torch.view_as_real(z).pow(2).sum(-1) + FLOOR) ** (power / 2),
    dtypes=("float64", "float32"),
    inputs=lambda g, d: (leaf(_complex(g, d, 5, 4)), 0.6),
    further={
        "silent bins": lambda g, d: (
            leaf(_complex(g, d, 3, 4) * torch.tensor([0.0, 1.0, 0.0, 1e-4], dtype=d)),
            0.6,
        ),
        "transposed, square": lambda g, d: (leaf(_complex(g, d, 3, 4).t()), 2.0),
        "loud": lambda g, d: (leaf(1e6 * _complex(g, d, 6)), 0.3),
    },
    mistakes=(
        Mistake(
            kind="unknown",
            what="the conjugate: the imaginary part has the wrong sign",
            backward=spectrum_conj,
            also=("sign", "region"),
            argument="z",
            hidden=lambda g, d: (
                leaf(torch.complex(normal(g, d, 5, grad=False), torch.zeros(5, dtype=d))),
                0.6,
            ),
        ),
    ),
)

# ---- wavelet shrinkage with a threshold for each band -----------------------------------------


def shrink_forward(coef, threshold):
    c, t = up(coef), up(threshold)
    kept = (c.abs() - t).clamp(min=0).mul_(c.sign())
    return kept.to(coef.dtype), (coef, threshold)


def shrink_backward(g, res):
    coef, threshold = res
    c, t = up(coef), up(threshold)
    s = c.sign()
    live = up(g) * (c.abs() > t)
    grad_t = -(live * s).sum((0, 2)).unsqueeze(1)
    return (live * s * s).to(coef.dtype), grad_t.to(threshold.dtype)


def shrink_none(g, res):
    return shrink_backward(g, res)[0], None


def shrink_flat(g, res):
    grad, grad_t = shrink_backward(g, res)
    return grad, grad_t.squeeze(1)


SHRINK = Operation(
    name="wavelet_shrink",
    forward=shrink_forward,
    backward=shrink_backward,
    reference=lambda coef, threshold: coef.sign() * torch.relu(coef.abs() - threshold),
    inputs=lambda g, d: (normal(g, d, 2, 3, 6), uniform(g, d, 3, 1, low=0.2, high=1.0)),
    further={
        "at the threshold": lambda g, d: (
            leaf(torch.tensor([[[0.5, -0.5, 0.0, 1.0, -1.0]]]).expand(2, 1, 5), d),
            leaf(torch.tensor([[0.5]]), d),
        ),
        "no threshold, one": lambda g, d: (normal(g, d, 1, 1, 1), leaf(torch.zeros(1, 1), d)),
        "empty": lambda g, d: (normal(g, d, 2, 3, 0), uniform(g, d, 3, 1)),
    },
    mistakes=(
        Mistake(
            kind="zero",
            what="the learnable threshold gets no gradient",
            backward=shrink_none,
            argument="threshold",
            hidden=lambda g, d: (uniform(g, d, 2, 3, 4, high=0.1), leaf(torch.full((3, 1), 0.5), d)),
        ),
        Mistake(
            kind="shape",
            what="the threshold's gradient lost its trailing axis",
            backward=shrink_flat,
            argument="threshold",
        ),
    ),
)

OPERATIONS = (MU_LAW, LEAKY, ENERGY, SPECTRUM, SHRINK)
