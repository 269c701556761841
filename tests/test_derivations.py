"""Every derivation x case x array library x dtype x oracle. A new layer is covered without an edit here."""

import numpy as np
import pytest

from handgrad import registry
from torch_ext.crossval.layers import check_case

CASES = [
    pytest.param(name, case, id=f"{name}-{case.name}") for name in registry for case in registry[name].cases
]


@pytest.mark.parametrize(("name", "case"), CASES)
def test_agrees_with_every_truth(name, case):
    checks = check_case(registry[name], case, seed=1)
    assert checks
    wrong = [f"{check.id}: {check.message or check.ulps}" for check in checks if not check.passed]
    assert not wrong, "\n".join(wrong)


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(2, 22))
@pytest.mark.parametrize("name", registry)
def test_agrees_on_twenty_further_seeds(name, seed):
    wrong = [
        c.id for case in registry[name].cases for c in check_case(registry[name], case, seed) if not c.passed
    ]
    assert not wrong


@pytest.mark.parametrize("name", registry)
def test_says_what_a_reader_needs(name):
    derivation = registry[name]
    assert derivation.cases
    assert derivation.formula
    assert derivation.source
    assert derivation.torch
    for heading in ("Shapes.", "Source:"):
        assert heading in derivation.doc, f"{name} does not state its {heading}"
    names = [case.name for case in derivation.cases]
    assert len(set(names)) == len(names), "cases share a name"


@pytest.mark.parametrize("name", registry)
def test_kinks_are_stated_where_there_are_any(name):
    derivation = registry[name]
    if any(case.kink for case in derivation.cases):
        assert any(word in derivation.doc for word in ("Kink", "Tie", "tie")), name


@pytest.mark.parametrize(("name", "case"), CASES)
def test_forward_mode_is_the_transpose_of_backward(name, case):
    """<dy, J v> = <Jᵀ dy, v> for random v and dy, in NumPy, at kinks too (both follow one convention)."""
    if name in ("embedding", "embedding_bag") and case.kink and "ties" not in case.name:
        pytest.skip("padding and scaling by frequency are rules, no derivatives")
    derivation, rng = registry[name], np.random.default_rng(5)
    inputs = case.draw(6)
    outputs, residuals = derivation.apply(inputs, case.options)
    free = [o for n, o in zip(derivation.outputs, outputs, strict=True) if n not in derivation.constant]
    if not all(np.issubdtype(np.asarray(o).dtype, np.floating) and np.all(np.isfinite(o)) for o in free):
        pytest.skip("no finite floating output")
    wanted = [x is not None and x.dtype == float and derivation.has_gradient(i) for i, x in enumerate(inputs)]
    v = [rng.standard_normal(x.shape) if w else None for x, w in zip(inputs, wanted, strict=True)]
    dy = [
        None if n in derivation.constant else rng.standard_normal(np.shape(o))
        for n, o in zip(derivation.outputs, outputs, strict=True)
    ]
    _, lifted = derivation.jvp(inputs, v, case.options)
    gradients = derivation.vjp(dy, residuals, inputs, case.options, wanted)
    forward = [d * t for d, t in zip(dy, lifted, strict=True) if d is not None and t is not None]
    backward = [g * t for g, t in zip(gradients, v, strict=True) if g is not None and t is not None]
    terms = np.concatenate([np.ravel(a) for a in (*forward, *backward)] or [np.zeros(1)])
    if not np.all(np.isfinite(terms)):
        pytest.skip("an infinite slope")
    left, right = (sum(float(np.sum(a)) for a in side) for side in (forward, backward))
    # slopes such as y (1 - y) are known to a rounding of y, not of themselves
    known = sum(float(np.sum(np.abs(d * o))) for d, o in zip(dy, outputs, strict=True) if d is not None)
    size = float(np.sum(np.abs(terms))) + known
    assert abs(left - right) <= 64 * np.finfo(float).eps * len(terms) * size
