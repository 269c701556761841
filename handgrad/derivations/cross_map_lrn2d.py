"""y_c = x_c / s_c^β,  s_c = k + α/n Σ_j x_j²,  the sum over the channels c - h ... c + h,  h = ⌊(n - 1)/2⌋

Shapes.  x and y (N, C, H, W). c and j count channels; each sample and place by itself. x is 0 outside of
0 ... C - 1.

Forward, chain rule.  ``local_response_norm`` with a window that is the same on both sides of c: for an odd
n the same window, for an even n one of n - 1 channels (α is still divided by n).

Result.  dx = dy/s^β - 2 α/n β x (window sum of dy x/s^(β + 1)), over the same window.

PyTorch 2.13 differs (docs/findings/cross_map_lrn2d.md): it never takes channel 0 out of the window again, and
its gradient sums over the channels before m alone. Its first h + 1 channels are right.

Kinks: none where s > 0 (so with k > 0 and α ≥ 0).
Errors: other than four axes, no channel, n < 1.
Source: Krizhevsky, Sutskever and Hinton, ImageNet Classification with Deep Convolutional Neural Networks
(2012), section 3.3; PyTorch, torch.nn.CrossMapLRN2d.
"""

from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import IndexInputError, require
from handgrad.derivations._norms import respond, respond_vjp


def forward(x, *, size, alpha=1e-4, beta=0.75, k=1.0):
    require(x.ndim == 4, "CrossMapLRN2d needs an input (N, C, H, W)", tuple(x.shape), "reshape it")
    require(x.shape[1] > 0, "CrossMapLRN2d needs a channel", tuple(x.shape), "give one", IndexInputError)
    require(size > 0, "CrossMapLRN2d needs a window of at least one channel", f"size {size}", "widen it")
    h = (size - 1) // 2
    return respond(x, h, h, alpha / size, beta, k)


def backward(dy, residuals, *, size, alpha=1e-4, beta=0.75, k=1.0):  # noqa: ARG001 (k is in s)
    h = (size - 1) // 2
    return respond_vjp(dy, residuals, h, h, alpha / size, beta)


def reference(torch, x, *, size, alpha=1e-4, beta=0.75, k=1.0):
    """PyTorch's local response norm of the odd window: its CrossMapLRN2d is wrong."""
    odd = 2 * ((size - 1) // 2) + 1
    return torch.nn.functional.local_response_norm(x, odd, alpha * odd / size, beta, k).to(x.dtype)


def fit(rng, shape):
    """On any value (N, C, H, W)."""
    if len(shape) != 4 or shape[1] == 0:
        return None
    options = {"alpha": float(rng.uniform(0, 2)), "beta": float(rng.uniform(0.3, 1.5))}
    return case("fit", normal(*shape), size=int(rng.integers(1, 6)), k=float(rng.uniform(0.5, 2)), **options)


register(
    forward,
    backward,
    torch="torch.nn.CrossMapLRN2d",
    reference=reference,
    fit=fit,
    cases=[
        case("three channels", normal(2, 5, 2, 2), size=3, alpha=1.5),
        case("an even size", normal(2, 6, 1, 2), size=4, alpha=0.7, beta=0.5, k=2.0),
        case("one channel", normal(2, 1, 2, 2), size=5, alpha=2.0, beta=1.3, k=0.5),
        case("empty", normal(0, 3, 2, 2), size=3),
    ],
)
