"""y[..., c, h r + a, w r + b] = x[..., c r² + a r + b, h, w]

Shapes.  x (..., C r², H, W), y (..., C, H r, W r); r is ``upscale_factor``, a and b are in 0 ... r-1.

Forward.  Each r² channels become one channel of r times the height and width.

Chain rule.  dy is ∂L/∂y.  Every entry of y is a copy of one of x, and every one of x goes to one place:
    dx[..., c r² + a r + b, h, w] = dy[..., c, h r + a, w r + b]

Result.  dx is ``pixel_unshuffle`` of dy: an order undone.

Kinks: none.  Errors: fewer than three axes, channels that r² does not divide, an r below 1.
Source: Shi and others 2016, Real-time single image and video super-resolution using an efficient sub-pixel
convolutional neural network, section 2.2; PyTorch documentation, torch.nn.functional.pixel_shuffle.
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


def forward(x, *, upscale_factor):
    require_picture(x, "pixel_shuffle")
    require_factor(upscale_factor, "upscale_factor")
    require(
        x.shape[-3] % upscale_factor**2 == 0,
        "pixel_shuffle needs a number of channels that upscale_factor² divides",
        f"{x.shape[-3]} channels and upscale_factor {upscale_factor}",
        "choose another factor",
    )
    return channels_to_space(x, upscale_factor), ()


def backward(dy, _, *, upscale_factor):
    return space_to_channels(dy, upscale_factor)


def fit(rng, shape):
    """On any value with three axes or more."""
    if len(shape) < 3 or 0 in shape:
        return None
    return case(
        "fit", normal(*shape), upscale_factor=int(rng.choice([r for r in (1, 2, 3) if shape[-3] % r**2 == 0]))
    )


register(
    forward,
    backward,
    torch="torch.nn.functional.pixel_shuffle",
    widen=False,
    fit=fit,
    cases=[
        case("factor 2", normal(2, 8, 3, 2), upscale_factor=2),
        case("factor 3, unbatched", normal(9, 2, 3), upscale_factor=3),
        case("two leading axes", normal(2, 2, 4, 1, 2), upscale_factor=2),
        case("factor 1", normal(1, 2, 3, 2), upscale_factor=1),
        case("one pixel", normal(1, 4, 1, 1), upscale_factor=2),
    ],
)
