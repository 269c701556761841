"""One sample, hand against native."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from handgrad.checking import allowed, computational_noise, precision, yardsticks
from handgrad.checking.tolerances import DEVIATIONS, ROUNDED
from torch_ext import purity
from torch_ext.sweep.inexact import slack
from torch_ext.sweep.samples import HAND, NATIVE, SEED, TRUTH, Faulty, Sample

Arrays = list[np.ndarray | None]
LOW = (torch.float32, torch.bfloat16, torch.float16)


class Failure(NamedTuple):
    """What went wrong: ``check`` is "first", "second", "complex", a dtype, "error" or "pure"."""

    entry: str
    label: str
    check: str
    message: str


@dataclass
class Outcome:
    """What one call gave. ``values`` by name: outputs, gradients, buffers and arguments afterwards."""

    values: dict[str, Tensor | None] = field(default_factory=dict)
    random: Tensor | None = None  # the generator's state afterwards
    impure: list[str] = field(default_factory=list)


class _Values:
    """The differentiable numbers of a call, in order, which may be replaced by others."""

    def __init__(self, given: Sequence[np.ndarray | None] | None, widen: bool) -> None:
        self.given, self.widen = given, widen
        self.seen: list[Tensor] = []

    def take(self, x: Tensor) -> Tensor:
        """The next one: ``x`` itself, or what stands in its place."""
        if self.widen:
            x = x.to(torch.complex128 if x.is_complex() else torch.float64)
        if self.given is not None and (a := self.given[len(self.seen)]) is not None:
            x = torch.from_numpy(np.array(a)).to(x.dtype)
        self.seen.append(x.detach())
        return x


def run(
    sample: Sample,
    side: str,
    *,
    first: bool = True,
    second: bool = False,
    widen: bool = False,
    values: Sequence[np.ndarray | None] | None = None,
) -> tuple[Outcome, list[Tensor]]:
    """Call ``side``, and differentiate with Gaussian cotangents: what came out, and the numbers put in.

    ``widen``: the same numbers in float64. ``values``: other numbers in their place, in the same order.
    ``second``: differentiate the gradients too, along Gaussian directions; ``first`` False: nothing at all.
    """
    function, module = sample.call(side)
    numbers = _Values(values, widen)
    flat, spec = tree_flatten(sample.given)
    if side == TRUTH:  # PyTorch's chunks have no second derivative, and say how 16 bits are added up
        flat = [None if isinstance(v, nn.LinearCrossEntropyOptions) else v for v in flat]
        if isinstance(module, nn.LinearCrossEntropyLoss):
            module.options = None
    flat = [_own(v, numbers, first) if isinstance(v, Tensor) else v for v in flat]
    if module is not None:
        if widen:
            module.double()
        with torch.no_grad():
            for p in module.parameters():
                p.copy_(numbers.take(p.clone()))
    args, kwargs = tree_unflatten(flat, spec)
    torch.manual_seed(SEED)
    found = Outcome()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = function(*args, **kwargs)
        found.random = torch.get_rng_state()
        outputs = [v for v in tree_flatten(result)[0] if isinstance(v, Tensor)]
        _note(found, "output", outputs)
        leaves = {f"argument {i}": v for i, v in enumerate(flat) if isinstance(v, Tensor) and v.requires_grad}
        if module is not None:
            leaves.update((n, p) for n, p in module.named_parameters() if p.requires_grad)
        if first:
            _differentiate(found, outputs, leaves, numbers, second, side == HAND)
    _note(found, "argument afterwards", [v for v in flat if isinstance(v, Tensor) and not v.requires_grad])
    if module is not None:
        found.values.update((f"buffer {n}", b.detach().clone()) for n, b in module.named_buffers())
    return found, numbers.seen


def _own(x: Tensor, numbers: _Values, differentiate: bool) -> Tensor:
    """A leaf of its own, so that no call sees what another did."""
    if not (x.is_floating_point() or x.is_complex()):
        return x.clone()
    copy = x.detach().clone()
    taken = numbers.take(copy)
    taken = taken.detach().clone() if taken is copy else taken
    return taken.requires_grad_(x.requires_grad and differentiate)


def _note(found: Outcome, what: str, tensors: Sequence[Tensor | None], names: Sequence[str] = ()) -> None:
    for i, t in enumerate(tensors):
        key = f"{what} {names[i] if names else i}"
        found.values[key] = None if t is None else (t.to_dense() if t.is_sparse else t).detach().clone()


def _differentiate(
    found: Outcome,
    outputs: list[Tensor],
    leaves: dict[str, Tensor],
    numbers: _Values,
    second: bool,
    hand: bool,
) -> None:
    ends = [y for y in outputs if y.requires_grad]
    if not ends or not leaves:
        return
    g = torch.Generator().manual_seed(SEED)

    def gaussian(like: Tensor) -> Tensor:
        # drawn in float64 whatever the dtype: the same numbers but for rounding
        v = torch.randn(
            like.shape, generator=g, dtype=torch.complex128 if like.is_complex() else torch.float64
        )
        return numbers.take(v.to(like.dtype)).to(like.dtype)

    cotangents = [gaussian(y).requires_grad_(second) for y in ends]
    variables = list(leaves.values())
    if hand and not second:
        _, foreign = purity.nodes(ends)
        found.impure = [f"{n} stands between inputs and output" for n in foreign]
        found.impure += purity.backward_faults(ends, variables, cotangents)
    first = torch.autograd.grad(ends, variables, cotangents, allow_unused=True, create_graph=second)
    _note(found, "gradient of", first, list(leaves))
    if not second:
        return
    bent = [d for d in first if d is not None and d.requires_grad and d.numel()]
    if not bent:
        return
    weights = [gaussian(d) for d in bent]
    variables += cotangents
    names = [*leaves, *(f"cotangent {i}" for i in range(len(cotangents)))]
    again = torch.autograd.grad(bent, variables, weights, allow_unused=True)
    _note(found, "second gradient of", again, names)


# --- float64 ----------------------------------------------------------------------------------


def compare_exact(sample: Sample, *, second: bool) -> list[Failure]:
    """float64 or complex128: all values to rounding, the same random numbers, purity."""
    check, first = "second" if second else "first", True
    try:
        native, numbers = run(sample, TRUTH, second=second)
    except Exception:
        if second:
            return []  # PyTorch has no second derivative here
        first = False
        try:
            native, numbers = run(sample, TRUTH, first=False)  # nor a first one
        except Exception as error:
            return [Failure(sample.entry, sample.label, check, f"PyTorch raises {_describe(error)}")]
    try:
        hand, _ = run(sample, HAND, first=first, second=second)
    except Exception as error:
        return [Failure(sample.entry, sample.label, check, f"raises {_describe(error)}")]
    names = list(native.values)

    def evaluate(values: Sequence[np.ndarray | None]) -> Arrays:
        found, _ = run(sample, TRUTH, first=first, second=second, values=_as_complex(values, numbers))
        return [_real(found.values.get(name)) for name in names]

    refined = _refined(evaluate, numbers, native, names)
    failures = [
        Failure(sample.entry, sample.label, check, f"{name}: {message}")
        for name, message in _differences(hand, native, names, refined, slack(sample.entry, check))
    ]
    failures += [Failure(sample.entry, sample.label, "pure", words) for words in sorted(set(hand.impure))]
    if native.random is not None and hand.random is not None and not torch.equal(native.random, hand.random):
        failures.append(Failure(sample.entry, sample.label, check, "draws other random numbers"))
    return failures


def _differences(
    hand: Outcome, native: Outcome, names: list[str], refined: Callable[[], Arrays], relative: float
) -> list[Any]:
    found = []
    if list(hand.values) != names:
        lacking = [n for n in names if n not in hand.values and _matters(native.values[n])]
        more = [n for n in hand.values if n not in native.values and _matters(hand.values[n])]
        found += [(n, "missing") for n in lacking] + [(n, "PyTorch has none") for n in more]
    for i, name in enumerate(names):
        a, b = hand.values.get(name), native.values[name]
        if message := _difference(a, b, partial(lambda i: refined()[i], i), relative):
            found.append((name, message))
    return found


def _matters(x: Tensor | None) -> bool:
    return x is not None and bool(x.count_nonzero())


def _difference(
    a: Tensor | None, b: Tensor | None, refined: Callable[[], np.ndarray | None], relative: float = 0.0
) -> str:
    """What differs. ``relative``: an error that PyTorch itself is known to make (``inexact``)."""
    if a is None or b is None:
        if a is None and _matters(b):
            return "no gradient where PyTorch has one"
        return "a gradient where PyTorch has none" if b is None and _matters(a) else ""
    if a.shape != b.shape:
        return f"shape {tuple(a.shape)} where PyTorch has {tuple(b.shape)}"
    if a.dtype != b.dtype:
        return f"dtype {a.dtype} where PyTorch has {b.dtype}"
    if torch.equal(a, b):
        return ""
    if not (b.is_floating_point() or b.is_complex()):
        return f"other integers than PyTorch's at {_where(a != b)}"
    x, t = _real(a), _real(b)
    if x is None or t is None:
        return ""
    unit = precision(str(b.dtype).replace("complex128", "float64").replace("complex64", "float32")).unit
    with np.errstate(all="ignore"):
        error = np.where((x == t) | (np.isnan(x) & np.isnan(t)), 0, np.abs(x - t))
    if np.all(error <= (ROUNDED * unit + relative) * np.abs(t)):
        return ""
    bound = refined()
    bound = np.zeros_like(t) if bound is None else bound
    wrong = ~(error <= bound)
    if not wrong.any():
        return ""
    excess = np.nan_to_num(error / np.maximum(bound, 1e-300), nan=np.inf)
    worst = np.unravel_index(np.argmax(np.where(wrong, excess, -1)), t.shape)
    return (
        f"{x[worst]:.17g} where PyTorch has {t[worst]:.17g}, {bound[worst]:.1e} allowed, at "
        f"{tuple(int(i) for i in worst)}; {int(wrong.sum())} of {t.size} wrong"
    )


def _refined(
    evaluate: Callable[..., Arrays], numbers: list[Tensor], native: Outcome, names: list[str]
) -> Callable[[], Arrays]:
    """What rounding explains, measured only where it decides (``handgrad.checking.tolerances``)."""

    @cache
    def bounds() -> Arrays:
        inputs = [_real(x) for x in numbers]
        truth = [_real(native.values[name]) for name in names]
        rng = np.random.default_rng(SEED)
        sticks = yardsticks(evaluate, None, inputs, truth, rng)
        noise = computational_noise(evaluate, inputs, rng)
        largest = max((x.numel() for x in numbers), default=1)
        p = precision("float64")
        return [
            None if t is None or t.dtype != np.float64 else allowed(t, s.noise, p, largest, DEVIATIONS * n)
            for t, s, n in zip(truth, sticks, noise, strict=True)
        ]

    return bounds


def _real(x: Tensor | None) -> np.ndarray | None:
    """As NumPy, floats as float64; complex numbers with an axis for their two parts."""
    if x is None:
        return None
    if x.is_complex():
        x = torch.view_as_real(x.resolve_conj())
    return (x.double() if x.is_floating_point() else x).detach().numpy()


def _as_complex(values: Sequence[np.ndarray | None], numbers: list[Tensor]) -> list[np.ndarray | None]:
    return [
        v if v is None or not x.is_complex() else v[..., 0] + 1j * v[..., 1]
        for v, x in zip(values, numbers, strict=True)
    ]


def _where(wrong: Tensor) -> str:
    return str(tuple(int(i) for i in wrong.nonzero()[0]))


# --- float32 and 16 bits ------------------------------------------------------------------------


def compare_low(sample: Sample, dtype: torch.dtype) -> list[Failure]:
    """The error against the float64 truth: at most twice PyTorch's own, plus one ulp."""
    check = str(dtype).removeprefix("torch.")
    try:
        native, _ = run(sample, NATIVE)
    except Exception:
        return []  # PyTorch has no such function in this dtype
    try:
        hand, _ = run(sample, HAND)
    except Exception as error:
        return [Failure(sample.entry, sample.label, check, f"raises {_describe(error)}")]
    try:
        exact, _ = run(sample, TRUTH, widen=True)
    except Exception:
        exact, _ = run(sample, HAND, widen=True)  # PyTorch has no such function in float64
    torch.manual_seed(SEED)
    drew = native.random is not None and not torch.equal(native.random, torch.get_rng_state())
    failures = []
    for name, b in native.values.items():
        message = _worse(hand.values.get(name), b, exact.values.get(name), drew)
        if message:
            failures.append(Failure(sample.entry, sample.label, check, f"{name}: {message}"))
    return failures


