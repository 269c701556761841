"""y_b = Σ_(i in bag b) s_i w[index_i], or their mean, or their largest elements: bags of rows of a table

Shapes.  index (m,) of integers in [0, n), w (n, d), y (B, d). offsets (B,) says where each bag begins:
bag b holds the places i from offsets_b up to the next bag, or to the end. With include_last_offset,
offsets (B + 1,) says the end of the last bag too. An index (B, m) without offsets has a bag in each row.
per_sample_weights s has the shape of index, for sums alone; absent it is 1. i runs over places, v over rows
of w; y_b, w_v and their gradients are vectors of length d.

Forward.  Let [i in b] be 1 if place i belongs to bag b and index_i is not padding_idx, else 0, and
N_b = Σ_i [i in b].
    sum    y_b = Σ_i [i in b] s_i w[index_i]
    mean   y_b = Σ_i [i in b] w[index_i]/max(N_b, 1)
    max    y_bj = the largest w[index_i]_j of bag b; a_bj is the place i where it stands
An empty bag gives 0.

Chain rule.  dy is ∂L/∂y. Sum and mean are linear: with b the bag of i, and c_i = s_i or 1/N_b,
    dw_v = Σ_i [index_i = v] [i in b] c_i dy_b
    ds_i = [i in b] Σ_j dy_bj w[index_i]_j
In max, where one element is larger than all others, a is constant under a small change of w:
    dw_vj = Σ_b dy_bj [index at a_bj = v]

Result.  dw is 0, but each c_i dy_b is added to row index_i (max: each dy_bj to row index[a_bj], column j).
scale_grad_by_freq divides dw_v by the number of i with index_i = v: a rule, and no derivative. (PyTorch 2.13
divides by the count of another row: docs/findings/embedding_bag.md.)
``sparse`` returns the same dw as a sparse tensor, where the array library has them. PyTorch's
``max_norm`` changes the table *before* the look-up, so it belongs to torch_ext.functional.

Ties.  Of several largest elements the first takes the gradient, PyTorch's convention and ours.
Errors: an index or padding_idx outside the table; offsets that do not begin at 0, or end behind the indices;
per-sample weights of another shape, or without sum; max that is sparse or scaled; a scaled sparse gradient.
Source: PyTorch documentation, torch.nn.functional.embedding_bag.
"""

from handgrad._arrays import cast, is_half, namespace
from handgrad._cases import case, distinct, exactly, integers, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import scatter, scatter_rows, take_rows
from handgrad._primitives_tables import argmax_rows
from handgrad.derivations._losses import require_values
from handgrad.derivations.embedding import per_use, require_table


def forward(
    index,
    w,
    offsets=None,
    per_sample_weights=None,
    *,
    mode="mean",
    padding_idx=None,
    include_last_offset=False,
    scale_grad_by_freq=False,
    sparse=False,
):
    require_table("embedding_bag", w, padding_idx, scale_grad_by_freq, sparse)
    _require(index, offsets, per_sample_weights, mode, include_last_offset, scale_grad_by_freq, sparse)
    xp = namespace(w)
    bags, bag = _bags(index, offsets, include_last_offset)
    shape, index = index.shape, xp.reshape(index, (-1,))
    rows = take_rows(w, index)  # (m, d)
    rows = cast(rows, xp.float32) if is_half(rows) else rows
    inside = bag < bags  # the last offset may end before the indices do
    if padding_idx is not None:
        inside = inside & (index != padding_idx % w.shape[0])
    bag = xp.where(inside, bag, bags)  # what belongs to no bag goes to one more, which is left out
    if mode == "max":
        place = argmax_rows(rows, bag, bags)  # (B, d): a, and -1 in an empty bag
        y = xp.where(place < 0, 0, _at(rows, place))
        return cast(y, w.dtype), (index, place, None, None, tuple(w.shape), shape)
    factor = None  # c, (m, 1)
    if per_sample_weights is not None:
        factor = cast(xp.reshape(per_sample_weights, (-1, 1)), rows.dtype)
    elif mode == "mean":
        factor = _shares(bag, bags, rows)
    y = scatter_rows(rows if factor is None else rows * factor, bag, bags + 1)[:bags, ...]
    table = None if per_sample_weights is None else w  # their gradient needs it
    factor = None if mode == "mean" else factor  # kept, it would count as something to differentiate
    return cast(y, w.dtype), (index, bag, factor, table, tuple(w.shape), shape)


def backward(dy, residuals, needs, *, mode="mean", scale_grad_by_freq=False, sparse=False, **_):
    index, where, factor, w, (n, d), shape = residuals
    xp = namespace(dy)
    dy = cast(dy, xp.float32) if is_half(dy) else dy
    if mode == "max":
        dy = xp.where(where < 0, 0, dy)  # an empty bag copied nothing
        row = _at(xp.broadcast_to(index[:, None], (index.shape[0], d)), where)
        return None, scatter(dy.mT, row.mT, n).mT, None, None
    if mode == "mean":
        factor = _shares(where, dy.shape[0], dy)
    of_no_bag = xp.zeros((1, dy.shape[1]), dtype=dy.dtype, device=dy.device)
    dy = take_rows(xp.concat([dy, of_no_bag]), where)  # (m, d): dy_b at each place of bag b
    dw = ds = None
    if needs[1]:
        dw = dy if factor is None else dy * factor
        dw = per_use(dw, index, n) if scale_grad_by_freq else dw
        dw = scatter_rows(dw, index, n, sparse=sparse)
    if len(needs) > 3 and needs[3]:
        ds = xp.reshape(xp.sum(dy * cast(take_rows(w, index), dy.dtype), axis=1), shape)
    return None, dw, None, ds


