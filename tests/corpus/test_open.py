"""The open corpus: right pairs are right, mistakes are mistakes, their names say what the numbers show."""

import inspect
import warnings
from collections import Counter

import pytest
import torch

from torch_ext.corpus._entry import KINDS
from torch_ext.corpus.open import OPERATIONS

CASES = [
    pytest.param(op, name, id=f"{op.name}-{name}") for op in OPERATIONS for name in ("usual", *op.further)
]
MISTAKES = [
    pytest.param(op, mistake, id=f"{op.name}-{i}-{mistake.kind}")
    for op in OPERATIONS
    for i, mistake in enumerate(op.mistakes)
]
WIDE = {torch.bfloat16: torch.float32, torch.float16: torch.float32}


def generator(seed):
    return torch.Generator().manual_seed(seed)


def as_tuple(x):
    return x if isinstance(x, tuple) else (x,)


def tensors(x):
    """Every tensor in a nest of tuples, lists and dicts, such as residuals."""
    if isinstance(x, torch.Tensor):
        return [x]
    if isinstance(x, dict):
        x = list(x.values())
    return [t for part in x for t in tensors(part)] if isinstance(x, tuple | list) else []


def exactly(x):
    if not isinstance(x, torch.Tensor) or not (x.is_floating_point() or x.is_complex()):
        return x
    return (
        x.detach().to(torch.complex128 if x.is_complex() else torch.float64).requires_grad_(x.requires_grad)
    )


def cotangents(output, seed):
    g = generator(seed)
    make = torch.complex128 if as_tuple(output)[0].is_complex() else torch.float64
    grads = tuple(torch.randn(y.shape, generator=g, dtype=make).to(y.dtype) for y in as_tuple(output))
    return grads if isinstance(output, tuple) else grads[0]


def turn(grad):
    """The same numbers in transposed memory."""
    if isinstance(grad, tuple):
        return tuple(map(turn, grad))
    return grad.transpose(0, -1).contiguous().transpose(0, -1) if grad.ndim > 1 else grad


def same(x, y, slack=8.0, of=()):
    """Equal up to rounding: of each number in its dtype, of the largest (and of ``of``) in the wide dtype."""
    if x.shape != y.shape:
        return False
    eps = torch.finfo(y.dtype).eps
    wide = torch.finfo(WIDE.get(y.dtype, y.dtype)).eps
    x, y = exactly(x).detach(), exactly(y).detach()
    finite = y.isfinite()
    if not torch.equal(x[~finite], y[~finite]) or not x[finite].isfinite().all():
        return False
    y, x = y[finite], x[finite]
    largest = max((float(t.abs().max()) for t in (y, *of) if t.numel()), default=0.0)
    tiny = 1e-7 if eps > 1e-4 else 1e-40
    return bool(((x - y).abs() <= slack * eps * y.abs() + 16 * slack * wide * largest + tiny).all())


def inputs_of(op, name, dtype, seed=0):
    make = op.inputs if name == "usual" else op.further[name]
    return make(generator(seed), getattr(torch, dtype))


@pytest.mark.parametrize(("op", "name"), CASES)
def test_the_right_pair_is_right(op, name):
    for dtype in op.dtypes:
        check_right(op, name, dtype)


def check_right(op, name, dtype):
    inputs = inputs_of(op, name, dtype)
    before = [t.detach().clone() for t in tensors(inputs)]
    with torch.no_grad():
        output, saved = op.forward(*inputs)
    grad = cotangents(output, 1)
    kept = [t.clone() for t in tensors(grad)]
    gradients = as_tuple(op.backward(grad, saved))
    # it changes nothing and says the same again, whatever the memory's layout
    assert all(torch.equal(a, b) for a, b in zip(kept, tensors(grad), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(inputs), strict=True))
    again = as_tuple(op.backward(turn(grad), saved))
    assert all(a is b is None or same(a, b) for a, b in zip(again, gradients, strict=True))

    assert len(gradients) == len(inputs)
    assert op.reference is not None
    truths = tuple(map(exactly, inputs))
    wanted = op.reference(*truths)
    assert isinstance(wanted, tuple) == isinstance(output, tuple)
    for y, truth in zip(as_tuple(output), as_tuple(wanted), strict=True):
        assert same(y, truth.to(y.dtype))
    leaves = [x for x in truths if isinstance(x, torch.Tensor) and x.requires_grad]
    seeds = [exactly(g).detach() for g in as_tuple(grad)]
    true = iter(torch.autograd.grad(as_tuple(wanted), leaves, seeds, allow_unused=True))
    for x, mine in zip(inputs, gradients, strict=True):
        if not (isinstance(x, torch.Tensor) and x.requires_grad):
            assert mine is None
            continue
        truth = next(true)
        assert mine.shape == x.shape
        assert mine.dtype == x.dtype
        wanted = torch.zeros_like(x) if truth is None else truth.to(x.dtype)
        assert same(mine, wanted, of=seeds)


