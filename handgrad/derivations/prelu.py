"""y = x where x > 0, else w x, with one weight for each channel, or one for all

Shapes.  x and y (N, C, ...); w (weight) (C,), or (1,) or () for all. A vector x has one channel.

Chain rule.  dy is ∂L/∂y.  y = x where x > 0: ∂y/∂x = 1, ∂y/∂w = 0.  y = w x where x < 0: ∂y/∂x = w, ∂y/∂w =
x. A weight goes into all elements of its channel, so its gradient is the sum over them.

Result.  dx = dy where x > 0, else w dy;  dw = Σ dy x over the elements of the channel with x ≤ 0.

Kink.  At x = 0 the slope jumps from w to 1 and every value between is a subgradient; PyTorch's convention,
and ours, is w, and so it is where x is NaN (y and dw are NaN there).
Errors: a w of other length than 1 and C, or of two axes or more.
Source: He, Zhang, Ren and Sun, Delving Deep into Rectifiers (2015), section 2.1; PyTorch documentation,
torch.nn.functional.prelu.
"""

from operator import gt

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal, smooth
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives_choices import choose
from handgrad._primitives_fused import in_one_pass


def forward(x, w):
    channels = x.shape[1] if x.ndim > 1 else 1
    require(
        w.ndim < 2 and (w.ndim == 0 or w.shape[0] in (1, channels)),
        f"prelu needs one weight for each of the {channels} channels, or one for all",
        f"weights of shape {tuple(w.shape)}",
        "give a vector of that length",
    )
    return in_one_pass("prelu", _leaky, x, w), (x, w)


def backward(dy, residuals, *, needs=(True, True)):
    x, w = residuals
    xp = namespace(x)
    dx = leaky(dy, _along_channels(w, x), where=x) if needs[0] else None
    if not needs[1]:
        return dx, None
    each = choose(gt, x, 0, 0, dy * x)
    if not w.ndim or w.shape[0] == 1:
        return dx, xp.reshape(xp.sum(each), tuple(w.shape))
    return dx, xp.sum(each, axis=(0, *range(2, x.ndim)))


def _leaky(x, w):
    return leaky(x, _along_channels(w, x))


def leaky(x, slope, *, where=None):
    """x where ``where`` (x itself, if left out) is positive, else slope x."""
    return choose(gt, x if where is None else where, 0, x, slope * x)


def _along_channels(w, x):
    """w as an array that broadcasts along axis 1 of x."""
    shape = (-1, *(1,) * (x.ndim - 2)) if x.ndim > 1 and w.ndim else (1,) * min(x.ndim, 1)
    return namespace(w).reshape(w, shape)


def fit(rng, shape):
    """One weight, or one for each channel."""
    many = len(shape) > 1 and rng.integers(2)
    return case("fit", normal(*shape), normal(shape[1] if many else 1, mean=0.25, scale=0.2))


register(
    forward,
    backward,
    torch="torch.nn.functional.prelu",
    autocast="half",
    fit=fit,
    cases=[
        case("one for all", smooth(4, 5), normal(1)),
        case("one for each channel", smooth(4, 3, 2), normal(3)),
        case("an image", smooth(2, 3, 2, 2), normal(3)),
        case("a vector", smooth(5), normal(1)),
        case("the weight a number", smooth(4, 3), normal()),
        case("at the kink", exactly([[-1.0, 0.0], [-0.0, 2.0]]), exactly([0.25, -0.5]), kink=True),
        case("a number", smooth(), normal()),
        case("empty", normal(0, 3), normal(3)),
    ],
)
