"""The held-out corpus: right pairs agree with autograd of their reference, every mistake is one."""

import inspect

import pytest
import torch

from torch_ext.corpus._entry import DTYPES, KINDS
from torch_ext.corpus.held_out import OPERATIONS

OPS = {op.name: op for op in OPERATIONS}
# inputs at kinks and ties: the value there is the reference's convention, and no numerical truth exists
KINKED = {
    "selu_by_hand": ("the kink",),
    "bilinear_at_points": ("on the grid",),
    "top_three_of_row": ("ties", "all equal"),
    "prelu_channels": ("the kink",),
}


def generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tuple_of(x: object) -> tuple:
    return x if isinstance(x, tuple) else (x,)


def copies(inputs: tuple) -> tuple:
    return tuple(
        x.detach().clone().requires_grad_(x.requires_grad) if isinstance(x, torch.Tensor) else x
        for x in inputs
    )


def differentiated(inputs: tuple) -> list[int]:
    return [i for i, x in enumerate(inputs) if isinstance(x, torch.Tensor) and x.requires_grad]


def cotangents(outputs: tuple, turned: bool = False) -> tuple:
    g = generator(7)
    made = []
    for y in outputs:
        if turned and y.ndim > 1:  # the same numbers' memory in another order
            c = torch.randn(y.shape[::-1], generator=g, dtype=torch.float64)
            c = c.to(y.dtype).permute(*reversed(range(y.ndim)))
        else:
            c = torch.randn(y.shape, generator=g, dtype=torch.float64).to(y.dtype)
        if y.is_complex():
            c = c + 1j * torch.randn(y.shape, generator=g, dtype=torch.float64).to(c.real.dtype)
        made.append(c)
    return tuple(made)


def by_pair(pair: tuple, inputs: tuple, turned: bool = False) -> tuple[tuple, list]:
    forward, backward = pair
    with torch.no_grad():
        output, residuals = forward(*inputs)
        g = cotangents(tuple_of(output), turned)
        grads = tuple_of(backward(g if isinstance(output, tuple) else g[0], residuals))
    assert len(grads) == len(inputs)
    return tuple_of(output), [grads[i] for i in differentiated(inputs)]


def by_autograd(reference: object, inputs: tuple, turned: bool = False) -> tuple[tuple, list]:
    outputs = tuple_of(reference(*inputs))
    wanted = [inputs[i] for i in differentiated(inputs)]
    grads = torch.autograd.grad(outputs, wanted, cotangents(outputs, turned), allow_unused=True)
    grads = [torch.zeros_like(x) if d is None else d for d, x in zip(grads, wanted, strict=True)]
    return tuple(y.detach() for y in outputs), grads


def agree(a: object, b: torch.Tensor, terms: int) -> bool:
    """Equal to rounding: once in the dtype, and in the wide dtype for each of the terms of a sum."""
    if not isinstance(a, torch.Tensor) or a.shape != b.shape or a.dtype != b.dtype:
        return False
    if b.numel() == 0:
        return True
    eps = torch.finfo(b.dtype).eps
    tiny = torch.finfo(b.dtype).smallest_normal * eps
    wide = max(torch.finfo(torch.float64).eps, min(eps, torch.finfo(torch.float32).eps))
    a, b = (x.to(torch.complex128 if x.is_complex() else torch.float64) for x in (a, b))
    scale = max(float(b.abs().max()), 1.0)  # a reference adds terms as large as the incoming gradient
    tolerance = (eps * b.abs() if eps > wide else 0) + 8 * wide * terms * scale + tiny
    return bool(a.isfinite().all() and ((a - b).abs() <= tolerance).all())


def terms(inputs: tuple) -> int:
    return max((x.numel() for x in inputs if isinstance(x, torch.Tensor)), default=1) or 1


def all_agree(op: object, pair: tuple, inputs: tuple, turned: bool = False) -> bool:
    outputs, grads = by_pair(pair, copies(inputs), turned)
    truth, true = by_autograd(op.reference, copies(inputs), turned)
    n = terms(inputs)
    return all(agree(a, b, n) for a, b in zip((*outputs, *grads), (*truth, *true), strict=True))


