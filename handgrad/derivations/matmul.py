"""y = x1 x2, the matrix product

Shapes.  x1 (..., n, k), x2 (..., k, m), y (..., n, m); leading axes broadcast together.
A vector x1 (k,) is one row, (1, k); a vector x2 (k,) is one column, (k, 1); the axis of length 1
that this gives y is left out.

Chain rule.  y_ij = Σ_l x1_il x2_lj, so with dy_ij = ∂L/∂y_ij
    ∂L/∂x1_il = Σ_j dy_ij x2_lj      each column j of y that uses x1_il
    ∂L/∂x2_lj = Σ_i dy_ij x1_il      each row i of y that uses x2_lj

Result.  dx1 = dy x2ᵀ,  dx2 = x1ᵀ dy  (ᵀ conjugates too for complex numbers). Matrices that were
broadcast have their gradients summed over the copies (after ``backward``, by ``_arrays.unbroadcast``).

Kinks: none.  Errors: an operand without axes; different lengths k; leading axes that do not broadcast.
Source: PyTorch documentation, torch.matmul.
"""

from handgrad._arrays import adjoint
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require


def forward(x1, x2):
    require(
        x1.ndim > 0 and x2.ndim > 0 and x1.shape[-1] == x2.shape[max(x2.ndim - 2, 0)],
        "matmul needs as many columns in x1 as there are rows in x2",
        f"x1 {tuple(x1.shape)} and x2 {tuple(x2.shape)}",
        "transpose one of them",
    )
    return x1 @ x2, (x1, x2)


def backward(dy, residuals, needs):
    # needs: which gradients are wanted
    x1, x2 = residuals
    is_row, is_column = x1.ndim == 1, x2.ndim == 1
    # vectors as matrices; dy gets the axes that y left out, the last one first
    x1 = x1[None, :] if is_row else x1
    x2 = x2[:, None] if is_column else x2
    dy = dy[..., None] if is_column else dy
    dy = dy[..., None, :] if is_row else dy

    dx1 = dy @ adjoint(x2) if needs[0] else None
    dx2 = adjoint(x1) @ dy if needs[1] else None
    if is_row and needs[0]:
        dx1 = dx1[..., 0, :]
    if is_column and needs[1]:
        dx2 = dx2[..., 0]
    return dx1, dx2


def fit(rng, shape):
    """A matrix, a matrix for each item of the batch, or a vector."""
    if not shape:
        return None
    k, m = shape[-1], int(rng.integers(1, 5))
    second = [(k, m), (*shape[:-2], k, m), (k,)][int(rng.integers(3))]
    return case("fit", normal(*shape), normal(*second))


register(
    forward,
    backward,
    torch="torch.matmul",
    autocast="half",
    widen=False,
    fit=fit,
    cases=[
        case("matrices", normal(3, 4), normal(4, 2)),
        case("vector by vector", normal(4), normal(4)),
        case("vector by matrix", normal(4), normal(4, 2)),
        case("matrix by vector", normal(3, 4), normal(4)),
        case("batches", normal(2, 3, 4), normal(2, 4, 5)),
        case("one matrix for a batch", normal(2, 3, 4), normal(4, 5)),
        case("a batch for one matrix", normal(3, 4), normal(2, 4, 5)),
        case("batches broadcast", normal(2, 1, 3, 4), normal(3, 4, 2)),
        case("vector by batch", normal(4), normal(2, 4, 3)),
        case("batch by vector", normal(2, 3, 4), normal(4)),
        case("k = 0", normal(3, 0), normal(0, 2)),
        case("no rows", normal(0, 4), normal(4, 2)),
    ],
)
