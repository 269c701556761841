"""The one place that knows array namespaces, dtypes and broadcasting.

A derivation calls ``xp = namespace(x)`` and writes the array API standard. NumPy (long
double too), PyTorch and array-api-strict all work; so do the dual numbers of ``_dual``.
"""

from __future__ import annotations

import math
from typing import Any

import array_api_compat
import numpy as np

Array = Any  # any array of the standard; no common base class exists
Shape = tuple[int, ...]
Axes = int | tuple[int, ...] | None

_PLAIN = (type(None), bool, int, float, complex, str, tuple, list)
_namespaces: dict[type, Any] = {}


def register_namespace(kind: type, xp: Any) -> None:
    """Let :func:`namespace` answer ``xp`` for arrays of type ``kind``."""
    _namespaces[kind] = xp


def namespace(x: Array) -> Any:
    """The array namespace of ``x``. Looked up by type first, which compilers can trace."""
    xp = _namespaces.get(type(x))
    if xp is not None:
        return xp
    for kind, candidate in _namespaces.items():
        if isinstance(x, kind):
            return candidate
    return array_api_compat.array_namespace(x)


def library(xp: Any) -> str:
    """``"numpy"``, ``"torch"`` or ``"other"``: for the primitives that each library does its own way."""
    name: str = xp.__name__
    if name.endswith("numpy"):
        return "numpy"
    return "torch" if name.endswith("torch") else "other"


def is_array(x: object) -> bool:
    """True for an array of any library, dual numbers included; False for scalars, shapes and None."""
    # plain values first: compilers cannot trace array_api_compat's look-up
    return type(x) in _namespaces or (type(x) not in _PLAIN and array_api_compat.is_array_api_obj(x))


# --- dtypes ---------------------------------------------------------------------------


def is_floating(x: Array) -> bool:
    """True for real and complex floating dtypes: those that have gradients."""
    if isinstance(x, (np.ndarray, np.generic)):  # a union of types stops compilers
        return bool(np.issubdtype(x.dtype, np.inexact))
    return bool(namespace(x).isdtype(x.dtype, ("real floating", "complex floating")))


def is_complex(x: Array) -> bool:
    """True for complex floating dtypes."""
    return bool(namespace(x).isdtype(x.dtype, "complex floating"))


def is_half(x: Array) -> bool:
    """True for 16-bit floats, whose formulas run in float32 (the accumulation rule of PyTorch)."""
    # the name is slow to make, and most dtypes say at once that they are wider
    wider = getattr(x.dtype, "itemsize", 2) > 2
    return not wider and str(x.dtype).rsplit(".", maxsplit=1)[-1] in ("float16", "bfloat16")


def cast(x: Array, dtype: Any) -> Array:
    """``x`` in ``dtype``; ``x`` itself if it has it."""
    return x if x.dtype == dtype else namespace(x).astype(x, dtype)


def conj(x: Array) -> Array:
    """The complex conjugate, which a real array is already."""
    if library(xp := namespace(x)) == "torch":
        # resolve_conj: a lazy conjugate bit would put a view between a layer and its output
        return xp.resolve_conj(xp.conj(x)) if xp.isdtype(x.dtype, "complex floating") else x
    return xp.conj(x) if xp.isdtype(x.dtype, "complex floating") else x


def real(x: Array) -> Array:
    """The real part, which a real array is already."""
    xp = namespace(x)
    return xp.real(x) if xp.isdtype(x.dtype, "complex floating") else x


def sgn(x: Array) -> Array:
    """x / |x|, and 0 where x is 0: the sign of a real number, the direction of a complex one."""
    xp = namespace(x)
    if not xp.isdtype(x.dtype, "complex floating"):
        return xp.sign(x)
    size = xp.abs(x)
    return x / xp.where(size == 0, 1, size)


def adjoint(x: Array) -> Array:
    """The conjugate transpose of the last two axes."""
    return conj(x.mT)


# --- shapes ---------------------------------------------------------------------------


def normalize_axes(axes: Axes, ndim: int) -> tuple[int, ...]:
    """Axes as non-negative integers; ``None`` and ``()`` mean all, as PyTorch's reductions do.

    Raises IndexError for an axis out of range, as both NumPy and PyTorch do.
    """
    if axes is None or (not isinstance(axes, int) and not axes):
        return tuple(range(ndim))
    several = (axes,) if isinstance(axes, int) else tuple(axes)
    for axis in several:
        if not -max(ndim, 1) <= axis < max(ndim, 1):
            low, high = -max(ndim, 1), max(ndim, 1) - 1
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{low}, {high}], but got {axis})"
            )
    return tuple(axis % ndim for axis in several) if ndim else ()


def unbroadcast(dx: Array, shape: Shape) -> Array:
    """Undo broadcasting: sum ``dx`` over the axes along which an input of ``shape`` was repeated.

    Broadcasting copies a value to many places, so its gradient is the sum over the copies.
    """
    if tuple(dx.shape) == tuple(shape):
        return dx
    xp = namespace(dx)
    added = dx.ndim - len(shape)
    repeated = tuple(axis + added for axis, n in enumerate(shape) if n == 1 and dx.shape[axis + added] != 1)
    axes = (*range(added), *repeated)
    return xp.reshape(xp.sum(dx, axis=axes, keepdims=True) if axes else dx, shape)


def repeat_back(dy: Array, shape: Shape, axes: Axes) -> Array:
    """Undo a reduction over ``axes`` of an array of ``shape``: copy ``dy`` to all that went into it.

    Summing and broadcasting are each other's transpose. Reduced axes may be kept in dy or not.
    """
    xp = namespace(dy)
    reduced = normalize_axes(axes, len(shape))
    kept = tuple(1 if axis in reduced else n for axis, n in enumerate(shape))
    return xp.broadcast_to(xp.reshape(dy, kept), shape)


def as_matrix(x: Array) -> Array:
    """(..., n) -> (rows, n): all leading axes become one. Views where the library can."""
    return namespace(x).reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def size(shape: Shape) -> int:
    """How many elements an array of ``shape`` has."""
    return math.prod(shape)


register_namespace(np.ndarray, array_api_compat.array_namespace(np.empty(0)))
register_namespace(np.generic, _namespaces[np.ndarray])
