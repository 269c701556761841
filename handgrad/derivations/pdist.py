"""y_k = ‖x_i - x_j‖_p  for all pairs of rows i < j

Shapes.  x (n, m); y (n (n - 1) / 2,), the pairs in the order (0, 1), (0, 2), ..., (1, 2), ...

Chain rule.  With e = x_i - x_j for pair k, ``_distances`` derives s_k = ∂y_k/∂e. Row i of x goes into each
pair that it is part of: with +s_k as the first of the two, with -s_k as the second.

Result.  dx_r = Σ_k ([i_k = r] - [j_k = r]) s_k dy_k.

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
from handgrad._primitives import scatter_rows, take_rows
from handgrad.derivations._distances import p_norm, through_p_norm


def forward(x, *, p=2.0):
    require(x.ndim == 2, "pdist needs rows (n, m)", tuple(x.shape), "reshape the input")
    require(p >= 0, "pdist needs a p that is not negative", p, "give 0, a positive number or infinity")
    first, second = _pairs(x)
    y = p_norm(take_rows(x, first) - take_rows(x, second), p)
    return y, (x, y)


def backward(dy, residuals, *, p=2.0):
    x, y = residuals
    xp = namespace(dy)
    first, second = _pairs(x)
    e = take_rows(x, first) - take_rows(x, second)
    de = through_p_norm(xp.expand_dims(dy, axis=-1), e, xp.expand_dims(y, axis=-1), p)
    return scatter_rows(xp.concat([de, -de]), xp.concat([first, second]), x.shape[0])


def _pairs(x):
    """The rows i < j of every pair."""
    xp = namespace(x)
    i, j = np.triu_indices(x.shape[0], 1)
    return xp.asarray(i, dtype=xp.int64, device=x.device), xp.asarray(j, dtype=xp.int64, device=x.device)


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
