"""y_t = a_t b_g(t), where g(t) is the group of row t: one matrix product for each group

Shapes.  ``ends`` (G,) holds increasing integers: group g is the rows (or columns) from ends[g-1] (0 for the
first) to ends[g], the last not included.  What is split into groups is the axis T of one of three forms:
    a (T, K), b (G, K, N);  y (T, N)          y_t = a_t b_g(t)
    a (G, M, K), b (K, T);  y (M, T)          column t of y is a_g(t) times column t of b
    a (M, T), b (T, N);     y (G, M, N)       y_g = Σ_(t in group g) (column t of a)(row t of b)
Without ``ends``, a (G, M, K) and b (G, K, N) are a batch of matrices.

Forward.  y is 0 for rows and columns behind the last group.

Chain rule.  dy is ∂L/∂y.  In the first form y_ti = Σ_k a_tk b_g(t),ki, so
    da_tk  = Σ_i dy_ti b_g(t),ki                       da_t = dy_t b_g(t)ᵀ: the first form again
    db_gki = Σ_(t in group g) a_tk dy_ti               db_g = Σ_(t in group g) a_tᵀ dy_t: the third form
In the second form a and b have exchanged roles.  In the third, y_gij = Σ_(t in group g) a_it b_tj gives
da_it = Σ_j dy_g(t),ij b_tj, the second form, and db_tj = Σ_i a_it dy_g(t),ij, the first.

Result.  As for any product of matrices da = dy bᵀ and db = aᵀ dy, each product in groups with the same ends.
For complex numbers the factors are conjugated (see ``derivations``).

Kinks: none.  Errors: shapes that do not match, ends missing or not wanted, not increasing, or behind T.
Source: PyTorch documentation, torch.nn.functional.grouped_mm; Gale, Narayanan, Young and Zaharia 2023,
MegaBlocks, section 3 (mixtures of experts).
"""

from handgrad._arrays import adjoint
from handgrad._cases import case, labels, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives_columns import grouped_product


def forward(a, b, ends=None):
    _check(a, b, ends)
    return grouped_product(a, b, ends), (a, b, ends)


def backward(dy, residuals, needs):
    a, b, ends = residuals
    da = grouped_product(dy, adjoint(b), ends) if needs[0] else None
    db = grouped_product(adjoint(a), dy, ends) if needs[1] else None
    return da, db, None


def _check(a, b, ends):
    require(
        a.ndim in (2, 3) and b.ndim in (2, 3) and a.shape[-1] == b.shape[-2],
        "grouped_mm needs matrices or batches of matrices whose inner lengths match",
        f"a {tuple(a.shape)}, b {tuple(b.shape)}",
        "transpose or reshape one",
    )
    batch = a.ndim == b.ndim == 3
    require(
        (ends is None) == batch and (ends is None or ends.ndim == 1),
        "grouped_mm needs the ends of the groups (G,) where a or b is one matrix, and none for two batches",
        "none" if ends is None else f"ends {tuple(ends.shape)}",
        "leave them out" if batch else "give them",
    )
    groups = [x.shape[0] for x in (a, b) if x.ndim == 3] + ([] if ends is None else [ends.shape[0]])
    require(
        len(set(groups)) == 1,
        "grouped_mm needs one matrix for each group",
        f"a {tuple(a.shape)}, b {tuple(b.shape)}, {groups[-1]} groups",
        "make the numbers of groups match",
    )


def fit(rng, shape):
    """On any matrix: two groups of its rows, the last ones left out or not."""
    if len(shape) != 2 or 0 in shape:
        return None
    ends = sorted(int(n) for n in rng.integers(0, shape[0] + 1, 2))
    return case("fit", normal(*shape), normal(2, shape[1], int(rng.integers(1, 5))), _ends(*ends))


def _ends(*values):
    return labels(values)


def reference(torch, a, b, ends=None):
    """PyTorch's own takes neither float64 nor rows of any length: then the products one by one."""
    try:
        return torch.nn.functional.grouped_mm(a, b, offs=None if ends is None else ends.int())
    except RuntimeError:
        with torch.autocast(a.device.type, enabled=False):  # which leaves grouped_mm as it is
            return _one_by_one(torch, a, b, ends)


def _one_by_one(torch, a, b, ends):
    if ends is None:
        return torch.matmul(a, b)
    spans = [slice(int(s), int(e)) for s, e in zip([0, *ends[:-1]], ends, strict=True)]
    if a.ndim == b.ndim:
        return torch.stack([torch.matmul(a[:, s], b[s]) for s in spans])
    if a.ndim == 2:
        rows = torch.cat([torch.matmul(a[s], m) for s, m in zip(spans, b, strict=True)])
        return torch.cat([rows, rows.new_zeros(a.shape[0] - rows.shape[0], rows.shape[1])])
    columns = torch.cat([torch.matmul(m, b[:, s]) for s, m in zip(spans, a, strict=True)], 1)
    return torch.cat([columns, columns.new_zeros(columns.shape[0], b.shape[1] - columns.shape[1])], 1)


register(
    forward,
    backward,
    torch="torch.nn.functional.grouped_mm",
    reference=reference,
    differentiable=("a", "b"),
    widen=False,
    fit=fit,
    cases=[
        case("rows", normal(5, 3), normal(2, 3, 4), _ends(2, 5)),
        case("rows, the last ones in no group", normal(5, 3), normal(2, 3, 2), _ends(1, 3)),
        case("an empty group", normal(4, 2), normal(3, 2, 3), _ends(0, 3, 4)),
        case("columns", normal(2, 3, 2), normal(2, 5), _ends(3, 5)),
        case("columns, the last ones in no group", normal(2, 3, 2), normal(2, 5), _ends(1, 4)),
        case("columns by rows", normal(3, 5), normal(5, 2), _ends(2, 4)),
        case("batches", normal(2, 3, 4), normal(2, 4, 2), None),
        case("one row", normal(1, 2), normal(1, 2, 1), _ends(1)),
    ],
)
