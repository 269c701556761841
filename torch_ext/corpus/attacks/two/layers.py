"""Conditioning, normalisation and activations."""

import torch

from ._tools import LOW, Operation, bwd, fwd, leaf, mistakes, normal, reference, sum_to, uniform

# ---- FiLM: (1 + gamma) x + beta, gamma and beta (N, C) or (1, C)


@fwd
def _film_forward(x, gamma, beta):
    y = x * gamma.unsqueeze(-1)
    y += x
    y += beta.unsqueeze(-1)
    return y, (x, gamma, beta.shape)


@bwd
def _film_backward(g, res, wrong=""):
    x, gamma, shape = res
    factor = gamma[..., None] + (0 if wrong == "one" else 1)
    if wrong == "inplace":
        dbeta = sum_to(g.sum(-1), shape)
        dgamma = sum_to((g * x).sum(-1), gamma.shape)
        return g.mul_(factor), dgamma, dbeta
    dx = g * factor
    if wrong == "axes":
        return dx, torch.einsum("ncl,ncl->cn", g, x), sum_to(g.sum(-1), shape)
    dgamma, dbeta = g * x, g.sum(-1)
    if wrong == "mean":
        dbeta = g.mean(-1)
    dgamma = (
        sum_to(dgamma if wrong == "unsummed" else dgamma.sum(-1), gamma.shape)
        if wrong != "unsummed"
        else dgamma
    )
    dbeta = sum_to(dbeta, shape)
    if wrong == "double":
        dgamma = dgamma.double()
    if wrong == "swap":
        dgamma, dbeta = dbeta, dgamma
    return dx, dgamma, dbeta


def _film_inputs(g, dtype):
    return normal(g, dtype, 3, 3, 4), normal(g, dtype, 3, 3), normal(g, dtype, 3, 3)


FILM = Operation(
    "film",
    _film_forward,
    _film_backward,
    _film_inputs,
    reference(lambda x, gamma, beta: (1 + gamma)[..., None] * x + beta[..., None]),
    mistakes(
        _film_backward,
        (
            "missing-term",
            "one",
            "the 1 of 1 + gamma is left out: the residual path is lost",
            {"argument": "x", "also": ("missing-factor",)},
        ),
        (
            "transpose",
            "axes",
            "einsum returns (C, N) where (N, C) is asked, and N is C",
            {"argument": "gamma"},
        ),
        (
            "missing-sum",
            "unsummed",
            "the scale's gradient is not summed over positions",
            {"argument": "gamma", "also": ("shape",)},
        ),
        (
            "scale",
            "mean",
            "averaged over positions, not summed",
            {"argument": "beta", "also": ("missing-sum",)},
        ),
        ("mutates", "inplace", "the incoming gradient is multiplied in place", {}),
        (
            "dtype",
            "double",
            "accumulated in float64 and never cast back",
            {"argument": "gamma", "dtypes": ("float32",)},
        ),
        (
            "permuted",
            "swap",
            "the gradients of scale and shift are exchanged",
            {
                "hidden": lambda g, t: (
                    leaf(torch.ones(3, 3, 4, dtype=t)),
                    normal(g, t, 3, 3),
                    normal(g, t, 3, 3),
                )
            },
        ),
    ),
    {
        "shared": lambda g, t: (normal(g, t, 3, 2, 4), normal(g, t, 1, 2), normal(g, t, 1, 2)),
        "no_positions": lambda g, t: (normal(g, t, 2, 3, 0), normal(g, t, 2, 3), normal(g, t, 2, 3)),
        "one": lambda g, t: (normal(g, t, 1, 1, 1), normal(g, t, 1, 1), normal(g, t, 1, 1)),
        "view": lambda g, t: (
            leaf(normal(g, t, 4, 2, 3, grad=False).permute(1, 2, 0)),
            normal(g, t, 2, 3),
            leaf(normal(g, t, 3, 2, grad=False).t()),
        ),
    },
    LOW,
)

# ---- adaptive instance normalisation: content (N, C, L), style (N, C, M)

EPS = 1e-5


def _moments(x):
    mean = x.mean(-1, keepdim=True)
    return mean, (x.var(-1, unbiased=False, keepdim=True) + EPS).sqrt()


