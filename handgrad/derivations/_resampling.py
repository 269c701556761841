"""Interpolation along one axis: which entries of x an entry of y is made of, and with what weights.

Each table is (index, weight), both (m, taps) for m entries of y: y[i] = Σ_t weight[i, t] x[index[i, t]].
The coordinates are computed in float64, but for the nearest entry, where rounding decides: there they
are rounded as PyTorch rounds them.
"""

import math

from handgrad._arrays import is_floating, namespace

NEAREST, LINEAR, CUBIC, LANCZOS = "nearest", "linear", "cubic", "lanczos"
RADIUS = {LINEAR: 1, CUBIC: 2, LANCZOS: 3}


def step(n, m, factor, align_corners):
    """How far entries of y lie apart, in entries of x."""
    if align_corners:
        return (n - 1) / (m - 1) if m > 1 else 0.0
    return 1 / factor if factor else n / m


def nearest(x, n, m, factor, *, exact):
    """⌊i r⌋, or exactly ⌊(i + ½) r⌋, for a step r.

    Where that is an integer but for rounding, rounding decides. PyTorch's: r and the product in the dtype
    of x, ½ taken away in the same breath and added again, and all of it in float32 before the floor.
    """
    xp = namespace(x)
    dtype = x.dtype if is_floating(x) else xp.float32
    r = xp.asarray(step(n, m, factor, False), dtype=xp.float64, device=x.device)
    r = xp.astype(xp.astype(r, dtype), xp.float64)
    i = xp.arange(m, dtype=xp.float64, device=x.device)
    at = xp.astype((i + 0.5) * r - 0.5, dtype) + 0.5 if exact else xp.astype(i * r, dtype)
    index = xp.astype(xp.floor(xp.astype(at, xp.float32)), xp.int64)
    return xp.clip(index, 0, n - 1)[:, None], None


def around(x, n, m, factor, kernel, *, align_corners):
    """The two or four entries around the place of y in x; beyond the ends the last entry is repeated."""
    xp = namespace(x)
    i = xp.arange(m, dtype=xp.float64, device=x.device)
    r = step(n, m, factor, align_corners)
    at = i * r if align_corners else (i + 0.5) * r - 0.5
    if kernel == LINEAR:
        at = i if n == m else xp.clip(at, 0.0, n - 1.0)
    low = xp.clip(xp.floor(at), -math.inf, n - 1.0)
    t = xp.clip(at - low, 0.0, 1.0)
    first, weights = (0, (1 - t, t)) if kernel == LINEAR else (-1, cubic_weights(t))
    index = xp.stack([xp.clip(low + (first + j), 0, n - 1) for j in range(len(weights))], axis=-1)
    return xp.astype(index, xp.int64), xp.stack(weights, axis=-1)


def cubic_weights(t, a=-0.75):
    """Of the entries -1, 0, 1 and 2 around a place t in [0, 1): Keys' cubic convolution."""
    far = [((a * v - 5 * a) * v + 8 * a) * v - 4 * a for v in (t + 1, 2 - t)]
    near = [((a + 2) * v - (a + 3)) * v * v + 1 for v in (t, 1 - t)]
    return far[0], near[0], near[1], far[1]


def cubic_slopes(t, a=-0.75):
    """The derivatives of :func:`cubic_weights` by t."""
    far = [(3 * a * v - 10 * a) * v + 8 * a for v in (t + 1, 2 - t)]
    near = [(3 * (a + 2) * v - 2 * (a + 3)) * v for v in (t, 1 - t)]
    return far[0], near[0], -near[1], -far[1]


def antialiased(x, n, m, factor, kernel, *, align_corners):
    """All entries under the kernel, stretched to the step between entries of y where that is above 1.

    The weights of what lies inside x are scaled to the sum 1.
    """
    xp = namespace(x)
    r = step(n, m, factor, align_corners)
    wide = max(r, 1.0)
    support = RADIUS[kernel] * wide
    centre = (xp.arange(m, dtype=xp.float64, device=x.device) + 0.5) * r
    low = xp.clip(xp.floor(centre - support + 0.5), 0.0, math.inf)
    high = xp.clip(xp.floor(centre + support + 0.5), -math.inf, float(n))
    taps = xp.arange(2 * math.ceil(support) + 1, dtype=xp.float64, device=x.device)
    at = low[:, None] + taps
    w = _filter((at - centre[:, None] + 0.5) / wide, kernel)
    w = xp.where(at < high[:, None], w, 0.0)
    total = xp.sum(w, axis=-1, keepdims=True)
    w = w / xp.where(total == 0, 1.0, total)
    return xp.astype(xp.clip(at, 0.0, n - 1.0), xp.int64), w


def _filter(u, kernel, a=-0.5):
    xp = namespace(u)
    v = xp.abs(u)
    if kernel == LINEAR:
        return xp.clip(1 - v, 0.0, 1.0)
    if kernel == CUBIC:
        near, far = ((a + 2) * v - (a + 3)) * v * v + 1, ((a * v - 5 * a) * v + 8 * a) * v - 4 * a
        return xp.where(v < 1, near, xp.where(v < 2, far, 0.0))
    return xp.where(v < 3, _sinc(v) * _sinc(v / 3), 0.0)


def _sinc(v):
    xp = namespace(v)
    p = math.pi * xp.where(v == 0, 1.0, v)
    return xp.where(v == 0, 1.0, xp.sin(p) / p)
