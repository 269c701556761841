"""Losses."""

import torch
import torch.nn.functional as F

from ._tools import FULL, LOW, Operation, bwd, fwd, leaf, mistakes, normal, reference, uniform

# ---- multi-class squared hinge: mean over the batch of sum_j max(0, 1 - s_y + s_j)^2 / C


@fwd
def _hinge_forward(s, y):
    n, c = s.shape
    at = y[:, None]
    m = s.clone()
    m.sub_(s.gather(1, at)).add_(1).clamp_(min=0)
    m.scatter_(1, at, 0.0)
    return (m * m).sum() / (n * c), (m, s, at)


@bwd
def _hinge_backward(g, res, wrong=""):
    m, s, at = res
    n, c = m.shape
    d = 2 * m * (g / (n * c))
    if wrong == "two":
        d = m * (g / (n * c))
    if wrong == "batch":
        d = 2 * m * (g / c)
    if wrong == "power":
        d = 2 * (m > 0).to(m.dtype) * (g / (n * c))
    if wrong == "margin":  # active where misclassified, not where within the margin
        d = d * (s > s.gather(1, at))
    if wrong == "label":
        at = (at - 1) % c
    if wrong != "target":
        d.scatter_add_(1, at, -d.sum(1, keepdim=True))
    return d, None


def _hinge_inputs(g, dtype):
    return normal(g, dtype, 4, 5), torch.tensor([0, 3, 2, 4])


def _hinge_one(g, dtype):
    return normal(g, dtype, 1, 5), torch.tensor([3])


def _hinge_missed(g, dtype):  # every other score above the target's
    y = torch.tensor([0, 3, 2, 4])
    s = uniform(g, dtype, 4, 5, low=0.0, high=2.0, grad=False)
    return leaf(s.scatter(1, y[:, None], -1.0)), y


