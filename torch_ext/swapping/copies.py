"""A new tree of modules over the same tensors.

Modules are made anew, and so are the lists, dicts and sets that they hold: what is put into the copy's does
not get into the original's. Whatever leads to a module of the tree (a bound method, a weak reference, an
alias, a helper object) leads to the copy's. All else is shared: tensors, hooks, configurations.
"""

from __future__ import annotations

import copy
import copyreg
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import CellType, FunctionType, MethodType
from typing import Any, cast

from torch import nn
from torch.nn.modules.module import _WrappedHook
from torch.utils.hooks import RemovableHandle

_HEAP = 1 << 9  # the flag of a class written in Python
_DICTS = (dict, OrderedDict, defaultdict)
_OTHERS = (list, set, deque)


def copied(modules: Sequence[nn.Module], classes: Mapping[int, type]) -> dict[int, nn.Module]:
    """A copy of each module, by the original's id; ``classes``: that of each, by the same."""
    made = {id(m): _shell(m, classes[id(m)]) for m in modules}
    copies = _Copies(dict(made))
    own = [(made[id(m)], name, value) for m in modules for name, value in _attributes(m)]
    copies.hooks = True  # first: handles look them up
    for _, name, value in own:
        if name.endswith("_hooks"):
            copies.of(value)
    copies.hooks = False
    for new, name, value in own:
        _put(new, name, copies.of(value))
    return made


def _shell(module: nn.Module, cls: type) -> Any:
    try:
        return object.__new__(cls)
    except TypeError:  # a class that is a dict too, say
        new = copy.copy(module)
        new.__class__ = cls
        return new


def _attributes(x: Any) -> Iterator[tuple[str, Any]]:
    yield from list(vars(x).items())
    for name in copyreg._slotnames(type(x)):  # type: ignore[attr-defined]
        if hasattr(x, name):
            yield name, getattr(x, name)


def _put(x: Any, name: str, value: Any) -> None:
    if name in copyreg._slotnames(type(x)):  # type: ignore[attr-defined]
        object.__setattr__(x, name, value)
    else:
        vars(x)[name] = value


class _Copies:
    """``of(x)`` is what the new tree has in the place of ``x``."""

    def __init__(self, made: dict[int, Any]) -> None:
        self.made, self.modules = made, set(made)
        self.hooks = False  # hooks are kept as they are, but for what they are bound to

    def of(self, x: Any) -> Any:
        if id(x) in self.made:
            return self.made[id(x)]
        kind = type(x)
        if kind in _DICTS or kind in _OTHERS:
            return self._container(x)
        if kind is tuple or (isinstance(x, tuple) and hasattr(x, "_fields")):
            return self._tuple(x)
        if kind is MethodType:
            owner = self.of(x.__self__)
            return x if owner is x.__self__ else MethodType(x.__func__, owner)
        if kind is partial:
            return self._partial(x)
        if kind is weakref.ref:
            return weakref.ref(self.made[id(x())]) if id(x()) in self.modules else x
        if kind is RemovableHandle:
            return self._handle(x)
        if kind is _WrappedHook:
            return self._object(x) if self._leads(vars(x).values()) else x
        if self.hooks or isinstance(x, nn.Module | type):
            return x
        if kind is FunctionType:
            return self._function(x)
        return self._object(x) if self._is_helper(x) else x

    def _container(self, x: Any) -> Any:
        new = self.made[id(x)] = copy.copy(x)
        new.clear()
        if isinstance(x, dict):
            new.update((self.of(k), self.of(v)) for k, v in list(x.items()))
        elif isinstance(x, set):
            new.update(map(self.of, x))
        else:
            new.extend(map(self.of, x))
        return new

    def _tuple(self, x: Any) -> Any:
        parts = [self.of(v) for v in x]
        if all(a is b for a, b in zip(parts, x, strict=True)):
            return x
        return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)

    def _partial(self, x: partial[Any]) -> partial[Any]:
        parts = [x.func, *x.args, *x.keywords.values()]
        function, *rest = map(self.of, parts)
        if all(a is b for a, b in zip([function, *rest], parts, strict=True)):
            return x
        count = len(x.args)
        return partial(function, *rest[:count], **dict(zip(x.keywords, rest[count:], strict=True)))

    def _handle(self, x: RemovableHandle) -> RemovableHandle:
        """Of a hook of the tree: its copy removes the copy's hook."""
        if id(x.hooks_dict_ref()) not in self.made:
            return x
        new = self.made[id(x)] = copy.copy(x)
        new.hooks_dict_ref = weakref.ref(self.made[id(x.hooks_dict_ref())])
        new.extra_dict_ref = tuple(weakref.ref(self.of(ref())) for ref in x.extra_dict_ref)
        return new

    def _function(self, x: FunctionType) -> FunctionType:
        """A function whose closure holds a module, or a method of one."""
        cells = x.__closure__ or ()
        held = [_content(c) for c in cells]
        if not any(map(self._is_of_tree, held)):
            return x
        new_cells = (
            CellType(self.of(v)) if self._is_of_tree(v) else c for c, v in zip(cells, held, strict=True)
        )
        new = FunctionType(x.__code__, x.__globals__, x.__name__, x.__defaults__, tuple(new_cells))
        new.__kwdefaults__, new.__qualname__, new.__dict__ = x.__kwdefaults__, x.__qualname__, dict(vars(x))
        self.made[id(x)] = new
        return new

    def _object(self, x: Any) -> Any:
        new = self.made[id(x)] = object.__new__(type(x))
        for name, value in _attributes(x):
            _put(new, name, self.of(value))
        return new

    def _is_helper(self, x: Any) -> bool:
        """An object, not of PyTorch's, that holds a module of the tree."""
        kind = cast("Any", type(x))
        if not (kind.__flags__ & _HEAP and hasattr(x, "__dict__")) or kind.__module__.startswith("torch."):
            return False
        return kind.__new__ is object.__new__ and self._leads(vars(x).values())

    def _leads(self, values: Any) -> bool:
        for v in values:
            parts = v.values() if isinstance(v, dict) else v if isinstance(v, list | tuple | set) else (v,)
            if any(map(self._is_of_tree, parts)):
                return True
        return False

    def _is_of_tree(self, x: Any) -> bool:
        x = x() if type(x) is weakref.ref else getattr(x, "__self__", x) if type(x) is MethodType else x
        return id(x) in self.modules


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet filled
        return None
