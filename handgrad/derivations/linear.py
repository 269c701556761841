"""y = x wᵀ + b

Shapes.  x (..., n), w (m, n) or (n,), b (m,) or absent; y (..., m), or (...) for w (n,).

Forward.  In indices, i running over the rows of x (all leading axes as one):  y_ij = Σ_k x_ik w_jk + b_j.

Chain rule.  Given dy_ij = ∂L/∂y_ij,
    ∂L/∂x_ik = Σ_j dy_ij ∂y_ij/∂x_ik = Σ_j dy_ij w_jk      each output j that uses x_ik
    ∂L/∂w_jk = Σ_i dy_ij ∂y_ij/∂w_jk = Σ_i dy_ij x_ik      each row i that uses w_jk
    ∂L/∂b_j  = Σ_i dy_ij                                   b_j was broadcast to each row

Result.  dx = dy w,  dw = dyᵀ x,  db = dy summed over the rows (after ``backward``, by
``_arrays.unbroadcast``).
For complex numbers, w and x are conjugated (see ``derivations``).

Kinks: none.  Errors: n differs between x and w.
Source: PyTorch documentation, torch.nn.functional.linear; the lecture's section 8.2, in rows.
"""

from handgrad._arrays import as_matrix, conj, namespace
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives_fused import affine


def forward(x, w, b=None):
    require(
        x.ndim > 0 and x.shape[-1] == w.shape[-1],
        "linear needs the last axis of x and of w to have the same length",
        f"x {tuple(x.shape)} and w {tuple(w.shape)}",
        "transpose w, which is (outputs, inputs)",
    )
    return affine(x, w, b), (x, w, b is not None)


def backward(dy, residuals, needs):
    # needs: which gradients are wanted
    x, w, has_bias = residuals
    xp = namespace(dy)
    if w.ndim == 1:  # one output without an axis of its own
        dx = dy[..., None] * conj(w) if needs[0] else None
        dw = xp.reshape(dy, (-1,)) @ conj(as_matrix(x)) if needs[1] else None
    else:
        dx = dy @ conj(w) if needs[0] else None
        dw = as_matrix(dy).mT @ conj(as_matrix(x)) if needs[1] else None
    return dx, dw, dy if has_bias else None


def fit(rng, shape):
    """On top of any value with at least one axis: a few outputs, a bias or none."""
    if not shape:
        return None
    m = int(rng.integers(1, 5))
    bias = normal(m) if rng.integers(2) else None
    return case("fit", normal(*shape), normal(m, shape[-1]), bias)


register(
    forward,
    backward,
    torch="torch.nn.functional.linear",
    autocast="half",
    widen=False,
    fit=fit,
    cases=[
        case("bias", normal(5, 3), normal(4, 3), normal(4)),
        case("no bias", normal(5, 3), normal(4, 3), None),
        case("one vector", normal(3), normal(4, 3), normal(4)),
        case("batch of matrices", normal(2, 5, 3), normal(4, 3), normal(4)),
        case("w is a vector", normal(2, 5, 3), normal(3), normal()),
    ],
)
