"""y = β c + α a b, a matrix product added to a matrix

Shapes.  a (n, k), b (k, m), c broadcasts to (n, m), the shape of y. α and β are the numbers ``alpha`` and
``beta``. baddbmm, registered here too: the same for batches, a (B, n, k), b (B, k, m).

Chain rule.  dy is ∂L/∂y.  y is a sum of two terms, and the product's gradients are those of ``matmul``.

Result.  dc = β dy,  da = α dy bᵀ,  db = α aᵀ dy  (factors conjugated, ᵀ conjugates too, for complex
numbers). Where c was broadcast, its gradient is summed over the copies (after ``backward``, by
``_arrays.unbroadcast``).

Where β = 0, c does not count, even if it holds NaN.
Kinks: none.  Errors: shapes that do not fit.
Source: PyTorch documentation, torch.addmm and torch.baddbmm.
"""

from functools import partial

from handgrad._arrays import adjoint
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives_products import add_product


def forward(c, a, b, *, beta=1, alpha=1):
    require(
        a.ndim == b.ndim and a.shape[:-2] == b.shape[:-2] and a.shape[-1] == b.shape[-2],
        "a product of matrices needs as many columns in the first as rows in the second, and equal batches",
        f"{tuple(a.shape)} and {tuple(b.shape)}",
        "transpose one of them",
    )
    shape = (*a.shape[:-1], b.shape[-1])
    require(
        c.ndim <= len(shape)
        and all(n in (1, m) for n, m in zip(reversed(c.shape), reversed(shape), strict=False)),
        f"the input must broadcast to {shape}",
        f"{tuple(c.shape)}",
        "reshape it",
    )
    if beta == 0:
        y = a @ b
        return (y if alpha == 1 else alpha * y), (a, b)
    return add_product(c if beta == 1 else beta * c, a if alpha == 1 else alpha * a, b), (a, b)


def backward(dy, residuals, needs, *, beta=1, alpha=1):
    # needs: which gradients are wanted
    a, b = residuals
    dc = dy if beta == 1 else dy * beta.conjugate()
    dy = dy if alpha == 1 else dy * alpha.conjugate()
    return dc, dy @ adjoint(b) if needs[1] else None, adjoint(a) @ dy if needs[2] else None


_shared = partial(register, forward, backward, autocast="half")
_shared(
    torch="torch.addmm",
    cases=[
        case("plain", normal(3, 2), normal(3, 4), normal(4, 2)),
        case("a row, weighed", normal(2), normal(3, 4), normal(4, 2), beta=0.5, alpha=-2.5),
        case("without the first", normal(3, 2), normal(3, 4), normal(4, 2), beta=0),
        case("k = 0", normal(3, 2), normal(3, 0), normal(0, 2)),
    ],
)
_shared(
    name="baddbmm",
    torch="torch.baddbmm",
    doc=__doc__.replace("a matrix product added to a matrix", "for each matrix of a batch", 1),
    cases=[
        case("plain", normal(2, 3, 2), normal(2, 3, 4), normal(2, 4, 2)),
        case("a row, weighed", normal(2), normal(2, 3, 4), normal(2, 4, 2), beta=0.5, alpha=-2.5),
        case("empty", normal(0, 3, 2), normal(0, 3, 4), normal(0, 4, 2)),
    ],
)
