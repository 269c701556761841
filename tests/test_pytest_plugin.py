"""The plugin, in sessions of its own."""

import pytest

from handgrad.report import load

pytest_plugins = ["pytester"]

TESTS = """
import torch

INPUTS = (torch.randn(3, requires_grad=True),)

def forward(x):
    return x * x, x

def test_right(gradient_check):
    assert gradient_check((forward, lambda g, x: 2 * x * g), INPUTS).passed

def test_wrong(gradient_check):
    gradient_check((forward, lambda g, x: {factor} * x * g), INPUTS)
"""


@pytest.fixture
def session(pytester):
    def run(*arguments, factor="3"):
        pytester.makepyfile(TESTS.replace("{factor}", factor))
        return pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", *arguments)

    return run


def test_a_wrong_gradient_fails_the_test_with_the_report_s_text(session):
    result = session()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*scale: x*", "*1.5 times the right one*"])


@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_the_session_s_checks_become_one_report(session, pytester, workers):
    session("--handgrad-report", "reports", *workers)
    record = load(pytester.path / "reports" / "report.json")
    assert [(c.id.split("::")[1], c.passed) for c in record.checks] == [
        ("test_right / d_x", True),
        ("test_wrong / d_x", False),
    ]
    assert (pytester.path / "reports" / "report.html").exists()


def test_a_baseline_gates(session):
    session("--handgrad-report", "good", factor="2").assert_outcomes(passed=2)
    worse = session("--handgrad-baseline", "good/report.json", "--deselect", "dummy", factor="2")
    assert worse.ret == 0
    vanished = session("--handgrad-baseline", "good/report.json", "-k", "test_right", factor="2")
    assert vanished.ret == 1
    vanished.stdout.fnmatch_lines(["*1 regression*"])


def test_a_missing_baseline_is_one_sentence(session):
    result = session("--handgrad-baseline", "absent.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*absent.json*"])


def test_it_can_be_left_out(session):
    result = session("-p", "no:handgrad", "-k", "nothing")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
