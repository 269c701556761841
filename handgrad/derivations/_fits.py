"""What the layers share about random architectures: shapes and options to draw."""

from handgrad._cases import normal


def broadcastable(rng, shape):
    """A shape that broadcasts to ``shape``: leading axes left out, others of length 1."""
    kept = shape[int(rng.integers(len(shape) + 1)) :] if rng.integers(2) else shape
    return tuple(1 if rng.integers(4) == 0 else n for n in kept)


def second_value(rng, shape):
    """A second operand: of the same shape, or one that is broadcast to it."""
    return normal(*broadcastable(rng, shape))


def some_axis(rng, shape):
    """Any axis of ``shape``, counted from the front or from the back."""
    return int(rng.integers(-len(shape), len(shape)))


def some_axes(rng, shape):
    """What a reduction takes: None for all axes, one axis, or several."""
    if not shape or rng.integers(3) == 0:
        return None
    if rng.integers(2):
        return some_axis(rng, shape)
    several = rng.permutation(len(shape))[: int(rng.integers(1, len(shape) + 1))]
    return tuple(int(axis) for axis in several)
