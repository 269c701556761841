"""Verdicts: on small made-up sheets, on the lecture's, and on bad sheets."""

import re
from pathlib import Path

import numpy as np
import pytest

from handgrad import InputError
from handgrad.worked import Calculation, judge, load, shipped, shipped_examples
from handgrad.worked._sheet import read

MODEL = """
title = "made up"
model = ["z = w * x + b", "y = sigmoid(z)", "L = -log(y)"]
[inputs]
x = 2
w = 0.5
b = 0.1
"""


def verdicts(text: str, file: str = "sheet.toml"):
    return judge(read(text, file))


def line(formula: str, printed: str, **more: str) -> str:
    extra = "\n".join(f"{k} = {v}" for k, v in more.items())
    return f'\n[[line]]\nwhere = "here"\nformula = "{formula}"\nprinted = "{printed}"\n{extra}\n'


def one(formula: str, printed: str, head: str = MODEL):
    return verdicts(head + line(formula, printed)).example.printed[-1]


@pytest.mark.parametrize(
    ("printed", "verdict"),
    [
        ("0.75026", "follows"),
        ("0.750", "follows"),
        ("0.75", "follows"),
        ("0.8", "follows"),
        ("1", "follows"),
        ("7.50e-1", "follows"),
        ("0.76", "misprint"),
        ("0.7502", "misprint"),
        ("-0.75", "misprint"),
    ],
)
def test_digits(printed, verdict):  # sigmoid(1.1) = 0.750260...
    assert one("y", printed).verdict == verdict


@pytest.mark.parametrize("printed", ["0.28", "0.29", "0.285"])
def test_a_tie_may_be_rounded_either_way(printed):
    assert (
        one("h", printed, 'title = "t"\nmodel = ["h = a + b"]\n[inputs]\na = 0.2\nb = 0.085\n').verdict
        == "follows"
    )


def test_cut_off_digits_are_a_misprint_unless_the_sheet_says_so():
    cut = one("y", "0.7502")
    assert (cut.verdict, cut.value) == ("misprint", "0.7503")
    assert "cut off, not rounded" in cut.note
    head = MODEL.replace("[inputs]", 'rounding = "cut"\n[inputs]')
    assert one("y", "0.7502", head).verdict == "follows"
    assert one("y", "0.7503", head).verdict == "misprint"


def test_carried_from_the_printed_operand_and_named():
    result = verdicts(MODEL + line("y = sigmoid(z)", "0.8") + line("L = -log(y)", "-log(0.8) = 0.223"))
    *_, operand, loss = result.example.printed
    assert operand.verdict == "follows"
    assert (loss.verdict, loss.value) == ("carried", "0.287")
    assert loss.note == "from y = 0.8 (here)"
    assert not result.surprises


def test_which_operands_are_printed_is_searched():
    head = 'title = "t"\nmodel = ["p = a * a", "q = b * b", "f = p + q"]\n[inputs]\na = 0.37\nb = 0.77\n'
    sheet = head + line("p", "0.14") + line("q", "0.6")
    exact_p_printed_q = one("f = p + q", "0.7369", sheet)
    assert (exact_p_printed_q.verdict, exact_p_printed_q.note) == ("carried", "from q = 0.6 (here)")
    both = one("f = p + q", "0.740", sheet)
    assert both.verdict == "carried"
    assert both.note == "from p = 0.14 (here), q = 0.6 (here)"
    assert one("f = p + q", "0.7298", sheet).verdict == "follows"
    neither = one("f = p + q", "0.7401", sheet)
    assert neither.verdict == "misprint"
    assert "0.7400 from p = 0.14 (here), q = 0.6 (here)" in neither.note


def test_an_operand_that_was_not_printed_follows_its_own_formula():
    sheet = MODEL + line("z", "1") + line("L = -log(y)", "0.31326")  # sigmoid(1), never printed
    assert verdicts(sheet).example.printed[-1].verdict == "carried"


def test_a_misprint_is_reported_once_and_what_follows_from_it_is_carried():
    result = verdicts(MODEL + line("z", "1.2") + line("y = sigmoid(z)", "sigmoid(1.2) = 0.769"))
    assert [p.verdict for p in result.example.printed if p.printed[0].isdigit()] == [
        "misprint",
        "carried",
        "carried",
    ]
    assert result.surprises == ("[[line]] 1 (here): 1.2 does not follow, and is not declared as a misprint",)


