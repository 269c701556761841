"""Planting a mistake in a derivation's own text, as a person would make it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from handgrad import Derivation, registry


@contextmanager
def planted(layer: str, right: str, wrong: str) -> Iterator[Derivation]:
    """The layer's file with ``right`` replaced by ``wrong``, registered in place of the true one."""
    true = registry[layer]
    file = sys.modules[true.forward.__module__]
    text = inspect.getsource(file)
    assert text.count(right) == 1, f"{right!r} stands {text.count(right)} times in {file.__file__}"
    registry.remove(layer)
    try:
        module = ModuleType(file.__name__)
        exec(compile(text.replace(right, wrong), f"{layer} with a mistake", "exec"), module.__dict__)
        yield registry[layer]
    finally:
        if layer in registry:
            registry.remove(layer)
        registry.add(true)
