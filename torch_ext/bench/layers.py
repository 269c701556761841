"""Each layer beside PyTorch's own: forward time, backward time and bytes kept, interleaved in one run.

Times are the process's own (CPU time on one thread), so that other programs do not count.

The call is a sample of PyTorch's database, its batch repeated until the work outweighs the call itself.
Layers over time, tables and such have a call of a usual size instead (``typical``): repeating their first
axis would measure sequences of tens of thousands of steps. No step takes longer than ``LONGEST``.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_flatten, tree_unflatten

from torch_ext.bench.typical import typical
from torch_ext.sweep.matrix import usual
from torch_ext.sweep.run import select
from torch_ext.sweep.samples import HAND, NATIVE, SEED, Entry, Sample

ELEMENTS = 200_000  # of all differentiable inputs together: float32 that fits a cache of the second level
LONGEST = 0.1  # seconds of a step, so that an entry takes less than two
MOST = 3.0  # times PyTorch's own step: what a layer may take
_SIDES = (HAND, NATIVE)
Given = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass
class LayerRow:
    """Seconds of each repetition by side, and the bytes that autograd keeps between the two passes."""

    name: str
    shapes: list[list[int]]  # of inputs, then of outputs
    forward: dict[str, list[float]] = field(default_factory=lambda: {s: [] for s in _SIDES})
    backward: dict[str, list[float]] = field(default_factory=lambda: {s: [] for s in _SIDES})
    kept: dict[str, int] = field(default_factory=dict)

    def ratio(self, what: str) -> float:
        """Hand over native, of medians: "forward", "backward" or "both"."""
        if what == "both":
            return self.seconds(HAND) / max(self.seconds(NATIVE), 1e-9)
        times = self.forward if what == "forward" else self.backward
        return statistics.median(times[HAND]) / max(statistics.median(times[NATIVE]), 1e-9)

    def seconds(self, side: str) -> float:
        """Of one step, forward and backward."""
        return statistics.median(self.forward[side]) + statistics.median(self.backward[side])

    @property
    def largest(self) -> int:
        """Bytes of the largest tensor of the call."""
        return max(4 * torch.Size(s).numel() for s in self.shapes)


def layers(
    names: Sequence[str] = (), repeat: int = 7, progress: Callable[[int, int, str], None] | None = None
) -> list[LayerRow]:
    """Measure the entries of these names (default: all that are derived). One thread."""
    chosen = [e for e in select(names) if e.derived]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    large = torch.empty(
        7_000_000
    )  # once one of this size was freed, the C library keeps memory for later ones
    del large
    rows = []
    try:
        for i, entry in enumerate(chosen):
            if progress is not None:
                progress(i, len(chosen), entry.name)
            try:
                row = measure(entry, repeat)
            except NotImplementedError:  # a variant that is not derived, and says so
                continue
            if row is not None:
                rows.append(row)
    finally:
        torch.set_num_threads(threads)
    return rows


def measure(entry: Entry, repeat: int = 7) -> LayerRow | None:
    """One entry in float32; None where nothing in it is differentiated."""
    sample = typical(entry)
    known = sample is not None
    sample = sample or usual(entry)
    if sample is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = sample.given if known else enlarged(sample)
        if not _runs(sample, given):  # integers, or PyTorch has no gradient
            return None
        calls = {side: _step(sample, side, given) for side in _SIDES}
        row = LayerRow(entry.name, _shapes(given) + _shapes(_output(sample, given)))
        for side, step in calls.items():
            row.kept[side] = step(None)
        for _ in range(repeat):
            for side, step in calls.items():
                forward, backward = step(time.process_time)
                row.forward[side].append(forward)
                row.backward[side].append(backward)
    return row


def _step(sample: Sample, side: str, given: Given) -> Callable[[Any], Any]:
    """A function of a clock that makes one step: its two times, or without a clock the bytes kept."""
    function, module = sample.call(side)
    if module is not None:
        module.float()
    flat, spec = tree_flatten(given)

    def run(clock: Callable[[], float] | None) -> Any:
        leaves = [_leaf(v) for v in flat]
        args, kwargs = tree_unflatten(leaves, spec)
        wanted = [v for v in leaves if isinstance(v, Tensor) and v.requires_grad]
        wanted += [] if module is None else [p for p in module.parameters() if p.requires_grad]
        kept: dict[int, int] = {}
        parameters = {p.data_ptr() for p in wanted if isinstance(p, torch.nn.Parameter)}

        def keep(x: Tensor) -> Tensor:
            storage = x.untyped_storage()
            if storage.data_ptr() not in parameters:  # which exist anyway
                kept[storage.data_ptr()] = storage.nbytes()
            return x

        torch.manual_seed(SEED)
        if clock is None:
            with saved_tensors_hooks(keep, lambda x: x):
                function(*args, **kwargs)
            return sum(kept.values())
        start = clock()
        result = function(*args, **kwargs)
        middle = clock()
        ends = [v for v in tree_flatten(result)[0] if isinstance(v, Tensor) and v.requires_grad]
        dys = [torch.ones_like(y) for y in ends]
        before = clock()
        if ends:
            torch.autograd.grad(ends, wanted, dys, allow_unused=True)
        return middle - start, clock() - before

    return run


def _leaf(v: Any) -> Any:
    return v.detach().clone().requires_grad_(v.requires_grad) if isinstance(v, Tensor) else v


def enlarged(sample: Sample) -> Given:
    """The sample's inputs in float32, repeated along their first axis: the first input alone if PyTorch takes
    that, else all that are as long. Tenfold each time, until elements suffice or a step takes long."""
    flat, spec = tree_flatten(sample.given)
    flat = [_float32(v) for v in flat]
    sizes = [v.numel() for v in flat if isinstance(v, Tensor) and v.requires_grad]
    most = max(1, ELEMENTS // max(sum(sizes), 1))
    given = _given(flat, spec)
    tensors = [i for i, v in enumerate(flat) if isinstance(v, Tensor) and v.ndim]
    if not tensors or most == 1:
        return given
    first = tensors[0]
    for chosen in ([i for i in tensors if len(flat[i]) == len(flat[first])], [first]):
        times = 1
        while times < most:
            times = min(10 * times, most)
            repeated = [_repeated(v, times) if i in chosen else v for i, v in enumerate(flat)]
            made = _given(repeated, spec)
            if not _runs(sample, made):
                break
            given = made
            if max(sum(_step(sample, side, made)(time.process_time)) for side in _SIDES) > LONGEST / 10:
                return given
        if times == most and given is made:
            return given
    return given


def _output(sample: Sample, given: Given) -> Any:
    function, module = sample.call(NATIVE)
    if module is not None:
        module.float()
    args, kwargs = given
    return function(*args, **kwargs)


def _shapes(tree: Any) -> list[list[int]]:
    return [list(v.shape) for v in tree_flatten(tree)[0] if isinstance(v, Tensor)]


def _given(flat: list[Any], spec: Any) -> Given:
    args, kwargs = tree_unflatten(flat, spec)
    return args, kwargs


def _float32(v: Any) -> Any:
    if not isinstance(v, Tensor) or not v.is_floating_point():
        return v
    return v.detach().float().requires_grad_(v.requires_grad)


def _repeated(v: Tensor, times: int) -> Tensor:
    made = v.detach().repeat(times, *(1,) * (v.ndim - 1))
    if made.is_floating_point():  # no two samples alike
        made = made * (1 - 0.1 * torch.rand(made.shape, generator=torch.Generator().manual_seed(SEED)))
    return made.requires_grad_(v.requires_grad)


def _runs(sample: Sample, given: Given) -> bool:
    """Whether PyTorch makes a whole step of it."""
    try:
        _step(sample, NATIVE, given)(time.process_time)
        y = [v for v in tree_flatten(_output(sample, given))[0] if isinstance(v, Tensor)]
        return all(v.is_floating_point() for v in y[:1])
    except Exception:
        return False


def summary(rows: Sequence[LayerRow]) -> str:
    """How many keep to what a layer may take, and which are worst."""
    worst = sorted(rows, key=lambda r: -r.ratio("both"))[:10]
    slowest = ", ".join(f"{r.name} {r.ratio('both'):.2f}" for r in worst)
    fast = sum(r.ratio("both") <= MOST for r in rows)
    small = [r for r in rows if r.kept[HAND] <= r.kept[NATIVE] + r.largest]
    fat = ", ".join(r.name for r in rows if r not in small)
    return (
        f"{fast} of {len(rows)} take at most {MOST:g} times PyTorch's own step. "
        f"Worst: {slowest}.\n"
        f"{len(small)} of {len(rows)} keep at most what PyTorch keeps and one tensor"
        + (f"; not {fat}." if fat else ".")
    )


def to_dict(rows: Sequence[LayerRow]) -> list[dict[str, Any]]:
    """Plain JSON, with the ratios that are printed."""
    return [
        {
            "layer": r.name,
            "shapes": r.shapes,
            "forward seconds": r.forward,
            "backward seconds": r.backward,
            "kept bytes": r.kept,
            "forward ratio": r.ratio("forward"),
            "backward ratio": r.ratio("backward"),
            "ratio": r.ratio("both"),
        }
        for r in rows
    ]
