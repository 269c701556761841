"""Which class takes which one's place, and why one is left.

A swap changes a module's class and nothing else: ``torch_ext.nn.C`` adds no state to ``torch.nn.C``. A user's
subclass that keeps the forward pass becomes a class of both: the user's methods first, then ours.
"""

from __future__ import annotations

from functools import cache
from types import CodeType, FunctionType
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils import parametrize

import torch_ext.nn
from handgrad._errors import require

MARK = "_handgrad_swapped"  # in the __dict__ of a module whose class was changed: unswap goes by it

_MIXED = "_handgrad_mixed"
_CALLED = {"forward", "__call__", "_call_impl"}  # what a call of a module runs
_WATCHED = "__init_subclass__"  # a class that has one would hear of ours
_QUANTISED = ("torch.ao.", "torch.nn.quantized", "torch.nn.quantizable", "torch.nn.qat", "torch.nn.intrinsic")
_STRUCTURE = ("torch.nn.modules.container", "torch.nn.parallel")  # hold layers, and compute nothing


class Choice(NamedTuple):
    """What becomes of a module: another class, or a reason to keep its own; neither for what is no layer."""

    to: type | None = None
    reason: str = ""


def layer_of(cls: type) -> type | None:
    """The class of ``torch.nn`` that ``cls`` is, or descends from."""
    own = (c for c in cls.__mro__ if c is not nn.Module and getattr(nn, c.__name__, None) is c)
    return next(own, None)


def closed(module: nn.Module) -> str:
    """Why nothing inside a module can be swapped; "" where it can."""
    cls = type(module)
    if isinstance(module, torch.jit.ScriptModule):
        return "scripted: swap first, then script"
    if cls.__name__ == "OptimizedModule" or vars(module).get("_compiled_call_impl") is not None:
        return "compiled: swap first, then compile"
    if _made_in(cls, ("torch.distributed.fsdp",)):
        return "sharded: swap first, then shard"
    if cls.__module__.startswith("torch.ao.nn."):
        return "quantised"
    return ""


def choose(module: nn.Module) -> Choice:
    """What becomes of a module that is not :func:`closed`."""
    base = plain_class(module)
    layer = layer_of(base)
    if layer is None or _is_ours(base):
        return Choice()
    ours = _ours(layer)
    if "forward" not in _methods(layer) or _made_in(layer, _STRUCTURE):
        return Choice(None if ours is None or base is not layer else _with_parametrizations(module, ours))
    if ours is None:
        return Choice(None, f"torch_ext.nn has no {layer.__name__}")
    reason = _lazy(layer, ours) or _kept(module, base, layer, ours) or _foreign(module)
    if reason:
        return Choice(None, reason)
    try:
        return Choice(_with_parametrizations(module, ours if base is layer else mixed(base, ours)))
    except TypeError:  # bases in an order that no class can have, or a metaclass of its own
        return Choice(None, f"its class {base.__name__} takes no further base")


def back(module: nn.Module) -> type:
    """The class that a swapped module had."""
    cls, base = type(module), plain_class(module)
    if not _is_ours(base):  # its user has given it another class since
        return cls
    native = base.__bases__[0] if _is_mixed(base) else layer_of(base)
    made = _is_mixed(base) or base is _ours(native)
    rule = "unswap takes layers of the classes that swap gave them"
    require(made, rule, f"one that is {base.__name__} by now", "unswap before its class is changed")
    return _with_parametrizations(module, native)


def fresh(module: nn.Module) -> type:
    """The class for a copy: parametrizations are properties of a class of the module's own."""
    return _with_parametrizations(module, plain_class(module))


# --- classes ------------------------------------------------------------------------------


def mixed(base: type, ours: type) -> type:
    """A user's layer whose forward pass is ours: a subclass of both, always the same one."""
    derived: list[type] = type.__subclasses__(base)
    for known in derived:
        if _is_mixed(known) and known.__bases__ == (base, ours):
            return known

    def reduced(self: Any, protocol: Any) -> Any:
        """It pickles by its bases: no module holds it under its name."""
        make, arguments, *rest = super(made, self).__reduce_ex__(max(int(protocol), 2))
        return (_empty, (base, ours), *rest) if arguments == (made,) else (make, arguments, *rest)

    names = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    make = cast("Any", type(base))
    made = make(base.__name__, (base, ours), {**names, _MIXED: True, "__reduce_ex__": reduced})
    return cast("type", made)