@pytest.mark.parametrize("op", OPERATIONS, ids=lambda op: op.name)
def test_the_reference_agrees_in_every_dtype(op):
    for dtype in op.dtypes:
        inputs = inputs_of(op, "usual", dtype)
        output, _ = op.forward(*inputs)
        for y, other in zip(as_tuple(output), as_tuple(op.reference(*inputs)), strict=True):
            assert y.dtype == other.dtype
            assert y.shape == other.shape
            assert torch.allclose(y, other.detach(), rtol=32 * torch.finfo(y.dtype).eps, atol=0.05)


@pytest.mark.parametrize("op", [op for op in OPERATIONS if not op.convention], ids=lambda op: op.name)
def test_gradcheck(op):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert torch.autograd.gradcheck(op.function(), inputs_of(op, "usual", op.dtypes[0], seed=3))


# ---- mistakes


def evidence(op, mistake, make, dtype, seed=0):
    """What differs from the right pair: names of effects, and the pairs (wrong, right) of gradients."""
    dtype = getattr(torch, dtype)
    forward, backward = op.pair(mistake)
    effects, pairs = set(), []
    for layout in (lambda g: g, turn):
        inputs, mine = make(generator(seed), dtype), make(generator(seed), dtype)
        output, saved = op.forward(*inputs)
        wrong, wrong_saved = forward(*mine)
        changed = [not torch.equal(a, b) for a, b in zip(tensors(inputs), tensors(mine), strict=True)]
        if any(changed):
            effects.add("mutates")
        if not all(same(a, b) for a, b in zip(as_tuple(wrong), as_tuple(output), strict=True)):
            effects.add("forward")
        grad = layout(cotangents(output, seed + 1))
        right = as_tuple(op.backward(grad, saved))
        watched = [*tensors(mine), *tensors(wrong), *tensors(wrong_saved)]
        kept = [t.detach().clone() for t in watched]
        results = []
        for _ in range(2):
            given = tuple(g.clone() for g in grad) if isinstance(grad, tuple) else grad.clone()
            results.append(as_tuple(backward(given, wrong_saved)))
            if not all(torch.equal(a, b) for a, b in zip(tensors(given), tensors(grad), strict=True)):
                effects.add("mutates")
            results[-1] = tuple(None if d is None else d.clone() for d in results[-1])
        if not all(torch.equal(a, b.detach()) for a, b in zip(kept, watched, strict=True)):
            effects.add("mutates")
        # a second forward between a forward and its backward
        _, early = forward(*make(generator(seed), dtype))
        forward(*make(generator(seed + 7), dtype))
        results.append(as_tuple(backward(grad.clone() if not isinstance(grad, tuple) else grad, early)))
        first = results[0]
        if "mutates" not in effects and not all(
            a is b is None or torch.equal(a.nan_to_num(), b.nan_to_num())
            for other in results[1:]
            for a, b in zip(first, other, strict=True)
        ):
            effects.add("nondeterministic")
        assert len(first) == len(right)
        for i, (w, r) in enumerate(zip(first, right, strict=True)):
            if w is None and r is None:
                continue
            if w is None or w.shape != r.shape or w.dtype != r.dtype or not same(w, r, slack=2.0):
                pairs.append((i, w, r))
    return effects, pairs


def transposed(w, r):
    axes = [(i, j) for i in range(r.ndim) for j in range(i)] if w.ndim == r.ndim else []
    return any(w.transpose(*ij).shape == r.shape and same(w.transpose(*ij), r) for ij in axes)


def close(rest, gap):
    """The rest is small against the error that it is the rest of."""
    return bool(rest.norm() <= 1e-3 * gap.norm())


def names(pairs):
    """The kinds whose plain meaning fits every wrong gradient."""
    return set.intersection(*(names_of(w, r) for _, w, r in pairs)) if pairs else set()


