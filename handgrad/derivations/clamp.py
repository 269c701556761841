"""y = min(max(x, low), high)

Shapes.  x, low and high broadcast together to (...), the shape of y; either bound may be absent (None).

Forward.  Where low > high, y is high.

Chain rule.  dy is ∂L/∂y.  y is a copy of x where low ≤ x ≤ high, of low where x < low ≤ high, else of high:
one slope is 1, the others are 0.

Result.  dx = dy [low ≤ x ≤ high],  dlow = dy [x < low][low < high],  dhigh = dy [x > high or high < low].
Where an input was broadcast, its gradient is summed over the copies (after ``backward``, by
``_arrays.unbroadcast``).

Kinks.  At a bound, x = low or x = high, the slope is 1 for x and 0 for the bound, by PyTorch's convention.
Errors: no bound at all.
Source: PyTorch documentation, torch.clamp.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, exactly, normal, smooth
from handgrad._derivation import register
from handgrad._errors import require


def forward(x, low=None, high=None):
    require(low is not None or high is not None, "clamp needs a bound", "neither min nor max", "give one")
    where = namespace(x).where
    y = x
    if low is not None:
        y = where((y < low) | (low != low), low, y)  # a bound that is NaN makes y NaN
    if high is not None:
        y = where((y > high) | (high != high), high, y)
    return y, (x, low, high)


def backward(dy, residuals, needs):
    # needs: which gradients are wanted
    x, low, high = residuals
    xp = namespace(dy)

    def kept(condition):
        return xp.where(condition, dy, xp.zeros_like(dy))

    if low is None:
        return kept(x <= high), None, kept(x > high) if needs[2] else None
    if high is None:
        return kept(x >= low), kept(x < low) if needs[1] else None, None
    return (
        kept((x >= low) & (x <= high)),
        kept((x < low) & (low < high)) if needs[1] else None,
        kept((x > high) | (high < low)) if needs[2] else None,
    )


register(
    forward,
    backward,
    torch="torch.clamp",
    widen=False,
    cases=[
        case("two numbers", smooth(4, 5, kinks=(-0.5, 0.75)), exactly(-0.5), exactly(0.75)),
        case("low alone", smooth(4, 5), exactly(0.0)),
        case("high alone", smooth(4, 5), None, exactly(0.0)),
        case("bounds that broadcast", normal(4, 5), normal(5, mean=-1.0, scale=0.1), normal(4, 1, mean=1.0)),
        case("bounds exchanged", normal(4, 5), exactly(1.5), exactly(-1.5)),
        case("at the bounds", exactly([-1.0, 0.0, 2.0]), exactly(-1.0), exactly(2.0), kink=True),
        case("empty", normal(0, 5), normal(5)),
    ],
)
