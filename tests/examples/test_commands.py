"""``handgrad graph`` and ``handgrad lecture``: what they print and how they exit."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from importlib.resources import files

import pytest
from click.testing import CliRunner

from handgrad.cli import main
from handgrad.report import load as load_report


def run(*args):
    return CliRunner().invoke(main, args)


def test_the_lecture_reports_its_declared_misprints_and_exits_0():
    result = run("lecture")
    assert result.exit_code == 0
    assert "0.7986" in result.output
    assert "7 misprints" in result.output


def test_a_users_misprint_exits_1(tmp_path):
    text = (files("handgrad.examples") / "two-layer-perceptron.toml").read_text(encoding="utf-8")
    mine = tmp_path / "mine.toml"
    mine.write_text(text, encoding="utf-8")
    assert run("lecture", str(mine)).exit_code == 0
    mine.write_text(text.replace("0.32016", "0.32061"), encoding="utf-8")
    result = run("lecture", str(mine))
    assert result.exit_code == 1
    assert "0.32061 does not follow" in result.output


def test_a_report_fails_where_the_command_does(tmp_path):
    text = (files("handgrad.examples") / "two-layer-perceptron.toml").read_text(encoding="utf-8")
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace("0.32016", "0.32061"), encoding="utf-8")
    result = run("lecture", str(mine), "chain-rule", "--report", str(tmp_path / "new" / "report"))
    assert result.exit_code == 1
    assert f"Written to {tmp_path / 'new' / 'report'}/report.md" in result.output
    record = load_report(tmp_path / "new" / "report" / "report.json")
    assert not record.passed
    failed = [check.id for check in record.checks if not check.passed]
    assert failed[0] == f"{mine} / verdicts"
    assert [name.split("(8.3, b2) / ")[1] for name in failed[1:]] == ["4: b2_new = 0.32061"]
    assert next(c for c in record.checks if c.id == "chain-rule / verdicts").passed
    verdicts = Counter(p.verdict for e in record.examples for p in e.printed)
    numbers = [c for c in record.checks if c.group == "printed numbers"]
    assert len(numbers) == sum(verdicts.values()) - verdicts["statement"]
    assert "**FAILED**" in (tmp_path / "new" / "report" / "report.md").read_text(encoding="utf-8")
    junit = ElementTree.parse(tmp_path / "new" / "report" / "report.xml").getroot()
    assert (junit.get("tests"), junit.get("failures")) == (str(len(record.checks)), "2")


def test_a_misprint_declared_and_not_there_fails_too(tmp_path):
    text = (files("handgrad.examples") / "two-layer-perceptron.toml").read_text(encoding="utf-8")
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace("1 / (1 + exp(-1.38)) ≈ 0.7986", "1 / (1 + exp(-1.38))"), encoding="utf-8")
    result = run("lecture", str(mine), "--report", str(tmp_path))
    assert result.exit_code == 1
    assert "0.7986 is declared as a misprint, but is none" in " ".join(result.output.split())
    assert f"{mine} / verdicts" in [c.id for c in load_report(tmp_path / "report.json").failures]


def test_the_lectures_own_report_passes(tmp_path):
    result = run("lecture", "--report", str(tmp_path), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["checks"]
    assert "Written to" in result.stderr
    record = load_report(tmp_path / "report.json")
    assert record.passed
    counts = {k: record.counts[k] for k in ("follows", "carried", "misprint")}
    assert counts == {"follows": 159, "carried": 27, "misprint": 7}
    assert len([c for c in record.checks if c.id.endswith(" / verdicts")]) == len(record.examples)


def test_the_summary_counts_one_as_one(tmp_path):
    sheet = tmp_path / "one.toml"
    head = 'title = "t"\nmodel = ["z = x * x"]\n[inputs]\nx = 1.26\n[[line]]\nwhere = "a"\n'
    sheet.write_text(head + 'formula = "x"\nprinted = "1.3"\n', encoding="utf-8")
    text = " ".join(run("lecture", str(sheet)).output.split())
    assert "1 worked example; of 1 printed number or formula 1 follows, 0 are carried" in text
    more = '[[line]]\nwhere = "b"\nformula = "z"\nprinted = "1.69"\n'
    sheet.write_text(sheet.read_text(encoding="utf-8") + more, encoding="utf-8")
    text = " ".join(run("lecture", str(sheet)).output.split())
    assert "of 2 printed numbers and formulas 1 follows, 1 is carried" in text


def test_all_lists_every_number_and_json_is_the_record(tmp_path):
    text = run("lecture", "chain-rule", "--all").output
    assert "-12" in text
    assert "follows" in text
    record = json.loads(run("lecture", "chain-rule", "--json").output)
    assert record["examples"][0]["printed"][0]["verdict"] == "follows"
    assert run("lecture", "chain-rule", "--report", str(tmp_path)).exit_code == 0
    assert load_report(tmp_path / "report.json").examples[0].graph_svg.startswith("<svg")
    assert (tmp_path / "report.html").exists()


def test_graph_draws_examples_and_formulas(tmp_path):
    svg = tmp_path / "graph.svg"
    result = run(
        "graph",
        "f = (x + y) * z",
        "--set",
        "x=-2",
        "--set",
        "y=5",
        "--set",
        "z=-4",
        "--trace",
        "--svg",
        str(svg),
    )
    assert result.exit_code == 0
    assert f"Written to {svg}" in result.output
    assert "f = -12" in result.output
    assert "df/dz = ∂f/∂z · df/df = 3 · 1 = 3" in result.output
    assert svg.read_text(encoding="utf-8").startswith("<svg")
    data = json.loads(run("graph", "chain-rule", "--json").output)
    assert {n["name"]: n["gradient"] for n in data["nodes"]} == {"x": -4, "y": -4, "z": 3, "q": -4, "f": 1}
    assert "two-layer-perceptron" in run("graph", "--list").output
    assert "chain-rule" in json.loads(run("graph", "--list", "--json").output)
    assert "(×)" in run("graph", "f = (x + y) * z").output
    several = run("graph", "z = W @ x", "L = sum(z^2)", "--set", "W=[1, 2; 3, 4]", "--set", "x=[1; 2]")
    assert "L = 146" in several.output
    assert "No gradients" in run("graph", "z = x^2", "--set", "x=[1, 2]").output


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("f = x * y", "--set", "x=1", "--set", "y=2", "--set", "z=3"), "'z'; leave out --set z."),
        (("f = x * weight", "--set", "x=1", "--set", "wieght=3"), "did you mean weight?"),
        (("f = x * y", "--set", "x=1"), "add --set y=VALUE."),
        (("f = x * y", "--set", "x=1,5"), "write a decimal point, not a comma."),
        (("chainrule",), "did you mean chain-rule? See handgrad graph --list."),
        (("nothing",), "see handgrad graph --list."),
    ],
)
def test_what_to_do_about_bad_usage(args, says):
    assert run("graph", *args).stderr.strip().endswith(says)


@pytest.mark.parametrize(
    "args",
    [
        ("graph",),
        ("graph", "chainrule"),
        ("graph", "exercise-1"),
        ("graph", "chain-rule", "exercise-2"),
        ("graph", "f = (x"),
        ("graph", "f = x + y", "--set", "x=1"),
        ("graph", "f = x", "--set", "x"),
        ("graph", "f = x", "--set", "x=1", "--set", "x=2"),
        ("graph", "f = x", "--set", "y=1"),
        ("graph", "f = x", "--set", "x=nan"),
        ("graph", "f = x + 1", "--trace"),
        ("graph", "chain-rule", "--set", "x=1"),
        ("graph", "chain-rule", "--svg", "/dev/null/graph.svg"),
        ("graph", "none.toml"),
        ("lecture", "none.toml"),
        ("lecture", "chain-rule", "--report", "/dev/null/reports"),
    ],
)
def test_bad_usage_exits_2_with_one_line(args):
    result = run(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["graph", "lecture"])
def test_help_has_an_example(name):
    assert f"Example: handgrad {name}" in run(name, "--help").output


def test_works_without_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from click.testing import CliRunner\nfrom handgrad.cli import main\n"
        "for args in (['lecture'], ['graph', 'two-layer-perceptron', '--trace']):\n"
        "    r = CliRunner().invoke(main, args); assert r.exit_code == 0, r.output\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
