"""Physics: Lennard-Jones, a tridiagonal solve, the logarithmic mean, Poisson deviance of counts."""

import torch

from torch_ext.corpus._entry import Mistake, Operation, integers, normal, uniform

from ._util import leaf, up

# ---- Lennard-Jones energy, cut and shifted ----------------------------------------------------


def lj_forward(r, epsilon, sigma, cutoff):
    q, qc = (sigma / r) ** 6, (sigma / cutoff) ** 6
    inside = r < cutoff
    e = 4 * epsilon * ((q * q - q) - (qc * qc - qc))
    return e.masked_fill(~inside, 0), (r, epsilon, sigma, q, qc, inside)


def _lj_backward(g, res):
    r, epsilon, sigma, q, qc, inside = res
    h = g.masked_fill(~inside, 0)
    grad_r = h * 4 * epsilon * (6 * q - 12 * q * q) / r
    grad_e = h * 4 * ((q * q - q) - (qc * qc - qc))
    grad_s = h * 4 * epsilon * ((12 * q * q - 6 * q) - (12 * qc * qc - 6 * qc)) / sigma
    return grad_r, grad_e, grad_s, None


def lj_backward(g, res):
    return _lj_backward(g, res)


def lj_force(g, res):
    grad_r, grad_e, grad_s, _ = _lj_backward(g, res)
    return -grad_r, grad_e, grad_s, None


def lj_uncut(g, res):
    r, epsilon, _, q, _, _ = res
    _, grad_e, grad_s, _ = _lj_backward(g, res)
    return g * 4 * epsilon * (6 * q - 12 * q * q) / r, grad_e, grad_s, None


def lj_reference(r, epsilon, sigma, cutoff):
    def energy(x):
        return 4 * epsilon * ((sigma / x) ** 12 - (sigma / x) ** 6)

    return torch.where(r < cutoff, energy(r) - energy(cutoff), torch.zeros_like(r))


LJ = Operation(
    name="lennard_jones",
    forward=lj_forward,
    backward=lj_backward,
    reference=lj_reference,
    dtypes=("float64", "float32"),
    inputs=lambda g, d: (
        uniform(g, d, 12, low=0.8, high=3.2),
        uniform(g, d, 12, low=0.5, high=2.0),
        uniform(g, d, 12, low=0.9, high=1.1),
        2.5,
    ),
    further={
        "at the cutoff and the minimum": lambda g, d: (
            leaf(torch.tensor([2.5, 2 ** (1 / 6), 1.0, 2.4990234375, 4.0]), d),
            leaf(torch.ones(5), d),
            leaf(torch.ones(5), d),
            2.5,
        ),
        "close pair": lambda g, d: (
            leaf(torch.tensor([0.25]), d),
            leaf(torch.ones(1), d),
            leaf(torch.ones(1), d),
            3.0,
        ),
        "no pairs": lambda g, d: (uniform(g, d, 0), uniform(g, d, 0), uniform(g, d, 0), 2.5),
    },
    mistakes=(
        Mistake(
            kind="sign",
            what="the force instead of the gradient of the energy",
            backward=lj_force,
            argument="r",
        ),
        Mistake(
            kind="region",
            what="the cutoff is forgotten in the derivative with respect to distance",
            backward=lj_uncut,
            also=("missing-factor", "local"),
            argument="r",
            hidden=lambda g, d: (
                uniform(g, d, 8, low=0.9, high=2.4),
                uniform(g, d, 8, low=0.5, high=2.0),
                uniform(g, d, 8, low=0.9, high=1.1),
                2.5,
            ),
        ),
    ),
)

# ---- an implicit diffusion step: a tridiagonal solve by Thomas's algorithm --------------------


def thomas(lower, diag, upper, rhs):
    n = diag.numel()
    c, d = torch.zeros_like(diag), torch.zeros_like(rhs)
    for i in range(n):
        pivot = diag[i] - (lower[i - 1] * c[i - 1] if i > 0 else 0)
        d[i] = (rhs[i] - (lower[i - 1] * d[i - 1] if i > 0 else 0)) / pivot
        if i < n - 1:
            c[i] = upper[i] / pivot
    for i in reversed(range(n - 1)):
        d[i] -= c[i] * d[i + 1]
    return d


def thomas_forward(lower, diag, upper, rhs):
    x = thomas(lower, diag, upper, rhs)
    return x, (lower, diag, upper, x.clone())


def _thomas_gradients(adjoint, x):
    return -adjoint[1:] * x[:-1], -adjoint * x, -adjoint[:-1] * x[1:], adjoint


def thomas_backward(g, res):
    lower, diag, upper, x = res
    return _thomas_gradients(thomas(upper, diag, lower, g), x)


def thomas_same(g, res):
    lower, diag, upper, x = res
    return _thomas_gradients(thomas(lower, diag, upper, g), x)


def thomas_reference(lower, diag, upper, rhs):
    return torch.linalg.solve(lower.diag(-1) + diag.diag() + upper.diag(1), rhs)


def _system(g, d, n, same=False):
    lower = uniform(g, d, n - 1, low=-1, high=1)
    upper = leaf(lower.detach().clone()) if same else uniform(g, d, n - 1, low=-1, high=1)
    return lower, uniform(g, d, n, low=2.5, high=4), upper, normal(g, d, n)


