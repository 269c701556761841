"""The calls to compare: PyTorch's own databases of samples, and ours for what they lack.

PyTorch's are private (``torch.testing._internal``) and need its test dependencies (expecttest).
"""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

import torch_ext
from handgrad import registry
from torch_ext.sweep.catalogue import VARIANTS_LEFT_OUT
from torch_ext.sweep.inexact import behind

SEED = 20
HAND, NATIVE = "hand", "native"
TRUTH = "truth"  # native, but for what PyTorch itself has wrong (Derivation.truth)


@dataclass(frozen=True)
class Sample:
    """One call. ``call(side)`` gives a function of (args, kwargs), and the module where there is one.

    ``given``: (args, kwargs); tensors that require grad are differentiated.
    """

    entry: str
    label: str
    call: Callable[[str], tuple[Callable[..., Any], nn.Module | None]]
    given: tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Faulty:
    """A call that PyTorch refuses: ``call(side)`` runs it whole, construction included."""

    entry: str
    label: str
    call: Callable[[str], Any]


@dataclass(frozen=True)
class Entry:
    """A function or module under the name of PyTorch's database, and its samples for a dtype."""

    name: str
    base: str  # its name in torch_ext.functional or torch_ext.nn
    is_module: bool
    dtypes: frozenset[torch.dtype]
    samples: Callable[[torch.dtype], list[Sample]]
    faulty: Callable[[], list[Faulty]] = field(default=list)

    @property
    def derived(self) -> bool:
        return self.base in vars(torch_ext.nn) if self.is_module else hasattr(torch_ext.functional, self.base)


@contextmanager
def _standing_in(name: str, function: Callable[..., Any]) -> Iterator[None]:
    """PyTorch's function of that name is another meanwhile: its samples and modules call it in wrappers."""
    home: Any = next(h for h in (nn.functional, torch, Tensor) if hasattr(h, name))
    native = getattr(home, name)

    def once(*args: Any, **kwargs: Any) -> Any:
        setattr(home, name, native)  # inside, PyTorch's own is meant
        try:
            return function(*args, **kwargs)
        finally:
            setattr(home, name, once)

    setattr(home, name, once)
    try:
        yield
    finally:
        setattr(home, name, native)


def _native(name: str) -> Any:
    if name == "index":  # of torch.Tensor, which has no function for it
        return Tensor.__getitem__
    if name.startswith("linalg_"):
        return getattr(torch.linalg, name.removeprefix("linalg_"))
    return next((getattr(h, name) for h in (nn.functional, torch, Tensor) if hasattr(h, name)), None)


