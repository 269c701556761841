"""Random architectures: reproducible, plain JSON, and right."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad import InputError, registry
from handgrad._errors import UnknownDerivation
from handgrad.architectures import from_json, generate
from torch_ext.crossval.networks import check_architecture

SEEDS = st.integers(0, 10**9)


@settings(deadline=None, max_examples=50)
@given(SEEDS)
def test_a_seed_gives_one_architecture_and_json_gives_it_back(seed):
    made = generate(seed)
    again = from_json(made.to_json())
    assert again.to_json() == made.to_json() == generate(seed).to_json()
    values = made.draw()
    for name, value in again.draw().items():
        np.testing.assert_array_equal(value, values[name])


@settings(deadline=None, max_examples=40)
@given(SEEDS)
def test_hand_agrees_with_autograd(seed):
    checks = check_architecture(seed)
    assert checks
    assert not [f"{c.id} {c.layer}: {c.message or c.ulps}" for c in checks if not c.passed]


def test_every_layer_that_fits_is_drawn():
    seen = {layer for seed in range(400) for layer in generate(seed).layers}
    assert seen == {name for name in registry if registry[name].fit}


def test_motifs_are_drawn():
    graphs = [generate(seed).graph for seed in range(100)]
    uses = [[e for node in g.functions for e in node.args if e] for g in graphs]
    assert any(len(set(edges)) < len(edges) for edges in uses), "no value is used twice"
    for layer in ("concat", "scaled_dot_product_attention", "add"):
        assert any(node.layer == layer for g in graphs for node in g.functions)


def test_only_the_layers_asked_for():
    assert set(generate(3, ["linear", "tanh"]).layers) <= {"linear", "tanh"}
    with pytest.raises(UnknownDerivation, match="received 'tan'"):
        generate(3, ["tan"])
    with pytest.raises(InputError, match="layers that say how they fit; received none"):
        generate(3, [])


def changed(**new):
    data = json.loads(generate(0).to_json())
    return json.dumps({**data, **new})


def node(name, layer, *args):
    return {"name": name, "layer": layer, "args": args, "options": {}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "an architecture is JSON"),
        ("[]", 'an architecture has "format"'),
        ("[" * 10**5, "an architecture is JSON"),
        (changed(version=99), "received 'handgrad-architecture', 99"),
        (changed(nodes=[{"name": "a"}]), "KeyError: 'layer'"),
        (changed(nodes=[node("a", "add", "q", "x")]), "must exist before it; received 'q'"),
        (changed(leaves={"x": {"form": 3}}), "TypeError"),
        (changed(nodes=[node("a", "ad")]), "did you mean"),
    ],
)  # fmt: skip
def test_what_is_no_architecture_is_refused(text, says):
    with pytest.raises((InputError, UnknownDerivation), match=says):
        from_json(text)
