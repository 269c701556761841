"""The mistake of one layer of a model: the ordinary check on that layer alone, at a small size."""

from __future__ import annotations

import copy
import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from handgrad.checking.findings import CheckReport, Finding
from torch_ext.checker.lockstep import Suspect

_SMALL = 1_000  # elements of an input that is cut
_TRAINED = 20_000  # elements of parameters that are differentiated; more are held fixed
_NAMED = 3  # findings of one layer

Check = Callable[[Any, Sequence[Any], Any], CheckReport]


def cut(args: Any, axes: Sequence[int] = (0, 1), whole: bool = False) -> Any:
    """The first few entries of the tensors in ``args`` along those axes of their first one that have the
    same length there: of a batch, or of a sequence. ``whole``: its last axis may be one of them."""
    first = next((x for x in tree_flatten(args)[0] if isinstance(x, Tensor) and x.ndim), None)
    if first is None:
        return args
    inner = range(2, first.ndim) if first.ndim > 3 else range(1, first.ndim - 1)  # not the channels
    allowed = range(first.ndim) if whole else [0, *inner]
    lengths = {axis: first.shape[axis] for axis in allowed if axis in axes or (axis > 1 and 1 in axes)}
    beside = max(1, first.numel() // max(1, math.prod(lengths.values())))
    room = max(2, round((_SMALL / beside) ** (1 / max(1, len(lengths)))))

    def shortened(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        for axis, n in lengths.items():
            if axis < x.ndim and x.shape[axis] == n:
                x = x.narrow(axis, 0, min(n, room))
        return x

    return tree_map(shortened, args)


def alone(
    check: Check,
    target: nn.Module,
    reference: nn.Module | None,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    suspected: bool = False,
) -> CheckReport | None:
    """The ordinary check on one layer, on as small a part of its inputs as it takes; None where it takes
    none. Many parameters are held fixed. ``suspected``: larger parts, too, until something is found."""
    try:
        bound = inspect.signature(target.forward).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return None
    if bound.kwargs:
        return None
    ways = [((0, 1), False), ((0,), False)]
    if not any(True for _ in target.parameters()):
        ways.insert(0, ((0, 1), True))

    def checked(inputs: Any) -> CheckReport:
        return check(copied(target), inputs, None if reference is None else copied(reference))

    return _on_parts(checked, lambda *x: copied(target)(*x), bound.args, ways, suspected)


def function_alone(check: Check, function: Any, args: Sequence[Any]) -> CheckReport | None:
    """The ordinary check on one custom Function, as :func:`alone`."""
    ways = [((0, 1), True), ((0, 1), False), ((0,), False)]
    return _on_parts(lambda x: check(function.apply, x, None), function.apply, args, ways, True)


def _on_parts(
    checked: Callable[[Any], CheckReport],
    run: Callable[..., Any],
    args: Sequence[Any],
    ways: Sequence[tuple[tuple[int, ...], bool]],
    suspected: bool,
) -> CheckReport | None:
    threads, report = torch.get_num_threads(), None
    for axes, whole in ways:
        inputs = tuple(tree_map(kept, cut(args, axes, whole)))
        try:
            with torch.no_grad():
                run(*tree_map(kept, inputs))
            report = checked(inputs)
        except Exception:  # it needs more, or has nothing to differentiate
            continue
        finally:
            torch.set_num_threads(threads)
        if not (suspected and report.passed):
            break
    return report


def small(args: Any) -> Any:
    """Copies of the first few entries."""
    return tree_map(kept, cut(args))


def kept(x: Any) -> Any:
    """A copy of a tensor, as a leaf; anything else as it is."""
    return x.detach().clone().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x


def copied(module: nn.Module) -> nn.Module:
    """The module with parameters of its own over the same numbers; no gradient of large ones."""
    fixed = sum(p.numel() for p in module.parameters()) > _TRAINED
    memo: dict[int, Any] = {
        id(p): nn.Parameter(
            p.detach(), requires_grad=p.requires_grad and not (fixed and p.numel() > _TRAINED)
        )
        for p in module.parameters()
    }
    made = copy.deepcopy(module, memo)
    inner = made.forward

    @functools.wraps(inner)
    def forward(*args: Any, **kwargs: Any) -> Any:
        y = inner(*args, **kwargs)
        if isinstance(y, Tensor):
            return y
        return tuple(t for t in tree_flatten(y)[0] if isinstance(t, Tensor))

    made.forward = forward
    return made


def named(layer: str, module: nn.Module, report: CheckReport) -> list[Finding]:
    """The findings of a layer's own check, by the layer's name."""
    parameters = dict(module.named_parameters())
    return [
        Finding(
            f.kind,
            f"{layer}.{f.where}" if f.where in parameters else layer,
            f"in {layer} ({type(module).__name__}): {f.message}",
            {**f.details, "layer": layer, "of": f.where},
        )
        for f in report.findings[:_NAMED]
    ]


def by_function(check: Check, layer: str, functions: Mapping[type, Sequence[Any]]) -> list[Finding]:
    """The findings of the custom Functions that a layer ("": the model) calls, each checked alone."""
    found = []
    for function, args in functions.items():
        report = function_alone(check, function, args)
        for f in report.findings[:_NAMED] if report is not None else ():
            head = f"in {function.__name__}, which {layer or 'the model'} calls: "
            details = {**f.details, "layer": layer, "function": function.__name__, "of": f.where}
            where = layer or function.__name__
            found.append(Finding(f.kind, where, head + f.message, details))
    return found


def unnamed(suspect: Suspect, module: nn.Module) -> list[Finding]:
    """What the gradients of a layer show, where its own check is not possible, or shows nothing."""
    layer, parameters = suspect.name, dict(module.named_parameters())
    if suspect.error:
        text = f"{layer} ({type(module).__name__}) raises where the reference's does not: {suspect.error}"
        return [Finding("unknown", layer, text, {"layer": layer})]
    found = []
    for name, spread in suspect.spreads.items():
        a, t = suspect.gradients[name]
        where = f"{layer}.{name}" if name in parameters else layer
        what = f"the gradient of {name}" if name else "the output"
        head = f"in {layer} ({type(module).__name__}): {what}"
        kind, words, details = kind_of(a, t) if name else ("forward", "differs from the reference's", {})
        if spread is not None:
            words += (
                f"; at {list(spread.worst)} it is {spread.computed:.6g} where {spread.truth:.6g} is right"
            )
        found.append(Finding(kind, where, f"{head} {words}", {**details, "layer": layer, "of": name}))
    # a wrong forward makes all gradients wrong
    return [f for f in found if f.kind == "forward"][:1] or found[:_NAMED]


def kind_of(a: Tensor | None, t: Tensor | None) -> tuple[str, str, dict[str, Any]]:
    """(kind, words, details) of a large wrong gradient, by what one look at it tells."""
    if a is None or t is None:
        return "zero", "is None where it should not be", {}
    if a.shape != t.shape:
        return "shape", f"has shape {tuple(a.shape)} where {tuple(t.shape)} is due", {}
    a, t = a.detach().to(torch.float64), t.detach().to(torch.float64)
    if not bool(torch.any(a)):
        return "zero", "is zero where it should not be", {}
    if bool((~a.isfinite() & t.isfinite()).any()):
        return "not-finite", "is NaN or infinite where it should not be", {}
    size = float((t * t).sum())
    factor = float((a * t).sum()) / size if size else 0.0
    left = float((a - factor * t).norm()) / max(float((a - t).norm()), 1e-300)
    if left < 0.05 and factor != 0:
        if abs(factor + 1) < 1e-2:
            return "sign", "has the opposite sign", {"factor": factor}
        return "scale", f"is {factor:.6g} times the right one", {"factor": factor}
    if (
        a.ndim >= 2
        and a.shape[-1] == a.shape[-2]
        and float((a - t.mT).norm()) <= 0.05 * float((a - t).norm())
    ):
        return "transpose", "is right but for its last two axes, which are exchanged", {"axes": [-2, -1]}
    off = (a - t).abs() > 0.02 * (a - t).abs().max()
    count = int(off.sum())
    if 0 < count <= max(3, off.numel() // 1000):
        indices = off.nonzero()[:8].tolist()
        return "local", f"is wrong at {', '.join(map(str, indices))} only", {"indices": indices}
    for axis in range(a.ndim):
        other = tuple(i for i in range(a.ndim) if i != axis)
        places = off.any(dim=other) if other else off
        if a.ndim > 1 and 0 < int(places.sum()) <= max(1, a.shape[axis] // 8):
            rows = places.nonzero().view(-1)[:8].tolist()
            text = f"the index along axis {axis} is {', '.join(map(str, rows))}"
            return "region", f"is wrong only where {text}", {"where": text}
    return "unknown", "is wrong", {}
