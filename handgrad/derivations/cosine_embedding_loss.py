"""L = mean (or sum) of l,  l = 1 - c where t = 1, max(0, c - m) where t = -1,  c the cosine of a and b

Shapes.  a and b (N, n) or (n,), t (labels 1 and -1, constant) (N,) or (); L (), or the shape of t for
reduction "none". m is the margin.

Forward.  c = Σ a b / sqrt((Σ a² + ε) (Σ b² + ε)) with ε = 1e-12, PyTorch's formula, and ours. For any
other t the loss is 0.

Chain rule.  With A = Σ a² + ε and B = Σ b² + ε,
    ∂c/∂a_k = b_k / sqrt(A B) - Σ a b / 2 (A B)^(-3/2) B 2 a_k = b_k / sqrt(A B) - c a_k / A
    ∂l/∂c = -1 where t = 1,  1 where t = -1 and c > m,  else 0

Result.  da = (b / sqrt(A B) - c a / A) dc,  db = (a / sqrt(A B) - c b / B) dc,  dc = ∂l/∂c dl. dL is what
arrives (``dy`` in the code); dl = dL / number for the mean, dL for the sum and "none".

Kink.  At c = m (t = -1) PyTorch's convention, and ours, is the slope 1.
Errors: shapes that do not fit, an unknown reduction.
Source: PyTorch documentation, torch.nn.CosineEmbeddingLoss.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad.derivations._losses import TINY, hinge, reduce, spread, through_hinge


def forward(a, b, t, *, margin=0.0, reduction="mean"):
    require(
        t.ndim in (0, 1) and a.ndim == b.ndim == t.ndim + 1,
        "cosine_embedding_loss needs inputs (N, n) with a target (N,), or (n,) with a single one",
        f"inputs {tuple(a.shape)} and {tuple(b.shape)}, target {tuple(t.shape)}",
        "reshape them",
    )
    xp = namespace(a)
    c, _ = _cosine(a, b)
    loss = xp.where(t == 1, 1 - c, 0) + xp.where(t == -1, hinge(c - margin), 0)
    return reduce(loss, reduction), (a, b, t)


def backward(dy, residuals, *, margin=0.0, reduction="mean"):
    a, b, t = residuals
    xp = namespace(dy)
    c, (aa, bb, scale) = _cosine(a, b)
    dl = spread(dy, c.shape, reduction)
    dc = xp.where(t == -1, through_hinge(dl, c - margin), 0) - xp.where(t == 1, dl, 0)
    across, c_a, c_b = (xp.expand_dims(v, axis=-1) for v in (dc / scale, c * dc / aa, c * dc / bb))
    return across * b - c_a * a, across * a - c_b * b


def _cosine(a, b):
    """c, and what it is made of: A, B, sqrt(A B)."""
    xp = namespace(a)
    aa, bb = xp.sum(a * a, axis=-1) + TINY, xp.sum(b * b, axis=-1) + TINY
    scale = xp.sqrt(aa * bb)
    return xp.sum(a * b, axis=-1) / scale, (aa, bb, scale)


register(
    forward,
    backward,
    torch="torch.nn.functional.cosine_embedding_loss",
    differentiable=("a", "b"),
    autocast="loss",
    cases=[
        case("mean", normal(4, 3), normal(4, 3), exactly([1.0, -1.0, 1.0, -1.0])),
        case("sum", normal(4, 3), normal(4, 3), exactly([1.0, -1.0, 1.0, -1.0]), reduction="sum"),
        case("none", normal(4, 3), normal(4, 3), exactly([1.0, -1.0, 1.0, -1.0]), reduction="none"),
        case("margin", normal(6, 3), normal(6, 3), exactly([-1.0] * 6), margin=0.25, reduction="none"),
        case("one pair", normal(3), normal(3), exactly(1.0)),
        case("one vector for all", normal(4, 3), normal(1, 3), exactly([1.0, -1.0, 1.0, 0.0])),
        case(
            "at the margin",
            exactly([[1.0, 0.0], [0.0, 1.0]]),
            exactly([[0.0, 1.0], [1.0, 0.0]]),
            exactly([-1.0, 1.0]),
            kink=True,
        ),
        case(
            "a vector of zeros",
            exactly([[0.0, 0.0], [1.0, 2.0]]),
            normal(2, 2),
            exactly([1.0, 1.0]),
            kink=True,
        ),
    ],
)