def _worse(a: Tensor | None, b: Tensor | None, truth: Tensor | None, drew: bool) -> str:
    """``drew``: the call drew random numbers, which may be others in float64."""
    if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype or not b.is_floating_point():
        return _difference(a, b, lambda: None)
    if b.dtype == torch.float64:  # asked for by an option: no truth knows it better
        size = np.abs(b.numpy())
        return _difference(a, b, lambda: np.full(size.shape, ROUNDED * 2.0**-53 * np.max(size, initial=0)))
    if torch.equal(a, b) or truth is None or truth.shape != b.shape:
        return ""
    p = precision(str(b.dtype))
    x, y, t = (np.asarray(v.double()) for v in (a, b, truth.detach()))
    with np.errstate(all="ignore"):
        mine, theirs = np.abs(x - t), np.abs(y - t)
    fine = np.isfinite(y) & np.isfinite(t)
    if not np.all(np.isfinite(x) | ~fine):
        return "not finite where PyTorch is"
    if not fine.any():
        return ""
    largest, worst = np.max(np.abs(t[fine])), float(np.max(theirs[fine]))
    ulp = float(p.ulp(largest))
    if drew and worst > 0.1 * largest + 4 * ulp:
        # other random numbers than in float64: native itself is the yardstick
        mine, worst = np.abs(x - y), ulp
    mine = np.where(fine, mine, 0)
    bound = 2 * worst + ulp
    if np.max(mine) <= bound:
        return ""
    i = np.unravel_index(np.argmax(mine), t.shape)
    gross = "; GROSS" if mine[i] > 4 * bound else ""
    return f"error {mine[i]:.2e}, {mine[i] / ulp:.1f} ulps of the largest, PyTorch's {worst:.2e}{gross}"


# --- errors ------------------------------------------------------------------------------------


def compare_error(faulty: Faulty) -> list[Failure]:
    """A call that PyTorch refuses raises the same type of exception, with some text."""
    native = _raised(lambda: faulty.call(NATIVE))
    if native is None:
        return []
    hand = _raised(lambda: faulty.call(HAND))
    if hand is None:
        message = f"accepted; PyTorch raises {type(native).__name__}: {str(native)[:120]}"
    elif not isinstance(hand, type(native)):
        message = f"raises {_describe(hand)}; PyTorch raises {type(native).__name__}: {str(native)[:120]}"
    elif not str(hand).strip():
        message = f"raises {type(hand).__name__} without a text"
    else:
        return []
    return [Failure(faulty.entry, faulty.label, "error", message)]


def _raised(call: Callable[[], Any]) -> Exception | None:
    torch.manual_seed(SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call()
        except Exception as error:
            return error
    return None


def _describe(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = next(
        (f for f in reversed(frames) if {"handgrad", "torch_ext"} & set(Path(f.filename).parts)), None
    )
    where = f" ({Path(place.filename).name}:{place.lineno})" if place else ""
    return f"{type(error).__name__}: {str(error).strip()[:300]}{where}"
