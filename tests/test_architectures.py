"""Random architectures: reproducible, plain JSON, right, and over everything that is registered."""

import json
import os
import pickle
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handgrad import InputError, registry
from handgrad._errors import UnknownDerivation
from handgrad.architectures import Coverage, from_json, generate, measure, option_values, schema, smaller
from handgrad.architectures._generate import build
from torch_ext.crossval.networks import check_architecture

LEAF = {"shape": [2, 3]}


def node(name, layer, *args, **options):
    return {"name": name, "layer": layer, "args": args, "options": options}


def text(nodes=(), leaves=None, **new):
    data = {"format": "handgrad-architecture", "version": 1, "seed": 0, "nodes": nodes}
    return json.dumps({**data, "leaves": {"x": LEAF} if leaves is None else leaves, **new})


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


def test_another_process_makes_the_same():
    seeds = (0, 5, 12_345)
    code = f"from handgrad.architectures import generate\nfor s in {seeds}: print(generate(s).to_json())"
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.splitlines() == [generate(seed).to_json() for seed in seeds]


def test_it_pickles():
    made = generate(3)
    assert pickle.loads(pickle.dumps(made)).to_json() == made.to_json()


@settings(deadline=None, max_examples=60, derandomize=True)  # `handgrad fuzz` is for new ones
@given(SEEDS)
def test_hand_agrees_with_autograd(seed):
    checks = check_architecture(seed)
    assert checks
    assert not [f"{c.id} {c.layer}: {c.message or c.ulps}" for c in checks if not c.passed]


# --- what is drawn --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn():
    return [build(seed) for seed in range(1500)]


@pytest.fixture(scope="module")
def covered(drawn):
    coverage = Coverage()
    for made, _ in drawn:
        coverage.add(made)
    return coverage


def test_every_layer_and_option_value_is_drawn(covered):
    report = covered.to_dict()
    assert report["layers"]["missing"] == []
    assert report["options"]["share"] >= 0.95, report["options"]["missing"]
    assert report["architectures"] == 1500
    assert report["triples"] > 5000


def test_few_nodes_are_rejected(drawn):
    attempts = sum(builder.attempts for _, builder in drawn)
    assert sum(builder.rejected for _, builder in drawn) < 0.01 * attempts


def test_motifs_are_drawn(drawn):
    graphs = [made.graph for made, _ in drawn]
    uses = [[e for node in g.functions for e in node.args if e] for g in graphs]
    assert any(len(set(edges)) < len(edges) for edges in uses), "no value is used twice"
    further = {edge.split(".")[1] for edges in uses for edge in edges if "." in edge}
    assert {"h_n", "c_after", "running_mean"} <= further
    assert any(0 in v.shape for _, b in drawn for v in b.values.values())
    for layer in ("concat", "scaled_dot_product_attention", "add", "where"):
        assert any(node.layer == layer for g in graphs for node in g.functions)


def test_every_mode_is_drawn(drawn):
    seen = {}
    for made, _ in drawn:
        for mode, value in made.modes.items():
            found = (
                value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
            )
            seen.setdefault(mode, set()).update(v for v in found if isinstance(v, str))
    properties = schema()["definitions"]["modes"]["properties"]
    assert set(seen) == set(properties)
    assert seen["also"] >= {"double_backward", "forward_mode", "vmap", "repeat", "compile"}
    assert seen["layouts"] == set(properties["layouts"]["additionalProperties"]["enum"])
    assert seen["cotangents"] == set(properties["cotangents"]["additionalProperties"]["enum"])


def test_values_keep_to_their_modes():
    text = {"format": "handgrad-architecture", "version": 1, "seed": 3, "leaves": {"x": {"shape": [1, 3, 2]}}}
    nodes = [node("a", "relu", "x"), node("b", "tanh", "x")]
    modes = {"layouts": {"x": "expanded"}, "cotangents": {"a": "none", "b": "expanded"}, "frozen": ["x"]}
    made = from_json(json.dumps({**text, "nodes": nodes, "modes": modes}))
    values = made.draw()
    assert np.ptp(values["x"], axis=1).max() == 0 < np.ptp(values["x"])
    cotangents = made.cotangents(made.graph.forward(values).values)
    assert set(cotangents) == {"b"}
    assert np.ptp(cotangents["b"], axis=1).max() == 0
    assert made.wanted == ()