def inputs_of(op: object, case: str, dtype: str) -> tuple:
    make = op.inputs if case == "usual" else op.further[case]
    return make(generator(), getattr(torch, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", OPERATIONS, ids=OPS)
def test_the_right_pair_is_right(op, dtype):
    for case in ("usual", *op.further) if dtype in op.dtypes else ():
        inputs = inputs_of(op, case, dtype)
        assert differentiated(inputs), case
        for turned in (False, True):
            assert all_agree(op, op.pair(), inputs, turned), case
        before = copies(inputs)
        by_pair(op.pair(), inputs)
        assert all(torch.equal(a, b) for a, b in zip(tensors(before), tensors(inputs), strict=True)), case
        if dtype == "float64" and not op.convention and case not in KINKED.get(op.name, ()):
            assert terms(inputs) == 1 or torch.autograd.gradcheck(
                op.function(), copies(inputs), check_undefined_grad=False, fast_mode=True
            ), case


def tensors(x: object) -> list[torch.Tensor]:
    if isinstance(x, torch.Tensor):
        return [x]
    if isinstance(x, dict):
        return tensors(list(x.values()))
    return [t for y in x for t in tensors(y)] if isinstance(x, tuple | list) else []


def changes_something(pair: tuple, inputs: tuple) -> bool:
    forward, backward = pair
    with torch.no_grad():
        kept = copies(inputs)
        output, residuals = forward(*inputs)
        g = cotangents(tuple_of(output))
        watched = [*tensors(inputs), *tensors(residuals), *g]
        before = [*tensors(kept), *(t.clone() for t in watched[len(tensors(kept)) :])]
        backward(g if isinstance(output, tuple) else g[0], residuals)
    return any(not torch.equal(a, b) for a, b in zip(before, watched, strict=True))


def varies(pair: tuple, inputs: tuple) -> bool:
    forward, backward = pair
    with torch.no_grad():
        output, residuals = forward(*inputs)
        g = cotangents(tuple_of(output))
        g = g if isinstance(output, tuple) else g[0]
        first, second = ([t.clone() for t in tensors(tuple_of(backward(g, residuals)))] for _ in range(2))
    return any(not torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("op", OPERATIONS, ids=OPS)
def test_every_mistake_is_one(op):
    for mistake in op.mistakes:
        for dtype in mistake.dtypes:
            print(mistake.what, dtype)  # shown where an assertion fails
            check_mistake(op, mistake, dtype)


def check_mistake(op, mistake, dtype):
    inputs = inputs_of(op, "usual", dtype)
    pair = op.pair(mistake)
    names = list(inspect.signature(op.forward).parameters)
    assert mistake.argument in ("", *names)
    assert mistake.source
    outputs, grads = by_pair(pair, copies(inputs))
    truth, true = by_autograd(op.reference, copies(inputs))
    n = terms(inputs)
    wrong = [
        names[i] for i, a, b in zip(differentiated(inputs), grads, true, strict=True) if not agree(a, b, n)
    ]
    if mistake.kind == "forward":
        assert not all(agree(a, b, n) for a, b in zip(outputs, truth, strict=True))
    else:
        if mistake.forward is None:
            assert all(agree(a, b, n) for a, b in zip(outputs, truth, strict=True))
        if mistake.kind == "mutates":
            assert changes_something(pair, copies(inputs))
        elif mistake.kind == "nondeterministic":
            assert varies(pair, copies(inputs))
        elif not wrong:
            assert not all_agree(op, pair, inputs, turned=True)
        if wrong and mistake.argument:
            assert wrong == [mistake.argument]
        if mistake.kind == "not-finite":
            assert not all(d.isfinite().all() for d in tensors(grads))
        if mistake.kind == "dtype":
            assert any(a.dtype != b.dtype for a, b in zip(grads, true, strict=True))
        if mistake.kind == "shape":
            assert any(a.shape != b.shape for a, b in zip(grads, true, strict=True))
    if mistake.hidden is not None:
        assert all_agree(op, pair, mistake.hidden(generator(), getattr(torch, dtype)))


def test_size_of_the_corpus():
    mistakes = [m for op in OPERATIONS for m in op.mistakes]
    assert {m.kind for m in mistakes} == set(KINDS)
    assert len(OPS) == len(OPERATIONS) >= 38
    assert len(mistakes) >= 240
    assert sum(m.hidden is not None for m in mistakes) >= 50
    assert sum((1 + len(op.further)) * len(op.dtypes) for op in OPERATIONS) >= 700
