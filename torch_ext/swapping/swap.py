"""``torch_ext.swap`` and ``torch_ext.unswap``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tabulate import tabulate
from torch import nn

from handgrad._errors import require
from torch_ext.swapping.classes import MARK, back, choose, closed, fresh, layer_of, plain_class
from torch_ext.swapping.copies import copied
from torch_ext.swapping.selection import Place, Selection
from torch_ext.swapping.verify import compared


@dataclass(frozen=True)
class Swapped:
    """The result of :func:`swap`. ``swapped``: name -> class; ``left``: name -> (class, reason)."""

    model: nn.Module
    swapped: dict[str, str] = field(default_factory=dict)
    left: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __str__(self) -> str:
        rows = [(name or "(the model)", cls, "swapped") for name, cls in self.swapped.items()]
        rows += [(name or "(the model)", cls, f"left: {why}") for name, (cls, why) in self.left.items()]
        total = f"{len(self.swapped)} swapped, {len(self.left)} left"
        if not rows:
            return total
        return f"{tabulate(rows, headers=('layer', 'class', ''), disable_numparse=True)}\n\n{total}"


def swap(
    model: nn.Module,
    only: Any = None,
    exclude: Any = (),
    inplace: bool = False,
    *,
    verify: Any = None,
) -> Swapped:
    """Replace the ``torch.nn`` layers of a model by those of ``torch_ext.nn``.

    only, exclude   classes, patterns of names (``fnmatch``) or functions ``(name, module) -> bool``; one of
                    them or a tuple. A class or pattern that fits a module means all that is inside it
    inplace         change the tree given. Without it, the result is a new tree over the same parameters and
                    buffers, and the one given stays as it is
    verify          arguments to call the model with: a tuple, a dict of keyword arguments, or a tensor. Both
                    models are run, and :class:`GradientMismatch` is raised where outputs or gradients differ
                    by more than rounding; nothing is changed then

    Raises InputError where an argument breaks a rule. See ``docs/swap.md`` for what is left, and why.
    """
    _require_module("swap", model)
    require(isinstance(inplace, bool), "inplace is True or False", repr(inplace), "give one of them")
    places = _places(model)
    wanted = None if only is None else Selection("only", only, places)
    unwanted = Selection("exclude", exclude, places)
    classes: dict[int, type] = {}
    swapped: dict[str, str] = {}
    left: dict[str, tuple[str, str]] = {}
    for place in places:
        to, reason = choose(place.module) if not place.closed else (None, place.closed)
        if to is None and not reason:
            continue
        if wanted is not None and not wanted(place):
            reason = "not in only"
        elif unwanted(place):
            reason = "in exclude"
        name, kind = place.name, plain_class(place.module).__name__
        if reason:
            left[name] = kind, reason
        elif to is not None:
            swapped[name], classes[id(place.module)] = kind, to
    left |= _hidden(places)
    if verify is not None or not inplace:
        new = _copy(model, places, classes)
        if verify is not None:
            compared(new, model, verify).raise_if_failed()
        if not inplace:
            return Swapped(new, swapped, left)
    for place in places:
        if id(place.module) in classes:
            _become(place.module, classes[id(place.module)], True)
    return Swapped(model, swapped, left)


def unswap(model: nn.Module) -> nn.Module:
    """Give the layers that :func:`swap` replaced their classes back, in the tree given; returns it.

    Layers that were ``torch_ext.nn``'s from the start stay what they are.
    """
    _require_module("unswap", model)
    marked = [m for m in _every(model) if MARK in vars(m)]
    for module, cls in [(m, back(m)) for m in marked]:
        _become(module, cls, False)
    return model


def _require_module(function: str, model: Any) -> None:
    received = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
    rule = f"{function} takes a model, a torch.nn.Module"
    require(isinstance(model, nn.Module), rule, received, "give one")


def _become(module: nn.Module, cls: type, swapped: bool) -> None:
    object.__setattr__(module, "__class__", cls)
    if swapped:
        vars(module)[MARK] = True
    else:
        vars(module).pop(MARK, None)


def _places(model: nn.Module) -> list[Place]:
    """The modules of the tree, each once, in the order of ``named_modules``; without recursion, so that
    depth does not matter. Not into those of which nothing can be swapped."""
    found: dict[int, Place] = {}
    ahead: list[tuple[str, nn.Module, Place | None]] = [("", model, None)]
    while ahead:
        name, module, parent = ahead.pop()
        known = found.get(id(module))
        if known is not None:
            _also_named(known, name, parent, found.values())
            continue
        place = found[id(module)] = Place([name], module, parent, closed(module))
        if not place.closed:
            parts = [(k, m) for k, m in module._modules.items() if m is not None]
            ahead += [(f"{name}.{k}" if name else k, m, place) for k, m in reversed(parts)]
    return list(found.values())


def _also_named(known: Place, name: str, parent: Place | None, places: Iterable[Place]) -> None:
    """Another name of a module, and of all inside it, unless it is inside itself."""
    if parent is not None and parent.is_inside(known):
        known.names.append(name)
        return
    for place in places:
        if place.is_inside(known):
            place.names.append(name + place.name[len(known.name) :])


def _every(model: nn.Module) -> Iterator[nn.Module]:
    """The modules of the tree, those of compiled ones too."""
    seen: set[int] = set()
    ahead = [model]
    while ahead:
        module = ahead.pop()
        if id(module) not in seen:
            seen.add(id(module))
            yield module
            ahead += [m for m in module._modules.values() if m is not None]


def _hidden(places: list[Place]) -> dict[str, tuple[str, str]]:
    """Layers in plain attributes, lists and dicts, which PyTorch itself does not count as parts of the
    model."""
    known, state = {id(p.module) for p in places}, vars(nn.Module())
    found = {}
    for place in (p for p in places if not p.closed):
        for name, value in vars(place.module).items():
            for key, m in _held(value) if name not in state else ():
                if id(m) not in known and layer_of(type(m)) is type(m):
                    known.add(id(m))
                    where = f"{place.name}.{name}{key}" if place.name else f"{name}{key}"
                    reason = "not registered as a part of the model: keep it in a ModuleList or ModuleDict"
                    found[where] = type(m).__name__, reason
    return found


def _held(value: Any) -> Iterator[tuple[str, nn.Module]]:
    """The modules that an attribute is or lists, each with its key."""
    parts: Iterable[tuple[str, Any]] = [("", value)]
    if isinstance(value, dict):
        parts = ((f"[{k!r}]", v) for k, v in value.items())
    elif isinstance(value, list | tuple):
        parts = ((f"[{i}]", v) for i, v in enumerate(value))
    return ((key, m) for key, m in parts if isinstance(m, nn.Module))


def _copy(model: nn.Module, places: list[Place], classes: Mapping[int, type]) -> nn.Module:
    open_ones = [p.module for p in places if not p.closed]
    kinds = {id(m): classes[id(m)] if id(m) in classes else fresh(m) for m in open_ones}
    made = copied(open_ones, kinds)
    for key in classes:
        vars(made[key])[MARK] = True
    return made.get(id(model), model)
