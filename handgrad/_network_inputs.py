"""What networks and their training ask of their inputs: one sentence for each wrong one."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import numpy as np

from handgrad._derivation import registry
from handgrad._errors import InputError, require


def check_lr(lr: Any) -> float:
    """A learning rate: a positive, finite number."""
    require(
        is_number(lr) and 0 < lr < np.inf,
        "lr, the learning rate, must be a positive number",
        repr(lr),
        "give, say, 0.1",
    )
    return float(lr)


def is_int(n: Any) -> bool:
    return isinstance(n, (int, np.integer)) and not isinstance(n, bool)


def is_number(a: Any) -> bool:
    return is_int(a) or isinstance(a, (float, np.floating))


def one_of(what: str, name: Any, names: Iterable[str]) -> None:
    require(
        isinstance(name, str) and name in set(names),
        f"{what} must be one of {', '.join(names)}",
        repr(name),
        "choose one of these",
    )


def check_activation(name: str) -> None:
    require(
        isinstance(name, str) and name in registry and _is_elementwise(name),
        "an activation must be the name of a derivation that acts element by element",
        repr(name),
        "choose, say, relu, tanh or sigmoid; `handgrad layers` lists all derivations",
    )


def _is_elementwise(name: str) -> bool:
    """One input, no option that must be given, and each output depends on its own element alone."""
    derivation = registry[name]
    if len(derivation.inputs) != 1 or derivation.variadic or len(derivation.outputs) != 1:
        return False
    if inspect.Parameter.empty in derivation.options.values():
        return False
    x = np.array([[0.5, 1.0], [0.25, 0.75]])
    (y,), _ = derivation.apply([x], {})
    (alone,), _ = derivation.apply([x[:1, :1]], {})
    return bool(y.shape == x.shape and y[0, 0] == alone[0, 0])


def as_array(name: str, a: Any) -> np.ndarray:
    try:
        found = np.asarray(a)
    except ValueError:  # rows of different lengths
        raise InputError(
            f"{name} must be an array of numbers; received rows of different lengths; "
            "give each example the same number of values."
        ) from None
    require(
        np.issubdtype(found.dtype, np.number) or found.dtype == bool,
        f"{name} must be an array of numbers",
        f"dtype {found.dtype}",
        "convert it",
    )
    return found


def check_floats(name: str, a: np.ndarray) -> np.ndarray:
    require(
        np.issubdtype(a.dtype, np.floating),
        f"{name} must be an array of floats",
        f"dtype {a.dtype}",
        f"convert it, by {name}.astype(float)",
    )
    bad = np.argwhere(~np.isfinite(a))
    if len(bad):
        at = tuple(int(i) for i in bad[0])
        require(
            False,
            f"{name} must be finite",
            f"{a[at]} at index {at}" + f" and {len(bad) - 1} more" * (len(bad) > 1),
            "remove or replace it",
        )
    return a


def check_classes(y: np.ndarray, n: int, outputs: int) -> np.ndarray:
    require(
        y.shape == (n,),
        f"class indices must have shape ({n},), one for each example",
        y.shape,
        "reshape y",
    )
    require(
        bool(((y >= 0) & (y < outputs)).all()),
        f"a class index must be from 0 to {outputs - 1}, since the network has {outputs} outputs",
        f"indices from {y.min()} to {y.max()}",
        "correct y, or give the network more outputs",
    )
    return y


def check_whole(what: str, n: Any, low: int, high: int | None) -> None:
    """An integer from ``low`` to ``high`` (None: without end)."""
    require(
        is_int(n) and low <= n and (high is None or n <= high),
        f"{what} must be an integer from {low}" + ("" if high is None else f" to {high}, all examples"),
        repr(n),
        "give another number",
    )
