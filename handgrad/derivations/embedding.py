"""y_i = w[index_i], rows of a table

Shapes.  index (...) of integers in [0, n), w (n, d), y (..., d).

Chain rule.  Row v of the table stands in y wherever index_i = v, and nowhere else:
    ∂L/∂w_v = Σ_i [index_i = v] dy_i
Looking up copies rows, so its transpose adds the gradients up again (scatter-add).

Options.  ``padding_idx``: that row gets no gradient (forward as it is; negative counts from the end).
``scale_grad_by_freq``: dw_v is divided by the number of times that v occurs in index, which makes it
the mean of the dy_i instead of their sum: no gradient of y, but PyTorch's rule.
``sparse``: dw is a sparse tensor, where the array library has them.
``max_norm`` is none of these: it renormalises the table in place *before* the look-up, so it belongs
to torch_ext.functional.

Result.  dw = Σ_i dy_i (freq_i)⁻¹ [index_i ≠ padding_idx], added to row index_i.

Kinks: none.  Errors: an index or padding_idx outside the table; w without two axes; scaling a sparse
gradient.
Source: PyTorch documentation, torch.nn.functional.embedding.
"""

from handgrad._arrays import as_matrix, cast, namespace
from handgrad._cases import case, integers, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import scatter_rows, take_rows


def forward(index, w, *, padding_idx=None, scale_grad_by_freq=False, sparse=False):
    require(w.ndim == 2, "embedding needs a table w (n, d)", f"w {tuple(w.shape)}", "reshape it")
    n, d = w.shape
    require(
        padding_idx is None or -n <= padding_idx < n,
        f"padding_idx must be a row of the table, in [{-n}, {n})",
        padding_idx,
        "choose such a row",
    )
    require(
        not (scale_grad_by_freq and sparse),
        "scale_grad_by_freq needs a dense gradient",
        "sparse=True",
        "choose one of the two",
    )
    y = take_rows(w, namespace(index).reshape(index, (-1,)))
    return namespace(w).reshape(y, (*index.shape, d)), (index, n)


def backward(dy, residuals, *, padding_idx=None, scale_grad_by_freq=False, sparse=False):
    index, n = residuals
    xp = namespace(dy)
    index, dy = xp.reshape(index, (-1,)), as_matrix(dy)
    if scale_grad_by_freq:
        one_each = cast(xp.ones_like(dy[:, :1]), xp.float32)  # 16 bits would lose count
        dy = dy / take_rows(scatter_rows(one_each, index, n), index)
    if padding_idx is not None:
        dy = xp.where((index == padding_idx % n)[:, None], 0, dy)
    return None, scatter_rows(dy, index, n, sparse=sparse)


def fit(rng, shape):
    """Indices of that shape into a small table, one of its rows for padding or none."""
    n, d = (int(m) for m in rng.integers(2, 6, size=2))
    padding_idx = int(rng.integers(-n, n)) if rng.integers(2) else None
    return case("fit", integers(*shape, high=n), normal(n, d), padding_idx=padding_idx)


register(
    forward,
    backward,
    torch="torch.nn.functional.embedding",
    differentiable=("w",),
    widen=False,
    fit=fit,
    # kink: where padding_idx or scaling changes it, the gradient is a rule and no derivative
    cases=[
        case("a sentence", integers(6, high=5), normal(5, 3)),
        case("a batch", integers(2, 4, high=5), normal(5, 3)),
        case("one word", integers(high=5), normal(5, 3)),
        case("one row many times", integers(3, 7, high=1), normal(5, 3)),
        case("padding", integers(2, 6, high=3), normal(3, 2), kink=True, padding_idx=1),
        case("padding from the end", integers(2, 6, high=3), normal(3, 2), kink=True, padding_idx=-1),
        case("scaled", integers(2, 6, high=3), normal(3, 2), kink=True, scale_grad_by_freq=True),
        case(
            "scaled, padding",
            integers(9, high=3),
            normal(3, 2),
            kink=True,
            padding_idx=0,
            scale_grad_by_freq=True,
        ),
        case("sparse", integers(2, 4, high=5), normal(5, 3), sparse=True),
        case("sparse, padding", integers(2, 6, high=3), normal(3, 2), kink=True, padding_idx=2, sparse=True),
        case("no words", integers(0, 4, high=5), normal(5, 3)),
    ],
)
