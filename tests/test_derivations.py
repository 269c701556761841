"""Every derivation x case x array library x dtype x oracle. A new layer is covered without an edit here."""

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