def names_of(w, r):
    if w is None:
        return {"zero"}
    found = set()
    if w.shape != r.shape:
        found.add("shape")
        if w.ndim > r.ndim or w.numel() > r.numel():
            found.add("missing-sum")
        if transposed(w, r):
            found.add("transpose")
        return found
    if w.dtype != r.dtype:
        return {"dtype"}
    if not w.isfinite().all() and r.isfinite().all():
        return {"not-finite"}
    w, r = exactly(w).detach(), exactly(r).detach()
    if w.abs().max() == 0:
        return {"zero"}
    differs = (w - r).abs() > 1e-6 * r.abs().max()
    if 0 < int(differs.sum()) <= max(1, r.numel() // 3):
        found.add("local")
    if not differs.all():
        found.add("region")
    gap = w - r
    factor = complex((w * r.conj()).sum() / (r * r.conj()).sum())
    factor = factor if r.is_complex() else factor.real
    if abs(factor) > 1e-6 and close(w - factor * r, gap):
        found.add("sign" if abs(factor + 1) < 1e-2 else "scale")
    if r.numel() > 1 and close(gap - gap.mean(), gap):
        found.add("offset")
    if transposed(w, r):
        found.add("transpose")
    return found


PLAIN = {"sign", "scale", "shape", "dtype", "zero", "not-finite", "offset"}
EXACT = {"transpose", "region", "local"}


@pytest.mark.parametrize(("op", "mistake"), MISTAKES)
@torch.no_grad()
def test_a_mistake_shows_and_bears_its_name(op, mistake):
    where = ()  # the inputs that show it in the first dtype
    for dtype in mistake.dtypes:
        assert dtype in op.dtypes
        makers = {"usual": op.inputs, **op.further}
        seen = {}
        for name in where or makers:  # wrong code need not run on all the inputs that right code does
            effects, pairs = evidence(op, mistake, makers[name], dtype)
            if effects or pairs:
                seen = {name: (effects, pairs)}
                break
        if mistake.kind == "nondeterministic" and not seen:  # a state that the first call of all has set
            seen = {"later": evidence(op, mistake, op.inputs, dtype, seed=11)}
        effects = set().union(*(e for e, _ in seen.values()))
        pairs = next((p for _, p in seen.values() if p), [])
        assert effects or pairs, f"{dtype}: no trace of the mistake"
        where = [name for name in seen if name in makers]
        if mistake.hidden is None:
            assert mistake.kind == "nondeterministic" or "usual" in seen
        else:
            effects_hidden, pairs_hidden = evidence(op, mistake, mistake.hidden, dtype)
            assert not effects_hidden
            assert not pairs_hidden, f"{dtype}: not hidden: {pairs_hidden}"

        if mistake.kind in ("mutates", "forward"):
            assert mistake.kind in effects
            continue
        if mistake.kind == "nondeterministic":
            continue
        assert "nondeterministic" not in effects
        assert ("forward" in effects) <= (mistake.kind == "forward")
        assert ("mutates" in effects) <= (mistake.kind == "mutates")
        if mistake.argument:
            wrongs = {inputs_named(op)[i] for i, _, _ in pairs}
            assert wrongs == {mistake.argument}
        if dtype in ("float64", "complex128") or mistake.dtypes[0] == dtype:
            found = names(pairs)
            if mistake.kind in PLAIN or (mistake.kind in EXACT and not mistake.also):
                assert mistake.kind in found, (found, pairs[0][1:])
            assert not (found & PLAIN) - {mistake.kind, *mistake.also}, (found, pairs[0][1:])


def inputs_named(op):
    return list(inspect.signature(op.forward).parameters)


def test_the_corpus_is_as_large_as_it_says():
    kinds = Counter(mistake.kind for op in OPERATIONS for mistake in op.mistakes)
    assert len({op.name for op in OPERATIONS}) == len(OPERATIONS) >= 80
    assert sum(kinds.values()) >= 500
    assert set(kinds) == set(KINDS)
    assert sum(len(op.dtypes) * (1 + len(op.further)) for op in OPERATIONS) >= 1500
    assert sum(m.hidden is not None for op in OPERATIONS for m in op.mistakes) >= 150
    for op in OPERATIONS:
        assert {m.argument for m in op.mistakes} <= {"", *inputs_named(op)}
        assert len({m.what for m in op.mistakes}) == len(op.mistakes)