@fwd
def _adain_forward(content, style):
    mc, sc = _moments(content)
    ms, ss = _moments(style)
    n = (content - mc) / sc
    return torch.addcmul(ms, ss, n), (n, sc, style - ms, ss)


@bwd
def _adain_backward(g, res, wrong=""):
    n, sc, off, ss = res
    if wrong == "eps":
        sc = (sc**2 - EPS).sqrt()
    dn = g * ss
    dc = (dn - dn.mean(-1, keepdim=True) - n * (dn * n).mean(-1, keepdim=True)) / sc
    if wrong == "variance":
        dc = (dn - dn.mean(-1, keepdim=True)) / sc
    if wrong == "factor":
        dc = (g - g.mean(-1, keepdim=True) - n * (g * n).mean(-1, keepdim=True)) / sc
    m = n.shape[-1] if wrong == "length" else off.shape[-1]
    dmean, dstd = g.sum(-1, keepdim=True), (g * n).sum(-1, keepdim=True)
    ds = (dmean + dstd * off / ss) / m
    if wrong == "std":
        ds = (dmean / m).expand_as(off)
    if wrong == "style":
        ds = torch.zeros_like(off)
    return dc, ds


def _adain(n, c, length, m):
    return lambda g, t: (normal(g, t, n, c, length), normal(g, t, n, c, m))


def _adain_flat(g, dtype):  # a style without variation
    return normal(g, dtype, 2, 3, 5), leaf(normal(g, dtype, 2, 3, 1, grad=False).expand(2, 3, 4).contiguous())


def _adain_unit(g, dtype):  # a style of spread one: +-sqrt(1 - eps) about its mean
    s = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64) * (1 - EPS) ** 0.5
    mean = torch.randn(2, 3, 1, generator=g, dtype=torch.float64)
    return normal(g, dtype, 2, 3, 5), leaf((s + mean).to(dtype))


def _adain_reference(content, style):
    var_c, mc = torch.var_mean(content, -1, correction=0, keepdim=True)
    var_s, ms = torch.var_mean(style, -1, correction=0, keepdim=True)
    return (var_s + EPS).sqrt() * (content - mc) / (var_c + EPS).sqrt() + ms


ADAIN = Operation(
    "adain",
    _adain_forward,
    _adain_backward,
    _adain(2, 3, 5, 4),
    _adain_reference,
    mistakes(
        _adain_backward,
        (
            "missing-term",
            "variance",
            "the variance's part of the content gradient is left out",
            {"argument": "content"},
        ),
        (
            "missing-term",
            "std",
            "the style's spread is taken as a constant",
            {"argument": "style", "hidden": _adain_flat},
        ),
        (
            "scale",
            "length",
            "divided by the content's length, not by the style's",
            {"argument": "style", "also": ("missing-factor",)},
        ),
        ("zero", "style", "the style statistics are detached", {"argument": "style"}),
        (
            "missing-factor",
            "factor",
            "the style's spread is not multiplied in",
            {"argument": "content", "hidden": _adain_unit},
        ),
        (
            "missing-factor",
            "eps",
            "the epsilon is left out of the divisor: a relative 1e-5",
            {"argument": "content", "also": ("scale", "not-finite")},
        ),
    ),
    {
        "flat_style": _adain_flat,
        "unit": _adain_unit,
        "one": _adain(1, 1, 3, 2),
        "long": _adain(1, 2, 9, 2),
        "view": lambda g, t: (
            leaf(normal(g, t, 5, 2, 3, grad=False).permute(1, 2, 0)),
            normal(g, t, 2, 3, 5),
        ),
    },
    ("float64",),
)

# ---- softplus with a learnt sharpness: log(1 + exp(beta x)) / beta


@fwd
def _softplus_forward(x, beta):
    u = beta * x
    return (u.clamp(min=0) + torch.log1p(torch.exp(-u.abs()))) / beta, (x, beta)


@bwd
def _softplus_backward(g, res, wrong=""):
    x, beta = res
    u = beta * x
    small = torch.exp(-u.abs())
    entropy = torch.log1p(small) + u.abs() * small / (1 + small)
    s = torch.sigmoid(u)
    if wrong == "naive":
        s = u.exp() / (1 + u.exp())
    if wrong == "threshold":
        s = torch.where(u > 4, 1.0, s)
    dx = g * s
    if wrong == "beta":
        dx = dx * beta
    db = -g * entropy / beta**2
    if wrong == "term":
        db = g * x * s / beta
    if wrong == "first":
        db = db.reshape(-1)[:1]
        return dx, db.sum()
    return dx, db if wrong == "unsummed" else db.sum()