def test_declared_misprints_are_no_surprise_and_stale_ones_are():
    assert not verdicts(MODEL + line("z", "1.2", misprints='["1.2"]')).surprises
    stale = verdicts(MODEL + line("z", "1.1", misprints='["1.1"]'))
    assert stale.surprises == ("[[line]] 1 (here): 1.1 is declared as a misprint, but is none",)


def test_one_wrong_element_is_named():
    head = 'title = "t"\nmodel = ["y = W @ x", "L = sum(y)"]\n[inputs]\nW = "[1, 2; 3, 4]"\nx = "[1; 2]"\n'
    wrong = one("dL/dW", "[1, 2; 1, 3]", head)
    assert (wrong.verdict, wrong.value) == ("misprint", "[1, 2; 1, 2]")
    assert "row 2, column 2 is 3, but 2" in wrong.note


def test_a_written_out_matrix_product_is_matched_element_by_element():
    head = (
        'title = "t"\nmodel = ["y = W @ x + b"]\n[inputs]\nW = "[1, 2; 3, 4]"\nx = "[5; 6]"\nb = "[7; 8]"\n'
    )
    result = verdicts(
        head + line("y = W @ x + b", "[1*5 + 2*6; 3*5 + 4*7] + [7; 8] = [17; 39] + [7; 8] = [24; 47]")
    )
    wrong = [(p.what, p.printed, p.value) for p in result.example.printed if p.verdict == "misprint"]
    assert wrong == [("x[2, 1]", "7", "6")]


def test_a_formula_that_does_not_hold_is_a_misprint_and_what_was_meant_is_checked():
    head = 'title = "t"\nmodel = ["y = W @ x", "L = sum(y^2)"]\n[inputs]\nW = "[1, 2; 3, 4]"\nx = "[1; 2]"\n'
    sheet = head + line("dL/dW = x^T @ dL/dy", "[10, 20; 22, 44]", meant='"dL/dy @ x^T"')
    formula, number = verdicts(sheet).example.printed
    assert (formula.verdict, formula.value) == ("misprint", "dL/dy @ x^T")
    assert "1 x 1" in formula.note
    assert number.verdict == "follows"
    with pytest.raises(InputError, match="meant has the value"):
        verdicts(head + line("dL/dW = x^T @ dL/dy", "[10, 20; 22, 44]", meant='"dL/dy"'))
    right = one("dL/dW = dL/dy @ x^T", "[10, 20; 22, 44]", head)
    assert right.verdict == "follows"


def test_local_derivatives():
    head = (
        'title = "t"\nmodel = ["a = tanh(z)", "L = sum(W @ a)"]\n[inputs]\nz = "[0; 0]"\nW = "[1, 2; 3, 4]"\n'
    )
    assert one("da/dz", "[1; 1]", head).verdict == "follows"
    head = head.replace("tanh(z)", "softmax(z, dim=0)")
    with pytest.raises(InputError, match="element-by-element"):
        one("da/dz", "[1; 1]", head)


def test_a_minus_sign_printed_in_a_sum_is_that_of_a_factor():
    head = 'title = "t"\nmodel = ["z = w11 * x1 + w12 * x2 + b"]\n[inputs]\nw11 = 0.3\nx1 = 1\nb = -0.7\n'
    formula = "z = w11 * x1 + w12 * x2 + b"

    def read_as(w12, x2, printed):
        return [
            (p.what, p.printed, p.verdict)
            for p in verdicts(head + f"w12 = {w12}\nx2 = {x2}\n" + line(formula, printed)).example.printed[1:]
        ]

    weight = read_as(-0.2, 0.5, "0.3 * 1 - 0.2 * 0.5 - 0.7 = -0.5")
    assert weight == [
        ("w11", "0.3", "follows"),
        ("x1", "1", "follows"),
        ("w12", "-0.2", "follows"),
        ("x2", "0.5", "follows"),
        ("b", "-0.7", "follows"),
        ("z", "-0.5", "follows"),
    ]
    data = read_as(0.2, -0.5, "0.3 * 1 - 0.2 * 0.5 - 0.7 = -0.5")
    assert data[2:4] == [("w12", "0.2", "follows"), ("x2", "-0.5", "follows")]
    wrong = read_as(-0.2, 0.5, "0.3 * 1 - 0.4 * 0.5 - 0.7 = -0.5")
    assert wrong[2] == ("w12", "-0.4", "misprint")
    assert read_as(0.2, 0.5, "0.3 * 1 - 0.1 - 0.7")[2] == ("w12 * x2", "-0.1", "misprint")


