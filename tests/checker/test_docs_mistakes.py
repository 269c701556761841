"""The pages on mistakes: each example runs, prints the report shown, and is mended as the page says.

``python docs/mistakes/update.py`` writes the reports again.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from handgrad.checking.findings import KINDS

DOCS = Path(__file__).parents[2] / "docs"
_spec = importlib.util.spec_from_file_location("mistakes", DOCS / "mistakes" / "update.py")
assert _spec is not None
assert _spec.loader is not None
mistakes = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(mistakes)


def test_each_kind_has_a_page_that_the_table_links() -> None:
    names = {page.stem for page in (DOCS / "mistakes").glob("*.md")}
    assert names == {*KINDS, "index"}
    table = (DOCS / "mistakes" / "index.md").read_text(encoding="utf-8")
    assert all(f"({kind}.md)" in table for kind in KINDS)


@pytest.mark.parametrize("page", mistakes.pages(), ids=lambda page: page.stem)
def test_the_report_shown_is_the_one_printed(page: Path) -> None:
    printed, report = mistakes.printed_by(page)
    shown = mistakes.blocks(page, "text")[0]
    assert mistakes.comparable(printed) == mistakes.comparable(shown)
    if page.stem in KINDS:
        assert report.findings[0].kind == page.stem


@pytest.mark.parametrize("kind", KINDS)
def test_the_correction_mends_the_example(kind: str) -> None:
    example, correction = mistakes.blocks(DOCS / "mistakes" / f"{kind}.md", "python")[:2]
    _, report = mistakes.run(mistakes.mended(example, correction))
    assert report.passed, str(report)