def test_it_is_fast():
    seeds = range(20_000, 20_100)
    generate(seeds[0])
    began = time.process_time()
    for seed in seeds:
        made = generate(seed)
        run = made.graph.forward(made.draw())
        run.backward(made.cotangents(run.values))
    assert (time.process_time() - began) / len(seeds) < 0.02  # 0.004 on a quiet machine


def test_only_the_layers_asked_for():
    assert set(generate(3, ["linear", "tanh"]).layers) <= {"linear", "tanh"}
    with pytest.raises(UnknownDerivation, match="received 'tan'"):
        generate(3, ["tan"])
    with pytest.raises(InputError, match="layers with a `fit` or with cases; received none"):
        generate(3, [])


# --- coverage ---------------------------------------------------------------------------------


def test_coverage_adds_up():
    one, two, both = Coverage(), Coverage(), Coverage()
    for seed in range(20):
        (one if seed < 10 else two).add(generate(seed))
        both.add(generate(seed))
    assert pickle.loads(pickle.dumps(one)).merge(two).to_dict() == both.to_dict()
    assert both.layers["add"] <= sum(n for (layer, _), n in both.neighbours.items() if layer == "add")


def test_coverage_grows_faster_where_it_aims():
    layers = ["linear", "relu", "gelu", "softmax", "mean", "add", "layer_norm"]

    def seen(aimed):
        coverage = Coverage()
        for seed in range(12):
            coverage.add(generate(seed, layers, coverage if aimed else None))
        return coverage.values.keys() & option_values(layers)

    assert len(seen(aimed=True)) >= len(seen(aimed=False))
    assert len(seen(aimed=True)) > 0.7 * len(option_values(layers))


def test_a_block_of_seeds_has_every_focus_once_and_the_next_another_neighbour():
    from handgrad.architectures._generate import _aim, _foci

    names = ["relu", "tanh", "add"]
    foci = _foci(tuple(registry[name] for name in names))
    n = len(foci)
    blocks = [[_aim(k * n + i, foci, names) for i in range(n)] for k in range(3)]
    for block in blocks:
        assert sorted(id(focus) for focus, _ in block) == sorted(map(id, foci))


