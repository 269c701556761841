"""Drawings and traces: small ones in full, large ones by what they must hold."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from handgrad.drawing import to_svg, to_terminal, trace
from handgrad.graph import Graph
from handgrad.worked import Calculation, load, shipped
from handgrad.worked._sheet import read

CHAIN_RULE = """\
         -2
  x  ────────┐
         -4  │          q = 3
             ├─ (+) ───────────┐
          5  │           -4    │          f = -12
  y  ────────┘                 ├─ (×) ────────────
         -4              -4    │             1
                 z  ───────────┘
                          3
"""

TRACE = """\
Forward pass
  x = 2
  y = 3
  z = 4
  u1 = square(x) = square(2) = 4
  u2 = u1 × y = 4 × 3 = 12
  u3 = y × z = 3 × 4 = 12
  f = u2 + u3 = 12 + 12 = 24
Backward pass
  df/df = 1  (base case)
  df/du2 = ∂f/∂u2 · df/df = 1 · 1 = 1
  df/du3 = ∂f/∂u3 · df/df = 1 · 1 = 1
  df/dy gets ∂u3/∂y · df/du3 = 4 · 1 = 4
  df/dz = ∂u3/∂z · df/du3 = 3 · 1 = 3
  df/du1 = ∂u2/∂u1 · df/du2 = 3 · 1 = 3
  df/dy gets ∂u2/∂y · df/du2 = 4 · 1 = 4
  df/dy = 4 + 4 = 8  (used 2 times: added)
  df/dx = ∂u1/∂x · df/du1 = 4 · 3 = 12"""


def traced(calculation):
    target = calculation.sheet.target
    return "\n".join(trace(calculation.forward, target, calculation.steps, calculation.gradients))


def test_the_chain_rule_in_the_terminal():
    assert to_terminal(*Calculation(load("chain-rule")).drawing) == CHAIN_RULE


def test_a_trace_adds_where_a_value_is_used_twice():
    assert traced(Calculation(load("exercise-2"))) == TRACE


def test_a_trace_of_matrices_shows_the_transposed_operand_and_sums_over_copies():
    text = traced(Calculation(load("two-layer-perceptron")))
    assert "dL/dW1 = dL/du1 @ x^T = [-0.1005; -0.1206] @ [1, 2] = " in text
    assert "dL/da1 = W2^T @ dL/du2 = [0.5; 0.6] @ (-0.201) = [-0.1005; -0.1206]" in text
    model = '["z = x + b", "L = sum(softmax(z, dim=0) * z)"]'
    sheet = f'title = "t"\nmodel = {model}\n[inputs]\nx = "[1; 2]"\nb = 3\n'
    text = traced(Calculation(read(sheet, "sheet")))
    assert "summed over the copies" in text
    assert "by softmax's backward" in text


@pytest.mark.parametrize("name", [n for n in shipped() if n != "exercise-1"])
def test_an_svg_is_one_well_formed_file_with_every_name_and_no_outside_parts(name):
    drawing = Calculation(load(name)).drawing
    svg = to_svg(*drawing)
    root = ElementTree.fromstring(svg)
    texts = {
        "".join(t.itertext()).removesuffix(" =").split(" = ")[0]
        for t in root.iter()
        if t.tag.endswith("text")
    }
    used = {edge for node in drawing[0].functions for edge in node.args}
    assert {n for n in drawing[0].nodes if n in used and not n.startswith("#")} <= texts
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    assert "prefers-color-scheme: dark" in svg
    assert svg == to_svg(*Calculation(load(name)).drawing)


def test_an_svg_shrinks_with_its_page():
    root = ElementTree.fromstring(to_svg(*Calculation(load("two-layer-perceptron")).drawing))
    left, _, width, height = map(float, root.get("viewBox").split())
    assert (left, root.get("width"), root.get("height")) == (0, f"{width:.0f}", f"{height:.0f}")
    assert root.get("style") == "max-width: 100%; height: auto"


def test_a_minus_sign_is_one_function_of_one_value():
    sheet = 'title = "t"\nmodel = ["L = -relu(square(y))"]\n[inputs]\ny = -0.954234\n'
    calculation = Calculation(read(sheet, "sheet"))
    for drawing in (to_terminal(*calculation.drawing), to_svg(*calculation.drawing)):
        assert drawing.count("−( )") == 1
        assert "×" not in drawing
        assert len(re.findall(r"[ >]-1[ <\n]", drawing)) == 2  # dL/du1 and dL/du2, not the sign's own
    text = traced(calculation)
    assert "u1 = square(y) = square(-0.9542) = 0.9106" in text
    assert "L = -u2 = -0.9106 = -0.9106" in text
    assert "dL/du2 = ∂L/∂u2 · dL/dL = (-1) · 1 = -1" in text


def test_minus_one_times_a_value_is_drawn_as_that():
    sheet = 'title = "t"\nmodel = ["L = -1 * y"]\n[inputs]\ny = -3\n'
    calculation = Calculation(read(sheet, "sheet"))
    assert "(×)" in to_terminal(*calculation.drawing)
    assert "L = (-1) × y = (-1) × (-3) = 3" in traced(calculation)


def test_a_wide_drawing_continues_below():
    drawing = Calculation(load("two-layer-perceptron")).drawing
    for width in (60, 100, 160):
        assert max(map(len, to_terminal(*drawing, width=width).splitlines())) <= width
    assert "⋯" in to_terminal(*drawing, width=60)
    assert "⋯" not in to_terminal(*drawing, width=300)


def test_drawings_without_values_of_parts_and_of_nothing():
    g = Graph()
    a, b = g.input("a"), g.input("b")
    g.apply("square", a, name="p")
    g.apply("square", b, name="q")
    text = to_terminal(g, {})
    assert "p" in text
    assert "q" in text
    ElementTree.fromstring(to_svg(g, {}))
    ElementTree.fromstring(to_svg(Graph(), {}))
    assert to_terminal(Graph(), {}) == "\n"


def test_large_matrices_are_shown_by_shape():
    g = Graph()
    g.apply("relu", g.input("x"), name="y")
    values = g.forward({"x": np.random.default_rng(3).standard_normal((64, 3))}).values
    assert "64 × 3" in to_terminal(g, values)
    assert "64 × 3" in to_svg(g, values)