def _softplus_inputs(g, dtype):
    return leaf(3 * normal(g, dtype, 4, 5, grad=False)), uniform(g, dtype, low=0.5, high=2.0)


def _softplus_small(g, dtype):
    return uniform(g, dtype, 4, 5, low=-2.0, high=1.5), uniform(g, dtype, low=0.5, high=2.0)


def _softplus_ends(g, dtype):
    x = torch.tensor([-5000.0, -300.0, -1.0, 0.0, 1.0, 300.0, 5000.0], dtype=dtype)
    return leaf(x), uniform(g, dtype, low=0.5, high=2.0)


def _softplus_reference(x, beta):  # without cancellation in beta's gradient
    u = beta * x
    above = x + torch.log1p(torch.exp(-u.clamp(min=0))) / beta
    return torch.where(u > 0, above, torch.log1p(torch.exp(u.clamp(max=0))) / beta)


SOFTPLUS = Operation(
    "softplus_learnt",
    _softplus_forward,
    _softplus_backward,
    _softplus_inputs,
    reference(_softplus_reference),
    mistakes(
        _softplus_backward,
        (
            "scale",
            "beta",
            "beta from the chain rule, without the 1 / beta it cancels with",
            {
                "argument": "x",
                "hidden": lambda g, t: (normal(g, t, 4, 5), leaf(torch.ones((), dtype=t))),
                "also": ("missing-factor",),
            },
        ),
        (
            "missing-sum",
            "unsummed",
            "the sharpness's gradient is not summed",
            {"argument": "beta", "also": ("shape",)},
        ),
        (
            "missing-term",
            "term",
            "one summand of the product rule, -y / beta, is left out",
            {"argument": "beta", "also": ("sign", "scale")},
        ),
        (
            "not-finite",
            "naive",
            "exp(u) / (1 + exp(u)) overflows",
            {"argument": "x", "hidden": _softplus_small, "also": ("region", "local")},
        ),
        (
            "region",
            "threshold",
            "taken as linear above 4, where it is not yet",
            {"argument": "x", "hidden": _softplus_small, "also": ("local",)},
        ),
        (
            "missing-sum",
            "first",
            "the first element's share alone",
            {"argument": "beta", "also": ("missing-term", "scale")},
        ),
    ),
    {
        "small": _softplus_small,
        "ends": _softplus_ends,
        "zeros": lambda g, t: (leaf(torch.zeros(3, dtype=t)), leaf(torch.ones((), dtype=t))),
        "empty": lambda g, t: (normal(g, t, 0), leaf(torch.ones((), dtype=t))),
        "view": lambda g, t: (
            leaf(normal(g, t, 5, 6, grad=False)[::2, ::3]),
            uniform(g, t, low=0.5, high=2.0),
        ),
    },
    LOW,
)

# ---- hard tanh with learnt bounds (C,)


@fwd
def _bounds_forward(x, low, high):
    y = torch.where(x < low, low, x)
    over = y > high
    return torch.where(over, high, y), (x, low, high, over, (x < low) & ~over)


@bwd
def _bounds_backward(g, res, wrong=""):
    x, low, high, over, under = res
    inside = ~(over | under)
    if wrong == "upper":
        inside = ~under
    if wrong == "strict":
        inside = (x > low) & (x < high)
    dx, dlow, dhigh = g * inside, g * under, g * over
    if wrong == "assigned":
        kept = torch.zeros_like(low)
        for i, c in under.nonzero().tolist():
            kept[c] = g[i, c]
        return dx, kept, dhigh.sum(0)
    if wrong == "sign":
        dhigh = -dhigh
    if wrong == "mean":
        return dx, dlow.mean(0), dhigh.sum(0)
    if wrong == "none":
        return dx, None, dhigh.sum(0)
    if wrong == "keepdim":
        return dx, dlow.sum(0, keepdim=True), dhigh.sum(0)
    return dx, dlow.sum(0), dhigh.sum(0)


def _bounds_of(x, dtype, c):
    return (
        leaf(x),
        leaf(torch.linspace(-1.0, -0.5, c).to(dtype)),
        leaf(torch.linspace(0.5, 0.75, c).to(dtype)),
    )


