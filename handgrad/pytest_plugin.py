"""The pytest plugin: ``gradient_check``, one report of a session's checks, a gate on a baseline.

    def test_my_function(gradient_check):
        gradient_check(MyFunction.apply, (torch.randn(5, 3, requires_grad=True),))

``--handgrad-report DIR`` writes the session's checks as one report; ``--handgrad-baseline FILE`` fails
the session where it regressed against that report. Both work under xdist: the workers' checks are
merged.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handgrad._errors import HandgradError
from handgrad.report import Record, compare, from_json, load, to_json, write_reports
from handgrad.report.gradients import to_checks

_RECORDED: pytest.StashKey[list[Any]] = pytest.StashKey()
_BASELINE = pytest.StashKey[Record]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("handgrad", "gradients derived by hand")
    group.addoption(
        "--handgrad-report", metavar="DIR", help="write the session's gradient checks as one report"
    )
    group.addoption(
        "--handgrad-baseline", metavar="FILE", help="fail where a check regressed against this report"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RECORDED] = []
    baseline = config.getoption("--handgrad-baseline")
    if baseline is not None:
        try:
            config.stash[_BASELINE] = load(baseline)
        except HandgradError as error:
            raise pytest.UsageError(str(error)) from None


@pytest.fixture
def gradient_check(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """``torch_ext.check``, failing the test with the report's text; it returns the report."""
    from torch_ext import check

    recorded = _recorded(request.config)
    count = 0

    def checked(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        report = check(*args, **kwargs)
        name = request.node.nodeid + (f" ({count})" if count > 1 else "")
        recorded.extend(to_checks(report, name))
        if not report.passed:
            pytest.fail(str(report), pytrace=False)
        return report

    return checked


def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    record = _record(config)
    output = getattr(config, "workeroutput", None)
    if output is not None:  # an xdist worker: the controller writes
        output["handgrad"] = to_json(record)
        return
    folder = config.getoption("--handgrad-report")
    if folder is not None:
        try:
            write_reports(record, Path(folder))
        except HandgradError as error:
            raise pytest.UsageError(str(error)) from None
    if _BASELINE in config.stash and not _compared(config).passed:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """An xdist worker has finished: its checks join the session's."""
    text = getattr(node, "workeroutput", {}).get("handgrad")
    if text is not None:
        _recorded(node.config).extend(from_json(text).checks)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if _BASELINE in config.stash:
        comparison = _compared(config)
        terminalreporter.section("handgrad baseline", red=not comparison.passed, green=comparison.passed)
        terminalreporter.write_line(comparison.to_text(colour=False))
    folder = config.getoption("--handgrad-report")
    if folder is not None and _recorded(config):
        terminalreporter.write_line(f"handgrad reports: {folder}/report.html, .md, .json, .xml")


def _recorded(config: pytest.Config) -> list[Any]:
    return config.stash[_RECORDED]


def _record(config: pytest.Config) -> Record:
    checks = sorted(_recorded(config), key=lambda check: check.id)
    return Record(title="Gradient checks of a test session", seed=0, checks=tuple(checks))


def _compared(config: pytest.Config) -> Any:
    return compare(config.stash[_BASELINE], _record(config))
