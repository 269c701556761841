"""Elements put in another order: each shuffle is a split of axes, an exchange and a merge."""

from handgrad._arrays import namespace
from handgrad._errors import require
from handgrad._primitives_columns import packed


def channels_to_space(x, r):
    """(..., C r², H, W) -> (..., C, H r, W r): channel (c, a, b) goes to row h r + a, column w r + b."""
    *lead, crr, h, w = x.shape
    n = len(lead)
    return _moved(x, (*lead, crr // r**2, r, r, h, w), (0, 3, 1, 4, 2), (*lead, crr // r**2, h * r, w * r), n)


def space_to_channels(x, r):
    """The inverse: (..., C, H r, W r) -> (..., C r², H, W)."""
    *lead, c, h, w = x.shape
    n = len(lead)
    return _moved(x, (*lead, c, h // r, r, w // r, r), (0, 2, 4, 1, 3), (*lead, c * r**2, h // r, w // r), n)


def exchange_groups(x, groups):
    """(N, g m, ...) -> the same shape: channel (i, j) of g groups of m goes to (j, i), of m groups of g."""
    n, c, *rest = x.shape
    return _moved(x, (n, groups, c // groups, *rest), (1, 0, *range(2, 2 + len(rest))), tuple(x.shape), 1)


def _moved(x, split, order, merged, n):
    """x in the shape ``split``, its axes from ``n`` on in another order, in the shape ``merged``."""
    xp = namespace(x)
    axes = (*range(n), *(n + a for a in order))
    return xp.reshape(packed(xp.permute_dims(xp.reshape(x, split), axes)), merged)


def require_factor(r, name):
    """A factor is a positive integer."""
    require(hasattr(r, "__index__") and r > 0, f"{name} must be a positive integer", repr(r), "give one")


def require_picture(x, layer):
    """x has channels and two spatial axes at its end."""
    require(x.ndim >= 3, f"{layer} needs x (..., C, H, W)", f"x {tuple(x.shape)}", "reshape x")
