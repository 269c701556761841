"""y = softmax((x + g)/τ) along one axis, or 1 where that is largest and 0 elsewhere

Shapes.  x, g (noise) and y (..., n, ...), n along the axis ``dim``.  τ is the number ``tau``, not 0.

Forward.  With Gumbel noise, g = -log(E) for E drawn from the exponential distribution, the largest x_i + g_i
stands at i with probability softmax(x)_i: y is a soft sample, which turns into a hard one as τ goes to 0. The
noise is an input: whoever calls draws it, so that the layer itself is a plain function.

Chain rule.  dy is ∂L/∂y. With z = (x + g)/τ, dz from ``softmax``, and ∂z/∂x = 1/τ:

Result.  dx = dz/τ,  dz = y (dy - ⟨dy, y⟩);  g has no gradient.

Kink.  With ``hard`` y is a step, whose derivative is 0 wherever it has one. By convention (the
straight-through estimator, in PyTorch too) the gradient is that of the soft sample. Of equal entries the
first is the largest.
Errors: an axis that x does not have.
Source: Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax (2017), sections 2.1 and 2.2;
PyTorch documentation, torch.nn.functional.gumbel_softmax.
"""

from handgrad._arrays import namespace, normalize_axes
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._primitives import one_hot
from handgrad._primitives_curves import constant
from handgrad.derivations import softmax
from handgrad.derivations._fits import some_axis


def forward(x, noise, *, tau=1.0, hard=False, dim=-1):
    y, _ = softmax.forward((x + noise) / tau, dim=dim)
    if not hard:
        return y, (y,)
    return y + constant(_largest(y, dim) - y), (x, noise)


def backward(dy, residuals, *, tau=1.0, hard=False, dim=-1):
    if hard:
        x, noise = residuals
        residuals = softmax.forward((x + noise) / tau, dim=dim)[1]
    return softmax.backward(dy, residuals, dim=dim) / tau, None


def _largest(y, dim):
    """1 at the largest entry along the axis, 0 elsewhere."""
    if not y.ndim:
        return namespace(y).ones_like(y)
    xp = namespace(y)
    (axis,) = normalize_axes(dim, y.ndim)
    return xp.moveaxis(one_hot(xp.argmax(constant(y), axis=axis), y.shape[axis], y.dtype), -1, axis)


def _native(torch, x, noise, tau=1.0, hard=False, dim=-1):
    """PyTorch draws the noise itself; given some, its layer is this."""
    y = torch.softmax((x + noise) / tau, dim)
    one = torch.zeros_like(y).scatter(dim, y.argmax(dim, keepdim=True), 1)
    return one - y.detach() + y if hard else y


register(
    forward,
    backward,
    torch="torch.nn.functional.gumbel_softmax",
    reference=_native,
    autocast="float32",
    composed=True,
    differentiable=("x",),
    fit=lambda rng, shape: (
        case("fit", normal(*shape), normal(*shape), tau=float(rng.uniform(0.5, 2)), dim=some_axis(rng, shape))
        if shape and 0 not in shape
        else None
    ),
    cases=[
        case("soft", normal(4, 5), normal(4, 5)),
        case("temperature", normal(4, 5), normal(4, 5), tau=0.3, dim=0),
        case("middle axis", normal(2, 5, 3), normal(2, 5, 3), dim=1),
        case("hard", normal(4, 5), normal(4, 5), kink=True, hard=True),
        case("hard, columns", normal(4, 5), normal(4, 5), kink=True, hard=True, tau=0.5, dim=0),
        case("a number", normal(), normal(), dim=0),
        case("empty", normal(0, 5), normal(0, 5)),
    ],
)
