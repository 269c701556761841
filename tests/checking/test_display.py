"""How a report reads: what is wrong is seen, in text of any width, in colour and without, and in HTML."""

from __future__ import annotations

import io
import json
import math
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

import torch_ext
from handgrad.checking.display import statements, to_html, to_text, verdict
from handgrad.checking.findings import CheckReport, Finding, GradientDiff, GradientMismatch
from handgrad.report import reduce_errors
from handgrad.report.gradients import to_checks
from handgrad.report.grid import first_indices

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def wrong(errors, name="w", shape=None, **changes):
    """A gradient off by ``errors``."""
    errors = np.asarray(errors, dtype=float)
    worst = np.unravel_index(int(np.argmax(np.abs(errors))), errors.shape)
    settings = {
        "max_abs_error": float(np.abs(errors).max()),
        "max_rel_error": 1.0,
        "ulps": 1e6,
        "worst_index": tuple(map(int, worst)),
        "analytic": 1.5 + float(errors[worst]),
        "reference": 1.5,
        "diagnosis": "local",
        "errors": reduce_errors(errors),
        "allowed_ulps": 4.0,
        "computed_in": "float64",
        "computed_shape": errors.shape,
    }
    return GradientDiff(name, shape or errors.shape, "float64", False, **{**settings, **changes})


def right(name="x", shape=(5, 3)):
    return GradientDiff(name, shape, "float32", True, computed_in="float64", computed_shape=shape)


def report(*diffs, findings=None, **changes):
    if findings is None:
        findings = [
            Finding("local", d.name, f"the gradient of {d.name} is wrong") for d in diffs if not d.passed
        ]
    return CheckReport("Layer.apply", diffs, tuple(findings), oracle="the reference's autograd", **changes)


def drawn(text, rows):
    """The cells of a plain map, two characters each, by its row's index."""
    found = {}
    for i in rows:
        line = next(line for line in text.splitlines() if re.match(rf" +{i}  ?[·+-]| +{i} [+-]", line))
        cells = re.sub(rf"^ +{i} ", "", line)
        found[i] = [cells[k : k + 2] for k in range(0, len(cells), 2)]
    return found


# --- text ----------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["row", "column", "element"])
def test_what_is_wrong_stands_out(what):
    rng = np.random.default_rng(3)
    i, j = (int(k) for k in rng.integers(0, (20, 25)))
    place = {"row": np.s_[i, :], "column": np.s_[:, j], "element": np.s_[i, j]}[what]
    errors = np.zeros((20, 25))
    errors[place] = rng.uniform(0.1, 1, errors[place].shape) * rng.choice([-1, 1], errors[place].shape)
    cells = drawn(str(report(wrong(errors))), range(20))
    for (row, column), error in np.ndenumerate(errors):
        shown = cells[row][column]
        assert shown[0] == ("+" if error > 0 else "-" if error < 0 else " ")
        assert (shown[1] == "·") == (error == 0)


def test_a_tiny_error_beside_a_huge_one_is_no_right_element():
    errors = np.zeros((12, 12))
    errors[3, 4], errors[7, 8] = 1e6, -1e-9
    cells = drawn(str(report(wrong(errors))), range(12))
    assert (cells[3][4], cells[7][8]) == ("+█", "-░")


def test_few_elements_show_their_numbers():
    errors = np.random.default_rng(0).normal(size=(4, 3))
    errors[2, 1] = 0
    text = str(report(wrong(errors)))
    for e in errors.flat:
        assert f"{e:+.3g}" in text or e == 0
    assert text.count("·") == 1


@pytest.mark.parametrize(
    "shape", [(), (1,), (9,), (400,), (3, 2, 4), (2, 3, 4, 5, 2), (100, 200), (1, 90), (70, 1)]
)
@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("colour", [False, True])
def test_any_shape_fits_any_width(shape, width, colour):
    errors = np.random.default_rng(1).normal(size=shape)
    message = "the gradient of w is wrong: " + "look at each function on its way, " * 5
    text = to_text(
        report(right(), wrong(errors), findings=[Finding("local", "w", message)]), colour=colour, width=width
    )
    assert bool(ESCAPE.search(text)) == colour
    lines = ESCAPE.sub("", text).splitlines()
    assert max(map(len, lines)) <= width
    assert " ".join(message.split()) in " ".join(" ".join(lines).split())
    assert ("Signed error" in text) == (math.prod(shape) > 1)