@pytest.mark.parametrize("a", ['"[0.291; 0.716]"', "[0.291, 0.716]"])
@pytest.mark.parametrize("w", ['"[0.7, -0.5]"', "[0.7, -0.5]"])
def test_a_product_with_a_negative_weight_is_written_out_of_matrices_and_of_lists(w, a):
    head = f'title = "t"\nmodel = ["z = w2 @ a + b2"]\n[inputs]\nw2 = {w}\na = {a}\nb2 = 0.2\n'
    result = verdicts(head + line("z = w2 @ a + b2", "0.7*0.291 - 0.5*0.716 + 0.2 = 0.0457"))
    assert {p.verdict for p in result.example.printed} == {"follows"}
    wrong = verdicts(head + line("z = w2 @ a + b2", "0.7*0.291 - 0.4*0.716 + 0.2"))
    assert [(p.what, p.value) for p in wrong.example.printed if p.verdict == "misprint"] == [
        ("w2[1, 2]", "-0.5")
    ]


def test_lists_times_matrices_are_written_out():
    head = 'title = "t"\nmodel = ["z = W @ x", "y = x @ W"]\n[inputs]\nW = "[1, 2; 3, 4]"\nx = [5, 6]\n'
    columns = verdicts(head + line("z = W @ x", "[1*5 + 2*6, 3*5 + 4*6] = [17, 39]"))
    rows = verdicts(head + line("y = x @ W", "[5*1 + 6*3, 5*2 + 6*4] = [23, 34]"))
    for result in (columns, rows):
        assert {p.verdict for p in result.example.printed} == {"follows"}


def test_a_minus_sign_before_a_matrix_is_that_of_its_elements():
    head = (
        'title = "t"\nmodel = ["y = W @ x + b"]\n[inputs]\n'
        'W = "[1, -2; 3, 4]"\nx = "[5; 6]"\nb = "[-7; -8]"\n'
    )
    result = verdicts(head + line("y = W @ x + b", "[1*5 - 2*6; 3*5 + 4*6] - [7; 8] = [-14; 31]"))
    assert {p.verdict for p in result.example.printed} == {"follows"}


STATEMENT = '\n[[statement]]\nwhere = "p"\ntext = "words"\nvalue = "{}"\n'


@pytest.mark.parametrize(
    "value",
    [
        "z = 1.1",
        "z = w * x + b ≈ 1",
        "dL/dz = y - 1, dz/dw = 2 and z = 1.1",
        "[z, 2; y, 0] = [1.1, 2; 0.75, 0]",
        "the weight is small, where w = 3 is not meant",
        "w * x",
        "",
    ],
)
def test_a_statement_that_is_true_or_no_equation_is_reported(value):
    (printed,) = verdicts(MODEL + STATEMENT.format(value)).example.printed
    assert (printed.verdict, printed.value) == ("statement", value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("z = 7", r"received 'z = 7', where z is not 7 but 1\.1; correct it\."),
        ("y = 0.75, z = 1.2 as well as b = 0, z = 1.2", r"'z = 1\.2', where z is not 1\.2 but 1\.1"),
        ("z = w * x = 1.1", r"'z = w \* x = 1\.1', where w \* x is not z but 1\.1"),
        ("1 = 2", "1 is not 2"),
        ("zz = 7", r"received 'zz'; did you mean z\?"),
        ("z = [1, 2]", "has the shape of its value"),
    ],
)
def test_a_statement_that_is_false_is_refused(value, says):
    with pytest.raises(InputError, match=rf"^sheet\.toml: \[\[statement\]\] 1 \(p\): .*{says}"):
        verdicts(MODEL + STATEMENT.format(value))


def test_questions():
    ask = '\n[[question]]\nwhere = "q"\nvalue = "z"\noptions = { a = "1.1", b = "1.2" }\n'
    (answer,) = verdicts(MODEL + ask).example.printed
    assert (answer.printed, answer.verdict) == ("(a) 1.1", "follows")
    assert verdicts(MODEL + ask.replace('"1.1"', '"1.3"')).surprises
    assert verdicts(MODEL + ask + 'answer = "b"\n').surprises
    _, decimals = verdicts(MODEL + ask + "decimals = 2\n").example.printed
    assert (decimals.verdict, decimals.value) == ("misprint", "1.10")
    needed = '\n[[question]]\nwhere = "q"\nnot_needed_for = ["w"]\noptions = { a = "dL/dy", b = "dL/dx" }\n'
    (free,) = verdicts(MODEL + needed).example.printed
    assert (free.verdict, free.value) == ("statement", "(b) dL/dx")


