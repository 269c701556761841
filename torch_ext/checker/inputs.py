"""The errors of use: what a check refuses, each in one sentence. ``docs/errors-of-use.md`` lists them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.parameter import is_lazy

from handgrad._errors import InputError, require

DTYPES = (
    torch.float64,
    torch.float32,
    torch.bfloat16,
    torch.float16,
    torch.complex128,
    torch.complex64,
)


def whole_number(name: str, value: Any, low: int, high: int) -> int:
    """``value`` as an int, in [low, high)."""
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = low - 1
    fits = low <= number < high
    rule = f"{name} is a whole number of at least {low}, and below 2**{high.bit_length() - 1}"
    require(fits, rule, repr(value), "give such a number")
    return number


def require_target(target: Any, what: str) -> None:
    """A callable, a module, or a (forward, backward) pair; a reference has no backward of its own."""
    function = isinstance(target, type) and issubclass(target, Function)
    require(
        not function,
        f"a {what} that is a Function is given as its apply",
        f"the class {_name(target)}",
        f"write {_name(target)}.apply",
    )
    module = isinstance(target, type) and issubclass(target, nn.Module)
    require(
        not module,
        f"a {what} that is a module is an instance",
        f"the class {_name(target)}",
        f"write {_name(target)}(...)",
    )
    require(
        not isinstance(target, torch.jit.ScriptModule),
        f"a {what} that is a module runs on copies of its parameters, which a scripted one refuses",
        type(target).__name__,
        "give the module it was made of",
    )
    pair = isinstance(target, tuple) and len(target) == 2 and all(map(callable, target))
    if what == "reference":
        require(
            callable(target),
            "a reference is a function or a module that autograd differentiates",
            "a pair" if pair else type(target).__name__,
            "give one without a backward of its own",
        )
    received = f"a {type(target).__name__} of {len(target)}" if isinstance(target, tuple | list) else None
    require(
        callable(target) or pair,
        f"a {what} is a callable, a module, or a tuple (forward, backward) of functions",
        received or type(target).__name__,
        "give one of these",
    )


def require_inputs(inputs: Any) -> None:
    received = "a tensor" if isinstance(inputs, Tensor) else type(inputs).__name__
    do = "write (x,) for a single one" if isinstance(inputs, Tensor) else "give them in their order"
    require(isinstance(inputs, tuple | list), "inputs are a tuple of the target's arguments", received, do)


def require_numbers(name: str, x: Tensor, what: str) -> None:
    """An input or parameter that is differentiated can be: dense, on a device, of a dtype with digits."""
    require(
        not is_lazy(x),
        f"{what} has numbers",
        f"{name}, which is not initialised yet",
        "call the lazy module once",
    )
    require(
        x.device.type != "meta",
        f"{what} has numbers",
        f"{name} on the meta device",
        "materialise it first, by to_empty() and an initialisation",
    )
    if not x.requires_grad:
        return
    require(
        x.layout == torch.strided and not x.is_nested,
        f"{what} that is differentiated is dense",
        f"{name}, which is {'nested' if x.is_nested else str(x.layout).removeprefix('torch.')}",
        "pass its values as a dense tensor, and make the other layout inside the target",
    )
    require(
        x.dtype in DTYPES,
        f"{what} that is differentiated is float64, float32, bfloat16, float16, complex128 or complex64",
        f"{name} of {str(x.dtype).removeprefix('torch.')}",
        "convert it, and convert it back inside the target",
    )
    require(
        bool(torch.isfinite(x.detach().sum())) or bool(torch.isfinite(x).all()),  # the sum is quicker
        "the inputs given are finite",
        f"NaN or infinity in {name}",
        "give finite ones",
    )


def require_variables(variables: Sequence[str], inputs: Sequence[Any]) -> None:
    """Something is differentiated."""
    nested = any(_hidden(x) for x in inputs)
    require(
        bool(variables),
        "a check needs at least one floating or complex input (or parameter) that requires a gradient",
        "some inside a list or dict only" if nested else "none",
        "pass them as arguments of their own" if nested else "create it with requires_grad=True",
    )


def varies(x: Any) -> bool:
    """Whether probes can draw another constant like ``x``; of other layouts the one given is used."""
    usual = isinstance(x, Tensor) and x.layout == torch.strided and not (x.is_quantized or x.is_nested)
    return not isinstance(x, Tensor) or (usual and x.device.type != "meta")


def hidden_inside(names: Sequence[str], inputs: Sequence[Any]) -> list[str]:
    """The arguments that hold tensors which require a gradient inside a list or dict."""
    return [n for n, x in zip(names, inputs, strict=True) if _hidden(x)]


def _hidden(x: Any) -> bool:
    values = x.values() if isinstance(x, dict) else x if isinstance(x, tuple | list) else ()
    return any(v.requires_grad if isinstance(v, Tensor) else _hidden(v) for v in values)


def listed(outputs: Any, what: str = "target", nested: bool = True) -> list[Any]:
    """A tensor or a tuple of tensors as a list; ``nested``: also tuples in tuples, None among them."""
    if isinstance(outputs, Tensor):
        return [outputs]
    flat = _flat(outputs) if nested else outputs
    if isinstance(flat, tuple | list) and flat and all(isinstance(y, Tensor) for y in flat):
        return list(flat)
    inside = ""
    if isinstance(outputs, tuple | list):
        inside = " of " + (", ".join(sorted({type(y).__name__ for y in outputs})) or "nothing")
    raise InputError(
        f"a {what} returns a tensor or a tuple of tensors; received {type(outputs).__name__}{inside}; "
        "wrap it in a function that returns tensors."
    )


def _flat(outputs: Any) -> Any:
    if not isinstance(outputs, tuple | list):
        return outputs
    return [
        part for y in outputs if y is not None for part in (_flat(y) if isinstance(y, tuple | list) else [y])
    ]


def _name(target: Any) -> str:
    return str(getattr(target, "__name__", ""))