THOMAS = Operation(
    name="tridiagonal_solve",
    forward=thomas_forward,
    backward=thomas_backward,
    reference=thomas_reference,
    dtypes=("float64", "float32"),
    inputs=lambda g, d: _system(g, d, 7),
    further={
        "one unknown": lambda g, d: _system(g, d, 1),
        "diagonal": lambda g, d: (
            leaf(torch.zeros(3), d),
            leaf(torch.full((4,), 2.0), d),
            leaf(torch.zeros(3), d),
            normal(g, d, 4),
        ),
        "every second of longer ones": lambda g, d: (
            *(
                leaf(uniform(g, d, 2 * n, low=a, high=b, grad=False)[::2])
                for n, a, b in ((4, -1, 1), (5, 3, 4), (4, -1, 1))
            ),
            leaf(normal(g, d, 1, grad=False).expand(5)),
        ),
    },
    mistakes=(
        Mistake(
            kind="unknown",
            what="the adjoint system is solved with the matrix, not its transpose",
            backward=thomas_same,
            also=("transpose", "permuted"),
            hidden=lambda g, d: _system(g, d, 6, same=True),
        ),
    ),
)

# ---- logarithmic mean temperature difference (a - b) / log(a / b) -----------------------------


def _phi(u):
    """atanh(f)/f and its derivative with respect to u = f^2; a series where they cancel."""
    small = u < 0.01
    s, ds = torch.zeros_like(u), torch.zeros_like(u)
    for k in reversed(range(9)):
        s = s * u + 1 / (2 * k + 1)
    for k in reversed(range(1, 9)):
        ds = ds * u + k / (2 * k + 1)
    v = torch.where(small, torch.full_like(u, 0.25), u)
    f = v.sqrt()
    big = torch.atanh(f) / f
    return torch.where(small, s, big), torch.where(small, ds, (1 / (1 - v) - big) / (2 * v))


def lmtd_forward(a, b):
    f = (a - b) / (a + b)
    phi, slope = _phi(f * f)
    return (a + b) / (2 * phi), (a, b, f, phi, slope)


def lmtd_backward(g, res):
    a, b, f, phi, slope = res
    t = 2 * f * slope / (phi * phi * (a + b))
    return g * (0.5 / phi - b * t), g * (0.5 / phi + a * t)


def lmtd_tie(g, res):
    grad_a, grad_b = lmtd_backward(g, res)
    tie = res[0] == res[1]  # the mean of two equal numbers is that number: slope 1
    return torch.where(tie, g, grad_a), torch.where(tie, g, grad_b)


def lmtd_reference(a, b):
    f = (a - b) / (a + b)
    u = f * f
    small = u < 0.01
    series = sum(u**k / (2 * k + 1) for k in range(1, 9)) + 1
    v = torch.where(small, torch.full_like(f, 0.5), f)
    return (a + b) / 2 / torch.where(small, series, (torch.log1p(v) - torch.log1p(-v)) / (2 * v))


LMTD = Operation(
    name="log_mean_temperature",
    forward=lmtd_forward,
    backward=lmtd_backward,
    reference=lmtd_reference,
    dtypes=("float64", "float32"),
    inputs=lambda g, d: (uniform(g, d, 10, low=5, high=80), uniform(g, d, 10, low=5, high=80)),
    further={
        "ties and near ties": lambda g, d: (
            leaf(torch.tensor([1.0, 20.0, 20.0, 20.0, 20.0, 300.0]), d),
            leaf(torch.tensor([1.0, 20.0, 20.0009765625, 19.5, 16.0, 1.0]), d),
        ),
        "large": lambda g, d: (uniform(g, d, 2, 3, low=1e5, high=1e6), uniform(g, d, 2, 3, low=1, high=1e6)),
        "empty": lambda g, d: (uniform(g, d, 0), uniform(g, d, 0)),
    },
    mistakes=(
        Mistake(
            kind="region",
            what="slope 1 instead of 1/2 where both are equal",
            backward=lmtd_tie,
            also=("local", "scale"),
            hidden=lambda g, d: (uniform(g, d, 10, low=5, high=40), uniform(g, d, 10, low=50, high=80)),
        ),
    ),
)

# ---- Poisson deviance of photon counts --------------------------------------------------------


def deviance_forward(counts, rate):
    v, r = up(counts), up(rate)
    d = 2 * (torch.xlogy(v, v) - torch.xlogy(v, r) - v + r)
    return d.sum().to(rate.dtype), (counts, rate)


def deviance_backward(g, res):
    counts, rate = res
    return None, (2 * g * (1 - up(counts) / up(rate))).to(rate.dtype)


def deviance_one(g, res):
    counts, rate = res
    return None, (-2 * g * up(counts) / up(rate)).to(rate.dtype)


def _counts(g, d, *shape):
    return integers(g, *shape, high=9).to(d)


DEVIANCE = Operation(
    name="poisson_deviance",
    forward=deviance_forward,
    backward=deviance_backward,
    reference=lambda counts, rate: (
        2 * (torch.xlogy(counts, counts) - torch.xlogy(counts, rate) - counts + rate).sum()
    ),
    dtypes=("float64", "float32"),
    inputs=lambda g, d: (_counts(g, d, 3, 5), uniform(g, d, 3, 5, low=0.5, high=6)),
    further={
        "dark and perfect": lambda g, d: (
            torch.tensor([0.0, 0.0, 4.0, 1.0], dtype=d),
            leaf(torch.tensor([1e-6, 3.0, 4.0, 1.0]), d),
        ),
        "bright, transposed": lambda g, d: (
            1e4 * _counts(g, d, 4, 3),
            leaf(uniform(g, d, 3, 4, low=1e3, high=1e5, grad=False).t()),
        ),
        "one": lambda g, d: (_counts(g, d, 1), uniform(g, d, 1, low=1, high=2)),
    },
    mistakes=(
        Mistake(
            kind="offset",
            what="the derivative of the rate itself, 1, is forgotten",
            backward=deviance_one,
            also=("missing-term",),
            argument="rate",
        ),
    ),
)

OPERATIONS = (LJ, THOMAS, LMTD, DEVIANCE)
