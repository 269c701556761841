"""y = w x̂ + b,  x̂ = (x - μ) / sqrt(σ² + ε),  μ and σ² the mean and variance over the last axes

Shapes.  x and y (..., *normalized_shape); w and b normalized_shape, each may be absent (1 and 0);
μ and σ² one number for each index of the leading axes. Below, i and k run over the D elements that
are normalised together: the last axes, taken as one.

Forward.  Two passes: μ = Σ_i x_i/D, then σ² = Σ_i (x_i - μ)²/D (not E[x²] - μ², which cancels where
the mean is large). Both divide by D. With r = 1/sqrt(σ² + ε),  x̂_i = (x_i - μ) r.

Chain rule.  dy is ∂L/∂y. From y_i = w_i x̂_i + b_i,  dx̂_i = w_i dy_i. And x_k reaches every x̂_i in three
ways: directly (only i = k), through μ, and through σ². [i = k] is 1 for i = k, else 0.
    ∂μ/∂x_k  = 1/D
    ∂σ²/∂x_k = 2/D Σ_i (x_i - μ) ([i = k] - 1/D) = 2 (x_k - μ)/D     since Σ_i (x_i - μ) = 0
    ∂r/∂x_k  = -½ (σ² + ε)^(-3/2) ∂σ²/∂x_k = -r³ (x_k - μ)/D = -r² x̂_k/D
By the product rule for x̂_i = (x_i - μ) r,
    ∂x̂_i/∂x_k = r ([i = k] - 1/D) + (x_i - μ) (-r² x̂_k/D)
              = r ([i = k] - 1/D - x̂_i x̂_k/D)                       since (x_i - μ) r = x̂_i
    dx_k = Σ_i dx̂_i ∂x̂_i/∂x_k = r (dx̂_k - Σ_i dx̂_i/D - x̂_k Σ_i dx̂_i x̂_i/D)

Result.  dx = r (dx̂ - mean(dx̂) - x̂ mean(dx̂ x̂)),  dx̂ = w dy,  the means over the D elements;
dw = dy x̂ and db = dy, each summed over the leading axes. That sum is taken after ``backward``, as for
every input that was broadcast (``_arrays.unbroadcast``).

Kinks: none (ε > 0; with ε = 0 a row of equal numbers gives 0/0, NaN).
Errors: normalized_shape is not the end of the shape of x, or not that of w and b.
Source: Ba, Kiros and Hinton, Layer Normalization (2016), section 3; PyTorch documentation,
torch.nn.LayerNorm.
"""

from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad.derivations._norms import (
    affine,
    draw_normalized_shape,
    last_axes,
    standardize,
    standardize_vjp,
)


def forward(x, w=None, b=None, *, normalized_shape, eps=1e-5):
    axes = last_axes("layer_norm", x, normalized_shape, w, b)  # raises where they do not fit
    xhat, rstd, _mean, _var = standardize(x, axes, eps)  # rstd is r
    return affine(xhat, w, b), (xhat, rstd, w, b is not None)


def backward(dy, residuals, *, normalized_shape, eps=1e-5):  # noqa: ARG001 (eps is in rstd)
    xhat, rstd, w, has_bias = residuals
    axes = last_axes("layer_norm", xhat, normalized_shape)
    dxhat = dy if w is None else dy * w
    dx = standardize_vjp(dxhat, xhat, rstd, axes)  # the formula under Result
    return dx, None if w is None else dy * xhat, dy if has_bias else None


def fit(rng, shape):
    """On any value with enough elements in its last axes (two alone would always become ±1)."""
    normalized = draw_normalized_shape(rng, shape)
    if normalized is None:
        return None
    w, b = (normal(*normalized, mean=m) if rng.integers(2) else None for m in (1.0, 0.0))
    eps = float(rng.choice([1e-5, 1e-3, 0.1]))
    return case("fit", normal(*shape), w, b, normalized_shape=normalized, eps=eps)


register(
    forward,
    backward,
    torch="torch.nn.functional.layer_norm",
    reference=lambda torch, x, w=None, b=None, *, normalized_shape, eps=1e-5: torch.nn.functional.layer_norm(
        x, normalized_shape, w, b, eps
    ),
    autocast="float32",
    fit=fit,
    cases=[
        case("rows", normal(4, 5), normal(5), normal(5), normalized_shape=(5,)),
        case("no weight", normal(4, 5), None, None, normalized_shape=(5,)),
        case("no bias", normal(4, 5), normal(5), None, normalized_shape=(5,)),
        case("bias alone", normal(4, 5), None, normal(5), normalized_shape=(5,)),
        case("one vector", normal(5), normal(5), normal(5), normalized_shape=(5,)),
        case("last two axes", normal(2, 3, 4), normal(3, 4), normal(3, 4), normalized_shape=(3, 4)),
        case("all axes", normal(3, 4), normal(3, 4), normal(3, 4), normalized_shape=(3, 4)),
        case("batch of sequences", normal(2, 3, 4), normal(4), normal(4), normalized_shape=(4,)),
        case("eps", normal(4, 5, scale=0.1), normal(5), normal(5), normalized_shape=(5,), eps=0.1),
        case(
            "large mean", normal(4, 8, mean=1000.0, scale=30.0), normal(8), normal(8), normalized_shape=(8,)
        ),
        case("one element", normal(4, 1), normal(1), normal(1), normalized_shape=(1,), eps=0.1),
        case("empty batch", normal(0, 5), normal(5), normal(5), normalized_shape=(5,)),
        case("nothing to normalise", normal(3, 0), normal(0), normal(0), normalized_shape=(0,)),
    ],
)
