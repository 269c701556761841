"""What a target may disturb, put back afterwards, also after an exception or Ctrl-C.

The target runs on copies of its inputs, parameters and buffers. What it reaches otherwise (random numbers,
PyTorch's modes, attributes of modules, tensors in a closure) is put back here.
"""

from __future__ import annotations

import functools
import random
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import CellType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from torch_ext.checker.recorder import all_put_back

_DEPTH = 3  # functions that call functions
_SMALL = 2_000  # elements
_COUNT = 64  # entries of a container
GENERATORS = (torch.Generator, random.Random, np.random.Generator)
_AT_A_TIME = threading.RLock()  # custom Functions are watched through a class that all of them share

_MODES: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.is_grad_enabled, torch._C._set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, lambda v: torch.set_default_device(None if v.type == "cpu" else v)),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (
        lambda: (torch.are_deterministic_algorithms_enabled(), _only_warns()),
        lambda v: torch.use_deterministic_algorithms(v[0], warn_only=v[1]),
    ),
    (
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda v: torch.set_anomaly_enabled(*v),
    ),
    (np.geterr, lambda v: np.seterr(**v)),
)
_RANDOM: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (random.getstate, random.setstate),
    (np.random.get_state, np.random.set_state),
)


def _on_cuda() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _only_warns() -> bool:
    return torch.is_deterministic_algorithms_warn_only_enabled()


@contextmanager
def undisturbed(target: Any, reference: Any, *inputs: Any) -> Iterator[None]:
    """A block after which all is as it was. Within it gradients are recorded, and neither autocast nor
    inference mode is on; what is small is summed by one thread: the report does not depend on where the
    check is called. ``inputs`` that are tensors are not touched at all."""
    with _AT_A_TIME, warnings.catch_warnings(), all_put_back():
        warnings.simplefilter("ignore")
        modes = [(get, put, get()) for get, put in _MODES]
        states = [(put, get()) for get, put in _RANDOM]
        devices = range(torch.cuda.device_count()) if _on_cuda() else ()
        elsewhere = torch.get_default_device().type != "cpu"
        kept: list[_Module | _Tensor | _Generator] = []
        try:
            with (
                torch.random.fork_rng(devices=devices),
                torch.inference_mode(False),
                torch.enable_grad(),
                torch.device("cpu") if elsewhere else nullcontext(),
                torch.autocast("cpu", enabled=False),
                torch.autocast("cuda", enabled=False),
            ):
                kept += keep(target, reference, *(x for x in inputs if not isinstance(x, Tensor)))
                if _elements(target, inputs) < _SMALL:
                    torch.set_num_threads(1)
                yield
        finally:
            for each in kept:
                each.restore()
            for put, state in states:
                put(state)
            for get, put, value in modes:
                if get() != value:
                    put(value)


def _elements(target: Any, inputs: Sequence[Any]) -> int:
    own = list(target.parameters()) if isinstance(target, nn.Module) else []
    return sum(x.numel() for x in [*inputs, *own] if isinstance(x, Tensor) and not is_lazy(x))


