"""Every snippet of docs/networks.md runs and prints what it says."""

import doctest
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from handgrad.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"


def test_snippets():
    snippets = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert snippets.attempted > 20
    assert snippets.failed == 0


@pytest.mark.parametrize("line", re.findall(r"^\$ handgrad (.*)$", PAGE.read_text("utf-8"), re.MULTILINE))
def test_commands(line):
    result = CliRunner().invoke(main, shlex.split(line))
    assert result.exit_code == 0, result.output