# --- the lecture -----------------------------------------------------------------------


def test_the_lectures_misprints_are_exactly_these():
    wrong = {
        (name, p.what, p.printed, p.value)
        for name in shipped()
        for p in judge(load(name)).example.printed
        if p.verdict == "misprint"
    }
    perceptron = "two-layer-perceptron"
    assert wrong == {
        (perceptron, "y_hat", "0.7986", "0.7990"),
        (perceptron, "L", "0.2247", "0.2244"),
        (perceptron, "dL/dy_hat", "-1.2521", "-1.2516"),
        (perceptron, "dL/dz2", "-0.2016", "-0.2010"),
        (perceptron, "dL/dW1", "x^T @ dL/dz1", "dL/dz1 @ x^T"),
        (
            perceptron,
            "dL/dW1",
            "[-0.1008, -0.2420; -0.1210, -0.2420]",
            "[-0.1005, -0.2010; -0.1206, -0.2412]",
        ),
        ("exercise-5", "decimals of b2_new", "round to 3 decimal places", "0.411"),
    }


def test_what_the_lecture_carries():
    printed = judge(load("two-layer-perceptron")).example.printed
    notes = {p.printed: p.note for p in printed if p.verdict == "misprint"}
    assert "0.79899" in notes["0.7986"]
    assert "0.2249 from y_hat = 0.7986" in notes["0.2247"]
    assert "-1.2522 from y_hat = 0.7986" in notes["-1.2521"]
    assert "cut off, not rounded" in notes["-1.2521"]
    assert "-0.2014 from y_hat = 0.7986" in notes["-0.2016"]
    assert "row 1, column 2 is -0.2420, but -0.2016" in notes["[-0.1008, -0.2420; -0.1210, -0.2420]"]
    carried = {p.what: p.value for p in printed if p.verdict == "carried"}
    assert carried["dL/dW2"] == "[-0.1206, -0.2613]"
    assert carried["dL/dW1"] == "[-0.1005, -0.2010; -0.1206, -0.2412]"  # as 8.3 prints it
    assert carried["W1_new"] == "[0.11005, 0.22010; 0.31206, 0.42412]"
    assert {"b1_new", "W2_new", "b2_new"} <= set(carried)


def test_the_lectures_surprises_and_answers():
    results = {name: judge(load(name)) for name in shipped()}
    assert not [s for r in results.values() for s in r.surprises]
    answers = {name: r.example.printed[0] for name, r in results.items() if name.startswith("exercise")}
    assert answers["exercise-1"].value.startswith("(b)")
    assert answers["exercise-2"].printed == "(c) 8"
    assert answers["exercise-3"].printed == "(a) -25"
    assert answers["exercise-4"].value == "(d) dL/dx"
    assert "depends on none of W1, b1, W2, b2" in answers["exercise-4"].note
    assert answers["exercise-5"].printed == "(a) 0.4113"


def test_shipped_examples_are_records_with_graphs():
    examples = shipped_examples()
    assert len(examples) == len(shipped()) == 8
    assert [e.graph_svg is not None for e in examples].count(True) == 7
    assert examples == shipped_examples()


def test_gradients_agree_with_central_differences():
    calculation = Calculation(load("two-layer-perceptron"))
    step = float(np.finfo(np.float64).eps) ** (1 / 3)
    for name in ("W1", "b1", "W2", "x"):
        direction = np.random.default_rng(7).standard_normal(calculation.values[name].shape)

        def loss(t, name=name, direction=direction):
            moved = {**calculation.sheet.inputs, name: calculation.values[name] + t * direction}
            return float(calculation.graph.forward({**moved, **calculation.constants}).values["L"])

        slope = (loss(step) - loss(-step)) / (2 * step)
        assert np.sum(calculation.gradients[name] * direction) == pytest.approx(
            slope, rel=1e2 * step**2, abs=step**2
        )


def test_the_sheets_of_the_documentation():
    page = (Path(__file__).parents[2] / "docs" / "worked-examples.md").read_text(encoding="utf-8")
    start, words = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    result = verdicts(start + words)
    assert result.surprises == (
        "[[line]] 5 (update): -0.6 does not follow, and is not declared as a misprint",
    )