def test_not_finite_errors_are_seen():
    errors = np.zeros((10, 10))
    errors[2, 3], errors[4, 5], errors[6, 7] = np.nan, np.inf, -np.inf
    broken = wrong(errors, analytic=math.nan, ulps=math.inf, max_abs_error=math.inf)
    cells = drawn(str(report(broken)), (4, 6))
    assert (cells[4][5], cells[6][7]) == ("+∞", "-∞")
    assert "××" in str(report(broken))
    assert "NaN" in str(report(broken))
    assert "nan where 1.5 is right" in str(report(broken))


def test_indices_name_the_first_element_of_each_row_and_column():
    rng = np.random.default_rng(2)
    for shape in ((7, 3), (40, 50), (3, 4, 5), (9,), (6, 7, 2, 3)):
        place = tuple(int(k) for k in rng.integers(0, shape))
        errors = np.zeros(shape)
        errors[place] = 1
        grid = np.asarray(reduce_errors(errors))
        (row,), (column,) = np.nonzero(grid)
        rows, columns = first_indices(tuple(map(tuple, grid)), shape)
        first = (*map(int, filter(None, rows[row].split(","))), int(columns[column]))
        flat, found = (int(np.ravel_multi_index(i, shape)) for i in (place, first))
        assert found <= flat
        if math.prod(shape[:-1]) <= 32 and shape[-1] <= 32:
            assert first == place


def test_the_verdict_says_how_many_and_which():
    errors = np.ones((2, 2))
    assert verdict(report(right())) == "Layer.apply: 1 gradient right to within rounding"
    assert verdict(report(wrong(errors))) == "Layer.apply: the gradient of w is wrong"
    assert verdict(report(right(), wrong(errors))) == "Layer.apply: 1 of 2 gradients wrong: w"
    forward = [Finding("forward", "the output", "the output is 1 where the reference gives 2")]
    assert (
        verdict(report(right(), findings=forward)) == "Layer.apply: the output differs from the reference's"
    )
    mutates = [
        Finding("mutates", where, "the backward pass writes into it") for where in ("x", "grad_output")
    ]
    assert verdict(report(findings=mutates)) == "Layer.apply: it writes into x, grad_output"


def test_values_that_are_close_are_told_apart():
    close = wrong(np.full(3, 1e-12), analytic=1 + 1e-12, reference=1.0)
    assert re.search(r"1\.000000000001\d* where 1 is right", str(report(close)))


def test_the_precision_in_which_it_shows_is_named():
    text = str(report(wrong(np.ones(3), computed_in="float64", ulps=400.0, allowed_ulps=4.0)))
    assert "1e+02 × what rounding in float64 explains" in text


def test_a_finding_that_repeats_another_stands_beside_it():
    text = "the gradient of b has shape (5, 3) where b has (3,)"
    findings = [
        Finding("missing-sum", "b", f"{text}: sum over axis 0", {"axes": [0]}),
        Finding("shape", "b", text, {"received": [5, 3], "due": [3]}),
    ]
    made = report(right("b", (3,)), findings=findings)
    (statement,) = statements(made)
    assert (statement.kind, statement.also) == ("missing-sum", ("shape",))
    assert str(made).count("has shape") == 1
    assert re.search(r"wrong +b +3 +float32 +missing-sum, shape", str(made))


def test_evidence_is_shown_where_the_message_leaves_it_out():
    indices = [[i, 2 * i] for i in range(12)]
    finding = Finding("local", "w", "the gradient of w is wrong at [0, 0]", {"indices": indices, "rank": 3})
    (statement,) = statements(report(wrong(np.ones(3)), findings=[finding]))
    assert statement.evidence == "indices: " + ", ".join(map(str, indices))
    said = Finding("shape", "w", "the gradient of w has shape (3, 4)", {"received": [3, 4]})
    assert statements(report(wrong(np.ones(3)), findings=[said]))[0].evidence == ""


def test_what_is_not_drawn_is_counted():
    text = str(report(*(wrong(np.ones((9, 9)), f"w{i}") for i in range(5))))
    assert text.count("Signed error") == 2
    assert "3 more wrong gradients not drawn" in text
    html = to_html(report(*(wrong(np.ones((2, 2)), f"w{i}") for i in range(30))))
    assert "22 more wrong gradients not drawn" in html


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_a_terminal_has_colour_unless_it_wants_none(monkeypatch, environment, coloured):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    for name, value in {"TERM": "xterm-256color", **environment}.items():
        monkeypatch.setenv(name, value)
    made = report(wrong(np.eye(12)))
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert bool(ESCAPE.search(to_text(made))) == coloured
    assert not ESCAPE.search(str(made))
    with pytest.raises(GradientMismatch) as raised:
        made.raise_if_failed()
    assert str(raised.value) == str(made)


