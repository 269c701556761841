"""y_c = x_c / s_c^β,  s_c = k + α/n Σ_j x_j²,  the sum over the n channels around c

Shapes.  x and y (N, C, ...), with at least one axis after the channels. c, j and m count channels; all else
stands still: each sample and place by itself. The window of c is W(c) = {c - ⌊n/2⌋, ..., c + ⌊(n - 1)/2⌋}
(an even n reaches one further back), and x is 0 outside of 0 ... C - 1.

Forward.  As written; n (``size``) divides also where the window reaches over the end.

Chain rule.  dy is ∂L/∂y. x_m reaches y_m directly, and through s_c every y_c whose window holds m:
    ∂s_c/∂x_m = 2 α/n x_m [m in W(c)]
    ∂y_c/∂x_m = [c = m]/s_c^β - β x_c/s_c^(β + 1) 2 α/n x_m [m in W(c)]
    dx_m = Σ_c dy_c ∂y_c/∂x_m = dy_m/s_m^β - 2 α/n β x_m Σ_(c with m in W(c)) dy_c x_c/s_c^(β + 1)

Result.  dx = dy/s^β - 2 α/n β x (window sum of dy x/s^(β + 1)). m is in W(c) for c from m - ⌊(n - 1)/2⌋ to
m + ⌊n/2⌋: the same window with its reach before and after exchanged.

Kinks: none where s > 0 (so with k > 0 and α ≥ 0).
Errors: fewer than three axes, n < 1.
Source: Krizhevsky, Sutskever and Hinton, ImageNet Classification with Deep Convolutional Neural Networks
(2012), section 3.3; PyTorch documentation, torch.nn.LocalResponseNorm, which divides α by n.
"""

from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad.derivations._norms import respond, respond_vjp


def forward(x, *, size, alpha=1e-4, beta=0.75, k=1.0):
    require(
        x.ndim > 2,
        "local_response_norm needs an input (N, C, ...) of 3 or more axes",
        tuple(x.shape),
        "add the missing axes",
    )
    require(
        size > 0, "local_response_norm needs a window of at least one channel", f"size {size}", "widen it"
    )
    return respond(x, size // 2, (size - 1) // 2, alpha / size, beta, k)


def backward(dy, residuals, *, size, alpha=1e-4, beta=0.75, k=1.0):  # noqa: ARG001 (k is in s)
    return respond_vjp(dy, residuals, size // 2, (size - 1) // 2, alpha / size, beta)


def fit(rng, shape):
    """On any value (N, C, ...)."""
    if len(shape) < 3:
        return None
    options = {"alpha": float(rng.uniform(0, 2)), "beta": float(rng.uniform(0.3, 1.5))}
    return case("fit", normal(*shape), size=int(rng.integers(1, 6)), k=float(rng.uniform(0.5, 2)), **options)


register(
    forward,
    backward,
    torch="torch.nn.functional.local_response_norm",
    autocast="loss",  # pow and averages of volumes: float32 on the CPU too
    fit=fit,
    cases=[
        case("as in the paper", normal(2, 7, 2, 2), size=5, alpha=5e-4, beta=0.75, k=2.0),
        case("an even window", normal(2, 6, 3), size=4, alpha=1.5, beta=0.5),
        case("volumes", normal(1, 4, 2, 1, 2), size=3, alpha=0.7, beta=1.3, k=0.5),
        case("one channel a window", normal(2, 3, 4), size=1, alpha=2.0),
        case("a window beyond all channels", normal(2, 3, 2), size=9, alpha=3.0),
        case("large numbers", normal(2, 4, 3, scale=100.0), size=3, alpha=1.0),
        case("empty", normal(0, 3, 2), size=2),
    ],
)
