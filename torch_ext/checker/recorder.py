"""What a backward pass did, before the engine sums, casts or drops it: shapes, dtypes, changed tensors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from threading import get_ident
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import _SingleLevelFunction


@dataclass
class Raw:
    """``returned``: by variable, as backward returned it. ``wrong_shapes`` and ``wrong_dtypes``: (where,
    received, due). ``changed``: what was written into that is not the pass's own. ``custom``: a backward
    written by hand took part."""

    returned: dict[str, Any] = field(default_factory=dict)
    wrong_shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    wrong_dtypes: dict[str, tuple[str, str]] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)
    custom: bool = False

    def note(self, name: str, dx: Any, x: Any) -> None:
        """Compare a returned gradient with what is due for ``x`` (a tensor or its metadata)."""
        if not isinstance(dx, Tensor):
            return
        if tuple(dx.shape) != tuple(x.shape):
            self.wrong_shapes[name] = (tuple(dx.shape), tuple(x.shape))
        if dx.dtype != x.dtype:
            self.wrong_dtypes[name] = (str(dx.dtype), str(x.dtype))


class BackwardRaises(Exception):
    """The forward pass ran, and ``where``, a backward, raised ``error``; its text is that of ``error``."""

    def __init__(self, where: str, error: Exception) -> None:
        super().__init__(str(error))
        self.where, self.error = where, error


@contextmanager
def applying(apply: Callable[..., Any]) -> Iterator[None]:
    """Every custom Function is called by ``apply(cls, *args)`` in this thread, also through a bound ``apply``
    kept from before: all of them look it up in this base class at last."""
    thread = get_ident()

    def here(cls: Any, *args: Any, **kwargs: Any) -> Any:
        return (apply if get_ident() == thread else native_apply)(cls, *args, **kwargs)

    if "torch._dynamo" in sys.modules:  # what watches is not to be compiled
        here = torch.compiler.disable(here)  # type: ignore[no-untyped-call]
    with replaced(_SingleLevelFunction, "apply", classmethod(here)):
        yield


_REPLACED: dict[tuple[Any, str], Any] = {}


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute of a class or module is another one; kept in mind until it is put back."""
    before, outermost = vars(owner).get(name), (owner, name) not in _REPLACED
    try:
        if outermost:
            _REPLACED[owner, name] = before
        setattr(owner, name, value)
        yield
    finally:
        _put(owner, name, before)
        if outermost:
            _REPLACED.pop((owner, name), None)


@contextmanager
def all_put_back() -> Iterator[None]:
    """What is still replaced at the end, because Ctrl-C came while it was put back, is put back."""
    others = set(_REPLACED)
    try:
        yield
    finally:
        for key in [k for k in _REPLACED if k not in others]:
            _put(*key, _REPLACED.pop(key))


def _put(owner: Any, name: str, value: Any) -> None:
    if value is not None:
        setattr(owner, name, value)
    elif name in vars(owner):  # it had none of its own
        delattr(owner, name)


def native_apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
    """What PyTorch itself does."""
    return super(_SingleLevelFunction, cls).apply(*args, **kwargs)