def _hinge_kinks(g, dtype):  # margins of exactly zero
    s = torch.tensor([[2.0, 1.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], dtype=dtype)
    return leaf(s), torch.tensor([0, 1, 2])


def _hinge_view(g, dtype):
    return leaf(normal(g, dtype, 5, 4, grad=False).t()), torch.tensor([0, 0, 4, 1])


SQUARED_HINGE = Operation(
    "squared_hinge",
    _hinge_forward,
    _hinge_backward,
    _hinge_inputs,
    reference(lambda s, y: F.multi_margin_loss(s, y, p=2)),
    mistakes(
        _hinge_backward,
        ("scale", "two", "the 2 of the square is forgotten", {}),
        (
            "scale",
            "batch",
            "the mean over the batch is forgotten",
            {"hidden": _hinge_one, "also": ("missing-factor",)},
        ),
        (
            "missing-factor",
            "power",
            "the gradient of the plain hinge: the violation itself is not multiplied in",
            {"also": ("scale",)},
        ),
        (
            "region",
            "margin",
            "only misclassified pairs count, not those within the margin",
            {"hidden": _hinge_missed, "also": ("missing-term", "local", "zero")},
        ),
        (
            "permuted",
            "label",
            "labels taken as counted from one",
            {"also": ("local", "missing-term", "region")},
        ),
        (
            "missing-term",
            "target",
            "the target score's own gradient, minus the sum of the rest, is left out",
            {"also": ("local", "zero", "region")},
        ),
    ),
    {
        "one": _hinge_one,
        "kinks": _hinge_kinks,
        "view": _hinge_view,
        "missed": _hinge_missed,
        "large": lambda g, t: (leaf(60 * normal(g, t, 3, 4, grad=False)), torch.tensor([1, 1, 0])),
    },
    LOW,
)

# ---- soft Dice loss with soft targets


@fwd
def _dice_forward(p, t):
    both = (p * t).sum(-1)
    card = p.sum(-1) + t.sum(-1)
    return (1 - (2 * both + 1) / (card + 1)).mean(), (p, t, both, card)


@bwd
def _dice_backward(g, res, wrong=""):
    p, t, both, card = res
    n = p.shape[0]
    top, low = (2 * both + 1)[:, None], (card + 1)[:, None]
    if wrong == "batch":
        top, low = (2 * both.sum() + 1), (card.sum() + 1)
    if wrong == "smooth":
        top = (2 * both)[:, None]
    share = g / n
    dp = -share * (2 * t * low - top) / low**2
    dt = -share * (2 * p * low - top) / low**2
    if wrong == "quotient":
        dp = -share * 2 * t / low
    if wrong == "sign":
        dp, dt = -dp, -dt
    if wrong == "last":
        flat = torch.zeros(dp.numel(), dtype=dp.dtype)
        flat[:-1] = dp.reshape(-1)[:-1]
        dp = flat.view(p.shape)
    return dp, None if wrong == "target" else dt


def _dice_inputs(g, dtype):
    return uniform(g, dtype, 3, 6), uniform(g, dtype, 3, 6)


def _dice_one(g, dtype):
    return uniform(g, dtype, 1, 6), uniform(g, dtype, 1, 6)


def _dice_apart(g, dtype):  # nothing in common: the smoothing alone is left in the numerator
    p, t = uniform(g, dtype, 2, 4, grad=False), torch.zeros(2, 4, dtype=dtype)
    return leaf(p), leaf(t)


DICE = Operation(
    "soft_dice",
    _dice_forward,
    _dice_backward,
    _dice_inputs,
    reference(lambda p, t: (1 - (2 * (p * t).sum(-1) + 1) / (p.sum(-1) + t.sum(-1) + 1)).mean()),
    mistakes(
        _dice_backward,
        (
            "missing-term",
            "quotient",
            "the quotient rule's second summand is left out",
            {"argument": "p", "also": ("offset",)},
        ),
        (
            "missing-sum",
            "batch",
            "overlap and size summed over the batch too",
            {"hidden": _dice_one, "also": ("missing-term", "missing-factor", "scale")},
        ),
        (
            "missing-term",
            "smooth",
            "the smoothing is missing from the numerator",
            {"also": ("offset", "missing-factor")},
        ),
        ("sign", "sign", "the gradient of the coefficient, not of one minus it", {}),
        ("zero", "target", "soft targets get no gradient", {"argument": "t"}),
        (
            "local",
            "last",
            "a loop up to numel - 1: the last element stays zero",
            {"argument": "p", "also": ("zero",)},
        ),
    ),
    {
        "one": _dice_one,
        "apart": _dice_apart,
        "zeros": lambda g, t: (leaf(torch.zeros(2, 3, dtype=t)), leaf(torch.zeros(2, 3, dtype=t))),
        "empty_rows": lambda g, t: (normal(g, t, 3, 0), normal(g, t, 3, 0)),
        "view": lambda g, t: (
            leaf(uniform(g, t, 5, 3, grad=False).t()),
            leaf(uniform(g, t, 3, 10, grad=False)[:, ::2]),
        ),
    },
    LOW,
)

# ---- negative binomial: counts k (N, C), log mean (N, C), log dispersion (C,)


@fwd
def _nb_forward(log_mu, log_r, k):
    r = log_r.exp()
    both = torch.logaddexp(log_mu, log_r)
    like = torch.lgamma(k + r) - torch.lgamma(r) - torch.lgamma(k + 1)
    like = like + r * (log_r - both) + k * (log_mu - both)
    return -like.sum(), (log_mu, log_r, k)


@bwd
def _nb_backward(g, res, wrong=""):
    log_mu, log_r, k = res
    r = log_r.exp()
    share = torch.sigmoid(log_mu - log_r)  # mu / (mu + r)
    if wrong == "naive":
        share = log_mu.exp() / (log_mu.exp() + r)
    dmu = g * ((k + r) * share - k)
    dr = torch.digamma(k + r) - torch.digamma(r) + log_r - torch.logaddexp(log_mu, log_r)
    dr = dr + 1 - (k + r) * (1 - share) / r
    if wrong == "digamma":
        dr = dr - torch.digamma(k + r) + torch.digamma(r)
    if wrong == "sign":
        dmu = -dmu
    if wrong == "zeros":
        dmu = torch.where(k > 0, dmu, 0.0)
    dlog = -g * dr * (1 if wrong == "chain" else r)
    return dmu, dlog if wrong == "unsummed" else dlog.sum(0), None


def _counts(g, *shape):
    return torch.randint(0, 4, shape, generator=g).double()


def _nb_inputs(g, dtype):
    return normal(g, dtype, 5, 3), uniform(g, dtype, 3, low=-0.7, high=0.7), _counts(g, 5, 3).to(dtype)


def _nb_unit(g, dtype):
    return normal(g, dtype, 5, 3), leaf(torch.zeros(3, dtype=dtype)), _counts(g, 5, 3).to(dtype)


def _nb_large(g, dtype):
    top = leaf(torch.tensor([[800.0, 0.0], [-800.0, 1.0]], dtype=dtype))
    return top, uniform(g, dtype, 2), _counts(g, 2, 2).to(dtype)


def _nb_reference(log_mu, log_r, k):
    r, both = log_r.exp(), torch.logaddexp(log_mu, log_r)
    gammas = torch.lgamma(k + r) - torch.lgamma(r) - torch.lgamma(k + 1)
    return -(gammas + r * (log_r - both) + k * (log_mu - both)).sum()


NEGATIVE_BINOMIAL = Operation(
    "negative_binomial",
    _nb_forward,
    _nb_backward,
    _nb_inputs,
    _nb_reference,
    mistakes(
        _nb_backward,
        (
            "missing-factor",
            "chain",
            "the gradient for r, not for its logarithm: the factor r is forgotten",
            {"argument": "log_r", "hidden": _nb_unit},
        ),
        (
            "missing-sum",
            "unsummed",
            "the dispersion's gradient is not summed over the batch",
            {"argument": "log_r", "also": ("shape",)},
        ),
        (
            "missing-term",
            "digamma",
            "the gamma functions taken as constants: both digamma are left out",
            {"argument": "log_r"},
        ),
        (
            "region",
            "zeros",
            "no gradient where the count is zero",
            {"argument": "log_mu", "also": ("local", "zero", "missing-term")},
        ),
        ("sign", "sign", "the gradient of the likelihood, not of its negative", {"argument": "log_mu"}),
        (
            "not-finite",
            "naive",
            "exp(log_mu) / (exp(log_mu) + r) overflows to inf / inf",
            {"hidden": _nb_inputs, "also": ("region", "local")},
        ),
    ),
    {
        "unit": _nb_unit,
        "large_mean": _nb_large,
        "zero_counts": lambda g, t: (normal(g, t, 3, 2), normal(g, t, 2), torch.zeros(3, 2, dtype=t)),
        "one": lambda g, t: (normal(g, t, 1, 1), normal(g, t, 1), torch.ones(1, 1, dtype=t)),
        "view": lambda g, t: (
            leaf(normal(g, t, 3, 4, grad=False).t()),
            normal(g, t, 3),
            _counts(g, 4, 3).to(t),
        ),
    },
    FULL,
)

# ---- evidence lower bound: z = mu + exp(logvar / 2) noise, 0.5 |z - x|^2 + KL, a mean over the batch


@fwd
def _elbo_forward(mu, logvar, x, noise):
    std = (0.5 * logvar).exp_()
    miss = torch.addcmul(mu, std, noise).sub_(x)
    kl = -0.5 * (1 + logvar - mu**2 - std**2)
    return (0.5 * miss**2 + kl).sum() / mu.shape[0], (mu, std, miss, noise)


@bwd
def _elbo_backward(g, res, wrong=""):
    mu, std, miss, noise = res
    share = g if wrong == "batch" else g / mu.shape[0]
    dz = share * miss
    dmu = dz + share * mu
    if wrong == "prior":
        dmu = dz.clone()
    path = 0.5 * dz * noise * (std**2 if wrong == "std" else std)
    dlog = path + 0.5 * share * (std**2 - 1)
    if wrong == "detached":
        dlog = dlog - path
    if wrong == "one":
        dlog = path + 0.5 * share * std**2
    return dmu, dlog, None if wrong == "data" else -dz, None


def _elbo(n, d, mu=1.0, logvar=1.0):
    def make(g, dtype):
        m, v = normal(g, dtype, n, d, grad=False) * mu, normal(g, dtype, n, d, grad=False) * logvar
        return leaf(m), leaf(v), normal(g, dtype, n, d), normal(g, dtype, n, d, grad=False)

    return make


def _elbo_reference(mu, logvar, x, noise):
    z = mu + torch.exp(logvar / 2) * noise
    kl = -0.5 * (1 + logvar - mu.square() - logvar.exp())
    return (0.5 * (z - x).square() + kl).sum() / len(mu)


ELBO = Operation(
    "gaussian_elbo",
    _elbo_forward,
    _elbo_backward,
    _elbo(4, 3),
    reference(_elbo_reference),
    mistakes(
        _elbo_backward,
        (
            "missing-term",
            "prior",
            "the KL term's gradient for the mean is left out",
            {"argument": "mu", "hidden": _elbo(4, 3, mu=0.0)},
        ),
        ("missing-term", "detached", "the sample is detached from the variance", {"argument": "logvar"}),
        (
            "missing-factor",
            "std",
            "the variance instead of the standard deviation in the sample's path",
            {"argument": "logvar", "hidden": _elbo(4, 3, logvar=0.0), "also": ("missing-term",)},
        ),
        (
            "offset",
            "one",
            "the -1 of exp(logvar) - 1 is left out",
            {"argument": "logvar", "also": ("missing-term",)},
        ),
        (
            "scale",
            "batch",
            "summed over the batch, not averaged",
            {"hidden": _elbo(1, 3), "also": ("missing-factor",)},
        ),
        ("zero", "data", "the data get no gradient", {"argument": "x"}),
    ),
    {
        "one": _elbo(1, 1),
        "zeros": _elbo(2, 2, 0.0, 0.0),
        "wide": _elbo(2, 5, 3.0, 2.0),
        "no_features": _elbo(3, 0),
        "view": lambda g, t: (
            leaf(normal(g, t, 3, 2, grad=False).t()),
            normal(g, t, 2, 3),
            normal(g, t, 2, 3),
            normal(g, t, 3, 2, grad=False).t(),
        ),
    },
    LOW,
)

# ---- Barlow twins


def _normalised(a):
    std = (a.var(0, unbiased=False) + 1e-5).sqrt()
    return (a - a.mean(0)) / std, std


@fwd
def _twins_forward(a, b, weight):
    (za, sa), (zb, sb) = _normalised(a), _normalised(b)
    c = za.t() @ zb / a.shape[0]
    miss = c - torch.eye(c.shape[0], dtype=c.dtype)
    w = torch.full_like(c, weight).fill_diagonal_(1.0)
    return (w * miss**2).sum(), (za, sa, zb, sb, miss, w)


def _norm_backward(dz, z, std, wrong):
    if wrong == "stats":
        return dz / std
    if wrong == "mean":
        return (dz - z * (dz * z).mean(0)) / std
    if wrong == "variance":
        return (dz - dz.mean(0)) / std
    return (dz - dz.mean(0) - z * (dz * z).mean(0)) / std


@bwd
def _twins_backward(g, res, wrong=""):
    za, sa, zb, sb, miss, w = res
    n = za.shape[0]
    dc = 2 * g * miss * (1 if wrong == "weight" else w)
    da = _norm_backward(zb @ dc.t() / n, za, sa, wrong)
    db = _norm_backward(za @ dc / n, zb, sb, wrong)
    if wrong == "unbiased":
        da, db = ((n - 1) / n) ** 0.5 * da, ((n - 1) / n) ** 0.5 * db
    if wrong == "swap":
        da, db = db, da
    if wrong == "stop":
        db = torch.zeros_like(db)
    return da, db, None


def _twins_inputs(g, dtype):
    return normal(g, dtype, 6, 3), normal(g, dtype, 6, 3), 0.05


def _twins_reference(a, b, weight):
    za = (a - a.mean(0)) / (a.var(0, unbiased=False) + 1e-5).sqrt()
    zb = (b - b.mean(0)) / (b.var(0, unbiased=False) + 1e-5).sqrt()
    c = za.T @ zb / len(a)
    on, all_ = (c.diagonal() - 1).square().sum(), c.square().sum()
    return on + weight * (all_ - c.diagonal().square().sum())


def _twins_same(g, dtype):
    a = normal(g, dtype, 6, 3)
    return a, leaf(a), 0.05


BARLOW_TWINS = Operation(
    "barlow_twins",
    _twins_forward,
    _twins_backward,
    _twins_inputs,
    reference(_twins_reference),
    mistakes(
        _twins_backward,
        ("missing-term", "stats", "the batch statistics are detached", {"also": ("missing-factor",)}),
        ("missing-term", "variance", "the variance's part of the batch statistics is left out", {}),
        (
            "missing-factor",
            "weight",
            "the weight of the off-diagonal entries is left out",
            {"also": ("missing-term",)},
        ),
        ("scale", "unbiased", "divided by the unbiased standard deviation", {"also": ("missing-factor",)}),
        ("zero", "stop", "the second view is taken as a fixed target", {"argument": "b"}),
        ("permuted", "swap", "the two gradients are returned in the wrong order", {"hidden": _twins_same}),
    ),
    {
        "same": _twins_same,
        "weight_one": lambda g, t: (normal(g, t, 4, 2), normal(g, t, 4, 2), 1.0),
        "one_feature": lambda g, t: (normal(g, t, 5, 1), normal(g, t, 5, 1), 0.1),
        "view": lambda g, t: (leaf(normal(g, t, 2, 5, grad=False).t()), normal(g, t, 5, 2), 0.2),
    },
    ("float64",),
)

OPERATIONS = (SQUARED_HINGE, DICE, NEGATIVE_BINOMIAL, ELBO, BARLOW_TWINS)