# --- shrinking ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(0, 60, 5))
def test_candidates_are_valid_and_smaller(seed):
    made = generate(seed)
    candidates = list(smaller(made))
    assert candidates
    for candidate in candidates[:: max(1, len(candidates) // 25)]:
        assert measure(candidate) < measure(made)
        assert from_json(candidate.to_json()).to_json() == candidate.to_json()
        run = candidate.graph.forward(candidate.draw())
        assert candidate.cotangents(run.values)


def test_shrinking_ends_at_one_node():
    """A failure of one layer alone leaves that layer, with what it needs."""
    seed = next(
        s for s in range(2000) if "gelu" in generate(s).layers and len(generate(s).graph.functions) > 8
    )
    made = generate(seed)
    while True:
        found = next((c for c in smaller(made) if "gelu" in c.layers), None)
        if found is None:
            break
        made = found
    assert [node.layer for node in made.graph.functions] == ["gelu"]
    assert made.modes == {}
    assert max(spec.shape for spec in made.leaves.values()) == ()


# --- what is no architecture ----------------------------------------------------------------------


RELU = node("a", "relu", "x")


def test_a_file_by_hand():
    made = from_json(text([RELU]))
    assert made.layers == ("relu",)
    assert made.ends == ("a",)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("{", "line 1, column 2: an architecture is well-formed JSON"),
        ("[]", 'the file: an architecture is a JSON object with "format"'),
        ("[" * 10**5, "nests at most 8 levels"),
        (text(seed=[[[[[[[[]]]]]]]]), "nests at most 8 levels"),
        (" " * 5_000_000, "at most 4,194,304 characters"),
        ('{"format": NaN}', "received a bare NaN"),
        ('{"format": 1, "format": 2}', "'format' twice"),
        ('{"seed": 1' + "0" * 5000 + "}", "thousands of digits"),
        (text(version=99), "version: this handgrad reads architectures of schema version 1; received 99"),
        (text(seed=-1), "seed: "),
        (text(extra=1), "the file: .*extra"),
        (text([{"name": "a"}]), r"nodes\[0\]: .*layer"),
        (text([node("a", "ad", "x")]), r"nodes\[0\]\.layer: .*received 'ad'; did you mean"),
        (text([node("__import__('os')", "relu", "x")]), r"nodes\[0\]\.name: "),
        (text([node("x", "relu", "x")]), r"nodes\[0\]\.name: each node and leaf has a name of its own"),
        (text([node("a", "add", "q", "x")]), r"nodes\[0\]\.args\[0\]: an argument is a leaf.*received 'q'"),
        (
            text([node("a", "relu", "b"), node("b", "relu", "a")]),
            r"nodes\[0\]\.args\[0\]: .*no cycle.*nodes\[1\]",
        ),
        (text([node("a", "relu", "a")]), "no cycle"),
        (
            text([node("a", "huber_loss", "x", None)]),
            r"nodes\[0\]\.args\[1\]: huber_loss needs t; received none",
        ),
        (text([node("a", "relu", "x", "x")]), r"nodes\[0\]\.args: relu takes at most 1: x; received 2"),
        (
            text([node("a", "relu", "x", slope=1)]),
            r"nodes\[0\]\.options: the options of relu are none; received 'slope'",
        ),
        (
            text([node("a", "matmul", "x", "x")]),
            r"nodes\[0\]: matmul refuses what it is given \(shapes \(2, 3\), \(2, 3\)\)",
        ),
        (
            text([node("a", "pad", "x", pad=[10**6] * 4)]),
            r"nodes\[0\]: pad may need at most 536,870,912 numbers",
        ),
        (
            text([node("a", "interpolate", "y", scale_factor=1e8)], {"y": {"shape": [1, 1, 2]}}),
            "may need at most",
        ),
        (text(leaves={"x": {"form": 3}}), r"leaves\.x: .*shape"),
        (
            text(leaves={"x": {"shape": [2**20, 2**20]}}),
            r"leaves\.x\.shape: a leaf has at most 1,048,576 numbers",
        ),
        (text(leaves={f"x{i}": {"shape": [2**20]} for i in range(5)}), "leaves: all leaves together"),
        (
            text(leaves={"x": {"shape": [2], "kind": "exactly", "values": [1]}}),
            r"leaves\.x\.values: shape \[2\] takes 2",
        ),
        (
            text(leaves={"x": {"shape": [2], "kind": "integers", "high": 0}}),
            r"leaves\.x: integers are drawn from",
        ),
        (text(leaves={"x": {"shape": [2], "kind": "places", "high": 1e9}}), r"leaves\.x\.high: 2 places"),
        (text(leaves={"x": {"shape": [2], "kind": "eval"}}), r"leaves\.x\.kind: "),
        (text([RELU], modes={"dtype": "int8"}), r"modes\.dtype: "),
        (text([RELU], modes={"casts": {"b": "float32"}}), r"modes\.casts: it names nodes; received 'b'"),
        (
            text([RELU], modes={"cotangents": {"x": "none"}}),
            r"modes\.cotangents: it names ends of the graph; received 'x'",
        ),
        (
            text([RELU], modes={"autocast": {"dtype": "bfloat16", "nodes": ["a"]}}),
            r"modes\.autocast: .*float32",
        ),
    ],
)
def test_what_is_no_architecture_is_refused(written, says):
    with pytest.raises(InputError, match=says) as caught:
        from_json(written)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_a_layer_that_raises_a_long_text_is_quoted_in_one_line():
    leaves = {"x": {"shape": [2, 3, 4, 4]}, "w": {"shape": [3, 2, 2, 2]}}
    with pytest.raises(InputError, match=r"nodes\[0\]: conv2d refuses what it is given"):
        from_json(text([node("a", "conv2d", "x", "w", None)], leaves))