class Recorder:
    """Watches one forward and backward pass over ``leaves``, whose values were ``before``."""

    def __init__(self, leaves: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> None:
        self.raw = Raw()
        self.leaves, self.before = leaves, before
        self.raised = "backward"  # the one that raised, where one did
        self.packed: set[Any] = set()  # nodes whose saved tensors may be asked for once, as in a checkpoint
        self.tensors: dict[Any, list[bool]] = {}  # of each node, which arguments of its Function are tensors

    @contextmanager
    def calls(self) -> Iterator[None]:
        """While the forward pass runs, the arguments of every custom Function are noted."""

        def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
            y = native_apply(cls, *args, **kwargs)
            first = y if isinstance(y, Tensor) else next((o for o in y if isinstance(o, Tensor)), None)
            if first is not None and first.grad_fn is not None:
                self.tensors[first.grad_fn] = [isinstance(a, Tensor) for a in args]
                if torch._C._autograd._top_saved_tensors_default_hooks(True) is not None:
                    self.packed.add(first.grad_fn)
            return y

        with applying(apply):
            yield

    def after_forward(self) -> None:
        self._leaves_changed("the forward pass")

    def after_backward(self) -> None:
        self._leaves_changed("the backward pass")

    def _leaves_changed(self, when: str) -> None:
        for name, x in self.leaves.items():
            if not same(x.detach(), self.before[name]):
                self.raw.changed.setdefault(f"input {name}", when)

    def keep(self, residuals: Any, cotangents: Sequence[Any]) -> list[tuple[str, Tensor, Tensor]]:
        """Copies of what a backward pass must not change."""
        watched = [("grad_output", dy) for dy in cotangents if isinstance(dy, Tensor)]
        watched += [("a saved tensor", r) for r in _tensors(residuals)]
        return [(what, t, t.detach().clone()) for what, t in watched]

    def compare(self, kept: list[tuple[str, Tensor, Tensor]]) -> None:
        for what, now, then in kept:
            if not same(now.detach(), then):
                self.raw.changed.setdefault(what, "the backward pass")
        self._leaves_changed("the backward pass")

    def _of_tensors(self, node: Any, returned: Sequence[Any], edges: Sequence[Any]) -> Sequence[Any]:
        """What was returned for the arguments that are tensors: those alone have an edge."""
        tensors = self.tensors.get(node)
        if tensors is not None:
            return [dx for dx, is_tensor in zip(returned, tensors, strict=False) if is_tensor]
        # a call that was not seen: among the Nones, leave out those that make all else fit
        nones = [i for i, dx in enumerate(returned) if dx is None]
        for left_out in combinations(nones, max(len(returned) - len(edges), 0)):
            rest = [dx for i, dx in enumerate(returned) if i not in left_out]
            if all(_fits(dx, edge) for dx, edge in zip(rest, edges, strict=False)):
                return rest
        return returned if len(returned) == len(edges) else ()

    @contextmanager
    def watching(self, outputs: Sequence[Tensor]) -> Iterator[None]:
        """While the engine runs, every custom Function below ``outputs`` is looked at."""
        due: dict[type, dict[Any, Any]] = {}
        for node in custom_nodes(outputs):
            due.setdefault(node._forward_cls, {})[node] = node.next_functions
        self.raw.custom = bool(due)
        named = {cls: "backward" if cls.vjp is Function.vjp else "vjp" for cls in due}  # type: ignore[attr-defined]
        with ExitStack() as stack:
            for cls, name in named.items():
                watched = staticmethod(self._watched(cls, getattr(cls, name), due[cls]))
                stack.enter_context(replaced(cls, name, watched))
            yield

    def _watched(self, cls: type, backward: Any, edges: Mapping[Any, Any]) -> Any:
        def watched(ctx: Any, *grads: Any) -> Any:
            if ctx not in edges:  # another graph
                return backward(ctx, *grads)
            try:
                saved = () if ctx in self.packed else ctx.saved_tensors
            except RuntimeError:  # changed in place: the engine will say so
                saved = ()
            kept = self.keep([saved, list(vars(ctx).values()) if hasattr(ctx, "__dict__") else []], grads)
            try:
                returned = backward(ctx, *grads)
            except Exception:
                self.raised = f"{cls.__name__}.backward"
                raise
            self.compare(kept)
            listed = returned if isinstance(returned, tuple | list) else (returned,)
            due = list(edges[ctx])
            for i, (dx, (node, slot)) in enumerate(
                zip(self._of_tensors(ctx, listed, due), due, strict=False)
            ):
                if node is None:
                    continue
                through = node.next_functions[0][0] if node.name() == "CloneBackward0" else node
                variable = getattr(through, "variable", None)
                name = next((n for n, x in self.leaves.items() if x is variable), None)
                if name is not None:
                    self.raw.returned[name] = dx
                where = name or f"argument {i} of {cls.__name__}"
                self.raw.note(where, dx, node._input_metadata[slot])
            return returned

        return watched


def _fits(dx: Any, edge: Any) -> bool:
    node, slot = edge
    return dx is None or node is None or tuple(dx.shape) == tuple(node._input_metadata[slot].shape)


def custom_nodes(outputs: Sequence[Tensor]) -> list[Any]:
    """The nodes of custom Functions in the graph of ``outputs``."""
    seen, found, stack = set(), [], [y.grad_fn for y in outputs if y.grad_fn is not None]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if hasattr(node, "_forward_cls"):
            found.append(node)
        stack += [n for n, _ in node.next_functions if n is not None]
    return found


def same(a: Tensor, b: Tensor) -> bool:
    """Equal bit for bit, NaN included."""
    if a.shape != b.shape:
        return False
    return bool(torch.equal(a, b)) or bool(torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)))


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [] if value.layout != torch.strided else [value]
    if isinstance(value, tuple | list):
        return [t for v in value for t in _tensors(v)]
    if isinstance(value, dict):
        return [t for v in value.values() for t in _tensors(v)]
    return []
