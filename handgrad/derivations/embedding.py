"""y_i = w[index_i], rows of a table

Shapes.  index (...) of integers in [0, n), w (n, d), y (..., d). i runs over the places of index, v over
the rows of w; y_i, w_v and their gradients are vectors of length d.

Forward.  Row index_i of w is copied to place i. In other words y_i = Σ_v [index_i = v] w_v, where
[index_i = v] is 1 if index_i = v, else 0: linear in w, a matrix product with a one-hot matrix that is
never built.

Chain rule.  dy is ∂L/∂y. Row w_v stands in y_i wherever index_i = v, and nowhere else:
    dw_v = Σ_i [index_i = v] dy_i

Result.  dw is 0, but each dy_i is added to row index_i ("scatter-add": the transpose of copying rows).
Indices have no gradient. Two options change dw by a rule of PyTorch, so that it is no derivative:
    padding_idx            this row gets 0 (forward uses it as it is; a negative number counts from the end)
    scale_grad_by_freq     dw_v is divided by the number of i with index_i = v: a mean instead of a sum
and ``sparse`` returns the same dw as a sparse tensor, where the array library has them. PyTorch's
``max_norm`` changes the table *before* the look-up, so it belongs to torch_ext.functional.

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
    require_table("embedding", w, padding_idx, scale_grad_by_freq, sparse)
    n, d = w.shape
    y = take_rows(w, namespace(index).reshape(index, (-1,)))
    return namespace(w).reshape(y, (*index.shape, d)), (index, n)


def backward(dy, residuals, *, padding_idx=None, scale_grad_by_freq=False, sparse=False):
    index, n = residuals
    xp = namespace(dy)
    index, dy = xp.reshape(index, (-1,)), as_matrix(dy)  # (m,) and (m, d): all places as one axis
    if scale_grad_by_freq:
        dy = per_use(dy, index, n)
    if padding_idx is not None:
        dy = xp.where((index == padding_idx % n)[:, None], 0, dy)
    return None, scatter_rows(dy, index, n, sparse=sparse)


def per_use(dy, index, n):
    """dy (m, d), each row divided by how often its index occurs in index (m,)."""
    xp = namespace(dy)
    one_each = cast(xp.ones_like(dy[:, :1]), xp.float32)  # 16 bits would lose count
    counts = scatter_rows(one_each, index, n)  # (n, 1)
    return dy / take_rows(counts, index)


def require_table(layer, w, padding_idx, scaled, sparse):
    """w is a table, padding_idx one of its rows, and a scaled gradient is dense."""
    require(w.ndim == 2, f"{layer} needs a table w (n, d)", f"w {tuple(w.shape)}", "reshape it")
    n = w.shape[0]
    require(
        padding_idx is None or -n <= padding_idx < n,
        f"padding_idx must be a row of the table, in [{-n}, {n})",
        padding_idx,
        "choose such a row",
    )
    require(
        not (scaled and sparse),
        "scale_grad_by_freq needs a dense gradient",
        "sparse=True",
        "choose one of the two",
    )


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
    # kink=True where padding_idx or scaling makes dw a rule and no derivative: numerical ones differ
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
