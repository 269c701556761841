"""What the activations made of straight pieces share.

Where such a y is x itself, give or take a constant, the gradient passes; where y is a constant it is blocked.
PyTorch counts a corner to the constant piece, and so do all of these. The comparisons are written so that NaN
is outside of every constant piece: there y is NaN, and dy is handed on.
"""

from operator import le

from handgrad._arrays import namespace
from handgrad._primitives_choices import choose, choose_beyond


def passed_between(dy, x, low, high):
    """dx of a straight line of slope 1 between two constants: 0 where x ≤ low or x ≥ high."""
    return choose_beyond(x, low, high, 0, dy)


def passed_beyond(dy, x, size):
    """dx of straight lines of slope 1 around a constant: 0 where |x| ≤ size."""
    return choose(le, namespace(x).abs(x), size, 0, dy)