@contextmanager
def same_random_numbers(seed: int) -> Iterator[None]:
    """Seeds the global generators of PyTorch, Python and NumPy; within :func:`undisturbed`, which puts them
    back. A target that leaves gradients off has them on again afterwards."""
    recorded = torch.is_grad_enabled()
    torch.default_generator.manual_seed(seed)
    if _on_cuda():
        torch.cuda.manual_seed_all(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        if torch.is_grad_enabled() != recorded:
            torch._C._set_grad_enabled(recorded)


# --- what a target owns ---------------------------------------------------------------------------


class _Generator:
    """The state of a generator of random numbers."""

    def __init__(self, generator: Any) -> None:
        self.put: Callable[[Any], Any]
        self.state: Any
        if isinstance(generator, torch.Generator):
            self.put, self.state = generator.set_state, generator.get_state()
        elif isinstance(generator, random.Random):
            self.put, self.state = generator.setstate, generator.getstate()
        else:
            bits = generator.bit_generator
            self.put, self.state = functools.partial(setattr, bits, "state"), bits.state

    def restore(self) -> None:
        self.put(self.state)


class _Module:
    """The attributes of a module, its training mode and hooks among them; of dicts, lists and sets also
    what is in them."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.before = module, dict(vars(module))
        self.inside = {
            name: (value, value.copy())
            for name, value in self.before.items()
            if type(value) in (dict, OrderedDict, list, set)
        }

    def restore(self) -> None:
        now = vars(self.module)
        for name in [n for n in now if n not in self.before]:
            del now[name]
        for name, value in self.before.items():
            if now.get(name) is not value:
                now[name] = value
        for value, copy in self.inside.values():
            if list(map(id, _entries(value))) != list(map(id, _entries(copy))):
                value.clear()
                (value.extend if isinstance(value, list) else value.update)(copy)


class _Tensor:
    """The numbers and the ``.grad`` of a tensor."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.numbers = tensor, tensor.detach().clone()
        self.needs, self.version = tensor.requires_grad, tensor._version
        self.grad = tensor.grad if tensor.is_leaf else None
        self.grad_numbers = None if self.grad is None else self.grad.detach().clone()

    def restore(self) -> None:
        t = self.tensor
        with torch.no_grad():
            if t._version != self.version or not torch.equal(t, self.numbers):
                t.data.copy_(self.numbers)
            if t.is_leaf and t.requires_grad != self.needs:
                t.requires_grad_(self.needs)
            if t.is_leaf and t.grad is not self.grad:
                t.grad = self.grad
            if self.grad is not None and self.grad_numbers is not None:
                self.grad.copy_(self.grad_numbers)


def keep(*targets: Any) -> list[_Module | _Tensor | _Generator]:
    """The state of all that the targets reach. The parameters of a target that is a module are not copied:
    others take their place."""
    modules: dict[int, nn.Module] = {}
    tensors: dict[int, Tensor] = {}
    generators: dict[int, Any] = {}
    replaced = {id(p) for t in targets if isinstance(t, nn.Module) for p in t.parameters()}
    for value in (v for t in targets for v in _reached(t)):
        if isinstance(value, GENERATORS):
            generators[id(value)] = value
        elif isinstance(value, nn.Module):
            modules |= {id(m): m for m in value.modules()}
        else:
            tensors[id(value)] = value
    for m in modules.values():
        own = [*m._parameters.values(), *m._buffers.values(), *vars(m).values()]
        generators |= {id(g): g for g in own if isinstance(g, GENERATORS)}
        tensors |= {id(t): t for t in own if isinstance(t, Tensor)}
    plain = [t for i, t in tensors.items() if i not in replaced and _plain(t)]
    scripted = torch.jit.ScriptModule
    unscripted = [m for m in modules.values() if not isinstance(m, scripted)]
    return [*map(_Module, unscripted), *map(_Tensor, plain), *map(_Generator, generators.values())]


def modules_of(target: Any) -> list[nn.Module]:
    """The modules that a function uses."""
    found = {id(v): v for v in _reached(target) if isinstance(v, nn.Module)}
    return list(found.values())


def _plain(t: Tensor) -> bool:
    usual = t.layout == torch.strided and t.device.type != "meta" and not is_lazy(t)
    return usual and not t.is_inference() and not t.is_nested


def _reached(target: Any, depth: int = _DEPTH) -> Iterator[Any]:
    """Modules, tensors and generators in a callable's closure, defaults and globals, and in those it uses."""
    if isinstance(target, (nn.Module, Tensor, *GENERATORS)):
        yield target
    elif depth > 0:
        for part in _parts(target):
            yield from _reached(part, depth - 1)


def _parts(target: Any) -> Sequence[Any]:
    if isinstance(target, tuple | list | set):
        return list(target)[:_COUNT]
    if isinstance(target, dict):
        return list(target.values())[:_COUNT]
    if isinstance(target, FunctionType):
        cells = [v for c in target.__closure__ or () for v in _held(c)]
        names = [n for n in target.__code__.co_names if n in target.__globals__]
        defaults = [*(target.__defaults__ or ()), *(target.__kwdefaults__ or {}).values()]
        return [*cells, *defaults, *(target.__globals__[n] for n in names)]
    if isinstance(target, MethodType):
        return [target.__self__, target.__func__]
    if isinstance(target, functools.partial):
        return [target.func, *target.args, *target.keywords.values()]
    if callable(target) and not isinstance(target, type) and hasattr(target, "__dict__"):
        return list(vars(target).values())[:_COUNT]
    return []


def _held(cell: CellType) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # not filled yet
        return []


def _entries(container: Any) -> list[Any]:
    return [x for pair in container.items() for x in pair] if isinstance(container, dict) else list(container)
