"""Forward mode: a derivation's forward formula, evaluated on dual numbers.

A dual number a + a' e with e^2 = 0 carries a value (primal) and its tangent. Evaluating
``forward`` on duals gives y + (J v) e: the Jacobian-vector product, from the forward formula
alone. It serves ``torch.func.jvp``, and it is a truth for ``backward`` that needs no finite
difference: <dy, J v> = <J^T dy, v> for every v and dy.

Source: Clifford (1873); Griewank and Walther, Evaluating Derivatives, chapter 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

from handgrad._arrays import Array, conj, is_array, is_complex, is_floating, namespace, real, sgn

P = ParamSpec("P")
R = TypeVar("R")


class Dual:
    """An array ``p`` (primal) with its tangent ``t`` of the same shape and dtype."""

    __array_ufunc__ = None  # NumPy's operators defer to ours
    __slots__ = ("p", "t")

    def __init__(self, p: Array, t: Array) -> None:
        self.p, self.t = p, t

    def __array_namespace__(self, api_version: str | None = None) -> DualNamespace:
        return _lifted_namespace(namespace(self.p))

    @property
    def shape(self) -> Any:
        return self.p.shape

    @property
    def ndim(self) -> int:
        return int(self.p.ndim)

    @property
    def dtype(self) -> Any:
        return self.p.dtype

    @property
    def device(self) -> Any:
        return self.p.device

    @property
    def mT(self) -> Dual:  # noqa: N802 - the standard's name
        return Dual(self.p.mT, self.t.mT)

    def __getitem__(self, key: Any) -> Dual:
        return Dual(self.p[key], self.t[key])

    def __neg__(self) -> Dual:
        return Dual(-self.p, -self.t)

    def __add__(self, other: Any) -> Dual:
        a, b = _pair(self, other)
        return _dual(a.p + b.p, a.t + b.t)

    def __sub__(self, other: Any) -> Dual:
        a, b = _pair(self, other)
        return _dual(a.p - b.p, a.t - b.t)

    def __rsub__(self, other: Any) -> Dual:
        return (-self).__add__(other)

    def __mul__(self, other: Any) -> Dual:
        if not isinstance(other, Dual):
            return _dual(self.p * other, self.t * other)
        return _dual(self.p * other.p, self.t * other.p + self.p * other.t)

    def __truediv__(self, other: Any) -> Dual:
        if not isinstance(other, Dual):
            return _dual(self.p / other, self.t / other)
        y = self.p / other.p
        return _dual(y, (self.t - y * other.t) / other.p)

    def __rtruediv__(self, other: Any) -> Dual:
        y = other / self.p
        return _dual(y, -y * self.t / self.p)

    def __pow__(self, n: Any) -> Dual:
        if not isinstance(n, Dual) and not is_array(n):
            return Dual(self.p**n, n * self.p ** (n - 1) * self.t if n != 0 else 0 * self.t)
        xp, e = namespace(self.p), primal(n)
        y = self.p**e
        t = e * self.p ** xp.where(e == 0, e, e - 1) * self.t  # x^0 is constant
        if isinstance(n, Dual):
            # a base below 0 has whole exponents, which do not move
            sound = self.p != 0 if is_complex(self.p) else self.p > 0
            t = t + y * xp.log(xp.where(sound, self.p, xp.ones_like(self.p))) * n.t
        return _dual(y, t)

    def __rpow__(self, base: Any) -> Dual:
        y = base**self.p
        return Dual(y, y * math.log(base) * self.t)

    def __matmul__(self, other: Any) -> Dual:
        a, b = _pair(self, other)
        return Dual(a.p @ b.p, a.t @ b.p + a.p @ b.t)

    def __rmatmul__(self, other: Any) -> Dual:
        return Dual(other @ self.p, other @ self.t)

    __radd__, __rmul__ = __add__, __mul__

    # comparisons see values only: a condition has no derivative
    def __lt__(self, other: Any) -> Array:
        return self.p < primal(other)

    def __le__(self, other: Any) -> Array:
        return self.p <= primal(other)

    def __gt__(self, other: Any) -> Array:
        return self.p > primal(other)

    def __ge__(self, other: Any) -> Array:
        return self.p >= primal(other)

    def __eq__(self, other: object) -> Any:
        return self.p == primal(other)

    def __ne__(self, other: object) -> Any:
        return self.p != primal(other)

    __hash__ = None  # type: ignore[assignment]


def primal(x: Any) -> Any:
    """The value of a dual number; anything else as it is."""
    return x.p if isinstance(x, Dual) else x


def _tangent(x: Any, like: Array) -> Array:
    """The tangent of ``x``; zero for a constant."""
    return x.t if isinstance(x, Dual) else namespace(like).zeros_like(x if is_array(x) else like)


def _dual(p: Array, t: Array) -> Dual:
    return Dual(p, t if t.shape == p.shape else namespace(p).broadcast_to(t, p.shape))


def _pair(a: Dual, b: Any) -> tuple[Dual, Any]:
    """Both as something with ``p`` and ``t``; a scalar's tangent is the number 0."""
    if isinstance(b, Dual):
        return a, b
    return a, Dual(b, namespace(a.p).zeros_like(b) if is_array(b) else 0)


