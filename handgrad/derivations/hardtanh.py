"""y = min(max(x, a), b)

Shapes.  x and y (...), element by element.  a and b are the numbers ``min_val`` ≤ ``max_val``.

Chain rule.  dy is ∂L/∂y.  y = x where a < x < b, so ∂y/∂x = 1; y is one of the constants a and b beyond,
so ∂y/∂x = 0.

Result.  dx = dy where a < x < b, else 0.

Kinks.  At x = a and x = b the slope jumps between 0 and 1 and every value between is a subgradient;
PyTorch's convention, and ours, is 0. Where x is NaN, y is NaN and dy is handed on.
Errors: a > b.
Source: Collobert, Large Scale Machine Learning (2004); PyTorch documentation, torch.nn.functional.hardtanh.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal, smooth
from handgrad._derivation import register
from handgrad._errors import require
from handgrad.derivations._pieces import passed_between


def forward(x, *, min_val=-1.0, max_val=1.0):
    require(
        min_val <= max_val, "min_val must not exceed max_val", f"{min_val} and {max_val}", "exchange them"
    )
    return namespace(x).clip(x, min_val, max_val), (x,)


def backward(dy, residuals, *, min_val=-1.0, max_val=1.0):
    (x,) = residuals
    return passed_between(dy, x, min_val, max_val)


def fit(rng, shape):
    """Any two bounds."""
    low, high = sorted(float(v) for v in rng.uniform(-2, 2, 2))
    return case("fit", normal(*shape), min_val=low, max_val=high)


register(
    forward,
    backward,
    torch="torch.nn.functional.hardtanh",
    widen=False,
    fit=fit,
    cases=[
        case("between and beyond", smooth(4, 5, kinks=(-1.0, 1.0))),
        case("other bounds", smooth(4, 5, kinks=(-0.5, 2.0)), min_val=-0.5, max_val=2.0),
        case("bounds of one sign", smooth(4, 5, kinks=(0.25, 1.0)), min_val=0.25, max_val=1.0),
        case("one bound", smooth(4, 5, kinks=(0.5,)), min_val=0.5, max_val=0.5),
        case("at the kinks", exactly([-1.0, 0.0, 1.0]), kink=True),
        case("a number", smooth(kinks=(-1.0, 1.0))),
        case("empty", normal(0, 5)),
    ],
)
