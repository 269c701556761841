"""y = w x̂,  x̂ = x / sqrt(mean(x²) + ε),  the mean over the last axes

Shapes.  x and y (..., *normalized_shape); w normalized_shape, or absent (1). Below, i and k run over the
D elements that are normalised together: the last axes, taken as one.

Forward.  With r = 1/sqrt(Σ_i x_i²/D + ε),  x̂_i = r x_i. An ε of None is the machine epsilon of the
dtype that the formula is computed in: 2^-52 for float64, 2^-23 for float32, and so for 16-bit inputs,
as PyTorch computes them (its documentation says the epsilon of x's own dtype). Of complex numbers x² is the
square and not |x|², as in PyTorch.

Chain rule.  dy is ∂L/∂y. From y_i = w_i x̂_i,  dx̂_i = w_i dy_i. And x_k reaches every x̂_i in two ways:
directly (only i = k), and through r. [i = k] is 1 for i = k, else 0.
    ∂r/∂x_k = -½ (Σ_i x_i²/D + ε)^(-3/2) 2 x_k/D = -r³ x_k/D = -r² x̂_k/D
By the product rule for x̂_i = r x_i,
    ∂x̂_i/∂x_k = r [i = k] + x_i (-r² x̂_k/D) = r ([i = k] - x̂_i x̂_k/D)
    dx_k = Σ_i dx̂_i ∂x̂_i/∂x_k = r (dx̂_k - x̂_k Σ_i dx̂_i x̂_i/D)

Result.  dx = r (dx̂ - x̂ mean(dx̂ x̂)),  dx̂ = w dy;  dw = dy x̂ summed over the leading axes (after
``backward``, by ``_arrays.unbroadcast``). Layer norm without the mean, and so without the term of the mean.
For complex numbers every factor of a derivative (r, x̂ and w) is conjugated (see ``derivations``).

Kinks: none (ε > 0; with ε = 0 a row of zeros gives 0/0, NaN).
Errors: normalized_shape is not the end of the shape of x, or not that of w.
Source: Zhang and Sennrich, Root Mean Square Layer Normalization (2019), section 3; PyTorch
documentation, torch.nn.RMSNorm.
"""

from handgrad._arrays import conj, namespace
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad.derivations._norms import affine, average, draw_normalized_shape, last_axes


def forward(x, w=None, *, normalized_shape, eps=None):
    axes = last_axes("rms_norm", x, normalized_shape, w)
    xp = namespace(x)
    if eps is None:
        eps = xp.finfo(x.dtype).eps
    rstd = 1 / xp.sqrt(average(x * x, axes) + eps)  # r
    xhat = x * rstd
    return affine(xhat, w, None), (xhat, rstd, w)


def backward(dy, residuals, *, normalized_shape, eps=None):  # noqa: ARG001 (eps is in rstd)
    xhat, rstd, w = (r if r is None else conj(r) for r in residuals)
    axes = last_axes("rms_norm", xhat, normalized_shape)
    dxhat = dy if w is None else dy * w
    dx = rstd * (dxhat - xhat * average(dxhat * xhat, axes))
    return dx, None if w is None else dy * xhat


def fit(rng, shape):
    """On any value with enough elements in its last axes."""
    normalized = draw_normalized_shape(rng, shape)
    if normalized is None:
        return None
    w = normal(*normalized, mean=1.0) if rng.integers(2) else None
    eps = (None, 1e-5, 0.1)[int(rng.integers(3))]
    return case("fit", normal(*shape), w, normalized_shape=normalized, eps=eps)


register(
    forward,
    backward,
    torch="torch.nn.functional.rms_norm",
    reference=lambda torch, x, w=None, *, normalized_shape, eps=None: torch.nn.functional.rms_norm(
        x, normalized_shape, w, eps
    ),
    autocast="float32",
    fit=fit,
    cases=[
        case("rows", normal(4, 5), normal(5), normalized_shape=(5,)),
        case("no weight", normal(4, 5), None, normalized_shape=(5,)),
        case("one vector", normal(5), normal(5), normalized_shape=(5,)),
        case("last two axes", normal(2, 3, 4), normal(3, 4), normalized_shape=(3, 4)),
        case("batch of sequences", normal(2, 3, 4), normal(4), normalized_shape=(4,)),
        case("eps", normal(4, 5, scale=0.1), normal(5), normalized_shape=(5,), eps=0.1),
        case("eps 1e-5", normal(4, 5, scale=0.01), normal(5), normalized_shape=(5,), eps=1e-5),
        case("large mean", normal(4, 8, mean=100.0), normal(8), normalized_shape=(8,), eps=1e-6),
        case("one element", normal(4, 1), normal(1), normalized_shape=(1,), eps=0.01),
        case("empty batch", normal(0, 5), normal(5), normalized_shape=(5,)),
        case("nothing to normalise", normal(3, 0), normal(0), normalized_shape=(0,)),
    ],
)