@cache
def _truth(name: str) -> Callable[..., Any] | None:
    """The function to compare with where PyTorch's own is the less accurate one (``Derivation.truth``)."""
    formula = registry[name].truth if name in registry else None
    if formula is None:
        return None
    signature = inspect.signature(getattr(torch_ext.functional, name))  # PyTorch's may be built in C

    def truth(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        in_place = bound.arguments.pop("inplace", False)
        x, *rest = bound.args
        y = formula(torch, x, *rest)
        return x.copy_(y) if in_place else y

    return truth


def _function_call(name: str, op: Callable[..., Any]) -> Callable[[str], tuple[Callable[..., Any], None]]:
    direct = op is _native(name) or op is getattr(torch, name, None)

    def call(side: str) -> tuple[Callable[..., Any], None]:
        if side == HAND:
            function = getattr(torch_ext.functional, name)
        elif side == NATIVE or (function := _truth(name)) is None:
            return behind(name, op, hand=False), None
        called = function if direct else _with(name, function, op)
        return behind(name, called, hand=side == HAND), None

    return call


def _with(name: str, function: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        with _standing_in(name, function):
            return f(*args, **kwargs)

    return called


def _module_call(
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    training: bool,
    dtype: torch.dtype,
    inputs: tuple[Any, ...],
) -> Any:
    """``inputs``: what the module is called on, from which a lazy one takes its shapes."""

    def call(side: str) -> tuple[Callable[..., Any], nn.Module]:
        kind = getattr(torch_ext.nn if side == HAND else nn, name)
        torch.manual_seed(SEED)
        a, k = copy.deepcopy((args, kwargs))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = kind(*a, **k).train(training).to(dtype)
        infer = getattr(module, "_infer_parameters", None)
        if infer is not None:
            infer(module, inputs)  # as the first call of a lazy module does
        truth = _truth(name.lower()) if side == TRUTH else None
        if truth is not None:
            module.forward = _with(name.lower(), truth, module.forward)
        return behind(name, module, hand=side == HAND), module

    return call


# --- PyTorch's databases ------------------------------------------------------------------

_PLAIN = {"linalg.vector_norm": "linalg_vector_norm", "__getitem__": "index"}  # a name that can be ours
_NAMESAKES = ("unfold",)  # of torch.Tensor: other functions than ours of torch.nn.functional


def _function_entries() -> Iterator[Entry]:
    from torch.testing._internal.common_methods_invocations import op_db

    ours = torch_ext.functional
    for op in op_db:
        base = _PLAIN.get(op.name) or op.name.removeprefix("nn.functional.")
        if not op.name.startswith("nn.") and (base not in vars(ours) or base in _NAMESAKES):
            continue  # an operation between layers that we do not have
        name = f"{op.name}/{op.variant_test_name}" if op.variant_test_name else op.name
        if name in VARIANTS_LEFT_OUT:
            continue
        yield Entry(
            name, base, False, frozenset(op.dtypes), _op_samples(op, name, base), _op_faults(op, name, base)
        )


def _op_samples(op: Any, name: str, base: str) -> Callable[[torch.dtype], list[Sample]]:
    def samples(dtype: torch.dtype) -> list[Sample]:
        torch.manual_seed(SEED)
        call = _function_call(base, op.op)
        return [
            Sample(
                name,
                f"{i} {_words((s.input, *s.args), s.kwargs)}",
                call,
                ((s.input, *s.args), dict(s.kwargs)),
            )
            for i, s in enumerate(op.sample_inputs("cpu", dtype, requires_grad=True))
        ]

    return samples


def _op_faults(op: Any, name: str, base: str) -> Callable[[], list[Faulty]]:
    def faulty() -> list[Faulty]:
        if op.error_inputs_func is None:
            return []
        found = []
        for i, e in enumerate(op.error_inputs("cpu")):
            s = e.sample_input

            def call(side: str, s: Any = s) -> Any:
                function, _ = _function_call(base, op.op)(side)
                return function(s.input, *s.args, **s.kwargs)

            found.append(Faulty(name, f"{i} {_words((s.input, *s.args), s.kwargs)}", call))
        return found

    return faulty


def _module_entries() -> Iterator[Entry]:
    from torch.testing._internal.common_modules import module_db

    for info in module_db:
        base = info.module_cls.__name__
        yield Entry(
            f"nn.{base}",
            base,
            True,
            frozenset(info.dtypes),
            _module_samples(info, base),
            _module_faults(info, base),
        )


def _module_samples(info: Any, base: str) -> Callable[[torch.dtype], list[Sample]]:
    def samples(dtype: torch.dtype) -> list[Sample]:
        found = []
        for training in (True, False):
            torch.manual_seed(SEED)
            inputs = info.module_inputs_func(
                info, device="cpu", dtype=dtype, requires_grad=True, training=training
            )
            for i, s in enumerate(inputs):
                c, f = s.constructor_input, s.forward_input
                if f is None:
                    continue
                label = f"{i} {'train' if training else 'eval'} {s.desc}: {base}({_words(c.args, c.kwargs)})"
                call = _module_call(base, tuple(c.args), dict(c.kwargs), training, dtype, tuple(f.args))
                found.append(
                    Sample(
                        f"nn.{base}",
                        f"{label} on {_words(f.args, f.kwargs)}",
                        call,
                        (tuple(f.args), dict(f.kwargs)),
                    )
                )
            if not info.train_and_eval_differ:
                break
        return found

    return samples


def _module_faults(info: Any, base: str) -> Callable[[], list[Faulty]]:
    def faulty() -> list[Faulty]:
        if info.module_error_inputs_func is None:
            return []
        found = []
        for training in (True, False):
            inputs = info.module_error_inputs_func(
                info, device="cpu", dtype=torch.float64, requires_grad=False, training=training
            )
            for i, e in enumerate(inputs):
                s = e.module_error_input
                c, f = s.constructor_input, s.forward_input

                def call(side: str, c: Any = c, f: Any = f) -> Any:
                    kind = getattr(torch_ext.nn if side == HAND else nn, base)
                    module = kind(*c.args, **c.kwargs)
                    return None if f is None else module(*f.args, **f.kwargs)

                found.append(Faulty(f"nn.{base}", f"{i} {base}({_words(c.args, c.kwargs)})", call))
        return found

    return faulty


# --- ours, for what PyTorch's lack ----------------------------------------------------------

FLOATS = frozenset((torch.float64, torch.float32, torch.bfloat16, torch.float16))


def _own_entries(known: set[str]) -> Iterator[Entry]:
    from torch_ext.sweep.own import FUNCTIONS, MODULES

    for base, make in FUNCTIONS.items():
        name = f"own.{base}"
        assert name not in known
        yield Entry(name, base, False, FLOATS, _own_functions(base, name, make))
    for base, make in MODULES.items():
        yield Entry(f"own.nn.{base}", base, True, FLOATS, _own_modules(base, f"own.nn.{base}", make))


def _own_functions(base: str, name: str, make: Any) -> Callable[[torch.dtype], list[Sample]]:
    native = _native(base)

    def samples(dtype: torch.dtype) -> list[Sample]:
        g = torch.Generator().manual_seed(SEED)
        call = _function_call(base, native)
        return [
            Sample(name, f"{i} {_words(args, kwargs)}", call, (args, kwargs))
            for i, (args, kwargs) in enumerate(make(g, dtype))
        ]

    return samples


def _own_modules(base: str, name: str, make: Any) -> Callable[[torch.dtype], list[Sample]]:
    def samples(dtype: torch.dtype) -> list[Sample]:
        g = torch.Generator().manual_seed(SEED)
        return [
            Sample(
                name,
                f"{i} {'train' if training else 'eval'} {base}({_words(a, k)}) on {_words(args, {})}",
                _module_call(base, a, k, training, dtype, args),
                (args, {}),
            )
            for i, (a, k, args) in enumerate(make(g, dtype))
            for training in (True, False)
        ]

    return samples


@cache
def entries() -> dict[str, Entry]:
    """All entries by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {e.name: e for e in (*_function_entries(), *_module_entries())}
        found.update({e.name: e for e in _own_entries(set(found))})
    return found


def _words(args: Any, kwargs: Any) -> str:
    parts = [*map(_word, args), *(f"{k}={_word(v)}" for k, v in kwargs.items())]
    return ", ".join(parts)


def _word(value: Any) -> str:
    if isinstance(value, Tensor):
        return str(list(value.shape))
    if isinstance(value, tuple | list):
        return "(" + ", ".join(map(_word, value)) + ")"
    return value.__name__ if callable(value) and hasattr(value, "__name__") else repr(value)[:60]
