"""y[..., c r² + a r + b, h, w] = x[..., c, h r + a, w r + b]

Shapes.  x (..., C, H r, W r), y (..., C r², H, W); r is ``downscale_factor``, a and b are in 0 ... r-1.

Forward.  Each tile of r by r pixels becomes r² channels of one pixel.

Chain rule.  dy is ∂L/∂y.  Every entry of y is a copy of one of x, and every one of x goes to one place:
    dx[..., c, h r + a, w r + b] = dy[..., c r² + a r + b, h, w]

Result.  dx is ``pixel_shuffle`` of dy: an order undone.

Kinks: none.  Errors: fewer than three axes, a height or width that r does not divide, an r below 1.
Source: PyTorch documentation, torch.nn.functional.pixel_unshuffle.
"""

from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad.derivations._shuffles import (
    channels_to_space,
    require_factor,
    require_picture,
    space_to_channels,
)


def forward(x, *, downscale_factor):
    require_picture(x, "pixel_unshuffle")
    require_factor(downscale_factor, "downscale_factor")
    require(
        x.shape[-2] % downscale_factor == 0 and x.shape[-1] % downscale_factor == 0,
        "pixel_unshuffle needs a height and a width that downscale_factor divides",
        f"{tuple(x.shape[-2:])} and downscale_factor {downscale_factor}",
        "choose another factor",
    )
    return space_to_channels(x, downscale_factor), ()


def backward(dy, _, *, downscale_factor):
    return channels_to_space(dy, downscale_factor)


def fit(rng, shape):
    """On any value with three axes or more."""
    if len(shape) < 3 or 0 in shape:
        return None
    factors = [r for r in (1, 2, 3) if shape[-2] % r == 0 and shape[-1] % r == 0]
    return case("fit", normal(*shape), downscale_factor=int(rng.choice(factors)))


register(
    forward,
    backward,
    torch="torch.nn.functional.pixel_unshuffle",
    widen=False,
    fit=fit,
    cases=[
        case("factor 2", normal(2, 2, 4, 6), downscale_factor=2),
        case("factor 3, unbatched", normal(2, 3, 6), downscale_factor=3),
        case("two leading axes", normal(2, 2, 1, 2, 4), downscale_factor=2),
        case("factor 1", normal(1, 2, 3, 2), downscale_factor=1),
    ],
)