# --- bad sheets ------------------------------------------------------------------------

BAD = {
    "title = ": "a sheet is TOML",
    'model = ["z = x"]': "a sheet has a title",
    'title = "t"\nmodell = []': "did you mean model",
    'title = "t"\nrounding = "up"': 'rounding is "nearest" or "cut"',
    'title = "t"\nmodel = ["z = foo(x)"]\n[inputs]\nx = 1': "registered derivation",
    'title = "t"\nmodel = ["z = W @ x"]\n[inputs]\nW = "[1, 2]"\nx = "[1; 2; 3]"': "in 'W @ x'",
    'title = "t"\nmodel = ["z = 2 * y"]\n[inputs]\nx = 1': "received 'y'",
    'title = "t"\nmodel = ["x + 1"]\n[inputs]\nx = 1': "a name on its left",
    'title = "t"\ntarget = "q"\nmodel = ["z = x + 1"]\n[inputs]\nx = 1': "the target is a name",
    'title = "t"\n[inputs]\nx = nan': "finite numbers",
    'title = "t"\n[inputs]\nx = "1e999"': "at most 1.8e308",
    'title = "t"\n[inputs]\nx = []': "at least one number",
    'title = "t"\n[inputs]\nx = true': "an input is a number",
    'title = "t"\n[inputs]\nx = 9007199254740993': "exact in float64",
    'title = "t"\n[inputs]\nx = [[1, 2], [3]]': "one length",
    'title = "t"\n[indices]\nx = 1.5': "indices are whole numbers",
    'title = "t"\nx = ' + "[" * 3000: "sheet.toml: ",
    'title = "t"\nmodel = ["a = b", "b = a"]': "names that formulas before it define",
    f'title = "t"\n[inputs]\nx = {"9" * 5000}': "a sheet is TOML",
    f'title = "t"\nmodel = ["z = {"-" * 430}x"]\n[inputs]\nx = 1': "nest",
    MODEL + line("z", "0e99999999999999999999"): "between 1e-300 and 1e300",
    MODEL + line("z = wx + b", "1.1"): "received 'wx'; did you mean",
    MODEL + line("zz = w * x + b", "1.1"): "received 'zz'; did you mean z?",
    MODEL + line("z = w * x + dL/dq", "1.1"): "'q', which the model does not know",
    MODEL.replace("x = 2", "x = [1, 0.5]") + line("z = w * x^T + b", "1.1"): 'a column: "[1; 0.5]"',
    MODEL + '\n[[statement]]\nwhere = "p"\nvalue = "z = 1.1"': "a statement says",
    MODEL + '\n[[line]]\nformula = "z"': "[[line]] 1: each line says where",
    MODEL + '\n[[line]]\nwhere = "p"\nformla = "z"': "did you mean formula",
    MODEL + line("z", "[1, 2]"): "[[line]] 1 (here): a printed number has the shape",
    MODEL + line("z = w * x + b", "1 * 2 * 3"): "has the form of its formula",
    MODEL + line("zz", "1"): "did you mean z",
    MODEL + line("z", "1.10000000000000001"): "12 significant digits",
    MODEL + line("dx/dz", "1"): "x does not depend on z",
    MODEL + line("dL/dq", "1"): "'q', which the model does not know",
    MODEL + '\n[[question]]\nwhere = "p"\noptions = { a = "1", b = "2" }': "a question has a value",
    MODEL + '\n[[question]]\nwhere = "p"\nvalue = "z"\noptions = { a = "1", b = "x" }': "are numbers",
    MODEL + '\n[[question]]\nwhere = "p"\nvalue = "z"\noptions = { a = "1" }': "two options",
    MODEL + '\n[[question]]\nwhere = "p"\nvalue = "z"\noptions = { a = "1,5", b = "2" }': "a decimal point",
}


@pytest.mark.parametrize("text", BAD, ids=BAD.values())
def test_bad_sheets_get_one_sentence_that_names_the_file(text):
    with pytest.raises(InputError) as error:
        verdicts(text)
    message = str(error.value)
    assert message.startswith("sheet.toml: ")
    assert BAD[text] in message
    assert "\n" not in message


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="chain-rule"):
        load(tmp_path / "none.toml")
    bad = tmp_path / "bad.toml"
    bad.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        load(bad)
