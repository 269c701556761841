"""y_o = Σ_i Σ_j x1_i w_oij x2_j + b_o

Shapes.  x1 (..., m), x2 (..., n) with the same leading axes, w (O, m, n), b (O,) or absent; y (..., O).

Forward.  For each row of x1 and x2 (all leading axes as one); first over i, as one matrix product with
w as a matrix (m, O n), then over j.

Chain rule.  Given dy_o = ∂L/∂y_o, each factor gets dy times the other two:
    dx1_i  = Σ_o Σ_j dy_o w_oij x2_j
    dx2_j  = Σ_o Σ_i dy_o w_oij x1_i
    dw_oij = Σ_rows dy_o x1_i x2_j
    db_o   = Σ_rows dy_o              b was broadcast to each row

Result.  With the matrix u_ij = Σ_o dy_o w_oij of each row:  dx1 = u x2,  dx2 = uᵀ x1.
dw is one matrix product over the rows: (dy ⊗ x1)ᵀ x2.
For complex numbers the factors are conjugated (see ``derivations``).

Kinks: none.  Errors: leading axes that differ, lengths that do not match w.
Source: PyTorch documentation, torch.nn.functional.bilinear.
"""

from handgrad._arrays import as_matrix, conj, namespace
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require


def forward(x1, x2, w, b=None):
    require(
        w.ndim == 3
        and x1.ndim > 0
        and x2.ndim > 0
        and tuple(x1.shape[:-1]) == tuple(x2.shape[:-1])
        and (x1.shape[-1], x2.shape[-1]) == tuple(w.shape[1:]),
        "bilinear needs x1 (..., m), x2 (..., n) with the same leading axes, and w (O, m, n)",
        f"x1 {tuple(x1.shape)}, x2 {tuple(x2.shape)}, w {tuple(w.shape)}",
        "make them match",
    )
    require(
        b is None or tuple(b.shape) == (w.shape[0],),
        "the bias must have one entry for each output",
        "none" if b is None else f"b {tuple(b.shape)} for {w.shape[0]} outputs",
        f"give b the shape ({w.shape[0]},)",
    )
    xp = namespace(w)
    o, m, n = w.shape
    rows1, rows2 = as_matrix(x1), as_matrix(x2)
    over_i = rows1 @ xp.reshape(xp.permute_dims(w, (1, 0, 2)), (m, o * n))
    y = (xp.reshape(over_i, (rows1.shape[0], o, n)) @ rows2[..., None])[..., 0]
    y = xp.reshape(y, (*x1.shape[:-1], o))
    return (y if b is None else y + b), (x1, x2, w, b is not None)


def backward(dy, residuals, needs):
    x1, x2, w, has_bias = residuals
    xp = namespace(dy)
    o, m, n = w.shape
    rows1, rows2, rows = conj(as_matrix(x1)), conj(as_matrix(x2)), as_matrix(dy)
    dx1 = dx2 = dw = None
    if needs[0] or needs[1]:
        u = xp.reshape(rows @ conj(xp.reshape(w, (o, m * n))), (rows.shape[0], m, n))
        dx1 = xp.reshape((u @ rows2[..., None])[..., 0], tuple(x1.shape))
        dx2 = xp.reshape((rows1[:, None, :] @ u)[:, 0, :], tuple(x2.shape))
    if needs[2]:
        outer = xp.reshape(rows[:, :, None] * rows1[:, None, :], (rows.shape[0], o * m))
        dw = xp.reshape(outer.mT @ rows2, (o, m, n))
    return dx1, dx2, dw, dy if has_bias else None


def fit(rng, shape):
    """On any value with at least one axis, beside another of up to four entries a row."""
    if not shape or shape[-1] == 0:
        return None
    n, o = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    bias = normal(o) if rng.integers(2) else None
    return case("fit", normal(*shape), normal(*shape[:-1], n), normal(o, shape[-1], n), bias)


register(
    forward,
    backward,
    torch="torch.nn.functional.bilinear",
    fit=fit,
    cases=[
        case("bias", normal(5, 3), normal(5, 2), normal(4, 3, 2), normal(4)),
        case("no bias", normal(5, 3), normal(5, 2), normal(4, 3, 2), None),
        case("one pair of vectors", normal(3), normal(2), normal(4, 3, 2), normal(4)),
        case("more leading axes", normal(2, 2, 3), normal(2, 2, 2), normal(1, 3, 2), normal(1)),
        case("one row", normal(1, 1), normal(1, 2), normal(2, 1, 2), normal(2)),
        case("no rows", normal(0, 3), normal(0, 2), normal(4, 3, 2), normal(4)),
    ],
)
