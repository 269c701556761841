"""What elu, selu and celu share: a line on the right, an exponential that levels off on the left.

    y = s x                    where x > 0          ∂y/∂x = s
    y = c (exp(x/β) - 1)       where x ≤ 0          ∂y/∂x = (c/β) exp(x/β)

The pieces meet at y = 0. PyTorch counts x = 0 to the left one, and so do we. exp(z) - 1 cancels near 0, and
``expm1`` does not; exp is taken on the left piece only, where for β > 0 it cannot overflow. Where x is NaN,
y is NaN and the slope is s.
"""

from operator import le

from handgrad._arrays import namespace
from handgrad._primitives_choices import choose


def curve(x, height, *, line=1.0, beta=1.0):
    """y, with ``line`` for s and ``height`` for c: one of the two terms is 0."""
    right = choose(le, x, 0, 0, x)
    return _times(right, line) + _times(namespace(x).expm1(_negative(x, beta)), height)


def slope(x, steepness, *, line=1.0, beta=1.0):
    """∂y/∂x, with ``line`` for s and ``steepness`` for c/β."""
    e = namespace(x).exp(_negative(x, beta))  # 1 on the right
    return _times(e, line) if steepness == line else choose(le, x, 0, steepness * e, line)


def _negative(x, beta):
    """x/β on the left, 0 elsewhere."""
    x = choose(le, x, 0, x, 0)
    return x if beta == 1 else x / beta


def _times(x, factor):
    return x if factor == 1 else factor * x
