"""The example of docs/swap.md runs and prints what it says."""

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "swap.md"


def test_snippets():
    snippets = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert snippets.attempted > 15
    assert snippets.failed == 0
