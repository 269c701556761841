"""Planting a mistake in a derivation's own text, as a person would make it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType

from handgrad import Derivation, registry


@contextmanager
def planted(layer: str, right: str, wrong: str) -> Iterator[Derivation]:
    """The layer's file with ``right`` replaced by ``wrong``; all that it registers replaces the true ones."""
    home = registry[layer].forward.__module__
    true = [d for d in registry.values() if d.forward.__module__ == home]
    file = sys.modules[home]
    text = inspect.getsource(file)
    assert text.count(right) == 1, f"{right!r} stands {text.count(right)} times in {file.__file__}"
    _replace(true, ())
    try:
        module = ModuleType(file.__name__)
        exec(compile(text.replace(right, wrong), f"{layer} with a mistake", "exec"), module.__dict__)
        yield registry[layer]
    finally:
        _replace([registry[d.name] for d in true if d.name in registry], true)


def _replace(old: Iterable[Derivation], new: Iterable[Derivation]) -> None:
    for derivation in old:
        registry.remove(derivation.name)
    for derivation in new:
        registry.add(derivation)