def _linear(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function linear in its first argument acts on value and tangent alike."""

    def lifted(x: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(x, list | tuple):  # concat, stack
            like = next(primal(v) for v in x if isinstance(v, Dual))
            values = [primal(v) for v in x]
            tangents = [_tangent(v, like) for v in x]
            return Dual(f(values, *args, **kwargs), f(tangents, *args, **kwargs))
        return Dual(f(x.p, *args, **kwargs), f(x.t, *args, **kwargs))

    return lifted


def _chain(name: str, slope: Callable[[Any, Array, Array], Array]) -> Callable[..., Any]:
    """An element-wise function y = f(x) with slope(xp, x, y) = f'(x)."""

    def lifted(x: Dual) -> Dual:
        xp = namespace(x.p)
        y = getattr(xp, name)(x.p)
        return Dual(y, slope(xp, x.p, y) * x.t)

    return lifted


def _abs(x: Dual) -> Dual:
    """|x|, whose tangent is the part of x' along x, also for complex numbers."""
    return Dual(namespace(x.p).abs(x.p), real(conj(sgn(x.p)) * x.t))


def _step(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is constant between its jumps: its tangent is 0."""

    def lifted(*args: Any) -> Dual:
        y = f(*map(primal, args))
        return Dual(y, namespace(y).zeros_like(y))

    return lifted


def _selected(name: str) -> Callable[..., Any]:
    """Maximum and minimum of two: the tangent of the one chosen.

    At a tie the mean of both, and zero where one of them is a constant (PyTorch's relu, and ours).
    """

    def lifted(a: Any, b: Any) -> Dual:
        like = primal(a) if isinstance(a, Dual) else primal(b)
        xp = namespace(like)
        y = getattr(xp, name)(primal(a), primal(b))
        first, second = y == primal(a), y == primal(b)
        ta, tb = _tangent(a, like), _tangent(b, like)
        tied = (ta + tb) / 2 if isinstance(a, Dual) and isinstance(b, Dual) else xp.zeros_like(y)
        return _dual(y, xp.where(first & second, tied, xp.where(first, ta, tb)))

    return lifted


def _extremum(name: str) -> Callable[..., Any]:
    """max and min along an axis: the tangents of the extreme elements, averaged over ties."""

    def lifted(x: Dual, *, axis: Any = None, keepdims: bool = False) -> Dual:
        xp = namespace(x.p)
        y = getattr(xp, name)(x.p, axis=axis, keepdims=True)
        chosen = xp.astype(x.p == y, x.p.dtype)
        weight = chosen / xp.sum(chosen, axis=axis, keepdims=True)
        t = xp.sum(weight * x.t, axis=axis, keepdims=keepdims)
        return Dual(getattr(xp, name)(x.p, axis=axis, keepdims=keepdims), t)

    return lifted


_CHAIN: dict[str, Callable[[Any, Array, Array], Array]] = {
    "exp": lambda xp, x, y: y,
    "expm1": lambda xp, x, y: y + 1,
    "log": lambda xp, x, y: 1 / x,
    "log1p": lambda xp, x, y: 1 / (1 + x),
    "sqrt": lambda xp, x, y: 0.5 / y,
    "square": lambda xp, x, y: 2 * x,
    "tanh": lambda xp, x, y: 1 - y * y,
    "sin": lambda xp, x, y: xp.cos(x),
    "cos": lambda xp, x, y: -xp.sin(x),
}
_LINEAR = (
    "sum mean reshape permute_dims matrix_transpose moveaxis expand_dims squeeze broadcast_to flip roll "
    "concat stack take take_along_axis real imag conj tile repeat cumulative_sum negative positive tril triu"
).split()
_STEPS = "sign floor ceil round trunc floor_divide".split()  # constant between jumps: slope 0
_OF_VALUES = (
    "isnan isinf isfinite argmax argmin any all zeros_like ones_like full_like logical_not argsort"
).split()


class DualNamespace:
    """The array API for dual numbers: lifted functions, and the library's own for all else."""

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self.__name__ = xp.__name__

    def __getattr__(self, name: str) -> Any:
        plain = getattr(self._xp, name)
        lifted: Any
        if name == "abs":
            lifted = _abs
        elif name in _CHAIN:
            lifted = _chain(name, _CHAIN[name])
        elif name in _LINEAR:
            lifted = _linear(plain)
        elif name in _STEPS:
            lifted = _step(plain)
        elif name in ("maximum", "minimum"):
            lifted = _selected(name)
        elif name in ("max", "min"):
            lifted = _extremum(name)
        elif name in _OF_VALUES:
            return lambda x, *args, **kwargs: plain(primal(x), *args, **kwargs)
        else:
            return plain
        return lambda x, *args, **kwargs: (lifted if _any_dual(x, *args) else plain)(x, *args, **kwargs)

    def where(self, condition: Array, a: Any, b: Any) -> Any:
        if not _any_dual(a, b):
            return self._xp.where(condition, a, b)
        like = primal(a) if isinstance(a, Dual) else primal(b)
        y = self._xp.where(condition, primal(a), primal(b))
        return _dual(y, self._xp.where(condition, _tangent(a, like), _tangent(b, like)))

    def unstack(self, x: Any, *, axis: int = 0) -> Any:
        f = self._xp.unstack
        if not isinstance(x, Dual):
            return f(x, axis=axis)
        return tuple(map(Dual, f(x.p, axis=axis), f(x.t, axis=axis)))

    def astype(self, x: Any, dtype: Any, **kwargs: Any) -> Any:
        f = self._xp.astype
        if not isinstance(x, Dual):
            return f(x, dtype, **kwargs)
        return Dual(f(x.p, dtype, **kwargs), f(x.t, dtype, **kwargs))

    def clip(self, x: Any, low: Any = None, high: Any = None) -> Any:
        x = x if low is None else self.maximum(x, low)
        return x if high is None else self.minimum(x, high)


def _any_dual(*values: Any) -> bool:
    return any(isinstance(v, Dual) or (isinstance(v, list | tuple) and _any_dual(*v)) for v in values)


@cache
def _lifted_namespace(xp: Any) -> DualNamespace:
    return DualNamespace(xp)


def linear(f: Callable[P, R]) -> Callable[P, R]:
    """Let a primitive, linear in its first argument, take a dual number there."""
    lifted = _linear(f)

    @wraps(f)
    def either(*args: P.args, **kwargs: P.kwargs) -> R:
        return lifted(*args, **kwargs) if isinstance(args[0], Dual) else f(*args, **kwargs)

    return either


def elementwise(slope: Callable[[Any, Array, Array], Array]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let an element-wise primitive y = f(x) take a dual number; slope(xp, x, y) = f'(x)."""

    def decorate(f: Callable[P, R]) -> Callable[P, R]:
        @wraps(f)
        def either(x: Any) -> Any:
            if not isinstance(x, Dual):
                return f(x)  # type: ignore[call-arg]
            y: Any = f(x.p)  # type: ignore[call-arg]
            return Dual(y, slope(namespace(x.p), x.p, y) * x.t)

        return either  # type: ignore[return-value]

    return decorate


def bilinear(f: Callable[P, R]) -> Callable[P, R]:
    """Let a primitive, linear in each of its first two arguments, take dual numbers there."""

    @wraps(f)
    def either(a: Any, b: Any, /, *args: Any, **kwargs: Any) -> Any:
        if not (isinstance(a, Dual) or isinstance(b, Dual)):
            return f(a, b, *args, **kwargs)
        y = f(primal(a), primal(b), *args, **kwargs)
        t: Any = 0
        if isinstance(a, Dual):
            t = t + f(a.t, primal(b), *args, **kwargs)
        if isinstance(b, Dual):
            t = t + f(primal(a), b.t, *args, **kwargs)
        return Dual(y, t)

    return either  # type: ignore[return-value]


def linear_in_both(f: Callable[P, R]) -> Callable[P, R]:
    """Let a primitive, linear in its first two arguments together, take dual numbers there."""

    @wraps(f)
    def either(a: Any, b: Any, /, *args: Any, **kwargs: Any) -> Any:
        if not (isinstance(a, Dual) or isinstance(b, Dual)):
            return f(a, b, *args, **kwargs)
        values, tangents = (primal(a), primal(b)), (_tangent(a, primal(a)), _tangent(b, primal(b)))
        return Dual(f(*values, *args, **kwargs), f(*tangents, *args, **kwargs))

    return either  # type: ignore[return-value]


def jvp(forward: Callable[..., Any], inputs: Any, tangents: Any, options: Any) -> tuple[Any, Any]:
    """(y, J v) of ``forward``: each a tuple of outputs; the tangent of a constant output is None.

    ``tangents``: one for each input; None stands for zero.
    """
    lifted = [
        Dual(x, namespace(x).zeros_like(x) if v is None else v) if is_array(x) and is_floating(x) else x
        for x, v in zip(inputs, tangents, strict=True)
    ]
    y, _ = forward(*lifted, **options)
    outputs = y if isinstance(y, tuple) else (y,)
    values = tuple(primal(o) for o in outputs)
    return values, tuple(o.t if isinstance(o, Dual) else None for o in outputs)