def _bounds_inputs(g, dtype):
    return _bounds_of(2 * normal(g, dtype, 6, 3, grad=False), dtype, 3)


def _bounds_below(g, dtype):
    return _bounds_of(uniform(g, dtype, 6, 3, low=-2.0, high=0.4, grad=False), dtype, 3)


def _bounds_once(g, dtype):  # at most one row below the bound in each column
    x = uniform(g, dtype, 6, 3, low=-0.4, high=2.0, grad=False)
    x[torch.tensor([1, 4, 2]), torch.arange(3)] = -2.0
    return _bounds_of(x, dtype, 3)


def _bounds_kinks(g, dtype):
    x = torch.tensor([[-1.0, 0.5], [0.5, -0.5], [-1.0, 0.75], [0.0, 0.75]], dtype=dtype)
    return (
        leaf(x),
        leaf(torch.tensor([-1.0, -0.5], dtype=dtype)),
        leaf(torch.tensor([0.5, 0.75], dtype=dtype)),
    )


def _bounds_reference(x, low, high):
    y = torch.where(x < low, low, x)
    return torch.where(y > high, high, y)


LEARNT_BOUNDS = Operation(
    "hardtanh_learnt",
    _bounds_forward,
    _bounds_backward,
    _bounds_inputs,
    reference(_bounds_reference),
    mistakes(
        _bounds_backward,
        (
            "region",
            "upper",
            "the upper bound is forgotten in the mask",
            {"argument": "x", "hidden": _bounds_below, "also": ("missing-factor",)},
        ),
        (
            "region",
            "strict",
            "nothing gets the gradient exactly at a bound",
            {"argument": "x", "hidden": _bounds_inputs, "also": ("local", "zero")},
        ),
        (
            "missing-sum",
            "assigned",
            "assigned in a loop, not added: the last row remains",
            {"argument": "low", "hidden": _bounds_once, "also": ("missing-term", "local")},
        ),
        ("sign", "sign", "the upper bound's gradient has the wrong sign", {"argument": "high"}),
        (
            "scale",
            "mean",
            "averaged over the batch, not summed",
            {"argument": "low", "also": ("missing-sum",)},
        ),
        ("zero", "none", "the lower bound gets no gradient", {"argument": "low"}),
        ("shape", "keepdim", "the sum keeps its axis", {"argument": "low"}),
    ),
    {
        "kinks": _bounds_kinks,
        "below": _bounds_below,
        "once": _bounds_once,
        "empty": lambda g, t: _bounds_of(normal(g, t, 0, 2, grad=False), t, 2),
        "large": lambda g, t: _bounds_of(1000 * normal(g, t, 3, 2, grad=False), t, 2),
        "view": lambda g, t: _bounds_of(normal(g, t, 3, 4, grad=False).t(), t, 3),
    },
    LOW,
)

# ---- binary weights with a learnt scale per column, straight through where |w| <= 1


@fwd
def _binary_forward(w, alpha):
    s = torch.where(w >= 0, 1.0, -1.0).to(w.dtype)
    return alpha * s, (w, alpha, s)


@fwd
def _binary_sign(w, alpha):
    s = torch.sign(w)
    return alpha * s, (w, alpha, s)


@bwd
def _binary_backward(g, res, wrong=""):
    w, alpha, s = res
    on = (w.abs() <= 1).to(w.dtype)
    if wrong == "mask":
        on = torch.ones_like(w)
    dw = g * on * (1 if wrong == "alpha" else alpha)
    if wrong == "true":
        dw = torch.zeros_like(w)
    da = g * (torch.sign(w) if wrong == "zero" else s)
    return dw, da if wrong == "unsummed" else da.sum(0)


def _binary_inputs(g, dtype):
    return normal(g, dtype, 4, 3), uniform(g, dtype, 3, low=0.3, high=1.7)


def _binary_small(g, dtype):
    return uniform(g, dtype, 4, 3, low=-0.9, high=0.9), uniform(g, dtype, 3, low=0.3, high=1.7)


def _binary_unit(g, dtype):
    return normal(g, dtype, 4, 3), leaf(torch.ones(3, dtype=dtype))


def _binary_kinks(g, dtype):
    w = torch.tensor([[0.0, 1.0], [-1.0, 0.0], [1.0, -1.0]], dtype=dtype)
    return leaf(w), uniform(g, dtype, 2, low=0.3, high=1.7)


