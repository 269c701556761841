"""What the activations made of straight pieces share.

Where such a y is x itself, give or take a constant, the gradient passes; where y is a constant it is blocked.
PyTorch counts a corner to the constant piece, and so do all of these. The comparisons are written so that NaN
is outside of every constant piece: there y is NaN, and dy is handed on.
"""

from handgrad._arrays import namespace


def beyond(x, low, high):
    """Whether x is outside of low < x < high."""
    return (x <= low) | (x >= high)


def near(x, size):
    """Whether |x| ≤ size."""
    return namespace(x).abs(x) <= size


def passed(dy, blocked):
    """dx = dy where the piece is a straight line of slope 1; 0 where it is a constant."""
    return namespace(dy).where(blocked, 0, dy)
