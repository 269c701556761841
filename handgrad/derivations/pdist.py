"""y_k = ‖x_i - x_j‖_p  for all pairs of rows i < j

Shapes.  x (n, m); y (n (n - 1) / 2,), the pairs in the order (0, 1), (0, 2), ..., (1, 2), ...

Chain rule.  With e = x_i - x_j for pair k, ``_distances`` derives s_k = ∂y_k/∂e. Row i of x goes into each
pair that it is part of: with +s_k as the first of the two, with -s_k as the second.

Result.  dx_r = Σ_k ([i_k = r] - [j_k = r]) s_k dy_k. As s changes its sign with e, this is the sum of dy s
over the pairs of r with every other row j, e = x_r - x_j: a product of matrices, once dy stands in a square.
It is taken for a few rows r at a time: e of all pairs would be m times as large as y.

Kinks.  At equal rows the slope is 0. For p = ∞ several equal largest |e| share it evenly (PyTorch gives all
of it to each, which is no subgradient).
Errors: x without exactly two axes, a negative p.
Source: PyTorch documentation, torch.nn.functional.pdist.
"""

from math import inf

import numpy as np

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import take_rows
from handgrad._primitives_fused import in_one_pass
from handgrad.derivations._distances import p_norm, through_p_norm

BLOCK = 2**17  # numbers of e at a time


def forward(x, *, p=2.0):
    require(x.ndim == 2, "pdist needs rows (n, m)", tuple(x.shape), "reshape the input")
    require(p >= 0, "pdist needs a p that is not negative", p, "give 0, a positive number or infinity")
    y = in_one_pass("pdist", _norms_of_pairs, x, p)
    return y, (x, y)


def backward(dy, residuals, *, p=2.0):
    x, y = residuals
    xp = namespace(dy)
    if p == 2:  # s = e/y
        dn, norms = _square(dy / xp.where(y == 0, 1, y), x), None
    else:
        dn, norms = _square(dy, x), xp.expand_dims(_square(y, x), axis=-1)
    n, m = x.shape
    rows = max(1, BLOCK // max(n * m, 1))
    if rows >= n:
        return _of_rows(x, x, dn, norms, p)
    blocks = [slice(first, min(first + rows, n)) for first in range(0, n, rows)]
    return xp.concat(
        [_of_rows(x[b, :], x, dn[b, :], norms if norms is None else norms[b, ...], p) for b in blocks]
    )


def _of_rows(some, x, dn, norms, p):
    """dx of some rows."""
    xp = namespace(x)
    s = e = xp.expand_dims(some, axis=1) - xp.expand_dims(x, axis=0)  # (rows, n, m)
    if norms is not None:
        s = through_p_norm(xp.ones_like(e), e, norms, p)
    return (xp.expand_dims(dn, axis=1) @ s)[:, 0, :]


def _norms_of_pairs(x, p):
    i, j = np.triu_indices(x.shape[0], 1)
    xp = namespace(x)
    first, second = (xp.asarray(k, dtype=xp.int64, device=x.device) for k in (i, j))
    return p_norm(take_rows(x, first) - take_rows(x, second), p)


def _square(v, x):
    """v (pairs,) as a symmetric matrix (n, n), with zeros on its diagonal."""
    xp, n = namespace(v), x.shape[0]
    if n < 2:
        return xp.zeros((n, n), dtype=v.dtype, device=v.device)
    i = xp.arange(n, dtype=xp.int64, device=v.device)
    before = i * (2 * n - i - 3) // 2 - 1  # pair (i, j) is number before_i + j
    place = xp.clip(before[:, None] + i[None, :], 0, v.shape[0] - 1)
    upper = xp.triu(xp.reshape(take_rows(v, xp.reshape(place, (-1,))), (n, n)), k=1)
    return upper + upper.mT


register(
    forward,
    backward,
    torch="torch.nn.functional.pdist",
    autocast="float32",
    fit=lambda rng, shape: case("fit", normal(*shape)) if len(shape) == 2 and shape[0] else None,
    cases=[
        case("p = 2", normal(5, 3)),
        case("p = 1", normal(4, 3), p=1.0),
        case("p = 1.5", normal(4, 3), p=1.5),
        case("p = 3", normal(4, 3), p=3.0),
        case("largest difference", normal(4, 3), p=inf),
        case("count of differences", normal(4, 3), p=0.0),
        case("one row", normal(1, 3)),
        case("equal rows", exactly([[1.0, 2.0], [1.0, 2.0], [0.0, 1.0]]), kink=True),
    ],
)
