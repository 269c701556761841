"""``only`` and ``exclude``: which layers are meant.

A class or a pattern that fits a module means all that is inside it, too; a predicate is asked of each layer.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from handgrad._errors import require
from torch_ext.swapping.classes import layer_of


@dataclass
class Place:
    """A module of the tree, and all names it has: one that two parents share has two."""

    names: list[str]
    module: nn.Module
    parent: Place | None
    closed: str = ""  # why nothing inside it can be swapped

    @property
    def name(self) -> str:
        return self.names[0]

    def around(self) -> Iterator[nn.Module]:
        """Itself, its parent, and so on."""
        place: Place | None = self
        while place is not None:
            yield place.module
            place = place.parent

    def is_inside(self, other: Place) -> bool:
        return any(m is other.module for m in self.around())


Selector = Callable[[Place], bool]


@dataclass
class Selection:
    """``given`` is that of the argument ``what``, of a model that has ``places``."""

    what: str
    given: Any
    places: Sequence[Place]
    selectors: list[Selector] = field(default_factory=list)

    def __post_init__(self) -> None:
        several = isinstance(self.given, tuple | list | set | frozenset)
        self.selectors = [self._selector(g) for g in (self.given if several else (self.given,))]

    def __call__(self, place: Place) -> bool:
        return any(s(place) for s in self.selectors)

    def _selector(self, given: Any) -> Selector:
        if isinstance(given, str):
            return self._pattern(given)
        if isinstance(given, type):
            return self._class(given)
        rule = f"{self.what} holds classes of modules, patterns of names, or functions (name, module) -> bool"
        require(callable(given) and not isinstance(given, nn.Module), rule, repr(given), "give some of these")
        try:
            inspect.signature(given).bind("", None)
        except ValueError:  # a builtin that does not say what it takes
            pass
        except TypeError as error:
            require(False, rule, f"a function that takes other arguments ({error})", "give it these two")
        return lambda place: any(bool(given(name, place.module)) for name in place.names)

    def _class(self, given: type) -> Selector:
        require(
            issubclass(given, nn.Module),
            f"a class in {self.what} is one of modules",
            given.__name__,
            "give a subclass of torch.nn.Module",
        )
        if given.__module__.startswith("torch_ext.nn"):  # meant is what it takes the place of
            given = layer_of(given) or given
        return lambda place: any(isinstance(m, given) for m in place.around())

    def _pattern(self, given: str) -> Selector:
        known = [n for p in self.places for n in p.names]
        near = difflib.get_close_matches(given, known, n=3) or [n for n in known if n][:3]
        like = f"names here are like {', '.join(map(repr, near))}" if near else "this model has no submodules"
        require(
            any(fnmatchcase(n, given) for n in known),
            f"a pattern in {self.what} matches the name of a module",
            f"{given!r}, which matches none",
            like,
        )
        return lambda place: any(fnmatchcase(n, given) for name in place.names for n in _around(name))


def _around(name: str) -> list[str]:
    """ "a.b.c", "a.b" and "a"."""
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in reversed(range(len(parts)))]
