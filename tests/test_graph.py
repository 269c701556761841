"""Computational graphs, against autograd."""

import numpy as np
import pytest
import torch

from handgrad import InputError
from handgrad._errors import UnknownDerivation
from handgrad.graph import Graph, Node


def lecture_function():
    """f = (x + y) z, the lecture's section 6.2."""
    graph = Graph()
    x, y, z = graph.input("x"), graph.input("y"), graph.input("z")
    graph.apply("multiply", graph.apply("add", x, y, name="q"), z, name="f")
    return graph


def numbers(**values):
    return {name: np.array(value) for name, value in values.items()}


def test_the_lecture_s_function():
    passed = lecture_function().forward(numbers(x=-2.0, y=5.0, z=-4.0))
    gradients = passed.backward()
    assert passed.values["q"] == 3
    assert passed.values["f"] == -12
    assert {name: float(dx) for name, dx in gradients.items()} == {"f": 1, "q": -4, "x": -4, "y": -4, "z": 3}


def test_a_value_used_twice_collects_both_flows():
    graph = Graph()
    x = graph.input("x")
    square = graph.apply("multiply", x, x, name="square")
    graph.apply("add", square, x, name="y")
    rng = np.random.default_rng(0)
    value, dy = rng.standard_normal(5), rng.standard_normal(5)
    found = graph.forward({"x": value}).backward({"y": dy})["x"]
    t = torch.tensor(value, requires_grad=True)
    (truth,) = torch.autograd.grad(t * t + t, t, torch.tensor(dy))
    np.testing.assert_allclose(found, truth.numpy(), rtol=1e-15)


def test_steps_show_each_application_of_the_chain_rule():
    passed = lecture_function().forward(numbers(x=-2.0, y=5.0, z=-4.0))
    steps = [(s.node.name, s.edge, float(s.incoming[0]), float(s.outgoing)) for s in passed.steps({})]
    assert steps == [("f", "q", 1, -4), ("f", "z", 1, 3), ("q", "x", -4, -4), ("q", "y", -4, -4)]


def test_only_what_is_wanted_is_computed():
    graph = lecture_function()
    gradients = graph.forward(numbers(x=-2.0, y=5.0, z=-4.0)).backward(wanted=["z"])
    assert set(gradients) == {"f", "z"}
    assert graph.depends_on(["x"]) == {"x", "q", "f"}


def test_further_outputs_have_edges_of_their_own():
    graph = Graph()
    x = graph.input("x")
    graph.apply("max_pool2d", x, name="pool", kernel_size=2)
    assert graph.nodes["pool"].edges == ("pool", "pool.indices")
    assert graph.depends_on(["x"]) == {"x", "pool"}
    passed = graph.forward({"x": np.arange(16.0).reshape(1, 1, 4, 4)})
    assert passed.values["pool.indices"].tolist() == [[[[5, 7], [13, 15]]]]


def test_nodes_make_the_same_graph_again():
    graph = lecture_function()
    assert Graph(graph.nodes.values()).nodes == graph.nodes
    assert graph.inputs == ("x", "y", "z")
    assert graph.outputs == ("f",)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda g: g.input("x"), "a name of its own.*received 'x'"),
        (lambda g: g.input("a.b"), "without a dot; received 'a.b'"),
        (lambda g: g.apply("add", "x", "nowhere"), "must exist before it; received 'nowhere'"),
    ],
)
def test_bad_graphs_are_refused(build, says):
    graph = Graph([Node("x")])
    with pytest.raises(InputError, match=says):
        build(graph)


def test_unknown_layer():
    with pytest.raises(UnknownDerivation, match="received 'ad'"):
        Graph([Node("x")]).apply("ad", "x", "x")


def test_inputs_are_given_exactly():
    with pytest.raises(InputError, match=r"needs a value for each of its inputs \(x, y, z\); received x, y"):
        lecture_function().forward(numbers(x=1.0, y=2.0))


def test_the_base_case_needs_one_scalar():
    with pytest.raises(InputError, match=r"one output, a scalar; received f \(2,\)"):
        lecture_function().forward(numbers(x=[1.0, 2.0], y=1.0, z=1.0)).backward()
