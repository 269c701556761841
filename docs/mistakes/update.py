"""Run the examples of the checker's pages, and write the reports that they print into the pages.

python docs/mistakes/update.py            rewrite the pages
python docs/mistakes/update.py --check    exit 1 where a page is out of date

A page's first block of Python is its example, the block of text after it is the report that it prints. In
docs/mistakes/KIND.md the next block of Python mends it: its lines replace those marked ``# wrong``. The
README shows the beginning of one report.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent
README, ENTRY = DOCS.parent / "README.md", DOCS / "gradient-checker.md"
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MULTIPLE = re.compile(r"\S+ × what rounding")
_WRONG = "  # wrong"


def pages() -> list[Path]:
    """Those with a report."""
    return [README, ENTRY, *sorted((DOCS / "mistakes").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return [m[2] for m in _FENCE.finditer(page.read_text(encoding="utf-8")) if m[1] == language]


def printed_by(page: Path) -> tuple[str, Any]:
    """What the page's example prints, as far as the page shows it, and its report."""
    if page != README:
        return run(blocks(page, "python")[0])
    text, report = printed_by(ENTRY)
    return "\n\n".join(text.split("\n\n")[:2]) + "\n", report


def run(example: str) -> tuple[str, Any]:
    """What an example prints, and its report."""
    import torch

    names: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), torch.random.fork_rng(devices=[]):
        exec(compile(example, "example", "exec"), names)
    return printed.getvalue(), names["report"]


def mended(example: str, correction: str) -> str:
    """The example with its wrong lines replaced, one for one."""
    right = iter(correction.splitlines())
    lines = [
        line[: len(line) - len(line.lstrip())] + next(right) if line.endswith(_WRONG) else line
        for line in example.splitlines()
    ]
    assert next(right, None) is None, "a correction has one line for each that is marked wrong"
    return "\n".join(lines)


def comparable(report: str) -> str:
    """The report without how many times rounding the error is: rounding is measured, and not the same in
    every build of PyTorch."""
    return _MULTIPLE.sub("… × what rounding", report)


def updated(page: Path) -> str:
    """The page's text with the report that its example prints now."""
    text = page.read_text(encoding="utf-8")
    report = next(m for m in _FENCE.finditer(text) if m[1] == "text")
    printed, _ = printed_by(page)
    if comparable(printed) == comparable(report[2]):
        return text
    return f"{text[: report.start(2)]}{printed}{text[report.end(2) :]}"


def main(check: bool) -> int:
    changed = {page: text for page in pages() if (text := updated(page)) != page.read_text(encoding="utf-8")}
    for page, text in changed.items():
        print(f"{page.relative_to(DOCS.parent)}: {'out of date' if check else 'updated'}")
        if not check:
            page.write_text(text, encoding="utf-8")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
