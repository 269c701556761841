"""What the distances share: the p-norm of differences along one axis, and its slope.

n = ‖e‖_p = (Σ_i |e_i|^p)^(1/p); the largest |e_i| for p = ∞, the smallest for -∞; for p = 0 the number of
e_i that are not 0. With s = Σ_i |e_i|^p, n = s^(1/p),
    ∂n/∂e_i = 1/p s^(1/p - 1) p |e_i|^(p - 1) sign(e_i) = sign(e_i) (|e_i| / n)^(p - 1)
which is sign(e_i) for p = 1 and e_i/n for p = 2. For p = ∞ it is sign(e_i) at that |e_i|, shared out
evenly where several are equal; for p = 0 it is 0. PyTorch's convention at e = 0, and ours, is the slope 0.
"""

from math import inf

from handgrad._arrays import cast, namespace, sgn


def p_norm(e, p, axis=-1, keepdims=False):
    """‖e‖_p along one axis."""
    xp = namespace(e)
    size = xp.abs(e)
    if p == 0:
        return xp.sum(cast(e != 0, size.dtype), axis=axis, keepdims=keepdims)
    if p == 1:
        return xp.sum(size, axis=axis, keepdims=keepdims)
    if abs(p) == inf:
        return (xp.max if p > 0 else xp.min)(size, axis=axis, keepdims=keepdims)
    s = xp.sum(size * size if p == 2 else _power(size, p), axis=axis, keepdims=keepdims)
    return safe_sqrt(s) if p == 2 else _power(s, 1 / p)


def through_p_norm(dn, e, n, p, axis=-1):
    """∂n/∂e dn, where n = ‖e‖_p and dn have kept their axis."""
    xp = namespace(e)
    if p == 0:
        return xp.zeros_like(e * dn)
    if p == 1:
        return sgn(e) * dn
    if abs(p) == inf:
        largest = cast(xp.abs(e) == n, n.dtype)
        return sgn(e) * largest * (dn / xp.sum(largest, axis=axis, keepdims=True))
    size = xp.where(n == 0, 1, n)
    return e * dn / size if p == 2 else sgn(e) * _power(xp.abs(e) / size, p - 1) * dn


def safe_sqrt(s):
    """sqrt(s), whose slope at 0 counts as 0: it is infinite there."""
    xp = namespace(s)
    return xp.where(s == 0, 0, xp.sqrt(xp.where(s == 0, 1, s)))


def _power(a, p):
    """a^p for a ≥ 0, whose slope at 0 counts as 0."""
    xp = namespace(a)
    return xp.where(a == 0, 0, xp.where(a == 0, 1, a) ** p)
