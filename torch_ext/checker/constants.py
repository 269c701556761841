"""Numbers that a target's code names: thresholds, margins, an index that is ignored."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

from torch import nn

_DEPTH = 3  # functions that call functions
_COUNT = 8


def thresholds(*targets: Any) -> tuple[float, ...]:
    """Numbers at which a derivative may jump; whole ones up to 2 are tried anyway."""
    found = {float(abs(n)) for target in targets for n in numbers(target)}
    return tuple(sorted(n for n in found if 1e-6 <= n <= 1e3 and n not in (1.0, 2.0)))[:_COUNT]


def indices(*targets: Any) -> tuple[int, ...]:
    """Negative integers other than -1 and -2, which count from the end: an index that is ignored."""
    found = {n for target in targets for n in numbers(target) if isinstance(n, int) and -1000 <= n < -2}
    return tuple(sorted(found | {-100}))[:_COUNT]


def numbers(target: Any, depth: int = _DEPTH) -> Iterator[float]:
    """Every int and float in the code, closure, defaults and globals of a callable, and of those it uses."""
    if isinstance(target, bool):
        return
    if isinstance(target, int | float):
        yield target
    elif depth > 0:
        for part in _parts(target):
            yield from numbers(part, depth - 1 if callable(part) else depth)


def _parts(target: Any) -> Iterator[Any]:
    if isinstance(target, tuple | list) and len(target) <= _COUNT:
        yield from target
    elif isinstance(target, FunctionType):
        yield from _constants(target.__code__)
        yield from (target.__defaults__ or ())
        yield from (target.__kwdefaults__ or {}).values()
        for cell in target.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # not filled yet
                continue
        for name in _names(target.__code__):
            value = target.__globals__.get(name)
            if isinstance(value, int | float | FunctionType):
                yield value
    elif isinstance(target, functools.partial):
        yield from (target.func, *target.args, *target.keywords.values())
    elif isinstance(target, MethodType):
        yield target.__func__
    elif isinstance(target, nn.Module):
        yield type(target).forward
        yield from (v for v in vars(target).values() if isinstance(v, int | float))
    elif isinstance(owner := getattr(target, "__self__", None), type):  # Function.apply
        for name in ("forward", "backward"):
            made = vars(owner).get(name)
            yield getattr(made, "__func__", made)


def _constants(code: CodeType) -> Iterator[Any]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _constants(constant)
        else:
            yield constant


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