def test_names_cannot_reach_the_terminal():
    evil = "x\x1b]0;title\x07\x9b31m"
    made = report(wrong(np.ones((9, 9)), evil), notes=(evil,))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", to_text(made, colour=False))


# --- HTML ----------------------------------------------------------------------------


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_a_notebook_shows_verdict_findings_table_and_maps():
    made = report(right(), wrong(np.eye(9)))
    page = Page(made._repr_html_())
    assert verdict(made) in page.text
    assert "the gradient of w is wrong" in page.text
    assert sum(tag == "tr" for tag, _ in page.tags) == 3
    maps = [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("class") == "heat"]
    assert len(maps) == 1
    assert maps[0]["data-values"].count("+1") == 9
    labels = [
        attributes for tag, attributes in page.tags if tag == "text" and attributes.get("class") == "row"
    ]
    assert len(labels) == 9
    assert Page(to_html(report(right()))).text.count("right to within rounding") == 1


def test_html_is_alone_and_escapes_everything():
    evil = "<script>alert(1)</script>&\"'"
    finding = Finding("local", evil, evil, {"indices": [evil + "1"]})
    made = CheckReport(
        evil, (wrong(np.ones((2, 2)), evil, inputs=evil),), (finding,), oracle=evil, notes=(evil,)
    )
    text = to_html(made)
    page = Page(text)
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in page.tags}
    assert not re.search(r"url\(|https?:|@import| on\w+=", text)
    for tag, attributes in page.tags:
        assert tag != "svg" or attributes.get("aria-label") or attributes.get("aria-hidden")


def test_html_knows_light_and_dark_themes_and_its_own_bounds():
    text = to_html(report(wrong(np.ones((2, 2)))))
    style = re.search(r"<style>(.*)</style>", text, re.DOTALL)[1]
    assert "color-scheme: light dark" in style
    assert "light-dark(" in style
    assert style.count("{") == style.count("}")
    # every rule is inside of the report's own element: nothing else on the page changes
    depth, outside = 0, ""
    for character in re.sub(r"/\*.*?\*/", "", style, flags=re.DOTALL):
        depth -= character == "}"
        outside += character if depth == 0 and character != "}" else ""
        depth += character == "{"
    assert all(".handgrad.check" in rule for rule in outside.split("{") if rule.strip())


# --- what a check hands over ---------------------------------------------------------


def cube(factor):
    def backward(dy, x):
        return (3 * factor * x**2 * dy,)

    return lambda x: (x**3, x), backward


def test_a_gross_error_is_shown_in_the_inputs_own_dtype_and_a_tiny_one_where_it_shows():
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    gross = torch_ext.check(cube(1.5), (x,)).diffs[0]
    tiny = torch_ext.check(cube(1 + 1e-9), (x,)).diffs[0]
    assert (gross.dtype, gross.computed_in, gross.inputs) == ("float32", "float32", "the inputs given")
    assert (tiny.dtype, tiny.computed_in) == ("float32", "float64")
    for diff in (gross, tiny):
        unit = torch.finfo(getattr(torch, diff.computed_in)).eps
        relative = abs(diff.analytic - diff.reference) / abs(diff.reference)
        assert 0.99 <= diff.ulps * unit / relative <= 2.01  # an ulp is eps of a power of two
        assert diff.ulps > diff.allowed_ulps > 0


def test_a_complex_gradient_has_the_index_of_its_tensor():
    x = torch.randn(4, 3, dtype=torch.complex128, generator=torch.Generator().manual_seed(0)).requires_grad_()
    made = torch_ext.check((lambda x: (2 * x, None), lambda dy, _: (3 * dy,)), (x,))
    (diff,) = made.diffs
    assert len(diff.worst_index) == 2
    assert diff.errors_shape == (4, 3, 2)
    assert isinstance(diff.analytic, complex)
    assert abs(diff.analytic / diff.reference - 1.5) < 1e-12
    (check,) = to_checks(made, "scaled")
    assert abs(check.analytic / check.reference - 1.5) < 1e-12
    assert check.worst_index[:2] == diff.worst_index
    assert "12 × 2; rows are axes 0 to 1" in str(made)
    json.dumps(made.to_dict(), allow_nan=False)
    assert "Signed error" in str(made)
    assert made._repr_html_()


def test_a_record_holds_every_message_and_no_error_where_none_was_measured():
    findings = [Finding("mutates", "w", "one"), Finding("shape", "w", "two")]
    missing = GradientDiff("w", (3,), "float64", False, diagnosis="shape")
    (check,) = to_checks(report(missing, findings=findings), "case")
    assert check.message == "mutates: one\nshape: two"
    assert (check.passed, check.ratio) == (False, None)
