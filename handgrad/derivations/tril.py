"""y_ij = x_ij where j - i ≤ k, else 0

Shapes.  x and y (..., n, m), matrices; k is ``diagonal``.

Chain rule.  dy is ∂L/∂y.  ∂y_ij/∂x_ij is 1 in the triangle that is kept, else 0.

Result.  dx = dy, cut in the same way.  triu, registered here too, keeps j - i ≥ k.

Kinks: none.  Errors: fewer than two axes.
Source: PyTorch documentation, torch.tril and torch.triu.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require


def forward(x, *, diagonal=0):
    return namespace(x).tril(need_matrices(x), k=diagonal), ()


def backward(dy, _, **options):
    return forward(dy, **options)[0]


def forward_of_triu(x, *, diagonal=0):
    return namespace(x).triu(need_matrices(x), k=diagonal), ()


def backward_of_triu(dy, _, **options):
    return forward_of_triu(dy, **options)[0]


def need_matrices(x):
    require(x.ndim > 1, "a triangle is cut from matrices", f"{x.ndim} axes", "give at least two")
    return x


_CASES = [
    case("square", normal(4, 4)),
    case("wide, above", normal(3, 5), diagonal=1),
    case("batch of tall ones, below", normal(2, 5, 3), diagonal=-2),
    case("empty", normal(0, 5)),
]
register(forward, backward, torch="torch.tril", widen=False, cases=_CASES)
register(
    forward_of_triu,
    backward_of_triu,
    name="triu",
    torch="torch.triu",
    doc=__doc__.replace("≤ k, else 0", "≥ k, else 0", 1),
    widen=False,
    cases=_CASES,
)
