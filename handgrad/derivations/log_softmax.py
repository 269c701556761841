"""y_i = x_i - log Σ_j exp(x_j) along one axis

Shapes.  x and y (..., n, ...), n along the axis ``dim``.

Forward.  With m the largest x_j:  log Σ_j exp(x_j) = m + log Σ_j exp(x_j - m), in which exp cannot
overflow and the sum is at least 1.

Chain rule.  dy is ∂L/∂y, and [i = k] is 1 for i = k, else 0. The derivative of log Σ_j exp(x_j) by x_k is
p_k = exp(x_k) / Σ_j exp(x_j) = exp(y_k), the softmax, so
    ∂y_i/∂x_k = [i = k] - p_k
    dx_k = Σ_i dy_i ∂y_i/∂x_k = Σ_i dy_i ([i = k] - p_k) = dy_k - p_k Σ_i dy_i

Result.  dx = dy - exp(y) Σ dy, the sum taken along the axis.

PyTorch's option ``dtype`` is a cast of x before the layer, a step of its own: torch_ext.functional makes it.

Kinks: none.  Errors: an axis that x does not have.
Source: PyTorch documentation, torch.nn.functional.log_softmax.
"""

from handgrad._arrays import namespace, normalize_axes, size
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad._primitives import copy
from handgrad._primitives_fused import log_softmax
from handgrad.derivations._fits import some_axis


def forward(x, *, dim=-1):
    axis = normalize_axes(dim, x.ndim)
    if size(x.shape) == 0:  # nothing has no largest element
        return copy(x), (x,)
    y = log_softmax(x, axis)
    return y, (y,)


def backward(dy, residuals, *, dim=-1):
    (y,) = residuals
    xp = namespace(dy)
    return dy - xp.exp(y) * xp.sum(dy, axis=normalize_axes(dim, y.ndim), keepdims=True)


register(
    forward,
    backward,
    torch="torch.nn.functional.log_softmax",
    autocast="float32",
    fit=lambda rng, shape: case("fit", normal(*shape), dim=some_axis(rng, shape)) if shape else None,
    cases=[
        case("rows", normal(4, 5), dim=-1),
        case("columns", normal(4, 5), dim=0),
        case("middle axis", normal(2, 5, 3), dim=1),
        case("ties", exactly([[1.0, 1.0, 0.0], [2.0, 2.0, 2.0]]), dim=1),
        case("large inputs", normal(3, 4, mean=1000.0, scale=10.0), dim=1),
        case("far apart", exactly([[-1000.0, 0.0, 1000.0], [1000.0, 999.0, -1000.0]]), dim=1),
        case("a number", normal(), dim=0),
        case("empty", normal(0, 4), dim=0),
        case("no classes", normal(4, 0), dim=1),
    ],
)
