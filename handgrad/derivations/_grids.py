"""Sampling at places that a grid gives: coordinates, the entries around them, weights and their slopes."""

from handgrad._arrays import namespace
from handgrad._dual import primal
from handgrad.derivations._resampling import cubic_slopes, cubic_weights


def unnormalized(g, n, align_corners):
    """From [-1, 1] to entries of an axis of n: its first and last entry, or their edges, are at -1 and 1."""
    return (g + 1) / 2 * (n - 1) if align_corners else ((g + 1) * n - 1) / 2


def padded(p, n, padding_mode, align_corners):
    """A coordinate brought back into x, as the padding says."""
    if padding_mode == "zeros":
        return p
    if padding_mode == "reflection":
        p, _ = _reflected(p, n, align_corners)
    return namespace(p).clip(p, 0.0, n - 1.0)


def slope(p, n, padding_mode, align_corners):
    """The derivative of :func:`padded` by p: 1, -1 after an odd number of reflections, 0 where clipped."""
    xp = namespace(p)
    sign = xp.ones_like(p)
    if padding_mode == "zeros":
        return sign
    if padding_mode == "reflection":
        p, ahead = _reflected(p, n, align_corners)
        sign = xp.where(ahead, sign, -sign)
    return xp.where((p > 0) & (p < n - 1), sign, 0.0)


def _reflected(p, n, align_corners):
    """p mirrored at both ends until it is between them, and whether it still runs ahead as p does."""
    xp = namespace(p)
    low, span = (0.0, n - 1) if align_corners else (-0.5, n)
    if span == 0:  # one entry, mirrored at itself
        return p * 0.0, primal(p) == primal(p)
    u = xp.abs(p - low)
    turns = xp.floor(primal(u) / span)
    rest = u - turns * span
    even = turns % 2 == 0
    return xp.where(even, rest, span - rest) + low, even == (primal(p) >= low)


def taps(g, n, mode, padding_mode, align_corners):
    """Along one axis: a list of (index, inside, weight) for the entries that y is made of."""
    xp = namespace(g)
    p = unnormalized(g, n, align_corners)
    if mode != "bicubic":
        p = padded(p, n, padding_mode, align_corners)
    low = xp.round(primal(p)) if mode == "nearest" else xp.floor(primal(p))  # constant between its jumps
    first = -1 if mode == "bicubic" else 0
    found = []
    for j, w in enumerate(_weights(p - low, mode)):
        at = low + (first + j)
        if mode == "bicubic":  # each entry is fetched from where the padding has it
            at = xp.floor(padded(at, n, padding_mode, align_corners) + 0.25)  # an integer, but for rounding
        inside = (at >= 0) & (at <= n - 1)
        found.append((xp.clip(xp.astype(at, xp.int64), 0, n - 1), inside, w))
    return found


def weight_slopes(g, n, mode, padding_mode, align_corners):
    """Of each tap, the derivative of its weight by g."""
    xp = namespace(g)
    p = unnormalized(g, n, align_corners)
    scale = (n - 1) / 2 if align_corners else n / 2
    if mode == "bicubic":
        return [scale * v for v in cubic_slopes(p - xp.floor(p))]
    s = scale * slope(p, n, padding_mode, align_corners)
    return [-s, s]


def _weights(t, mode):
    if mode == "nearest":
        return [None]
    return (1 - t, t) if mode == "bilinear" else cubic_weights(t)
