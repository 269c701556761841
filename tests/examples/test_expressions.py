"""The formula language: what it means, and how it refuses."""

import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handgrad import InputError
from handgrad.expressions import (
    Apply,
    Element,
    Expr,
    Gradient,
    Matrix,
    Name,
    Number,
    parse,
    parse_chain,
    parse_formula,
)
from handgrad.formulas import WritingError, build, evaluate

OPERATORS = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "negative": operator.neg,
}
VALUES = {"a": 1.5, "b": -2.0, "z_1": 0.25}

atoms = st.one_of(
    st.integers(0, 99).map(lambda n: Number(str(n))),
    st.sampled_from(sorted(VALUES)).map(Name),
)
trees = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["add", "subtract", "multiply"]), inner, inner).map(
            lambda t: Apply(t[0], (t[1], t[2]))
        ),
        inner.filter(lambda e: not isinstance(e, Number)).map(lambda e: Apply("negative", (e,))),
        inner.map(lambda e: Apply("square", (e,))),
    ),
    max_leaves=12,
)


def by_python(e: Expr) -> float:
    if isinstance(e, Apply):
        args = [by_python(a) for a in e.args]
        return args[0] ** 2 if e.layer == "square" else OPERATORS[e.layer](*args)
    return e.value if isinstance(e, Number) else VALUES[e.name]


def leaf(e: Expr) -> np.ndarray:
    return np.asarray(VALUES[e.name])


@given(trees)
def test_a_formula_as_text_is_read_back_as_itself(e):
    assert parse(str(e)) == e


@given(trees)
def test_values_are_those_of_python_arithmetic(e):
    # all operands are dyadic and small: what overflows 2^53 may round, at most once an operation
    expected = by_python(e)
    assert float(evaluate(parse(str(e)), leaf)) == pytest.approx(expected, rel=64 * 2**-53, abs=0)


@given(trees)
def test_python_reads_the_same_text_alike(e):
    text = str(e).replace("^", "**")
    expected = eval(text, {"__builtins__": {}}, VALUES)  # in a test, on text of the test's own making
    assert by_python(e) == pytest.approx(expected, rel=64 * 2**-53, abs=0)


@given(trees)
def test_a_graph_has_the_value_of_its_formula(e):
    graph, constants = build([("f", e)], VALUES)
    inputs = {name: np.asarray(v) for name, v in VALUES.items()}
    assert float(graph.forward({**inputs, **constants}).values["f"]) == float(evaluate(e, leaf))


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("-x^2", Apply("negative", (Apply("square", (Name("x"),)),))),
        ("x**2", Apply("square", (Name("x"),))),
        ("2 · x ⊙ y", Apply("multiply", (Apply("multiply", (Number("2"), Name("x"))), Name("y")))),
        ("W^T", Apply("transpose", (Name("W"),))),
        ("max(0, z)", Apply("relu", (Name("z"),))),
        ("dL/dW1", Gradient("L", "W1")),
        ("dL / dW1", Apply("divide", (Name("dL"), Name("dW1")))),
        ("-0.50", Number("-0.50")),
        ("−3", Number("-3")),
        ("softmax(z, dim=-1)", Apply("softmax", (Name("z"),), (("dim", -1),))),
        (
            "sum(z, dim=(0, 1), keepdim=true)",
            Apply("sum", (Name("z"),), (("dim", (0, 1)), ("keepdim", True))),
        ),
        ("gelu(z, approximate='tanh')", Apply("gelu", (Name("z"),), (("approximate", "tanh"),))),
        ("[1, 2; 3, 4]", Matrix(((Number("1"), Number("2")), (Number("3"), Number("4"))))),
        ("ln(σ(z))", Apply("log", (Apply("sigmoid", (Name("z"),)),))),
        ("σ^2", Apply("square", (Name("σ"),))),
        ("∂L/∂w1", Gradient("L", "w1")),
        ("2 * ∂L / ∂w", Apply("multiply", (Number("2"), Gradient("L", "w")))),
        ("ŷ_1 + α", Apply("add", (Name("ŷ_1"), Name("α")))),
    ],
)
def test_the_language(text, means):
    assert parse(text) == means


def test_chains_and_left_sides():
    assert [str(e) for e in parse_chain("0.5 + 1 = 1.5 ≈ 2")] == ["0.5 + 1", "1.5", "2"]
    assert parse_formula("dL/dz = y - 1")[0] == Gradient("L", "z")
    assert parse_formula("y - 1")[0] is None


def test_an_element_is_shown_as_on_paper():
    assert str(Element(Name("W"), 0, 1)) == "W[1, 2]"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("W1 x", "put * or @ before 'x'"),
        ("(a + b", "a bracket is not closed: add ')'"),
        ("[1, 2; (3)", "a bracket is not closed: add ']'"),
        ("relu((x) = 3", "a bracket is not closed: add ')'"),
        ("(a +", "complete it"),
        ("1,1", "write a decimal point, not a comma"),
        ("(2 * 0,5)", "write a decimal point, not a comma"),
        ("exp(1,1)", "a number has a decimal point, not a comma"),
        ("1 / (1 + e^(-z))", "write exp(-z)"),
        ("e^-z", "write exp(-z)"),
        ("a + * b", "correct it at '*'"),
        ("[1 2]", "put a comma before '2]'"),
        ("[1, 2; 3]", "rows of a matrix have one length"),
        ("x^3", "the square"),
        ("a = b", "leave out what follows"),
        ("", "complete it"),
        ("a $ b", "'a ' ▸ '$ b'"),
        ("softmax(z, dim=rows)", "quote it"),
        ("softmax(z, dims=0)", "options of softmax"),
        ("relu(x, y)", "takes the arguments x"),
        ("__import__('os')", "'__import__"),
        ("-" * 2000 + "x", "nests"),
    ],
)
def test_refusals_point_at_the_place(text, place):
    with pytest.raises(InputError) as error:
        parse(text)
    assert place in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_layer_is_named():
    with pytest.raises(InputError, match="did you mean sigmoid"):
        parse("sigmoidd(z)")


def test_a_sentence_ends_once():
    with pytest.raises(InputError, match=r"did you mean weight\?$"):
        build([("z", parse("2 * weigth"))], ["weight"])
    with pytest.raises(InputError, match=r"correct the name\.$"):
        build([("z", parse("2 * q"))], ["weight"])


@pytest.mark.parametrize(
    ("value", "do"),
    [
        (np.asarray([1, 0.5]), 'make x a column: "[1; 0.5]".'),
        (np.zeros(9), 'make x a column: "[0; 0; 0; 0; ...]".'),
        (np.zeros(()), "leave out ^T."),
    ],
)
def test_a_list_has_no_transpose_and_its_column_is_shown(value, do):
    with pytest.raises(WritingError) as error:
        evaluate(parse("x^T"), lambda e: value)
    assert str(error.value).endswith(do)


def test_star_is_no_matrix_product():
    values = {"W": np.ones((2, 2)), "x": np.ones((2, 1))}
    with pytest.raises(InputError, match="write @ for the matrix product"):
        evaluate(parse("W * x"), lambda e: values[str(e)])


def test_shapes_and_infinities_name_the_formula():
    values = {"W": np.ones((2, 3)), "x": np.ones((2, 1)), "zero": np.zeros(())}
    with pytest.raises(InputError, match="in 'W @ x'"):
        evaluate(parse("1 + W @ x"), lambda e: values[str(e)])
    with pytest.raises(InputError, match=r"infinity for 'log\(zero\)'"):
        evaluate(parse("2 * log(zero)"), lambda e: values[str(e)])
