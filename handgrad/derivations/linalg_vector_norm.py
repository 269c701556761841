"""y = (Σ |x|^p)^(1/p) over some axes

Shapes.  x (...); y, real, without the axes ``dim`` (an axis, several, or None for all), or with length 1
there if ``keepdim``.  p is the number ``ord``.

Forward.  p = ∞: max |x|.  p = -∞: min |x|.  p = 0: how many x are not 0.

Chain rule.  dy is ∂L/∂y.  y^p = Σ |x|^p, so p y^(p-1) ∂y/∂|x_i| = p |x_i|^(p-1), and ∂|x_i|/∂x_i = sgn(x_i).

Result.  dx_i = dy sgn(x_i) (|x_i|/y)^(p-1).  p = 2: dy x_i/y.  p = 1: dy sgn(x_i).  p = 0: 0.
p = ±∞: dy sgn(x_i) where |x_i| = y, divided by their number; else 0.

Kinks.  Where x_i = 0 or y = 0, dx_i is 0; ties of p = ±∞ share evenly: both by PyTorch's convention.
Errors: an axis that x does not have; the largest of no elements.
Source: PyTorch documentation, torch.linalg.vector_norm.
"""

import math

from handgrad._arrays import cast, conj, namespace, normalize_axes, real, repeat_back, sgn
from handgrad._cases import case, exactly, normal, smooth
from handgrad._derivation import register
from handgrad._primitives import wide_sum
from handgrad._primitives_elementary import root
from handgrad.derivations import amax


def forward(x, *, ord=2, dim=None, keepdim=False):
    xp = namespace(x)
    axes = normalize_axes(dim, x.ndim)

    def total(terms):
        return wide_sum(terms, axes)

    if abs(ord) == math.inf:
        extreme = amax.forward if ord > 0 else amax.forward_of_amin
        y, _ = extreme(xp.abs(x), dim=dim, keepdim=keepdim)
        return y, (x, y)
    if ord == 2:
        y = root(total(real(x * conj(x))))
    elif ord == 0:
        y = total(xp.astype(x != 0, real(x).dtype))
    else:
        powers = total(xp.abs(x) ** ord)
        y = powers if ord == 1 else root(powers, ord)
    shape = y.shape if keepdim else (n for axis, n in enumerate(x.shape) if axis not in axes)
    y = cast(xp.reshape(y, tuple(shape)), real(x).dtype)
    return y, (x, y)


def backward(dy, residuals, *, ord=2, dim=None, **_):
    x, y = residuals
    xp, shape = namespace(dy), tuple(x.shape)
    dy, y = repeat_back(dy, shape, dim), repeat_back(y, shape, dim)
    if ord == 0:
        return xp.zeros_like(x)
    if ord == 1:
        return dy * sgn(x)
    if abs(ord) == math.inf:
        size = xp.abs(x)
        chosen = xp.astype(size == y, dy.dtype)
        count = xp.sum(chosen, axis=normalize_axes(dim, x.ndim), keepdims=True)
        return dy * chosen / count * sgn(x)
    zero = y == 0
    y = xp.where(zero, xp.ones_like(y), y)
    if ord == 2:
        return x * xp.where(zero, xp.zeros_like(y), dy / y)
    size = xp.abs(x)
    none = size == 0
    ratio = xp.where(none, xp.ones_like(size), size) / y
    return xp.where(none, xp.zeros_like(size), dy * ratio ** (ord - 1)) * sgn(x)


register(
    forward,
    backward,
    torch="torch.linalg.vector_norm",
    reference=lambda torch, x, **options: getattr(torch, "linalg_vector_norm", torch.linalg.vector_norm)(
        x, **options
    ),
    autocast="float32",
    cases=[
        case("length", normal(3, 4)),
        case("two axes kept", normal(2, 3, 4), dim=(0, -1), keepdim=True),
        case("p = 3", smooth(3, 4), ord=3, dim=1),
        case("p = 1", smooth(3, 4), ord=1),
        case("p = 1/2", smooth(3, 4), ord=0.5, dim=0),
        case("largest", exactly([[1.0, -2.5, 2.0], [0.5, 0.25, 3.0]]), ord=math.inf, dim=1),
        case("smallest", exactly([[1.0, -2.5, 2.0], [0.5, 0.25, 3.0]]), ord=-math.inf, dim=1),
        case("zeros", exactly([[0.0, 0.0], [0.0, 3.0]]), dim=1, kink=True),
        case("ties", exactly([1.0, -1.0, 0.5]), ord=math.inf, kink=True),
        case("no results", normal(0, 4), dim=1),
    ],
)
