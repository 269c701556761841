"""y = log Σ exp(x) over some axes

Shapes.  x (...); y without the axes ``dim`` (an axis or several), or with length 1 there if ``keepdim``.

Forward.  With m = max x the powers exp(x - m) are at most 1, and y = m + log Σ exp(x - m) cannot overflow.

Chain rule.  dy is ∂L/∂y.  ∂y/∂x_i = exp(x_i) / Σ exp(x), the softmax.

Result.  dx = dy softmax(x)  (conjugated for complex numbers).  The softmax is computed from x - m. exp(x -
y) is the same on paper, but where y is about 10⁴ its rounding, 10⁴ u, stands in every gradient.

Kinks: none.  Where all x are -∞, y is -∞ and dx is 0; an x of ∞ counts for all.
Errors: an axis that x does not have.
Source: Blanchard, Higham and Higham 2021, Accurately computing the log-sum-exp and softmax functions; PyTorch
documentation, torch.logsumexp.
"""

import math

from handgrad._arrays import conj, namespace, normalize_axes, real
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad._dual import primal
from handgrad.derivations._fits import some_axes


def forward(x, *, dim, keepdim=False):
    axes = normalize_axes(dim, x.ndim)
    xp = namespace(x)
    top = largest(x, axes)
    total = xp.sum(xp.exp(x - top), axis=axes, keepdims=True)
    y = top + xp.log(total)
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    shape = kept if keepdim else tuple(n for i, n in enumerate(x.shape) if i not in axes)
    return xp.reshape(xp.reshape(y, kept), shape), (x,)


def backward(dy, residuals, *, dim, **_):
    (x,) = residuals
    axes = normalize_axes(dim, x.ndim)
    xp = namespace(x)
    powers = xp.exp(x - largest(x, axes))
    total = xp.sum(powers, axis=axes, keepdims=True)
    weight = xp.reshape(dy, total.shape) / conj(xp.where(total == 0, xp.ones_like(total), total))
    return conj(powers) * weight


def largest(x, axes):
    """The largest (real part of) x along the axes, 0 where it is infinite: a constant that only scales."""
    xp = namespace(primal(x))
    parts = real(primal(x))
    if not all(x.shape[axis] for axis in axes):
        return xp.sum(parts, axis=axes, keepdims=True)  # of nothing: 0
    top = xp.max(parts, axis=axes, keepdims=True)
    return xp.where(xp.abs(top) == math.inf, xp.zeros_like(top), top)


def truth(torch, x, dim, keepdim=False):
    """PyTorch's gradient, exp(x - y), has the rounding of y."""
    top = torch.real(x).detach()
    top = top.amax(dim, True) if x.numel() else top.sum(dim, True)
    top = torch.where(top.isfinite(), top, 0)
    y = top + torch.log(torch.sum(torch.exp(x - top), dim, True))
    return y if keepdim else y.sum(dim)


register(
    forward,
    backward,
    torch="torch.logsumexp",
    truth=truth,
    autocast="float32",
    fit=lambda rng, shape: (
        case("fit", normal(*shape), dim=some_axes(rng, shape) or tuple(range(len(shape)))) if shape else None
    ),
    cases=[
        case("one axis", normal(3, 4), dim=1),
        case("two axes kept", normal(2, 3, 4, scale=10.0), dim=(0, -1), keepdim=True),
        case("far from zero", exactly([[1000.0, 999.0, 1001.5], [-1000.0, -999.0, -1001.5]]), dim=1),
        case("a number", normal(), dim=0),
        case("no results", normal(0, 4), dim=1),
    ],
)