def _empty(base: type, ours: type) -> Any:
    cls: Any = mixed(base, ours)
    return cls.__new__(cls)


def _is_mixed(cls: type) -> bool:
    return _MIXED in vars(cls)


def plain_class(module: nn.Module) -> type:
    """The class without parametrizations."""
    return type(module).__bases__[0] if _is_parametrized(module) else type(module)


def _is_parametrized(module: nn.Module) -> bool:
    named = type(module).__name__ == f"Parametrized{type(module).__bases__[0].__name__}"
    return named and parametrize.is_parametrized(module)


def _with_parametrizations(module: nn.Module, base: Any) -> type:
    """``base``, or where the module is parametrized a new class on it with the same properties."""
    if not _is_parametrized(module):
        return cast("type", base)
    old = {k: v for k, v in vars(type(module)).items() if k not in ("__dict__", "__weakref__")}
    return type(f"Parametrized{base.__name__}", (base,), old)


def _ours(layer: type | None) -> type | None:
    """The class of ``torch_ext.nn`` for one of ``torch.nn``."""
    found = getattr(torch_ext.nn, layer.__name__, None) if layer is not None else None
    mine = isinstance(found, type) and layer is not None and issubclass(found, layer) and found is not layer
    return found if mine else None


def _is_ours(cls: type) -> bool:
    ours = _ours(layer_of(cls))
    return ours is not None and issubclass(cls, ours)


def _made_in(cls: type, packages: tuple[str, ...]) -> bool:
    return any(c.__module__.startswith(packages) for c in cls.__mro__)


# --- reasons to leave a layer -------------------------------------------------------------


def _lazy(layer: type, ours: type) -> str:
    if not issubclass(layer, LazyModuleMixin):
        return ""
    becomes = getattr(ours, "cls_to_become", None)
    ready = becomes is not None and _is_ours(becomes)
    return "" if ready else "lazy: call it once, then swap"


def _kept(module: nn.Module, base: type, layer: type, ours: type) -> str:
    """A user's own forward pass, in a subclass or on the instance, must stay."""
    if _made_in(base, _QUANTISED):
        return "quantised"
    own = base.__mro__[: base.__mro__.index(layer)]
    new = {n for c in ours.__mro__[: ours.__mro__.index(layer)] for n in vars(c) if not n.startswith("__")}
    used = {*forward_pass(layer), *new, _WATCHED}
    for name in sorted(used, key=lambda n: (n != "forward", n)):
        maker = next((c for c in own if name in vars(c)), None)
        if maker is not None:
            return f"{maker.__name__} overrides {name}"
        if callable(vars(module).get(name)):
            return f"its {name} was replaced on the instance"
    return ""


def _foreign(module: nn.Module) -> str:
    """Tensors with an arithmetic of their own, such as quantised or distributed ones."""
    own = [*module._parameters.values(), *module._buffers.values()]
    for x in (x for x in own if isinstance(x, Tensor)):
        if x.is_quantized:
            return "quantised"
        cls = type(x)
        if not cls.__module__.startswith(("torch._subclasses", "torch.nn.parameter")) and any(
            _own(cls, name) for name in ("__torch_function__", "__torch_dispatch__")
        ):
            return f"holds a {cls.__name__}"
    return ""


def _own(cls: type, name: str) -> bool:
    maker = next(c for c in cls.__mro__ if name in vars(c))
    return maker not in (Tensor, nn.Parameter, torch._C.TensorBase)


@cache
def forward_pass(layer: type) -> frozenset[str]:
    """The methods of a layer that its forward pass may run, by name: of those, none may be overridden."""
    methods = _methods(layer)
    found, ahead = set(_CALLED), list(_CALLED)
    while ahead:
        function = methods.get(ahead.pop())
        if isinstance(function, FunctionType):
            new = {n for n in _names(function.__code__) if n in methods} - found
            found |= new
            ahead += new
    return frozenset(found)


def _names(code: CodeType) -> set[str]:
    inner = (c for c in code.co_consts if isinstance(c, CodeType))
    return {*code.co_names}.union(*map(_names, inner))


def _methods(layer: type) -> dict[str, Any]:
    """The methods and properties that the classes below ``nn.Module`` define."""
    found: dict[str, Any] = {}
    for c in (c for c in layer.__mro__ if c not in nn.Module.__mro__):
        for name, value in vars(c).items():
            value = value.__func__ if isinstance(value, staticmethod | classmethod) else value
            if isinstance(value, FunctionType | property):
                found.setdefault(name, value)
    return found