def _binary_reference(w, alpha):
    soft = w.clamp(-1, 1)
    return alpha * (soft + (torch.where(w >= 0, 1.0, -1.0).to(w.dtype) - soft).detach())


BINARY = Operation(
    "binary_weights",
    _binary_forward,
    _binary_backward,
    _binary_inputs,
    reference(_binary_reference),
    mistakes(
        _binary_backward,
        (
            "region",
            "mask",
            "weights beyond one get a gradient, too",
            {"argument": "w", "hidden": _binary_small, "also": ("missing-factor",)},
        ),
        (
            "missing-factor",
            "alpha",
            "the scale is not multiplied in",
            {"argument": "w", "hidden": _binary_unit},
        ),
        ("zero", "true", "the sign's true derivative, zero", {"argument": "w"}),
        (
            "missing-sum",
            "unsummed",
            "the scale's gradient is not summed over rows",
            {"argument": "alpha", "also": ("shape",)},
        ),
        (
            "local",
            "zero",
            "sign(0) = 0 in the backward pass, 1 in the forward pass",
            {"argument": "alpha", "hidden": _binary_inputs, "also": ("region", "missing-term")},
        ),
        (
            "forward",
            None,
            "sign(0) = 0 in both passes where the reference has 1",
            {"forward": _binary_sign, "hidden": _binary_inputs},
        ),
    ),
    {
        "kinks": _binary_kinks,
        "small": _binary_small,
        "unit": _binary_unit,
        "one": lambda g, t: (normal(g, t, 1, 1), normal(g, t, 1)),
        "large": lambda g, t: (leaf(500 * normal(g, t, 3, 2, grad=False)), normal(g, t, 2)),
        "view": lambda g, t: (leaf(normal(g, t, 3, 5, grad=False).t()), normal(g, t, 3)),
    },
    LOW,
    convention=True,
)

# ---- a gradient clip: the identity, whose incoming gradient is clipped element by element


def _clip_forward(x, limit):
    return x.detach().clone(), (x.shape, limit)


def _clip_backward(g, res, wrong=""):
    shape, limit = res
    if wrong == "inplace":
        return g.clamp_(-limit, limit), None
    if wrong == "memory":  # a kernel that walks the memory without .contiguous()
        flat = g.as_strided((g.untyped_storage().nbytes() // g.element_size(),), (1,), 0)
        at = (torch.arange(g.numel()) + g.storage_offset()) % max(len(flat), 1)
        return flat[at].view(shape).clamp(-limit, limit), None
    if wrong == "upper":
        return g.clamp(max=limit), None
    if wrong == "sign":
        return -g.clamp(-limit, limit), None
    if wrong == "flat":
        return g.reshape(-1).clamp(-limit, limit), None
    return g.clamp(-limit, limit), None


def _clip_reference(x, limit):
    y = x * 1
    if y.requires_grad:
        y.register_hook(lambda g: g.clamp(-limit, limit))
    return y


CLIP = Operation(
    "gradient_clip",
    _clip_forward,
    _clip_backward,
    lambda g, t: (normal(g, t, 4, 3), 0.5),
    _clip_reference,
    mistakes(
        _clip_backward,
        ("mutates", "inplace", "the incoming gradient is clipped in place", {}),
        (
            "permuted",
            "memory",
            "the gradient's memory is read in order, whatever its strides",
            {"also": ("transpose", "local")},
        ),
        ("region", "upper", "clipped from above only", {"also": ("local", "missing-factor")}),
        ("sign", "sign", "the gradient is reversed as well", {}),
        ("shape", "flat", "returned flattened", {}),
    ),
    {
        "zero_limit": lambda g, t: (normal(g, t, 3), 0.0),
        "never": lambda g, t: (normal(g, t, 2, 3), 100.0),
        "empty": lambda g, t: (normal(g, t, 0, 2), 0.5),
        "scalar": lambda g, t: (normal(g, t), 0.5),
        "view": lambda g, t: (leaf(normal(g, t, 3, 4, grad=False).t()), 0.25),
    },
    LOW,
    convention=True,
)

OPERATIONS = (FILM, ADAIN, SOFTPLUS, LEARNT_BOUNDS, BINARY, CLIP)
