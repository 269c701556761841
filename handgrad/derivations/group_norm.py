"""y = w x̂ + b,  x̂ = (x - μ) / sqrt(σ² + ε),  μ and σ² the mean and variance of each group of channels

Shapes.  x and y (N, C, ...); w and b (C,), each may be absent (1 and 0). The C channels are cut into
num_groups blocks of C/num_groups; μ and σ² are (N, num_groups), over the D elements of one block of
one sample.

Forward.  x is read as (N, num_groups, D), and each row of D numbers is normalised as in layer norm, in two
passes; σ² divides by D.

Chain rule.  dy is ∂L/∂y. From y = w x̂ + b, with the w and b of the channel,  dx̂ = w dy. Within a row this
is layer norm, which ``layer_norm`` derives step by step:
    ∂x̂_i/∂x_k = r ([i = k] - 1/D - x̂_i x̂_k/D),  r = 1/sqrt(σ² + ε)
    dx_k = Σ_i dx̂_i ∂x̂_i/∂x_k = r (dx̂_k - Σ_i dx̂_i/D - x̂_k Σ_i dx̂_i x̂_i/D)
w and b belong to channels and not to places in a row, so dx̂ = w dy comes before the sums over the row.

Result.  dx = r (dx̂ - mean(dx̂) - x̂ mean(dx̂ x̂)), the means over the D elements of a group; dw = Σ dy x̂
and db = Σ dy over all axes but C. One group is layer norm over (C, ...), C groups are instance norm.

Kinks: none (ε > 0; with ε = 0 a group of equal numbers gives 0/0, NaN).
Errors: fewer than two axes, a num_groups that does not divide C, w or b not of shape (C,).
Source: Wu and He, Group Normalization (2018), section 3; PyTorch documentation, torch.nn.GroupNorm.
"""

from handgrad._arrays import namespace, size
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad.derivations._norms import (
    affine,
    affine_vjp,
    along_channels,
    require_channels,
    standardize,
    standardize_vjp,
)


def forward(x, w=None, b=None, *, num_groups, eps=1e-5):
    require(x.ndim > 1, "group_norm needs an input (N, C, ...)", tuple(x.shape), "add the missing axes")
    require(
        num_groups > 0 and x.shape[1] % num_groups == 0,
        "num_groups must be positive and divide the number of channels",
        f"{num_groups} for {x.shape[1]} channels",
        "choose another number of groups",
    )
    require_channels("group_norm", x, w, b)
    rows, rstd, *_ = standardize(_as_rows(x, num_groups), (2,), eps)  # rstd is r
    xhat = namespace(x).reshape(rows, x.shape)
    w, b = along_channels(w, x), along_channels(b, x)
    return affine(xhat, w, b), (xhat, rstd, w, b is not None)


def backward(dy, residuals, *, num_groups, eps=1e-5):  # noqa: ARG001 (eps is in rstd)
    xhat, rstd, w, has_bias = residuals
    dxhat, dw, db = affine_vjp(dy, xhat, w, has_bias)
    dx = standardize_vjp(_as_rows(dxhat, num_groups), _as_rows(xhat, num_groups), rstd, (2,))
    return namespace(dy).reshape(dx, dy.shape), dw, db


def _as_rows(x, groups):
    """(N, C, ...) -> (N, groups, D): a row holds all channels of a group."""
    n, c, *rest = x.shape
    return namespace(x).reshape(x, (n, groups, c // groups * size(rest)))


def fit(rng, shape):
    """On any value (N, C, ...) with enough elements in each group."""
    if len(shape) < 2 or 0 in shape:
        return None
    c = shape[1]
    fitting = [g for g in range(1, c + 1) if c % g == 0 and size(shape[1:]) // g > 2]
    if not fitting:
        return None
    w, b = (normal(c, mean=m) if rng.integers(2) else None for m in (1.0, 0.0))
    groups, eps = int(rng.choice(fitting)), float(rng.choice([1e-5, 1e-3, 0.1]))
    return case("fit", normal(*shape), w, b, num_groups=groups, eps=eps)


def reference(torch, x, w=None, b=None, *, num_groups, eps=1e-5):
    """PyTorch's own; its backward pass raises on b without w, which is then all ones."""
    if w is None and b is not None:
        w = torch.ones_like(b)
    return torch.nn.functional.group_norm(x, num_groups, w, b, eps)


register(
    forward,
    backward,
    torch="torch.nn.functional.group_norm",
    reference=reference,
    autocast="float32",
    fit=fit,
    cases=[
        case("two groups", normal(2, 4, 3), normal(4), normal(4), num_groups=2),
        case("images", normal(2, 6, 2, 2), normal(6), normal(6), num_groups=3, eps=0.1),
        case("no spatial axes", normal(2, 6), normal(6), None, num_groups=2),
        case("no weight", normal(2, 4, 3), None, None, num_groups=2),
        case("a bias alone", normal(2, 4, 3), None, normal(4), num_groups=2),
        case("one group", normal(2, 4, 3), normal(4), normal(4), num_groups=1),
        case("each channel by itself", normal(2, 3, 4), normal(3), normal(3), num_groups=3),
        case("one sample, large mean", normal(1, 4, 6, mean=1000.0, scale=30.0), normal(4), normal(4),
             num_groups=2),
        case("empty batch", normal(0, 4, 3), normal(4), normal(4), num_groups=2),
    ],
)  # fmt: skip