def _bags(index, offsets, include_last):
    """How many bags there are, and the bag of each place (m,); places behind the last one get that number."""
    xp, bags = namespace(index), index.shape[0]
    if offsets is None:
        each = xp.arange(bags, dtype=index.dtype, device=index.device)[:, None]
        return bags, xp.reshape(xp.broadcast_to(each, index.shape), (-1,))
    places = xp.arange(index.shape[0], dtype=offsets.dtype, device=offsets.device)
    bag = xp.searchsorted(offsets, places, side="right") - 1
    return offsets.shape[0] - (1 if include_last else 0), bag


def _shares(bag, bags, like):
    """1/N_b for the bag b of each place, (m, 1), in the dtype of ``like``."""
    xp = namespace(like)
    ones = xp.ones((bag.shape[0], 1), dtype=like.dtype, device=like.device)
    return 1 / take_rows(scatter_rows(ones, bag, bags + 1), bag)


def _at(rows, place):
    """rows[place[b, j], j]; where place is -1 any number."""
    xp = namespace(rows)
    if not rows.shape[0]:  # all bags are empty
        return xp.zeros(place.shape, dtype=rows.dtype, device=rows.device)
    return xp.take_along_axis(rows, xp.where(place < 0, 0, place), axis=0)


def _require(index, offsets, s, mode, include_last, scaled, sparse):
    """Indices, offsets, per-sample weights and mode fit each other."""
    require(
        index.ndim == (2 if offsets is None else 1),
        "embedding_bag needs an index (B, m) without offsets, or (m,) with offsets",
        f"index {tuple(index.shape)} and {'no' if offsets is None else tuple(offsets.shape)} offsets",
        "reshape the index, or give or leave out the offsets",
    )
    require(
        offsets is not None or index.shape[1] > 0,
        "bags of one length need at least one place",
        f"index {tuple(index.shape)}",
        "give offsets for empty bags",
    )
    require(
        mode in ("sum", "mean", "max"),
        "mode must be one of sum, mean and max",
        repr(mode),
        "choose one",
    )
    require(
        s is None or (mode == "sum" and s.shape == index.shape),
        "per-sample weights need mode sum and the shape of the index",
        f"mode {mode}" + ("" if s is None else f", {tuple(s.shape)} for index {tuple(index.shape)}"),
        "use mode sum and reshape them",
    )
    require(
        not (mode == "max" and (scaled or sparse)),
        "mode max has a dense gradient, not scaled by frequency",
        f"scale_grad_by_freq={scaled} and sparse={sparse}",
        "leave them out, or use another mode",
    )
    if offsets is None:
        return
    require(
        offsets.ndim == 1 and offsets.shape[0] >= (1 if include_last else 0),
        "offsets must have one axis, and with include_last_offset an element",
        tuple(offsets.shape),
        "reshape them",
    )
    if offsets.shape[0]:
        require_values(
            (offsets[:1] == 0) & (offsets[-1:] <= index.shape[0]),
            "offsets must begin at 0 and end at most at the number of indices",
            lambda: f"{offsets} for {index.shape[0]} indices",
            "mend them",
        )


def reference(torch, index, w, offsets=None, s=None, *, scale_grad_by_freq=False, mode="mean", **options):
    """PyTorch's own, but for scaled gradients, which it divides by the counts of other rows."""
    functional = torch.nn.functional
    if scale_grad_by_freq:  # bags of one row, no padding
        return functional.embedding(index[:, 0], w, scale_grad_by_freq=True)
    return functional.embedding_bag(index, w, offsets, per_sample_weights=s, mode=mode, **options)


register(
    forward,
    backward,
    torch="torch.nn.functional.embedding_bag",
    differentiable=("w", "per_sample_weights"),
    reference=reference,
    widen=False,
    # kink=True where scaling makes dw a rule and no derivative: numerical ones differ
    cases=[
        case("mean of rows", integers(3, 4, high=5), normal(5, 3)),
        case("sum", integers(3, 4, high=5), normal(5, 3), mode="sum"),
        case("sum, weights", integers(3, 4, high=5), normal(5, 3), None, normal(3, 4), mode="sum"),
        case("max", integers(3, 2, high=9), distinct(9, 3), mode="max"),
        case("padding", integers(4, 5, high=3), normal(3, 2), padding_idx=-1),
        case("padding, max", integers(4, 5, high=3), distinct(3, 2), mode="max", padding_idx=0),
        case("padding, weights", integers(4, 5, high=3), normal(3, 2), None, normal(4, 5), mode="sum",
             padding_idx=1),
        case("ties", integers(2, 6, high=2), exactly([[1, 2, 3], [1, 3, 3]]), mode="max", kink=True),
        case("scaled by frequency", integers(9, 1, high=3), normal(3, 2), mode="sum", kink=True,
             scale_grad_by_freq=True),
        case("sparse", integers(2, 4, high=5), normal(5, 3), sparse=True),
        case("an empty bag", integers(4, high=5), normal(5, 3), integers(2, high=1)),
        case("an empty bag, max", integers(4, high=5), distinct(5, 3), integers(2, high=1), mode="max"),
        case("an empty bag at last", integers(0, high=5), normal(5, 3), integers(2, high=1), mode="sum",
             include_last_offset=True),
        case("no bags", integers(0, 3, high=5), normal(5, 3)),
    ],
)  # fmt: skip
